"""Detectors of a few lines each, to be beaten: what they expect of a sample, and how far off it is.

Each takes a file's values scaled by its first rows (those that it may learn from) and gives one error for each sample,
never looking ahead. Scaling and standardisation are the same for all. Names in brackets are what the table calls them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from benchmarks.accuracy.corpora import Series

F = NDArray[np.float64]
Residuals = Callable[[F, int], F]

LAGS: Final = 3  # of the vector autoregressions
AR_LAGS: Final = 12
RIDGE: Final = 0.01
FORGETTING: Final = 0.9998  # of the recursive one
EMBEDDED: Final = 16  # samples that PCA and neighbours see at once of a single channel
KEPT_VARIANCE: Final = 0.95  # by PCA
NEIGHBOUR: Final = 5
REFERENCES_MAX: Final = 2000  # samples that neighbours are looked for among
GAUSSIAN_SAMPLES: Final = 6400  # of the moving window
EWMA_ALPHA: Final = 0.01
SQUARE_MAX: Final = 1e4  # of a standardised error
SPREAD_SHARE_MIN: Final = 0.1  # of the median spread over the channels
CLIP_MANY, CLIP_ONE = 8.0, 100.0  # spreads; what one channel of many may weigh, and a single one


def scaled(series: Series) -> F:
    """Return the values (T, D) in robust spreads of the rows to learn from; a missing one is the last one known."""
    values = _filled(series.table.values)
    first = values[: series.fit_rows]
    low, middle, high = np.percentile(first, [25, 50, 75], axis=0)
    spread = np.maximum(first.std(axis=0), (high - low) / 1.349)
    typical = float(np.median(spread))
    spread = np.maximum(spread, np.maximum(0.05 * typical, np.maximum(0.002 * np.abs(middle), 1e-9)))
    limit = CLIP_ONE if values.shape[1] == 1 else CLIP_MANY
    result: F = np.clip((values - middle) / spread, -limit, limit)
    return result


def _filled(values: F) -> F:
    last = np.maximum.accumulate(np.where(np.isfinite(values), np.arange(len(values))[:, None], 0), axis=0)
    return np.asarray(np.nan_to_num(np.take_along_axis(values, last, axis=0)), dtype=np.float64)


def error(name: str, series: Series) -> F:
    """Return the error (T,) of the detector `name`: a distance for one channel, a mean of squares for more."""
    z = scaled(series)
    square = DETECTORS[name](z, series.fit_rows)
    return np.sqrt(square) if z.shape[1] == 1 else square


def standardised(residuals: F, fit_rows: int) -> F:
    """Return the mean (T,) of the squares of `residuals` (T, D), each in deviations of the first rows'."""
    first = residuals[min(50, fit_rows // 4) : fit_rows]
    spread = first.std(axis=0)
    spread = np.maximum(spread, np.maximum(SPREAD_SHARE_MIN * np.median(spread), 0.005))
    result: F = np.minimum(((residuals - first.mean(axis=0)) / spread) ** 2, SQUARE_MAX).mean(axis=1)
    return result


def hotelling(z: F, fit_rows: int) -> F:
    """[t2] The distance from the mean, measured by the covariance."""
    first = z[:fit_rows]
    covariance = np.cov(first.T).reshape(z.shape[1], z.shape[1])
    covariance += 0.01 * max(float(np.trace(covariance)) / z.shape[1], 1e-6) * np.eye(z.shape[1])
    away = z - first.mean(axis=0)
    result: F = np.minimum((away * np.linalg.solve(covariance, away.T).T).sum(axis=1) / z.shape[1], SQUARE_MAX)
    return result


def components(z: F, fit_rows: int) -> F:
    """[pca] What the principal components with 95 % of the variance do not tell of a sample."""
    seen = _embedded(z)
    mean = seen[:fit_rows].mean(axis=0)
    _, strength, axes = np.linalg.svd(seen[:fit_rows] - mean, full_matrices=False)
    share = np.cumsum(strength**2) / max(float((strength**2).sum()), 1e-12)
    kept = axes[: int(np.searchsorted(share, KEPT_VARIANCE)) + 1]
    away = seen - mean
    return standardised(away - (away @ kept.T) @ kept, fit_rows)


def neighbours(z: F, fit_rows: int) -> F:
    """[knn] The squared distance to the fifth nearest of the first samples, none of them from just before or after."""
    seen = _embedded(z)
    places = np.unique(np.linspace(0, fit_rows - 1, min(fit_rows, REFERENCES_MAX)).astype(int))
    reference, near = seen[places], 2 * EMBEDDED
    length = (reference**2).sum(axis=1)
    found = np.empty(len(seen))
    for start in range(0, len(seen), 1024):
        block = seen[start : start + 1024]
        square = np.maximum((block**2).sum(axis=1)[:, None] + length - 2.0 * block @ reference.T, 0.0)
        rows = np.arange(start, start + len(block))
        square[np.abs(rows[:, None] - places) < near] = np.inf
        found[rows] = np.partition(square, NEIGHBOUR - 1, axis=1)[:, NEIGHBOUR - 1]
    usual = max(float(np.median(found[:fit_rows])), 1e-6)
    return np.minimum(found / usual, SQUARE_MAX)


def _embedded(z: F) -> F:
    """Return what is seen at once (T, E): all channels, or the last samples of a single one."""
    if z.shape[1] > 1:
        return z
    return _past(np.concatenate([np.repeat(z[:1], EMBEDDED - 1, axis=0), z]), EMBEDDED)


def _past(z: F, count: int) -> F:
    """Return the windows of `count` samples of one channel `z` (T, 1), oldest first: (T - count + 1, count)."""
    return np.ascontiguousarray(sliding_window_view(z[:, 0], count))


def _lagged(z: F, lags: int) -> F:
    """Return the last `lags` samples before each one, newest first, and a 1: (T, lags * D + 1)."""
    before = [np.concatenate([np.repeat(z[:1], lag, axis=0), z[: len(z) - lag]]) for lag in range(1, lags + 1)]
    return np.concatenate([*before, np.ones((len(z), 1))], axis=1)


def _ridge(inputs: F, targets: F) -> F:
    gram = inputs.T @ inputs + RIDGE * len(inputs) * np.eye(inputs.shape[1])
    return np.asarray(np.linalg.solve(gram, inputs.T @ targets), dtype=np.float64)


def vector_regression(z: F, fit_rows: int) -> F:
    """[var] What three samples before do not tell of the next one, by ridge regression."""
    past = _lagged(z, LAGS)
    return standardised(z - past @ _ridge(past[LAGS:fit_rows], z[LAGS:fit_rows]), fit_rows)


def recursive_regression(z: F, fit_rows: int) -> F:
    """[var-rls] The same, learnt sample by sample by recursive least squares, for ever."""
    past = _lagged(z, LAGS)
    width = past.shape[1]
    inverse, weight, residuals = np.eye(width), np.zeros((width, z.shape[1])), np.empty_like(z)
    for t in range(len(z)):
        row = past[t]
        gain = inverse @ row
        size = FORGETTING + float(row @ gain)
        residuals[t] = z[t] - row @ weight
        weight += np.outer(gain, residuals[t]) / size
        inverse -= np.outer(gain, gain) / size
        inverse *= max(1.0, min(1.0 / FORGETTING, width / float(np.trace(inverse))))  # never beyond where it began
    return standardised(residuals, fit_rows)


def own_regression(z: F, fit_rows: int) -> F:
    """[ar] What twelve samples of the same channel before do not tell of its next one."""
    residuals = np.empty_like(z)
    for channel in range(z.shape[1]):
        past = _lagged(z[:, channel : channel + 1], AR_LAGS)
        target = z[:, channel]
        residuals[:, channel] = target - past @ _ridge(past[AR_LAGS:fit_rows], target[AR_LAGS:fit_rows])
    return standardised(residuals, fit_rows)


def persistence(z: F, fit_rows: int) -> F:
    """[persistence] The step from the last sample."""
    return standardised(np.diff(z, axis=0, prepend=z[:1]), fit_rows)


def moving_gaussian(z: F, _fit_rows: int) -> F:
    """[gaussian] The distance from the mean of a moving window, in its deviations."""
    sums = np.concatenate([np.zeros((1, z.shape[1])), np.cumsum(z, axis=0)])
    squares = np.concatenate([np.zeros((1, z.shape[1])), np.cumsum(z**2, axis=0)])
    end = np.arange(len(z))
    begin = np.maximum(end - GAUSSIAN_SAMPLES, 0)
    count = np.maximum(end - begin, 1)[:, None]
    mean = (sums[end] - sums[begin]) / count
    variance = np.maximum((squares[end] - squares[begin]) / count - mean**2, 0.0)
    spread = np.maximum(np.sqrt(variance), 0.05)
    square = np.minimum(((z - mean) / spread) ** 2, SQUARE_MAX)
    result: F = np.asarray(square, dtype=np.float64).mean(axis=1)
    return result


def moving_average(z: F, fit_rows: int) -> F:
    """[ewma] The distance from an exponential average."""
    mean, residuals = z[0].copy(), np.empty_like(z)
    for t, sample in enumerate(z):
        residuals[t] = sample - mean
        mean += EWMA_ALPHA * residuals[t]
    return standardised(residuals, fit_rows)


DETECTORS: Final[dict[str, Residuals]] = {
    "t2": hotelling,
    "pca": components,
    "knn": neighbours,
    "var": vector_regression,
    "var-rls": recursive_regression,
    "ar": own_regression,
    "persistence": persistence,
    "gaussian": moving_gaussian,
    "ewma": moving_average,
}
