"""Random numbers that have an address, so that a made-up series can be read from any step on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

F = NDArray[np.float64]

MEMORY: Final = 0.6  # correlation of neighbouring samples of `correlated`
MEMORY_SAMPLES: Final = 24  # 0.6 ** 24 is about 5e-6: nothing older is worth computing
_BLOCK_ZERO: Final = 1 << 20  # blocks before step 0 are needed too, and a seed must not be negative


@dataclass(frozen=True, slots=True)
class Dice:
    """Draws for `count` columns; each is a pure function of seed, series, purpose, step and column."""

    seed: int
    series: int  # which kind of series asks
    count: int
    block_steps: int  # so many steps share one generator

    def normal(self, purpose: int, step_from: int, step_to: int) -> F:
        """Return standard normal draws, (step_to - step_from, count)."""
        return self._cut(purpose, step_from, step_to, "normal")

    def uniform(self, purpose: int, step_from: int, step_to: int) -> F:
        """Return draws from [0, 1), (step_to - step_from, count)."""
        return self._cut(purpose, step_from, step_to, "uniform")

    def correlated(self, purpose: int, step_from: int, step_to: int) -> F:
        """Return standard normal draws whose neighbours correlate by MEMORY, (step_to - step_from, count).

        A moving average with the weights MEMORY**k, k < MEMORY_SAMPLES, over white noise: an autoregression with a
        finite past, so that it can be computed from any step on.
        """
        weights = MEMORY ** np.arange(MEMORY_SAMPLES)
        white = self.normal(purpose, step_from - MEMORY_SAMPLES + 1, step_to)
        return trailing(white, weights / np.sqrt((weights**2).sum()))

    def _cut(self, purpose: int, step_from: int, step_to: int, law: Literal["normal", "uniform"]) -> F:
        first, last = step_from // self.block_steps, (step_to - 1) // self.block_steps
        blocks = [self._block(purpose, number, law) for number in range(first, last + 1)]
        begin = step_from - first * self.block_steps
        return np.concatenate(blocks, axis=1)[:, begin : begin + step_to - step_from].T

    def _block(self, purpose: int, number: int, law: Literal["normal", "uniform"]) -> F:
        """Return (count, block_steps); filled row by row, so a column does not depend on how many follow it."""
        generator = np.random.default_rng([self.seed, self.series, purpose, number + _BLOCK_ZERO])
        shape = (self.count, self.block_steps)
        return generator.standard_normal(shape) if law == "normal" else generator.random(shape)


def trailing(wide: F, weights: F) -> F:
    """Return the weighted sums over each sample and those before it: (T + K - 1, n), (K,) newest first -> (T, n)."""
    length = len(wide) - len(weights) + 1
    total = np.zeros((length, wide.shape[1]))
    for age, weight in enumerate(weights):
        begin = len(weights) - 1 - age
        total += weight * wide[begin : begin + length]
    return total
