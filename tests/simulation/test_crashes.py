"""Whatever dies, wherever: every sample is scored exactly once, and every alert is told exactly once.

`LONGWATCH_SIMULATION_RUNS` sets how many runs there are; a run that fails names its seed.
"""

from __future__ import annotations

import os
import random
from collections import Counter
from functools import cache

import numpy as np
import pytest

from daemon.errors import BrokerUnavailable, TransactionFailed
from daemon.memory import Operation
from daemon.types import Outgoing, TopicPartition
from tests.simulation import world as simulation
from tests.simulation.world import PARTITIONS, Process, ProcessDiedError, World, finish, records, rows

RUNS = int(os.environ.get("LONGWATCH_SIMULATION_RUNS", "30"))
TICKS = 22
PHASES = 3  # a new model comes before the second and the third
ABORTED: tuple[Operation, ...] = ("begin", "send", "offsets", "commit", "after_commit")
UNAVAILABLE: tuple[Operation, ...] = ("poll", "committed", "fetch", "bounds", "open")


def phase(number: int, input_seed: int) -> list[Outgoing]:
    return records(input_seed * 10 + number, TICKS, number * TICKS)


@cache
def undisturbed(input_seed: int) -> World:
    """Return the world in which nothing ever fails, its state drained."""
    world = World()
    process = Process(world)
    for number in range(PHASES):
        if number:
            world.publish_model(number)
        world.publish(phase(number, input_seed))
        finish(world, process)
    process.loop.drain()
    return world


class Chaos:
    """Kills, aborts and disconnects at random operations, all told by the seed."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.deaths: Counter[Operation] = Counter()
        self.failures: Counter[Operation] = Counter()
        self.calm = False
        self._fuse = self._next()

    def __call__(self, operation: Operation) -> None:
        """Let the operation happen, or not."""
        self._fuse -= 1
        if self._fuse > 0 or self.calm:
            return
        self._fuse = self._next()
        if operation in ABORTED and self.rng.random() < 0.4:
            self.failures[operation] += 1
            raise TransactionFailed(f"aborted at {operation}")
        if operation in UNAVAILABLE and self.rng.random() < 0.5:
            self.failures[operation] += 1
            raise BrokerUnavailable(f"no broker at {operation}")
        self.deaths[operation] += 1
        raise ProcessDiedError(operation)

    def _next(self) -> int:
        return self.rng.choice([self.rng.randint(1, 8), self.rng.randint(1, 70)])


def members(world: World, chaos: Chaos, count: int) -> list[Process]:
    return [Process(world, f"slot-{number}", chaos) for number in range(count)]


def disturbed(world: World, chaos: Chaos, alive: list[Process]) -> None:
    """Turn the members in a random order until all is committed; who dies is replaced, now and then with delay."""
    missing: list[str] = []
    for _ in range(simulation.TURNS_MAX):
        if not world.behind() and not missing:
            return
        if missing and (not alive or chaos.rng.random() < 0.3):
            alive.append(Process(world, missing.pop(), chaos))
        process = chaos.rng.choice(alive)
        try:
            process.turn()
        except ProcessDiedError:
            process.die()
            alive.remove(process)
            missing.append(process.identity)
        if chaos.rng.random() < 0.02:
            world.cluster.compact("state")
    raise AssertionError(f"{world.behind()} records are left")


def same_as_undisturbed(world: World, input_seed: int) -> None:
    reference = undisturbed(input_seed)
    expected, _ = reference.scores()
    found, times = world.scores()
    assert {key: count for key, count in times.items() if count > 1} == {}
    assert found.keys() == expected.keys()
    left, right = (np.array([each[key] for key in sorted(expected)], dtype=float) for each in (found, expected))
    np.testing.assert_allclose(left, right, rtol=0, atol=1e-6)
    assert world.alerts() == reference.alerts()
    assert set(world.alerts().values()) == {1}
    assert world.dead_letters() == reference.dead_letters()


def settled(alive: list[Process]) -> None:
    """Turn all members until every partition is restored by one of them and no rebalance is under way."""
    rounds_at_rest = 0
    for _ in range(60):
        for process in alive:
            process.turn()
        owned = [len(process.partitions.states) for process in alive]
        rounds_at_rest = rounds_at_rest + 1 if sum(owned) == PARTITIONS and min(owned) > 0 else 0
        if rounds_at_rest == 4:
            return
    raise AssertionError("some partition was never restored")


def same_state(world: World, reference: World) -> None:
    """Compare every field of every stream's row, and that the pages stand at the end of the input."""
    for number in range(PARTITIONS):
        (found, manifest), (expected, _) = world.state(number), reference.state(number)
        assert manifest.offset == world.cluster.bounds(TopicPartition("metrics", number)).end
        assert found.models == expected.models
        left, right = rows(found), rows(expected)
        assert left.keys() == right.keys()
        for stream, row in left.items():
            for name, values in row.items():
                np.testing.assert_allclose(
                    values, right[stream][name], rtol=1e-5, atol=1e-6, err_msg=f"{stream} {name}"
                )


@pytest.mark.parametrize("seed", range(RUNS))
def test_every_sample_is_scored_once_and_every_alert_told_once_whatever_dies(seed: int) -> None:
    chaos, world = Chaos(seed), World()
    alive = members(world, chaos, 1 + seed % 2)
    for number in range(PHASES):
        if number:
            world.publish_model(number)
        world.publish(phase(number, seed % 3))
        disturbed(world, chaos, alive)
    same_as_undisturbed(world, seed % 3)
    assert sum(chaos.deaths.values()) + sum(chaos.failures.values()) >= 3
    chaos.calm = True
    settled(alive)
    for process in alive:
        process.loop.drain()
    same_state(world, undisturbed(seed % 3))


class Once:
    """Lets one operation fail, at its `count`-th time."""

    def __init__(self, operation: Operation, count: int, error: Exception) -> None:
        self.operation, self.count, self.error = operation, count, error

    def __call__(self, operation: Operation) -> None:
        """Let the operation happen, or not."""
        self.count -= operation == self.operation
        if operation == self.operation and self.count == 0:
            raise self.error


DIED = [(each, ProcessDiedError(each)) for each in ("open", "poll", "committed", "bounds", "fetch", *ABORTED)]
FAILED = [(each, TransactionFailed(each)) for each in ABORTED]
LOST = [(each, BrokerUnavailable(each)) for each in UNAVAILABLE]


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize(
    ("operation", "error"),
    [*DIED, *FAILED, *LOST],
    ids=lambda each: type(each).__name__ if isinstance(each, Exception) else str(each),
)
def test_one_failure_at_any_operation_changes_nothing(operation: Operation, error: Exception, count: int) -> None:
    world, given = World(), phase(0, 0)
    fuse = Once(operation, count, error)
    world.publish(given[:90])
    finish(world, Process(world, "one")).die()
    world.publish(given[90:])
    process = Process(world, "one", fuse)
    for _ in range(200):
        try:
            process.turn()
        except ProcessDiedError:
            process.die()
            process = Process(world, "one", fuse)
        if operation == "open" and fuse.count > 0:  # identities are opened again only by who comes after
            process.die()
            process = Process(world, "one", fuse)
        if not world.behind():
            break
    assert fuse.count <= 0
    found, times = world.scores()
    expected = {key: score for key, score in undisturbed(0).scores()[0].items() if key in found}
    assert set(times.values()) == {1}
    assert len(found) == len(expected) == sum(each.value != b"nonsense" for each in phase(0, 0))
    assert found == expected
