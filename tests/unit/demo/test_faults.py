"""A fault changes what it says, when it says, and nothing else."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from itertools import groupby

import numpy as np
import pytest
from numpy.typing import NDArray

from daemon.demo import faults
from daemon.demo.faults import MAGNITUDES, SENSIBLE, Fault, FaultKind
from daemon.demo.fleet import Fleet, Stream
from daemon.demo.series import SeriesKind

F = NDArray[np.float64]
DAY = 288
FLEET = Fleet(seed=5, streams_each=4)
CLEAN = FLEET.values(0, 28 * DAY)
PLAN = faults.schedule(FLEET, 14 * DAY, 28 * DAY, seed=9)
BEGIN, END = 3000, 3100
CASES = [(series, kind) for series, kinds in SENSIBLE.items() for kind in kinds]


def stream_of(kind: SeriesKind) -> Stream:
    return next(stream for stream in FLEET.streams if stream.kind == kind)


def fault_of(stream: Stream, kind: FaultKind, height: float | None = None) -> Fault:
    usual = {"reach": stream.reach, "noise": stream.noise, "": 0.0}[MAGNITUDES[kind].unit]
    sign = MAGNITUDES[kind].signs[0]
    return Fault(stream, kind, BEGIN, END, sign * usual if height is None else height, seed=1)


def increments(totals: F) -> F:
    rise = np.diff(totals)
    return np.where(rise < 0, totals[1:], rise)


@pytest.mark.parametrize(("series", "kind"), CASES)
def test_a_fault_shows_within_its_steps_and_nowhere_else(series: SeriesKind, kind: FaultKind) -> None:
    stream = stream_of(series)
    before = CLEAN[:, stream.column]
    after = faults.inject(before, fault_of(stream, kind))
    if series == "counter" and kind != "silence":
        before, after = np.append(0, increments(before)), np.append(0, increments(after))
    outside = np.r_[0:BEGIN, END : len(before)]
    np.testing.assert_allclose(after[outside], before[outside], atol=1e-6)
    assert not np.array_equal(after[BEGIN:END], before[BEGIN:END], equal_nan=True)


def test_inject_leaves_its_argument_alone() -> None:
    stream = stream_of("seasonal")
    before = CLEAN[:, stream.column].copy()
    faults.inject(before, fault_of(stream, "spike"))
    np.testing.assert_array_equal(before, CLEAN[:, stream.column])


def test_spike_and_shift_have_the_stated_height() -> None:
    stream = stream_of("seasonal")
    for kind in ("spike", "level_shift"):
        after = faults.inject(CLEAN[:, stream.column], fault_of(stream, kind, height=7.0))
        np.testing.assert_allclose((after - CLEAN[:, stream.column])[BEGIN:END], 7.0)


def test_drift_grows_to_the_stated_height() -> None:
    stream = stream_of("seasonal")
    added = faults.inject(CLEAN[:, stream.column], fault_of(stream, "drift", height=50.0)) - CLEAN[:, stream.column]
    assert (np.diff(added[BEGIN - 1 : END]) > 0).all()
    assert added[END - 1] == pytest.approx(50.0)
    assert added[END] == 0


def test_variance_adds_noise_of_the_stated_size() -> None:
    stream = stream_of("trending")
    added = faults.inject(CLEAN[:, stream.column], fault_of(stream, "variance", height=3.0)) - CLEAN[:, stream.column]
    assert added[BEGIN:END].std() == pytest.approx(3.0, rel=0.2)
    assert abs(added[BEGIN:END].mean()) < 1.0


def test_frozen_repeats_the_last_value() -> None:
    stream = stream_of("bursty")
    after = faults.inject(CLEAN[:, stream.column], fault_of(stream, "frozen"))
    assert (after[BEGIN:END] == after[BEGIN - 1]).all()


def test_frozen_counter_stands_still_and_goes_on_from_there() -> None:
    stream = stream_of("counter")
    after = faults.inject(CLEAN[:, stream.column], fault_of(stream, "frozen"))
    assert np.ptp(after[BEGIN - 1 : END]) == 0
    assert after[END] > after[END - 1]


@pytest.mark.parametrize("kind", SENSIBLE["counter"])
def test_a_faulty_counter_still_never_falls_but_at_its_resets(kind: FaultKind) -> None:
    for stream in [one for one in FLEET.streams if one.kind == "counter"]:
        before = CLEAN[:, stream.column]
        after = faults.inject(before, fault_of(stream, kind))
        known = ~np.isnan(after)
        assert (np.flatnonzero(np.diff(after) < 0) == np.flatnonzero(np.diff(before) < 0)).all()
        assert (np.diff(after[known]) < 0).sum() == (np.diff(before) < 0).sum()


def test_a_counters_reset_forgets_the_fault() -> None:
    stream = stream_of("counter")
    before = CLEAN[:, stream.column]
    after = faults.inject(before, fault_of(stream, "spike"))
    reset = BEGIN + np.flatnonzero(np.diff(before[BEGIN:]) < 0)[0] + 1
    assert after[reset - 1] > before[reset - 1]
    np.testing.assert_array_equal(after[reset:], before[reset:])


def test_two_faults_of_a_counter_add_up() -> None:
    stream = stream_of("counter")
    first, second = fault_of(stream, "silence"), replace(fault_of(stream, "spike"), step_from=3500, step_to=3503)
    after = faults.inject(faults.inject(CLEAN[:, stream.column], first), second)
    expected = faults.inject(faults.inject(CLEAN[:, stream.column], second), first)
    np.testing.assert_allclose(after, expected)


def test_changed_period_is_twice_as_fast() -> None:
    stream = stream_of("periodic")
    fault = replace(fault_of(stream, "period"), step_to=BEGIN + DAY)
    after = faults.inject(CLEAN[:, stream.column], fault)[BEGIN : BEGIN + DAY]
    assert np.argmax(np.abs(np.fft.rfft(after - after.mean()))) == 48


def test_changed_period_near_the_end_reads_whole_days_back() -> None:
    stream = stream_of("seasonal")
    values = CLEAN[: 10 * DAY, stream.column]
    fault = replace(fault_of(stream, "period"), step_from=9 * DAY - 10, step_to=10 * DAY - 10)
    after = faults.inject(values, fault)
    np.testing.assert_array_equal(after[fault.step_from : fault.step_from + 5], values[fault.step_from :][:10:2])
    assert np.isfinite(after).all()


def test_silence_is_the_absence_of_samples() -> None:
    after = faults.inject(CLEAN[:, 0], fault_of(FLEET.streams[0], "silence"))
    assert np.isnan(after[BEGIN:END]).all()
    assert np.isfinite(np.delete(after, np.arange(BEGIN, END))).all()


def test_what_was_never_negative_stays_so() -> None:
    stream = stream_of("seasonal")
    after = faults.inject(CLEAN[:, stream.column], fault_of(stream, "drop", height=-1e6))
    assert (after[BEGIN:END] == 0).all()


def test_a_thermometer_stays_on_its_scale() -> None:
    stream = next(one for one in FLEET.streams if one.name == "temperature_celsius")
    after = faults.inject(CLEAN[:, stream.column], fault_of(stream, "variance", height=2.0))
    assert not (after % 0.5).any()


def test_a_fault_outside_of_the_values_is_refused() -> None:
    with pytest.raises(ValueError, match="outside"):
        faults.inject(CLEAN[:BEGIN, 0], fault_of(FLEET.streams[0], "spike"))


def test_injecting_in_a_piece_equals_injecting_in_the_whole() -> None:
    stream = stream_of("bursty")
    whole = faults.inject(CLEAN[:, stream.column], fault_of(stream, "drift"))
    piece = faults.inject(CLEAN[2900:3200, stream.column], fault_of(stream, "drift"), step_from=2900)
    np.testing.assert_array_equal(piece, whole[2900:3200])


def test_all_faults_of_a_plan_are_injected_and_other_samples_kept() -> None:
    faulty = faults.inject_all(CLEAN[14 * DAY :], PLAN, 14 * DAY)
    touched = np.zeros(faulty.shape, np.bool_)
    for fault in PLAN:
        touched[fault.step_from - 14 * DAY : fault.step_to - 14 * DAY, fault.stream.column] = True
    changed = ~np.isclose(faulty, CLEAN[14 * DAY :])
    plain = [stream.column for stream in FLEET.streams if stream.kind != "counter"]
    assert not (changed & ~touched)[:, plain].any()
    assert all(
        changed[fault.step_from - 14 * DAY : fault.step_to - 14 * DAY, fault.stream.column].any() for fault in PLAN
    )


def test_the_plan_is_the_same_for_the_same_seed() -> None:
    assert faults.schedule(FLEET, 14 * DAY, 28 * DAY, seed=9) == PLAN
    assert faults.schedule(FLEET, 14 * DAY, 28 * DAY, seed=10) != PLAN


def test_the_plan_leaves_room_between_the_faults_of_a_stream() -> None:
    by_column = sorted(PLAN, key=lambda fault: (fault.stream.column, fault.step_from))
    for _, group in groupby(by_column, key=lambda fault: fault.stream.column):
        begins_after = 14 * DAY
        for fault in group:
            assert fault.step_from - begins_after >= 1.5 * DAY
            begins_after = fault.step_to
        assert begins_after <= 28 * DAY - DAY // 2


def test_the_plan_has_only_sensible_faults_and_all_kinds_about_equally_often() -> None:
    assert all(fault.kind in faults.sensible(fault.stream) for fault in PLAN)
    counts = Counter(fault.kind for fault in PLAN)
    assert set(counts) == set(MAGNITUDES)
    assert max(counts.values()) <= 2 * min(counts.values())


def test_planned_magnitudes_keep_to_the_table() -> None:
    for fault in PLAN:
        magnitude = MAGNITUDES[fault.kind]
        hours = (fault.step_to - fault.step_from) * 24 / DAY
        assert magnitude.hours[0] - 0.05 <= hours <= magnitude.hours[1] + 0.05
        unit = {"reach": fault.stream.reach, "noise": fault.stream.noise, "": 1.0}[magnitude.unit]
        assert magnitude.size[0] - 1e-9 <= abs(fault.height) / unit <= magnitude.size[1] + 1e-9


def test_what_is_always_zero_neither_drops_nor_falls() -> None:
    zero = next(stream for stream in FLEET.streams if stream.zero)
    assert "drop" not in faults.sensible(zero)
    assert "drop" in faults.sensible(stream_of("constant"))
    plans = [faults.schedule(FLEET, 0, 28 * DAY, seed) for seed in range(10)]
    assert all(fault.height >= 0 for plan in plans for fault in plan if fault.stream is zero)


def test_a_label_says_when_and_where() -> None:
    label = faults.label(PLAN[0], FLEET)
    assert (label.stream, label.kind) == (PLAN[0].stream.key, PLAN[0].kind)
    assert (label.start_ms, label.end_ms) == (PLAN[0].step_from * 300_000, PLAN[0].step_to * 300_000)
