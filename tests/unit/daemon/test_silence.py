"""Who is silent: by usual intervals and usual pauses, learnt sample by sample, however polls cut the input."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from benchmarks.silences import DTYPE, POLICIES, Draw, hourly, nightly, watched
from daemon.maintenance import NO_WINDOWS, Calendar, Once
from daemon.silence import DAY_MS, FADING_DAYS, FIELDS, OFFSETS, Until, learn, patience_ms, quiet_until_ms, silent_rows
from detectors.settings import AlertSettings, StaticThreshold
from tests.conformance.feed import INTERVAL_MS, START_MS, Feed, Sent, cut, fields, series, settings_of, together, wave

Row = NDArray[np.void]

POLICY = AlertSettings(silence_intervals=20.0, silence_pauses=1.5)
SECOND_MS, HOUR_MS = 1000, 3_600_000
MORNING_MS = START_MS - START_MS % DAY_MS  # of a day: pauses that end on it do not fade


def one(interval_ms: float = SECOND_MS) -> Row:
    """Return a warm row that was seen at the beginning of a day."""
    rows = np.zeros(1, DTYPE)
    rows["samples"], rows["interval_ms"], rows["seen_ms"] = 1000, interval_ms, MORNING_MS
    return rows


def away(rows: Row, *pauses_ms: int, calendar: Calendar = NO_WINDOWS) -> None:
    for pause_ms in pauses_ms:
        learn(POLICY, rows, later(rows, pause_ms), calendar)


def later(rows: Row, pause_ms: int, records: int = 100) -> Until:
    return Until(rows["seen_ms"] + pause_ms, rows["heard_offset"].astype(np.int64) + records)


def patience(rows: Row) -> int:
    return int(patience_ms(POLICY, rows)[0])


def test_a_stream_is_silent_after_so_many_of_its_usual_intervals() -> None:
    rows = np.zeros(4, DTYPE)
    rows["seen_ms"] = 100_000
    rows["samples"] = [100, 100, 5, 100]
    rows["interval_ms"] = [1000, 1000, 1000, 0]  # the third is warming up, of the fourth no interval is known
    assert silent_rows(POLICY, rows, Until(120_000, 100), 50).tolist() == [False] * 4
    assert silent_rows(POLICY, rows, Until(120_001, 100), 50).tolist() == [True, True, False, False]
    assert silent_rows(replace(POLICY, silence_intervals=0.0), rows, Until(10**9, 100), 50).tolist() == [False] * 4
    rows["pause_ms"] = [0, 30_000, 0, 0]
    assert silent_rows(POLICY, rows, Until(145_000, 100), 50).tolist() == [True, False, False, False]
    assert silent_rows(POLICY, rows, Until(145_001, 100), 50).tolist() == [True, True, False, False]
    assert quiet_until_ms(POLICY, rows, 50, np.array([False, True, True, True])) == 145_000
    assert silent_rows(replace(POLICY, silence_pauses=0.0), rows, Until(120_001, 100), 50).tolist() == [
        True,
        True,
        False,
        False,
    ]


def test_a_pause_within_the_patience_is_usual_at_once() -> None:
    rows = one()
    away(rows, 18_000)
    assert (rows["pause_ms"].tolist(), patience(rows)) == ([18_000], 27_000)
    away(rows, 1000, 2000)
    assert patience(rows) == 27_000


def test_a_pause_that_is_told_teaches_nothing_until_there_is_a_second_one() -> None:
    rows = one()
    away(rows, HOUR_MS, 1000, 1000)
    assert patience(rows) == 20_000
    away(rows, 600_000)
    assert patience(rows) == 900_000  # by the shorter of the two
    away(rows, 2 * HOUR_MS)
    assert patience(rows) == 1.5 * HOUR_MS  # by the shorter of the two longest


def test_a_new_day_changes_nothing_of_where_a_stream_was_heard() -> None:
    rows = one(interval_ms=DAY_MS)
    rows["heard_offset"], rows["interval_records"] = 1_000_000, 100.0
    away(rows, 3 * DAY_MS)
    assert rows["heard_offset"][0] == 1_000_100
    assert rows["interval_records"][0] == pytest.approx(100.0)


@pytest.mark.parametrize("steps_a_day", [1, 4, 144])
def test_pauses_fade_with_the_days_whatever_the_samples(steps_a_day: int) -> None:
    rows = one(interval_ms=DAY_MS)
    rows["pause_ms"], rows["pause_once_ms"] = 10 * DAY_MS, 20 * DAY_MS
    away(rows, *[DAY_MS // steps_a_day] * (FADING_DAYS * steps_a_day))
    assert rows["pause_ms"][0] == pytest.approx(5 * DAY_MS, rel=1e-5)
    assert rows["pause_once_ms"][0] == pytest.approx(10 * DAY_MS, rel=1e-5)


def test_what_a_window_of_maintenance_covers_is_no_pause() -> None:
    calendar = Calendar((Once(MORNING_MS, MORNING_MS + HOUR_MS),))
    rows = one()
    away(rows, 2 * HOUR_MS, calendar=calendar)  # its patience would have ended in the window
    assert (rows["pause_ms"][0], rows["pause_once_ms"][0]) == (0, 0)
    away(rows, HOUR_MS, calendar=calendar)
    assert (rows["pause_ms"][0], rows["pause_once_ms"][0]) == (0, HOUR_MS)
    learn(POLICY, rows, later(rows, 2 * HOUR_MS), calendar, np.array([True]))
    assert patience(rows) == 20_000


def test_before_an_interval_is_known_nothing_is_a_pause() -> None:
    rows = np.zeros(1, DTYPE)
    learn(POLICY, rows, Until(np.array([START_MS]), np.array([7])))
    learn(POLICY, rows, later(rows, HOUR_MS))
    assert (rows["pause_ms"][0], rows["pause_once_ms"][0], rows["seen_ms"][0]) == (0, 0, START_MS + HOUR_MS)


def test_nobody_is_silent_while_the_partition_stands_still_nor_is_that_a_pause() -> None:
    rows = one()
    rows["interval_records"], rows["heard_offset"] = 10, OFFSETS - 5  # of which only the lower half is kept
    at_ms, offset = MORNING_MS + HOUR_MS, OFFSETS - 5
    assert silent_rows(POLICY, rows, Until(at_ms, offset + 30), 50).tolist() == [False]
    assert silent_rows(POLICY, rows, Until(at_ms, offset + 31), 50).tolist() == [True]
    learn(POLICY, rows, later(rows, HOUR_MS, 30))
    learn(POLICY, rows, later(rows, HOUR_MS, 30))
    assert (rows["pause_ms"][0], rows["pause_once_ms"][0], patience(rows)) == (0, 0, 20_000)


# through the step

SILENCES = settings_of(alert=POLICY, warmup_samples=20, threshold=StaticThreshold(50.0))
BY_INTERVALS = replace(SILENCES, alert=replace(POLICY, silence_pauses=0.0))


def bursts(count: int, stream: str = "b", pause: int = 60) -> list[Sent]:
    """Return bursts of five samples, a pause of so many intervals after each."""
    times = [burst * (pause + 4) + at for burst in range(count) for at in range(5)]
    values = wave(len(times))[:, 0]
    return [Sent(0, stream, START_MS + at * INTERVAL_MS, (float(v),)) for at, v in zip(times, values, strict=True)]


def silences(feed: Feed) -> list[tuple[str, str, int]]:
    told = sorted(feed.events, key=lambda event: event.detected_at_ms)
    return [(each.stream, each.change, (each.detected_at_ms - START_MS) // INTERVAL_MS) for each in told]


def test_a_stream_of_bursts_is_missed_when_it_stays_away_for_longer_than_it_usually_does() -> None:
    sent = cut(together(series(wave(12 * 64), "a"), bursts(10)), range(50, 700, 90))
    assert len([each for each in silences(Feed(BY_INTERVALS).polls(sent)) if each[1] == "open"]) == 7
    found = Feed(SILENCES).polls(sent)
    assert silences(found) == [("b", "open", 9 * 64 + 4 + 90)]  # one and a half of its pauses
    assert found.events[0].threshold["patience_seconds"] == 90 * INTERVAL_MS / 1000


def test_a_halt_of_the_whole_partition_is_nobody_s_silence() -> None:
    halted = [series(wave(400), name) for name in "abcd"]
    for each in halted:
        del each[200:300]
    halted[3] = halted[3][:200]  # it does not come back
    sent = sorted([one for each in halted for one in each], key=lambda one: (one.time_ms, one.stream))
    for cuts in ([], [798, 801], range(1, len(sent), 7)):
        assert silences(Feed(SILENCES).polls(cut(sent, cuts))) == [("d", "open", 219)]


def test_one_outage_does_not_delay_the_next_alert_but_a_second_does() -> None:
    lively, ill = series(wave(700), "a"), series(wave(700), "b")
    del ill[500:540], ill[300:340], ill[100:150]
    assert silences(Feed(SILENCES).polls([together(lively, ill)])) == [
        ("b", "open", 119),
        ("b", "close", 150),
        ("b", "open", 319),
        ("b", "close", 340),
    ]


@settings(max_examples=6, deadline=None)
@given(
    st.lists(st.sampled_from([1, 2, 12, 50]), min_size=15, max_size=30),
    st.lists(st.tuples(st.integers(0, 300), st.integers(1, 90)), max_size=2),
    st.lists(st.integers(0, 200), max_size=8),
)
def test_how_polls_cut_the_input_changes_no_silence_and_no_row(
    gaps: Sequence[int], windows: Sequence[tuple[int, int]], places: Sequence[int]
) -> None:
    times = np.cumsum(gaps)
    uneven = [Sent(0, "u", START_MS + int(at) * INTERVAL_MS, (float(at % 7),)) for at in times]
    sent = together(series(wave(int(times[-1])), "a")[::5], uneven, bursts(6, pause=30))
    spans = [Once(START_MS + at * INTERVAL_MS, START_MS + (at + length) * INTERVAL_MS) for at, length in windows]
    like = replace(SILENCES, alert=replace(POLICY, silence_intervals=6.0), warmup_samples=5)
    found = []
    for cuts in ([], sorted(places), range(1, len(sent), 11)):
        feed = Feed(like)
        feed.group = replace(feed.group, calendar=Calendar(tuple(spans)))
        feed.polls(cut(sent, [min(each, len(sent)) for each in cuts]))
        found.append((feed.told(), [fields(feed.row(stream)) for stream in ("a", "b", "u")]))
    np.testing.assert_equal(found[1], found[0])
    np.testing.assert_equal(found[2], found[0])


@pytest.mark.parametrize(("habit", "told"), [(hourly, 84), (nightly, 3)])
def test_habits_that_intervals_call_silent_are_told_no_more_once_they_are_known(habit: Draw, told: int) -> None:
    plain, learnt = (watched(habit, policy, 1, 1) for policy in POLICIES.values())
    assert plain.false[0] > told
    assert learnt.false[0] <= 2


def test_four_numbers_a_stream_are_all_it_takes() -> None:
    assert sum(np.dtype(kind).itemsize for _, kind, _ in FIELDS) == 16
