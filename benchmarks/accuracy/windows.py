"""The score of the Numenta Anomaly Benchmark: early detections in labelled windows gain, others cost.

Only a window's first detection counts: 1 at the window's beginning, falling along a sigmoid to 0 at its end. A
detection outside costs more the farther it lies behind the last window, a missed window costs one miss. 0 is a detector
that says nothing, 100 is a perfect one. How much a false detection and a miss weigh makes the three profiles.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from benchmarks.accuracy.corpora import Series

F = NDArray[np.float64]
Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Profile:
    """What a false detection and a missed window cost, when a detection at once gains 1."""

    false: float
    missed: float


PROFILES: Final = {
    "standard": Profile(0.11, 1.0),
    "low_fp": Profile(0.22, 1.0),
    "low_fn": Profile(0.11, 2.0),
}
FAR_BEHIND: Final = 3.0  # in widths of the window: from there on a false detection costs all


@dataclass(frozen=True, slots=True)
class Detections:
    """What the detections of one file come to, before any profile weighs them."""

    windows: int
    hit: int
    gain: float  # of the first detections in windows
    false: float  # weighted false detections, positive
    false_rows: int


def sigmoid(position: F) -> F:
    """Return the scaled sigmoid: near 1 well before 0, 0 at 0, near -1 after it, -1 beyond three widths."""
    value = 2.0 / (1.0 + np.exp(5.0 * np.minimum(position, FAR_BEHIND))) - 1.0
    result: F = np.where(position > FAR_BEHIND, -1.0, value)
    return result


def detections(series: Series, opened: Mask) -> Detections:
    """Return what the detections `opened` (T,) gain and cost; the probation's rows do not count."""
    judged = opened.copy()
    judged[: series.judged_from] = False
    spans = [span for span in series.spans if span[1] >= series.judged_from]
    gain, hit = 0.0, 0
    for begin, end in spans:
        first = np.flatnonzero(judged[begin : end + 1])
        if len(first):
            hit += 1
            width = end - begin + 1
            gain += float(sigmoid(np.array((first[0] - width) / width)) / sigmoid(np.array(-1.0)))
    outside = np.flatnonzero(judged & ~series.labels)
    return Detections(len(spans), hit, gain, float(_cost(series, outside).sum()), len(outside))


def _cost(series: Series, rows: NDArray[np.intp]) -> F:
    """Return what a false detection at each of `rows` costs: 1 before all windows and far behind the last one."""
    if not series.spans:
        return np.ones(len(rows))
    begins, ends = np.array(series.spans).T
    before = np.searchsorted(ends, rows) - 1
    width = np.maximum(ends - begins, 1)[before]
    result: F = np.where(before >= 0, -sigmoid((rows - ends[before]) / width), 1.0)
    return result


def score(found: Iterable[Detections], profile: Profile) -> float:
    """Return the score of a set of files under `profile`; NaN without any window."""
    each = list(found)
    windows = sum(one.windows for one in each)
    gained = sum(one.gain - profile.missed * (one.windows - one.hit) - profile.false * one.false for one in each)
    nothing, perfect = -profile.missed * windows, float(windows)
    return 100.0 * (gained - nothing) / (perfect - nothing) if windows else float("nan")
