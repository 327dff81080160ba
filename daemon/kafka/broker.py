"""One Kafka cluster, as the daemon sees it through kafka-python."""

from __future__ import annotations

from collections.abc import Sequence

from daemon.kafka.cluster import Cluster
from daemon.kafka.cursor import KafkaCursor
from daemon.kafka.source import KafkaSource
from daemon.kafka.writer import KafkaWriter
from daemon.types import TopicPartition


class KafkaBroker(Cluster):
    """The real `daemon.ports.Broker`."""

    def cursor(self, partition: TopicPartition, start: int) -> KafkaCursor:
        """Read `partition` from `start`, or from its first offset if that is later. Raises LookupError when unknown."""
        self._demand(partition)
        return self._adopt(KafkaCursor(self._settings, partition, start))

    def source(self, topics: Sequence[str]) -> KafkaSource:
        """Join the group and read `topics`; those that do not exist yet are read once they do."""
        return self._adopt(KafkaSource(self._settings, topics))

    def writer(self, identity: str) -> KafkaWriter:
        """Return the transactional writer called `identity`, not yet opened."""
        writer = KafkaWriter(self._settings, identity)
        self._writers.append(writer)
        return writer
