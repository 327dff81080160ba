"""Continual learning: at fixed counts of a stream's own samples, its own weights take a step down the gradient.

Part of the step and of the row: what a stream has read since its last lesson and what it has learnt travel in pages and
are replayed, so the same samples give the same weights to the bit, however polls cut them. Samples under an open alert
are read and do not teach, nor do values that are missing.

The step is plain: the learning rate times the gradient, cut to a length. It needs no memory of its own in the row, and
where there is nothing to learn it moves nothing; optimisers that divide by the gradient's usual size do.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from detectors import readout
from detectors.columns import Columns, Row, Rows
from detectors.lesson import Lesson, lesson
from detectors.objective import DECODED_SHARE
from detectors.own_weights import FIELD, Bases, count, have_own, parts_of
from detectors.settings import DetectorSettings

F = NDArray[np.float64]
F4 = NDArray[np.float32]
Mask = NDArray[np.bool_]
Fields = list[tuple[str, str, tuple[int, ...]]]

ROW_STEP: Final = 32  # as in `network.py`
VALUE_MAX: Final = 1e4  # as in training: every gate is saturated long before
CHANGE_MAX: Final = 3.0  # of one weight: from the group's
LESSON: Final = ("lesson_inputs", "lesson_counts", "lesson_hidden", "lesson_cell")
LEARNT_ONLY: Final = (*LESSON, "lesson_filled", "own_lessons", "own_trained", "own_given_up")  # no part in a score


def fields(settings: DetectorSettings, features: int) -> Fields:
    """Return the row fields of a stream's own weights and of its learning; none where the weights are the group's."""
    if settings.scope == "group":
        return []
    width, length, hidden = len(settings.channels), settings.continual.every_samples, settings.model.hidden
    weights = count(parts_of(settings.model, features=features, channels=width))
    return [
        (FIELD, "f4", (weights,)),
        ("own_lessons", "f4", ()),
        ("own_trained", "f4", ()),  # 1: they were on a trained network, not on day zero's
        ("own_given_up", "f4", ()),  # how often the own weights were no numbers any more
        ("lesson_inputs", "f4", (length, features)),  # read since the last lesson, oldest first
        ("lesson_counts", "u1", (length, width)),  # 1 where the value is known and may teach
        ("lesson_hidden", "f4", (hidden,)),  # before the first of them
        ("lesson_cell", "f4", (hidden,)),
        ("lesson_filled", "f4", ()),
    ]


def begin(rows: Rows) -> None:
    """Let the rows' streams go on with the group's weights."""
    for name in (FIELD, "own_lessons", "own_trained", "lesson_filled"):
        rows[name] = 0.0


def swap(rows: Row) -> None:
    """Let the rows' streams, if they have weights of their own, go on with another network of the group's.

    What a stream has changed in a trained network it changes in the next one: training begins from the same first
    weights, so the two are alike. What it changed in day zero's is what training has now done for all, and is left.
    """
    if not have_own(rows):
        return
    rows["lesson_filled"] = 0.0
    untrained = rows["own_trained"] == 0.0
    if untrained.any():
        part = rows[untrained]
        begin(part)
        rows[untrained] = part


def interrupt(rows: Rows, where: Mask) -> None:
    """Begin a new lesson `where` (n,) the next sample does not follow the last one."""
    if have_own(rows):
        rows["lesson_filled"] = np.where(where, 0.0, rows["lesson_filled"])


def rescale(rows: Rows, ratio: F, shift: F) -> None:
    """Go over to values that are `ratio` (n, D) times the old ones plus `shift` (n, D)."""
    if have_own(rows):
        read, width = rows["lesson_inputs"], ratio.shape[1]
        read[:, :, :width] = np.clip(read[:, :, :width] * ratio[:, None] + shift[:, None], -VALUE_MAX, VALUE_MAX)
        read[:, :, width : 2 * width] *= ratio[:, None]
        rows["lesson_inputs"] = read


def note(settings: DetectorSettings, rows: Rows, read: F4, z: F, learning: Mask) -> None:
    """Keep what is about to be read (n, F) of the samples `z` (n, D); it counts in the next lesson where `learning`."""
    if not (settings.is_continual and have_own(rows)):
        return
    at = rows["lesson_filled"].astype(np.intp)
    first, every = at == 0, np.arange(len(rows))
    for name, state in (("lesson_hidden", "hidden"), ("lesson_cell", "cell")):
        rows[name] = np.where(first[:, None], rows[state], rows[name])
    inputs, counts = rows["lesson_inputs"], rows["lesson_counts"]
    inputs[every, at] = np.clip(read, -VALUE_MAX, VALUE_MAX)
    counts[every, at] = np.isfinite(z) & learning[:, None]
    rows["lesson_inputs"], rows["lesson_counts"] = inputs, counts
    rows["lesson_filled"] += 1.0


def due(settings: DetectorSettings, rows: Rows, learning: Mask) -> Mask:
    """Return whose (n,) lesson is due now, and begin a new one; under an open alert (not `learning`) it is left out."""
    if not (settings.is_continual and have_own(rows)):
        return np.zeros(len(rows), dtype=bool)
    full = rows["lesson_filled"] >= settings.continual.every_samples
    if full.any():
        rows["lesson_filled"] = np.where(full, 0.0, rows["lesson_filled"])
    result: Mask = full & learning
    return result


def given_up(rows: Rows) -> int:
    """Return how often in all the rows' streams went back to their group's weights, their own being no numbers."""
    return int(rows["own_given_up"].sum(dtype=np.float64)) if have_own(rows) else 0


def teach(bases: Bases, rows: Rows, where: Mask, settings: DetectorSettings) -> None:
    """Give the rows' streams, `where` (n,), their lesson: in place, all of them as one batch.

    A stream whose weights are no numbers after it goes on with the group's.
    """
    whole = rows if isinstance(rows, Columns) else Columns(rows)
    taught = whole.some(where)
    padded = -len(taught) % _row_step(settings)
    inputs, counts, hidden, cell, change = (_padded(taught[name], padded) for name in (*LESSON, FIELD))
    heads = [_padded(each, padded) for each in readout.heads(taught)]
    with torch.inference_mode():
        found = lesson(bases, change, Lesson(inputs, counts, hidden, cell, heads), settings.model)
        step = settings.continual.learning_rate * _clipped(found.gradient, settings.continual.gradient_norm_max)
        moved = (change - step).clamp(-CHANGE_MAX, CHANGE_MAX)[: len(taught)].numpy()
    taught[FIELD] = moved
    taught["own_lessons"] += 1.0
    _give_up(taught, ~np.isfinite(moved).all(axis=1))
    taught.store()
    if whole is not rows:
        whole.store()


def _give_up(rows: Columns, where: Mask) -> None:
    if where.any():
        part = rows.some(where)
        begin(part)
        part["own_given_up"] += 1.0
        part.store()


def _clipped(gradient: Tensor, norm_max: float) -> Tensor:
    norm = torch.bmm(gradient[:, None], gradient[:, :, None])[:, :, 0].sqrt()  # (n, 1)
    return gradient * (norm_max / norm.clamp(min=norm_max))


def _padded(rows: NDArray[np.generic], padded: int) -> Tensor:
    filled = np.zeros((len(rows) + padded, *rows.shape[1:]), np.float32)
    filled[: len(rows)] = rows
    return torch.from_numpy(filled)


def _row_step(settings: DetectorSettings) -> int:
    """Return of what the number of rows is a multiple: no row may fall into the remainder of a vectorised loop."""
    told = -(-settings.continual.every_samples // DECODED_SHARE) * settings.model.bottleneck
    return max(2, ROW_STEP // math.gcd(ROW_STEP, settings.model.hidden, told))
