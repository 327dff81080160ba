"""The two worlds in which every claim about the ports must hold: one in memory, one with a real broker."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import count
from typing import Any, cast

import pytest
from kafka import KafkaAdminClient, KafkaProducer
from kafka import TopicPartition as KafkaTopicPartition

from daemon.kafka import ConnectionSettings, KafkaBroker
from daemon.kafka.librdkafka import LibrdkafkaBroker
from daemon.memory import MemoryBroker, MemoryCluster, Operation
from daemon.ports import Broker, Source
from daemon.types import Outgoing, Record, TopicPartition, TopicSpec


class ProcessDiedError(Exception):
    """Raised in the place of a process that ends without a word."""


class World(ABC):
    """A cluster with unique names, and the things a test does to it that the ports do not offer."""

    quiet_seconds: float  # how long to listen before believing that nothing comes
    patience_seconds: float  # how long to wait for what must come
    commits_max = 1  # how often a turn is committed until it must have been, while the group moves on

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix
        self._numbers = count(1)
        self._opened: list[Broker] = []

    @property
    @abstractmethod
    def door(self) -> Broker:
        """A door for whatever needs no group of its own."""

    @abstractmethod
    def connect(self, group_id: str) -> Broker:
        """Return a new door, as a process of its own has it."""

    @abstractmethod
    def leave_open(self, identity: str, records: Sequence[Outgoing]) -> None:
        """Write records in a transaction of `identity` that nobody ends."""

    @abstractmethod
    def trim(self, partition: TopicPartition, offset: int) -> None:
        """Delete the records below `offset`."""

    @abstractmethod
    def delete(self, topic: str) -> None:
        """Delete a topic."""

    def grow(self, topic: str, partitions: int) -> None:
        """Let a topic have so many partitions."""
        self.door.ensure(TopicSpec(topic, partitions, compacted=False, growable=True))

    @abstractmethod
    def hasten(self, source: Source) -> None:
        """Let a source look at the cluster's topics now, which a client does now and then."""

    def name(self, kind: str) -> str:
        """Return a name that nothing else in this world or another has."""
        return f"{self.prefix}{kind}-{next(self._numbers)}"

    def broker(self, group_id: str | None = None) -> Broker:
        """Return a new door in a group of its own, or in `group_id`; it is closed with the test."""
        broker = self.connect(group_id or self.name("group"))
        self._opened.append(broker)
        return broker

    def topic(self, partitions: int = 1, *, compacted: bool = False, config: Mapping[str, str] | None = None) -> str:
        """Create a topic and return its name."""
        name = self.name("topic")
        self.door.ensure(TopicSpec(name, partitions, compacted, config or {}))
        return name

    def partition(self) -> TopicPartition:
        """Create a topic of one partition and return that."""
        return TopicPartition(self.topic(), 0)

    def until(self, done: Callable[[], bool], what: str) -> None:
        """Call `done`, which waits a moment itself, until it is true; fail when it takes too long."""
        deadline = time.monotonic() + self.patience_seconds
        while not done():
            assert time.monotonic() < deadline, f"not within {self.patience_seconds:g} s: {what}"

    def read(self, partition: TopicPartition, start: int = 0) -> list[Record]:
        """Return what a cursor shows from `start` to the high watermark, which it must reach."""
        end = self.door.bounds(partition).end
        cursor = self.door.cursor(partition, start)
        found: list[Record] = []

        def at_the_end() -> bool:
            if cursor.position < end:
                found.extend(cursor.fetch(1000, 0.2))
            return cursor.position >= end

        self.until(at_the_end, f"position {end} of {partition}")
        cursor.close()
        return found

    def values(self, partition: TopicPartition) -> list[bytes | None]:
        """Return the values that a cursor shows from the beginning to the high watermark."""
        return [record.value for record in self.read(partition)]

    def peek(self, partition: TopicPartition) -> list[bytes | None]:
        """Return the values that a cursor shows within a moment, whether or not it gets to the end."""
        cursor = self.door.cursor(partition, 0)
        records = [*cursor.fetch(1000, self.quiet_seconds), *cursor.fetch(1000, self.quiet_seconds / 4)]
        cursor.close()
        return [record.value for record in records]

    def joined(self, source: Source, partitions: int) -> frozenset[TopicPartition]:
        """Poll until `source` has been given that many partitions; return them."""
        given: set[TopicPartition] = set()

        def complete() -> bool:
            polled = source.poll(100, 0.2)
            given.difference_update(polled.revoked)
            given.update(polled.assigned)
            return len(given) == partitions

        self.until(complete, f"{partitions} partitions assigned")
        return frozenset(given)

    def reading(self, broker: Broker, partition: TopicPartition) -> Source:
        """Return a source that delivers `partition` from its first offset."""
        source = broker.source([partition.topic])
        assert self.joined(source, 1) == {partition}
        source.resume_at(partition, 0)
        return source

    def take(self, source: Source, records: int, *, records_max: int = 100) -> list[Record]:
        """Poll until that many records have come, and return them."""
        found: list[Record] = []

        def enough() -> bool:
            found.extend(record for part in source.poll(records_max, 0.2).records.values() for record in part)
            return len(found) >= records

        self.until(enough, f"{records} records polled")
        return found

    def hears_nothing(self, source: Source) -> bool:
        """Return whether two polls bring no record."""
        return not any(source.poll(100, self.quiet_seconds / 2).records for _ in range(2))

    def close(self) -> None:
        """Close every door that the test opened."""
        for broker in self._opened:
            broker.close()


class MemoryWorld(World):
    """Everything in this process; waiting costs nothing because nothing comes while one waits."""

    quiet_seconds = 1.0
    patience_seconds = 5.0

    def __init__(self, prefix: str) -> None:
        super().__init__(prefix)
        self.cluster = MemoryCluster(idle=lambda _: None)
        self._door = MemoryBroker(self.cluster, "contract")

    @property
    def door(self) -> Broker:
        """A door into the cluster of this test."""
        return self._door

    def connect(self, group_id: str) -> Broker:
        """Return another door into the same cluster."""
        return MemoryBroker(self.cluster, group_id)

    def leave_open(self, identity: str, records: Sequence[Outgoing]) -> None:
        """Die between the last record and the commit."""

        def die(operation: Operation) -> None:
            if operation == "commit":
                raise ProcessDiedError

        broker = MemoryBroker(self.cluster, "dying", faults=die)
        writer = broker.writer(identity)
        writer.open()
        with pytest.raises(ProcessDiedError):
            writer.commit(records, {}, broker.source([]).membership())

    def trim(self, partition: TopicPartition, offset: int) -> None:
        """Trim the log in memory."""
        self.cluster.trim(partition, offset)

    def delete(self, topic: str) -> None:
        """Delete it in memory."""
        self.cluster.delete(topic)

    def hasten(self, source: Source) -> None:
        """Everybody here hears of it at once."""


class KafkaWorld(World):
    """Apache Kafka, through the daemon's own door; what the ports do not offer is done with the bare client."""

    quiet_seconds = 0.8
    patience_seconds = 40.0

    def __init__(self, prefix: str, bootstrap: str, door: Broker) -> None:
        super().__init__(prefix)
        self._bootstrap = bootstrap
        self._door = door
        self._producers: list[KafkaProducer] = []

    @property
    def door(self) -> Broker:
        """The module's door, so that most tests open no connection of their own."""
        return self._door

    def connect(self, group_id: str) -> Broker:
        """Return a door with connections of its own."""
        return KafkaBroker(ConnectionSettings((self._bootstrap,), group_id=group_id))

    def leave_open(self, identity: str, records: Sequence[Outgoing]) -> None:
        """Write with the bare client and never commit."""
        producer = KafkaProducer(bootstrap_servers=self._bootstrap, transactional_id=identity)
        self._producers.append(producer)
        producer.init_transactions()
        producer.begin_transaction()
        for record in records:
            sent = producer.send(record.topic, record.value, record.key, list(record.headers), record.partition)
            sent.get(self.patience_seconds)

    def trim(self, partition: TopicPartition, offset: int) -> None:
        """Let an administrator delete the records."""
        admin = KafkaAdminClient(bootstrap_servers=self._bootstrap)
        admin.delete_records({KafkaTopicPartition(*partition): offset})
        admin.close()

    def delete(self, topic: str) -> None:
        """Let an administrator delete it."""
        admin = KafkaAdminClient(bootstrap_servers=self._bootstrap)
        admin.delete_topics([topic])
        admin.close()
        self.until(lambda: self.door.partitions(topic) is None, f"{topic} gone")

    def hasten(self, source: Source) -> None:
        """Ask the client library for it."""
        cast("Any", source)._consumer._client._manager.cluster.request_update()

    def close(self) -> None:
        """Close the doors, and the producers that were left open."""
        super().close()
        for producer in self._producers:
            producer.close(0)


class LibrdkafkaWorld(KafkaWorld):
    """Apache Kafka again, through the other client library."""

    commits_max = 5  # it joins by itself, and may be between two generations just then

    def connect(self, group_id: str) -> Broker:
        """Return a door with connections of its own."""
        # it cannot be told to look at the cluster's topics now
        # and it refuses a transaction that may end before a record's delivery does, unless it is told
        return LibrdkafkaBroker(
            ConnectionSettings(
                (self._bootstrap,), group_id=group_id, metadata_seconds=1.0, transaction_timeout_seconds=9.0
            )
        )

    def hasten(self, source: Source) -> None:
        """Let the source ask which topics they are; the library asks how many partitions there are by itself."""
        cast("Any", source)._topics_due = 0.0


@pytest.fixture(scope="module")
def librdkafka_door(kafka_bootstrap: str) -> Iterator[Broker]:
    broker = LibrdkafkaBroker(ConnectionSettings((kafka_bootstrap,), group_id="contract"))
    yield broker
    broker.close()


@pytest.fixture(scope="module")
def kafka_door(kafka_bootstrap: str) -> Iterator[Broker]:
    broker = KafkaBroker(ConnectionSettings((kafka_bootstrap,), group_id="contract"))
    yield broker
    broker.close()


ON_BROKER = [pytest.param(name, marks=pytest.mark.broker) for name in ("kafka", "librdkafka")]
WORLDS = {"kafka": KafkaWorld, "librdkafka": LibrdkafkaWorld}


@pytest.fixture(params=["memory", *ON_BROKER])
def world(request: pytest.FixtureRequest, topic_prefix: str) -> Iterator[World]:
    """Each claim is tried in every world."""
    made: World
    if request.param == "memory":
        made = MemoryWorld(topic_prefix)
    else:
        bootstrap, door = request.getfixturevalue("kafka_bootstrap"), request.getfixturevalue(f"{request.param}_door")
        made = WORLDS[request.param](topic_prefix, bootstrap, door)
    yield made
    made.close()
