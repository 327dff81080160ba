"""Score one sample of each of many streams: scale, advance the network, measure the errors, calibrate.

The order is strictly causal: a sample is scored with what was known before it, and only then learnt from.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from detectors import (
    autoregression,
    channels,
    continual,
    own_weights,
    readout,
    rescaling,
    scaling,
    tail,
    threshold,
)
from detectors.architectures import widths_of
from detectors.channels import SCALES
from detectors.columns import Columns, Rows
from detectors.settings import DetectorSettings

F = NDArray[np.float64]
F4 = NDArray[np.float32]
Mask = NDArray[np.bool_]

DAY_MS = 86_400_000.0
MODEL_WARMUP_SAMPLES = 100  # after a swap, before the network's errors count
SHIELDED_TAIL_SAMPLES = 40  # of an open alert, which the tails still learn
ERROR_WEIGHTS = np.array([1.0, 1.0, 0.7, 0.5])  # steps and repetitions come in bursts: their decades are worth less
JOINT_WEIGHTS = np.array([1.42, 1.42, 0.7, 0.5])  # the one error of several channels has one chance only, not two
COUNTED_SAMPLES_MAX = 2.0**24  # a row counts no further
CLOCK_INPUTS = 2  # sine and cosine of the time of day
STEP_INPUT_MAX = 20.0  # scaled units; bounds the network's difference input


class Advanced(Protocol):
    """What one step of the network gives for n streams."""

    @property
    def hidden(self) -> F4: ...  # (n, widths.hidden)
    @property
    def cell(self) -> F4: ...  # (n, widths.cell)
    @property
    def summary(self) -> F4: ...  # (n, widths.summary)
    @property
    def reconstruction(self) -> F4: ...  # (n, W, D), newest first; or that alone (n, 1, D)
    @property
    def spread(self) -> F4 | None: ...  # (n, D), of the newest; None where the network tells none
    @property
    def forecast(self) -> F4: ...  # (n, D)


class Network(Protocol):
    """The trained part of a detector."""

    def advance(self, inputs: F4, hidden: F4, cell: F4, newest_of: Mask | None = None) -> Advanced:
        """Take one sample (n, F) into each stream's hidden and cell state.

        With `newest_of` (n,), only the newest sample is told, and of these streams alone: NaN elsewhere.
        """

    def autoregress(self, window: F4) -> F4 | None:
        """Return the linear forecast (n, D) by the window (n, W, D) before, newest first; None where there is none."""

    def rebuild(self, inputs: F4, valid: Mask) -> tuple[F4, F4]:
        """Return hidden and cell state after a stored window (n, W, F), oldest first."""


@runtime_checkable
class OwnNetwork(Protocol):
    """What a network can do besides where each stream has weights of its own."""

    def advance_own(self, inputs: F4, hidden: F4, cell: F4, change: F4) -> Advanced:
        """Take one sample into each stream's state, with the weights that its `change` (n, P) makes."""

    def learn_own(self, rows: Rows, where: Mask, settings: DetectorSettings) -> None:
        """Give the rows' streams, `where` (n,), the lesson that is due: their own weights change, in place."""


@dataclass(frozen=True, slots=True)
class Detector:
    """One group's settings and its network; immutable, swapped whole. Without a network it is the baseline."""

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
    margin: F  # (n, D) three times the usual size of the forecast's error
    share: F  # (n, D) each channel's part in the error, sums to 1
    decades: F  # (n, K) of each error


def fields(settings: DetectorSettings) -> list[tuple[str, str, tuple[int, ...]]]:
    """Return every row field that a detector with these settings keeps for a stream."""
    width, model = len(settings.channels), settings.model
    features = 2 * width + CLOCK_INPUTS
    carried = widths_of(model, features=features, channels=width)
    return [
        ("time_ms", "i8", ()),
        ("interval_ms", "f4", ()),
        ("samples", "f4", ()),
        ("model_samples", "f4", ()),
        ("window_filled", "f4", ()),
        ("window", "f4", (model.window, width)),  # scaled, newest first
        ("hidden", "f4", (carried.hidden,)),
        ("cell", "f4", (carried.cell,)),
        ("forecast", "f4", (width,)),
        *scaling.fields(width),
        *channels.fields(width),
        *(readout.fields(carried.summary, width) if settings.readout == "rls" else []),
        *continual.fields(settings, features),
        ("shielded", "f4", ()),  # consecutive samples under an open alert
        tail.field("tail", channels.UNITS),
        *threshold.fields(settings.threshold),
    ]


def clear(rows: Rows) -> None:
    """Set what does not begin at 0 in fresh rows."""
    scaling.clear(rows)
    channels.clear(rows)
    readout.clear(rows)


def score(detector: Detector, rows: Rows, times_ms: NDArray[np.int64], values: F, protected: Mask) -> Scored:
    """Score one sample for each row and move the rows, in place, past it.

    `rows` (n,) belong to n different streams; `times_ms` (n,) are later than each row's own; `values` (n, D) are raw,
    NaN where a channel is missing; rows in `protected` (n,) are scored but learn nothing. It is quickest with some
    hundreds of rows as `Columns`, which stay in the processor's cache.
    """
    if not isinstance(rows, Columns):
        columns = Columns(rows)
        scored = score(detector, columns, times_ms, values, protected)
        columns.store()
        return scored
    seconds = np.maximum((times_ms - rows["time_ms"]) / 1000.0, 1e-3)
    fresh = rows["samples"] == 0
    _forget_across_gaps(detector, rows, seconds, fresh)
    level = scaling.levels(rows, values, seconds)
    z = scaling.scaled(rows, level)  # (n, D), NaN where missing
    difference = np.where((rows["window_filled"] > 0)[:, None], z - rows["window"][:, 0], 0.0)
    errors, predicted = _errors(detector, rows, _Sample(times_ms, z, difference), ~protected)
    model, of_linear = channels.model_parts(rows, errors)
    parts = model, channels.level_parts(rows, z)  # both (n, D)
    present = np.isfinite(z)
    if z.shape[1] > 1:
        unmeasured = (rows["model_samples"] > 0) & (rows["error_samples"] < channels.MEASURED_SAMPLES)
        parts[0][unmeasured[:, None] & present] = 1.0  # as large as usual
    channels.follow(rows, z, difference)
    smooth = tail.placed(channels.smoothed(rows, channels.combined(rows, *parts, present), rows["samples"]))
    decades = _decades(rows, smooth, parts)
    surprise = reduce(np.maximum, (decades * error_weights(z.shape[1])).T)
    result = threshold.score(detector.settings.threshold, rows, surprise)
    warm = rows["samples"] >= detector.settings.warmup_samples
    spread = scaling.floored(rows)
    scored = Scored(
        score=np.where(warm, result, np.nan),
        surprise=surprise,
        level=level,
        expected=rows["location"] + spread * _told(z, predicted, errors, of_linear),
        margin=spread * channels.margin(rows, trained=detector.network is not None, of_linear=of_linear),
        share=_shares(parts, decades),
        decades=decades,
    )
    _learn(detector, rows, _Observed(level, z, errors, difference, smooth, surprise), ~protected)
    advance_clock(rows, times_ms, seconds, fresh)
    return scored


@dataclass(frozen=True, slots=True)
class _Sample:
    """A wave's samples as the network sees them."""

    times_ms: NDArray[np.int64]
    z: F  # (n, D), NaN where missing
    difference: F  # (n, D), from the one before


def _forget_across_gaps(detector: Detector, rows: Rows, seconds: F, fresh: Mask) -> None:
    """Across a long gap the short-term past says nothing: clear window and state, keep what was learnt."""
    gap = (seconds > detector.settings.gap_max_seconds) & ~fresh
    if gap.any():
        for name in ("window", "window_filled", "hidden", "cell", "forecast", "local"):
            column = rows[name]
            column[gap] = 0.0
            rows[name] = column
        continual.interrupt(rows, gap)


def _errors(detector: Detector, rows: Rows, sample: _Sample, learning: Mask) -> tuple[F, F]:
    """Put the sample into the window and take one step of the network.

    Returns its errors (n, HEADS, D), NaN where there are none, and what was expected of the sample (n, D).
    """
    predicted, z = expectation(detector, rows), sample.z
    filled = np.where(np.isfinite(z), z, predicted)
    window = rows["window"]
    linear = detector.network.autoregress(window) if detector.network is not None and z.shape[1] > 1 else None
    window[:, 1:] = window[:, :-1].copy()
    window[:, 0] = filled
    rows["window"] = window
    rows["window_filled"] = np.minimum(rows["window_filled"] + 1, window.shape[1])
    errors = np.full((len(rows), channels.HEADS, z.shape[1]), np.nan)
    if detector.network is None:
        return errors, predicted
    if linear is not None:
        errors[:, channels.LINEAR] = np.where((rows["window_filled"] > autoregression.LAGS)[:, None], z - linear, 0.0)
    told = _reconstructed(detector.settings, rows)
    moved = _advance(detector, rows, inputs(filled, sample.difference, sample.times_ms), z, learning, told)
    ahead = (z - predicted).astype(np.float32)
    prior = np.where(told[:, None], moved.reconstruction[:, 0], np.float32(np.nan))
    if detector.settings.readout == "rls":
        readout.learn_next(rows, ahead, learning)
        read = readout.reading(moved.summary, filled.astype(np.float32))
        newest = readout.learn_newest(rows, read, prior, z.astype(np.float32), learning)
        # of several channels the head corrects the sample itself: a swap of networks leaves what it learnt of that
        before = filled.astype(np.float32) if readout.reads_sample(z.shape[1]) else moved.forecast
        rows["forecast"] = readout.forecast(rows, read, before)
    else:
        newest = (z - prior).astype(np.float32)
        rows["forecast"] = moved.forecast
    errors[:, 0] = newest if moved.spread is None else newest / moved.spread
    rows["model_samples"] += 1
    # the first sample was not expected
    errors[:, channels.AHEAD] = np.where((rows["model_samples"] > 1)[:, None], ahead, 0.0)
    return errors, predicted


def _told(z: F, predicted: F, errors: F, of_linear: Mask) -> F:
    """Return what is told (n, D) as expected of the samples `z` (n, D): by the forecast with the larger error."""
    if not of_linear.any():
        return predicted
    told = z - errors[:, channels.LINEAR]
    return np.where(of_linear[:, None] & np.isfinite(told), told, predicted)


def _reconstructed(settings: DetectorSettings, rows: Rows) -> Mask:
    """Return for which rows (n,) the network has to say what the newest sample should look like.

    A stream's own samples are counted, so that any cut of the input gives the same. Of several channels nobody asks.
    """
    if len(settings.channels) > 1:
        return np.zeros(len(rows), dtype=bool)
    seen = rows["model_samples"]
    result: Mask = (seen % settings.reconstruct_every_samples == 0) | (seen >= COUNTED_SAMPLES_MAX)
    return result


def _advance(detector: Detector, rows: Rows, read: F4, z: F, learning: Mask, told: Mask) -> Advanced:
    """Take what is `read` (n, F) of the samples `z` (n, D) into each stream's state, by the weights it goes by.

    The newest sample is told where `told` (n,), or also elsewhere where that costs nothing.
    """
    network, settings = detector.network, detector.settings
    assert network is not None
    if not own_weights.have_own(rows):
        moved = network.advance(read, rows["hidden"], rows["cell"], told)
        rows["hidden"], rows["cell"] = moved.hidden, moved.cell
        return moved
    assert isinstance(network, OwnNetwork)
    continual.note(settings, rows, read, z, learning)
    moved = network.advance_own(read, rows["hidden"], rows["cell"], rows[own_weights.FIELD])
    rows["hidden"], rows["cell"] = moved.hidden, moved.cell
    where = continual.due(settings, rows, learning)
    if where.any():
        rows["own_trained"] = np.where(where, bool(detector.model_id), rows["own_trained"])
        network.learn_own(rows, where, settings)
    return moved


def expectation(detector: Detector, rows: Rows) -> F:
    """Return what is expected of each row's next sample (n, D), scaled; without a network it is the local average."""
    result: F = (rows["local"] if detector.network is None else rows["forecast"]).astype(np.float64)
    return result


def inputs(z: F, difference: F, times_ms: NDArray[np.int64]) -> F4:
    """Return the network's input (..., 2 D + CLOCK_INPUTS): values, steps, and the time of day as an angle."""
    angle = (2.0 * np.pi / DAY_MS) * (times_ms % int(DAY_MS))  # (...)
    width = z.shape[-1]
    result = np.empty((*z.shape[:-1], 2 * width + CLOCK_INPUTS), np.float32)
    result[..., :width] = z
    step = np.minimum(np.maximum(channels.known(difference), -STEP_INPUT_MAX), STEP_INPUT_MAX)
    result[..., width : 2 * width] = step
    result[..., -2], result[..., -1] = np.sin(angle), np.cos(angle)
    return result


def _decades(rows: Rows, smooth: tail.Placed, parts: tuple[F, F]) -> F:
    """Return the decades (n, K) of each error: the mean over its time scales.

    One channel's network counts once it is warm; the one error of several channels is told as that of the larger part.
    """
    of_scales = tail.decades(rows["tail"], smooth).reshape(len(rows), -1, SCALES)
    decades: F = reduce(np.add, (of_scales[:, :, i] for i in range(SCALES)))
    decades /= SCALES
    if parts[0].shape[1] == 1:
        decades[:, 0] = np.where(rows["model_samples"] > MODEL_WARMUP_SAMPLES, decades[:, 0], 0.0)
    else:
        of_level = parts[1].sum(axis=1) >= parts[0].sum(axis=1)
        decades[:, 1] = np.where(of_level, decades[:, 0], 0.0)
        decades[:, 0] = np.where(of_level, 0.0, decades[:, 0])
    return decades


def error_weights(width: int) -> F:
    """Return what the decades of each error (K,) count for in the surprise of a stream of `width` channels."""
    return ERROR_WEIGHTS if width == 1 else JOINT_WEIGHTS


def _shares(parts: tuple[F, F], decades: F) -> F:
    """Return each channel's share (n, D) in the more surprising of the two errors; without any, all are equal."""
    if parts[0].shape[1] == 1:
        return np.ones(parts[0].shape)
    weight = np.where((decades[:, 0] >= decades[:, 1])[:, None], *parts)
    total = weight.sum(axis=1, keepdims=True)
    share: F = np.where(total > 0, weight / np.maximum(total, 1e-12), 1.0 / weight.shape[1])
    return share


@dataclass(frozen=True, slots=True)
class _Observed:
    """What a wave measured and the rows may now learn."""

    level: F
    z: F
    errors: F
    difference: F
    smooth: tail.Placed
    surprise: F


def _model_samples(rows: Rows) -> F:
    """Return how many samples (n,) the network had seen before this one, which it has counted already."""
    result: F = np.maximum(rows["model_samples"].astype(np.float64) - 1.0, 0.0)
    return result


def _is_settling(rows: Rows) -> Mask:
    """Return where (n,) the network is new to a stream that is not: its first errors are no measure of the later."""
    result: Mask = (rows["model_samples"] <= MODEL_WARMUP_SAMPLES) & (_model_samples(rows) < rows["samples"])
    return result


def _learn(detector: Detector, rows: Columns, observed: _Observed, learning: Mask) -> None:
    """Let the wave's samples enter every running statistic where `learning` (n,): not under an open alert.

    The tails go on learning for a while: an error that has just been told is not as improbable a second time.
    """
    samples = rows["samples"].astype(np.float64)  # (n,)
    rows["shielded"] = np.where(learning, 0.0, rows["shielded"] + 1.0)
    entering = (rows["shielded"] <= SHIELDED_TAIL_SAMPLES)[:, None]
    settling = _is_settling(rows)
    if settling.any():
        entering = np.repeat(entering, channels.UNITS, axis=1)  # (n, UNITS)
        entering[settling, channels.of_network(observed.z.shape[1])] = False
    counts = rows["tail"]
    tail.learn(counts, observed.smooth, entering, tail.halves(samples[:, None] + 1.0))
    rows["tail"] = counts
    threshold.learn(detector.settings.threshold, rows, observed.surprise, samples, learning)
    channels.learn_model(rows, observed.errors, _model_samples(rows), learning)
    channels.learn(rows, observed.z, observed.difference, samples, learning)
    due = scaling.learn(rows, observed.level, learning)
    if due.any():
        rescaling.renew(rows, due, has_model=bool(detector.model_id))


def advance_clock(rows: Rows, times_ms: NDArray[np.int64], seconds: F, fresh: Mask) -> None:
    """Count a sample of each row, `seconds` (n,) after the last one, and learn of it how far apart they usually are."""
    usual = rows["interval_ms"]
    elapsed = seconds * 1000.0
    rate = np.maximum(1.0 / np.maximum(rows["samples"], 1.0), 0.02)
    bounded = np.where(usual > 0, np.minimum(elapsed, 3.0 * usual), elapsed)
    rows["interval_ms"] = np.where(fresh, 0.0, usual + rate * (bounded - usual))
    rows["time_ms"] = times_ms
    rows["samples"] += 1
