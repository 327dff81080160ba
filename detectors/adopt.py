"""Moving streams to another network: rebuild their state from the stored window, forget what the last one taught."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from detectors import scaling, scoring, tail
from detectors.channels import FAMILIES, SCALES
from detectors.scoring import Detector

Row = NDArray[np.void]
Calibration = Mapping[str, NDArray[np.float32]]

OF_MODEL = FAMILIES["model"]
UNITS_OF_MODEL = slice(OF_MODEL.start * SCALES, OF_MODEL.stop * SCALES)
CALIBRATED_SAMPLES = 50.0  # what a calibration counts for, in samples of the stream's own
CALIBRATED_EXCESSES = 4.0
ACCEPTED_SAMPLES = 300.0  # what an accepted location weighs against the samples that follow


def adopt(detector: Detector, rows: Row, calibration: Calibration) -> Row:
    """Return copies of `rows` (n,) that go on with the detector's network.

    The errors' statistics start from the `calibration` measured in training and soon follow the stream's own.
    """
    moved = rows.copy()
    _clear_model_statistics(moved)
    moved["model_samples"] = 0.0
    if detector.network is None or len(rows) == 0:
        return moved
    _rebuild_state(detector, moved)
    for name, values in calibration.items():
        moved[name][:, _columns_of(name)] = values
    if calibration:
        moved["model_samples"] = CALIBRATED_SAMPLES
    return moved


def accept_level(rows: Row) -> Row:
    """Return copies of `rows` (n,) to which the level of the last samples is the normal one.

    Everything scaled moves with the location; what was learnt of errors and their tails stays, the location learns
    quickly for a while.
    """
    moved = rows.copy()
    level = rows["local"].copy()  # (n, D)
    moved["location"] += level * scaling.floored(rows)
    moved["window"] -= level[:, None, :]
    moved["forecast"] -= level
    moved["local"] = 0.0
    moved["observed"] = np.minimum(moved["observed"], ACCEPTED_SAMPLES)
    return moved


def calibrate(rows: Row) -> dict[str, NDArray[np.float32]]:
    """Return the median of the network's error statistics over streams `rows` (n,) that it has scored for a while."""
    result = {}
    for name in _calibrated_fields():
        result[name] = np.median(rows[name][:, _columns_of(name)], axis=0).astype(np.float32)
        if name.endswith("_excesses"):
            result[name] = np.minimum(result[name], CALIBRATED_EXCESSES)
    return result


def _calibrated_fields() -> list[str]:
    tails = [f"{each.name}_{part}" for each in (scoring.ERROR_TAIL, scoring.FAMILY_TAIL) for part in tail.PARTS]
    return ["error_mean", "error_variance", *tails]


def _columns_of(name: str) -> slice:
    """Return which columns of a field belong to the network."""
    return (
        UNITS_OF_MODEL
        if name.startswith((scoring.ERROR_TAIL.name, "smooth"))
        else (slice(0, 1) if name.startswith(scoring.FAMILY_TAIL.name) else OF_MODEL)
    )


def _clear_model_statistics(rows: Row) -> None:
    for name in [*_calibrated_fields(), "smooth"]:
        rows[name][:, _columns_of(name)] = 0.0


def _rebuild_state(detector: Detector, rows: Row) -> None:
    """Read the stored window, oldest first, from an empty state; its times are told by the usual interval."""
    assert detector.network is not None
    window = rows["window"][:, ::-1].astype(np.float64)  # (n, W, D)
    length = window.shape[1]
    age = np.arange(length - 1, -1, -1)  # (W,) samples ago
    valid = age[None, :] < rows["window_filled"][:, None]  # (n, W)
    difference = np.diff(window, axis=1, prepend=window[:, :1])
    difference[:, 1:][~valid[:, :-1]] = 0.0  # the first valid sample has no predecessor
    times_ms = rows["time_ms"][:, None] - (age * rows["interval_ms"][:, None]).astype(np.int64)  # (n, W)
    hidden, cell = detector.network.rebuild(scoring.inputs(window, difference, times_ms), valid)
    rows["hidden"], rows["cell"] = hidden, cell
    rows["forecast"] = rows["window"][:, 0]  # until its first own forecast: no change
