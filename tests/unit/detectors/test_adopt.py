"""Streams that move to another network keep what is theirs, forget what the old one taught, and start warm."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from detectors import channels, scoring, tail
from detectors.adopt import CALIBRATED_SAMPLES, accept_level, adopt, calibrate
from detectors.scoring import Detector
from detectors.slab import row_dtype
from tests.conformance.feed import INTERVAL_MS, START_MS, drawn, settings_of, wave

SETTINGS = settings_of(1)
UNITS = channels.of_network(1)
OLD, NEW = (Detector(SETTINGS, drawn(SETTINGS, seed), f"m{seed}") for seed in (1, 2))
BASELINE = Detector(SETTINGS)
STREAMS = 5


def lived(detector: Detector, samples: int = 120) -> NDArray[np.void]:
    """Return the rows of streams that a detector has scored for a while."""
    rows = np.zeros(STREAMS, row_dtype(scoring.fields(SETTINGS)))
    scoring.clear(rows)
    for i in range(samples):
        values = np.stack([wave(samples, 1, seed)[i] for seed in range(STREAMS)])
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
    plain = slice(UNITS.stop, None)
    assert np.array_equal(moved["tail"][:, plain], rows["tail"][:, plain])
    assert np.array_equal(moved["smooth"][:, :, plain], rows["smooth"][:, :, plain])


def test_what_the_old_network_taught_is_forgotten(rows: NDArray[np.void]) -> None:
    moved = adopt(NEW, rows, {})
    assert not moved["model_samples"].any()
    assert not moved["error_square"].any()
    assert not moved["readout_weight"].any()


def test_what_a_stream_knows_of_its_errors_is_kept_unless_no_network_has_spoken_yet(rows: NDArray[np.void]) -> None:
    before = rows.copy()
    before["model_samples"][0] = 0.0
    moved = adopt(NEW, before, {})
    assert not moved["tail"][0, UNITS].any()
    assert not moved["smooth"][0, :, UNITS].any()
    assert np.array_equal(moved["tail"][1:], rows["tail"][1:])


def test_a_networks_first_errors_on_a_known_stream_do_not_enter_its_tails(rows: NDArray[np.void]) -> None:
    moved = adopt(NEW, rows, {})
    after = moved.copy()
    scoring.score(NEW, after, moved["time_ms"] + INTERVAL_MS, np.full((STREAMS, 1), 0.1), np.zeros(STREAMS, bool))
    assert np.array_equal(after["tail"][:, UNITS], moved["tail"][:, UNITS])
    assert not np.array_equal(after["tail"], moved["tail"])


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
    other = short.copy()
    other["window"][:, 2:] = 50.0  # nothing that was ever there
    moved, again = adopt(OLD, short, {}), adopt(OLD, other, {})
    assert moved["hidden"].any()
    assert np.array_equal(moved["hidden"], again["hidden"])
    assert np.array_equal(moved["cell"], again["cell"])


def test_a_calibration_gives_every_stream_a_start(rows: NDArray[np.void]) -> None:
    calibration = calibrate(rows)
    moved = adopt(NEW, np.zeros(3, rows.dtype), calibration)
    assert (moved["model_samples"] == CALIBRATED_SAMPLES).all()
    counts = moved["tail"][1, UNITS].astype(int)
    assert (counts[:, 0] == CALIBRATED_SAMPLES * tail.SAMPLE_COUNT).all()
    assert (np.diff(counts, axis=1) <= 0).all()
    assert np.array_equal(moved["error_square"][2], np.median(rows["error_square"], axis=0))
    assert all(values.dtype == np.float32 and np.isfinite(values).all() for values in calibration.values())


def test_rows_go_on_scoring_after_the_move(rows: NDArray[np.void]) -> None:
    moved = adopt(NEW, rows, calibrate(rows))
    for i in range(60):
        times_ms = moved["time_ms"] + INTERVAL_MS
        scored = scoring.score(
            NEW, moved, times_ms, np.stack([wave(60, 1, s)[i] for s in range(STREAMS)]), np.zeros(STREAMS, bool)
        )
        assert np.isfinite(scored.score).all()
    assert (moved["model_samples"] == 60).all()


def test_moving_to_no_network_leaves_the_plain_channels(rows: NDArray[np.void]) -> None:
    moved = adopt(BASELINE, rows, {})
    assert not moved["model_samples"].any()
    assert np.array_equal(moved["location"], rows["location"])
    assert len(adopt(NEW, rows[:0], calibrate(rows))) == 0


def test_an_accepted_level_is_the_normal_one_from_then_on(rows: NDArray[np.void]) -> None:
    off = rows.copy()
    off["local"] = 5.0
    accepted = off.copy()
    accept_level(accepted)
    spread = np.maximum(rows["spread"], 1e-9)
    assert accepted["location"] == pytest.approx(rows["location"] + 5.0 * spread, rel=1e-6)
    assert accepted["local"] == pytest.approx(np.zeros_like(rows["local"]), abs=1e-5)
    assert np.array_equal(accepted["tail"], off["tail"])
