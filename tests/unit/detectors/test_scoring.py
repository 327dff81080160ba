"""A sample is scored with what was known before it, and only then learnt from; no row knows of another."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from detectors import channels, rescaling, scaling, scoring
from detectors.columns import Columns
from detectors.dayzero import day_zero
from detectors.scoring import CLOCK_INPUTS, DAY_MS, Detector, Scored
from detectors.settings import DetectorSettings, Readout
from detectors.slab import row_dtype
from tests.conformance.feed import INTERVAL_MS, START_MS, drawn, settings_of, wave

F = NDArray[np.float64]
SETTINGS = settings_of(2)
SHARED = replace(SETTINGS, readout="shared")
DETECTORS = {
    "baseline": Detector(SETTINGS),
    "day zero": day_zero(SETTINGS),
    "own readout": Detector(SETTINGS, drawn(SETTINGS), "m"),
    "shared readout": Detector(SHARED, drawn(SHARED), "m"),
}


@pytest.fixture(params=DETECTORS)
def detector(request: pytest.FixtureRequest) -> Detector:
    """A detector with and without a network."""
    return DETECTORS[request.param]


def fresh(streams: int = 1, settings: DetectorSettings = SETTINGS) -> NDArray[np.void]:
    rows = np.zeros(streams, row_dtype(scoring.fields(settings)))
    scoring.clear(rows)
    return rows


def at(step: int, streams: int = 1) -> NDArray[np.int64]:
    return np.full(streams, START_MS + step * INTERVAL_MS, dtype=np.int64)


def run(detector: Detector, rows: NDArray[np.void], values: F, first: int = 0) -> list[Scored]:
    """Take a series (T, D) through one row."""
    shielded = np.zeros(1, bool)
    return [scoring.score(detector, rows, at(first + i), value[None], shielded) for i, value in enumerate(values)]


def test_what_comes_later_never_changes_an_earlier_score(detector: Detector) -> None:
    values = wave(90, 2)
    other = values.copy()
    other[70:] *= -50.0
    one, two = (run(detector, fresh(settings=detector.settings), each) for each in (values, other))
    assert [float(s.surprise[0]) for s in one[:70]] == [float(s.surprise[0]) for s in two[:70]]
    assert float(one[70].surprise[0]) != float(two[70].surprise[0])


def test_a_row_is_scored_alike_beside_any_others(detector: Detector) -> None:
    alone, crowd = fresh(settings=detector.settings), fresh(7, detector.settings)
    shielded = np.zeros(7, bool)
    series = [wave(60, 2, seed) for seed in range(7)]
    for i in range(60):
        one = scoring.score(detector, alone, at(i), series[3][i : i + 1], shielded[:1])
        all_of_them = scoring.score(detector, crowd, at(i, 7), np.stack([each[i] for each in series]), shielded)
        assert float(one.surprise[0]) == float(all_of_them.surprise[3])
    for name in alone.dtype.names or ():
        assert np.array_equal(alone[name][0], crowd[name][3]), name


def test_a_protected_row_is_scored_and_moves_on_but_learns_nothing(detector: Detector) -> None:
    rows = fresh(settings=detector.settings)
    run(detector, rows, wave(80, 2))
    shielded, open_to_learn = rows.copy(), rows.copy()
    value = np.array([[500.0, -500.0]])
    told = [
        scoring.score(detector, each, at(80), value, np.array([flag]))
        for each, flag in ((shielded, True), (open_to_learn, False))
    ]
    assert told[0].surprise == told[1].surprise
    learnt = ("mean", "variance", "observed", "error_square", "covariance", "step_usual", "readout_weight")
    for name in set(learnt) & set(rows.dtype.names or ()):
        assert np.array_equal(shielded[name], rows[name]), name
    assert not np.array_equal(open_to_learn["mean"], rows["mean"])
    for name in ("window", "local", "smooth", "time_ms"):
        assert np.array_equal(shielded[name], open_to_learn[name]), name


def test_expectation_and_margin_are_in_the_values_own_unit(detector: Detector) -> None:
    values = 1000.0 + 5.0 * wave(150, 2)
    scored = run(detector, fresh(settings=detector.settings), values)[-1]
    assert scored.level[0] == pytest.approx(values[-1])
    assert (scored.margin[0] > 0).all()
    if detector.network is None:
        assert np.abs(scored.expected[0] - values[-20:].mean(axis=0)).max() < 10.0


def test_the_networks_errors_count_only_once_it_is_warm() -> None:
    settings = replace(SETTINGS, channels=("value",))
    detector = Detector(settings, drawn(settings), "m")
    scored = run(detector, fresh(settings=settings), wave(scoring.MODEL_WARMUP_SAMPLES + 20, 1))
    of_model = np.array([each.decades[0, 0] for each in scored])
    assert not of_model[: scoring.MODEL_WARMUP_SAMPLES].any()
    assert of_model[scoring.MODEL_WARMUP_SAMPLES :].any()


def test_one_error_of_several_channels_is_told_as_that_of_the_larger_part() -> None:
    scored = run(DETECTORS["own readout"], fresh(), wave(scoring.MODEL_WARMUP_SAMPLES + 60, 2))
    told = np.array([each.decades[0, :2] for each in scored])  # (T, 2)
    assert told.any(axis=0).all()
    assert not told.all(axis=1).any()


def test_without_a_network_the_level_alone_is_the_error_of_several_channels() -> None:
    scored = run(DETECTORS["baseline"], fresh(), wave(200, 2))
    assert not any(each.decades[0, 0] for each in scored)
    assert any(each.decades[0, 1] for each in scored)


def test_a_missing_channel_has_no_part_in_an_error_that_is_not_measured_yet() -> None:
    values = wave(channels.MEASURED_SAMPLES, 2)
    values[:, 0] = np.nan
    scored = run(DETECTORS["own readout"], fresh(), values)
    assert all(each.share[0].tolist() == [0.0, 1.0] for each in scored[1:])


def test_the_usual_interval_is_learnt_and_a_single_gap_moves_it_little() -> None:
    detector, rows = DETECTORS["baseline"], fresh()
    run(detector, rows, wave(50, 2))
    assert float(rows["interval_ms"][0]) == pytest.approx(INTERVAL_MS)
    run(detector, rows, wave(1, 2), first=1050)
    assert float(rows["interval_ms"][0]) < 1.1 * INTERVAL_MS


@pytest.mark.parametrize(("seconds", "kept"), [(100.0, 4), (100.001, 1)])
def test_only_a_gap_longer_than_the_limit_resets_the_short_term_state(seconds: float, kept: int) -> None:
    detector = Detector(replace(SETTINGS, gap_max_seconds=100.0), drawn(SETTINGS), "m")
    rows = fresh()
    run(detector, rows, wave(30, 2))
    later = at(29) + int(seconds * 1000)
    scoring.score(detector, rows, later, wave(1, 2), np.zeros(1, bool))
    assert float(rows["window_filled"][0]) == kept


def test_the_network_reads_values_steps_and_the_time_of_day() -> None:
    z, step = np.array([[1.0, -2.0]]), np.array([[math.nan, 1e9]])
    found = scoring.inputs(z, step, np.array([int(DAY_MS / 4)]))
    assert found.shape == (1, 4 + CLOCK_INPUTS)
    assert found[0] == pytest.approx([1.0, -2.0, 0.0, scoring.STEP_INPUT_MAX, 1.0, 0.0], abs=1e-6)
    tomorrow = scoring.inputs(z, step, np.array([int(1.25 * DAY_MS)]))
    assert np.array_equal(found, tomorrow)


def test_shares_are_equal_when_there_is_no_error_at_all() -> None:
    scored = scoring.score(DETECTORS["baseline"], fresh(), at(0), np.zeros((1, 2)), np.zeros(1, bool))
    assert scored.share[0].tolist() == [0.5, 0.5]


def test_every_field_of_a_row_has_a_name_of_its_own() -> None:
    names = [name for name, _, _ in scoring.fields(SETTINGS)]
    assert len(names) == len(set(names))


def test_under_a_long_alert_the_tails_stop_learning() -> None:
    detector, rows = DETECTORS["day zero"], fresh()
    run(detector, rows, wave(130, 2))  # no epoch ends in what follows
    shielded = np.ones(1, bool)
    counts = []
    for i in range(scoring.SHIELDED_TAIL_SAMPLES + 20):
        scoring.score(detector, rows, at(130 + i), np.array([[90.0, 10.0]]), shielded)
        counts.append(int(rows["tail"][0, channels.SCALES, 0]))
    assert counts[0] < counts[10]
    assert len(set(counts[scoring.SHIELDED_TAIL_SAMPLES :])) == 1


def test_a_change_of_scale_moves_the_window_along() -> None:
    rows = fresh()
    run(DETECTORS["day zero"], rows, wave(90, 2))
    spread = np.maximum(rows["spread"], 1e-9)
    raw = rows["window"] * spread[:, None] + rows["location"][:, None]
    rescaling.move_scale(rows, rows["location"] + 3.0, 2.0 * rows["spread"])
    again = rows["window"] * rows["spread"][:, None] + rows["location"][:, None]
    assert again == pytest.approx(raw, abs=1e-3)


@pytest.mark.parametrize("readout", ["rls", "shared"])
def test_the_reconstruction_counts_at_every_kth_sample_and_the_forecast_at_each(readout: Readout) -> None:
    settings = replace(settings_of(), readout=readout, reconstruct_every_samples=3)
    network = drawn(settings)
    rows, every = fresh(settings=settings), Detector(settings, network, "m")
    for step, value in enumerate(wave(40)):
        sample = scoring._Sample(at(step), scaling.scaled(rows, value[None]), np.zeros((1, 1)))
        before = rows.copy()
        errors, _ = scoring._errors(every, Columns(before), sample, np.ones(1, bool))
        assert np.isfinite(errors[0, :, 0]).tolist() == [step % 3 == 0, True, False]
        larger = np.abs(errors[0, channels.AHEAD, 0]) if step % 3 else np.abs(errors[0, :2, 0]).mean()
        assert channels.model_parts(rows, errors)[0][0, 0] == pytest.approx(larger)
        scoring.score(every, rows, at(step), value[None], np.zeros(1, bool))


def test_of_several_channels_nothing_depends_on_how_often_the_window_is_reconstructed() -> None:
    often, seldom = (Detector(replace(SETTINGS, reconstruct_every_samples=k), drawn(SETTINGS), "m") for k in (1, 7))
    one, other = (run(each, fresh(), wave(90, 2)) for each in (often, seldom))
    assert [float(each.surprise[0]) for each in one] == [float(each.surprise[0]) for each in other]
