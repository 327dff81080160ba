"""The delivery of alerts: everything at least once and in order, whatever fails; and what a new receiver hears."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest

from daemon import events
from daemon.delivery import (
    MEASURE_SECONDS,
    POLL_SECONDS,
    RETRY_SECONDS_MAX,
    TELL_SECONDS,
)
from daemon.errors import BrokerUnavailable, Fenced, NoticeRefused, ReceiverUnavailable, TransactionFailed
from daemon.memory import MemoryBroker, Operation
from daemon.memory.faults import no_faults
from daemon.notices import Notice
from daemon.types import Bounds, Outgoing, TopicPartition
from tests.told import START_MS, event
from tests.unit.daemon.delivered import (
    REMIND_SECONDS,
    TOPIC,
    Died,
    Pager,
    World,
    begun,
    dying_at,
    raising,
    silenced,
)


def test_every_change_is_told_in_the_order_of_its_stream() -> None:
    world = World()
    delivery = begun(world)
    world.write(event(), event("update", score=9.0), event(stream="b"))
    world.write(event("close"), partition=0)
    world.write(event(stream="c"), event("close", stream="c"), partition=1)
    world.turn(delivery)
    of = {name: [state for stream, state in world.pager.told if stream == name] for name in (event().stream, "b", "c")}
    assert of == {event().stream: ["open", "open", "over"], "b": ["open"], "c": ["open", "over"]}
    assert sum(each.count for each in world.noted if isinstance(each, events.Delivered)) == 6


def test_a_receiver_that_is_new_is_told_what_is_open_and_nothing_of_what_is_over() -> None:
    world = World()
    world.write(event(stream="over"), event("close", stream="over"), event(stream="open"))
    world.write(event(stream="also"), partition=1)
    begun(world)
    assert sorted(world.pager.told) == [("also", "open"), ("open", "open")]


def test_a_new_receiver_that_does_not_answer_is_told_once_it_does() -> None:
    world = World()
    world.write(event())
    world.pager.answer = raising(ReceiverUnavailable("away"))
    delivery = begun(world)
    world.write(event("close"))
    world.turn(delivery)
    world.pager.answer = lambda _notices: None
    world.clock += RETRY_SECONDS_MAX
    world.turn(delivery)
    assert world.pager.told == []  # the alert was over by the time that anybody answered
    world.write(event(stream="later"))
    world.turn(delivery)
    assert world.pager.told[-1] == ("later", "open")


def test_what_a_new_receiver_was_told_to_be_open_does_not_end_unheard_when_the_process_dies() -> None:
    world = World()
    world.write(event())
    world.faults = dying_at("commit", 2)  # told, and not committed yet
    delivery = world.delivery()
    with pytest.raises(Died):
        world.turn(delivery)
    assert world.pager.told == [(event().stream, "open")]
    world.faults = no_faults
    silenced(world, delivery, "one")
    world.write(event("close"))
    world.turn(world.delivery())
    assert world.pager.told == [(event().stream, each) for each in ("open", "open", "over")]


def test_what_a_receiver_does_not_take_is_told_again_when_it_is_back_and_nothing_overtakes_it() -> None:
    world = World()
    delivery = begun(world)
    world.pager.answer = raising(ReceiverUnavailable("away"))
    world.write(event())
    world.turn(delivery)
    world.write(event("close"))
    world.turn(delivery, turns=100)
    assert world.pager.taken == []
    failed = world.said(events.DeliveryFailed)
    assert 3 <= len(failed) <= 8  # it is left alone for longer and longer
    world.pager.answer = lambda _notices: None
    world.clock += RETRY_SECONDS_MAX
    world.turn(delivery)
    assert world.pager.told == [(event().stream, "open"), (event().stream, "over")]


def test_a_process_that_follows_begins_where_the_last_one_had_committed() -> None:
    world = World()
    delivery = begun(world)
    world.write(event(stream="a"))
    world.turn(delivery)
    delivery.close()
    world.write(event(stream="b"))
    world.turn(world.delivery())
    assert world.pager.told == [("a", "open"), ("b", "open")]


def test_a_process_that_dies_between_telling_and_committing_has_its_last_words_told_again() -> None:
    world = World()
    delivery = begun(world)
    world.write(event(stream="a"))
    world.faults = dying_at("commit")
    with pytest.raises(Died):
        world.turn(delivery)
    world.faults = no_faults
    silenced(world, delivery, "one")
    world.turn(world.delivery())
    assert world.pager.told == [("a", "open"), ("a", "open")]


def test_what_was_told_and_could_not_be_committed_is_committed_later_and_not_told_twice() -> None:
    world = World()
    delivery = begun(world)
    world.write(event(stream="a"))
    failures = [TransactionFailed("nobody knows")]

    def fault(operation: Operation) -> None:
        if operation == "commit" and failures:
            raise failures.pop()

    world.faults = fault
    world.turn(delivery)
    assert not failures
    delivery.close()
    world.turn(world.delivery())
    assert world.pager.told == [("a", "open")]


def test_one_that_is_refused_takes_no_other_with_it() -> None:
    world = World()
    delivery = begun(world)

    def answer(notices: Sequence[Notice]) -> None:
        if any(dict(each.labels)["stream"] == "bad" for each in notices):
            raise NoticeRefused("what a name")

    world.pager.answer = answer
    world.write(event(stream="a"), event(stream="bad"), event(stream="c"))
    world.turn(delivery)
    assert world.pager.told == [("a", "open"), ("c", "open")]
    (refused,) = world.said(events.DeliveryRefused)
    assert refused == events.DeliveryRefused("pager", event(stream="bad").alert_id, "what a name")


def test_what_is_no_event_and_what_is_not_wanted_is_passed_over() -> None:
    world = World()
    delivery = world.delivery(wanted=lambda told: told.severity == "critical")
    world.turn(delivery)
    world.door.publish([Outgoing(TOPIC, 0, b"k", value) for value in (None, b"", b"{}", b"\xff")])
    world.write(event(stream="a"), event(stream="b", severity="critical"))
    world.turn(delivery)
    assert world.pager.told == [("b", "open")]
    world.clock += MEASURE_SECONDS
    world.turn(delivery)
    measured = world.said(events.DeliveryMeasured)[-1]
    assert isinstance(measured, events.DeliveryMeasured)
    assert measured.behind == 0


def test_two_processes_share_the_topic_and_one_takes_over_from_the_other() -> None:
    world = World()
    one, two = world.delivery("one"), world.delivery("two")
    world.turn(one, two)
    world.write(event(stream="a"), partition=0)
    world.write(event(stream="b"), partition=1)
    world.turn(one, two)
    assert sorted(world.pager.told) == [("a", "open"), ("b", "open")]
    one.close()
    world.write(event(stream="c"), partition=0)
    world.write(event(stream="d"), partition=1)
    world.turn(two, turns=20)
    assert sorted(world.pager.told)[2:] == [("c", "open"), ("d", "open")]


def test_two_processes_of_one_name_do_not_go_on_side_by_side() -> None:
    world = World()
    delivery = begun(world)
    world.turn(world.delivery())
    world.write(event(), partition=0)
    world.write(event(), partition=1)
    with pytest.raises(Fenced):
        world.turn(delivery)


def test_it_is_told_how_far_a_receiver_is_behind() -> None:
    world = World()
    delivery = begun(world)
    world.pager.answer = raising(ReceiverUnavailable("away"))
    world.write(*(event(stream=f"s{i}") for i in range(7)))
    world.turn(delivery)
    world.clock += MEASURE_SECONDS
    world.turn(delivery, turns=1)
    assert world.said(events.DeliveryMeasured)[-1] == events.DeliveryMeasured("pager", 7, 0)


@pytest.mark.parametrize("seed", range(30))
def test_whatever_fails_every_change_is_told_at_least_once_and_none_before_what_came_before_it(seed: int) -> None:
    chance, world = random.Random(seed), World(Pager(REMIND_SECONDS if seed % 2 else None))
    deliveries = {"one": begun(world)}

    def fault(_operation: Operation) -> None:
        if chance.random() < 0.02:
            raise chance.choice([BrokerUnavailable("away"), TransactionFailed("aborted"), Died()])

    def answer(_notices: Sequence[Notice]) -> None:
        if chance.random() < 0.2:
            raise ReceiverUnavailable("away")

    written: dict[str, list[str]] = {}
    world.faults, world.pager.answer = fault, answer
    for number in range(60):
        stream = f"s{chance.randrange(4)}"
        change = event("close" if number % 2 else "open", stream, START_MS + number)
        written.setdefault(stream, []).append(change.alert_id)
        world.write(change, partition=int(stream[1:]) % 2)
        name = chance.choice(["one", "two"])
        try:
            deliveries.setdefault(name, world.delivery(name)).turn()
        except (BrokerUnavailable, TransactionFailed):
            world.clock += 1.0
        except Died:
            dead = deliveries.pop(name)
            silenced(world, dead, name)
    world.faults, world.pager.answer = no_faults, lambda _notices: None
    for name in list(deliveries):
        silenced(world, deliveries.pop(name), name)
    world.clock += RETRY_SECONDS_MAX
    world.turn(world.delivery("last"), turns=60)
    for stream, expected in written.items():
        told = [one.alert_id for one in world.pager.taken if dict(one.labels)["stream"] == stream]
        firsts = list(dict.fromkeys(told))
        assert firsts == expected


def test_a_receiver_that_takes_a_part_is_told_the_rest_and_nothing_for_ever() -> None:
    world = World()
    delivery = begun(world)
    for number in range(50):
        world.write(event(stream="s", at_ms=START_MS + number), event("close", "s", START_MS + number))
    left = [10]

    def answer(_notices: Sequence[Notice]) -> None:
        left[0] -= 1
        if left[0] < 0:
            left[0] = 10  # the next time it takes some again
            raise ReceiverUnavailable("429 Too Many Requests")

    world.pager.answer = answer
    for _ in range(40):
        world.turn(delivery, turns=1)
        world.clock += RETRY_SECONDS_MAX
    assert [one.alert_id for one in world.pager.taken[::2]] == [
        event(stream="s", at_ms=START_MS + number).alert_id for number in range(50)
    ]
    assert len(world.pager.taken) == 100


def test_a_turn_tells_no_longer_than_the_group_waits_for_a_member() -> None:
    world = World()
    delivery = begun(world)
    world.write(*(event(change, "s") for _ in range(60) for change in ("open", "close")))

    def answer(_notices: Sequence[Notice]) -> None:
        world.clock += 5.0

    world.pager.answer = answer
    began, longest, last = world.clock, 0.0, world.clock
    for _ in range(60):
        world.turn(delivery, turns=1)
        longest, last = max(longest, world.clock - last), world.clock
    assert longest <= TELL_SECONDS + 5.0 + POLL_SECONDS
    assert world.clock - began >= 60 * 5.0
    assert len(world.pager.taken) == 120


def test_a_new_receiver_that_never_answered_is_still_new_after_a_restart() -> None:
    world = World()
    world.write(event(stream="old"))
    for number in range(5):
        world.write(event(stream="over", at_ms=START_MS + number), event("close", "over", START_MS + number))
    world.pager.answer = raising(ReceiverUnavailable("401"))
    delivery = begun(world)
    delivery.close()
    world.pager.answer = lambda _notices: None
    world.clock += RETRY_SECONDS_MAX
    world.turn(world.delivery())
    assert world.pager.told == [("old", "open")]


def test_a_new_receiver_that_does_not_answer_has_something_waiting() -> None:
    world = World()
    world.write(event())
    world.pager.answer = raising(ReceiverUnavailable("401"))
    delivery = begun(world)
    world.clock += MEASURE_SECONDS
    world.turn(delivery, turns=1)
    measured = world.said(events.DeliveryMeasured)[-1]
    assert isinstance(measured, events.DeliveryMeasured)
    assert measured.behind > 0


def test_what_was_deleted_before_it_was_told_is_a_gap_that_somebody_hears_of() -> None:
    world = World()
    delivery = begun(world)
    world.write(event(stream="a"))
    world.turn(delivery)
    delivery.close()
    world.write(event(stream="b"), event(stream="c"))
    world.cluster.trim(TopicPartition(TOPIC, 0), 2)
    world.turn(world.delivery())
    assert world.pager.told == [("a", "open"), ("c", "open")]
    assert world.said(events.InputGap) == [events.InputGap(TopicPartition(TOPIC, 0), "trimmed", 1, 2)]


class Leaderless(MemoryBroker):
    """A door through which nothing is heard of the first partition."""

    def bounds(self, partition: TopicPartition) -> Bounds:
        """Return where the others begin and end."""
        if partition.partition == 0:
            raise LookupError("nobody leads it now")
        return super().bounds(partition)


def test_a_partition_that_cannot_be_asked_for_keeps_no_other_waiting() -> None:
    world = World()
    begun(world).close()
    world.write(event(stream="a"), partition=0)
    world.write(event(stream="b"), partition=1)
    delivery = world.delivery(door=Leaderless)
    world.turn(delivery)
    assert world.pager.told == [("b", "open")]
