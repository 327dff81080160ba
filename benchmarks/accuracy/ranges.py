"""Scores against labelled stretches: VUS-PR, plain F1, events caught and false segments. No point adjustment.

VUS-PR is the volume under the precision-recall surface of Paparrizos et al. (2022): the labels' edges are softened by
buffers of every width up to the window, and for each width the average precision is taken over 250 thresholds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from benchmarks.accuracy.corpora import Spans, spans_of

F = NDArray[np.float64]
Mask = NDArray[np.bool_]

WINDOW: Final = 100
THRESHOLDS: Final = 250
DAY_SAMPLES: Final = 1440  # false segments are counted per so many samples


@dataclass(frozen=True, slots=True)
class _Surface:
    """What does not depend on the buffer's width."""

    rank: NDArray[np.intp]  # (T,) number of the first threshold that a row reaches
    thresholds: F  # (THRESHOLDS,), falling
    predicted: F  # (THRESHOLDS,) rows at or above each
    hits: F  # (THRESHOLDS,) of them labelled
    near_row: NDArray[np.intp]  # rows within the widest buffer of a stretch ...
    near_distance: NDArray[np.intp]  # ... and how far from it; a row may be near several


def vus_pr(labels: Mask, score: F, window: int = WINDOW) -> float:
    """Return the volume under the precision-recall surface of `score` (T,); NaN where nothing in `labels` (T,) is."""
    if not labels.any():
        return float("nan")
    surface, spans = _surface(labels, score, window), spans_of(labels)
    return float(np.mean([_average_precision(surface, labels, score, spans, width) for width in range(window + 1)]))


def _surface(labels: Mask, score: F, window: int) -> _Surface:
    falling = -np.sort(-score)
    thresholds = falling[np.linspace(0, len(score) - 1, THRESHOLDS).astype(int)]
    rank = np.searchsorted(-thresholds, -score, side="left")
    predicted = np.cumsum(np.bincount(rank, minlength=THRESHOLDS)[:THRESHOLDS]).astype(np.float64)
    hits = np.cumsum(np.bincount(rank[labels], minlength=THRESHOLDS)[:THRESHOLDS]).astype(np.float64)
    distance = np.arange(1, window // 2 + 1)
    rows, distances = [], []
    for begin, end in spans_of(labels):
        for place in (begin - distance, end + distance):
            inside = (place >= 0) & (place < len(labels))
            rows.append(place[inside])
            distances.append(distance[inside])
    return _Surface(rank, thresholds, predicted, hits, np.concatenate(rows), np.concatenate(distances))


def _average_precision(surface: _Surface, labels: Mask, score: F, spans: Spans, width: int) -> float:
    """Return the average precision when the labels' edges are softened by a buffer of `width` rows."""
    softened = surface.hits + _buffered(surface, labels, width)
    positives = 0.5 * (labels.sum() + softened - surface.hits + labels.sum())
    found = _stretches_found(surface, score, spans, width // 2)
    recall = np.r_[0.0, np.minimum(softened / positives, 1.0) * found]
    return float(np.diff(recall) @ (softened / surface.predicted))


def _buffered(surface: _Surface, labels: Mask, width: int) -> F:
    """Return the weight of the buffers' rows (THRESHOLDS,) at or above each threshold."""
    used = surface.near_distance <= width // 2
    if not used.any():
        return np.zeros(THRESHOLDS)
    weight = np.sqrt(1.0 - surface.near_distance[used] / width)
    soft = np.minimum(np.bincount(surface.near_row[used], weights=weight, minlength=len(labels)), 1.0)
    soft[labels] = 0.0
    rows = np.flatnonzero(soft)
    return np.cumsum(np.bincount(surface.rank[rows], weights=soft[rows], minlength=THRESHOLDS)[:THRESHOLDS])


def _stretches_found(surface: _Surface, score: F, spans: Spans, half: int) -> F:
    """Return which share of the stretches (THRESHOLDS,), those whose buffers meet as one, reaches each threshold."""
    zones = [[spans[0][0] - half, spans[0][1] + half]]
    for begin, end in spans[1:]:
        if zones[-1][1] < begin - half:
            zones.append([begin - half, end + half])
        else:
            zones[-1][1] = end + half
    highest = np.array([score[max(begin, 0) : end + 1].max() for begin, end in zones])
    result: F = (highest[:, None] >= surface.thresholds).mean(axis=0)
    return result


def best_f1(labels: Mask, score: F) -> float:
    """Return the highest F1 over all thresholds on `score` (T,), row by row."""
    order = np.argsort(-score, kind="stable")
    ordered, caught = score[order], np.cumsum(labels[order])
    last = np.flatnonzero(np.r_[ordered[1:] != ordered[:-1], True])  # of each run of equal scores
    result: float = np.max(2.0 * caught[last] / (last + 1 + labels.sum()))
    return float(result)


def f1(labels: Mask, flagged: Mask) -> float:
    """Return the F1 of the `flagged` rows (T,), row by row."""
    total = int(labels.sum()) + int(flagged.sum())
    return 2.0 * float((labels & flagged).sum()) / total if total else float("nan")


@dataclass(frozen=True, slots=True)
class Events:
    """Labelled stretches caught, and flagged segments that hold no labelled row at all."""

    stretches: int
    caught: int
    false_segments: int


def events(labels: Mask, flagged: Mask) -> Events:
    """Count the labelled stretches that some flagged row lies in, and the false segments among `flagged` (T,)."""
    stretches = spans_of(labels)
    caught = sum(bool(flagged[begin : end + 1].any()) for begin, end in stretches)
    false = sum(not labels[begin : end + 1].any() for begin, end in spans_of(flagged))
    return Events(len(stretches), caught, false)
