"""Error channels see a sample in different ways; a missing channel is in none of them."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from detectors import channels, scaling
from detectors.channels import ALPHAS, FAMILIES, NAMES, PER_CHANNEL, SCALES, UNITS
from detectors.slab import row_dtype

NAN = math.nan


def fresh(streams: int = 1, width: int = 1, window: int = 3) -> NDArray[np.void]:
    layout = [("window", "f4", (window, width)), *scaling.fields(width), *channels.fields(width)]
    rows = np.zeros(streams, row_dtype(layout))
    rows["spread"] = 1.0
    return rows


def test_every_channel_belongs_to_one_family() -> None:
    covered = [i for part in FAMILIES.values() for i in range(part.start, part.stop)]
    assert covered == list(range(len(NAMES)))
    assert len(NAMES) * SCALES == UNITS


def test_errors_are_distances_from_what_was_told_and_expected() -> None:
    rows = fresh()
    rows["window"] = np.array([2.0, 1.0, 0.0])[None, :, None]  # newest first
    rows["local"] = 0.5
    told = np.array([1.5, 1.0, 1.0])[None, :, None]
    errors = channels.per_channel(rows, np.array([[2.0]]), np.array([[3.0]]), told)[0, :, 0]
    assert errors == pytest.approx([0.5, 0.5, 1.0, 2.0, 1.5])


def test_without_a_network_its_errors_are_none() -> None:
    errors = channels.per_channel(fresh(), np.array([[2.0]]), np.array([[3.0]]), None)
    assert not errors[0, FAMILIES["model"]].any()
    assert errors[0, 3:PER_CHANNEL].all()


def test_a_missing_channel_is_masked_out_of_the_error() -> None:
    rows = fresh(width=3)
    z = np.array([[2.0, NAN, 2.0]])
    errors = channels.per_channel(rows, z, np.zeros((1, 3)), None)
    square = channels.squares(rows, errors)
    assert np.isnan(errors[0, :, 1]).all()
    assert not square[0, :, 1].any()
    both, missing = (
        channels.combined(fresh(width=width), square[:, :, chosen], np.isfinite(z[:, chosen]).astype(float))
        for width, chosen in ((2, [0, 2]), (3, [0, 1, 2]))
    )
    assert missing == pytest.approx(both)


def test_squares_are_bounded() -> None:
    errors = np.full((1, PER_CHANNEL, 1), 1e30)
    assert channels.squares(fresh(), errors).max() <= channels.SQUARE_MAX


@pytest.mark.parametrize("scale", range(SCALES))
def test_each_scale_smooths_at_its_own_rate(scale: int) -> None:
    rows = fresh()
    error = np.ones((1, len(NAMES)))
    for _ in range(4):
        channels.smoothed(rows, error)
    smooth = channels.smoothed(rows, error)
    assert smooth[0, scale::SCALES] == pytest.approx(np.full(len(NAMES), 1 - (1 - ALPHAS[scale]) ** 5), rel=1e-5)


def test_usual_errors_are_learnt_from_what_has_weight_and_is_there() -> None:
    rng, rows = np.random.default_rng(0), fresh(2)
    for seen in range(600):
        errors = np.abs(rng.normal(3.0, 0.5, (2, PER_CHANNEL, 1)))
        errors[:, 0] = NAN
        before = np.full((2, PER_CHANNEL), float(seen))
        channels.learn(rows, errors, np.ones((2, 1)), before, np.array([1.0, 0.0]))
    assert rows["error_mean"][0, 1:, 0] == pytest.approx(np.full(PER_CHANNEL - 1, 3.0), rel=0.05)
    assert np.sqrt(rows["error_variance"][0, 1:, 0]) == pytest.approx(np.full(PER_CHANNEL - 1, 0.5), rel=0.15)
    assert not rows["error_mean"][0, 0].any()
    assert not rows["error_mean"][1].any()


def test_a_single_wild_error_hardly_moves_the_usual_one() -> None:
    rng, rows = np.random.default_rng(0), fresh()
    for seen in range(301):
        size = 1e4 if seen == 300 else 1.0
        errors = size * np.abs(rng.normal(3.0, 0.5, (1, PER_CHANNEL, 1)))
        channels.learn(rows, errors, np.ones((1, 1)), np.full((1, PER_CHANNEL), float(seen)), np.ones(1))
    assert float(rows["error_mean"].max()) < 3.3


def test_a_value_that_freezes_or_trembles_changes_its_usual_step() -> None:
    rows = fresh()
    rng = np.random.default_rng(0)
    at_rest = np.zeros((1, PER_CHANNEL, 1))
    for seen in range(400):
        step = rng.normal(0.0, 1.0, (1, 1))
        channels.follow(rows, step, step)
        channels.learn(rows, at_rest, step, np.full((1, PER_CHANNEL), float(seen)), np.ones(1))
    usual, frozen, wild = rows.copy(), rows.copy(), rows.copy()
    for _ in range(60):
        channels.follow(usual, (step := rng.normal(0.0, 1.0, (1, 1))), step)
        channels.follow(frozen, np.zeros((1, 1)), np.zeros((1, 1)))
        channels.follow(wild, 9 * step, 9 * step)
    change = [
        channels.combined(each, at_rest, np.ones((1, 1)))[0, NAMES.index("spread")] for each in (usual, frozen, wild)
    ]
    assert change[0] < 0.7
    assert change[1] > 1.5
    assert change[2] > 1.5


def test_missing_values_leave_averages_and_steps_alone() -> None:
    rows = fresh()
    rows["local"], rows["step_now"], rows["step_usual"] = 0.5, 0.25, 0.75
    channels.follow(rows, np.array([[NAN]]), np.array([[NAN]]))
    errors = np.full((1, PER_CHANNEL, 1), NAN)
    channels.learn(rows, errors, np.array([[NAN]]), np.zeros((1, PER_CHANNEL)), np.ones(1))
    assert [float(rows[name][0, 0]) for name in ("local", "step_now", "step_usual")] == [0.5, 0.25, 0.75]
    assert not rows["error_mean"].any()
