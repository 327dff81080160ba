"""Several topics in several formats: each topic's records go through the intake of their feed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Generic, TypeVar

from daemon.intake import Taken, Takes
from daemon.state import PartitionState
from daemon.types import Record, TopicPartition
from daemon.wanted import Wanted

T = TypeVar("T")


class ByTopic(Generic[T]):
    """What belongs to each feed, found by a topic of it."""

    def __init__(self, feeds: Sequence[tuple[Wanted, T]]) -> None:
        self._feeds = feeds
        self._by_topic = {topic: each for wanted, each in feeds for topic in wanted.named}

    def of(self, topic: str) -> T:
        """Return what is of the feed that names the topic, else of the first that matches. Raises KeyError."""
        found = self._by_topic.get(topic)
        if found is None:
            found = next((each for wanted, each in self._feeds if wanted.matches(topic)), None)
            if found is None:
                raise KeyError(topic)
            self._by_topic[topic] = found
        return found


class Intakes(ByTopic[Takes]):
    """The intakes by topic. A partition is of one topic, so nothing of its state depends on the others."""

    def take(self, partition: TopicPartition, records: Sequence[Record], state: PartitionState) -> Taken:
        """Take the records by the intake of their topic. Raises KeyError for a topic of no feed."""
        return self.of(partition.topic).take(partition, records, state)
