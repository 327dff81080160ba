"""How sure a difference is: files and seeds are redrawn together for both detectors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from benchmarks.accuracy.measures import Measure

F = NDArray[np.float64]

DRAWS: Final = 4000
SEED: Final = 0
COVERED: Final = (2.5, 97.5)


@dataclass(frozen=True, slots=True)
class Difference:
    """One detector minus another: the middle, and the interval that holds 95 of 100 draws."""

    middle: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.middle:+.3g} [{self.low:+.3g}, {self.high:+.3g}]"


def difference(pairs: Sequence[tuple[Measure, Measure]]) -> Difference:
    """Return the first minus the second, averaged over `pairs`, one for each corpus; both have the same files."""
    generator = np.random.default_rng(SEED)
    draws, middles = np.zeros(DRAWS), []
    for ours, theirs in pairs:
        count = ours.above.shape[1]
        weight = generator.multinomial(count, np.full(count, 1.0 / count), DRAWS).astype(np.float64)  # (B, N)
        draws += (_drawn(ours, weight, generator) - _drawn(theirs, weight, generator)) / len(pairs)
        middles.append(float(ours.values.mean() - theirs.values.mean()))
    low, high = np.nanpercentile(draws, COVERED)
    return Difference(float(np.mean(middles)), float(low), float(high))


def _drawn(measure: Measure, weight: F, generator: np.random.Generator) -> F:
    """Return the measure (B,) with files drawn as `weight` (B, N) says and as many seeds as there are, drawn anew."""
    with np.errstate(invalid="ignore", divide="ignore"):
        value = (weight @ measure.above.T) / (weight @ measure.below.T)  # (B, S)
    seeds = value.shape[1]
    chosen = generator.multinomial(seeds, np.full(seeds, 1.0 / seeds), len(weight)) / seeds
    result: F = (value * chosen).sum(axis=1)
    return result
