"""Claims about where a group stands: what the first stage of a repartitioned input goes by."""

from __future__ import annotations

from typing import TYPE_CHECKING

from daemon.types import Outgoing, TopicPartition

if TYPE_CHECKING:
    from tests.contract.conftest import World


def test_there_is_no_lag_where_nothing_is_left_to_read(world: World) -> None:
    topic = world.topic(partitions=3)
    plain, told, empty = (TopicPartition(topic, number) for number in range(3))
    broker = world.broker()
    source = broker.source([topic])
    for partition in world.joined(source, 3):
        source.resume_at(partition, 0)
    writer = broker.writer(world.name("writer"))
    writer.open()
    world.door.publish([Outgoing(*plain, b"k", b"0")])
    writer.commit([Outgoing(*told, b"k", b"1")], {}, source.membership())  # what ends it lies behind the record

    def is_read() -> bool:
        source.poll(100, 0.05)
        return source.lag() == {plain: 0, told: 0, empty: 0}

    world.until(is_read, "no lag anywhere")


def test_a_member_may_ask_where_its_group_stands_in_a_topic_that_it_does_not_read(world: World) -> None:
    before, now, group = world.partition(), world.partition(), world.name("group")
    earlier = world.broker(group)
    source, writer = world.reading(earlier, before), earlier.writer(world.name("writer"))
    writer.open()
    writer.commit([], {before: 4}, source.membership())
    source.close()
    later = world.reading(world.broker(group), now)
    assert (later.committed(before), later.committed(now)) == (4, None)
