"""Turns grow with what waits, and what is too much for one waits for the next, its partition paused."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

import pytest

from daemon import events
from daemon.inflow import RECORDS_LITTLE, Inflow, TurnLimits
from daemon.memory import MemoryBroker, MemoryCluster
from daemon.state import PartitionState
from daemon.types import Outgoing, Polled, Record, TopicPartition, TopicSpec
from tests.simulation.world import Process, World, finish, records

ZERO, ONE = TopicPartition("in", 0), TopicPartition("in", 1)


class Input:
    """A topic of two partitions with records of some sizes, and the inflow from it."""

    def __init__(self, limits: TurnLimits, sizes: Mapping[TopicPartition, Sequence[int]]) -> None:
        cluster = self.cluster = MemoryCluster()
        cluster.ensure(TopicSpec("in", 2, compacted=False))
        for tp, each in sizes.items():
            for size in each:
                cluster.publish(Outgoing("in", tp.partition, None, b"v" * size))
        self.source = MemoryBroker(cluster).source(["in"])
        self.states = {tp: PartitionState.empty({}, 0) for tp in sizes}
        self.inflow = Inflow(self.source, limits)
        assert self.source.poll(1, 0.0).assigned == {ZERO, ONE}
        for tp in sizes:
            self.source.resume_at(tp, 0)

    def turn(self) -> dict[TopicPartition, list[int]]:
        """Return the offsets that the next turn takes."""
        shared = self.inflow.share(self.inflow.poll(busy=True), self.states)
        return {tp: _offsets(each) for tp, each in shared.records.items()}


def _offsets(some: Sequence[Record]) -> list[int]:
    return [record.offset for record in some]


def test_what_is_too_large_for_a_turn_waits_and_comes_once_and_in_order() -> None:
    given = Input(TurnLimits(records_max=100, bytes_max=1000), {ZERO: [300] * 20, ONE: [10] * 20})
    assert given.turn() == {ZERO: [0, 1], ONE: list(range(20))}
    assert given.inflow.paused == 1
    assert set(given.source.lag()) == {ONE}
    turns = [given.turn()[ZERO] for _ in range(6)]
    assert turns == [[2, 3, 4], [5, 6, 7], [8, 9, 10], [11, 12, 13], [14, 15, 16], [17, 18, 19]]
    assert given.inflow.paused == 0
    assert given.source.lag() == {ZERO: 0, ONE: 0}


def test_a_record_that_is_larger_than_a_turn_may_be_still_comes() -> None:
    given = Input(TurnLimits(records_max=100, bytes_max=10), {ZERO: [300] * 3, ONE: [1]})
    assert [given.turn(), given.turn(), given.turn()] == [{ZERO: [0], ONE: [0]}, {ZERO: [1]}, {ZERO: [2]}]


def test_others_go_on_while_a_partition_is_paused() -> None:
    given = Input(TurnLimits(records_max=100, bytes_max=1000), {ZERO: [900] * 4, ONE: []})
    assert given.turn() == {ZERO: [0]}
    given.states[ONE] = PartitionState.empty({}, 0)
    given.cluster.publish(Outgoing("in", 1, None, b"v"))
    assert given.turn() == {ZERO: [1], ONE: [0]}


def test_what_waits_of_a_partition_that_is_restored_is_dropped() -> None:
    given = Input(TurnLimits(records_max=100, bytes_max=1000), {ZERO: [900] * 4})
    given.turn()
    given.states[ZERO] = PartitionState.empty({}, 1)
    given.source.resume_at(ZERO, 1)
    assert given.inflow.share(Polled({}), given.states).records == {}
    assert given.inflow.paused == 0
    assert given.turn() == {ZERO: [1]}


@pytest.fixture
def idle() -> Inflow:
    return Input(TurnLimits(records_max=20_000, seconds=0.5), {ZERO: []}).inflow


def test_a_turn_grows_by_doubling_while_more_waits_than_it_takes(idle: Inflow) -> None:
    limits = [idle.records]
    while idle.records < 20_000:
        idle.went(idle.records, 15e-6 * idle.records)
        limits.append(idle.records)
    assert limits[0] == RECORDS_LITTLE
    assert all(after <= 2 * before for before, after in pairwise(limits))
    assert len(limits) == 7


def test_a_turn_settles_at_the_time_that_it_should_last(idle: Inflow) -> None:
    for _ in range(40):
        idle.went(idle.records, 1e-3 * idle.records)
    assert 0.4 < 1e-3 * idle.records <= 0.5
    for _ in range(40):
        idle.went(idle.records, 0.2 * idle.records)
    assert idle.records == 2


def test_a_turn_shrinks_again_when_little_comes(idle: Inflow) -> None:
    for _ in range(10):
        idle.went(idle.records, 1e-6 * idle.records)
    assert idle.records == 20_000
    for _ in range(10):
        idle.went(3, 1e-3)
    assert idle.records == RECORDS_LITTLE


def test_one_slow_turn_of_few_records_halves_what_the_next_may_take_at_most(idle: Inflow) -> None:
    for _ in range(10):
        idle.went(idle.records, 1e-6 * idle.records)
    idle.went(10, 30.0)  # as one that writes all pages
    assert idle.records == 10_000


def test_the_loop_tells_how_large_turns_are_and_what_is_paused() -> None:
    world = World()
    process = Process(world)
    world.publish(records(5, 40))
    finish(world, process)
    turns = [event for event in process.events if isinstance(event, events.TurnCommitted)]
    assert max(turn.paused for turn in turns) > 0
    assert turns[-1].paused == 0
    assert all(0 < turn.records_next <= 25 for turn in turns)
    assert max(turn.records for turn in turns) <= 25
