"""Turns, hand-overs and swaps of the production loop, one by one, on a cluster in memory."""

from __future__ import annotations

import json
from collections import Counter

import pytest

from daemon import events
from daemon.errors import BrokerUnavailable, Fenced, TransactionFailed
from daemon.memory import Operation
from daemon.types import Outgoing, TopicPartition
from detectors.adopt import CALIBRATED_SAMPLES
from tests.conformance.feed import START_MS
from tests.simulation.world import PARTITIONS, Process, World, finish, records

INPUTS = [TopicPartition("metrics", number) for number in range(PARTITIONS)]


def fed(seed: int = 5, ticks: int = 20) -> World:
    world = World()
    world.publish(records(seed, ticks))
    return world


def restored(process: Process) -> list[events.PartitionRestored]:
    return [event for event in process.events if isinstance(event, events.PartitionRestored)]


def until_restored(process: Process, count: int = PARTITIONS) -> None:
    for _ in range(30):
        if len(process.partitions.states) == count:
            return
        process.turn()
    raise AssertionError("not all partitions came")


def test_a_drained_member_leaves_nothing_to_replay() -> None:
    world = fed()
    first = finish(world, Process(world))
    first.loop.drain()
    second = Process(world)
    until_restored(second)
    assert [event.replayed_records for event in restored(second)] == [0, 0, 0]
    assert all(event.pages for event in restored(second))


def test_told_to_stop_the_loop_drains_and_leaves_the_group() -> None:
    world = fed()
    process = finish(world, Process(world))
    process.loop._stop.set()
    process.loop.run()
    assert [world.state(number)[1].offset for number in range(PARTITIONS)] == [
        world.cluster.bounds(tp).end for tp in INPUTS
    ]
    assert not world.cluster.group("longwatch").members


def test_a_partition_without_a_manifest_gets_one_in_its_first_turn() -> None:
    world = World()
    process = Process(world)
    world.publish(records(1, 2))
    until_restored(process)
    process.turn()
    offsets = [world.state(number)[1].offset for number in range(PARTITIONS)]
    assert all(offset <= world.cluster.bounds(tp).end for offset, tp in zip(offsets, INPUTS, strict=True))


def test_pages_are_written_now_and_then_and_a_death_replays_only_what_came_after() -> None:
    world = World()
    process = Process(world)
    for tick in range(20):
        world.publish(records(5, 1, tick))
        process.turn()
    finish(world, process)
    flushes = [event for event in process.events if isinstance(event, events.StateFlushed)]
    assert 3 <= len(flushes) <= 14
    process.die()
    ends = [world.cluster.bounds(tp).end for tp in INPUTS]
    kept = [world.state(number)[1].offset for number in range(PARTITIONS)]
    heir = Process(world)
    until_restored(heir)
    assert sum(event.replayed_records for event in restored(heir)) == sum(ends) - sum(kept)
    assert sum(kept) > sum(ends) / 2


def test_the_pages_of_different_partitions_are_written_in_different_turns() -> None:
    world = World()
    process = Process(world)
    for tick in range(30):
        world.publish(records(5, 1, tick))
        process.turn()
    flushes = [event for event in process.events if isinstance(event, events.StateFlushed)][PARTITIONS:]
    assert len(flushes) >= 2 * PARTITIONS
    assert {flush.pages for flush in flushes} == {2}  # a manifest and a page
    ends = [world.state(number)[1].offset for number in range(PARTITIONS)]
    assert all(end > 0 for end in ends)


def test_a_rebalance_hands_partitions_over_and_both_go_on() -> None:
    world = World()
    first = Process(world, "first")
    second: Process | None = None
    for tick in range(30):
        world.publish(records(5, 1, tick))
        if tick == 10:
            second = Process(world, "second")
        for process in (first, second):
            if process is not None:
                process.turn()
    assert second is not None
    for _ in range(10):
        first.turn()
        second.turn()
    assert not world.behind()
    assert {len(first.partitions.states), len(second.partitions.states)} == {1, 2}
    assert len(first.of(events.PartitionDropped)) == len(second.partitions.states)
    _, times = world.scores()
    assert set(times.values()) == {1}
    second.loop.drain()
    until_restored(first)
    assert restored(first)[-1].replayed_records == 0


def test_a_zombie_is_fenced_and_writes_nothing() -> None:
    world = fed()
    zombie = Process(world, "one")
    until_restored(zombie)
    zombie.die()
    heir = finish(world, Process(world, "one"))
    with pytest.raises(Fenced):
        for tick in range(20, 50):
            world.publish(records(6, 1, tick))
            heir.turn()
            zombie.turn()
    zombie.die()
    finish(world, heir)
    assert set(world.scores()[1].values()) == {1}
    assert not heir.of(events.TurnFailed)


@pytest.mark.parametrize("swap", [True, False])
def test_pages_of_a_member_that_lost_its_partitions_meanwhile_are_refused(swap: bool) -> None:
    world = fed()
    takes_over: list[Process] = []

    def pause(operation: Operation) -> None:
        """Stop the first member just before it writes; the second takes everything over, and goes on."""
        if operation == "begin" and late.partitions.states and world.clock > 1500 and not takes_over:
            late.broker.lose_session()
            takes_over.append(Process(world, "second"))
            world.publish(records(6, 10, 20))
            finish(world, takes_over[0])
            takes_over[0].loop.drain()

    late = Process(world, "first", pause)
    finish(world, late)
    world.clock = 2000.0
    if swap:
        world.publish_model(1)  # the swap's pages are written in a transaction of their own
    late.turn()
    assert takes_over
    ends = [world.cluster.bounds(tp).end for tp in INPUTS]
    assert [world.state(number)[1].offset for number in range(PARTITIONS)] == ends
    assert late.of(events.TurnFailed)


def test_a_swap_is_written_at_once_so_that_no_replay_crosses_it() -> None:
    world = fed()
    process = finish(world, Process(world))
    world.publish_model(1)
    process.turn()
    (swapped,) = process.of(events.ModelSwapped)
    assert isinstance(swapped, events.ModelSwapped)
    for number, tp in enumerate(INPUTS):
        state, manifest = world.state(number)
        assert manifest.offset == world.cluster.bounds(tp).end
        assert set(state.models.values()) == {swapped.model_id}
        assert (state.slabs["all"].view()["model_samples"] == CALIBRATED_SAMPLES).all()


def test_rows_go_on_with_the_model_that_moved_them_until_the_next_turn_boundary() -> None:
    world = fed()
    world.publish_model(1)
    process = finish(world, Process(world))
    process.die()
    world.publish_model(2)
    heir = Process(world)
    until_restored(heir)
    assert sum(event.replayed_records for event in restored(heir)) > 0
    models = {model for state in heir.partitions.states.values() for model in state.models.values()}
    heir.turn()
    swaps = [event for event in heir.events if isinstance(event, events.ModelSwapped)]
    assert models == {event.model_id for event in swaps[-1:]}
    assert len({event.model_id for event in swaps}) == 1


def test_rows_whose_model_is_gone_start_without_one_and_it_is_said() -> None:
    world = fed()
    world.publish_model(1)
    process = finish(world, Process(world))
    process.loop.drain()
    world.publish(
        [Outgoing("models", 0, record.key, None) for record in world.cluster.visible(TopicPartition("models", 0))]
    )
    heir = Process(world)
    until_restored(heir)
    refused = [event for event in heir.events if isinstance(event, events.ModelRefused)]
    assert len(refused) == PARTITIONS
    assert "it is gone" in refused[0].why
    world.publish(records(6, 2, 20))
    finish(world, heir)


def test_rows_wait_for_a_model_that_was_published_and_is_not_read_yet() -> None:
    world = fed()
    world.publish_model(1)
    finish(world, Process(world)).loop.drain()
    heir = Process(world)
    for _ in range(5):
        heir.attempt()  # without reading the models topic
    assert not heir.partitions.states
    assert any("not read yet" in event.why for event in heir.events if isinstance(event, events.BrokerLost))
    until_restored(heir)
    assert all(state.models["all"] for state in heir.partitions.states.values())
    assert not heir.of(events.ModelRefused)


def test_what_was_polled_is_scored_although_another_partitions_restore_fails() -> None:
    world = World()
    broken = [True]

    def fault(operation: Operation) -> None:
        if operation == "committed" and process.partitions.states and broken[0]:
            raise BrokerUnavailable("not now")

    process = Process(world, "one", fault)
    world.publish(records(5, 20))
    for _ in range(10):
        process.turn()
    broken[0] = False
    finish(world, process)
    found, _ = world.scores()
    assert len(found) == sum(each.value != b"nonsense" for each in records(5, 20))


def test_a_turn_that_failed_is_told_as_failed_and_counts_nothing() -> None:
    world = fed()
    failing = [True]

    def fault(operation: Operation) -> None:
        if operation == "commit" and failing[0]:
            raise TransactionFailed("no")

    process = Process(world, "one", fault)
    for _ in range(12):
        process.turn()
    assert process.of(events.TurnFailed)
    assert not process.of(events.TurnCommitted)
    assert not process.of(events.AlertChanged)
    assert not process.of(events.SamplesDropped)
    failing[0] = False
    finish(world, process)
    committed = [event for event in process.events if isinstance(event, events.TurnCommitted)]
    assert sum(event.records for event in committed) == len(records(5, 20))
    assert sum(len(score) for event in committed for score in event.scores.values()) == sum(
        e.samples for e in committed
    )


def test_what_is_noted_is_what_was_written() -> None:
    world = World()
    world.publish(records(5, 60))
    process = finish(world, Process(world))
    changed = [event for event in process.events if isinstance(event, events.AlertChanged)]
    assert Counter((e.stream, e.rule, e.alert_id, e.change) for e in changed) == world.alerts()
    rejected = [
        each for event in process.events if isinstance(event, events.RecordsRejected) for each in event.rejected
    ]
    told = Counter((str(each.partition).encode(), str(each.offset).encode()) for each in rejected)
    assert told == world.dead_letters()
    assert {each.reason for each in rejected} == {"undecodable"}
    dropped = Counter[str]()
    for event in process.events:
        if isinstance(event, events.SamplesDropped):
            dropped[event.reason] += event.count
    assert dropped["duplicate"] + dropped["late"] > 0


def test_readiness_follows_the_restores() -> None:
    world = fed()
    process = Process(world)
    until_restored(process)
    told = [event for event in process.events if isinstance(event, events.Readiness)]
    assert [(each.ready, each.partitions_restoring) for each in told] == [(False, 3), (False, 2), (False, 1), (True, 0)]
    assert {each.partitions_assigned for each in told} == {3}


def test_samples_of_a_full_group_are_dead_letters_and_the_rest_goes_on() -> None:
    world = World()
    bodies = [{"timestamp": START_MS + i, "name": f"s{i}", "value": 1.0} for i in range(5)]
    process = Process(world)
    until_restored(process)
    world.publish([Outgoing("metrics", 0, None, json.dumps(each).encode()) for each in bodies])
    process.partitions.states[INPUTS[0]].slabs["all"].streams_max = 3
    finish(world, process)
    assert sum(world.dead_letters().values()) == 2
