"""Thresholds: from a surprise to a score whose 1.0 is the limit, whatever kind of threshold set it."""

from __future__ import annotations

import math
from typing import assert_never

import numpy as np
from numpy.typing import NDArray

from detectors import tail
from detectors.columns import Rows
from detectors.settings import BudgetThreshold, QuantileThreshold, SigmaThreshold, StaticThreshold, Threshold

F = NDArray[np.float64]
Mask = NDArray[np.bool_]

SIGMA_RATE_MIN = 1.0 / 4000.0
BUDGET_GAIN = 0.1  # an alert raises the limit by so much of itself, and the samples of one budget lower it again
BUDGET_BEGIN_SAMPLES, BUDGET_BEGIN_LIMIT = 1100.0, 1.5  # about one alert in so many samples at this limit ...
BUDGET_BEGIN_SLOPE = 1.15  # ... and a tenth of them at one higher by so many decades
BUDGET_LIMITS = 1.0, 12.0  # what one sample in ten does is never an alert, however large the budget


def fields(threshold: Threshold) -> list[tuple[str, str, tuple[int, ...]]]:
    """Return the row fields that a threshold learns in."""
    match threshold:
        case StaticThreshold():
            return []
        case QuantileThreshold():
            return [tail.field("surprise_tail", 1)]
        case SigmaThreshold():
            return [("surprise_mean", "f4", ()), ("surprise_variance", "f4", ())]
        case BudgetThreshold():
            return [("limit_raised", "f8", ())]  # logarithm of the limit over the one it began with: in small steps
        case _:
            assert_never(threshold)


def score(threshold: Threshold, rows: Rows, surprise: F) -> F:
    """Return the score (n,) of a surprise (n,) in decades: 1.0 at the limit, never negative."""
    result: F
    match threshold:
        case StaticThreshold(limit=limit):
            result = surprise / limit
        case QuantileThreshold(quantile=quantile):
            decades = tail.decades(rows["surprise_tail"], tail.placed(surprise[:, None]))[:, 0]
            result = decades / -np.log10(1.0 - quantile)
        case SigmaThreshold(sigmas=sigmas):
            result = np.maximum((surprise - rows["surprise_mean"]) / (sigmas * _spread(rows)), 0.0)
        case BudgetThreshold():
            result = surprise / _limit(threshold, rows)
        case _:
            assert_never(threshold)
    return result


def limit(threshold: Threshold, rows: Rows) -> F | None:
    """Return the surprise (n,) at which a sample's score is 1; None where it is not told by one number."""
    result: F | None
    match threshold:
        case StaticThreshold():
            result = np.full(len(rows), threshold.limit)
        case QuantileThreshold():
            result = None
        case SigmaThreshold(sigmas=sigmas):
            result = rows["surprise_mean"] + sigmas * _spread(rows)
        case BudgetThreshold():
            result = _limit(threshold, rows)
        case _:
            assert_never(threshold)
    return result


def _spread(rows: Rows) -> F:
    """Return what a sigma of the rows' surprise counts for (n,): never nothing, however steady a stream is."""
    result: F = np.sqrt(rows["surprise_variance"].astype(np.float64)) + 0.05
    return result


def _limit(threshold: BudgetThreshold, rows: Rows) -> F:
    result: F = _beginning(threshold) * np.exp(rows["limit_raised"])
    return result


def learn(threshold: Threshold, rows: Rows, surprise: F, seen: F, learning: Mask) -> None:
    """Let the surprise (n,) enter what the threshold rests on, where `learning` (n,); `seen` (n,) counts before."""
    match threshold:
        case QuantileThreshold():
            halving = tail.halves(seen[:, None] + 1.0)  # also under an alert, or the counts would outgrow their type
            counts = rows["surprise_tail"]
            tail.learn(counts, tail.placed(surprise[:, None]), learning[:, None], halving)
            rows["surprise_tail"] = counts
        case SigmaThreshold():
            rate = np.maximum(1.0 / (seen + 1.0), SIGMA_RATE_MIN) * learning
            difference = surprise - rows["surprise_mean"]
            rows["surprise_mean"] += rate * difference
            rows["surprise_variance"] += rate * ((1.0 - rate) * difference**2 - rows["surprise_variance"])
        case BudgetThreshold(samples_per_alert=samples_per_alert):
            _raise_limit(threshold, rows, learning / -samples_per_alert)
        case StaticThreshold():
            pass
        case _:
            assert_never(threshold)


def spend(threshold: Threshold, rows: Rows, opened: Mask) -> None:
    """Tell a threshold with a budget where an anomaly's alert `opened` (n,); a guard rail's spends none."""
    if isinstance(threshold, BudgetThreshold) and opened.any():
        _raise_limit(threshold, rows, opened.astype(np.float64))


def _beginning(threshold: BudgetThreshold) -> float:
    """Return the limit of a stream that has had no alert yet."""
    decades = math.log10(threshold.samples_per_alert / BUDGET_BEGIN_SAMPLES)
    return min(max(BUDGET_BEGIN_LIMIT + BUDGET_BEGIN_SLOPE * decades, BUDGET_LIMITS[0]), BUDGET_LIMITS[1])


def _raise_limit(threshold: BudgetThreshold, rows: Rows, alerts: F) -> None:
    """Move the limits by the `alerts` (n,) that were one too many, or, below zero, one too few.

    Such steps make the share of alerts come out at the budget over time, whatever the surprise does meanwhile: each
    that is too many raises the limit, and only quiet samples lower it (Gibbs and Candes 2021, equation 2).
    """
    least, most = (math.log(limit / _beginning(threshold)) for limit in BUDGET_LIMITS)
    rows["limit_raised"] = np.clip(rows["limit_raised"] + BUDGET_GAIN * alerts, least, most)
