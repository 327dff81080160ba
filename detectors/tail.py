"""How improbable an error is: a histogram of the stream's own past errors, with a Pareto tail where it runs out.

The histogram counts on a logarithmic grid. At every epoch all counts are halved, so that the start of a stream, when
little was known, weighs less and less. Above the 98 % quantile the excess follows a generalised Pareto distribution
fitted by moments (Pickands 1975; Hosking and Wallis 1987). The result is counted in decades: 0 for an ordinary error,
3 for one that is exceeded once in a thousand samples.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from detectors import epochs

F = NDArray[np.float64]
F4 = NDArray[np.float32]
Counts = NDArray[np.uint16]
Mask = NDArray[np.bool_]

BINS: Final = 32
LOWEST: Final = -5.5  # natural logarithm of the error at which the grid begins; what lies below counts as that
STEP: Final = 0.34
SAMPLE_COUNT: Final = 2  # what a sample counts: so much that a halving leaves something of it
EPOCH_SAMPLES_MAX: Final = 16_384  # with it a count stays below 2 ** 16
HALVING_FROM_SAMPLES: Final = 64

TAIL_SHARE: Final = 0.02  # of the samples lie in the modelled tail
PRIOR_EXCESSES: Final = 4.0  # weight of the prior on the size of an excess, in samples of the tail
PRIOR_EXCESS_SHARE: Final = 0.25  # of the edge
SHAPE_MAX: Final = 0.9  # how heavy the Pareto tail may be
DECADES_MAX: Final = 12.0  # more is not distinguishable and would drown the other errors

_MIDDLES: Final = np.exp(LOWEST + STEP * (np.arange(BINS) + 0.5))
_LOG_TAIL_SHARE: Final = np.float32(np.log(TAIL_SHARE))
_HALF: Final = np.float32(0.5 * SAMPLE_COUNT)  # of a sample: what has never been seen is not impossible
_BEYOND: Final = np.triu(np.ones((BINS, BINS)), 1)  # by bin, which of the bins lie beyond it
# by bin, what an error there adds at or above each edge; the last row is that of an error that is not counted
_COUNTED: Final = np.vstack([np.tri(BINS, BINS + 1), np.zeros(BINS + 1)]).astype(np.uint16) * np.uint16(SAMPLE_COUNT)


def field(name: str, units: int) -> tuple[str, str, tuple[int, ...]]:
    """Return the row field of `units` histograms: how much lies at or above each edge of the grid."""
    return (name, "u2", (units, BINS + 1))


def halves(samples: F) -> Mask:
    """Return where all counts are halved after so many `samples`: at the end of every epoch but the shortest."""
    return epochs.ends(samples, EPOCH_SAMPLES_MAX) & (samples >= HALVING_FROM_SAMPLES)


@dataclass(frozen=True, slots=True)
class Placed:
    """Errors (n, units) and where they lie on the grid."""

    error: F
    bin: NDArray[np.intp]
    part: F4  # how far into the bin, 0 to 1


def placed(error: F) -> Placed:
    """Return where errors (n, units), which are not negative, lie on the grid."""
    along = np.log(np.maximum(error, 1e-9))
    along -= LOWEST
    along /= STEP
    np.maximum(along, 0.0, out=along)
    np.minimum(along, BINS - 1e-6, out=along)
    within = along.astype(np.intp)
    along -= within
    return Placed(error, within, along.astype(np.float32))


def decades(counts: Counts, at: Placed) -> F:
    """Return -log10 of the probability of errors at least as large: (n, units), from 0 to DECADES_MAX.

    `counts` (n, units, BINS + 1) is of the past.
    """
    place = at.bin + _begins(at.bin.shape)  # (n, units), in all counts as one row
    every, total = counts.reshape(-1), counts[:, :, 0]
    log_share = _logs_of_share(every.take(place, mode="clip"), total)
    place += 1
    log_share += at.part * (_logs_of_share(every.take(place, mode="clip"), total) - log_share)
    result: F = log_share.astype(np.float64)
    rare = log_share < _LOG_TAIL_SHARE
    if rare.any():
        result[rare] = _pareto(counts[rare], at.error[rare])
    result *= -1.0 / np.log(10.0)
    np.maximum(result, 0.0, out=result)
    return np.minimum(result, DECADES_MAX, out=result)


def learn(counts: Counts, at: Placed, learning: Mask, halving: Mask) -> None:
    """Count each error (n, units) where `learning`, then halve the counts where `halving`, in place.

    `learning` and `halving` are (n, units) or (n, 1).
    """
    counts += _COUNTED.take(at.bin if learning.all() else np.where(learning, at.bin, BINS), axis=0)
    if halving.any():
        ending = np.broadcast_to(halving, counts.shape[:2])
        counts[ending] >>= 1


def _begins(shape: tuple[int, ...]) -> NDArray[np.intp]:
    """Return where each histogram of (n, units) begins when all stand in one row."""
    return np.arange(0, shape[0] * shape[1] * (BINS + 1), BINS + 1).reshape(shape)


def _logs_of_share(counts: Counts, total: Counts) -> F4:
    share: F4 = counts + _HALF
    share /= total + np.float32(SAMPLE_COUNT)
    return np.log(share, out=share)


def _pareto(counts: Counts, error: F) -> F:
    """Return the log probability (m,) of errors (m,) beyond the edge, from histograms (m, BINS + 1)."""
    total = counts[:, 0] + float(SAMPLE_COUNT)
    reaching = counts > (TAIL_SHARE * total - 0.5 * SAMPLE_COUNT)[:, None]
    last = np.minimum(np.count_nonzero(reaching, axis=1) - 1, BINS - 1)  # the bin in which the edge lies
    rows = np.arange(len(last))
    before, after = (np.log((counts[rows, place] + 0.5 * SAMPLE_COUNT) / total) for place in (last, last + 1))
    part = np.maximum(before - np.log(TAIL_SHARE), 0.0) / np.maximum(before - after, 1e-9)
    np.minimum(part, 1.0, out=part)
    edge = np.exp(LOWEST + STEP * (last + part))  # (m,)
    log_share = before + part * (after - before)
    mean, second = _excess(counts, last, part, edge, np.exp(log_share))
    square = mean * mean
    shape = 0.5 * (1.0 - square / np.maximum(second - square, 1e-12))
    np.minimum(np.maximum(shape, 1e-3, out=shape), SHAPE_MAX, out=shape)
    scale = mean * (1.0 - shape)
    result: F = log_share - np.log1p(shape * np.maximum(error - edge, 0.0) / scale) / shape
    return result


def _excess(counts: Counts, last: NDArray[np.intp], part: F, edge: F, share: F) -> tuple[F, F]:
    """Return first and second moment (m,) of the excess over the edge, drawn to an exponential prior."""
    rows, total = np.arange(len(last)), counts[:, 0] + float(SAMPLE_COUNT)
    weight = (counts[:, :-1] - counts[:, 1:]).astype(np.float64)  # (m, BINS); counts never rise along the grid
    weight *= _BEYOND.take(last, axis=0)
    rest = share * total - (counts[rows, last + 1] + 0.5 * SAMPLE_COUNT)
    weight[rows, last] = np.maximum(rest, 0.0)
    excess = _MIDDLES - edge[:, None]  # (m, BINS); negative only where the weight is 0
    excess[rows, last] = np.exp(LOWEST + STEP * (last + 0.5 * (part + 1.0))) - edge
    prior, prior_mean = PRIOR_EXCESSES * SAMPLE_COUNT, PRIOR_EXCESS_SHARE * edge
    every = weight.sum(axis=1) + prior
    weight *= excess
    mean = (weight.sum(axis=1) + prior * prior_mean) / every
    weight *= excess
    second = (weight.sum(axis=1) + prior * 2.0 * prior_mean**2) / every
    return mean, second
