"""A cursor on the real broker: positions, bounds, open transactions."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest

from daemon.errors import TopicMismatch
from daemon.kafka import ConnectionSettings, KafkaBroker, client
from daemon.kafka.cursor import KafkaCursor
from daemon.kafka.writer import drop
from daemon.types import Bounds, Outgoing, Record, TopicPartition, TopicSpec

pytestmark = pytest.mark.broker


def read_to(cursor: KafkaCursor, end: int) -> list[Record]:
    records: list[Record] = []
    give_up = time.monotonic() + 20
    while cursor.position < end:
        assert time.monotonic() < give_up, f"stuck at {cursor.position} of {end}"
        records += cursor.fetch(100, 0.2)
    return records


def test_a_dead_writers_open_transaction_hides_newer_state_until_it_is_ended_but_not_the_bound(
    settings: ConnectionSettings, broker: KafkaBroker, topic: str
) -> None:
    dead = client.producer(settings, f"{topic}-dead")
    dead.init_transactions()
    dead.begin_transaction()
    dead.send(topic, value=b"never committed", key=None, headers=[], partition=0).get(5)
    drop(dead)
    source, writer, tp = broker.source([topic]), broker.writer(f"{topic}-live"), TopicPartition(topic, 0)
    writer.open()
    writer.commit([Outgoing(topic, 0, b"state", b"newer")], {}, source.membership())

    bounds = broker.bounds(tp)
    cursor = broker.cursor(tp, 0)
    assert bounds == Bounds(0, 3)  # the dead writer's record, ours, and the mark of our commit
    assert list(cursor.fetch(100, 0.5)) == []
    assert cursor.position == 0

    broker.writer(f"{topic}-dead").open()
    assert [record.value for record in read_to(cursor, bounds.end)] == [b"newer"]
    assert cursor.position >= bounds.end


def test_the_position_passes_the_control_records_at_the_end(broker: KafkaBroker, topic: str) -> None:
    source, writer, tp = broker.source([topic]), broker.writer(topic), TopicPartition(topic, 0)
    writer.open()
    for value in (b"one", b"two"):
        writer.commit([Outgoing(topic, 0, None, value)], {}, source.membership())
    end = broker.bounds(tp).end
    assert end == 4
    assert [record.value for record in read_to(broker.cursor(tp, 1), end)] == [b"two"]


def test_a_start_before_the_first_record_is_moved_up_to_it(broker: KafkaBroker, topic: str) -> None:
    broker.publish([Outgoing(topic, 0, None, b"%d" % i) for i in range(3)])
    cursor = broker.cursor(TopicPartition(topic, 0), -5)
    assert cursor.position == 0
    assert [record.offset for record in read_to(cursor, 3)] == [0, 1, 2]


def test_a_start_after_the_end_waits_there(broker: KafkaBroker, topic: str) -> None:
    broker.publish([Outgoing(topic, 0, None, b"a")])
    cursor = broker.cursor(TopicPartition(topic, 0), 9)
    for _ in range(3):
        assert list(cursor.fetch(10, 0.2)) == []
    assert cursor.position == 9


def test_what_does_not_exist_has_no_bounds_and_no_cursor(broker: KafkaBroker, topic: str) -> None:
    for absent in (TopicPartition(topic, 1), TopicPartition(f"{topic}-absent", 0)):
        with pytest.raises(LookupError, match=absent.topic):
            broker.bounds(absent)
        with pytest.raises(LookupError, match=absent.topic):
            broker.cursor(absent, 0)


def test_a_topic_is_created_once_and_then_checked(broker: KafkaBroker, topic_prefix: str) -> None:
    spec = TopicSpec(f"{topic_prefix}state", 3, compacted=True, config={"max.message.bytes": "3000000"})
    assert broker.partitions(spec.name) is None
    broker.ensure(spec)
    broker.ensure(spec)
    assert broker.partitions(spec.name) == 3


@pytest.mark.parametrize(
    ("partitions", "compacted", "size", "complaint"),
    [
        (4, True, 1000, "has 3 partitions and needs 4.*--partitions 4"),
        (3, False, 1000, r"cleanup\.policy is 'compact' and must be 'delete'.*--add-config cleanup\.policy=delete"),
        (3, True, 9_000_000, r"max\.message\.bytes is 3000000 and must be at least 9000000"),
    ],
)
def test_a_topic_that_would_lose_data_is_refused_and_the_error_says_what_to_do(
    broker: KafkaBroker, topic_prefix: str, partitions: int, compacted: bool, size: int, complaint: str
) -> None:
    name = f"{topic_prefix}state"
    broker.ensure(TopicSpec(name, 3, compacted=True, config={"max.message.bytes": "3000000"}))
    with pytest.raises(TopicMismatch, match=complaint):
        broker.ensure(TopicSpec(name, partitions, compacted=compacted, config={"max.message.bytes": str(size)}))


def test_a_replication_that_the_cluster_cannot_give_is_named(settings: ConnectionSettings, topic_prefix: str) -> None:
    broker = KafkaBroker(replace(settings, replication=3))
    with pytest.raises(TopicMismatch, match="replication 3"):
        broker.ensure(TopicSpec(f"{topic_prefix}wide", 1, compacted=False))
    broker.close()
