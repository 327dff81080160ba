"""A linear forecast that is learnt in closed form, and stands still with the model it belongs to."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest
from numpy.typing import NDArray

from detectors import autoregression, channels, rescaling, scaling, scoring
from detectors.adopt import accept_level, adopt, calibrate
from detectors.autoencoder import untrained, weights_of
from detectors.autoregression import BLOCK_ROWS, LAGS
from detectors.dayzero import day_zero
from detectors.network import Network
from detectors.scoring import Detector
from detectors.settings import DetectorSettings, ModelSettings
from detectors.slab import row_dtype

F4 = NDArray[np.float32]
WIDTH = 3
SETTINGS = DetectorSettings(channels=("a", "b", "c"), model=ModelSettings(hidden=4, window=4, bottleneck=2))
MINUTE_MS = 60_000


@dataclass(frozen=True)
class Series:
    targets: F4


def moving_together(samples: int, seed: int = 0) -> Series:
    """Three channels of which the next sample is a linear function of the last two, with little noise."""
    chance = np.random.default_rng(seed)
    z = np.zeros((samples, WIDTH))
    turn = np.array([[0.6, 0.3, 0.0], [-0.3, 0.6, 0.1], [0.0, 0.2, 0.5]])
    for t in range(2, samples):
        z[t] = z[t - 1] @ turn + 0.2 * z[t - 2] + chance.normal(0.0, 1.0, WIDTH)
    return Series(z.astype(np.float32))


def network(weights: dict[str, F4] | None = None) -> Network:
    model = untrained(features=2 * WIDTH + 2, channels=WIDTH, settings=SETTINGS.model, seed=3)
    return Network(weights_of(model) | (weights or {}), model=SETTINGS.model)


def windows(series: Series) -> F4:
    z = series.targets
    return np.stack([z[t - 4 : t][::-1] for t in range(4, len(z))])


def test_untrained_it_repeats_the_last_sample() -> None:
    window = windows(moving_together(40))
    told = network().autoregress(window)
    assert told is not None
    assert np.array_equal(told, window[:, 0])


def test_what_is_learnt_leaves_no_more_than_the_noise() -> None:
    weights, found = autoregression.learnt([moving_together(6000)])
    later = moving_together(3000, seed=1)
    told = network(weights).autoregress(windows(later))
    assert told is not None
    left = later.targets[4:] - told
    steps = np.diff(later.targets, axis=0)[3:]
    assert (left**2).mean(axis=0) == pytest.approx(np.ones(WIDTH), rel=0.1)
    assert (left**2).mean(axis=0) == pytest.approx(found["linear_square"], rel=0.1)
    assert (left**2).mean(axis=0) / (steps**2).mean(axis=0) == pytest.approx(found["linear_share"], rel=0.1)


def test_it_is_the_solution_of_the_normal_equations_however_the_history_is_cut() -> None:
    series = [moving_together(BLOCK_ROWS + 500), moving_together(90, seed=2)]
    past = np.concatenate([np.concatenate([windows3(one), np.ones((len(one.targets) - LAGS, 1))], 1) for one in series])
    change = np.concatenate([np.diff(one.targets.astype(np.float64), axis=0)[LAGS - 1 :] for one in series])
    gram = past.T @ past + autoregression.RIDGE * len(past) * np.eye(past.shape[1])
    expected = np.linalg.solve(gram, past.T @ change)
    weights, _ = autoregression.learnt(series)
    assert weights["autoregression.weight"] == pytest.approx(expected[:-1].T, abs=1e-5)
    assert weights["autoregression.bias"] == pytest.approx(expected[-1], abs=1e-5)


def windows3(series: Series) -> NDArray[np.float64]:
    z = series.targets.astype(np.float64)
    return np.stack([z[t - LAGS : t][::-1].reshape(-1) for t in range(LAGS, len(z))])


def test_a_constant_channel_has_no_share_and_does_no_harm() -> None:
    series = moving_together(500)
    series.targets[:, 1] = 2.0
    weights, found = autoregression.learnt([series])
    assert all(np.isfinite(array).all() for array in weights.values())
    assert found["linear_share"][1] == 1.0
    assert found["linear_square"][1] == 0.0
    assert (found["linear_share"] >= autoregression.SHARE_MIN).all()


@pytest.mark.parametrize(("width", "window", "speaks"), [(1, 16, False), (2, 16, True), (2, 2, False), (65, 16, False)])
def test_it_speaks_of_several_channels_not_too_many_that_remember_enough(
    width: int, window: int, *, speaks: bool
) -> None:
    assert autoregression.speaks(width, window) is speaks


def test_a_rows_forecast_does_not_depend_on_its_neighbours() -> None:
    weights, _ = autoregression.learnt([moving_together(400)])
    window, found = windows(moving_together(300, seed=5)), network(weights)
    whole, few = found.autoregress(window), found.autoregress(window[100:133])
    assert whole is not None
    assert few is not None
    assert np.array_equal(whole[100:133], few)


def lived(samples: int, detector: Detector | None = None) -> NDArray[np.void]:
    rows = np.zeros(2, row_dtype(scoring.fields(SETTINGS)))
    scoring.clear(rows)
    walk(detector or day_zero(SETTINGS), rows, moving_together(samples).targets, 0)
    return rows


def walk(detector: Detector, rows: NDArray[np.void], values: F4, begin: int) -> None:
    for t, value in enumerate(values):
        times_ms = np.full(len(rows), (begin + t + 1) * MINUTE_MS)
        both = np.stack([value, 10.0 * value + 4.0]).astype(np.float64)
        scoring.score(detector, rows, times_ms, both, np.zeros(len(rows), dtype=bool))


def trained() -> tuple[Detector, dict[str, F4]]:
    weights, found = autoregression.learnt([moving_together(800)])
    return Detector(SETTINGS, network(weights), "model"), calibrate(lived(150)) | found


def test_with_a_model_the_scale_is_taken_anew_and_stands_still_until_the_next_one() -> None:
    detector, calibration = trained()
    rows = adopt(detector, lived(300), calibration)
    scale = rows["location"].copy(), rows["spread"].copy()
    assert rows["location"] == pytest.approx(rows["mean"])
    walk(detector, rows, moving_together(300, seed=4).targets * 3.0, 300)
    assert np.array_equal(rows["location"], scale[0])
    assert np.array_equal(rows["spread"], scale[1])
    again = adopt(detector, rows, calibration)
    assert not np.array_equal(again["spread"], scale[1])
    assert not adopt(day_zero(SETTINGS), again, {})["scale_held"].any()


def test_where_no_heads_go_on_the_usual_errors_are_those_of_the_training() -> None:
    shared = replace(SETTINGS, readout="shared")
    weights, found = autoregression.learnt([moving_together(800)])
    detector = Detector(shared, network(weights), "model")
    rows = np.zeros(2, row_dtype(scoring.fields(shared)))
    scoring.clear(rows)
    walk(detector, rows, moving_together(300).targets, 0)
    calibration = calibrate(rows) | found | {"error_square": np.full(WIDTH, 7.0, np.float32)}
    moved = adopt(detector, rows, calibration)
    assert (moved["error_square"] == 7.0).all()
    assert not adopt(detector, rows, {})["error_samples"].any()


def test_a_stream_of_which_little_was_seen_goes_on_being_measured() -> None:
    detector, calibration = trained()
    rows = adopt(detector, lived(rescaling.HELD_LEAST_SAMPLES - 10), calibration)
    assert not rows["scale_held"].any()


def test_what_a_stream_knows_of_its_steps_tells_how_large_another_models_errors_are() -> None:
    detector, calibration = trained()
    before = lived(300)
    rows = adopt(detector, before, calibration)
    scale = (scaling.floored(before) / scaling.floored(rows)) ** 2
    expected = before["linear_square"] * scale * calibration["linear_share"]
    assert rows["linear_square"] == pytest.approx(expected, rel=1e-4)
    again = adopt(detector, rows, calibration)
    assert again["linear_square"] == pytest.approx(rows["linear_square"], rel=1e-4)


def test_what_a_stream_knows_of_its_steps_is_believed_near_what_the_training_found_only() -> None:
    detector, calibration = trained()
    before = lived(300)
    before["linear_square"] *= np.array([[1e-3], [1e3]])  # steps that a scale cut off, and one huge step
    rows, found = adopt(detector, before, calibration), calibration["linear_square"]
    assert rows["linear_square"][0] == pytest.approx(found / channels.LINEAR_RANGE)
    assert rows["linear_square"][1] == pytest.approx(found * channels.LINEAR_RANGE)


def test_usual_squares_that_rest_on_enough_samples_stand_still_from_the_swap_on() -> None:
    detector, calibration = trained()
    before = lived(300)
    before["linear_samples"] = [channels.LINEAR_SAMPLES, 100.0]
    rows = adopt(detector, before, calibration)
    settled = rows["linear_square"].copy()
    walk(detector, rows, moving_together(50, seed=4).targets * 2.0, 300)
    assert np.array_equal(rows["linear_square"][0], settled[0])
    assert (rows["linear_square"][1] > settled[1]).all()


def test_where_the_scale_stands_still_so_it_does_when_a_level_is_accepted() -> None:
    detector, calibration = trained()
    rows = adopt(detector, lived(300), calibration)
    rows["local"], rows["scale_held"] = 5.0, [1.0, 0.0]
    before = rows.copy()
    accept_level(rows)
    for name in ("location", "mean", "observed", "local", "window", "linear_square"):
        assert np.array_equal(rows[name][0], before[name][0])
    assert rows["location"][1] == pytest.approx(before["location"][1] + 5.0 * scaling.floored(before)[1])


def test_a_swap_keeps_what_the_heads_know_of_the_samples_and_forgets_the_other_hidden_state() -> None:
    detector, calibration = trained()
    before = lived(300)
    rows, hidden = adopt(detector, before, calibration), SETTINGS.model.hidden
    assert not rows["readout_weight"][:, :hidden].any()
    assert rows["readout_weight"][:, hidden:].any()
    for inverse in rows["readout_inverse"]:
        assert np.array_equal(inverse[:hidden, :hidden], np.eye(hidden, dtype=np.float32))
        assert not inverse[:hidden, hidden:].any()
        assert np.linalg.eigvalsh(inverse).min() > 0.0
    assert rows["error_square"].any()
    assert channels.squares(rows) == ("error_square", "linear_square", "linear_share")
