"""Claims about a source that reads other topics than it began with."""

from __future__ import annotations

from typing import TYPE_CHECKING

from daemon.types import Outgoing
from tests.contract.test_groups import Seat, filled

if TYPE_CHECKING:
    from tests.contract.conftest import World


def test_a_topic_that_a_source_reads_later_is_delivered_and_what_it_had_stays(world: World) -> None:
    old = filled(world)
    seat = Seat(world.reading(world.broker(), old))
    seat.owned.add(old)
    assert len(world.take(seat.source, 10)) == 10
    new = filled(world)
    seat.source.read([old.topic, new.topic])

    def read() -> bool:
        seat.poll()
        return len(seat.found) >= 10

    world.until(read, "the records of the topic that was added")
    assert seat.owned == {old, new}
    assert {partition for partition, _ in seat.found} == {new}  # where we stood in the old one we stand still
    world.door.publish([Outgoing(old.topic, 0, b"k", b"more")])

    def read_on() -> bool:
        seat.poll()
        return (old, b"more") in seat.found

    world.until(read_on, "what comes in the old one")
