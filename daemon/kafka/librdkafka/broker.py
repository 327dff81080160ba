"""One Kafka cluster, with what carries records on librdkafka."""

from __future__ import annotations

from collections.abc import Sequence

from daemon.kafka.cluster import Cluster
from daemon.kafka.librdkafka.cursor import LibrdkafkaCursor
from daemon.kafka.librdkafka.source import LibrdkafkaSource
from daemon.kafka.librdkafka.writer import LibrdkafkaWriter
from daemon.types import TopicPartition


class LibrdkafkaBroker(Cluster):
    """`daemon.ports.Broker` through librdkafka; questions about topics, and plain writing, go through kafka-python."""

    def cursor(self, partition: TopicPartition, start: int) -> LibrdkafkaCursor:
        """Read `partition` from `start`, or from its first offset if that is later. Raises LookupError when unknown."""
        self._demand(partition)
        return self._adopt(LibrdkafkaCursor(self._settings, partition, start))

    def source(self, topics: Sequence[str]) -> LibrdkafkaSource:
        """Join the group and read `topics`; those that do not exist yet are read once they do."""
        return self._adopt(LibrdkafkaSource(self._settings, topics, self.topic_id))

    def writer(self, identity: str) -> LibrdkafkaWriter:
        """Return the transactional writer called `identity`, not yet opened."""
        writer = LibrdkafkaWriter(self._settings, identity)
        self._writers.append(writer)
        return writer
