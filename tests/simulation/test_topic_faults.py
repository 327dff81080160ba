"""What happens to the topics while the loop runs: they move, grow, lose records, go away and come back."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from functools import partial

import pytest

from daemon import assembly, events
from daemon.config import Config
from daemon.errors import TransactionFailed
from daemon.memory import Operation
from daemon.partitions import Watched
from daemon.types import Outgoing, TopicPartition, TopicSpec
from tests.simulation.world import GROUP, PARTITIONS, Process, World, finish, records

FIRST = TopicPartition("metrics", 0)
LARGE = {"max.message.bytes": "16000000"}


CONFIG = Config.model_validate(
    {
        "kafka": {"bootstrap_servers": ["in-memory:9092"]},
        "input": {"topics": ["metrics"]},
        "groups": [{"name": GROUP}],
        "state": {"topic": "state"},
        "outputs": {
            name: {"topic": topic}
            for name, topic in [
                ("alerts", "alerts"),
                ("scores", "scores"),
                ("dead_letters", "dead"),
                ("models", "models"),
            ]
        },
    }
)


class Keeper(Process):
    """A process that looks after its own topics, as the composition root lets it."""

    def _watched(self) -> Watched:
        prepare = partial(assembly.prepare_own_topics, CONFIG, self.broker)
        return replace(super()._watched(), prepare=prepare)


def turned(*processes: Process, times: int = 12) -> None:
    for _ in range(times):
        for process in processes:
            process.turn()


def gaps(process: Process) -> list[events.InputGap]:
    return [event for event in process.events if isinstance(event, events.InputGap)]


def discarded(process: Process) -> list[str]:
    return [event.why for event in process.events if isinstance(event, events.StateDiscarded)]


def replayed(process: Process) -> int:
    return sum(event.replayed_records for event in process.events if isinstance(event, events.PartitionRestored))


def scored(world: World) -> Counter[int]:
    """Return how many different samples of each partition have a score; fail when one has two."""
    found, times = world.scores()
    assert set(times.values()) <= {1}
    return Counter(partition for partition, _, _ in found)


def good(given: list[Outgoing]) -> Counter[int | None]:
    return Counter(each.partition for each in given if each.value != b"nonsense")


def recreate(world: World, topic: str, partitions: int = PARTITIONS) -> None:
    world.cluster.delete(topic)
    compacted = topic == "state"
    world.cluster.ensure(TopicSpec(topic, partitions, compacted, LARGE))


# Partitions that move


@pytest.mark.parametrize("flush_fails", [False, True])
def test_a_partition_that_is_handed_over_has_nothing_to_replay_unless_its_pages_could_not_be_written(
    flush_fails: bool,
) -> None:
    world = World()
    given = records(5, 20)
    world.publish(given)
    failing: list[bool] = []

    def fault(operation: Operation) -> None:
        if operation == "commit" and failing and failing.pop():
            raise TransactionFailed("not now")

    first = finish(world, Process(world, "first", fault))
    world.clock += 100.0
    turned(first, times=1)  # pages are written here; what comes now lies beyond them
    later = records(6, 2, 20)
    world.publish(later)
    finish(world, first)
    failing.extend([True] * flush_fails)
    second = Process(world, "second")
    for _ in range(6):
        second.turn()
        first.turn()
    assert second.partitions.states
    assert (replayed(second) > 0) == flush_fails
    turned(first, second)
    assert not world.behind()
    assert scored(world) == good(given + later)
    assert len(first.of(events.TurnFailed)) == flush_fails


def test_a_partition_that_goes_and_comes_back_while_it_is_restored_is_restored_from_the_beginning() -> None:
    world = World()
    given = records(5, 30)
    world.publish(given)
    finish(world, Process(world, "first")).die()
    first = Process(world, "first")
    first.turn()
    assert first.partitions.restoring == PARTITIONS
    second = Process(world, "second")
    for _ in range(3):  # it is given some of them, and goes before it has restored any
        first.turn()
        second.turn()
    second.die()
    turned(first)
    assert (len(first.partitions.states), first.partitions.restoring) == (PARTITIONS, 0)
    later = records(6, 5, 30)
    world.publish(later)
    finish(world, first)
    assert scored(world) == good(given + later)


def test_partitions_that_come_while_others_are_paused_wait_their_turn_and_none_delivers_early() -> None:
    world = World()
    first, second = Process(world, "first"), Process(world, "second")
    turned(first, second)
    given = records(5, 20)
    world.publish(given)
    first.partitions.restore_again()  # paused, as after a failed transaction
    second.die()
    first.turn()
    assert first.partitions.restoring
    finish(world, first)
    turned(first)
    assert len(first.partitions.states) == PARTITIONS
    assert scored(world) == good(given)


# Input that is empty, grows, goes away


def test_an_empty_input_is_ready_and_waits() -> None:
    process = Keeper(World())
    turned(process)
    assert [event.ready for event in process.events if isinstance(event, events.Readiness)][-1]
    assert not process.of(events.TurnFailed)
    assert not process.of(events.StateDiscarded)


def test_partitions_that_the_input_gains_are_read_and_the_topics_that_must_keep_up_grow() -> None:
    world = World()
    given = records(5, 10)
    world.publish(given)
    process = finish(world, Keeper(world))
    world.cluster.grow("metrics", PARTITIONS + 2)
    moved = [Outgoing("metrics", PARTITIONS, each.key, each.value) for each in given]
    world.publish(moved)
    turned(process, times=20)
    assert len(process.partitions.states) == PARTITIONS + 2
    widths = {topic: world.cluster.partitions(topic) for topic in ("state", "scores", "alerts")}
    assert widths == {"state": PARTITIONS + 2, "scores": PARTITIONS + 2, "alerts": PARTITIONS}
    found = [world.cluster.visible(TopicPartition("scores", number)) for number in range(PARTITIONS + 2)]
    assert found[PARTITIONS]
    assert not process.of(events.TurnFailed)
    heir = Keeper(world, "heir")
    process.loop.drain()
    turned(heir)
    assert not discarded(heir)
    assert len(heir.partitions.states[TopicPartition("metrics", PARTITIONS)].slabs["all"]) > 0


def test_an_input_topic_that_is_gone_is_awaited_and_what_it_holds_then_is_read() -> None:
    world = World()
    world.publish(records(5, 10))
    process = finish(world, Keeper(world))
    before = sum(scored(world).values())
    world.cluster.delete("metrics")
    turned(process)
    assert not process.partitions.states
    world.cluster.ensure(TopicSpec("metrics", PARTITIONS, compacted=False))
    later = records(6, 10)
    world.publish(later)
    turned(process, times=20)
    assert not world.behind()
    told = sum(world.scores()[1].values())  # offsets begin again, so that keys do
    assert told == before + sum(good(later).values())
    assert {gap.reason for gap in gaps(process)} == {"recreated"}


@pytest.mark.parametrize("ticks", [2, 40])
@pytest.mark.parametrize("while_running", [True, False])
def test_an_input_topic_that_was_made_anew_is_read_from_its_beginning_and_its_streams_warm_up(
    ticks: int, while_running: bool
) -> None:
    world = World()
    world.publish(records(5, 20))
    process = finish(world, Keeper(world))
    told = sum(world.scores()[1].values())
    if not while_running:
        process.loop.drain()
    recreate(world, "metrics")
    later = records(6, ticks)
    world.publish(later)
    heir = process if while_running else Keeper(world, "heir")
    turned(heir, times=40)
    assert not world.behind()
    assert sum(world.scores()[1].values()) == told + sum(good(later).values())
    assert {gap.reason for gap in gaps(heir)} == {"recreated"}
    assert len(gaps(heir)) == PARTITIONS
    heir.loop.drain()
    assert {world.state(number)[1].topic_id for number in range(PARTITIONS)} == {world.cluster.topic_id("metrics")}


@pytest.mark.parametrize("while_running", [True, False])
def test_input_that_retention_deleted_before_it_was_read_is_a_counted_gap_and_the_streams_are_kept(
    while_running: bool,
) -> None:
    world = World()
    given = records(5, 20)
    world.publish(given)
    process = finish(world, Keeper(world))
    if not while_running:
        process.loop.drain()
    reached = world.cluster.bounds(FIRST).end
    world.publish(records(6, 10, 20))
    first = world.cluster.bounds(FIRST).end - 5
    world.cluster.trim(FIRST, first)
    heir = process if while_running else Keeper(world, "heir")
    finish(world, heir)
    assert gaps(heir) == [events.InputGap(FIRST, "trimmed", reached, first)]
    offsets = {offset for partition, offset, _ in world.scores()[0] if partition == 0}
    assert not offsets & set(range(reached, first))
    assert max(offsets) >= first
    assert not any("no state" in why for why in discarded(heir))
    rows = heir.partitions.states[FIRST].slabs["all"].view()
    assert rows["samples"].max() > 5


# Our own topics


def test_a_state_topic_that_is_deleted_costs_the_memory_of_its_streams_and_no_score() -> None:
    world = World()
    given = records(5, 20)
    world.publish(given)
    process = finish(world, Keeper(world))
    world.cluster.delete("state")
    later = records(6, 20, 20)
    world.publish(later)
    finish(world, process)
    assert world.cluster.partitions("state") == PARTITIONS
    assert process.of(events.TurnFailed)
    assert {why.rpartition(", ")[2] for why in discarded(process)} == {"and there is no state of it"}
    assert scored(world) == good(given + later)


def test_a_topic_of_ours_that_is_deleted_is_made_again_and_nothing_is_skipped() -> None:
    world = World()
    world.publish(records(5, 20))
    process = finish(world, Keeper(world))
    world.cluster.delete("scores")
    later = records(6, 20, 20)
    world.publish(later)
    finish(world, process)
    assert process.of(events.TurnFailed)
    assert scored(world) == good(later)
    assert not discarded(process)
