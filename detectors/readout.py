"""Each stream's own linear readout of the shared hidden state, learnt in closed form from the first sample on.

Two heads read [hidden; 1]: what the newest sample should look like, and what the next one will. Both correct a prior,
the group's own decoder once it is trained. They learn by recursive least squares with forgetting (Plackett 1950);
errors are bounded before they teach, and the trace of the inverse covariance is, without which a constant input would
let it grow beyond all bounds. Learning needs no back-propagation, and the shared weights never change by it.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

F4 = NDArray[np.float32]
Row = NDArray[np.void]
Mask = NDArray[np.bool_]

MEMORY: Final = np.float32(0.9998)  # forgetting: about 5,000 samples are remembered
CLIP_ERRORS: Final = 4.0  # an error teaches as if it were at most so many usual ones
CLIP_LEAST: Final = 0.05  # scaled units; a stream that was constant so far may still learn
FREE_SAMPLES: Final = 100.0  # the first errors are taken as they are
USUAL_RATE: Final = 0.02


def fields(hidden: int, channels: int) -> list[tuple[str, str, tuple[int, ...]]]:
    """Return the row fields of the heads of a stream of `channels` channels over `hidden` numbers."""
    width = hidden + 1
    return [
        ("readout_inverse", "f4", (width, width)),  # of the covariance of what is read
        ("readout_weight", "f4", (width, 2, channels)),  # the heads: newest, next
        ("readout_gain", "f4", (width,)),  # of the last sample, with which the next one's error teaches
        ("readout_usual", "f4", (2, channels)),  # running mean of the absolute errors
        ("readout_samples", "f4", ()),
    ]


def clear(rows: Row) -> None:
    """Let the rows' heads, if they have any, begin anew: they say what their prior says, and learn fast."""
    if not _own(rows):
        return
    rows["readout_weight"] = rows["readout_gain"] = rows["readout_usual"] = rows["readout_samples"] = 0.0
    rows["readout_inverse"] = np.eye(rows["readout_inverse"].shape[1], dtype=np.float32)


def learn_next(rows: Row, error: F4, learning: Mask) -> None:
    """Let the error (n, D) of the last sample's forecast teach the second head, where `learning` (n,)."""
    _teach(rows, 1, rows["readout_gain"], error, learning)


def learn_newest(rows: Row, hidden: F4, prior: F4, value: F4, learning: Mask) -> F4:
    """Return the first head's error (n, D) on `value` (n, D), NaN where that is, and let it teach.

    `hidden` (n, H) is the state after the sample, `prior` (n, D) what the head corrects.
    """
    read = _read(hidden)  # (n, H + 1)
    inverse = rows["readout_inverse"]
    towards = np.einsum("nij,nj->ni", inverse, read)  # (n, H + 1)
    strength = MEMORY + np.einsum("ni,ni->n", read, towards)  # (n,)
    gain = towards / strength[:, None]
    told = prior + np.einsum("ni,nid->nd", read, rows["readout_weight"][:, :, 0])
    error: F4 = value - told
    _teach(rows, 0, gain, error, learning)
    moved = inverse - gain[:, :, None] * towards[:, None, :]
    trace = np.trace(moved, axis1=1, axis2=2)
    grown = np.clip(read.shape[1] / np.maximum(trace, 1e-12), 1.0, 1.0 / MEMORY).astype(np.float32)
    rows["readout_inverse"] = np.where(learning[:, None, None], moved * grown[:, None, None], inverse)
    rows["readout_gain"] = gain * learning[:, None]
    rows["readout_samples"] += learning
    return error


def forecast(rows: Row, hidden: F4, prior: F4) -> F4:
    """Return what the second head expects of the next sample (n, D)."""
    result: F4 = prior + np.einsum("ni,nid->nd", _read(hidden), rows["readout_weight"][:, :, 1])
    return result


def rescale(rows: Row, ratio: NDArray[np.float64]) -> None:
    """Go over to values that are `ratio` (n, D) times the old ones; a shift the heads learn themselves."""
    if not _own(rows):
        return
    rows["readout_weight"] *= ratio[:, None, None, :]
    rows["readout_usual"] *= ratio[:, None, :]


def _own(rows: Row) -> bool:
    """Return whether the rows have heads of their own."""
    return "readout_inverse" in (rows.dtype.names or ())


def _read(hidden: F4) -> F4:
    return np.concatenate([hidden, np.ones((len(hidden), 1), np.float32)], axis=1)


def _teach(rows: Row, head: int, gain: F4, error: F4, learning: Mask) -> None:
    usual = rows["readout_usual"][:, head]  # (n, D)
    free = (rows["readout_samples"] < FREE_SAMPLES)[:, None]
    known = np.nan_to_num(error)
    bound = CLIP_ERRORS * usual + CLIP_LEAST
    bounded = np.where(free, known, np.clip(known, -bound, bound))
    taught = bounded * learning[:, None]
    rows["readout_weight"][:, :, head] += gain[:, :, None] * taught[:, None, :]
    rate = np.where(free, 1.0 / (rows["readout_samples"] + 1.0)[:, None], USUAL_RATE) * learning[:, None]
    usual += rate * np.isfinite(error) * (np.abs(bounded) - usual)
