"""A linear forecast beside the network's: a vector autoregression, learnt in closed form when the network is trained.

It stands still until the next training, and so does the scale that its streams are read in. A forecast that learns on
soon expects what is wrong, one that stands still goes on saying so; the two are heard side by side (`channels.py`). An
autoregression beside a recurrent network is the idea of LSTNet (Lai et al. 2018, section 3.5), where both are summed
and taught together; here each is judged by its own errors. Learning is ridge regression on the change from the last
sample (Hoerl and Kennard 1970): with little to learn from it repeats that sample, which is a strong forecast already.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

F = NDArray[np.float64]
F4 = NDArray[np.float32]

NAME: Final = "autoregression"  # of the layer in the network, and so of its weights
LAGS: Final = 3  # samples that it reads
RIDGE: Final = 0.1  # of a sample's weight, for each coefficient
SHARE_MIN: Final = 1e-4  # of the squares of the steps; less is rounding
CHANNELS_MAX: Final = 64  # with more there is none: it would be most of a model
BLOCK_ROWS: Final = 8192  # of a history, looked at together


class Known(Protocol):
    """One stream's history in scaled units."""

    @property
    def targets(self) -> F4: ...  # (T, D), a missing value as the last one known


def speaks(channels: int, window: int) -> bool:
    """Return whether streams of so many channels, that remember so many samples, have this forecast."""
    return 1 < channels <= CHANNELS_MAX and window >= LAGS


def learnt(series: Sequence[Known]) -> tuple[dict[str, F4], dict[str, F4]]:
    """Return the layer's weights by name: (D, LAGS * D) and (D,), least squares over all `series`.

    And the mean square (D,) of its errors there, `linear_square`, and what share of the steps' that is, `linear_share`.
    """
    width = series[0].targets.shape[1]
    gram, moment = np.zeros((LAGS * width + 1,) * 2), np.zeros((LAGS * width + 1, width))
    steps, count = np.zeros(width), 0
    for past, change in _pairs(series):
        gram += past.T @ past
        moment += past.T @ change
        steps += (change**2).sum(axis=0)
        count += len(past)
    solved: F = np.asarray(np.linalg.solve(gram + RIDGE * max(count, 1) * np.eye(len(gram)), moment), np.float64)
    left = steps - 2.0 * (solved * moment).sum(axis=0) + (solved * (gram @ solved)).sum(axis=0)  # (D,)
    share = np.clip(left / np.maximum(steps, 1e-9), SHARE_MIN, 1.0).astype(np.float32)
    weights = {
        f"{NAME}.weight": np.ascontiguousarray(solved[:-1].T, np.float32),
        f"{NAME}.bias": solved[-1].astype(np.float32),
    }
    errors = {
        "linear_square": (share * steps / max(count, 1)).astype(np.float32),
        "linear_share": np.where(steps > 0, share, np.float32(1.0)),
    }
    return weights, errors


def _pairs(series: Sequence[Known]) -> Iterator[tuple[F, F]]:
    """Yield what is read (B, LAGS * D + 1), newest first, and by how much the next sample differs (B, D)."""
    for one in series:
        z = one.targets.astype(np.float64)
        for start in range(LAGS, len(z), BLOCK_ROWS):
            at = np.arange(start, min(start + BLOCK_ROWS, len(z)))
            past = np.concatenate([*(z[at - lag] for lag in range(1, LAGS + 1)), np.ones((len(at), 1))], axis=1)
            yield past, z[at] - z[at - 1]
