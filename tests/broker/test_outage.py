"""A broker that goes away and comes back: deadlines, and going on."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import replace

import psutil
import pytest

from daemon.embedded import EmbeddedBroker
from daemon.errors import BrokerUnavailable, TransactionFailed
from daemon.kafka import ConnectionSettings, KafkaBroker
from daemon.kafka.source import KafkaSource
from daemon.kafka.writer import KafkaWriter
from daemon.types import Outgoing, TopicPartition

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


def poll_until(source: KafkaSource, done: Callable[[], bool], found: list[bytes | None] | None = None) -> None:
    give_up = time.monotonic() + 30
    while not done():
        assert time.monotonic() < give_up, found
        with contextlib.suppress(BrokerUnavailable):
            batches = source.poll(500, 0.2).records.values()
            if found is not None:
                found += [record.value for batch in batches for record in batch]


def poll_for(source: KafkaSource, seconds: float) -> None:
    give_up = time.monotonic() + seconds
    while time.monotonic() < give_up:
        source.poll(500, 0.2)


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
