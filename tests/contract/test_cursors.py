"""Claims about reading one partition outside the group."""

from __future__ import annotations

from typing import TYPE_CHECKING

from daemon.types import Outgoing, TopicPartition

if TYPE_CHECKING:
    from tests.contract.conftest import World


def publish(world: World, partition: TopicPartition, *values: bytes) -> None:
    world.door.publish([Outgoing(partition.topic, partition.partition, b"k", value) for value in values])


def open_below(world: World, partition: TopicPartition, *values: bytes) -> str:
    """Leave a transaction open that holds `values`; return its identity."""
    identity = world.name("writer")
    world.leave_open(identity, [Outgoing(partition.topic, partition.partition, b"k", value) for value in values])
    return identity


def test_a_cursor_reads_from_where_it_was_told_to_start(world: World) -> None:
    partition = world.partition()
    publish(world, partition, b"0", b"1", b"2", b"3")
    assert [(record.offset, record.value) for record in world.read(partition, start=2)] == [(2, b"2"), (3, b"3")]


def test_a_cursor_brings_no_more_than_asked_and_the_rest_next(world: World) -> None:
    partition = world.partition()
    publish(world, partition, *(b"%d" % number for number in range(5)))
    cursor = world.door.cursor(partition, 0)
    found: list[bytes | None] = []

    def all_read() -> bool:
        records = cursor.fetch(2, 0.2)
        assert len(records) <= 2
        found.extend(record.value for record in records)
        if records:
            assert cursor.position >= records[-1].offset + 1
        return len(found) >= 5

    world.until(all_read, "five records")
    assert found == [b"0", b"1", b"2", b"3", b"4"]
    assert cursor.position == 5
    cursor.close()


def test_a_cursor_at_the_end_brings_nothing_and_stays_until_something_comes(world: World) -> None:
    partition = world.partition()
    publish(world, partition, b"old")
    cursor = world.door.cursor(partition, 1)
    assert not cursor.fetch(10, world.quiet_seconds)
    assert cursor.position == 1
    publish(world, partition, b"new")
    found: list[bytes | None] = []

    def came() -> bool:
        found.extend(record.value for record in cursor.fetch(10, 0.2))
        return bool(found)

    world.until(came, "the new record")
    assert found == [b"new"]
    cursor.close()


def test_a_cursor_starts_at_the_first_offset_when_told_to_start_below_it(world: World) -> None:
    partition = world.partition()
    publish(world, partition, b"0", b"1", b"2", b"3")
    world.trim(partition, 3)
    cursor = world.door.cursor(partition, 0)
    assert cursor.position == 3
    cursor.close()
    assert world.values(partition) == [b"3"]


def test_two_cursors_do_not_disturb_each_other(world: World) -> None:
    partition = world.partition()
    publish(world, partition, b"0", b"1")
    ahead, behind = world.door.cursor(partition, 1), world.door.cursor(partition, 0)
    world.until(lambda: ahead.position == 2 or bool(ahead.fetch(10, 0.2)), "one cursor at the end")
    assert behind.position == 0
    assert world.values(partition) == [b"0", b"1"]
    ahead.close()
    behind.close()


def test_the_position_passes_the_control_record_of_a_committed_transaction(world: World) -> None:
    partition = world.partition()
    broker = world.broker()
    writer = broker.writer(world.name("writer"))
    writer.open()
    writer.commit([Outgoing(partition.topic, 0, b"k", b"v")], {}, broker.source([partition.topic]).membership())
    world.until(lambda: world.door.bounds(partition).end == 2, "the control record")
    assert world.values(partition) == [b"v"]  # and the position came to 2, or this would not have returned


def test_the_position_passes_aborted_records_up_to_the_high_watermark(world: World) -> None:
    partition = world.partition()
    identity = open_below(world, partition, b"aborted", b"aborted too")
    writer = world.door.writer(identity)
    writer.open()
    world.until(lambda: world.door.bounds(partition).end == 3, "the control record")
    assert world.values(partition) == []


def test_an_open_transaction_hides_what_was_committed_after_it(world: World) -> None:
    partition = world.partition()
    publish(world, partition, b"before")
    open_below(world, partition, b"open")
    publish(world, partition, b"after")
    assert world.peek(partition) == [b"before"]


def test_a_cursor_does_not_pass_an_open_transaction(world: World) -> None:
    partition = world.partition()
    publish(world, partition, b"before")
    open_below(world, partition, b"open")
    cursor = world.door.cursor(partition, 1)
    assert not cursor.fetch(10, world.quiet_seconds)
    assert cursor.position == 1
    assert world.door.bounds(partition).end == 2
    cursor.close()


def test_opening_an_identity_again_ends_what_it_left_open(world: World) -> None:
    partition = world.partition()
    identity = open_below(world, partition, b"open")
    publish(world, partition, b"after")
    writer = world.door.writer(identity)
    writer.open()
    assert world.values(partition) == [b"after"]
