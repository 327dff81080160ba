"""Several topics in several formats: each topic's records go through the intake of their feed."""

from __future__ import annotations

from collections.abc import Sequence

from daemon.intake import Taken, Takes
from daemon.state import PartitionState
from daemon.types import Record, TopicPartition
from daemon.wanted import Wanted


class Intakes:
    """The intakes by topic. A partition is of one topic, so nothing of its state depends on the others."""

    def __init__(self, feeds: Sequence[tuple[Wanted, Takes]]) -> None:
        self._feeds = feeds
        self._by_topic = {topic: intake for wanted, intake in feeds for topic in wanted.named}

    def take(self, partition: TopicPartition, records: Sequence[Record], state: PartitionState) -> Taken:
        """Take the records by the intake of their topic. Raises KeyError for a topic of no feed."""
        return self.of(partition.topic).take(partition, records, state)

    def of(self, topic: str) -> Takes:
        """Return the intake of a topic: of the feed that names it, else of the first that matches. Raises KeyError."""
        found = self._by_topic.get(topic)
        if found is None:
            found = next((each for wanted, each in self._feeds if wanted.matches(topic)), None)
            if found is None:
                raise KeyError(topic)
            self._by_topic[topic] = found
        return found
