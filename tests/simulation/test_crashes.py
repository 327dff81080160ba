"""Whatever dies, wherever: every sample is scored exactly once, and every alert is told exactly once.

`python -m benchmarks.crashes` runs the same simulation for as long as one likes.
"""

from __future__ import annotations

import pytest

from daemon.errors import BrokerUnavailable, TransactionFailed
from daemon.memory import Operation
from daemon.memory.broker import MemoryWriter
from daemon.types import Outgoing, TopicPartition
from tests.simulation.chaos import ABORTED, KINDS, UNAVAILABLE, Fleet, Member
from tests.simulation.defects import Forgetful, Hasty
from tests.simulation.reference import Swaps, undisturbed
from tests.simulation.verdict import judged, simulated, told_as_expected
from tests.simulation.world import Process, ProcessDiedError, World, finish, records

SEEDS = 25
POINTS = 400  # a seed: 10,000 in all
PLANTED_POINTS = 60


def repeat(seed: int, points: int) -> str:
    return f"seed {seed}; to repeat it: python -m benchmarks.crashes --seed {seed} --points {points}"


@pytest.mark.parametrize("seed", range(SEEDS))
def test_every_sample_is_scored_once_and_every_alert_told_once_whatever_dies(seed: int) -> None:
    tally, verdict = simulated(seed, POINTS)
    assert not verdict.faults, f"{verdict}\n{repeat(seed, POINTS)}"
    assert tally.total >= POINTS
    assert {kind for kind, _ in tally.points} == set(KINDS)
    assert all(tally.others[each] for each in ("moves back again", "restores cut short", "turns taken again"))
    assert verdict.scored > POINTS / 2
    assert verdict.alerts >= 5


def test_a_fleet_to_which_nothing_happens_tells_what_the_reference_says() -> None:
    fleet = Fleet(3)
    fleet.calm = True
    fleet.world.publish(records(3, 70))
    fleet.world.publish_model(1)
    fleet.run(0)
    verdict = judged(fleet)
    assert not verdict.faults, verdict
    assert verdict.samples == sum(each.value != b"nonsense" for each in records(3, 70))
    assert verdict.alerts >= 5


def test_one_seed_always_gives_the_same_run() -> None:
    assert [simulated(7, 30)[0] for _ in range(2)] == [simulated(7, 30)[0]] * 2


# What the verdict is worth: it sees each kind of fault.


def tampered(seed: int = 1) -> tuple[Fleet, TopicPartition]:
    """Return a fleet that did all right, to be tampered with, and a partition of its scores."""
    fleet = Fleet(seed)
    fleet.run(20)
    return fleet, TopicPartition("scores", 0)


def test_the_verdict_sees_a_score_that_was_told_twice() -> None:
    fleet, scores = tampered()
    told = fleet.world.cluster.visible(scores)[0]
    fleet.world.publish([Outgoing(*scores, told.key, told.value)])
    assert judged(fleet).doubled


def test_the_verdict_sees_scores_that_were_lost() -> None:
    fleet, scores = tampered()
    fleet.world.cluster.trim(scores, fleet.world.cluster.visible(scores)[0].offset + 1)
    assert judged(fleet).lost


def test_the_verdict_sees_a_row_that_differs() -> None:
    fleet, _ = tampered()
    state = next(iter(fleet.members[0].partitions.states.values()))
    state.slabs["all"]._rows["location"][0] += 1e-4
    assert any("location" in each for each in judged(fleet).differing)


def planted(kind: type[MemoryWriter]) -> type[Member]:
    class Planted(Member):
        def _writer(self) -> MemoryWriter:
            return kind(self.world.cluster, self.identity, self._boundary)

    return Planted


@pytest.mark.parametrize("kind", [Forgetful, Hasty])
def test_the_simulation_finds_a_planted_defect(kind: type[MemoryWriter]) -> None:
    fleet = Fleet(0, planted(kind))
    fleet.run(PLANTED_POINTS)
    assert judged(fleet).faults


class Once:
    """Lets one operation fail, at its `count`-th time."""

    def __init__(self, operation: Operation, count: int, error: Exception) -> None:
        self.operation, self.count, self.error = operation, count, error

    def __call__(self, operation: Operation) -> None:
        """Let the operation happen, or not."""
        self.count -= operation == self.operation
        if operation == self.operation and self.count == 0:
            raise self.error


DIED = [(each, ProcessDiedError(each)) for each in (*UNAVAILABLE, *ABORTED)]
FAILED = [(each, TransactionFailed(each)) for each in ABORTED]
LOST = [(each, BrokerUnavailable(each)) for each in UNAVAILABLE]


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize(
    ("operation", "error"),
    [*DIED, *FAILED, *LOST],
    ids=lambda each: type(each).__name__ if isinstance(each, Exception) else str(each),
)
def test_one_failure_at_any_operation_changes_nothing(operation: Operation, error: Exception, count: int) -> None:
    world, given = World(), records(0, 22)
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
    swaps = Swaps(world)
    swaps.follow()
    verdict = told_as_expected(world, undisturbed(world, swaps.found))
    assert not verdict.faults, verdict
    assert verdict.samples == sum(each.value != b"nonsense" for each in given)
