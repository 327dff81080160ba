"""Errors see a sample in different ways; a missing channel is in none of them."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from detectors import channels, scaling
from detectors.channels import HEADS, NAMES, SCALES, SQUARED
from detectors.slab import row_dtype

NAN = math.nan
LATER = np.full(1, 1e6)  # samples seen: the averages have settled
ONE = np.ones(1, bool)


def fresh(streams: int = 1, width: int = 1) -> NDArray[np.void]:
    rows = np.zeros(streams, row_dtype([*scaling.fields(width), *channels.fields(width)]))
    channels.clear(rows)
    rows["spread"] = 1.0
    return rows


def lived(width: int, samples: int = 600) -> NDArray[np.void]:
    """Return a row whose channels follow one another closely."""
    rng, rows = np.random.default_rng(0), fresh(width=width)
    for seen in range(samples):
        z = rng.normal(0.0, 1.0) + 0.1 * rng.normal(0.0, 1.0, (1, width))
        channels.learn(rows, z, np.ones((1, width)), np.full(1, float(seen)), ONE)
    return rows


def test_one_channels_error_counts_as_it_is() -> None:
    parts, of_linear = channels.model_parts(fresh(), np.array([[[2.0], [-4.0], [NAN]]]))
    assert not of_linear.any()
    assert parts.tolist() == [[3.0]]
    assert channels.level_parts(fresh(), np.array([[-2.5]])).tolist() == [[2.5]]


def test_several_channels_are_measured_by_what_is_usual_of_each() -> None:
    rows = fresh(width=2)
    rows["error_square"] = rows["linear_square"] = np.array([100.0, 1.0])
    parts, _ = channels.model_parts(rows, np.full((1, HEADS, 2), 10.0))
    assert parts[0] == pytest.approx([1.0, 100.0])


def test_an_error_that_both_forecasts_make_counts_for_more_than_one_that_a_single_forecast_makes() -> None:
    rows = fresh(width=2)
    rows["error_square"] = rows["linear_square"] = 1.0
    errors = np.full((3, HEADS, 2), 1.0)
    errors[0, channels.AHEAD] = errors[1, channels.LINEAR] = errors[2] = 10.0
    rows = np.repeat(rows, 3)
    parts, of_linear = channels.model_parts(rows, errors)
    assert parts.sum(axis=1) == pytest.approx([20.0, 20.0, 200.0])  # geometric means of sums of 2 and 200
    rows["scale_held"] = 1.0
    held, _ = channels.model_parts(rows, errors)  # here the linear forecast, which stands still, has two thirds
    assert held.sum(axis=1) == pytest.approx([2.0 * 100 ** (1 / 3), 2.0 * 100 ** (2 / 3), 200.0])
    assert of_linear.tolist() == [False, True, False]


def test_each_forecast_has_its_say_in_whose_channels_error_it_is() -> None:
    rows = fresh(width=2)
    rows["error_square"] = rows["linear_square"] = 1.0
    errors = np.zeros((1, HEADS, 2))
    errors[0, channels.AHEAD, 0] = errors[0, channels.LINEAR, 1] = 4.0
    parts, _ = channels.model_parts(rows, errors)
    assert parts[0] == pytest.approx([8.0, 8.0])
    rows["scale_held"] = 1.0
    assert channels.model_parts(rows, errors)[0][0] == pytest.approx([16.0 / 3.0, 32.0 / 3.0])


def test_without_a_linear_forecast_the_networks_counts_alone() -> None:
    rows = fresh(width=2)
    rows["error_square"] = 1.0
    errors = np.full((1, HEADS, 2), 3.0)
    errors[:, channels.LINEAR] = NAN
    parts, of_linear = channels.model_parts(rows, errors)
    assert parts[0] == pytest.approx([9.0, 9.0])
    assert not of_linear.any()


def test_the_linear_forecasts_usual_squares_stand_still_once_a_model_is_known() -> None:
    rows = fresh(width=2)
    rows["scale_held"], rows["linear_square"] = 1.0, 1.0
    errors, learning = np.full((1, HEADS, 2), 5.0), np.ones(1, dtype=bool)
    rows["linear_samples"] = channels.LINEAR_SAMPLES
    channels.learn_model(rows, errors, np.zeros(1), learning)
    assert rows["linear_square"].tolist() == [[1.0, 1.0]]
    rows["scale_held"] = 0.0
    channels.learn_model(rows, errors, np.zeros(1), learning)
    assert (rows["linear_square"] > 1.0).all()


def test_a_channel_that_was_never_wrong_does_not_outshout_the_others() -> None:
    rows = fresh(width=3)
    rows["error_square"] = rows["linear_square"] = np.array([1.0, 1.0, 0.0])
    parts, _ = channels.model_parts(rows, np.full((1, HEADS, 3), 0.5))
    assert parts[0, 2] <= 0.25 / channels.SQUARE_SHARE_MIN + 1e-6


def test_parts_are_bounded() -> None:
    assert channels.model_parts(fresh(width=2), np.full((1, HEADS, 2), 1e30))[0].max() <= channels.SQUARE_MAX


def test_channels_that_usually_move_together_may_do_so_and_are_noticed_when_they_part() -> None:
    rows = lived(3)
    together = channels.level_parts(rows, np.full((1, 3), 2.0)).sum()
    apart = channels.level_parts(rows, np.array([[2.0, 2.0, -2.0]]))
    assert apart.sum() > 5.0 * together
    assert int(apart[0].argmax()) == 2


def test_of_several_channels_the_larger_of_forecast_and_level_is_the_one_error() -> None:
    rows, none = fresh(width=2), np.zeros((1, 2))
    one, other = np.array([[3.0, 1.0]]), np.array([[0.5, 0.5]])
    for model, level in ((one, other), (other, one), (one, none)):
        error = channels.combined(rows, model, level, np.ones((1, 2), bool))[0]
        assert error[:2].tolist() == [2.0, 0.0]


def test_very_many_channels_count_as_independent() -> None:
    width = channels.JOINT_CHANNELS_MAX + 1
    rows = fresh(width=width)
    assert "covariance" not in (rows.dtype.names or ())
    assert channels.level_parts(rows, np.full((1, width), 3.0)) == pytest.approx(
        np.full((1, width), 9.0 * channels.LEVEL_SHARE)
    )


def test_a_missing_channel_is_masked_out_of_the_error() -> None:
    rows = fresh(width=3)
    rows["error_square"] = rows["linear_square"] = 1.0
    z = np.array([[2.0, NAN, 2.0]])
    errors = np.repeat(z[:, None], HEADS, axis=1)
    parts = channels.model_parts(rows, errors)[0], channels.level_parts(rows, z)
    assert not any(part[0, 1] for part in parts)
    error = channels.combined(rows, *parts, np.isfinite(z))
    assert error[0, 0] == pytest.approx(4.0)


@pytest.mark.parametrize("width", [1, 2])
def test_smoothing_comes_near_a_steady_error_at_every_scale(width: int) -> None:
    rows = fresh(width=width)
    for _ in range(400):
        channels.smoothed(rows, np.full((1, len(NAMES)), 9.0), LATER)
    smooth = channels.smoothed(rows, np.full((1, len(NAMES)), 9.0), LATER)
    of_squares = SQUARED * SCALES
    assert smooth[0, :of_squares] == pytest.approx(9.0 if width == 1 else 3.0, rel=1e-3)
    assert smooth[0, of_squares:] == pytest.approx(9.0, rel=1e-3)


def test_smoothing_begins_at_the_first_error_and_not_at_nothing() -> None:
    smooth = channels.smoothed(fresh(), np.full((1, len(NAMES)), 9.0), np.zeros(1))
    assert smooth[0] == pytest.approx(9.0)


def test_the_first_scale_does_not_smooth_and_the_slower_ones_lag_longer() -> None:
    rows = fresh()
    smooth = channels.smoothed(rows, np.ones((1, len(NAMES))), LATER)[0, :SCALES]
    assert smooth[0] == 1.0
    assert (np.diff(smooth) < 0).all()


def test_usual_errors_are_learnt_from_rows_that_may_learn_and_values_that_are_there() -> None:
    rng, rows = np.random.default_rng(0), fresh(2, width=2)
    for seen in range(600):
        errors = rng.normal(0.0, 3.0, (2, HEADS, 2))
        errors[:, :, 1] = NAN
        channels.learn_model(rows, errors, np.full(2, float(seen)), np.array([True, False]))
    assert float(rows["error_square"][0, 0]) == pytest.approx(9.0, rel=0.15)
    assert not rows["error_square"][0, 1].any()
    assert not rows["error_square"][1].any()


def test_a_value_that_freezes_or_trembles_changes_its_usual_step() -> None:
    rows, rng = fresh(), np.random.default_rng(0)
    for seen in range(400):
        step = rng.normal(0.0, 1.0, (1, 1))
        channels.follow(rows, step, step)
        channels.learn(rows, step, step, np.full(1, float(seen)), ONE)
    usual, frozen, wild = rows.copy(), rows.copy(), rows.copy()
    for _ in range(60):
        channels.follow(usual, (step := rng.normal(0.0, 1.0, (1, 1))), step)
        channels.follow(frozen, np.zeros((1, 1)), np.zeros((1, 1)))
        channels.follow(wild, 9 * step, 9 * step)
    none = np.zeros((1, 1))
    change = [
        channels.combined(each, none, none, np.ones((1, 1), bool))[0, NAMES.index("spread")]
        for each in (usual, frozen, wild)
    ]
    assert change[0] < 0.7
    assert change[1] > 1.5
    assert change[2] > 1.5


def test_missing_values_leave_averages_and_steps_alone() -> None:
    rows = fresh(width=2)
    rows["local"], rows["step_now"], rows["step_usual"] = 0.5, 0.25, 0.75
    missing = np.full((1, 2), NAN)
    channels.follow(rows, missing, missing)
    channels.learn(rows, missing, missing, np.zeros(1), ONE)
    channels.learn_model(rows, np.full((1, HEADS, 2), NAN), np.zeros(1), ONE)
    assert [float(rows[name][0, 0]) for name in ("local", "step_now", "step_usual")] == [0.5, 0.25, 0.75]
    assert not rows["error_square"].any()


def test_another_scale_moves_what_is_kept_in_scaled_units() -> None:
    rows = lived(2)
    rows["local"], rows["error_square"] = 2.0, 4.0
    channels.rescale(rows, np.array([[0.5, 1.0]]), np.array([[1.0, 0.0]]))
    assert rows["local"][0].tolist() == [2.0, 2.0]
    assert rows["error_square"][0].tolist() == [1.0, 4.0]
