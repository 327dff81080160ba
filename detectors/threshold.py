"""Thresholds: from a surprise to a score whose 1.0 is the limit, whatever kind of threshold set it."""

from __future__ import annotations

from typing import assert_never

import numpy as np
from numpy.typing import NDArray

from detectors.settings import QuantileThreshold, SigmaThreshold, StaticThreshold, Threshold

F = NDArray[np.float64]
Row = NDArray[np.void]

SIGMA_RATE_MIN = 1.0 / 4000.0


def fields() -> list[tuple[str, str, tuple[int, ...]]]:
    """Return the row fields that thresholds learn in."""
    return [("surprise_mean", "f4", ()), ("surprise_variance", "f4", ())]


def score(threshold: Threshold, rows: Row, surprise: F) -> F:
    """Return the score (n,) of a surprise (n,) in decades: 1.0 at the limit, never negative."""
    result: F
    match threshold:
        case StaticThreshold(limit=limit):
            result = surprise / limit
        case QuantileThreshold(quantile=quantile):
            result = surprise / -np.log10(1.0 - quantile)
        case SigmaThreshold(sigmas=sigmas):
            spread = np.sqrt(rows["surprise_variance"].astype(np.float64)) + 0.05
            result = np.maximum((surprise - rows["surprise_mean"]) / (sigmas * spread), 0.0)
        case _:
            assert_never(threshold)
    return result


def learn(rows: Row, surprise: F, seen: F, weight: F) -> None:
    """Let the surprise (n,) enter the running mean and variance by its `weight` (n,)."""
    rate = np.maximum(1.0 / (seen + 1.0), SIGMA_RATE_MIN) * weight
    difference = surprise - rows["surprise_mean"]
    rows["surprise_mean"] += rate * difference
    rows["surprise_variance"] += rate * ((1.0 - rate) * difference**2 - rows["surprise_variance"])
