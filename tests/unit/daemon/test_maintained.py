"""In a window of maintenance no alert opens and nothing is learnt, by event time alone: no cut changes anything."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daemon import covered
from daemon.alert_events import AlertEvent
from daemon.commands.backtest import backtest, group_of
from daemon.commands.train import from_files
from daemon.config import loads
from daemon.engine import SETTLING_WINDOWS
from daemon.events import StreamsCounted
from daemon.maintenance import Calendar, Once
from daemon.tables import Table
from detectors.settings import AlertSettings, DetectorSettings, Guard, StaticThreshold
from detectors.train import StreamHistory
from tests.conformance.feed import INTERVAL_MS, START_MS, Feed, Sent, cut, drawn, series, settings_of, wave
from tests.unit.daemon.test_engine import eventful
from tests.unit.test_telemetry import Watched, turn

ALERT = AlertSettings(hold_off_samples=0, close_after_samples=2, accept_after_samples=20, silence_intervals=4.0)
PLAIN = settings_of(alert=ALERT, warmup_samples=60)
FOLLOWS = ("window", "window_filled", "hidden", "cell", "forecast", "local", "repeats")
COUNTS = (
    "time_ms",
    "seen_ms",
    "pause_ms",
    "pause_once_ms",
    "heard_offset",
    "interval_records",
    "samples",
    "model_samples",
    "error_samples",
    "linear_samples",
    "interval_ms",
    "score",
    "raw_last",
    "rises",
    "falls",
    "steps",
)
ALERTS = (
    "alert_started_ms",
    "readout_gain",
    "alert_samples",
    "alert_run",
    "alert_recent",
    "alert_since",
    "alert_withheld",
    "settling",
    "alert_phase",
    "shielded",
)


def between(first: int, end: int, *, guards: bool = True) -> Once:
    """Return the window over the samples from `first` to before `end`."""
    return Once(START_MS + first * INTERVAL_MS, START_MS + end * INTERVAL_MS, guards)


def feed(*windows: Once, network: bool = False, like: DetectorSettings = PLAIN) -> Feed:
    result = Feed(like, drawn(like) if network else None)
    result.group = replace(result.group, calendar=Calendar(windows))
    return result


def spiked(first: int, end: int, count: int = 140) -> list[Sent]:
    values = wave(count)
    values[first:end] += 30.0
    return series(values)


def opened(events: Sequence[AlertEvent]) -> list[tuple[str, int]]:
    return [(each.rule, (each.detected_at_ms - START_MS) // INTERVAL_MS) for each in events if each.change == "open"]


def test_an_alert_that_would_open_in_a_window_is_withheld_and_counted_once() -> None:
    sent = spiked(100, 106)
    assert opened(feed().polls([sent]).events) == [("anomaly", 100)]
    quiet = feed(between(95, 120))
    assert quiet.poll(sent).withheld == {"g": 1}
    assert quiet.events == []
    assert np.isfinite([quiet.by_time["s", START_MS + i * INTERVAL_MS] for i in range(95, 120)]).all()
    assert quiet.by_time["s", START_MS + 100 * INTERVAL_MS] >= 1.0


def test_each_window_counts_what_it_withholds() -> None:
    values = wave(260)
    values[100:103] += 30.0
    values[180:183] += 30.0
    found = feed(between(95, 120), between(175, 200))
    withheld = [found.poll(part).withheld.get("g", 0) for part in cut(series(values), [101, 150, 181])]
    assert withheld == [1, 0, 1, 0]
    assert found.events == []


SETTLED = SETTLING_WINDOWS * PLAIN.model.window


def test_what_is_still_wrong_after_the_window_is_told_when_the_stream_has_had_time_to_settle() -> None:
    found = feed(between(95, 104)).polls([spiked(100, 130)])
    assert opened(found.events) == [("anomaly", 104 + SETTLED)]
    assert found.events[0].started_at_ms == START_MS + (104 + SETTLED) * INTERVAL_MS


def test_an_alert_that_is_open_before_the_window_closes_in_it() -> None:
    found = feed(between(101, 250)).polls([spiked(100, 106, 260)])
    assert [(each.change, each.reason) for each in found.events] == [("open", "threshold"), ("close", "recovered")]
    assert START_MS + 106 * INTERVAL_MS <= found.events[-1].detected_at_ms < START_MS + 250 * INTERVAL_MS


def test_an_open_alert_neither_worsens_in_a_window_nor_is_it_accepted() -> None:
    values = wave(170)
    values[100:160] += 12.0
    values[110:160] += 400.0
    changes = [each.reason for each in feed().polls([series(values)]).events]
    assert "worsening" in changes
    assert "accepted" in changes
    kept = feed(between(101, 140)).polls([series(values)]).events
    assert [each.reason for each in kept][:2] == ["threshold", "worsening"]
    assert kept[1].detected_at_ms == START_MS + (140 + SETTLED) * INTERVAL_MS
    accepted = [each.detected_at_ms for each in kept if each.reason == "accepted"]
    assert all(at >= START_MS + (101 + ALERT.accept_after_samples + 39) * INTERVAL_MS for at in accepted)


@pytest.mark.parametrize("network", [False, True], ids=["baseline", "network"])
@pytest.mark.parametrize("width", [1, 3])
def test_nothing_is_learnt_of_what_a_window_covers(network: bool, width: int) -> None:
    like = settings_of(width, alert=ALERT, warmup_samples=60)
    values = wave(140, width)
    values[100:127] += np.linspace(0.0, 9.0, 27)[:, None]
    values = values[:127]  # all counts are halved after the next one
    found = feed(between(100, 140), network=network, like=like).polls([series(values[:100])])
    before = found.row()
    found.poll(series(values)[100:])
    after = found.row()
    moved = {name for name in before.dtype.names or () if not np.array_equal(before[name], after[name], equal_nan=True)}
    assert moved <= {*FOLLOWS, *COUNTS, *ALERTS}
    assert {"window", "local"} <= moved
    plain = feed(network=network, like=like).polls([series(values)]).row()
    assert not np.array_equal(plain["mean"], after["mean"])
    assert not np.array_equal(plain["tail"], after["tail"])


def test_a_stream_that_is_warming_up_learns_in_a_window_and_is_ready_after_it() -> None:
    found = feed(between(0, 80)).polls([spiked(100, 103)])
    plain = feed().polls([spiked(100, 103)])
    assert found.row()["observed"][0, 0] > 0
    assert opened(found.events) == opened(plain.events) == [("anomaly", 100)]


GUARDED = replace(PLAIN, guard=(("value", Guard(max=20.0)),))


def test_a_guard_rail_holds_in_a_window_unless_the_window_mutes_it() -> None:
    sent = spiked(100, 104)
    loud = feed(between(90, 130), like=GUARDED).polls([sent])
    assert opened(loud.events) == [("guard", 100)]
    muted = feed(between(90, 130, guards=False), like=GUARDED)
    assert muted.poll(sent).withheld == {"g": 1}
    assert muted.events == []


def test_a_silence_that_would_begin_in_a_window_begins_after_it_if_it_lasts() -> None:
    others = series(wave(200, seed=3), "other")
    for returns, expected in ((150, [("silence", 134)]), (132, []), (125, [])):
        stopped = series(wave(200), "s")
        sent = sorted([*stopped[:100], *stopped[returns:], *others], key=lambda each: each.time_ms)
        found = feed(between(101, 130)).polls(cut(sent, [len(sent) // 2]))
        assert opened(found.events) == expected
    early = sorted([*series(wave(200))[:100], *others], key=lambda each: each.time_ms)
    assert opened(feed().polls([early]).events) == [("silence", 103)]


def test_a_silence_that_is_told_before_a_window_ends_in_it() -> None:
    stopped, others = series(wave(200), "s"), series(wave(200, seed=3), "other")
    sent = sorted([*stopped[:100], *stopped[120:], *others], key=lambda each: each.time_ms)
    found = feed(between(110, 150)).polls([sent])
    assert [(each.rule, each.reason) for each in found.events] == [("silence", "silence"), ("silence", "returned")]


@settings(max_examples=8, deadline=None)
@given(
    st.integers(0, 10**6),
    st.booleans(),
    st.lists(st.tuples(st.integers(0, 70), st.integers(1, 30), st.booleans()), min_size=1, max_size=3),
    st.data(),
)
def test_how_polls_cut_the_streams_changes_nothing_in_windows_either(
    seed: int, trained: bool, spans: list[tuple[int, int, bool]], data: st.DataObject
) -> None:
    sent = eventful(seed, 50)
    windows = [between(first, first + length, guards=guards) for first, length, guards in spans]
    like = replace(
        GUARDED,
        warmup_samples=20,
        threshold=StaticThreshold(1.0),
        alert=replace(ALERT, accept_after_samples=12, open_after_samples=2),
    )
    outcomes = []
    for places in ([], data.draw(st.lists(st.integers(0, len(sent)), max_size=8)), range(1, len(sent), 7)):
        found = feed(*windows, network=trained, like=like)
        withheld = sum(found.poll(each).withheld.get("g", 0) for each in cut(sent, places) if each)
        outcomes.append((found.scores, found.told(), dict(found.dropped), withheld))
    np.testing.assert_equal(outcomes[1], outcomes[0])  # to the last bit
    np.testing.assert_equal(outcomes[2], outcomes[0])
    calendar = Calendar(tuple(windows))
    at_ms = np.array(
        [at for _, rule, change, _, at in outcomes[0][1] if change == "open" and rule != "guard"], np.int64
    )
    assert not calendar.covers(at_ms).any()
    guards_ms = np.array(
        [at for _, rule, change, _, at in outcomes[0][1] if (change, rule) == ("open", "guard")], np.int64
    )
    assert not calendar.mutes_guards(guards_ms).any()


NIGHTLY = """
groups:
  - name: all
    warmup_samples: 50
    model: {hidden: 4, window: 4, bottleneck: 2}
    training: {min_samples: 300, epochs_max: 2, lanes: 4}
    maintenance:
      - times: [{start_time: 02:00, end_time: 04:00}]
"""


def night(rows: int = 330) -> Table:
    """Return a value each minute from midnight on, which stands far off from two to four."""
    times_ms = 1_772_323_200_000 + 60_000 * np.arange(rows)  # from midnight on
    values = wave(rows)
    values[(np.arange(rows) >= 120) & (np.arange(rows) < 240)] += 30.0
    return Table(("value",), [str(each) for each in times_ms], times_ms, values, None)


def test_a_backtest_keeps_the_windows_of_the_group_and_of_all_groups() -> None:
    plain = NIGHTLY.partition("    maintenance")[0]
    frozen = "    learning: frozen\n"
    everywhere = "maintenance: [{times: [{start_time: 02:00, end_time: 04:00}]}]" + plain
    for text, expected in ((plain + frozen, True), (NIGHTLY, False), (everywhere + frozen, False)):
        table = night()
        found = backtest(group_of(loads(text, "test", {}), table), table, 0)
        assert bool(found.opened[120:260].any()) is expected
        assert found.trained_at == (None if frozen in text else 300)


def test_what_a_window_covers_is_missing_from_what_a_training_learns() -> None:
    (group,) = loads(NIGHTLY, "test", {}).groups
    table = night(300)
    learnt = covered.by_windows(StreamHistory(table.times_ms, table.values), group.calendar())
    assert np.flatnonzero(np.isnan(learnt.values[:, 0])).tolist() == list(range(120, 240))
    assert np.array_equal(learnt.times_ms, table.times_ms)


def test_a_training_on_files_passes_over_the_windows(tmp_path: Path) -> None:
    table = night(400)
    lines = [f"{int(at)},{value}\n" for at, value in zip(table.times_ms, table.values[:, 0], strict=True)]
    (tmp_path / "a.csv").write_text("timestamp,value\n" + "".join(lines), encoding="utf-8")
    known = []
    for text in (NIGHTLY, NIGHTLY.partition("    maintenance")[0]):
        (group,) = loads(text, "test", {}).groups
        (learnable,) = from_files(group, (tmp_path / "a.csv",)).learnable
        known.append(int(np.isfinite(learnable.values).sum()))
    assert known == [280, 400]


def test_windows_and_what_they_withheld_are_metrics() -> None:
    watched = Watched()
    counted = StreamsCounted("api", {}, 0, 10, maintenance=True)
    watched.note(counted, replace(turn({"api": [2.0], "web": [0.1]}), withheld={"api": 2}))
    assert watched.value("longwatch_maintenance_active", group="api") == 1
    assert watched.value("longwatch_alerts_withheld_total", group="api") == 2
    assert watched.value("longwatch_alerts_withheld_total", group="web") == 0
