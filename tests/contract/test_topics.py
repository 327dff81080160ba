"""Claims about topics, bounds and plain writing."""

from __future__ import annotations

import time
from random import Random
from typing import TYPE_CHECKING

import pytest

from daemon.errors import TopicMismatch
from daemon.types import Bounds, Outgoing, TopicPartition, TopicSpec

if TYPE_CHECKING:
    from tests.contract.conftest import World


def test_a_topic_that_does_not_exist_has_no_partition_count(world: World) -> None:
    assert world.door.partitions(world.name("absent")) is None


@pytest.mark.parametrize("compacted", [True, False])
def test_ensure_creates_a_topic_and_accepts_the_same_again(world: World, compacted: bool) -> None:
    spec = TopicSpec(world.name("topic"), 3, compacted)
    world.door.ensure(spec)
    world.door.ensure(spec)
    assert world.door.partitions(spec.name) == 3


def test_ensure_accepts_more_partitions_than_are_needed(world: World) -> None:
    topic = world.topic(partitions=3)
    world.door.ensure(TopicSpec(topic, 2, compacted=False))
    assert world.door.partitions(topic) == 3


def test_ensure_refuses_fewer_partitions_and_names_topic_and_setting(world: World) -> None:
    topic = world.topic(partitions=2)
    with pytest.raises(TopicMismatch, match=rf"(?s){topic}.*partitions") as refusal:
        world.door.ensure(TopicSpec(topic, 4, compacted=False))
    assert "2" in str(refusal.value)
    assert "4" in str(refusal.value)


@pytest.mark.parametrize("compacted", [True, False])
def test_ensure_refuses_another_cleanup_policy_and_names_topic_and_setting(
    world: World,
    compacted: bool,
) -> None:
    topic = world.topic(compacted=compacted)
    with pytest.raises(TopicMismatch, match=rf"(?s){topic}.*cleanup\.policy"):
        world.door.ensure(TopicSpec(topic, 1, compacted=not compacted))


def test_ensure_refuses_a_topic_whose_records_may_not_be_large_enough(world: World) -> None:
    topic = world.topic(config={"max.message.bytes": "2000"})
    world.door.ensure(TopicSpec(topic, 1, compacted=False, config={"max.message.bytes": "2000"}))
    with pytest.raises(TopicMismatch, match=rf"(?s){topic}.*max\.message\.bytes"):
        world.door.ensure(TopicSpec(topic, 1, compacted=False, config={"max.message.bytes": "3000"}))


def test_a_record_that_a_topic_cannot_take_is_refused_with_the_topics_settings_to_blame(world: World) -> None:
    partition = TopicPartition(world.topic(config={"max.message.bytes": "2000"}), 0)
    with pytest.raises(TopicMismatch):
        world.door.publish([Outgoing(partition.topic, 0, b"k", Random(1).randbytes(10_000))])
    assert world.values(partition) == []


def test_a_growable_topic_is_given_the_partitions_that_it_lacks_and_keeps_those_it_has(world: World) -> None:
    topic = world.topic(partitions=2)
    world.door.publish([Outgoing(topic, 1, b"k", b"kept")])
    world.door.ensure(TopicSpec(topic, 4, compacted=False, growable=True))
    assert world.door.partitions(topic) == 4
    world.door.ensure(TopicSpec(topic, 3, compacted=False, growable=True))
    assert world.door.partitions(topic) == 4
    assert world.values(TopicPartition(topic, 1)) == [b"kept"]
    assert world.door.bounds(TopicPartition(topic, 3)) == Bounds(0, 0)


def test_a_topic_has_an_id_that_no_other_has_ever_had(world: World) -> None:
    topic = world.topic()
    first, other = world.door.topic_id(topic), world.door.topic_id(world.topic())
    assert first == world.door.topic_id(topic)
    world.delete(topic)
    assert world.door.topic_id(topic) is None
    world.door.ensure(TopicSpec(topic, 1, compacted=False))
    assert len({first, other, world.door.topic_id(topic)}) == 3


def test_an_unused_partition_begins_and_ends_at_zero(world: World) -> None:
    assert world.door.bounds(world.partition()) == Bounds(0, 0)


def test_bounds_include_an_open_transaction(world: World) -> None:
    partition = world.partition()
    world.leave_open(world.name("writer"), [Outgoing(partition.topic, 0, b"k", b"open")] * 3)
    assert world.door.bounds(partition) == Bounds(0, 3)


def test_bounds_begin_where_retention_has_left_off(world: World) -> None:
    partition = world.partition()
    world.door.publish([Outgoing(partition.topic, 0, b"k", b"%d" % number) for number in range(5)])
    world.trim(partition, 2)
    assert world.door.bounds(partition) == Bounds(2, 5)


def test_published_records_are_visible_at_once_and_in_order(world: World) -> None:
    partition = world.partition()
    world.door.publish([Outgoing(partition.topic, 0, b"k", b"%d" % number) for number in range(100)])
    records = world.read(partition)
    assert [record.value for record in records] == [b"%d" % number for number in range(100)]
    assert [record.offset for record in records] == list(range(100))


def test_a_published_record_lands_in_the_partition_that_it_names(world: World) -> None:
    topic = world.topic(partitions=3)
    world.door.publish([Outgoing(topic, number, b"same key", b"%d" % number) for number in (2, 0, 1)])
    assert [world.values(TopicPartition(topic, number)) for number in range(3)] == [[b"0"], [b"1"], [b"2"]]


def test_records_with_one_key_and_no_partition_stay_together(world: World) -> None:
    topic = world.topic(partitions=3)
    world.door.publish([Outgoing(topic, None, b"one key", b"%d" % number) for number in range(6)])
    found = [world.values(TopicPartition(topic, number)) for number in range(3)]
    assert sorted(found) == [[], [], [b"%d" % number for number in range(6)]]


def test_a_record_carries_the_time_at_which_it_was_written(world: World) -> None:
    partition = world.partition()
    world.door.publish([Outgoing(partition.topic, 0, b"k", b"v")])
    assert abs(world.read(partition)[0].timestamp - time.time() * 1000) < 60_000


@pytest.mark.parametrize(
    ("key", "value", "headers"),
    [
        pytest.param(None, b"value", (), id="null key"),
        pytest.param(b"", b"", (), id="empty key and value"),
        pytest.param(b"key", None, (), id="tombstone"),
        pytest.param(b"key", b"v", (("a", b"1"), ("b", b""), ("a", b"2")), id="repeated and empty headers"),
        pytest.param("Ströme/東京".encode(), "℃ 🌡".encode(), (("größe", "grün".encode()),), id="unicode"),
        pytest.param(bytes(range(256)), bytes(range(256)) * 400, (), id="every byte, 100 KiB"),
    ],
)
def test_a_record_survives_unchanged(
    world: World, key: bytes | None, value: bytes | None, headers: tuple[tuple[str, bytes], ...]
) -> None:
    partition = world.partition()
    world.door.publish([Outgoing(partition.topic, 0, key, value, headers)])
    (record,) = world.read(partition)
    assert (record.key, record.value, tuple(record.headers)) == (key, value, headers)


def test_every_topic_that_there_is_has_its_name_told(world: World) -> None:
    assert not any(name.startswith(world.prefix) for name in world.door.topics())
    made = {world.topic(), world.topic(compacted=True)}
    assert made <= set(world.door.topics())
