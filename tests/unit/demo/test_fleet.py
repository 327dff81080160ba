"""The fleet is the same for the same seed, however it is read, and each kind of series is what its page says."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from daemon.demo import series
from daemon.demo.dice import Dice, trailing
from daemon.demo.fleet import MISSING_SHARE, Fleet
from daemon.demo.series import KINDS

F = NDArray[np.float64]
DAY = 288
START_MS = 1_700_000_100_000
FLEET = Fleet(seed=3, streams_each=4, start_ms=START_MS)
WHOLE = FLEET.values(0, 20 * DAY)


def columns(kind: str) -> F:
    return WHOLE[:, [stream.column for stream in FLEET.streams if stream.kind == kind]]


@settings(max_examples=25, deadline=None)
@given(cuts=st.lists(st.integers(0, 20 * DAY), max_size=6))
def test_values_do_not_depend_on_how_steps_are_cut(cuts: list[int]) -> None:
    edges = [0, *sorted(cuts), 20 * DAY]
    pieces = [FLEET.values(one, other) for one, other in pairwise(edges)]
    np.testing.assert_allclose(np.concatenate(pieces), WHOLE, rtol=1e-9)


def test_times_and_gaps_do_not_depend_on_how_steps_are_cut() -> None:
    np.testing.assert_array_equal(FLEET.times_ms(500, 900), FLEET.times_ms(0, 1000)[500:900])
    np.testing.assert_array_equal(FLEET.present(500, 900), FLEET.present(0, 1000)[500:900])


def test_same_seed_gives_the_same_fleet_and_another_seed_another_one() -> None:
    again, other = Fleet(3, 4, start_ms=START_MS), Fleet(4, 4, start_ms=START_MS)
    assert again.streams == FLEET.streams
    np.testing.assert_array_equal(again.values(0, DAY), WHOLE[:DAY])
    assert not np.array_equal(other.values(0, DAY), WHOLE[:DAY])


def test_more_streams_leave_the_first_ones_as_they_were() -> None:
    small = Fleet(3, 2, start_ms=START_MS)
    same = [stream.column for stream in FLEET.streams if stream.key in {one.key for one in small.streams}]
    np.testing.assert_array_equal(small.values(0, DAY), WHOLE[:DAY, same])


def test_every_kind_is_there_and_every_stream_has_a_name_of_its_own() -> None:
    assert [stream.kind for stream in FLEET.streams] == [kind for kind in KINDS for _ in range(4)]
    assert len({stream.key for stream in FLEET.streams}) == len(FLEET.streams) == 24
    assert FLEET.streams[0].key == 'active_sessions{host="shop-01",service="shop"}'


def test_all_values_are_finite_and_none_is_negative() -> None:
    assert np.isfinite(WHOLE).all()
    assert WHOLE.min() >= 0


def test_no_steps_give_no_samples() -> None:
    assert FLEET.values(7, 7).shape == FLEET.times_ms(7, 7).shape == FLEET.present(7, 7).shape == (0, 24)


def test_times_stay_within_their_step_and_never_run_backwards() -> None:
    times = FLEET.times_ms(0, 1000)
    begins = np.array([FLEET.step_ms(step) for step in range(1000)])[:, None]
    assert ((times >= begins) & (times < begins + 300_000)).all()
    assert (np.diff(times, axis=0) > 0).all()
    assert np.diff(times, axis=0).std() > 1000  # milliseconds of jitter


def test_a_sample_is_missing_now_and_then() -> None:
    share = 1 - FLEET.present(0, 20 * DAY).mean()
    assert MISSING_SHARE / 2 < share < MISSING_SHARE * 2


def test_seasonal_repeats_after_a_week_more_than_after_half_a_day() -> None:
    for column in columns("seasonal").T:
        week, half = (np.corrcoef(column[lag:], column[:-lag])[0, 1] for lag in (7 * DAY, DAY // 2))
        assert week > 0.85
        assert half < 0.5


def test_seasonal_is_lower_at_the_weekend() -> None:
    fleet = Fleet(3, 4, start_ms=4 * 86_400_000)  # the first Monday of 1970
    days = fleet.values(0, 14 * DAY)[:, :4].reshape(14, DAY, 4)[:, DAY // 2 :].max(axis=1)
    week_days, weekend = days[[0, 1, 2, 3, 4, 7, 8, 9, 10, 11]], days[[5, 6, 12, 13]]
    assert (weekend.mean(axis=0) < 0.97 * week_days.mean(axis=0)).all()


def test_stated_noise_is_the_noise() -> None:
    noisy = [stream for stream in FLEET.streams if stream.name in {"supply_volts", "disk_used_gigabytes"}]
    for stream in noisy:
        innovation = np.diff(WHOLE[:, stream.column]).std() / np.sqrt(2 * (1 - 0.6))
        assert innovation == pytest.approx(stream.noise, rel=0.1)


def test_stated_swing_is_the_usual_days_height() -> None:
    for stream in [one for one in FLEET.streams if one.kind == "seasonal"]:
        smooth = WHOLE[:, stream.column].reshape(-1, 12).mean(axis=1).reshape(20, 24)
        usual = np.sort(np.ptp(smooth, axis=1))[-10:].mean()
        assert usual == pytest.approx(stream.swing, rel=0.2)


def test_bursty_has_a_calm_middle_and_rare_bursts_that_come_together() -> None:
    for column in columns("bursty").T:
        relative = column / np.median(column)
        burst = relative > 2
        assert 0.005 < burst.mean() < 0.12
        assert burst[1:][burst[:-1]].mean() > 5 * burst.mean()


def test_bursts_beget_bursts() -> None:
    clock = series.Clock(0.0, 300)
    heights = series._bursts(Dice(1, 1, 16, DAY), clock, 0, 60 * DAY)
    alone = series.BURSTS_A_DAY / DAY * series.BURST_MARK * np.exp(0.6**2 / 2) * series.BURST_DECAY.sum()
    family = 1 + series.CHILDREN.sum() + series.CHILDREN.sum() ** 2
    assert family > 1.6
    assert heights.mean() == pytest.approx(alone * family, rel=0.1)


def test_a_burst_comes_at_once_and_fades() -> None:
    steps = np.diff(columns("bursty"), axis=0)
    assert (steps.max(axis=0) > -steps.min(axis=0)).all()


def test_trailing_sums_weigh_the_newest_first() -> None:
    wide = np.array([[1.0], [10.0], [100.0], [1000.0]])
    np.testing.assert_array_equal(trailing(wide, np.array([1.0, 0.0, 2.0])), [[102.0], [1020.0]])


def test_trending_grows_every_week() -> None:
    weekly = columns("trending")[: 14 * DAY].reshape(2, 7 * DAY, 4).mean(axis=1)
    assert (weekly[1] > 1.01 * weekly[0]).all()


def test_counter_rises_in_whole_numbers_and_starts_again_now_and_then() -> None:
    totals = columns("counter")
    rises = np.diff(totals, axis=0)
    assert (totals == np.round(totals)).all()
    resets = (rises < 0).sum(axis=0)
    assert ((resets >= 1) & (resets <= 4)).all()
    after = totals[1:][rises < 0]
    assert (after < np.median(rises) * 1000).all()


def test_constant_comes_in_four_varieties() -> None:
    fixed, noisy, thermometer, zero = columns("constant").T
    assert np.ptp(fixed) == 0 < fixed[0]
    assert 0 < noisy.std() < 0.002 * noisy.mean()
    assert set(np.unique(thermometer % 0.5)) == {0.0}
    assert np.ptp(thermometer) >= 0.5
    assert not zero.any()


def test_periodic_runs_once_an_hour() -> None:
    for column in columns("periodic").T:
        spectrum = np.abs(np.fft.rfft(column - column.mean()))
        assert np.argmax(spectrum) == 20 * 24  # cycles in twenty days


@pytest.mark.parametrize(("each", "interval"), [(0, 300), (1, 0), (1, 7)])
def test_a_fleet_that_makes_no_sense_is_refused(each: int, interval: int) -> None:
    with pytest.raises(ValueError, match="divides an hour"):
        Fleet(1, each, interval)


def test_another_interval_keeps_the_day() -> None:
    fleet = Fleet(3, 1, interval_seconds=600)
    assert fleet.day_steps == 144
    column = fleet.values(0, 14 * 144)[:, 0]
    assert np.corrcoef(column[144:], column[:-144])[0, 1] > 0.6


def test_draws_before_step_zero_exist_and_differ() -> None:
    dice = Dice(1, 2, 3, 10)
    drawn = dice.uniform(0, -25, 25)
    assert drawn.shape == (50, 3)
    assert len(np.unique(drawn)) == 150


def test_correlated_draws_are_standard_and_remember_their_neighbour() -> None:
    drawn = Dice(1, 2, 1, 100).correlated(0, 0, 20_000)[:, 0]
    assert drawn.std() == pytest.approx(1.0, abs=0.03)
    assert np.corrcoef(drawn[1:], drawn[:-1])[0, 1] == pytest.approx(0.6, abs=0.03)
