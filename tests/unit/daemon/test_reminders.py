"""Reminders: what is open is told again, what is over for a while, and neither without bounds."""

from __future__ import annotations

import pytest

from daemon import events
from daemon.delivery import (
    BLIND_SECONDS_MAX,
    CLOSED_SECONDS,
    MEASURE_SECONDS,
    OPEN_MAX,
    TELL_SECONDS,
)
from daemon.errors import BrokerUnavailable, NoticeRefused
from daemon.memory import Operation
from daemon.memory.faults import no_faults
from tests.told import START_MS, event
from tests.unit.daemon.delivered import (
    REMIND_SECONDS,
    Pager,
    World,
    begun,
    raising,
    reminded,
)


def test_what_is_open_is_told_again_and_again_and_what_is_over_for_a_while() -> None:
    world = World(Pager(REMIND_SECONDS))
    delivery = begun(world)
    world.write(event(stream="a"), event(stream="b"), event("close", stream="b"))
    world.turn(delivery)
    world.pager.taken.clear()
    reminded(world, delivery)
    assert world.pager.told == [("a", "open"), ("b", "over")]
    world.clock += CLOSED_SECONDS
    world.pager.taken.clear()
    reminded(world, delivery)
    assert world.pager.told == [("a", "open")]


def test_an_alert_that_came_back_is_not_told_to_be_over() -> None:
    world = World(Pager(REMIND_SECONDS))
    delivery = begun(world)
    world.write(event(), event("close"), event(at_ms=START_MS + 90_000))
    world.turn(delivery)
    world.pager.taken.clear()
    reminded(world, delivery)
    assert world.pager.told == [(event().stream, "open")]


def test_reminders_go_on_after_a_restart_and_where_a_partition_moved_to() -> None:
    world = World(Pager(REMIND_SECONDS))
    delivery = begun(world)
    world.write(event(stream="a"), event(stream="b"), event("close", stream="b"))
    world.turn(delivery)
    delivery.close()
    world.pager.taken.clear()
    heir = world.delivery("two")
    world.turn(heir)
    assert world.pager.told == []  # it was told before
    reminded(world, heir)
    assert world.pager.told == [("a", "open")]
    delivery_of_both = world.delivery("three")
    world.turn(heir, delivery_of_both)
    world.pager.taken.clear()
    world.clock += REMIND_SECONDS
    world.turn(heir, delivery_of_both, turns=2)
    assert world.pager.told == [("a", "open")]  # by one of them


def test_reminders_are_bounded() -> None:
    world = World(Pager(REMIND_SECONDS))
    delivery = begun(world)
    world.write(*(event(stream=f"s{i}") for i in range(OPEN_MAX + 5)))
    world.turn(delivery, turns=OPEN_MAX // 100)
    assert len(world.pager.taken) == OPEN_MAX + 5
    world.write(event("update", stream="s5"), event(stream="last"))  # what was heard of last goes last
    world.turn(delivery)
    world.pager.taken.clear()
    reminded(world, delivery)
    assert [stream for stream, _ in world.pager.told] == [*(f"s{i}" for i in range(7, OPEN_MAX + 5)), "s5", "last"]
    world.clock += MEASURE_SECONDS
    world.turn(delivery, turns=1)
    assert world.said(events.DeliveryMeasured)[-1] == events.DeliveryMeasured("pager", 0, OPEN_MAX)


def test_reminders_go_on_while_kafka_does_not_answer_and_not_for_ever() -> None:
    world = World(Pager(REMIND_SECONDS))
    delivery = begun(world)
    world.write(event())
    world.turn(delivery)
    world.pager.taken.clear()
    world.faults = unavailable
    for _ in range(30):
        world.clock += REMIND_SECONDS
        with pytest.raises(BrokerUnavailable):
            delivery.turn()  # which may take as long as it likes to say so
    assert len(world.pager.taken) == 1 + BLIND_SECONDS_MAX // REMIND_SECONDS
    world.faults = no_faults
    world.turn(delivery)
    world.pager.taken.clear()
    reminded(world, delivery)
    assert world.pager.told == [(event().stream, "open")]


def unavailable(_operation: Operation) -> None:
    raise BrokerUnavailable("away")


def test_a_look_at_the_open_alerts_that_takes_long_leaves_time_to_tell_them() -> None:
    world = World()
    world.write(event())

    def slowly(operation: Operation) -> None:
        world.clock += 2 * TELL_SECONDS if operation == "fetch" else 0.0

    world.faults = slowly
    begun(world)
    assert world.pager.told == [(event().stream, "open")]


def test_what_was_refused_is_no_reminder() -> None:
    world = World(Pager(REMIND_SECONDS))
    delivery = begun(world)
    world.pager.answer = raising(NoticeRefused("what a name"))
    world.write(event())
    world.turn(delivery)
    reminded(world, delivery)
    assert len(world.said(events.DeliveryRefused)) == 1


def test_a_storm_of_alerts_that_are_over_takes_no_open_one_out_of_the_reminders() -> None:
    world = World(Pager(REMIND_SECONDS))
    delivery = begun(world)
    world.write(event(stream="open"), *(event("close", f"s{i}") for i in range(OPEN_MAX)))
    world.turn(delivery, turns=OPEN_MAX // 100)
    world.pager.taken.clear()
    reminded(world, delivery)
    assert ("open", "open") in world.pager.told
    assert len(world.pager.taken) == OPEN_MAX
