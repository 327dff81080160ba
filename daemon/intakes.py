"""Several topics in several formats: each topic's records go through the intake of their feed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from daemon.intake import Taken, Takes
from daemon.state import PartitionState
from daemon.types import Record, TopicPartition


class Intakes:
    """The intakes by topic. A partition is of one topic, so nothing of its state depends on the others."""

    def __init__(self, by_topic: Mapping[str, Takes]) -> None:
        self._by_topic = by_topic

    def take(self, partition: TopicPartition, records: Sequence[Record], state: PartitionState) -> Taken:
        """Take the records by the intake of their topic. Raises KeyError for a topic of no feed."""
        return self._by_topic[partition.topic].take(partition, records, state)
