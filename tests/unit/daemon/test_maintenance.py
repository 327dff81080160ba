"""Windows of maintenance lie where the wall clock says, whatever is asked together."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta, tzinfo
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daemon.maintenance import BLOCK_MS, DAY_MINUTES, FOR_EVER_MS, NO_WINDOWS, Calendar, Once, Recurring

BERLIN = ZoneInfo("Europe/Berlin")
SATURDAY_BACKUP = Recurring(times=((120, 240),), weekdays=frozenset({5}), zone=BERLIN)
MINUTE_MS = 60_000
ZONES: Sequence[tzinfo] = (
    UTC,
    BERLIN,
    ZoneInfo("America/St_Johns"),
    ZoneInfo("Asia/Kathmandu"),
    ZoneInfo("Pacific/Kiritimati"),
)


def at(text: str) -> int:
    return round(datetime.fromisoformat(text).timestamp() * 1000)


def covers(calendar: Calendar, text: str) -> bool:
    return bool(calendar.covers(np.array([at(text)]))[0])


def patience_ends(calendar: Calendar, seen: str, minutes: float) -> int:
    patience_ms = np.array([int(minutes * MINUTE_MS)])
    return int(calendar.patience_ends_ms(np.array([at(seen)]), patience_ms)[0])


def by_the_wall_clock(window: Recurring, time_ms: int) -> bool:
    """Say whether a window holds, as Alertmanager does: by what the clock on the wall shows then."""
    wall = datetime.fromtimestamp(time_ms / 1000, window.zone)
    minute = wall.hour * 60 + wall.minute
    for begin, end in window.times:
        for day, shown in ((wall, minute), (wall - timedelta(days=1), minute + DAY_MINUTES)):
            last = end if end > begin else end + DAY_MINUTES
            weekday = not window.weekdays or day.weekday() in window.weekdays
            if begin <= shown < last and weekday and (not window.months or day.month in window.months):
                return True
    return False


def clock_changes(zone: tzinfo, time_ms: int) -> bool:
    """Say whether the zone's clocks are changed within two days."""
    around = [datetime.fromtimestamp(time_ms / 1000 + day * 86_400, zone).utcoffset() for day in (-2, -1, 0, 1, 2)]
    return len(set(around)) > 1


MINUTES = st.integers(0, DAY_MINUTES - 1)
TIMES = st.lists(st.tuples(MINUTES, MINUTES).filter(lambda pair: pair[0] != pair[1]), min_size=1, max_size=2)
WINDOWS = st.builds(
    lambda times, weekdays, months, zone: Recurring(tuple(times), frozenset(weekdays), (), frozenset(months), zone),
    TIMES,
    st.sets(st.integers(0, 6), max_size=3),
    st.sets(st.integers(1, 12), max_size=6),
    st.sampled_from(ZONES),
)
MOMENTS = st.lists(st.integers(at("1999-01-01T00:00:00Z"), at("2037-01-01T00:00:00Z")), min_size=1, max_size=30)


@given(WINDOWS, MOMENTS)
@settings(max_examples=80, deadline=None)
def test_a_window_holds_when_the_clock_on_the_wall_says_so(window: Recurring, times_ms: list[int]) -> None:
    found = Calendar((window,)).covers(np.array(times_ms)).tolist()
    for time_ms, held in zip(times_ms, found, strict=True):
        expected = by_the_wall_clock(window, time_ms)
        assert held == expected or (held and clock_changes(window.zone, time_ms))


@given(st.lists(WINDOWS, min_size=1, max_size=3), MOMENTS)
@settings(max_examples=40, deadline=None)
def test_what_is_asked_together_changes_no_answer_and_windows_add_up(
    windows: list[Recurring], times_ms: list[int]
) -> None:
    calendar = Calendar(tuple(windows))
    together = calendar.covers(np.array(times_ms)).tolist()
    assert together == [bool(calendar.covers(np.array([each]))[0]) for each in times_ms]
    assert together == [any(Calendar((one,)).covers(np.array([each]))[0] for one in windows) for each in times_ms]


@given(st.lists(WINDOWS, min_size=1, max_size=3), MOMENTS, st.integers(1, 3 * 86_400_000))
@settings(max_examples=40, deadline=None)
def test_patience_ends_in_no_window_and_never_early(
    windows: list[Recurring], times_ms: list[int], patience_ms: int
) -> None:
    calendar, seen = Calendar(tuple(windows)), np.array(times_ms)
    ends = calendar.patience_ends_ms(seen, np.full(len(seen), patience_ms))
    assert (ends >= seen + patience_ms).all()
    assert not calendar.covers(ends[ends < FOR_EVER_MS]).any()


@pytest.mark.parametrize(
    ("text", "held"),
    [
        ("2026-03-14T01:59:59.999+01:00", False),  # a Saturday
        ("2026-03-14T02:00:00+01:00", True),
        ("2026-03-14T03:59:59.999+01:00", True),
        ("2026-03-14T04:00:00+01:00", False),
        ("2026-03-14T02:00:00Z", True),
        ("2026-07-18T02:00:00+02:00", True),  # summer: the wall clock counts
        ("2026-07-18T02:00:00Z", False),
        ("2026-03-15T02:30:00+01:00", False),
    ],
)
def test_saturday_from_two_to_four(text: str, held: bool) -> None:
    assert covers(Calendar((SATURDAY_BACKUP,)), text) is held


def test_a_window_across_midnight_belongs_to_the_day_on_which_it_begins() -> None:
    friday_night = Calendar((Recurring(times=((22 * 60, 6 * 60),), weekdays=frozenset({4})),))
    assert covers(friday_night, "2026-03-13T22:00:00Z")
    assert covers(friday_night, "2026-03-14T05:59:00Z")
    assert not covers(friday_night, "2026-03-14T06:00:00Z")
    assert not covers(friday_night, "2026-03-13T05:00:00Z")
    assert not covers(friday_night, "2026-03-14T22:30:00Z")


def test_days_of_the_month_count_from_both_ends() -> None:
    patch_day = Calendar((Recurring(weekdays=frozenset({1}), days_of_month=((8, 14),)),))  # the second Tuesday
    days = [f"2026-03-{day:02}T12:00:00Z" for day in range(1, 32)]
    assert [day for day in days if covers(patch_day, day)] == ["2026-03-10T12:00:00Z"]
    last = Calendar((Recurring(days_of_month=((-2, -1),)),))
    assert [day for day in days if covers(last, day)] == ["2026-03-30T12:00:00Z", "2026-03-31T12:00:00Z"]
    assert covers(last, "2024-02-29T00:00:00Z")
    assert not covers(last, "2024-02-27T23:59:00Z")


def test_where_clocks_are_put_back_the_hour_that_comes_twice_is_covered_twice() -> None:
    nightly = Calendar((Recurring(times=((150, 180),), zone=BERLIN),))  # 02:30 to 03:00
    assert covers(nightly, "2026-10-25T02:30:00+02:00")
    assert covers(nightly, "2026-10-25T02:45:00+01:00")
    assert not covers(nightly, "2026-10-25T03:00:00+01:00")


def test_where_clocks_are_put_forward_a_window_of_the_missing_hour_still_comes() -> None:
    nightly = Calendar((Recurring(times=((120, 180),), zone=BERLIN),))  # 02:00 to 03:00
    minutes = np.arange(at("2026-03-29T00:00:00Z"), at("2026-03-29T03:00:00Z"), MINUTE_MS)
    assert int(nightly.covers(minutes).sum()) == 60


def test_a_window_that_comes_once_holds_from_its_first_moment_to_before_its_last() -> None:
    release = Once(at("2026-03-01T20:00:00Z"), at("2026-05-01T22:00:00Z"))
    calendar = Calendar((release,))
    times_ms = np.array([release.begin_ms - 1, release.begin_ms, release.begin_ms + BLOCK_MS, release.end_ms - 1])
    assert calendar.covers(times_ms).tolist() == [False, True, True, True]
    assert not covers(calendar, "2026-05-01T22:00:00Z")
    assert patience_ends(calendar, "2026-03-01T19:59:00Z", 5) == release.end_ms + 5 * MINUTE_MS


def test_patience_begins_anew_at_the_end_of_the_window_in_which_it_ended() -> None:
    calendar = Calendar((SATURDAY_BACKUP,))
    assert patience_ends(calendar, "2026-03-14T01:00:00+01:00", 30) == at("2026-03-14T01:30:00+01:00")
    assert patience_ends(calendar, "2026-03-14T01:50:00+01:00", 30) == at("2026-03-14T04:30:00+01:00")
    assert patience_ends(calendar, "2026-03-14T03:50:00+01:00", 30) == at("2026-03-14T04:20:00+01:00")
    assert patience_ends(NO_WINDOWS, "2026-03-14T01:50:00+01:00", 30) == at("2026-03-14T02:20:00+01:00")


def test_patience_has_no_end_where_windows_never_leave_a_gap() -> None:
    always = Calendar((Recurring(),))
    assert patience_ends(always, "2026-03-14T01:00:00Z", 30) == FOR_EVER_MS


def test_times_that_no_calendar_can_tell_lie_in_no_window() -> None:
    extreme = np.array([-(2**62), -1, 2**62, FOR_EVER_MS])
    assert not Calendar((Recurring(), Once(0, 2**62))).covers(extreme).any()


def test_only_a_window_that_says_so_mutes_guard_rails() -> None:
    noon = np.array([at("2026-03-14T12:00:00Z")])
    loud, quiet = Once(0, 2**50), Recurring(weekdays=frozenset({5}), guards=False)
    assert not Calendar((loud,)).mutes_guards(noon)[0]
    assert Calendar((loud, quiet)).mutes_guards(noon)[0]
