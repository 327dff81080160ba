"""Score one sample of each of many streams: scale, advance the network, measure the errors, calibrate.

The order is strictly causal: a sample is scored with what was known before it, and only then learnt from.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from detectors import channels, scaling, tail, threshold
from detectors.channels import FAMILIES, SCALES
from detectors.settings import DetectorSettings
from detectors.tail import Tail

F = NDArray[np.float64]
F4 = NDArray[np.float32]
Row = NDArray[np.void]
Mask = NDArray[np.bool_]

DAY_MS = 86_400_000.0
MODEL_WARMUP_SAMPLES = 100  # after a swap, before the network's errors count
FAMILY_WEIGHTS = np.array([1.0, 0.7, 1.0])  # distances from a level are noisier than they look
LEARN_DECADES_MAX = 5.0  # from one decade below this on, a sample teaches less and less
LEARN_WEIGHT_MIN = 0.1
PEAK_SHARE = 0.25  # of the largest decades beside the mean
CLOCK_INPUTS = 2  # sine and cosine of the time of day
STEP_INPUT_MAX = 20.0  # scaled units; bounds the network's difference input

ERROR_TAIL = Tail("error_tail", floor=0.05, shape_max=0.4)
# decades of a calibrated error are exponential: their own tail has nearly no shape
FAMILY_TAIL = Tail("family_tail", floor=0.05, shape_max=0.1)
_OF_MODEL = np.arange(len(channels.NAMES)) < FAMILIES["model"].stop
_UNIT_OF_MODEL = np.repeat(_OF_MODEL, SCALES)
_FAMILY_OF_MODEL = np.arange(len(FAMILIES)) == 0


class Advanced(Protocol):
    """What one step of the network gives for n streams."""

    @property
    def hidden(self) -> F4: ...  # (n, H)
    @property
    def cell(self) -> F4: ...  # (n, H)
    @property
    def reconstruction(self) -> F4: ...  # (n, W, D), newest first
    @property
    def forecast(self) -> F4: ...  # (n, D)


class Network(Protocol):
    """The trained part of a detector."""

    def advance(self, inputs: F4, hidden: F4, cell: F4) -> Advanced:
        """Take one sample (n, F) into each stream's state (n, H)."""

    def rebuild(self, inputs: F4, valid: Mask) -> tuple[F4, F4]:
        """Return hidden and cell state (n, H) after a stored window (n, W, F), oldest first."""


@dataclass(frozen=True, slots=True)
class Detector:
    """One group's settings and, once trained, its network; immutable, swapped whole."""

    settings: DetectorSettings
    network: Network | None = None
    model_id: str = ""


@dataclass(frozen=True, slots=True)
class Scored:
    """One wave's result in columns; a score is NaN while the stream is warming."""

    score: F  # (n,) 1.0 is the threshold
    surprise: F  # (n,) decades
    level: F  # (n, D) what was scored: the value, or a counter's rate; NaN where missing
    expected: F  # (n, D)
    margin: F  # (n, D) usual size of the forecast's error times three
    share: F  # (n, D) each channel's part in the error, sums to 1
    family: F  # (n, 3) decades of each family of error channels


def fields(settings: DetectorSettings) -> list[tuple[str, str, tuple[int, ...]]]:
    """Return every row field that a detector with these settings keeps for a stream."""
    width, model = len(settings.channels), settings.model
    return [
        ("time_ms", "i8", ()),
        ("interval_ms", "f4", ()),
        ("samples", "f4", ()),
        ("model_samples", "f4", ()),
        ("window_filled", "f4", ()),
        ("window", "f4", (model.window, width)),  # scaled, newest first
        ("hidden", "f4", (model.hidden,)),
        ("cell", "f4", (model.hidden,)),
        ("forecast", "f4", (width,)),
        *scaling.fields(width),
        *channels.fields(width),
        *tail.fields(ERROR_TAIL.name, channels.UNITS),
        *tail.fields(FAMILY_TAIL.name, len(FAMILIES)),
        *threshold.fields(),
    ]


def score(detector: Detector, rows: Row, times_ms: NDArray[np.int64], values: F, protected: Mask) -> Scored:
    """Score one sample for each row and move the rows, in place, past it.

    `rows` (n,) belong to n different streams; `times_ms` (n,) are later than each row's own; `values` (n, D) are raw,
    NaN where a channel is missing; rows in `protected` (n,) are scored but learn nothing.
    """
    seconds = np.maximum((times_ms - rows["time_ms"]) / 1000.0, 1e-3)
    fresh = rows["samples"] == 0
    _forget_across_gaps(detector, rows, seconds, fresh)
    level = scaling.levels(rows, values, seconds)
    z = scaling.scaled(rows, level)  # (n, D), NaN where missing
    previous = rows["window"][:, 0].astype(np.float64)
    difference = np.where((rows["window_filled"] > 0)[:, None], z - previous, 0.0)
    errors, predicted = _errors(detector, rows, z, difference, times_ms)
    square = channels.squares(rows, errors)
    present = np.isfinite(z).astype(np.float64)
    channels.follow(rows, z, difference)
    smooth = channels.smoothed(rows, channels.combined(rows, square, present))
    means = family_means(ERROR_TAIL.decades(rows, smooth))
    family = _decades(rows, means)
    surprise: F = (family * FAMILY_WEIGHTS).max(axis=1)
    result = threshold.score(detector.settings.threshold, rows, surprise)
    warm = rows["samples"] >= detector.settings.warmup_samples
    margin = channels.margin(rows, 2 if detector.network else 4)
    spread, location = scaling.floored(rows), rows["location"].copy()
    scored = Scored(
        score=np.where(warm, result, np.nan),
        surprise=surprise,
        level=level,
        expected=location + spread * predicted,
        margin=spread * margin,
        share=_shares(square, trained=detector.network is not None),
        family=family,
    )
    _learn(rows, _Observed(level, errors, difference, smooth, means, surprise), _learning_weight(surprise, protected))
    _advance_clock(rows, times_ms, seconds, fresh)
    return scored


def _forget_across_gaps(detector: Detector, rows: Row, seconds: F, fresh: Mask) -> None:
    """Across a long gap the short-term past says nothing: clear window and state, keep what was learnt."""
    gap = (seconds > detector.settings.gap_max_seconds) & ~fresh
    if gap.any():
        for name in ("window", "window_filled", "hidden", "cell", "forecast", "local"):
            rows[name][gap] = 0.0


def _errors(detector: Detector, rows: Row, z: F, difference: F, times_ms: NDArray[np.int64]) -> tuple[F, F]:
    """Put the sample into the window, take one step of the network, and return errors and expectation."""
    # without a network the local average is the expectation
    predicted = (rows["forecast"] if detector.network else rows["local"]).astype(np.float64)  # (n, D)
    filled = np.where(np.isfinite(z), z, predicted)
    window = rows["window"]
    window[:, 1:] = window[:, :-1].copy()
    window[:, 0] = filled
    rows["window_filled"] = np.minimum(rows["window_filled"] + 1, window.shape[1])
    if detector.network is None:
        return channels.per_channel(rows, z, predicted, None), predicted
    moved = detector.network.advance(inputs(filled, difference, times_ms), rows["hidden"], rows["cell"])
    errors = channels.per_channel(rows, z, predicted, moved.reconstruction.astype(np.float64))
    rows["hidden"], rows["cell"], rows["forecast"] = moved.hidden, moved.cell, moved.forecast
    rows["model_samples"] += 1
    return errors, predicted


def inputs(z: F, difference: F, times_ms: NDArray[np.int64]) -> F4:
    """Return the network's input (..., 2 D + CLOCK_INPUTS): values, steps, and the time of day as an angle."""
    angle = (2.0 * np.pi / DAY_MS) * (times_ms % int(DAY_MS))  # (...)
    step = np.clip(np.nan_to_num(difference), -STEP_INPUT_MAX, STEP_INPUT_MAX)
    clock = np.stack([np.sin(angle), np.cos(angle)], axis=-1)
    return np.concatenate([z, step, clock], axis=-1).astype(np.float32)


def _decades(rows: Row, means: F) -> F:
    """Return the decades (n, families) of the families' means; the network's count once it is warm."""
    family: F = FAMILY_TAIL.decades(rows, means)
    trained = rows["model_samples"] >= MODEL_WARMUP_SAMPLES
    family[:, 0] = np.where(trained, family[:, 0], 0.0)
    return family


def family_means(decades: F) -> F:
    """Return the mean decades (n, families) over the channels and time scales of each family."""
    parts = [decades[:, part.start * SCALES : part.stop * SCALES] for part in FAMILIES.values()]
    return np.stack([(1.0 - PEAK_SHARE) * part.mean(axis=1) + PEAK_SHARE * part.max(axis=1) for part in parts], axis=1)


def _shares(square: F, *, trained: bool) -> F:
    """Return each channel's share (n, D) in the error; without any error all are equal."""
    weight = square.sum(axis=1) if trained else square[:, 3:].sum(axis=1)
    total = weight.sum(axis=1, keepdims=True)
    share: F = np.where(total > 0, weight / np.maximum(total, 1e-12), 1.0 / weight.shape[1])
    return share


@dataclass(frozen=True, slots=True)
class _Observed:
    """What a wave measured and the rows may now learn."""

    level: F
    errors: F
    difference: F
    smooth: F
    means: F
    surprise: F


def _learning_weight(surprise: F, protected: Mask) -> F:
    """Return how much each sample (n,) may teach: nothing under an open alert, little when it is most surprising.

    Little is not nothing: a stream that has changed for good is learnt in the end.
    """
    return np.where(protected, 0.0, np.clip(LEARN_DECADES_MAX - surprise, LEARN_WEIGHT_MIN, 1.0))


def _learn(rows: Row, observed: _Observed, weight: F) -> None:
    """Let the wave's samples, by their weight in `weight` (n,), enter every running statistic."""
    samples = rows["samples"].astype(np.float64)[:, None]  # (n, 1)
    # this sample has been counted by the network already
    model_samples = np.maximum(rows["model_samples"].astype(np.float64) - 1.0, 0.0)[:, None]
    errors_seen = np.where(_OF_MODEL[: channels.PER_CHANNEL], model_samples, samples)
    ERROR_TAIL.learn(rows, observed.smooth, np.where(_UNIT_OF_MODEL, model_samples, samples), weight)
    FAMILY_TAIL.learn(rows, observed.means, np.where(_FAMILY_OF_MODEL, model_samples, samples), weight)
    threshold.learn(rows, observed.surprise, samples[:, 0], weight)
    channels.learn(rows, observed.errors, observed.difference, errors_seen, weight)
    scaling.learn(rows, observed.level, weight)


def _advance_clock(rows: Row, times_ms: NDArray[np.int64], seconds: F, fresh: Mask) -> None:
    usual = rows["interval_ms"]
    elapsed = seconds * 1000.0
    rate = np.maximum(1.0 / np.maximum(rows["samples"], 1.0), 0.02)
    bounded = np.where(usual > 0, np.minimum(elapsed, 3.0 * usual), elapsed)
    rows["interval_ms"] = np.where(fresh, 0.0, usual + rate * (bounded - usual))
    rows["time_ms"] = times_ms
    rows["samples"] += 1
