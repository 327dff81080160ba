"""What a stream is expected to do next, and how far off such expectations have been.

A forecast of several steps feeds the detector with its own expectation of each next sample. A network that was taught
several samples ahead (`model.horizon`) tells them at once, and is fed with those. How uncertain that is, no formula
says: it is measured, on forecasts of the past that have since come true or not.

Shapes: n streams, m forecasts of the past, K steps ahead, D channels.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

from detectors import channels, readout, scaling, scoring
from detectors.columns import Rows
from detectors.network import Advanced, Network
from detectors.scoring import Detector
from detectors.settings import DetectorSettings

F4 = NDArray[np.float32]
Mask = NDArray[np.bool_]
F = NDArray[np.float64]
Row = NDArray[np.void]

FORECASTS_MIN: Final = 20  # of the past, before anything is said about bounds
JUDGED_MAX: Final = 300  # bounds of the past that are looked at to say how often they held


@dataclass(frozen=True, slots=True, eq=False)
class Bounds:
    """How far off a forecast has been, for each step ahead and channel, (K, D)."""

    lower: F  # what to add to the expectation to get the lower bound; usually negative
    upper: F
    held: F  # share of the later forecasts of the past within bounds made of the earlier ones; NaN when none was known
    error: F  # mean absolute error
    naive_error: F  # that of expecting the last value again
    forecasts: int  # of the past, that all of this rests on


def next_sample(detector: Detector, rows: Row) -> tuple[F, F]:
    """Return the level expected of each row's next sample, and how far off that usually is at most; both (n, D)."""
    spread = scaling.floored(rows)
    expected: F = rows["location"] + spread * scoring.expectation(detector, rows)
    return expected, spread * channels.margin(rows, trained=detector.network is not None)


def ahead(detector: Detector, rows: Row, steps: int) -> F:
    """Return the next `steps` levels (n, K, D) that are expected of streams `rows` (n,), which stay as they are.

    A level is a value, or a counter's rate. Samples are taken to come at the usual interval.
    """
    moved, told = rows.copy(), list[F]()  # what the network has said of the next samples, and not been fed with yet
    listener = _Listener.of(detector.network)
    detector = detector if listener is None else replace(detector, network=listener)
    seconds = np.maximum(moved["interval_ms"], 1.0).astype(np.float64) / 1000.0
    nobody_learns = np.ones(len(rows), dtype=bool)
    levels = []
    for _ in range(steps):
        has_more = bool(told)
        expected = told.pop(0) if has_more else next_sample(detector, moved)[0]
        values = scaling.values_of(moved, expected, seconds)
        times_ms = moved["time_ms"] + np.maximum(seconds * 1000.0, 1.0).astype(np.int64)
        levels.append(scoring.score(detector, moved, times_ms, values, nobody_learns).level)
        if listener is not None and not has_more:
            told = listener.levels(moved)
    return np.stack(levels, axis=1) if levels else np.zeros((len(rows), 0, moved["location"].shape[1]))


class _Listener:
    """A network that keeps what it has last told of the samples ahead, and is otherwise the one it stands for."""

    def __init__(self, network: Network) -> None:
        self._network = network
        self._ahead = np.zeros((0, network.horizon, network.channels), np.float32)

    @classmethod
    def of(cls, network: scoring.Network | None) -> Self | None:
        """Return a listener to a network that tells more than one sample ahead, None for any other."""
        return cls(network) if isinstance(network, Network) and network.horizon > 1 else None

    def levels(self, rows: Row) -> list[F]:
        """Return the levels (n, D) of the next samples, one after the other, that it told of `rows` (n,).

        What each stream's own readout has learnt to add to the next one is added to all.
        """
        own = rows["forecast"] - self._ahead[:, 0]
        spread = scaling.floored(rows)
        scaled = np.clip(self._ahead + own[:, None], -readout.FORECAST_MAX, readout.FORECAST_MAX)
        return [rows["location"] + spread * scaled[:, k] for k in range(scaled.shape[1])]

    def advance(self, inputs: F4, hidden: F4, cell: F4, newest_of: Mask | None = None) -> Advanced:
        """Take one sample into each stream's state, and keep what that tells."""
        moved = self._network.advance(inputs, hidden, cell, newest_of)
        self._ahead = moved.ahead
        return moved

    def advance_own(self, inputs: F4, hidden: F4, cell: F4, change: F4) -> Advanced:
        """Take one sample as `advance` does, with the weights that each stream's `change` makes."""
        moved = self._network.advance_own(inputs, hidden, cell, change)
        self._ahead = moved.ahead
        return moved

    def learn_own(self, rows: Rows, where: Mask, settings: DetectorSettings) -> None:
        """Give the lesson that is due; where nobody learns, there is none."""
        self._network.learn_own(rows, where, settings)

    def autoregress(self, window: F4) -> F4 | None:
        """Return the linear forecast."""
        return self._network.autoregress(window)

    def rebuild(self, inputs: F4, valid: Mask) -> tuple[F4, F4]:
        """Return hidden and cell state after a stored window."""
        return self._network.rebuild(inputs, valid)


def bounds(forecast: F, naive: F, actual: F, *, coverage: float, at: NDArray[np.intp]) -> Bounds:
    """Return bounds that hold `coverage` of the time if the future errs as the past did.

    `forecast`, `naive` and `actual` are (m, K, D), NaN in `actual` where a value was missing; `at` (m,) rises: the
    sample after which each forecast was made. Raises ValueError when there are fewer than FORECASTS_MIN.
    """
    if len(forecast) < FORECASTS_MIN:
        raise ValueError(f"{len(forecast)} forecasts of the past can be compared, {FORECASTS_MIN} are needed")
    errors = actual - forecast
    lower, upper = _edges(errors, coverage)
    return Bounds(
        lower=lower,
        upper=upper,
        held=_held(errors, coverage, at),
        error=_mean(np.abs(errors)),
        naive_error=_mean(np.abs(actual - naive)),
        forecasts=len(forecast),
    )


def _edges(errors: F, coverage: float) -> tuple[F, F]:
    """Return the empirical bounds (K, D) of errors (m, K, D), moved outwards by the sample that is still to come."""
    outside = 0.5 * (1.0 - coverage)
    ordered = np.sort(errors, axis=0)  # NaN last
    known = np.isfinite(errors).sum(axis=0)  # (K, D)
    low = np.clip(np.floor((known + 1) * outside).astype(np.intp) - 1, 0, None)
    high = np.maximum(known - 1 - low, 0)
    lower, upper = (np.take_along_axis(ordered, place[None], axis=0)[0] for place in (low, high))
    return lower, upper


def _held(errors: F, coverage: float, at: NDArray[np.intp]) -> F:
    """Return the share (K, D) of forecasts within bounds made of those that were over when they were made."""
    steps = errors.shape[1]
    over = np.searchsorted(at, at - steps, side="right")  # (m,) how many forecasts had come to their end
    later = np.flatnonzero(over >= FORECASTS_MIN)
    chosen = later[:: max(1, -(-len(later) // JUDGED_MAX))]
    inside, counted = np.zeros(errors.shape[1:]), np.zeros(errors.shape[1:])
    for i in chosen:
        lower, upper = _edges(errors[: over[i]], coverage)
        inside += (errors[i] >= lower) & (errors[i] <= upper)
        counted += np.isfinite(errors[i])
    with np.errstate(invalid="ignore"):
        result: F = inside / counted
    return result


def _mean(sizes: F) -> F:
    known = np.isfinite(sizes)
    result: F = np.where(known, sizes, 0.0).sum(axis=0) / np.maximum(known.sum(axis=0), 1)
    return np.where(known.any(axis=0), result, np.nan)
