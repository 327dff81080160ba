"""Whether what a disturbed fleet told, and what it left behind, is what should have been told and left."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable
from dataclasses import dataclass, field

import numpy as np

from daemon.alert_events import AlertEvent
from daemon.state import PartitionState
from daemon.types import TopicPartition
from tests.simulation.chaos import Fleet, Tally
from tests.simulation.reference import Told, timeline, undisturbed
from tests.simulation.world import GROUP, PARTITIONS, World, rows

TOLERANCE = 1e-6
SHOWN_MAX = 5


@dataclass(slots=True)
class Verdict:
    """What was not as it should be, each fault in words, and how much was compared."""

    lost: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    differing: list[str] = field(default_factory=list)
    samples: int = 0
    scored: int = 0
    alerts: int = 0

    @property
    def faults(self) -> list[str]:
        """Every fault."""
        return [*self.lost, *self.doubled, *self.differing]

    def __str__(self) -> str:
        """Return the counts and the first faults."""
        head = f"{len(self.lost)} lost, {len(self.doubled)} doubled, {len(self.differing)} differing"
        return "\n  ".join([head, *self.faults[:SHOWN_MAX]])

    def once(self, what: str, found: Counter[Hashable], expected: Iterable[Hashable]) -> None:
        """Note what was told though nobody expected it, not at all, or more than once."""
        wanted = set(expected)
        self.lost += [f"{what} {key} was not told" for key in wanted - found.keys()]
        self.doubled += [f"{what} {key} was told {count} times" for key, count in found.items() if count > 1]
        self.differing += [f"{what} {key} should not be" for key in found.keys() - wanted]


def simulated(seed: int, points: int) -> tuple[Tally, Verdict]:
    """Run a fleet through so many crash points and judge it."""
    fleet = Fleet(seed)
    fleet.run(points)
    return fleet.tally, judged(fleet)


def judged(fleet: Fleet) -> Verdict:
    """Compare scores, alerts, dead letters and every row with what the logs alone say should be."""
    world = fleet.world
    fleet.swaps.follow()
    expected = undisturbed(world, fleet.swaps.found)
    verdict = told_as_expected(world, expected)
    verdict.differing += fleet.discarded
    for member in fleet.members:
        for partition, state in member.partitions.states.items():
            _judge_rows("in memory", partition.partition, state, expected, verdict)
    fleet.drain()
    for number in range(PARTITIONS):
        state, manifest, discarded = world.stored(number)
        verdict.differing += [f"the stored state of partition {number} cannot be used: {why}" for why in discarded]
        if manifest.offset != world.cluster.bounds(TopicPartition("metrics", number)).end:
            verdict.lost.append(f"the pages of partition {number} stand at {manifest.offset}")
        _judge_rows("in the state topic", number, state, expected, verdict)
    return verdict


def told_as_expected(world: World, expected: Told) -> Verdict:
    """Compare scores, alerts and dead letters."""
    verdict = Verdict()
    _judge_scores(world, expected, verdict)
    _judge_alerts(world, expected, verdict)
    verdict.once("dead letter", Counter(world.dead_letters()), expected.dead_letters)
    return verdict


def _judge_scores(world: World, expected: Told, verdict: Verdict) -> None:
    found, times = world.scores()
    verdict.once("sample", Counter(times), expected.scores)
    for key, has_score in timeline(world).items():
        if key not in found:
            verdict.lost.append(f"sample {key} was not told, says the timeline")
        elif (found[key] is not None) != has_score:
            verdict.differing.append(f"sample {key} has the score {found[key]}, says the timeline")
    for key in found.keys() & expected.scores.keys():
        if not _close(found[key], expected.scores[key]):
            verdict.differing.append(f"sample {key} has the score {found[key]}, not {expected.scores[key]}")
    verdict.samples, verdict.scored = len(found), sum(each is not None for each in found.values())


def _judge_alerts(world: World, expected: Told, verdict: Verdict) -> None:
    told = world.alert_events()
    found, wanted = ({_name(each): each for each in events} for events in (told, expected.alerts))
    verdict.once("alert", Counter(_name(each) for each in told), wanted)
    for name in found.keys() & wanted.keys():
        left, right = found[name], wanted[name]
        close = _close(left.score, right.score) and _close(left.max_score, right.max_score)
        if not close or _exact(left) != _exact(right):
            verdict.differing.append(f"alert {name} is {_exact(left)}, not {_exact(right)}")
    verdict.alerts = len(found)


def _name(event: AlertEvent) -> tuple[str, str, str, str, int]:
    # an alert may worsen more than once, but not twice on one sample
    return event.stream, event.rule, event.alert_id, event.change, event.detected_at_ms


def _exact(event: AlertEvent) -> tuple[object, ...]:
    """Return what must be equal to the last bit."""
    times = (event.started_at_ms, event.detected_at_ms, event.peak_at_ms, event.ended_at_ms)
    return *times, event.reason, event.direction, event.model_id, event.source, event.evidence


def _close(left: float | None, right: float | None) -> bool:
    if left is None or right is None:
        return left is right
    return abs(left - right) <= TOLERANCE


def _judge_rows(where: str, number: int, state: PartitionState, expected: Told, verdict: Verdict) -> None:
    """Compare every field of every stream's row."""
    wanted = expected.states[number]
    if _standing(state) != _standing(wanted):
        verdict.differing.append(f"partition {number} {where} stands at {_standing(state)}, not {_standing(wanted)}")
    if sorted(state.slabs[GROUP].keys) != sorted(wanted.slabs[GROUP].keys):
        verdict.differing.append(f"partition {number} {where} has the streams {state.slabs[GROUP].keys}")
        return
    left, right = rows(state), rows(wanted)
    for stream, row in left.items():
        for name, values in row.items():
            if not np.allclose(values, right[stream][name], rtol=TOLERANCE, atol=TOLERANCE, equal_nan=True):
                verdict.differing.append(f"{stream} {where}: {name} is {values}, not {right[stream][name]}")


def _standing(state: PartitionState) -> tuple[int, int, str]:
    return state.next_offset, state.watermark_ms, state.models.get(GROUP, "")
