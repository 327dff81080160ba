"""Going over to another scale: what is kept in scaled units goes with it."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from detectors import channels, continual, readout, scaling
from detectors.columns import Columns, Rows

F = NDArray[np.float64]
Mask = NDArray[np.bool_]

HELD_FROM_SAMPLES: Final = 8192  # of a stream that had the same model all its life, before its scale stands still
HELD_LEAST_SAMPLES: Final = 100  # of one that gets a model, before that settles its scale


def renew(rows: Columns, due: Mask, *, has_model: bool) -> None:
    """Take over location and spread where (n, D) an epoch has ended: they are `due`.

    A stream that has had a model all its life is measured for good once it is old enough.
    """
    location, spread = scaling.renewed(rows, due)
    some = np.asarray(due.any(axis=1))
    part = rows.some(some)
    move_scale(part, location[some], spread[some])
    part.store()
    if has_model and scaling.can_hold(rows):
        rows["scale_held"] = np.maximum(rows["scale_held"], rows["observed"].max(axis=1) >= HELD_FROM_SAMPLES)


def hold_scale(rows: Rows) -> None:
    """Measure all that was seen of `rows` once more, in place, and leave it at that until the next model.

    A linear model of several channels knows them by their proportions: those of its training stay. Streams of which
    little was seen go on as before, and so do those of one channel.
    """
    if not scaling.can_hold(rows):
        return
    held = rows["observed"].max(axis=1) >= HELD_LEAST_SAMPLES  # (n,)
    rows["scale_held"] = held
    location, spread = scaling.renewed(rows, held[:, None] & (rows["observed"] > 0))
    move_scale(rows, location, spread)


def move_scale(rows: Rows, location: F, spread: F) -> None:
    """Go over to another location and spread (n, D), and everything that is kept in scaled units with it."""
    before, old = rows["location"].copy(), scaling.floored(rows)
    known = rows["observed"] > 1  # the very first scale has nothing before it
    rows["location"], rows["spread"] = location, spread
    now = scaling.floored(rows)
    ratio = np.where(known, np.clip(old / now, 1e-6, 1e6), 1.0)
    shift = np.where(known, np.clip((before - location) / now, -scaling.SCALED_MAX, scaling.SCALED_MAX), 0.0)
    rows["window"] = rows["window"] * ratio[:, None] + shift[:, None]
    rows["forecast"] = rows["forecast"] * ratio + shift
    channels.rescale(rows, ratio, shift)
    readout.rescale(rows, ratio, shift)
    continual.rescale(rows, ratio, shift)
