"""What is looked at between turns, now and then: how many streams and alerts there are, the lag, whether to train."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from daemon import events
from daemon.alert_events import Group
from daemon.alerts import FIRING
from daemon.models import LiveModel
from daemon.partitions import Partitions
from daemon.ports import Source
from daemon.state import PartitionState, streams_by_state
from daemon.types import TopicPartition

LOOK_SECONDS = 1.0


class Models(Protocol):
    """What is asked of the model store."""

    def current(self, group: str) -> LiveModel | None: ...


class Learner(Protocol):
    """What is asked of the learning beside the loop."""

    def consider(self, group: str, samples: int, *, has_model: bool, now: float) -> bool: ...


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


class Watch:
    """Looks at the owned partitions at most once in LOOK_SECONDS; between looks a turn costs next to nothing."""

    def __init__(
        self, looked: Looked, learning: Learner, told: Told, heart: Heart, wall_clock: Callable[[], float]
    ) -> None:
        self._looked, self._learning, self._told, self._heart = looked, learning, told, heart
        self._leader = TopicPartition(looked.leading_topic, 0)
        self._wall_clock = wall_clock
        self._looked_at = -LOOK_SECONDS

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
            self._told.note(_counted(group, list(states.values())))
            if self._leader in states:
                samples = sum(_samples(state, group) for state in states.values())
                self._learning.consider(name, samples, has_model=self._looked.models.current(name) is not None, now=now)
        self._tell_lag(states, wall)

    def _tell_lag(self, states: Mapping[TopicPartition, PartitionState], wall: float) -> None:
        for partition, records in self._looked.source.lag().items():
            state = states.get(partition)
            newest_ms, run = (state.watermark_ms, state.rejected_run) if state else (0, 0)
            seconds = max(wall - newest_ms / 1000.0, 0.0) if newest_ms else 0.0
            self._told.note(events.LagMeasured(partition, records, seconds, run))


def _counted(group: Group, states: Sequence[PartitionState]) -> events.StreamsCounted:
    by_state: Counter[events.StreamState] = Counter()
    alerts_open, streams_max = 0, 0
    for state in states:
        slab = state.slabs[group.name]
        by_state.update(streams_by_state(slab, group.detector.settings.warmup_samples))
        view = slab.view()
        alerts_open += int((view["alert_phase"] >= FIRING).sum()) + int((view["silent"] > 0).sum())
        streams_max += slab.streams_max
    return events.StreamsCounted(group.name, by_state, alerts_open, streams_max)


def _samples(state: PartitionState, group: Group) -> int:
    """Return how many samples the streams that have warmed up have had; the others' past is too short to learn from."""
    samples = state.slabs[group.name].view()["samples"]
    return int(samples[samples >= group.detector.settings.warmup_samples].sum(dtype=np.float64))
