"""Whether a group's streams have moved away from what its model learnt, from nothing but what their rows keep.

Two figures. The share: of how many streams is the recent error (the network's; of several channels the one of network
and level) one that they themselves, in their past, made in a tenth of their samples at most; by chance that is a tenth
of the streams. It shows a change at once and fades as the streams get used to it.

The growth: how large the network's usual error has become, measured by the one that training found. It moves slowly and
forgets nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from detectors import channels, tail

Row = NDArray[np.void]
Calibration = Mapping[str, NDArray[np.float32]]

SETTLED_SAMPLES: Final = 256.0  # of a stream since the swap, before it can tell what is usual
BY_CHANCE: Final = 0.1  # of the streams make such an error when nothing has changed
RARE_DECADES: Final = 1.0  # the same as decades
SURE: Final = 3.0  # standard deviations that a few streams must be off by more than the limit
SLOWEST: Final = channels.SCALES - 1  # of the first error, the network's (of several channels, of level too)
SQUARE_LEAST: Final = 1e-8


@dataclass(frozen=True, slots=True)
class DriftLimits:
    """From where on it is a drift; 0 leaves a figure out."""

    share: float = 0.5
    growth: float = 2.0


@dataclass(frozen=True, slots=True)
class Drift:
    """How far some streams have moved away; 0 where nothing can be said."""

    streams: int  # that had settled since the swap
    share: float
    growth: float


def measure(rows: Row, calibration: Calibration) -> Drift:
    """Return how far the streams of `rows` (n,) have moved since the model with this `calibration` took over."""
    settled = rows[rows["model_samples"] >= SETTLED_SAMPLES]
    if len(settled) == 0:
        return Drift(0, 0.0, 0.0)
    error = channels.averages(settled)[:, SLOWEST]  # (n,)
    rare = tail.decades(settled["tail"][:, [SLOWEST]], tail.placed(error[:, None]))[:, 0] >= RARE_DECADES
    return Drift(len(settled), float(rare.mean()), _growth(settled, calibration))


def drifted(limits: DriftLimits, found: Drift) -> bool:
    """Return whether `found` is beyond the limits; of a few streams nearly all must agree."""
    if found.streams == 0:
        return False
    chance = SURE * float(np.sqrt(BY_CHANCE * (1.0 - BY_CHANCE) / found.streams))
    at_once = limits.share > 0 and found.share >= limits.share + chance
    slowly = limits.growth > 0 and found.growth >= limits.growth
    return at_once or slowly


def _growth(rows: Row, calibration: Calibration) -> float:
    """Return the median error of the forecast over that at promotion; of several channels the median again."""
    if "error_square" not in calibration:
        return 0.0
    before = np.maximum(calibration["error_square"].astype(np.float64), SQUARE_LEAST)  # (D,)
    now = np.median(rows["error_square"].astype(np.float64), axis=0)  # (D,)
    return float(np.sqrt(np.median(now / before)))
