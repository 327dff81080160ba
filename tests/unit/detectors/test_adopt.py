"""Streams that move to another network keep what is theirs, forget what the old one taught, and start warm."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from detectors import scaling, scoring
from detectors.adopt import CALIBRATED_SAMPLES, adopt, calibrate
from detectors.channels import FAMILIES, SCALES
from detectors.scoring import Detector
from detectors.slab import row_dtype
from tests.conformance.feed import INTERVAL_MS, START_MS, drawn, settings_of, wave

SETTINGS = settings_of(2)
OLD, NEW = (Detector(SETTINGS, drawn(SETTINGS, seed), f"m{seed}") for seed in (1, 2))
BASELINE = Detector(SETTINGS)
STREAMS = 5


def lived(detector: Detector, samples: int = 120) -> NDArray[np.void]:
    """Return the rows of streams that a detector has scored for a while."""
    rows = np.zeros(STREAMS, row_dtype(scoring.fields(SETTINGS)))
    scaling.clear(rows)
    for i in range(samples):
        values = np.stack([wave(samples, 2, seed)[i] for seed in range(STREAMS)])
        times_ms = np.full(STREAMS, START_MS + i * INTERVAL_MS, dtype=np.int64)
        scoring.score(detector, rows, times_ms, values, np.zeros(STREAMS, bool))
    return rows


@pytest.fixture(scope="module")
def rows() -> NDArray[np.void]:
    """Streams that lived with the old network."""
    return lived(OLD)


def test_the_rows_given_stay_as_they_are(rows: NDArray[np.void]) -> None:
    before = rows.tobytes()
    adopt(NEW, rows, calibrate(rows))
    assert rows.tobytes() == before


def test_what_belongs_to_the_stream_is_kept(rows: NDArray[np.void]) -> None:
    moved = adopt(NEW, rows, {})
    kept = ("time_ms", "interval_ms", "samples", "window", "window_filled", "location", "spread", "raw_last", "local")
    for name in kept:
        assert np.array_equal(moved[name], rows[name], equal_nan=True), name
    plain = slice(FAMILIES["model"].stop * SCALES, None)
    assert np.array_equal(moved["error_tail_center"][:, plain], rows["error_tail_center"][:, plain])
    assert np.array_equal(moved["error_mean"][:, 3:], rows["error_mean"][:, 3:])


def test_what_the_old_network_taught_is_forgotten(rows: NDArray[np.void]) -> None:
    moved = adopt(NEW, rows, {})
    assert not moved["model_samples"].any()
    assert not moved["error_mean"][:, FAMILIES["model"]].any()
    assert not moved["smooth"][:, : FAMILIES["model"].stop * SCALES].any()
    assert not moved["family_tail_center"][:, 0].any()


def test_the_state_is_rebuilt_from_the_stored_window(rows: NDArray[np.void]) -> None:
    moved = adopt(OLD, rows, {})
    assert not np.array_equal(moved["hidden"], np.zeros_like(moved["hidden"]))
    # the same network, which has seen the whole past, stands close by: a short window says most of it
    assert float(np.abs(moved["hidden"] - rows["hidden"]).mean()) < 0.2 * float(np.abs(rows["hidden"]).mean() + 0.1)
    fresh = adopt(NEW, np.zeros(1, rows.dtype), {})
    assert not fresh["hidden"].any()


def test_a_window_that_is_not_full_is_read_from_its_first_sample() -> None:
    short = lived(OLD, 2)
    assert (short["window_filled"] == 2).all()
    moved = adopt(OLD, short, {})
    assert moved["hidden"] == pytest.approx(short["hidden"], abs=1e-4)
    assert moved["cell"] == pytest.approx(short["cell"], abs=1e-4)


def test_a_calibration_gives_every_stream_a_start(rows: NDArray[np.void]) -> None:
    calibration = calibrate(rows)
    moved = adopt(NEW, np.zeros(3, rows.dtype), calibration)
    assert (moved["model_samples"] == CALIBRATED_SAMPLES).all()
    columns = FAMILIES["model"].stop * SCALES
    assert np.array_equal(
        moved["error_tail_edge"][1, :columns], np.median(rows["error_tail_edge"][:, :columns], axis=0)
    )
    assert np.array_equal(
        moved["error_mean"][2, FAMILIES["model"]], np.median(rows["error_mean"][:, FAMILIES["model"]], axis=0)
    )
    assert all(values.dtype == np.float32 and np.isfinite(values).all() for values in calibration.values())


def test_rows_go_on_scoring_after_the_move(rows: NDArray[np.void]) -> None:
    moved = adopt(NEW, rows, calibrate(rows))
    for i in range(60):
        times_ms = moved["time_ms"] + INTERVAL_MS
        scored = scoring.score(
            NEW, moved, times_ms, np.stack([wave(60, 2, s)[i] for s in range(STREAMS)]), np.zeros(STREAMS, bool)
        )
        assert np.isfinite(scored.score).all()
    assert (moved["model_samples"] == CALIBRATED_SAMPLES + 60).all()


def test_moving_to_no_network_leaves_the_plain_channels(rows: NDArray[np.void]) -> None:
    moved = adopt(BASELINE, rows, {})
    assert not moved["model_samples"].any()
    assert np.array_equal(moved["location"], rows["location"])
    assert len(adopt(NEW, rows[:0], calibrate(rows))) == 0
