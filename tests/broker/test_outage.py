"""A broker that goes away and comes back: deadlines, and going on."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import replace

import confluent_kafka
import psutil
import pytest
from confluent_kafka import Consumer

from daemon.embedded import EmbeddedBroker
from daemon.errors import BrokerUnavailable, TransactionFailed
from daemon.kafka import ConnectionSettings, KafkaBroker
from daemon.kafka.librdkafka import LibrdkafkaBroker
from daemon.kafka.librdkafka.source import LibrdkafkaSource
from daemon.kafka.source import KafkaSource
from daemon.kafka.writer import KafkaWriter
from daemon.ports import Source
from daemon.types import Outgoing, TopicPartition, TopicSpec

from .conftest import Interrupt, Join, ReadAll

pytestmark = pytest.mark.broker


@pytest.fixture(scope="module")
def own() -> Iterator[EmbeddedBroker]:
    """A broker that only these tests use, because they kill it."""
    with EmbeddedBroker() as broker:
        yield broker


@pytest.fixture
def kafka_bootstrap(own: EmbeddedBroker) -> str:
    return own.bootstrap


@pytest.fixture
def settings(kafka_bootstrap: str, topic_prefix: str) -> ConnectionSettings:
    return ConnectionSettings(
        (kafka_bootstrap,),
        group_id=f"{topic_prefix}group",
        session_timeout_seconds=6.0,
        transaction_timeout_seconds=5.0,
        connect_timeout_seconds=2.0,
    )


def reopen(writer: KafkaWriter) -> None:
    give_up = time.monotonic() + 30
    while True:
        try:
            return writer.open()
        except BrokerUnavailable:
            assert time.monotonic() < give_up


def poll_until(source: Source, done: Callable[[], bool], found: list[bytes | None] | None = None) -> None:
    give_up = time.monotonic() + 30
    while not done():
        assert time.monotonic() < give_up, found
        with contextlib.suppress(BrokerUnavailable):
            batches = source.poll(500, 0.2).records.values()
            if found is not None:
                found += [record.value for batch in batches for record in batch]


def poll_for(source: Source, seconds: float, found: list[bytes | None] | None = None) -> None:
    give_up = time.monotonic() + seconds
    while time.monotonic() < give_up:
        batches = source.poll(500, min(seconds, 0.2)).records.values()
        if found is not None:
            found += [record.value for batch in batches for record in batch]


@pytest.fixture
def source(broker: KafkaBroker, topic: str, join: Join) -> KafkaSource:
    """A member of the group that owns the topic's one partition."""
    source = broker.source([topic])
    join([source], lambda: bool(source._owned))
    return source


def commit_fails_in_time(writer: KafkaWriter, source: KafkaSource, topic: str) -> None:
    began = time.monotonic()
    with pytest.raises(TransactionFailed):
        writer.commit([Outgoing(topic, 0, None, b"lost")], {TopicPartition(topic, 0): 1}, source.membership())
    assert time.monotonic() - began < 5.0 * 0.6 + 2


def commit_again(writer: KafkaWriter, source: KafkaSource, topic: str) -> None:
    reopen(writer)
    poll_until(source, lambda: source.committed(TopicPartition(topic, 0)) is None)
    writer.commit([Outgoing(topic, 0, None, b"again")], {TopicPartition(topic, 0): 1}, source.membership())
    assert source.committed(TopicPartition(topic, 0)) == 1


def test_a_broker_that_dies_during_a_commit_costs_a_deadline_and_no_record(
    own: EmbeddedBroker, broker: KafkaBroker, source: KafkaSource, topic: str, interrupt: Interrupt, read_all: ReadAll
) -> None:
    writer = broker.writer(topic)
    writer.open()
    interrupt(writer, "commit_within", own.kill)
    commit_fails_in_time(writer, source, topic)

    own.restart()
    commit_again(writer, source, topic)
    assert read_all(topic) == [b"again"]


def test_a_broker_that_falls_silent_during_a_commit_costs_a_deadline_and_no_record(
    own: EmbeddedBroker, broker: KafkaBroker, source: KafkaSource, topic: str, interrupt: Interrupt, read_all: ReadAll
) -> None:
    writer = broker.writer(topic)
    writer.open()
    interrupt(writer, "send_offsets_within", own.suspend)
    commit_fails_in_time(writer, source, topic)

    own.wake()
    commit_again(writer, source, topic)
    assert read_all(topic) == [b"again"]


def test_a_source_says_that_no_broker_is_there_and_goes_on_when_one_is(
    own: EmbeddedBroker, broker: KafkaBroker, source: KafkaSource, topic: str
) -> None:
    broker.publish([Outgoing(topic, 0, None, b"before")])
    source.resume_at(TopicPartition(topic, 0), 0)
    found: list[bytes | None] = []
    poll_until(source, lambda: found == [b"before"], found)

    own.kill()
    with pytest.raises(BrokerUnavailable, match="no broker"):
        poll_for(source, 10)

    own.restart()
    with contextlib.closing(KafkaBroker(broker._settings)) as another:
        another.publish([Outgoing(topic, 0, None, b"after")])
    poll_until(source, lambda: found == [b"before", b"after"], found)


def threads_that_stay(before: Collection[threading.Thread]) -> list[str]:
    """Return the names of the threads that are not of `before` and do not end soon."""
    give_up = time.monotonic() + 20
    came = set(threading.enumerate()).difference(before)
    for thread in came:
        thread.join(max(give_up - time.monotonic(), 0.0))
    return [thread.name for thread in came if thread.is_alive()]


def sockets() -> int:
    """Return how many connections this process holds, the client's wake-up pairs included."""
    return len(psutil.Process().net_connections("all"))


def test_outages_with_many_rebuilds_leave_no_thread_and_no_socket_behind(
    own: EmbeddedBroker, settings: ConnectionSettings, source: KafkaSource, topic: str, interrupt: Interrupt
) -> None:
    before, held = threading.enumerate(), sockets()
    hasty = KafkaBroker(replace(settings, transaction_timeout_seconds=2.0, connect_timeout_seconds=1.0))
    writer, record = hasty.writer(topic), Outgoing(topic, 0, None, b"a")
    reopen(writer)
    for begin, end in ((own.suspend, own.wake), (own.kill, own.restart)):
        interrupt(writer, "commit_within", begin)
        with pytest.raises(TransactionFailed):
            writer.commit([record], {}, source.membership())
        for failing in (writer.open, writer.open, lambda: hasty.publish([record])):
            with pytest.raises(BrokerUnavailable):
                failing()
        end()
        reopen(writer)
        writer.commit([record], {}, source.membership())
    hasty.close()
    assert threads_that_stay(before) == []
    assert sockets() <= held


def test_what_its_owner_lost_ends_with_the_door(broker: KafkaBroker, topic: str) -> None:
    """A reader that nobody holds any more would read on, and reconnect when its broker is gone, for ever."""
    another = KafkaBroker(broker._settings)
    before = threading.enumerate()
    for _ in range(2):
        another.cursor(TopicPartition(topic, 0), 0).fetch(1, 0.0)
    another.source([topic])
    assert len(threading.enumerate()) > len(before)
    another.close()
    assert threads_that_stay(before) == []


def test_a_partition_that_comes_back_while_the_broker_hangs_is_read_from_where_it_is_resumed(
    own: EmbeddedBroker,
    broker: KafkaBroker,
    settings: ConnectionSettings,
    topic_prefix: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What librdkafka is asking when it is sent elsewhere, it asks again half a second later, and goes there."""
    topic, found, hangs = f"{topic_prefix}two", list[bytes | None](), threading.Event()
    broker.ensure(TopicSpec(topic, 2, compacted=False))
    broker.publish([Outgoing(topic, number % 2, None, b"%d" % (number // 2)) for number in range(20)])
    assign = LibrdkafkaSource._on_assign

    def suspend_and_assign(
        source: LibrdkafkaSource, consumer: Consumer, partitions: Sequence[confluent_kafka.TopicPartition]
    ) -> None:
        if hangs.is_set() and partitions:
            own.suspend()
        assign(source, consumer, partitions)

    monkeypatch.setattr(LibrdkafkaSource, "_on_assign", suspend_and_assign)
    door, other = LibrdkafkaBroker(settings), LibrdkafkaBroker(settings)
    try:
        source, guest = door.source([topic]), other.source([topic])
        while (len(source._owned), len(guest._owned)) != (1, 1):
            poll_for(source, 0.1)
            poll_for(guest, 0.1)
        (partition,) = guest._owned
        guest.close()
        hangs.set()
        poll_until(source, lambda: partition in source._owned)
        source.resume_at(partition, 3)
        own.wake()
        for number in range(10, 40):
            broker.publish([Outgoing(topic, partition.partition, None, b"%d" % number)])
            poll_for(source, 0.05, found)
        poll_until(source, lambda: b"39" in found, found)
    finally:
        own.wake()
        door.close()
        other.close()
    assert found == [b"%d" % number for number in range(3, 40)]
