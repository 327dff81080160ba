"""The step is pure, and what it says does not depend on how polls cut the streams."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from daemon.alert_events import AlertEvent, alert_id
from daemon.engine import step
from detectors import threshold
from detectors.network import Network
from detectors.settings import AlertSettings, BudgetThreshold, DetectorSettings, Guard, StaticThreshold
from tests.conformance.feed import (
    INTERVAL_MS,
    START_MS,
    Feed,
    Sent,
    cut,
    drawn,
    fields,
    fields_of_its_own,
    series,
    settings_of,
    together,
    wave,
)

LIVELY = AlertSettings(
    hold_off_samples=6, close_after_samples=2, accept_after_samples=12, silence_intervals=4.0, open_after_samples=2
)
BASELINE = settings_of(alert=LIVELY, warmup_samples=20, threshold=StaticThreshold(1.0))
NETWORK = drawn(BASELINE)
F4 = NDArray[np.float32]


def eventful(seed: int, samples: int = 70) -> list[Sent]:
    """Return streams of three partitions with jumps, silences, late and repeated samples, in random time order."""
    rng = np.random.default_rng(seed)
    streams = []
    for number in range(5):
        values = wave(samples, seed=number)[:, 0]
        at = int(rng.integers(25, samples))
        values[at : at + int(rng.integers(1, 25))] += rng.choice([-30.0, 8.0, 50.0])
        sent = series(values, f"s{number}", number % 3, START_MS + int(rng.integers(0, INTERVAL_MS)))
        quiet = int(rng.integers(20, samples))
        del sent[quiet : quiet + int(rng.integers(0, 12))]
        streams.append(sent)
    sent = together(*streams)
    for _ in range(8):  # some come again, some late
        place, later = sorted(rng.integers(0, len(sent), 2))
        sent.insert(int(later), sent[int(place)])
        sent.insert(int(place), sent[int(place)])
    return sent


def outcome(feed: Feed) -> tuple[dict[tuple[int, int], float], list[AlertEvent], dict[str, int]]:
    events = sorted(feed.events, key=lambda event: (event.detected_at_ms, event.alert_id, event.change))
    return feed.scores, events, dict(feed.dropped)


@pytest.mark.parametrize("network", [None, NETWORK], ids=["baseline", "network"])
def test_a_step_changes_no_row_until_its_deltas_are_applied(network: object) -> None:
    feed = Feed(BASELINE, NETWORK if network else None)
    sent = eventful(1)
    feed.poll(sent[:200])
    parts = feed.parts(sent[200:])
    before = feed.image()
    step([(feed.group, parts)])
    assert feed.image() == before


@pytest.mark.parametrize("network", [None, NETWORK], ids=["baseline", "network"])
def test_a_step_done_twice_gives_the_same(network: object) -> None:
    feed = Feed(BASELINE, NETWORK if network else None)
    sent = eventful(2)
    feed.poll(sent[:200])
    batch = [(feed.group, feed.parts(sent[200:]))]
    one, other = step(batch), step(batch)
    assert one.alerts == other.alerts
    assert one.dropped == other.dropped
    assert [s.score.tobytes() for s in one.scores] == [s.score.tobytes() for s in other.scores]
    for (_, left), (_, right) in zip(one.deltas, other.deltas, strict=True):
        np.testing.assert_equal(fields(left.rows), fields(right.rows))


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 10_000), trained=st.booleans(), warmup=st.sampled_from([0, 1, 20]), data=st.data())
def test_how_polls_cut_the_streams_changes_nothing(seed: int, trained: bool, warmup: int, data: st.DataObject) -> None:
    sent = eventful(seed, 50)
    group, network = replace(BASELINE, warmup_samples=warmup), NETWORK if trained else None
    whole = Feed(group, network).polls([sent])
    places = data.draw(st.lists(st.integers(0, len(sent)), max_size=12))
    pieces = Feed(group, network).polls(cut(sent, places))
    np.testing.assert_equal(outcome(pieces), outcome(whole))  # to the last bit


def test_a_sample_a_poll_says_the_same_as_all_in_one() -> None:
    sent = eventful(3, 120)
    whole, single = Feed(BASELINE).polls([sent]), Feed(BASELINE).polls(cut(sent, range(1, len(sent))))
    np.testing.assert_equal(outcome(single), outcome(whole))
    rules = {(event.rule, event.change) for event in whole.events}
    assert rules >= {("anomaly", "open"), ("anomaly", "close"), ("silence", "open"), ("silence", "close")}
    assert whole.dropped["late"] > 0
    assert whole.dropped["duplicate"] > 0


def test_an_empty_batch_causes_nothing() -> None:
    nothing = step([])
    assert (nothing.alerts, nothing.scores, nothing.deltas) == ([], [], [])
    feed = Feed(BASELINE).polls([series(wave(30))])
    before = feed.image()
    (part,) = feed.parts([Sent(0, "s", START_MS, (1.0,))])
    none = replace(part.samples, **{name: getattr(part.samples, name)[:0] for name in part.samples.__slots__})
    caused = step([(feed.group, [replace(part, samples=none)])])
    for slab, delta in caused.deltas:
        slab.apply(delta)
    assert feed.image() == before
    assert caused.alerts == []


@pytest.mark.parametrize("network", [None, NETWORK], ids=["baseline", "network"])
def test_a_streams_first_sample_may_be_of_the_time_0_and_the_second_one_not(network: Network | None) -> None:
    sent = [Sent(0, "s", 0, (1.0,)), Sent(0, "s", 0, (2.0,)), Sent(0, "s", 10_000, (3.0,))]
    for polls in ([sent], [[each] for each in sent]):
        feed = Feed(BASELINE, network).polls(polls)
        assert (dict(feed.dropped), feed.row()["samples"].tolist()) == ({"duplicate": 1}, [2.0])


@pytest.mark.parametrize("network", [None, NETWORK], ids=["baseline", "network"])
def test_a_sample_without_any_value_is_counted_and_is_none(network: Network | None) -> None:
    sent = series(wave(50))
    empty = [each._replace(time_ms=each.time_ms + 1, values=(math.nan,)) for each in sent[20:30]]
    plain, mixed = Feed(BASELINE, network).polls([sent]), Feed(BASELINE, network).polls([together(sent, empty)])
    assert dict(mixed.dropped) == {"missing": 10}
    np.testing.assert_equal(fields_of_its_own(mixed.row()), fields_of_its_own(plain.row()))
    assert mixed.told() == plain.told()
    assert [mixed.by_time["s", each.time_ms] for each in sent[25:]] == [
        plain.by_time["s", each.time_ms] for each in sent[25:]
    ]


# silence


def beats(stream: str, count: int, partition: int = 0) -> list[Sent]:
    return series(wave(count)[:, 0], stream, partition)


SILENT = settings_of(
    alert=AlertSettings(silence_intervals=5.0), warmup_samples=10, threshold=StaticThreshold(50.0)
)  # silences only


def test_a_stream_that_falls_silent_is_told_once_and_told_again_when_it_returns() -> None:
    lively, quiet = beats("a", 60), beats("b", 60)
    quiet = quiet[:30] + quiet[50:]
    feed = Feed(SILENT).polls(cut(together(lively, quiet), range(3, 80, 7)))
    silences = [event for event in feed.events if event.rule == "silence"]
    assert [(e.stream, e.change, e.reason) for e in silences] == [("b", "open", "silence"), ("b", "close", "returned")]
    opened, closed = silences
    assert opened.alert_id == closed.alert_id
    assert opened.started_at_ms == closed.started_at_ms == quiet[29].time_ms
    assert opened.detected_at_ms == pytest.approx(quiet[29].time_ms + 5 * INTERVAL_MS, abs=INTERVAL_MS / 10)
    assert closed.detected_at_ms == closed.ended_at_ms == quiet[30].time_ms
    assert opened.source.last_offset is None
    assert closed.source.last_offset is not None


@pytest.mark.parametrize(
    ("lively_partition", "quiet_after", "intervals", "silences"),
    [
        (0, 30, 5.0, 1),
        (1, 30, 5.0, 0),  # another partition's clock says nothing about this one
        (0, 5, 5.0, 0),  # still warming up: its usual interval is not known well enough
        (0, 30, 0.0, 0),  # switched off
        (0, 30, 40.0, 0),  # more patient than the silence is long
    ],
)
def test_silence_is_judged_by_the_partitions_own_clock(
    lively_partition: int, quiet_after: int, intervals: float, silences: int
) -> None:
    group = replace(SILENT, alert=AlertSettings(silence_intervals=intervals))
    feed = Feed(group)
    for sent in together(beats("a", 60, lively_partition), beats("b", quiet_after)):
        feed.poll([sent])
    assert len([event for event in feed.events if event.rule == "silence"]) == silences


@given(st.lists(st.integers(1, 160), max_size=12))
@settings(max_examples=15, deadline=None)
def test_nobody_falls_silent_before_the_slab_says_that_somebody_may(cuts: list[int]) -> None:
    streams = [beats("a", 80), beats("b", 80), beats("c", 30)]
    del streams[1][40:60]
    feed = Feed(SILENT)
    for poll in cut(together(*streams), cuts):
        if not poll:
            continue
        before = feed.slabs[0].quiet_until_ms if feed.slabs else -1
        told = [event for event in feed.poll(poll).alerts if event.rule == "silence" and event.change == "open"]
        taken = {sent.stream for sent in poll}
        assert not [event for event in told if event.stream not in taken] or feed.watermarks[0] > before
    silences = sorted((e.stream, e.change) for e in feed.events if e.rule == "silence")
    assert silences == [("b", "close"), ("b", "open"), ("c", "open")]


def test_a_partition_whose_streams_all_fall_silent_raises_nothing() -> None:
    feed = Feed(SILENT).polls([together(beats("a", 40), beats("b", 40))])
    assert not feed.events


def test_a_stream_whose_clock_runs_behind_is_not_silent() -> None:
    behind = [sent._replace(time_ms=sent.time_ms - 30 * INTERVAL_MS) for sent in beats("b", 60)]
    both = [sent for pair in zip(beats("a", 60), behind, strict=True) for sent in pair]
    assert not Feed(SILENT).polls(cut(both, range(5, 100, 7))).events
    stops = Feed(SILENT).polls([both[:80], [sent for sent in both[80:] if sent.stream == "a"]])
    assert [(event.stream, event.change) for event in stops.events] == [("b", "open")]


# guards


def test_a_guard_fires_while_its_stream_is_warming_up() -> None:
    group = settings_of(guard=(("value", Guard(min=0.0, max=20.0)),))
    feed = Feed(group).polls([series(np.array([10.0, 10.1, 21.0, 10.0, 10.0, 10.0, 10.0, 10.0]))])
    assert [(e.rule, e.change, e.reason, e.source.last_offset) for e in feed.events] == [
        ("guard", "open", "guard", 2),
        ("guard", "close", "recovered", 7),
    ]
    opened = feed.events[0]
    assert opened.score is None
    assert opened.features[0].actual == 21.0
    assert opened.alert_id == alert_id("g", "s", "guard", START_MS + 2 * INTERVAL_MS)


@pytest.mark.parametrize(
    ("value", "fires"), [(0.0, False), (-0.1, True), (20.0, False), (20.1, True), (math.nan, False)]
)
def test_a_guard_stands_exactly_at_its_limits(value: float, fires: bool) -> None:
    group = settings_of(2, guard=(("c1", Guard(min=0.0, max=20.0)),))
    feed = Feed(group).polls([series(np.array([[100.0, value]]))])
    assert bool(feed.events) == fires


def test_a_guard_is_never_accepted_as_the_new_normal() -> None:
    alert = AlertSettings(accept_after_samples=10, close_after_samples=3)
    group = settings_of(guard=(("value", Guard(max=20.0)),), alert=alert, warmup_samples=1000)
    values = np.r_[np.full(5, 10.0), np.full(50, 25.0), np.full(5, 10.0)]
    feed = Feed(group).polls([series(values)])
    assert [(e.change, e.reason, e.source.last_offset) for e in feed.events] == [
        ("open", "guard", 5),
        ("close", "recovered", 57),
    ]


@pytest.mark.parametrize(("limit", "spent"), [(None, 1), (20.0, 0)], ids=["an anomaly", "a guard rail"])
def test_of_a_budget_an_anomaly_spends_and_a_guard_rail_does_not(limit: float | None, spent: int) -> None:
    guard = (("value", Guard(max=limit)),) if limit else ()
    values = wave(400)[:, 0]
    values[300] += 200.0
    feed = Feed(settings_of(threshold=BudgetThreshold(1e6), guard=guard)).polls([series(values)])
    assert [event.rule for event in feed.events if event.change == "open"] == ["guard" if limit else "anomaly"]
    assert float(feed.row()["limit_raised"][0]) == pytest.approx(spent * threshold.BUDGET_GAIN, abs=1e-3)


# levels


def test_a_level_that_persists_under_an_alert_is_accepted_and_quiet_from_then_on() -> None:
    alert = AlertSettings(accept_after_samples=30, hold_off_samples=10)
    values = wave(400)[:, 0]
    values[150:] += 200.0
    feed = Feed(settings_of(alert=alert)).polls([series(values)])
    reasons = [(event.change, event.reason) for event in feed.events if event.change != "update"]
    assert reasons[:2] == [("open", "threshold"), ("close", "accepted")]
    assert 150 + 30 <= (feed.events[-1].source.last_offset or 0) < 400
    assert float(feed.row()["location"][0, 0]) > 100.0
    assert max(feed.scores[0, offset] for offset in range(380, 400)) < 1.0


def test_a_counter_is_scored_by_its_rate_also_across_resets() -> None:
    rng = np.random.default_rng(5)
    steps = rng.normal(100.0, 5.0, 300)
    total = np.cumsum(steps)
    total[200:] -= total[199]  # restarted from zero
    feed = Feed(settings_of()).polls([series(total)])
    row = feed.row()
    assert float(row["counter"][0, 0]) == 1.0
    assert float(row["location"][0, 0]) == pytest.approx(100.0 / (INTERVAL_MS / 1000), rel=0.05)
    assert not [event for event in feed.events if (event.source.last_offset or 0) >= 200]


def test_a_counter_that_stalls_or_races_is_told() -> None:
    rng = np.random.default_rng(5)
    steps = rng.normal(100.0, 5.0, 300)
    steps[250:] *= 40.0
    feed = Feed(settings_of()).polls([series(np.cumsum(steps))])
    opened = [event for event in feed.events if (event.source.last_offset or 0) >= 250 and event.change == "open"]
    assert len(opened) == 1
    assert opened[0].direction == "up"
    assert opened[0].features[0].expected == pytest.approx(10.0, rel=0.2)  # a rate per second


# words


def test_the_id_of_an_alert_depends_on_no_number_with_a_fraction() -> None:
    assert alert_id("g", "s", "anomaly", 1_700_000_000_000) == alert_id("g", "s", "anomaly", 1_700_000_000_000)
    ids = {
        alert_id("g", "s", "anomaly", 1),
        alert_id("h", "s", "anomaly", 1),
        alert_id("g", "t", "anomaly", 1),
        alert_id("g", "s", "guard", 1),
        alert_id("g", "s", "anomaly", 2),
    }
    assert len(ids) == 5
    assert all(len(each) == 32 and int(each, 16) >= 0 for each in ids)


def test_an_alert_says_what_was_expected_and_which_way_it_went() -> None:
    values = wave(200, 2)
    values[190:, 1] -= 500.0
    group: DetectorSettings = settings_of(2)
    opened = next(e for e in Feed(group).polls([series(values)]).events if e.change == "open")
    still, fallen = opened.features
    assert opened.direction == "down"
    assert (still.name, fallen.name) == ("c0", "c1")
    assert fallen.share > 0.9
    assert fallen.actual == pytest.approx(values[190, 1])
    assert fallen.lower is not None
    assert fallen.upper is not None
    assert fallen.expected is not None
    assert fallen.lower < fallen.expected < fallen.upper
    assert 5.0 < fallen.expected < 15.0
    assert still.window == pytest.approx(values[187:191, 0].tolist(), abs=0.2)  # oldest first
    assert opened.source.last_offset == 190
