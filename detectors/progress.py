"""How a training goes, epoch by epoch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

CURVE_POINTS_MAX: Final = 1000


@dataclass(frozen=True, slots=True)
class Progress:
    """How far training has come, after each epoch."""

    epoch: int
    epochs_max: int
    loss: float  # on the earlier data: of window and forecast together, scaled units
    validation_loss: float  # the same on the later data
    gradient_norm: float  # mean over the epoch, before clipping
    seconds: float  # since the training began, without the time between two parts of it
    gradient_norm_max: float = 0.0  # the largest of the epoch, before clipping
    clipped_share: float = 0.0  # of the epoch's updates
    learning_rate: float = 0.0  # at the epoch's end


def thinned(curves: Sequence[Progress]) -> tuple[Progress, ...]:
    """Return at most CURVE_POINTS_MAX of the epochs, evenly spread, the last of them always."""
    step = -(-len(curves) // CURVE_POINTS_MAX) or 1
    return tuple(reversed(curves[::-1][::step]))
