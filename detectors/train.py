"""From histories of streams to a trained detector: scale as the detector does, fit, and calibrate on the same data."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from detectors import adopt, autoregression, device, rescaling, scaling, scoring
from detectors.checkpoint import Saving
from detectors.fit import Fitted, Progress, TrainingSeries, fit
from detectors.lanes import History
from detectors.network import Network
from detectors.scoring import Detector
from detectors.settings import DetectorSettings
from detectors.slab import row_dtype

F = NDArray[np.float64]
Row = NDArray[np.void]

CALIBRATION_STREAMS_MAX = 256
CALIBRATION_SAMPLES_MAX = 1500
SERIES_SAMPLES_MIN = 64


class TooLittleHistory(ValueError):
    """There is not enough history to learn from; the text says how much there is."""


@dataclass(frozen=True, slots=True)
class StreamHistory:
    """One stream's past: event times (T,), rising, and raw values (T, D), NaN where a channel was missing."""

    times_ms: NDArray[np.int64]
    values: F
    told: NDArray[np.float32] | None = None  # (D,) what the channels are, of those in scaling; None: nothing is told


@dataclass(frozen=True, slots=True, eq=False)
class Trained:
    """What training gives: weights with their report, and the calibration of the errors they make."""

    fitted: Fitted
    calibration: dict[str, NDArray[np.float32]]
    samples: int


def train(
    settings: DetectorSettings,
    histories: Sequence[StreamHistory],
    progress: Callable[[Progress], None],
    saving: Saving | None = None,
) -> Trained:
    """Learn a network from `histories` and measure its errors on their later parts.

    Raises TooLittleHistory when no stream is long enough or all together are fewer than `training.min_samples`, and
    CheckpointError when `saving` starts from something else, and DeviceMissing where there is no such device.
    """
    settings = replace(settings, scope="group")  # what is learnt here is the group's
    usable = [history for history in histories if len(history.times_ms) >= SERIES_SAMPLES_MIN]
    total = sum(len(history.times_ms) for history in usable)
    if total < min(settings.training.min_samples, settings.training.history_samples_max):
        raise TooLittleHistory(f"{total} samples in {len(usable)} streams, {settings.training.min_samples} are needed")
    usable.sort(key=lambda history: -len(history.times_ms))
    series = _series(settings, usable)
    there = History.of(series, device.found(settings.device))
    fitted = fit(there, model=settings.model, training=settings.training, progress=progress, saving=saving)
    squares: dict[str, NDArray[np.float32]] = {}
    if autoregression.speaks(len(settings.channels), settings.model.window):
        linear, squares = autoregression.learnt(series)
        fitted = replace(fitted, weights={**fitted.weights, **linear})
    detector = Detector(settings, Network.of(fitted.weights, settings), "candidate")
    return Trained(fitted, _calibration(detector, usable) | squares, total)


def _series(settings: DetectorSettings, histories: Sequence[StreamHistory]) -> list[TrainingSeries]:
    """Return what the network would read and should tell; every stream is scaled as at the end of its history."""
    rows = _fresh_rows(settings, histories)
    levels = [np.full(history.values.shape, np.nan) for history in histories]
    for step, scored in _walk(Detector(settings), rows, histories):
        for i in range(len(scored.level)):
            levels[i][step] = scored.level[i]
    rescaling.hold_scale(rows)
    return [_one_series(rows[i : i + 1], history, levels[i]) for i, history in enumerate(histories)]


def _one_series(row: Row, history: StreamHistory, level: F) -> TrainingSeries:
    z = scaling.scaled(row, level)  # (T, D)
    valid = np.isfinite(z)
    filled = _carried_forward(z, valid)
    difference = np.diff(filled, axis=0, prepend=filled[:1])
    inputs = scoring.inputs(filled, difference, history.times_ms)
    return TrainingSeries(inputs, filled.astype(np.float32), valid)


def _carried_forward(z: F, valid: NDArray[np.bool_]) -> F:
    """Return `z` (T, D) with each missing value replaced by the last one before it, 0 at the start."""
    last = np.maximum.accumulate(np.where(valid, np.arange(len(z))[:, None], -1), axis=0)
    filled = np.take_along_axis(np.nan_to_num(z), np.maximum(last, 0), axis=0)
    result: F = np.where(last >= 0, filled, 0.0)
    return result


def _calibration(detector: Detector, histories: Sequence[StreamHistory]) -> dict[str, NDArray[np.float32]]:
    """Run the trained detector over the ends of some histories and take the medians of its error statistics."""
    chosen = [
        replace(
            history,
            times_ms=history.times_ms[-CALIBRATION_SAMPLES_MAX:],
            values=history.values[-CALIBRATION_SAMPLES_MAX:],
        )
        for history in histories[:: max(1, len(histories) // CALIBRATION_STREAMS_MAX)]
    ]
    rows = _fresh_rows(detector.settings, chosen)
    for _ in _walk(detector, rows, chosen):
        pass
    return adopt.calibrate(rows)


def _fresh_rows(settings: DetectorSettings, histories: Sequence[StreamHistory]) -> Row:
    rows = np.zeros(len(histories), row_dtype(scoring.fields(settings)))
    scoring.clear(rows)
    for i, history in enumerate(histories):
        if history.told is not None:
            rows["counter"][i] = history.told
    return rows


def _walk(detector: Detector, rows: Row, histories: Sequence[StreamHistory]) -> Iterator[tuple[int, scoring.Scored]]:
    """Score the histories side by side, sample by sample; they must come longest first."""
    lengths = np.array([len(history.times_ms) for history in histories])
    for step in range(int(lengths[0])):
        count = int((lengths > step).sum())
        times_ms = np.array([history.times_ms[step] for history in histories[:count]])
        values = np.stack([history.values[step] for history in histories[:count]])
        open_to_learn = np.zeros(count, dtype=bool)
        yield step, scoring.score(detector, rows[:count], times_ms, values, open_to_learn)
