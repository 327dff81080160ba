"""Claims about a group's share of the input."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from daemon.errors import TransactionFailed
from daemon.ports import Broker, Source
from daemon.types import Outgoing, TopicPartition, TopicSpec

if TYPE_CHECKING:
    from tests.contract.conftest import World


def filled(world: World, records: int = 10) -> TopicPartition:
    """Create a partition that holds `records` numbered records."""
    partition = world.partition()
    world.door.publish([Outgoing(partition.topic, 0, b"k", b"%d" % number) for number in range(records)])
    return partition


class Seat:
    """A source polled as a daemon polls it: what comes is read from its beginning, what goes is forgotten."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.owned: set[TopicPartition] = set()
        self.found: set[tuple[TopicPartition, bytes | None]] = set()

    def poll(self) -> None:
        """Poll once, for a moment."""
        polled = self.source.poll(100, 0.1)
        self.owned -= polled.revoked
        for partition in polled.assigned:
            self.source.resume_at(partition, 0)
        self.owned |= polled.assigned
        self.found.update((partition, record.value) for partition, part in polled.records.items() for record in part)


def balanced(world: World, first: Seat, second: Seat) -> None:
    """Poll both until each has as many partitions as the other. A member that is not polled holds up the other."""

    def done() -> bool:
        first.poll()
        second.poll()
        return bool(second.owned) and len(first.owned) == len(second.owned)

    world.until(done, "as many partitions for the second source as for the first")


def pair(world: World, partitions: int) -> tuple[str, Broker, Seat, Seat]:
    """Return a topic, the first source's broker, that source with all partitions, and one that just entered."""
    topic, group = world.topic(partitions), world.name("group")
    broker = world.broker(group)
    first = Seat(broker.source([topic]))
    first.owned |= world.joined(first.source, partitions)
    for partition in first.owned:
        first.source.resume_at(partition, 0)
    return topic, broker, first, Seat(world.broker(group).source([topic]))


def test_a_newly_assigned_partition_delivers_nothing_until_it_is_resumed(world: World) -> None:
    partition = filled(world)
    source = world.broker().source([partition.topic])
    assert world.joined(source, 1) == {partition}
    assert world.hears_nothing(source)
    source.resume_at(partition, 4)
    assert [record.offset for record in world.take(source, 6)] == [4, 5, 6, 7, 8, 9]


def test_a_poll_brings_no_more_than_asked_and_the_rest_next(world: World) -> None:
    partition = filled(world)
    source = world.reading(world.broker(), partition)
    found: list[int] = []

    def all_read() -> bool:
        records = source.poll(4, 0.2).records.get(partition, ())
        assert len(records) <= 4
        found.extend(record.offset for record in records)
        return len(found) >= 10

    world.until(all_read, "ten records")
    assert found == list(range(10))


def test_resuming_further_back_delivers_the_same_records_again(world: World) -> None:
    partition = filled(world)
    source = world.reading(world.broker(), partition)
    before = [(record.offset, record.value) for record in world.take(source, 10)]
    source.resume_at(partition, 3)
    again = [(record.offset, record.value) for record in world.take(source, 7)]
    assert again == before[3:]


def test_a_paused_partition_delivers_nothing_not_even_what_was_fetched_ahead(world: World) -> None:
    partition = filled(world)
    source = world.reading(world.broker(), partition)
    assert len(world.take(source, 2, records_max=2)) == 2
    source.pause(partition)
    assert world.hears_nothing(source)
    source.resume_at(partition, 2)
    assert [record.offset for record in world.take(source, 8)] == [2, 3, 4, 5, 6, 7, 8, 9]


def test_pausing_one_partition_leaves_the_others_alone(world: World) -> None:
    topic = world.topic(partitions=2)
    held, free = TopicPartition(topic, 0), TopicPartition(topic, 1)
    source = world.broker().source([topic])
    for partition in world.joined(source, 2):
        source.resume_at(partition, 0)
    source.pause(held)
    world.door.publish([Outgoing(topic, number, b"k", b"%d" % number) for number in (0, 1)])
    assert [record.value for record in world.take(source, 1)] == [b"1"]
    assert world.hears_nothing(source)
    source.resume_at(held, 0)
    assert [record.value for record in world.take(source, 1)] == [b"0"]
    assert set(source.lag()) == {held, free}


def test_a_source_reads_several_topics(world: World) -> None:
    topics = [world.topic(), world.topic()]
    source = world.broker().source(topics)
    for partition in world.joined(source, 2):
        source.resume_at(partition, 0)
    world.door.publish([Outgoing(topic, 0, b"k", topic.encode()) for topic in topics])
    assert {record.value for record in world.take(source, 2)} == {topic.encode() for topic in topics}


def test_a_source_waits_before_an_open_transaction_and_skips_an_aborted_one(world: World) -> None:
    partition, identity = filled(world, records=2), world.name("writer")
    world.leave_open(identity, [Outgoing(partition.topic, 0, b"k", b"open")])
    world.door.publish([Outgoing(partition.topic, 0, b"k", b"after")])
    source = world.reading(world.broker(), partition)
    assert [record.value for record in world.take(source, 2)] == [b"0", b"1"]
    assert world.hears_nothing(source)
    world.door.writer(identity).open()
    assert [record.value for record in world.take(source, 1)] == [b"after"]


def went_and_came(world: World, source: Source, partition: TopicPartition) -> bool:
    """Poll until a partition is revoked and, then or later, assigned; return whether it was silent until then."""
    found: list[object] = []
    went: list[bool] = []

    def done() -> bool:
        world.hasten(source)
        polled = source.poll(100, 0.1)
        found.extend(polled.records)
        went.extend([True] * (partition in polled.revoked))
        return bool(went) and partition in polled.assigned

    world.until(done, f"{partition} gone and back")
    return not found


def test_where_retention_has_passed_us_a_partition_goes_and_comes_back(world: World) -> None:
    partition = filled(world)
    world.trim(partition, 7)
    source = world.reading(world.broker(), partition)
    assert went_and_came(world, source, partition)
    source.resume_at(partition, 7)
    assert [record.offset for record in world.take(source, 3)] == [7, 8, 9]


def test_a_partition_that_ends_before_our_position_goes_and_comes_back(world: World) -> None:
    partition = filled(world)
    source = world.reading(world.broker(), partition)
    source.resume_at(partition, 500)
    assert went_and_came(world, source, partition)
    assert world.hears_nothing(source)


@pytest.mark.parametrize("records", [3, 40])
def test_a_topic_that_was_deleted_and_created_again_goes_and_comes_back(world: World, records: int) -> None:
    partition, old = filled(world), world.broker()
    source = world.reading(old, partition)
    world.take(source, 10)
    writer = old.writer(world.name("writer"))
    writer.open()
    writer.commit([], {partition: 10}, source.membership())
    was = world.door.topic_id(partition.topic)
    world.delete(partition.topic)
    world.door.ensure(TopicSpec(partition.topic, 1, compacted=False))
    world.door.publish([Outgoing(partition.topic, 0, b"k", b"%d" % number) for number in range(records)])
    assert world.door.topic_id(partition.topic) != was
    assert went_and_came(world, source, partition)
    assert source.committed(partition) is None
    source.resume_at(partition, 0)
    seat = Seat(source)  # it may go and come once more: one may hear of it in several ways

    def all_read() -> bool:
        seat.poll()
        return len(seat.found) >= records

    world.until(all_read, "all records of the new topic")
    assert seat.found == {(partition, b"%d" % number) for number in range(records)}


def test_partitions_added_to_a_topic_come_to_the_group_that_reads_it(world: World) -> None:
    topic = world.topic(1)
    source = world.broker().source([topic])
    world.joined(source, 1)
    world.grow(topic, 3)
    given: set[TopicPartition] = set()

    def came() -> bool:
        world.hasten(source)
        given.update(source.poll(100, 0.1).assigned)
        return len(given) == 2

    world.until(came, "the new partitions")
    assert given == {TopicPartition(topic, 1), TopicPartition(topic, 2)}


def test_what_leaves_may_be_written_until_the_next_poll_and_nobody_has_it_before(world: World) -> None:
    _, broker, first, second = pair(world, partitions=2)
    writer = broker.writer(world.name("writer"))
    writer.open()
    leaving: set[TopicPartition] = set()

    def told() -> bool:
        second.poll()
        polled = first.source.poll(100, 0.1)
        assert polled.leaving <= polled.revoked
        leaving.update(polled.leaving)
        return bool(leaving)

    world.until(told, "a partition that leaves")
    (moved,) = leaving
    for _ in range(5):  # however much time passes
        second.poll()
    assert moved not in second.owned
    writer.commit([], {moved: 7}, first.source.membership())
    first.owned -= leaving
    balanced(world, first, second)
    assert second.owned == leaving
    assert second.source.committed(moved) == 7


def test_lag_counts_what_was_not_polled(world: World) -> None:
    partition = filled(world)
    source = world.reading(world.broker(), partition)
    polled = len(world.take(source, 1, records_max=4))
    assert source.lag() == {partition: 10 - polled}
    world.take(source, 10 - polled)
    assert source.lag() == {partition: 0}


def test_the_committed_offset_is_where_the_next_member_begins(world: World) -> None:
    partition, group = filled(world), world.name("group")
    broker = world.broker(group)
    source = world.reading(broker, partition)
    assert source.committed(partition) is None
    writer = broker.writer(world.name("writer"))
    writer.open()
    writer.commit([], {partition: 6}, source.membership())
    broker.close()
    successor = world.broker(group).source([partition.topic])
    world.joined(successor, 1)
    assert successor.committed(partition) == 6


def test_closing_a_broker_takes_its_sources_out_of_the_group_also_those_nobody_holds(world: World) -> None:
    partition, group = world.partition(), world.name("group")
    broker = world.broker(group)
    assert world.joined(broker.source([partition.topic]), 1) == {partition}
    broker.close()
    assert world.joined(world.broker(group).source([partition.topic]), 1) == {partition}


def test_two_sources_of_a_group_share_the_partitions(world: World) -> None:
    topic, _, first, second = pair(world, partitions=4)
    balanced(world, first, second)
    assert not first.owned & second.owned
    assert first.owned | second.owned == {TopicPartition(topic, number) for number in range(4)}


def test_both_sources_deliver_their_share_and_nothing_else(world: World) -> None:
    topic, _, first, second = pair(world, partitions=2)
    balanced(world, first, second)
    world.door.publish([Outgoing(topic, number, b"k", b"%d" % number) for number in range(2)])

    def done() -> bool:
        first.poll()
        second.poll()
        return len(first.found) + len(second.found) == 2

    world.until(done, "both records")
    assert first.found == {(partition, b"%d" % partition.partition) for partition in first.owned}
    assert second.found == {(partition, b"%d" % partition.partition) for partition in second.owned}


def test_resuming_a_partition_that_went_to_another_source_has_no_effect(world: World) -> None:
    topic, _, first, second = pair(world, partitions=2)
    balanced(world, first, second)
    (moved,) = second.owned
    first.source.resume_at(moved, 0)
    world.door.publish([Outgoing(topic, number, b"k", b"%d" % number) for number in range(2)])

    def done() -> bool:
        first.poll()
        second.poll()
        return bool(first.found and second.found)

    world.until(done, "both records")
    assert moved not in {partition for partition, _ in first.found}
    assert moved not in first.source.lag()


def test_a_partition_that_stays_is_neither_revoked_nor_paused_by_a_rebalance(world: World) -> None:
    topic, _, first, second = pair(world, partitions=2)
    came: list[TopicPartition] = []

    def done() -> bool:
        second.poll()
        polled = first.source.poll(100, 0.1)
        first.owned -= polled.revoked
        came.extend(polled.assigned)
        return bool(second.owned)

    world.until(done, "a partition for the second source")
    assert len(first.owned) == 1
    world.door.publish([Outgoing(topic, number, b"k", b"%d" % number) for number in range(2)])
    first.found.clear()

    def delivered() -> bool:
        second.poll()
        first.poll()
        return bool(first.found)

    world.until(delivered, "a record of the partition that stayed")
    assert not came


def test_a_membership_from_before_a_rebalance_moves_no_offsets(world: World) -> None:
    _, broker, first, second = pair(world, partitions=2)
    out, stale = world.partition(), first.source.membership()
    balanced(world, first, second)
    (moved,) = second.owned
    writer = broker.writer(world.name("writer"))
    writer.open()
    with pytest.raises(TransactionFailed):
        writer.commit([Outgoing(out.topic, 0, b"k", b"late")], {moved: 5}, stale)
    writer.open()
    assert world.values(out) == []
    assert second.source.committed(moved) is None


def test_the_new_owner_of_a_partition_commits_it(world: World) -> None:
    _, broker, first, second = pair(world, partitions=2)
    balanced(world, first, second)
    (moved,) = second.owned
    writer = broker.writer(world.name("writer"))

    def committed() -> bool:
        first.poll()
        second.poll()
        writer.open()
        try:
            writer.commit([], {moved: 5}, second.source.membership())
        except TransactionFailed:  # one more rebalance was under way
            return False
        return True

    world.until(committed, "a commit by the new owner")
    assert second.source.committed(moved) == 5


def test_a_turn_under_way_when_another_member_enters_can_still_be_committed(world: World) -> None:
    topic, broker, first, second = pair(world, partitions=2)
    partition = TopicPartition(topic, 0)
    writer = broker.writer(world.name("writer"))
    writer.open()
    assert not second.source.poll(100, world.quiet_seconds).assigned  # the first has not given anything up
    for last in [*[False] * (world.commits_max - 1), True]:
        try:
            writer.commit([], {partition: 5}, first.source.membership())
            break
        except TransactionFailed:
            if last:
                raise
            writer.open()
    assert first.source.committed(partition) == 5


def test_what_a_leaving_source_read_goes_to_the_one_that_stays(world: World) -> None:
    topic, _, first, second = pair(world, partitions=2)
    balanced(world, first, second)
    first.source.close()

    def complete() -> bool:
        second.poll()
        return second.owned == {TopicPartition(topic, number) for number in range(2)}

    world.until(complete, "all partitions for the one that stays")
