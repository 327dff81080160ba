"""Moving streams to another network: rebuild their state from the stored window, forget what the last one taught."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from detectors import channels, continual, own_weights, readout, rescaling, scaling, scoring, tail
from detectors.columns import Row, Rows
from detectors.scoring import Detector, Network, OwnNetwork
from detectors.slab import copied

Calibration = Mapping[str, NDArray[np.float32]]

CALIBRATED_SAMPLES = 50.0  # what a calibration counts for, in samples of the stream's own
ACCEPTED_SAMPLES = 300.0  # what an accepted location weighs against the samples that follow


def adopt(detector: Detector, rows: Row, calibration: Calibration) -> Row:
    """Return copies of `rows` (n,) that go on with the detector's network.

    What a stream knows of the size of its errors is kept: another network's are not of another kind. Streams of which
    no network has spoken yet begin with the `calibration` measured in training.
    """
    moved = copied(rows)
    _hold_scale(detector, moved)
    moved["model_samples"] = 0.0
    goes_on = readout.outlives_swap(moved)
    if not goes_on:
        channels.forget_network(moved)
    readout.swap(moved)
    continual.swap(moved)
    untold = rows["model_samples"] == 0.0  # (n,) no network has spoken of these
    units = channels.of_network(rows["forecast"].shape[1])
    moved["smooth"][untold, :, units] = 0.0
    moved["tail"][untold, units] = 0
    if detector.network is None or len(rows) == 0:
        return moved
    _rebuild_state(detector, moved)
    if calibration:
        channels.begin_squares(moved, calibration, untold | (not goes_on), CALIBRATED_SAMPLES)
        share = calibration["tail_share"].astype(np.float64)  # (units, BINS + 1)
        moved["tail"][untold, units] = np.round(share * CALIBRATED_SAMPLES * tail.SAMPLE_COUNT)
        moved["model_samples"][untold] = CALIBRATED_SAMPLES
    return moved


def _hold_scale(detector: Detector, rows: Row) -> None:
    """Let a trained model have streams whose scale stands still; without one it moves again."""
    if detector.model_id:
        rescaling.hold_scale(rows)
    elif scaling.can_hold(rows):
        rows["scale_held"] = 0.0


def accept_level(rows: Rows) -> None:
    """Let the level of the last samples be the normal one of `rows` (n,), in place.

    Everything scaled moves with the location; what was learnt of errors and their tails stays, the location learns
    quickly for a while. Where the scale stands still it does so here too: such streams go by the linear forecast, to
    which a return to what it was taught must not look like news; that the level is usual now, their tails and heads
    learn.
    """
    moving = rows["scale_held"][:, None] == 0 if scaling.can_hold(rows) else True
    location = rows["location"] + np.where(moving, rows["local"] * scaling.floored(rows), 0.0)  # (n, D)
    rescaling.move_scale(rows, location, rows["spread"].copy())
    rows["mean"] = np.where(moving, location, rows["mean"])
    rows["observed"] = np.where(moving, np.minimum(rows["observed"], ACCEPTED_SAMPLES), rows["observed"])


def calibrate(rows: Row) -> dict[str, NDArray[np.float32]]:
    """Return the median of the network's error statistics over streams `rows` (n,) that it has scored for a while."""
    units = channels.of_network(rows["forecast"].shape[1])
    counts = rows["tail"][:, units].astype(np.float64)  # (n, units, BINS + 1)
    share = counts / np.maximum(counts[..., :1], 1.0)
    return {
        **{name: np.median(rows[name], axis=0).astype(np.float32) for name in channels.squares(rows)},
        "tail_share": np.median(share, axis=0).astype(np.float32),
    }


def stored_inputs(rows: Row) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Return what the network read of the stored window (n, W, F), oldest first, and which of it is there (n, W).

    The times are told by the usual interval.
    """
    window = rows["window"][:, ::-1].astype(np.float64)  # (n, W, D)
    length = window.shape[1]
    age = np.arange(length - 1, -1, -1)  # (W,) samples ago
    valid = age[None, :] < rows["window_filled"][:, None]  # (n, W)
    difference = np.diff(window, axis=1, prepend=window[:, :1])
    difference[:, 1:][~valid[:, :-1]] = 0.0  # the first valid sample has no predecessor
    times_ms = rows["time_ms"][:, None] - (age * rows["interval_ms"][:, None]).astype(np.int64)  # (n, W)
    return scoring.inputs(window, difference, times_ms), valid


def _rebuild_state(detector: Detector, rows: Row) -> None:
    """Read the stored window, oldest first, from an empty state."""
    assert detector.network is not None
    inputs, valid = stored_inputs(rows)
    if own_weights.have_own(rows):
        rows["hidden"], rows["cell"] = _rebuilt_by_own(detector.network, rows, inputs, valid)
    else:
        rows["hidden"], rows["cell"] = detector.network.rebuild(inputs, valid)
    rows["forecast"] = rows["window"][:, 0]  # until its first own forecast: no change


def _rebuilt_by_own(
    network: Network, rows: Row, inputs: NDArray[np.float32], valid: NDArray[np.bool_]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return hidden and cell state (n, H) after the stored window, as each stream's own weights read it."""
    assert isinstance(network, OwnNetwork)
    hidden, cell = np.zeros_like(rows["hidden"]), np.zeros_like(rows["cell"])
    for at in range(inputs.shape[1]):
        moved = network.advance_own(inputs[:, at], hidden, cell, rows[own_weights.FIELD])
        read = valid[:, at, None]
        hidden, cell = np.where(read, moved.hidden, hidden), np.where(read, moved.cell, cell)
    return hidden, cell
