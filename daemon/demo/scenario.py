"""What the demonstration sends: days of history without faults, then days with labelled ones, as records."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from daemon.demo import faults
from daemon.demo.faults import Fault
from daemon.demo.fleet import Fleet, Stream
from daemon.demo.judge import Label, Observed
from daemon.demo.series import DAY_SECONDS
from daemon.types import Outgoing

F = NDArray[np.float64]

TOPIC: Final = "metrics"
GROUP: Final = "fleet"
PARTITIONS: Final = 4
INTERVAL_SECONDS: Final = 300
TRAIN_SHARE: Final = 0.98  # of the history's samples must have been seen before the training starts
TRAINING_SECONDS_MAX: Final = 45


@dataclass(frozen=True, slots=True)
class Size:
    """How large the demonstration is; the same seed gives the same fleet and the same faults."""

    seed: int = 7
    streams_each: int = 4
    history_days: int = 14
    live_days: int = 14


@dataclass(frozen=True, slots=True)
class Scenario:
    """A fleet, its faults, and every sample of both parts; a sample that was never taken is NaN."""

    fleet: Fleet
    faults: tuple[Fault, ...]
    values: F  # (T, S)
    times_ms: NDArray[np.int64]  # (T, S)
    history_steps: int

    @property
    def steps(self) -> int:
        """Return how many steps there are, history included."""
        return len(self.values)

    @property
    def labels(self) -> tuple[Label, ...]:
        """Return what is wrong, where and when, as the judge wants it."""
        return tuple(faults.label(fault, self.fleet) for fault in self.faults)

    @property
    def observed(self) -> Observed:
        """Return what is judged: all streams over the live part."""
        fleet = self.fleet
        return Observed(len(fleet.streams), fleet.step_ms(self.history_steps), fleet.step_ms(self.steps))

    def samples(self, step_from: int, step_to: int) -> int:
        """Return how many samples the steps [step_from, step_to) have."""
        return int(np.isfinite(self.values[step_from:step_to]).sum())

    def records(self, step_from: int, step_to: int) -> list[Outgoing]:
        """Return the samples of the steps [step_from, step_to) as records, in the order of their times."""
        return [record for step in range(step_from, step_to) for record in self._of_step(step)]

    def _of_step(self, step: int) -> Iterator[Outgoing]:
        for column in np.argsort(self.times_ms[step], kind="stable"):
            value = float(self.values[step, column])
            if np.isfinite(value):
                yield record_of(self.fleet.streams[column], int(self.times_ms[step, column]), value)


def plan(size: Size, now_ms: int) -> Scenario:
    """Make up a scenario whose last sample lies just before `now_ms`, in milliseconds since 1970."""
    days = size.history_days + size.live_days
    step_ms = INTERVAL_SECONDS * 1000
    end_ms = now_ms // step_ms * step_ms
    fleet = Fleet(size.seed, size.streams_each, INTERVAL_SECONDS, end_ms - days * DAY_SECONDS * 1000)
    history, steps = size.history_days * fleet.day_steps, days * fleet.day_steps
    planned = faults.schedule(fleet, history, steps, size.seed)
    values = np.where(fleet.present(0, steps), faults.inject_all(fleet.values(0, steps), planned, 0), np.nan)
    return Scenario(fleet, planned, values, fleet.times_ms(0, steps), history)


def record_of(stream: Stream, time_ms: int, value: float) -> Outgoing:
    """Return one sample as a JSON record, keyed by its stream."""
    body = {"timestamp": time_ms, "name": stream.name, "labels": dict(stream.labels), "value": value}
    return Outgoing(TOPIC, stream.column % PARTITIONS, stream.key.encode(), json.dumps(body).encode())


def configuration(scenario: Scenario, bootstrap: str, listen: str) -> str:
    """Return the YAML that a user would write to watch this fleet; what it leaves out are the shipped defaults."""
    enough = int(TRAIN_SHARE * scenario.samples(0, scenario.history_steps))
    return f"""\
# Longwatch's demonstration: an ordinary configuration.
kafka:
  bootstrap_servers: ["{bootstrap}"]
  group_id: longwatch-demo
input:
  topics: [{TOPIC}]
  format: json
groups:
  - name: {GROUP}
    max_streams: 1000
    training:
      min_samples: {enough}  # nearly all of the history
      seconds_max: {TRAINING_SECONDS_MAX}
server:
  listen: "{listen}"
logging:
  format: json
"""
