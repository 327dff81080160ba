"""What is looked at between turns, now and then: how many streams and alerts there are, the lag, whether to train."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from daemon import events
from daemon.alert_events import Group
from daemon.alerts import FIRING
from daemon.learning import Situation
from daemon.models import LiveModel
from daemon.partitions import Partitions
from daemon.ports import Source
from daemon.state import PartitionState, streams_by_state
from daemon.types import TopicPartition
from detectors import drift
from detectors.drift import DriftLimits
from detectors.slab import Slab

LOOK_SECONDS = 1.0
DRIFT_STREAMS_MAX = 512  # of a member's streams of a group, by which a drift is measured


class Models(Protocol):
    """What is asked of the model store."""

    def current(self, group: str) -> LiveModel | None: ...
    def trained_at_ms(self, group: str) -> int: ...


class Learner(Protocol):
    """What is asked of the learning beside the loop."""

    def consider(self, group: str, at: Situation, now: float) -> bool: ...


class Told(Protocol):
    """Who is told: the telemetry."""

    def note(self, event: events.Event) -> None: ...
    def progress(self, now: float) -> None: ...


class Heart(Protocol):
    """The service manager's watchdog."""

    def beat(self, now: float) -> bool: ...


@dataclass(frozen=True, slots=True)
class Looked:
    """What is looked at."""

    groups: Mapping[str, Group]
    partitions: Partitions
    source: Source
    models: Models
    leading_topic: str  # the owner of its first partition trains for all
    drift: Mapping[str, DriftLimits] = field(default_factory=dict)  # by group; without any nothing is a drift


class Watch:
    """Looks at the owned partitions at most once in LOOK_SECONDS; between looks a turn costs next to nothing."""

    def __init__(
        self, looked: Looked, learning: Learner, told: Told, heart: Heart, wall_clock: Callable[[], float]
    ) -> None:
        self._looked, self._learning, self._told, self._heart = looked, learning, told, heart
        self._leader = TopicPartition(looked.leading_topic, 0)
        self._wall_clock = wall_clock
        self._looked_at = -LOOK_SECONDS

    def lead(self, topic: str) -> None:
        """Let the owner of another topic's first partition train from now on."""
        self._leader = TopicPartition(topic, 0)

    def after_turn(self, now: float) -> None:
        """Mark progress, and look around when it is time; `now` is in monotonic seconds."""
        wall = self._wall_clock()
        self._told.progress(wall)
        self._heart.beat(now)
        if now - self._looked_at < LOOK_SECONDS:
            return
        self._looked_at = now
        states = self._looked.partitions.states
        for name, group in self._looked.groups.items():
            maintained = _maintained(group, states.values())
            self._told.note(_counted(group, list(states.values()), maintained=maintained))
            model = self._looked.models.current(name)
            # what a window of maintenance does to the streams is no reason to learn it
            drifted = not maintained and self._drifted(name, model, list(states.values()))
            if self._leader in states:
                at = self._situation(group, model, list(states.values()), wall)
                self._learning.consider(name, replace(at, drifted=drifted), now)
        self._tell_lag(states, wall)

    def _situation(
        self, group: Group, model: LiveModel | None, states: Sequence[PartitionState], wall: float
    ) -> Situation:
        """Return what speaks for a training, as far as this member sees it."""
        trained_at_ms = self._looked.models.trained_at_ms(group.name)
        return Situation(
            samples=sum(_samples(state, group) for state in states),
            samples_since=sum(_samples_since(state, group) for state in states) if model else 0,
            age_seconds=wall - trained_at_ms / 1000.0 if trained_at_ms else None,
            has_model=model is not None,
        )

    def _drifted(self, name: str, model: LiveModel | None, states: Sequence[PartitionState]) -> bool:
        """Measure the drift of a group's streams here, say it, and return whether it is one."""
        limits = self._looked.drift.get(name)
        if model is None or limits is None:
            return False
        moved = [state.slabs[name] for state in states if state.models.get(name, "") == model.detector.model_id]
        if not moved:
            return False
        found = drift.measure(_spread_over(moved), model.calibration)
        drifted = drift.drifted(limits, found)
        self._told.note(events.DriftMeasured(name, found.streams, found.share, found.growth, drifted))
        return drifted

    def _tell_lag(self, states: Mapping[TopicPartition, PartitionState], wall: float) -> None:
        for partition, records in self._looked.source.lag().items():
            state = states.get(partition)
            newest_ms, run = (state.watermark_ms, state.rejected_run) if state else (0, 0)
            seconds = max(wall - newest_ms / 1000.0, 0.0) if newest_ms else 0.0
            self._told.note(events.LagMeasured(partition, records, seconds, run))


def _maintained(group: Group, states: Iterable[PartitionState]) -> bool:
    """Return whether a partition has come to a window of the group's maintenance."""
    watermarks_ms = np.array([state.watermark_ms for state in states], dtype=np.int64)
    return bool(group.calendar.covers(watermarks_ms).any())


def _counted(group: Group, states: Sequence[PartitionState], *, maintained: bool) -> events.StreamsCounted:
    by_state: Counter[events.StreamState] = Counter()
    alerts_open, streams_max = 0, 0
    for state in states:
        slab = state.slabs[group.name]
        by_state.update(streams_by_state(slab, group.detector.settings.warmup_samples))
        view = slab.view()
        alerts_open += int((view["alert_phase"] >= FIRING).sum()) + int((view["silent"] > 0).sum())
        streams_max += slab.streams_max
    return events.StreamsCounted(group.name, by_state, alerts_open, streams_max, maintained)


def _spread_over(slabs: Sequence[Slab]) -> NDArray[np.void]:
    """Return copies of at most about DRIFT_STREAMS_MAX rows, evenly spread; a silent stream says nothing."""
    step = max(1, -(-sum(len(slab) for slab in slabs) // DRIFT_STREAMS_MAX))
    rows = np.concatenate([slab.view()[::step] for slab in slabs])
    heard: NDArray[np.void] = rows[rows["silent"] == 0]
    return heard


def _samples_since(state: PartitionState, group: Group) -> int:
    return int(state.slabs[group.name].view()["model_samples"].sum(dtype=np.float64))


def _samples(state: PartitionState, group: Group) -> int:
    """Return how many samples the streams that have warmed up have had; the others' past is too short to learn from."""
    samples = state.slabs[group.name].view()["samples"]
    return int(samples[samples >= group.detector.settings.warmup_samples].sum(dtype=np.float64))
