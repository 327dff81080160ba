"""A made-up fleet: services, machines and instruments that behave, step after step, the same for the same seed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from daemon.demo.dice import Dice
from daemon.demo.series import DAY_SECONDS, HOUR_SECONDS, KINDS, VARIETIES, Clock, Series, SeriesKind, build
from daemon.stream_keys import stream_key

F = NDArray[np.float64]

MISSING_SHARE: Final = 0.002  # of all samples, each by itself
JITTER_SHARE: Final = 0.02  # standard deviation of a sample's time, in intervals
_PHASE, _JITTER, _MISSING = range(3)
_TIMES: Final = 100  # the dice's series number for times, away from those of the values
_ZERO: Final = VARIETIES.index("zero")

_NAMES: Final[Mapping[SeriesKind, str]] = {
    "seasonal": "active_sessions",
    "bursty": "requests_per_second",
    "trending": "disk_used_gigabytes",
    "counter": "events_total",
    "periodic": "backup_megabytes_per_second",
}
_VARIETY_NAMES: Final = ("fan_rpm", "supply_volts", "temperature_celsius", "errors_per_second")
_SERVICES: Final = ("shop", "search", "login", "billing", "stock", "mail")


@dataclass(frozen=True, slots=True)
class Stream:
    """One simulated time series: how it is called, and the units in which its faults are measured."""

    name: str
    labels: tuple[tuple[str, str], ...]  # sorted by name
    kind: SeriesKind
    noise: float  # standard deviation of the irregular part (of a counter's increment)
    swing: float  # highest minus lowest expected value of a usual day (of a trend: of a week)
    quantum: float  # values are multiples of it; 0: continuous
    zero: bool  # it is always 0: nothing can drop
    column: int

    @property
    def key(self) -> str:
        """Return the name by which the daemon's alerts call it."""
        return stream_key(self.name, dict(self.labels))

    @property
    def reach(self) -> float:
        """Return the height of the band in which usual values lie: the swing and four times the noise."""
        return self.swing + 4.0 * self.noise


@dataclass(frozen=True, slots=True)
class Fleet:
    """`streams_each` streams of each of the six kinds, one sample every `interval_seconds`, beginning at `start_ms`.

    Everything is a pure function of the arguments and the step: however the steps are cut, the values are the same
    (a rounding apart: 1e-9). `interval_seconds` divides an hour; `start_ms` is in milliseconds since 1970, UTC.
    Times lie within their step: a fixed offset for each stream and a little jitter. One sample in 500 is missing.
    """

    seed: int
    streams_each: int
    interval_seconds: int = 300
    start_ms: int = 0
    streams: tuple[Stream, ...] = field(init=False)
    _series: tuple[Series, ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if self.streams_each < 1 or self.interval_seconds < 1 or HOUR_SECONDS % self.interval_seconds:
            raise ValueError("a fleet needs at least one stream of each kind and an interval that divides an hour")
        clock = Clock(self.start_ms / 1000, self.interval_seconds)
        series = tuple(build(kind, self.seed, self.streams_each, clock) for kind in KINDS)
        object.__setattr__(self, "_series", series)
        object.__setattr__(self, "streams", tuple(_streams(series)))

    @property
    def day_steps(self) -> int:
        """Return how many steps a day has."""
        return DAY_SECONDS // self.interval_seconds

    def values(self, step_from: int, step_to: int) -> F:
        """Return what the streams do in the steps [step_from, step_to), without faults and gaps: (T, S)."""
        if step_to <= step_from:
            return np.empty((0, len(self.streams)))
        return np.concatenate([one.values(step_from, step_to) for one in self._series], axis=1)

    def times_ms(self, step_from: int, step_to: int) -> NDArray[np.int64]:
        """Return when each sample was taken, in milliseconds since 1970: (T, S)."""
        if step_to <= step_from:
            return np.empty((0, len(self.streams)), np.int64)
        dice, length = self._dice(), self.interval_seconds * 1000
        offset = 0.1 + 0.7 * dice.uniform(_PHASE, 0, 1)  # with the jitter's bounds a time never leaves its step
        jitter = np.clip(JITTER_SHARE * dice.normal(_JITTER, step_from, step_to), -0.1, 0.1)
        steps = self.start_ms + length * np.arange(step_from, step_to, dtype=np.int64)
        within: NDArray[np.int64] = (length * (offset + jitter)).astype(np.int64)
        return steps[:, None] + within

    def present(self, step_from: int, step_to: int) -> NDArray[np.bool_]:
        """Return which samples are taken at all: (T, S)."""
        if step_to <= step_from:
            return np.empty((0, len(self.streams)), np.bool_)
        present: NDArray[np.bool_] = self._dice().uniform(_MISSING, step_from, step_to) >= MISSING_SHARE
        return present

    def step_ms(self, step: int) -> int:
        """Return when `step` begins, in milliseconds since 1970."""
        return self.start_ms + step * self.interval_seconds * 1000

    def _dice(self) -> Dice:
        return Dice(self.seed, _TIMES, len(self.streams), self.day_steps)


def _streams(series: tuple[Series, ...]) -> list[Stream]:
    members = [(one, index) for one in series for index in range(len(one.noise))]
    return [_stream(one, index, column) for column, (one, index) in enumerate(members)]


def _stream(series: Series, index: int, column: int) -> Stream:
    variety = index % len(VARIETIES)
    steady = series.kind == "constant"
    service = _SERVICES[index % len(_SERVICES)]
    return Stream(
        name=_VARIETY_NAMES[variety] if steady else _NAMES[series.kind],
        labels=(("host", f"{service}-{index + 1:02d}"), ("service", service)),
        kind=series.kind,
        noise=float(series.noise[index]),
        swing=float(series.swing[index]),
        quantum=float(series.quantum[index]),
        zero=steady and variety == _ZERO,
        column=column,
    )
