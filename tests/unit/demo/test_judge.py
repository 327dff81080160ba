"""The judge counts as its rules say."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.demo import judge
from daemon.demo.judge import GRACE_MS, HOUR_MS, MINUTE_MS, RECOVERY_MS, WEEK_MS, Alert, Change, Docket, Label, Observed

SPIKE = Label("a", "spike", 100 * HOUR_MS, 101 * HOUR_MS)
SHIFT = Label("a", "level_shift", 200 * HOUR_MS, 212 * HOUR_MS)
WEEK = Observed(streams=2, start_ms=0, end_ms=2 * WEEK_MS)


def opened(at_ms: float, stream: str = "a", change: Change = "open", alert_id: str = "") -> Alert:
    return Alert(alert_id or f"{stream}{at_ms}", change, stream, "anomaly", int(at_ms), int(at_ms), 1.5)


def found(alerts: list[Alert], labels: tuple[Label, ...] = (SPIKE, SHIFT)) -> list[str]:
    return [finding.found for finding in judge.judge(labels, alerts, WEEK).findings]


def test_an_alert_within_a_fault_catches_it_and_the_delay_counts_from_its_start() -> None:
    verdict = judge.judge([SPIKE], [opened(SPIKE.start_ms + 25 * MINUTE_MS)], WEEK)
    assert verdict.kinds == (judge.KindRow("spike", 1, 1, 25.0),)
    assert verdict.total.missed == 0


@pytest.mark.parametrize(
    ("at_ms", "what"),
    [
        (SPIKE.start_ms - 1, "false"),
        (SPIKE.start_ms, "caught"),
        (SPIKE.end_ms + GRACE_MS - 1, "caught"),
        (SPIKE.end_ms + GRACE_MS, "false"),
        (SHIFT.end_ms + GRACE_MS - 1, "caught"),
        (SHIFT.end_ms + GRACE_MS, "after_effect"),
        (SHIFT.end_ms + RECOVERY_MS["level_shift"] - 1, "after_effect"),
        (SHIFT.end_ms + RECOVERY_MS["level_shift"], "false"),
    ],
)
def test_borders_lie_where_the_rules_say(at_ms: int, what: str) -> None:
    assert found([opened(at_ms)]) == [what]


def test_alerts_after_the_first_are_repeats() -> None:
    times = [SHIFT.start_ms + hours * HOUR_MS for hours in (1, 3, 5)]
    assert found([opened(at) for at in times]) == ["caught", "repeat", "repeat"]


def test_the_first_alert_is_the_earliest_whatever_the_order_given() -> None:
    alerts = [opened(SHIFT.start_ms + hours * HOUR_MS) for hours in (5, 1, 3)]
    assert judge.judge([SHIFT], alerts, WEEK).kinds[0].delay_minutes == 60.0


def test_an_alert_on_another_stream_is_false() -> None:
    assert found([opened(SPIKE.start_ms, stream="b")]) == ["false"]


def test_an_alert_that_was_already_open_catches_nothing() -> None:
    early = opened(SPIKE.start_ms - HOUR_MS, alert_id="x")
    update = opened(SPIKE.start_ms + MINUTE_MS, change="update", alert_id="x")
    verdict = judge.judge([SPIKE], [early, update], WEEK)
    assert (verdict.total.caught, verdict.count("false")) == (0, 1)


def test_an_alert_given_twice_counts_once_and_closing_counts_nothing() -> None:
    alert = opened(SPIKE.start_ms, alert_id="x")
    closed = opened(SPIKE.start_ms + MINUTE_MS, change="close", alert_id="x")
    assert found([alert, alert, closed]) == ["caught"]


def test_alerts_outside_of_the_observed_time_do_not_count() -> None:
    assert found([opened(-1), opened(WEEK.end_ms)]) == []


def test_median_delay_is_over_the_caught_ones() -> None:
    labels = [Label("a", "drop", hour * HOUR_MS, (hour + 1) * HOUR_MS) for hour in (10, 50, 90, 130)]
    alerts = [opened(labels[i].start_ms + minutes * MINUTE_MS) for i, minutes in ((0, 10), (1, 40), (3, 20))]
    assert judge.judge(labels, alerts, WEEK).kinds == (judge.KindRow("drop", 4, 3, 20.0),)


def test_a_kind_that_was_never_caught_has_no_delay() -> None:
    assert judge.judge([SPIKE], [], WEEK).kinds == (judge.KindRow("spike", 1, 0, None),)


def test_false_alerts_are_counted_per_stream_and_week_of_clear_time() -> None:
    alerts = [opened(hour * HOUR_MS, stream="b") for hour in (1, 2, 3)]
    verdict = judge.judge([SHIFT], alerts, WEEK)
    covered = SHIFT.end_ms - SHIFT.start_ms + RECOVERY_MS["level_shift"]
    assert verdict.clear_ms == 4 * WEEK_MS - covered
    assert verdict.false_per_week == pytest.approx(3 / (verdict.clear_ms / WEEK_MS))


def test_cover_beyond_the_observed_time_is_not_subtracted() -> None:
    late = Label("a", "level_shift", WEEK.end_ms - HOUR_MS, WEEK.end_ms + HOUR_MS)
    assert judge.judge([late], [], WEEK).clear_ms == 4 * WEEK_MS - HOUR_MS


def test_without_clear_time_there_is_no_rate() -> None:
    assert math.isnan(judge.judge([], [], Observed(0, 0, 1)).false_per_week)


def test_a_docket_judges_one_alert_at_a_time_as_the_judge_does() -> None:
    alerts = [opened(SPIKE.start_ms + hours * HOUR_MS) for hours in (-1, 0, 1, 9, 100, 113, 130)]
    docket = Docket([SHIFT, SPIKE])
    assert tuple(docket.judge(alert) for alert in alerts) == judge.judge([SPIKE, SHIFT], alerts, WEEK).findings


@given(st.lists(st.integers(0, 2 * WEEK_MS - 1), max_size=40), st.integers(0, 5))
def test_every_opened_alert_is_found_to_be_exactly_one_thing(times: list[int], others: int) -> None:
    alerts = [opened(at, alert_id=str(i)) for i, at in enumerate(times)]
    alerts += [opened(at, stream="b", alert_id=f"b{at}") for at in range(others)]
    verdict = judge.judge([SPIKE, SHIFT], alerts, WEEK)
    kinds: tuple[judge.Found, ...] = ("caught", "repeat", "after_effect", "false")
    assert sum(verdict.count(kind) for kind in kinds) == len(alerts)
    assert verdict.count("caught") == verdict.total.caught <= verdict.total.count
