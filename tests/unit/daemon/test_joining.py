"""Readings become samples on a grid of event time: the same ones however polls cut the input, and after a restart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daemon.formats.point import TIME_MS_MAX
from daemon.joining import OPEN_LEARNT, Join, Several
from daemon.recipe import NAME, Recipe
from detectors.settings import AlertSettings, Guard, StaticThreshold
from tests.conformance.feed import settings_of
from tests.unit.daemon.joined import START_MS, Partition, Reading, in_pieces

CHANNELS = ("cpu", "mem", "rtt")
SETTINGS = replace(
    settings_of(
        3,
        alert=AlertSettings(silence_intervals=3.0, hold_off_samples=3, close_after_samples=2),
        guard=(("cpu", Guard(max=100.0)),),
        threshold=StaticThreshold(1.0),
        warmup_samples=3,
    ),
    channels=CHANNELS,
)
SECOND = 1000
A, B = '{host="a"}', '{host="b"}'


def recipe(interval_s: float = 10, lateness_s: float = 5, several: Several = "first") -> Recipe:
    join = Join(len(CHANNELS), int(interval_s * SECOND), int(lateness_s * SECOND), several)
    return Recipe(CHANNELS, CHANNELS, NAME, join)


def joined(*readings: tuple[str, str, float, float], made: Recipe | None = None) -> Partition:
    found = [Reading(stream, channel, int(at * SECOND), value) for stream, channel, at, value in readings]
    return in_pieces(Partition(made or recipe(), SETTINGS), found)


def samples(found: Partition, stream: str = A) -> list[tuple[float, tuple[float | None, ...]]]:
    return [(time_ms / SECOND, values) for time_ms, _, _, values in found.samples.get(stream, [])]


def test_a_sample_is_complete_as_soon_as_every_channel_has_a_reading() -> None:
    found = joined(("a", "cpu", 1, 1.0), ("a", "rtt", 3, 3.0), ("a", "mem", 9.5, 2.0))
    assert samples(found) == [(0.0, (1.0, 2.0, 3.0))]
    assert found.samples[A][0][1] == 2  # the offset of its last reading
    assert (found.counted["complete"], found.counted["incomplete"]) == (1, 0)


def test_a_later_reading_of_its_stream_closes_a_sample_once_the_lateness_has_passed() -> None:
    early = [("a", "cpu", 1.0, 1.0), ("a", "cpu", 14.999, 1.5)]
    assert samples(joined(*early)) == []
    found = joined(*early, ("a", "mem", 15, 2.0))
    assert samples(found) == [(0.0, (1.0, None, None))]
    assert found.counted == {"complete": 0, "incomplete": 1, "mem missing": 1, "rtt missing": 1}


def test_a_reading_within_the_lateness_still_finds_its_sample() -> None:
    found = joined(("a", "cpu", 1, 1.0), ("a", "mem", 2, 2.0), ("a", "cpu", 12, 1.5), ("a", "rtt", 8, 3.0))
    assert samples(found) == [(0.0, (1.0, 2.0, 3.0))]


def test_a_reading_of_a_closed_sample_is_late_and_changes_nothing() -> None:
    found = joined(("a", "cpu", 1, 1.0), ("a", "cpu", 16, 1.5), ("a", "mem", 2, 2.0), ("a", "mem", 17, 2.5))
    assert samples(found) == [(0.0, (1.0, None, None))]
    assert found.counted["late"] == 1


def test_a_complete_sample_waits_for_the_one_before_it() -> None:
    first = [("a", "cpu", 1.0, 1.0)]
    second = [("a", name, 12.0, value) for name, value in zip(CHANNELS, (4.0, 5.0, 6.0), strict=True)]
    assert samples(joined(*first, *second)) == []
    found = joined(*first, *second, ("a", "cpu", 15.5, 0.0))
    assert samples(found) == [(0.0, (1.0, None, None)), (10.0, (4.0, 5.0, 6.0))]


def test_the_watermark_closes_the_samples_of_a_stream_that_sends_nothing_more() -> None:
    began = ("a", "cpu", 1.0, 1.0)
    assert samples(joined(began, ("b", "cpu", 15.999, 1.0))) == []
    assert samples(joined(began, ("b", "cpu", 16.0, 1.0))) == [(0.0, (1.0, None, None))]


def test_a_stream_whose_clock_is_behind_the_others_loses_nothing() -> None:
    ahead = ("b", "cpu", 200.0, 1.0)
    found = joined(ahead, ("a", "cpu", 1, 1.0), ("a", "mem", 2, 2.0), ("b", "cpu", 206.0, 1.0), ("a", "rtt", 3, 3.0))
    assert samples(found) == [(0.0, (1.0, 2.0, 3.0))]


@pytest.mark.parametrize(
    ("several", "value"), [("first", 1.0), ("last", 3.0), ("mean", 3.0), ("sum", 9.0), ("min", 1.0), ("max", 5.0)]
)
def test_of_several_readings_of_a_channel_the_choice_says_what_counts(several: Several, value: float) -> None:
    readings = [("a", "cpu", at, value) for at, value in ((1.0, 1.0), (2.0, 5.0), (3.0, 3.0))]
    found = joined(*readings, ("a", "cpu", 20, 0.0), made=recipe(several=several))
    assert samples(found) == [(0.0, (value, None, None))]
    assert found.counted["duplicate"] == (2 if several == "first" else 0)


def test_a_sample_that_later_readings_may_change_is_not_closed_early() -> None:
    readings = [("a", name, 1.0, 1.0) for name in CHANNELS]
    found = joined(*readings, ("a", "cpu", 2, 3.0), ("a", "cpu", 15, 0.0), made=recipe(several="mean"))
    assert samples(found) == [(0.0, (2.0, 1.0, 1.0))]


def test_the_interval_is_learnt_from_the_channel_that_comes_most_often() -> None:
    readings = [("a", "cpu", 15 * i + 0.02 * (i % 2), float(i)) for i in range(12)]
    readings += [("a", "mem", 60.0 * i + 1, 0.0) for i in range(3)]
    found = joined(*sorted(readings, key=lambda one: one[2]), made=recipe(interval_s=0))
    times = [time for time, _ in samples(found)]
    assert times == [75.0, 90.0, 105.0, 120.0, 135.0]
    assert found.counted["unmeasured"] == 5 + 2
    assert found.rows()[A]["join_interval_ms"] == 15 * SECOND


def test_an_unlearnt_interval_is_given_no_more_open_samples_than_there_is_room_for() -> None:
    readings = [("a", "cpu", float(i), float(i)) for i in range(40)]
    found = joined(*readings, made=recipe(interval_s=0, lateness_s=3600))
    assert samples(found)[-1][0] == 39 - OPEN_LEARNT


def test_another_interval_begins_anew_and_repeats_no_time() -> None:
    made = Partition(recipe(10), SETTINGS)
    in_pieces(made, [Reading("a", "cpu", at * SECOND, 1.0) for at in (1, 16, 31)])
    other = Partition(recipe(12, 3), SETTINGS)
    assert recipe(12, 3).fields() == recipe(10).fields()
    other.state = made.state
    in_pieces(other, [Reading("a", "cpu", at * SECOND, 2.0) for at in (33, 40, 55, 70)])
    assert [time for time, _ in samples(other)] == [24.0, 36.0, 48.0]


def test_what_tells_the_channels_may_be_a_label_or_the_field() -> None:
    by_label = replace(recipe(), told_by="kind")
    assert by_label.names("m", {"kind": "mem"}, ["value"]) == ("\x00", "value", "\x00")
    assert by_label.names("m", {"kind": "disk"}, ["value"]) is None
    assert by_label.stream("m", {"kind": "mem", "host": "a"}) == ("", {"host": "a"})
    by_field = replace(recipe(), told_by="field")
    assert by_field.names("m", {}, ["rtt", "cpu", "other"]) == ("cpu", "\x00", "rtt")
    by_name = Recipe(("up", "rtt_count"), ("up", "rtt_count"), NAME, Join(2, 1000))
    assert by_name.names("rtt", {}, ["mean", "count"]) == ("\x00", "count")


def test_the_alert_of_a_joined_stream_names_the_channels_it_did_not_have() -> None:
    found = joined(("a", "cpu", 1, 500.0), ("a", "rtt", 2, 1.0), ("a", "cpu", 16, 1.0))
    (opened,) = found.events
    assert (opened.rule, opened.stream, opened.detected_at_ms) == ("guard", A, START_MS)
    assert opened.features_missing == ["mem"]
    assert opened.quality == pytest.approx(2 / 3)
    assert [each.imputed for each in opened.features] == [False, True, False]


@st.composite
def inputs(draw: st.DrawFn) -> list[Reading]:
    """Return readings of a few streams whose times mostly rise, with late, repeated, early and missing ones."""
    count = draw(st.integers(5, 60))
    at, found = 0, []
    for number in range(count):
        at += draw(st.sampled_from([0, 300, 1000, 4000, 9000, 15_000, 40_000]))
        stream = draw(st.sampled_from("aaabc"))
        channel = draw(st.sampled_from(CHANNELS))
        late = draw(st.sampled_from([0, 0, 0, 2000, 7000, 30_000]))
        value = 500.0 if number % 13 == 7 else float(draw(st.integers(0, 9)))
        found.append(Reading(stream, channel, max(at - late, 1), value))
    return found


@given(
    inputs(),
    st.lists(st.integers(1, 59), max_size=8),
    st.lists(st.integers(1, 59), max_size=3),
    st.sampled_from([recipe(), recipe(10, 0), recipe(7, 30), recipe(0, 12), recipe(10, 12, "mean")]),
    st.sampled_from([0, 60_000]),
)
@settings(max_examples=50, deadline=None)
def test_nothing_depends_on_how_polls_cut_the_input_or_on_a_death_in_between(
    readings: list[Reading], cuts: Sequence[int], deaths: Sequence[int], made: Recipe, evict_after_ms: int
) -> None:
    room = 2 if evict_after_ms else 100
    whole = in_pieces(Partition(made, SETTINGS, room, evict_after_ms), readings)
    pieces = in_pieces(Partition(made, SETTINGS, room, evict_after_ms), readings, cuts, deaths)
    assert {name: sorted(each) for name, each in pieces.samples.items()} == {
        name: sorted(each)
        for name, each in whole.samples.items()  # a name may have had two streams, one after another
    }
    assert pieces.told() == whole.told()
    assert pieces.refused == whole.refused
    assert +pieces.counted == +whole.counted
    np.testing.assert_equal(pieces.scores, whole.scores)
    np.testing.assert_equal(pieces.rows(), whole.rows())


@given(
    st.lists(
        st.tuples(st.sampled_from(CHANNELS), st.integers(0, TIME_MS_MAX - 1), st.floats(allow_nan=False, width=64)),
        min_size=1,
        max_size=30,
    ),
    st.sampled_from(["first", "last", "mean", "sum", "min", "max"]),
    st.sampled_from([0.0, 0.001, 10.0, 366 * 86400.0]),
)
@settings(max_examples=60, deadline=None)
def test_whatever_times_and_values_are_a_sample_is_of_numbers(
    sent: list[tuple[str, int, float]], several: Several, interval_s: float
) -> None:
    made = recipe(interval_s, interval_s, several)
    readings = [Reading("a", name, at - START_MS, min(max(value, -1.7e308), 1.7e308)) for name, at, value in sent]
    found = in_pieces(Partition(made, SETTINGS), readings)
    assert all(np.isfinite(value) for *_, values in found.samples.get(A, []) for value in values if value is not None)
    times = [time_ms for time_ms, *_ in found.samples.get(A, [])]
    assert times == sorted(set(times))


@given(inputs(), st.sampled_from([recipe(), recipe(7, 30), recipe(0, 12), recipe(10, 12, "sum")]))
@settings(max_examples=60, deadline=None)
def test_every_reading_is_in_a_sample_or_counted_and_times_rise(readings: list[Reading], made: Recipe) -> None:
    found = in_pieces(Partition(made, SETTINGS), readings)
    for stream in found.samples:
        times = [time for time, _ in samples(found, stream)]
        assert times == sorted(set(times))
    kept = sum(value is not None for each in found.samples.values() for *_, values in each for value in values)
    waiting = sum(int(row["join_count"].sum()) for row in found.rows().values())
    dropped = sum(found.counted[reason] for reason in ("late", "duplicate", "unmeasured"))
    if made.join is not None and made.join.several == "first":
        assert kept + waiting + dropped == len(readings)
    assert not [reason for reason in found.counted if reason.startswith("step")]
