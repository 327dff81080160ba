"""Thresholds: from a surprise to a score whose 1.0 is the limit, whatever kind of threshold set it."""

from __future__ import annotations

from typing import assert_never

import numpy as np
from numpy.typing import NDArray

from detectors import tail
from detectors.settings import QuantileThreshold, SigmaThreshold, StaticThreshold, Threshold

F = NDArray[np.float64]
Row = NDArray[np.void]
Mask = NDArray[np.bool_]

SIGMA_RATE_MIN = 1.0 / 4000.0


def fields(threshold: Threshold) -> list[tuple[str, str, tuple[int, ...]]]:
    """Return the row fields that a threshold learns in."""
    match threshold:
        case StaticThreshold():
            return []
        case QuantileThreshold():
            return [tail.field("surprise_tail", 1)]
        case SigmaThreshold():
            return [("surprise_mean", "f4", ()), ("surprise_variance", "f4", ())]
        case _:
            assert_never(threshold)


def score(threshold: Threshold, rows: Row, surprise: F) -> F:
    """Return the score (n,) of a surprise (n,) in decades: 1.0 at the limit, never negative."""
    result: F
    match threshold:
        case StaticThreshold(limit=limit):
            result = surprise / limit
        case QuantileThreshold(quantile=quantile):
            result = tail.decades(rows["surprise_tail"], surprise[:, None])[:, 0] / -np.log10(1.0 - quantile)
        case SigmaThreshold(sigmas=sigmas):
            spread = np.sqrt(rows["surprise_variance"].astype(np.float64)) + 0.05
            result = np.maximum((surprise - rows["surprise_mean"]) / (sigmas * spread), 0.0)
        case _:
            assert_never(threshold)
    return result


def learn(threshold: Threshold, rows: Row, surprise: F, seen: F, learning: Mask) -> None:
    """Let the surprise (n,) enter what the threshold rests on, where `learning` (n,); `seen` (n,) counts before."""
    match threshold:
        case QuantileThreshold():
            halving = tail.halves(seen[:, None] + 1.0)  # also under an alert, or the counts would outgrow their type
            tail.learn(rows["surprise_tail"], surprise[:, None], learning[:, None], halving)
        case SigmaThreshold():
            rate = np.maximum(1.0 / (seen + 1.0), SIGMA_RATE_MIN) * learning
            difference = surprise - rows["surprise_mean"]
            rows["surprise_mean"] += rate * difference
            rows["surprise_variance"] += rate * ((1.0 - rate) * difference**2 - rows["surprise_variance"])
        case StaticThreshold():
            pass
        case _:
            assert_never(threshold)
