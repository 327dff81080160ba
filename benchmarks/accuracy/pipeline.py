"""From an error for each sample to scores and alerts: smoothing, tail, threshold and life cycle are the product's own.

Whatever a detector's error is, it is smoothed at the product's time scales, measured by the product's streaming tail
and told by the product's alert table with the shipped settings. What differs between detectors is their error alone.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from benchmarks.accuracy.outcome import Outcome
from daemon import alerts
from detectors import channels, scoring, tail, threshold
from detectors.settings import AlertSettings, DetectorSettings
from detectors.slab import row_dtype

F = NDArray[np.float64]
Row = NDArray[np.void]


def through_tail(settings: DetectorSettings, errors: Sequence[F], width: int) -> list[Outcome]:
    """Score `errors`, one (T,) for each file, side by side.

    With a `width` of one channel an error is a distance; with more it is a mean of squares, whose root is taken after
    the smoothing, as the product does with its own.
    """
    order = sorted(range(len(errors)), key=lambda i: -len(errors[i]))
    lengths = np.array([len(errors[i]) for i in order])
    padded = np.zeros((lengths[0], len(errors)))
    for column, i in enumerate(order):
        padded[: lengths[column], column] = errors[i]
    score, opened, alarmed = np.zeros(padded.shape), np.zeros(padded.shape, bool), np.zeros(padded.shape, bool)
    rows = np.zeros(len(errors), row_dtype(_fields(settings, width)))
    for step in range(len(padded)):
        count = int((lengths > step).sum())
        living = slice(0, count)
        score[step, living], opened[step, living] = _one(settings, rows[living], padded[step, living])
        alarmed[step, living] = rows["alert_phase"][living] >= alerts.FIRING
    places = [(column, slice(0, lengths[column])) for column in np.argsort(order)]
    return [Outcome(score[upto, at], opened[upto, at], alarmed[upto, at]) for at, upto in places]


def _fields(settings: DetectorSettings, width: int) -> list[tuple[str, str, tuple[int, ...]]]:
    own = [("samples", "f4", ()), ("shielded", "f4", ()), tail.field("tail", channels.SCALES)]
    return [*own, *channels.fields(width), *threshold.fields(settings.threshold), *alerts.FIELDS]


def _one(settings: DetectorSettings, rows: Row, error: F) -> tuple[F, NDArray[np.bool_]]:
    """Take one error (n,) of each row; return its score (n,), 0 while warming, and whether an alert opened (n,)."""
    shielded = alerts.protected(settings.alert, rows)
    columns = np.zeros((len(rows), len(channels.NAMES)))
    columns[:, 0] = error
    smooth = tail.placed(channels.smoothed(rows, columns, rows["samples"])[:, : channels.SCALES])
    weight = scoring.error_weights(rows["local"].shape[1])[0]
    surprise = weight * tail.decades(rows["tail"], smooth).mean(axis=1)
    score = threshold.score(settings.threshold, rows, surprise)
    score[rows["samples"] < settings.warmup_samples] = 0.0
    nothing = np.zeros(len(rows), dtype=bool)
    moved = alerts.advance(settings.alert, rows, np.zeros(len(rows), dtype=np.int64), score, nothing)
    samples = rows["samples"].astype(np.float64)
    rows["shielded"] = np.where(shielded, rows["shielded"] + 1.0, 0.0)
    learning = np.repeat(rows["shielded"][:, None] <= scoring.SHIELDED_TAIL_SAMPLES, channels.SCALES, axis=1)
    tail.learn(rows["tail"], smooth, learning, tail.halves(samples[:, None] + 1.0))
    threshold.learn(settings.threshold, rows, surprise, samples, ~shielded)
    threshold.spend(settings.threshold, rows, moved.opened)
    rows["samples"] += 1
    return score, moved.opened


def replayed(settings: AlertSettings, scores: Sequence[F], levels: F) -> list[NDArray[np.bool_]]:
    """Return where alerts would open in each of `scores` (T,) if a score of `levels` (L,) were the limit: (L, T).

    The alerts' table is gone through again; what an open alert keeps from being learnt stays as it was.
    """
    order = sorted(range(len(scores)), key=lambda i: -len(scores[i]))
    lengths = np.array([len(scores[i]) for i in order])
    rows = np.zeros((len(scores), len(levels)), row_dtype(alerts.FIELDS))
    found = [np.zeros((len(levels), length), dtype=bool) for length in lengths]
    for step in range(lengths[0]):
        count = int((lengths > step).sum())
        now = np.array([scores[i][step] for i in order[:count]])[:, None] / levels
        part = rows[:count].reshape(-1)
        moved = alerts.advance(
            settings, part, np.zeros(len(part), np.int64), now.reshape(-1), np.zeros(len(part), dtype=bool)
        )
        rows[:count] = part.reshape(count, -1)
        for column, opened in enumerate(moved.opened.reshape(count, -1)):
            if opened.any():
                found[column][:, step] = opened
    return [found[place] for place in np.argsort(order)]
