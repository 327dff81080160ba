"""How improbable an error is: a streaming tail model, a few numbers for each error channel and time scale.

Below the 98 % quantile the probability is interpolated in the logarithm of the error; above it the excess follows a
generalised Pareto distribution fitted by moments (Pickands 1975; Hosking and Wallis 1987). The result is counted in
decades: 0 for an ordinary error, 3 for one that is exceeded once in a thousand samples.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

F = NDArray[np.float64]
Row = NDArray[np.void]

PARTS = ("center", "variance", "edge", "excess", "excess2", "excesses")

TAIL_SHARE = 0.02  # of the samples lie in the modelled tail
TAIL_DECADES = -np.log10(TAIL_SHARE)
MEDIAN_DECADES = np.log10(2.0)
PRIOR_EXCESSES = 8.0  # weight of the prior on the size of an excess, in samples of the tail
RATE_MIN = 1.0 / 4000.0  # forgetting: about so many samples are remembered
EXCESS_RATE_MIN = 1.0 / 200.0
EXCESSES_SLOW = 30.0  # a single long excess must not make itself ordinary while it lasts
DECADES_MAX = 12.0  # more is not distinguishable and would drown the other channels


def fields(name: str, units: int) -> list[tuple[str, str, tuple[int, ...]]]:
    """Return the row fields of `units` tails that share the prefix `name`."""
    return [(f"{name}_{part}", "f4", (units,)) for part in PARTS]


class Tail:
    """The tails of a block of rows, read and updated in place; every array is (n, units)."""

    def __init__(self, name: str, floor: float, shape_max: float) -> None:
        """`floor` is the smallest error that counts, in the error's own unit: what lies below is one and the same.

        `shape_max` bounds how heavy the Pareto tail may be; below 0.5 its variance exists to be estimated from.
        """
        self.name = name
        self.floor = floor
        self.shape_max = shape_max

    def decades(self, rows: Row, error: F) -> F:
        """Return -log10 of the probability of an error at least as large; (n, units), from 0 to DECADES_MAX."""
        e = np.maximum(error, self.floor)
        center, edge = self._field(rows, "center"), self._field(rows, "edge")
        body = (np.log(e) - center) / np.maximum(edge - center, 1e-3)
        decades = MEDIAN_DECADES + (TAIL_DECADES - MEDIAN_DECADES) * np.clip(body, -0.25, 1.0)
        excess = e - np.exp(edge)
        beyond = excess > 0
        if beyond.any():
            decades = np.where(beyond, TAIL_DECADES + self._pareto_decades(rows, np.maximum(excess, 0.0)), decades)
        result: F = np.clip(decades, 0.0, DECADES_MAX)
        return result

    def learn(self, rows: Row, error: F, seen: F, weight: F) -> None:
        """Let each sample enter the tails by its `weight` (n,), 0 to 1; `seen` (n, units) counts those before it."""
        y = np.log(np.maximum(error, self.floor))
        rate = np.maximum(1.0 / (seen + 1.0), RATE_MIN) * weight[:, None]
        center, variance = self._field(rows, "center"), self._field(rows, "variance")
        difference = y - center
        # a single wild sample must not move the centre: its pull is bounded once a spread is known
        bound = np.where(seen < 20, np.inf, 4.0 * np.sqrt(variance) + 0.1)
        pull = np.clip(difference, -bound, bound)
        center += rate * pull
        variance += rate * (pull * (1.0 - rate) * pull - variance)
        self._learn_edge(rows, y, seen, weight)
        self._learn_excess(rows, error, weight)

    def _learn_edge(self, rows: Row, y: F, seen: F, weight: F) -> None:
        """Move the edge towards the quantile (Robbins and Monro 1951), in steps of the error's own log spread."""
        center, edge = self._field(rows, "center"), self._field(rows, "edge")
        spread = np.sqrt(self._field(rows, "variance")) + 0.02
        step = spread * np.maximum(8.0 / (seen + 1.0), 8.0 * RATE_MIN) * weight[:, None]
        moved = edge + step * ((y > edge) - TAIL_SHARE)
        started = seen >= 50
        edge[...] = np.where(started, np.maximum(moved, center + 0.5 * spread), center + 2.0 * spread)

    def _learn_excess(self, rows: Row, error: F, weight: F) -> None:
        excess = np.maximum(error, self.floor) - np.exp(self._field(rows, "edge"))
        hit = (excess > 0) & (weight > 0)[:, None]
        if not hit.any():
            return
        count = self._field(rows, "excesses")
        count += hit
        rate = np.where(hit, np.maximum(1.0 / (count + EXCESSES_SLOW), EXCESS_RATE_MIN), 0.0) * weight[:, None]
        bounded = np.minimum(excess, 20.0 * np.exp(self._field(rows, "edge")))
        self._field(rows, "excess")[...] += rate * (bounded - self._field(rows, "excess"))
        self._field(rows, "excess2")[...] += rate * (bounded**2 - self._field(rows, "excess2"))

    def _pareto_decades(self, rows: Row, excess: F) -> F:
        """Return the decades beyond the edge; moments of the excess are drawn to an exponential prior."""
        edge, center = np.exp(self._field(rows, "edge")), np.exp(self._field(rows, "center"))
        count = self._field(rows, "excesses")
        prior_mean = np.maximum(0.4 * (edge - center), self.floor)
        trust = count / (count + PRIOR_EXCESSES)
        mean = trust * self._field(rows, "excess") + (1.0 - trust) * prior_mean
        second = trust * self._field(rows, "excess2") + (1.0 - trust) * 2.0 * prior_mean**2
        variance = np.maximum(second - mean**2, 1e-12)
        shape = np.clip(0.5 * (1.0 - mean**2 / variance), 1e-3, self.shape_max)
        scale = np.maximum(mean * (1.0 - shape), 1e-9)
        decades: F = np.log1p(shape * excess / scale) / shape / np.log(10.0)
        return decades

    def _field(self, rows: Row, part: str) -> NDArray[np.float32]:
        column: NDArray[np.float32] = rows[f"{self.name}_{part}"]
        return column
