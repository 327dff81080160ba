"""Scaling follows each stream's own level and spread, from its past alone, and is not led astray by single samples."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from detectors import scaling
from detectors.slab import row_dtype

F = NDArray[np.float64]
NAN = math.nan
SECONDS = 10.0


def fresh(streams: int = 1, channels: int = 1) -> NDArray[np.void]:
    rows = np.zeros(streams, row_dtype(scaling.fields(channels)))
    scaling.clear(rows)
    return rows


def take_over(rows: NDArray[np.void], due: NDArray[np.bool_]) -> None:
    rows["location"], rows["spread"] = scaling.renewed(rows, due)


def run(rows: NDArray[np.void], values: F, seconds: float = SECONDS) -> tuple[F, F]:
    """Take a series (T, D) through one row; return levels and scaled values as they were seen, (T, D) both."""
    levels, seen = np.empty_like(values), np.empty_like(values)
    for i, value in enumerate(values):
        level = scaling.levels(rows, value[None], np.array([seconds]))
        levels[i], seen[i] = level[0], scaling.scaled(rows, level)[0]
        take_over(rows, scaling.learn(rows, level, np.ones(1, bool)))
    return levels, seen


def noise(count: int, level: float = 50.0, spread: float = 2.0) -> F:
    return np.random.default_rng(1).normal(level, spread, (count, 1))


def test_location_and_spread_are_found() -> None:
    rows = fresh()
    _, seen = run(rows, noise(2000))
    assert float(rows["location"][0, 0]) == pytest.approx(50.0, abs=0.3)
    assert float(rows["spread"][0, 0]) == pytest.approx(2.0, rel=0.1)
    assert float(np.std(seen[200:])) == pytest.approx(1.0, rel=0.15)


def test_the_first_sample_is_at_home() -> None:
    _, seen = run(fresh(), np.array([[1e6]]))
    assert seen[0, 0] == 0.0


def test_a_single_wild_sample_moves_little() -> None:
    rows = fresh()
    run(rows, noise(500))
    before = float(rows["mean"][0, 0]), float(rows["variance"][0, 0])
    run(rows, np.array([[1e9]]))
    assert float(rows["mean"][0, 0]) == pytest.approx(before[0], abs=0.1)
    assert float(rows["variance"][0, 0]) == pytest.approx(before[1], rel=0.3)


def test_what_is_scaled_is_bounded_and_a_missing_value_stays_missing() -> None:
    rows = fresh()
    run(rows, noise(100))
    assert scaling.scaled(rows, np.array([[1e300]]))[0, 0] == scaling.SCALED_MAX
    assert scaling.scaled(rows, np.array([[-1e300]]))[0, 0] == -scaling.SCALED_MAX
    assert math.isnan(scaling.scaled(rows, np.array([[NAN]]))[0, 0])


@pytest.mark.parametrize("level", [0.0, 1e3, 1e9, -1e12])
def test_the_spread_is_that_of_the_noise_however_high_the_level(level: float) -> None:
    rows = fresh()
    run(rows, noise(200, level, 2.0))
    assert float(rows["spread"][0, 0]) == pytest.approx(2.0, rel=0.25)


@pytest.mark.parametrize("level", [0.0, 1e-12, 5.0, -4e7])
def test_a_constant_series_has_a_spread_to_divide_by(level: float) -> None:
    rows = fresh()
    run(rows, np.full((100, 1), level))
    floor = max(scaling.SPREAD_FLOOR_SHARE * abs(level), scaling.SPREAD_FLOOR)
    assert scaling.floored(rows)[0, 0] == pytest.approx(floor)


def test_missing_values_teach_nothing() -> None:
    with_gaps = np.repeat(noise(300), 2, axis=0)
    with_gaps[1::2] = NAN
    gappy, plain = fresh(), fresh()
    run(gappy, with_gaps)
    run(plain, noise(300))
    for name in ("location", "spread", "observed"):
        assert np.array_equal(gappy[name], plain[name])


def test_a_row_that_may_not_learn_learns_nothing() -> None:
    rows = fresh()
    assert not scaling.learn(rows, np.array([[7.0]]), np.zeros(1, bool)).any()
    assert not rows["observed"].any()
    assert not rows["mean"].any()


def test_between_epochs_the_scale_stands_still() -> None:
    rows = fresh()
    run(rows, noise(64))
    before = float(rows["location"][0, 0])
    run(rows, noise(63) + 100.0)
    assert float(rows["location"][0, 0]) == before
    run(rows, noise(1) + 100.0)
    assert float(rows["location"][0, 0]) == pytest.approx(100.0, abs=5.0)


def rising(count: int = 200) -> F:
    return np.cumsum(np.random.default_rng(2).uniform(5.0, 15.0, (count, 1)), axis=0)


def test_a_counter_is_recognised_and_becomes_a_rate_per_second() -> None:
    rows = fresh()
    levels, _ = run(rows, rising())
    assert rows["counter"][0, 0] == 1.0
    assert levels[100:].mean() == pytest.approx(1.0, rel=0.1)
    assert float(rows["location"][0, 0]) == pytest.approx(1.0, rel=0.1)


def test_a_told_counter_is_a_rate_from_its_second_sample_on() -> None:
    rows, values = fresh(), rising(20)
    rows["counter"] = scaling.COUNTER
    levels, _ = run(rows, values)
    assert math.isnan(levels[0, 0])
    assert np.allclose(levels[1:], np.diff(values, axis=0) / SECONDS)


def test_what_was_added_becomes_a_rate_too() -> None:
    rows, values = fresh(), np.array([[5.0], [20.0], [0.0], [NAN], [10.0]])
    rows["counter"] = scaling.DELTA
    levels, _ = run(rows, values)
    assert np.array_equal(levels * SECONDS, [[NAN], [20.0], [0.0], [NAN], [10.0]], equal_nan=True)


@pytest.mark.parametrize("told", [scaling.COUNTER, scaling.DELTA])
def test_what_is_told_to_be_a_total_stays_one_however_often_it_falls(told: float) -> None:
    rows = fresh()
    rows["counter"] = told
    run(rows, noise(300))
    assert rows["counter"][0, 0] == told


@pytest.mark.parametrize("told", [scaling.UNKNOWN, scaling.COUNTER, scaling.DELTA, scaling.GAUGE])
def test_a_level_leads_back_to_the_value_that_would_give_it(told: float) -> None:
    rows = fresh()
    rows["counter"] = told
    run(rows, rising(20))
    level, seconds = np.array([[2.5]]), np.array([30.0])
    value = scaling.values_of(rows, level, seconds)
    assert scaling.levels(rows, value, seconds)[0, 0] == pytest.approx(2.5)


@pytest.mark.parametrize(("told", "after"), [(scaling.COUNTER, 1.0), (scaling.DELTA, 3.0)])
def test_a_rate_after_missing_values_is_that_of_the_time_in_which_it_grew(told: float, after: float) -> None:
    rows = fresh(channels=2)
    rows["counter"] = told
    values = np.array([[0.0, 0.0], [10.0, 10.0], [NAN, 20.0], [NAN, 30.0], [40.0, 40.0]])
    if told == scaling.DELTA:  # the producer tells what was added since its own last word
        values = np.array([[30.0, 30.0], [30.0, 30.0], [NAN, 30.0], [NAN, 30.0], [30.0, 30.0]])
    levels, _ = run(rows, values)
    assert levels[4].tolist() == [after, after]
    value = scaling.values_of(rows, np.full((1, 2), 2.5), np.array([SECONDS]))
    assert scaling.levels(rows, value, np.array([SECONDS]))[0].tolist() == [2.5, 2.5]


def test_what_is_told_to_be_a_level_stays_one_however_it_rises() -> None:
    rows = fresh()
    rows["counter"] = scaling.GAUGE
    levels, _ = run(rows, rising())
    assert np.array_equal(levels, rising())
    assert rows["counter"][0, 0] == scaling.GAUGE


def test_a_reset_makes_no_negative_and_no_giant_rate() -> None:
    values = rising()
    values[150:] -= values[149]
    levels, _ = run(fresh(), values)
    assert np.nanmin(levels[60:]) >= 0.0
    assert np.nanmax(levels[60:]) <= 1.5


def test_a_counter_keeps_counting_across_missing_values_and_irregular_steps() -> None:
    rows = fresh()
    run(rows, rising(100))
    last = float(rows["raw_last"][0, 0])
    scaling.levels(rows, np.array([[NAN]]), np.array([10.0]))
    level = scaling.levels(rows, np.array([[last + 60.0]]), np.array([30.0]))
    assert level[0, 0] == pytest.approx(2.0)


@pytest.mark.parametrize(
    "values",
    [
        noise(200),
        np.full((200, 1), 3.0),
        -rising(),  # falls
        rising() - 1e6,  # below zero
        np.where(np.arange(200)[:, None] % 5 == 4, 0.0, rising()),  # falls too often
        np.repeat(rising(20), 10, axis=0),  # stands still most of the time
    ],
    ids=["noise", "constant", "falling", "negative", "sawtooth", "stairs"],
)
def test_what_is_no_counter_stays_what_it_is(values: F) -> None:
    rows = fresh()
    levels, _ = run(rows, values)
    assert rows["counter"][0, 0] == 0.0
    assert np.array_equal(levels, values)


@settings(max_examples=30, deadline=None)
@given(values=st.lists(st.floats(width=64) | st.floats(-1e3, 1e3), min_size=1, max_size=80))
def test_nothing_that_comes_leaves_a_row_that_is_not_finite(values: list[float]) -> None:
    rows = fresh()
    _, seen = run(rows, np.array(values)[:, None])
    for name in ("location", "spread", "mean", "variance", "observed"):
        assert np.isfinite(rows[name]).all()
    assert (np.isnan(seen) | (np.abs(seen) <= scaling.SCALED_MAX)).all()
