"""How improbable an error is: a histogram of the stream's own past errors, with a Pareto tail where it runs out.

The histogram counts on a logarithmic grid. At every epoch all counts are halved, so that the start of a stream, when
little was known, weighs less and less. Above the 98 % quantile the excess follows a generalised Pareto distribution
fitted by moments (Pickands 1975; Hosking and Wallis 1987). The result is counted in decades: 0 for an ordinary error,
3 for one that is exceeded once in a thousand samples.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from detectors import epochs

F = NDArray[np.float64]
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


def field(name: str, units: int) -> tuple[str, str, tuple[int, ...]]:
    """Return the row field of `units` histograms: how much lies at or above each edge of the grid."""
    return (name, "u2", (units, BINS + 1))


def halves(samples: F) -> Mask:
    """Return where all counts are halved after so many `samples`: at the end of every epoch but the shortest."""
    return epochs.ends(samples, EPOCH_SAMPLES_MAX) & (samples >= HALVING_FROM_SAMPLES)


def decades(counts: Counts, error: F) -> F:
    """Return -log10 of the probability of an error at least as large: (n, units), from 0 to DECADES_MAX.

    `counts` (n, units, BINS + 1) is of the past, `error` (n, units) is not negative.
    """
    place, part = _place(error)
    around = np.take_along_axis(counts, place[..., None] + np.arange(2), axis=-1)  # (n, units, 2)
    shares = _logs_of_share(around, counts[..., :1])
    log_share = (1.0 - part) * shares[..., 0] + part * shares[..., 1]
    rare = log_share < np.log(TAIL_SHARE)
    if rare.any():
        log_share[rare] = _pareto(counts[rare], error[rare])
    result: F = np.clip(log_share / -np.log(10.0), 0.0, DECADES_MAX)
    return result


def learn(counts: Counts, error: F, learning: Mask, halving: Mask) -> None:
    """Count each error (n, units) where `learning`, then halve the counts where `halving`.

    `learning` is (n, units), `halving` (n, units) or (n, 1).
    """
    place, _ = _place(error)
    reached = np.arange(BINS + 1) <= place[..., None]
    counts += np.where(reached & learning[..., None], np.uint16(SAMPLE_COUNT), np.uint16(0))
    if halving.any():
        counts[...] = np.where(halving[..., None], counts // 2, counts)


def _place(error: F) -> tuple[NDArray[np.intp], F]:
    """Return each error's bin (n, units) and how far into it, 0 to 1, it lies."""
    along = np.clip((np.log(np.maximum(error, 1e-9)) - LOWEST) / STEP, 0.0, BINS - 1e-6)
    place = along.astype(np.intp)
    return place, along - place


def _logs_of_share(counts: Counts, total: Counts) -> F:
    result: F = np.log((counts + 0.5 * SAMPLE_COUNT) / (total.astype(np.float64) + SAMPLE_COUNT))
    return result


def _pareto(counts: Counts, error: F) -> F:
    """Return the log probability (m,) of errors (m,) beyond the edge, from histograms (m, BINS + 1)."""
    shares = _logs_of_share(counts, counts[:, :1])  # (m, BINS + 1)
    last = np.minimum((shares > np.log(TAIL_SHARE)).sum(axis=1) - 1, BINS - 1)  # the bin in which the edge lies
    rows = np.arange(len(last))
    before, after = shares[rows, last], shares[rows, last + 1]
    part = np.clip((before - np.log(TAIL_SHARE)) / np.maximum(before - after, 1e-9), 0.0, 1.0)
    edge = np.exp(LOWEST + STEP * (last + part))  # (m,)
    log_share = before + part * (after - before)
    mean, second = _excess(counts, last, part, edge, np.exp(log_share))
    shape = np.clip(0.5 * (1.0 - mean**2 / np.maximum(second - mean**2, 1e-12)), 1e-3, SHAPE_MAX)
    scale = mean * (1.0 - shape)
    result: F = log_share - np.log1p(shape * np.maximum(error - edge, 0.0) / scale) / shape
    return result


def _excess(counts: Counts, last: NDArray[np.intp], part: F, edge: F, share: F) -> tuple[F, F]:
    """Return first and second moment (m,) of the excess over the edge, drawn to an exponential prior."""
    count = counts.astype(np.float64)
    weight = count[:, :-1] - count[:, 1:]  # (m, BINS)
    rows, columns = np.arange(len(last)), np.arange(BINS)
    weight = np.where(columns > last[:, None], weight, 0.0)
    rest = share * (count[:, 0] + SAMPLE_COUNT) - (count[rows, last + 1] + 0.5 * SAMPLE_COUNT)
    weight[rows, last] = np.maximum(rest, 0.0)
    middle = np.broadcast_to(_MIDDLES, weight.shape).copy()
    middle[rows, last] = np.exp(LOWEST + STEP * (last + 0.5 * (part + 1.0)))
    excess = middle - edge[:, None]  # (m, BINS); negative only where the weight is 0
    prior, prior_mean = PRIOR_EXCESSES * SAMPLE_COUNT, PRIOR_EXCESS_SHARE * edge
    total = weight.sum(axis=1) + prior
    mean = ((weight * excess).sum(axis=1) + prior * prior_mean) / total
    second = ((weight * excess**2).sum(axis=1) + prior * 2.0 * prior_mean**2) / total
    return mean, second
