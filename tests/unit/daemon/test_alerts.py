"""The life of an alert is a table, and every way through it is walked here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daemon.alerts import (
    CLEARING,
    FIELDS,
    FIRING,
    HELD,
    HIGH,
    LOW,
    PENDING,
    QUIET,
    TABLE,
    advance,
    protected,
)
from detectors.settings import AlertSettings
from detectors.slab import row_dtype

PLAIN = AlertSettings(
    open_after_samples=1, close_after_samples=2, hold_off_samples=0, habituation=0.0, accept_after_samples=1000
)
DTYPE = row_dtype([*FIELDS, ("samples", "f4", ()), ("interval_ms", "f4", ()), ("time_ms", "i8", ())])
NAN = float("nan")


@dataclass(frozen=True)
class Walk:
    """What one row went through, a letter for each sample."""

    phases: str  # q p f c
    told: str  # o u c a . (accepted counts as a)
    row: np.void


def walk(policy: AlertSettings, scores: Sequence[float], guarded: Sequence[int] = ()) -> Walk:
    """Take one row through the table; sample i comes at the event time 1000 i and is guarded where `guarded` says."""
    rows = np.zeros(1, DTYPE)
    phases, told = "", ""
    for i, score in enumerate(scores):
        moved = advance(policy, rows, np.array([1000 * i]), np.array([score]), np.array([i in guarded]))
        phases += "qpfc"[int(rows["alert_phase"][0])]
        happened = [(moved.opened, "o"), (moved.updated, "u"), (moved.accepted, "a"), (moved.closed, "c")]
        told += next((letter for mask, letter in happened if mask[0]), ".")
    return Walk(phases, told, rows[0])


@pytest.mark.parametrize(
    ("phase", "signal", "after"),
    [
        (QUIET, LOW, QUIET),
        (QUIET, HELD, QUIET),
        (QUIET, HIGH, PENDING),
        (PENDING, LOW, QUIET),
        (PENDING, HELD, QUIET),
        (PENDING, HIGH, PENDING),
        (FIRING, LOW, CLEARING),
        (FIRING, HELD, FIRING),
        (FIRING, HIGH, FIRING),
        (CLEARING, LOW, CLEARING),
        (CLEARING, HELD, FIRING),
        (CLEARING, HIGH, FIRING),
    ],
)
def test_the_table_says_where_a_signal_leads(phase: int, signal: int, after: int) -> None:
    patient = replace(PLAIN, open_after_samples=99, close_after_samples=99)
    rows = np.zeros(1, DTYPE)
    rows["alert_phase"] = phase
    advance(patient, rows, np.array([1]), np.array([[0.1, 0.8, 1.0][signal]]), np.array([False]))
    assert rows["alert_phase"][0] == after == TABLE[phase, signal]


@pytest.mark.parametrize(
    ("changes", "scores", "phases", "told"),
    [
        ({}, [0, 1, 1, 0, 0, 0], "qffcqq", ".o..c."),
        ({}, [0, 0.999, 0, 0], "qqqq", "...."),
        ({"open_after_samples": 3}, [1, 1, 0, 1, 1, 1, 0], "ppqppfc", ".....o."),
        ({"open_after_samples": 3}, [1, 1, 0.8, 1, 1, 1], "ppqppf", ".....o"),
        ({"close_after_samples": 1}, [1, 0, 0], "fqq", "oc."),
        ({"close_after_samples": 3}, [1, 0, 0, 0.8, 0, 0, 0], "fccfccq", "o.....c"),  # hysteresis: held starts anew
        ({"close_below": 0.5}, [1, 0.6, 0.6, 0.6, 0.4, 0.4], "ffffcq", "o....c"),
        ({"close_after_samples": 1, "hold_off_samples": 4}, [1, 0, 1, 1, 1, 1], "fqqqff", "oc..o."),
        (
            {"close_after_samples": 1, "habituation": 0.5, "habituation_max": 9.0},
            [1, 0, 1.4, 1.6, 0, 1.9, 2.1],
            "fqqfqqf",
            "oc.oc.o",
        ),
        ({"close_after_samples": 1, "habituation": 0.5, "habituation_max": 0.7}, [1, 0, 1.6, 0, 1.8], "fqfqf", "ococo"),
        ({"accept_after_samples": 3}, [1, 1, 1, 1, 1], "ffffq"[:3] + "qf", "o..ao"),
        ({"worsening": 2.0}, [1, 1.9, 2.0, 3.9, 4.0, 4.0], "ffffff", "o.u.u."),
        ({}, [NAN, NAN, 1, NAN, NAN], "qqfcq", "..o.c"),
    ],
)
def test_scores_lead_through_the_phases(changes: dict[str, float], scores: list[float], phases: str, told: str) -> None:
    found = walk(replace(PLAIN, **changes), scores)  # type: ignore[arg-type]  # the names are the dataclass's own
    assert (found.phases, found.told) == (phases, told)


@pytest.mark.parametrize(
    ("changes", "scores", "guarded", "phases", "told"),
    [
        ({"open_after_samples": 5}, [NAN, NAN, 0, 0], {1}, "qfcq", ".o.c"),  # at once, also while warming up
        ({"hold_off_samples": 9, "close_after_samples": 1}, [1, 0, 0, 0], {2}, "fqfq", "oco"[:3] + "c"),
        ({"habituation": 5.0, "close_after_samples": 1}, [1, 0, 0, 0], {2}, "fqfq", "ococ"),
        ({}, [0, 0, 0, 0, 0], {0, 1, 2, 3, 4}, "fffff", "o...."),
        ({"accept_after_samples": 2}, [0, 0, 0, 0, 0, 0], {0, 1, 2, 3}, "ffffcq", "o....c"),  # never accepted
    ],
)
def test_a_guard_is_high_whatever_else_holds(
    changes: dict[str, int], scores: list[float], guarded: set[int], phases: str, told: str
) -> None:
    found = walk(replace(PLAIN, **changes), scores, sorted(guarded))
    assert (found.phases, found.told) == (phases, told)


def test_a_guard_alert_holds_no_anomaly_off_and_makes_none_usual() -> None:
    found = walk(replace(PLAIN, hold_off_samples=50, habituation=9.0), [0, 0, 0, 1], [0])
    assert found.told == "o.co"
    assert found.row["alert_guard"] == 0


def test_habituation_halves_after_its_half_life() -> None:
    policy = replace(PLAIN, habituation=1.0, habituation_half_life_samples=10)
    assert float(walk(policy, [1.0] + [0.0] * 10).row["alert_recent"]) == pytest.approx(0.5, rel=1e-5)


def test_an_alert_remembers_its_start_its_peak_and_its_highest_score() -> None:
    row = walk(replace(PLAIN, open_after_samples=2), [0, 1.5, 2.0, 5.0, 4.0]).row
    assert (row["alert_started_ms"], row["alert_peak_ms"], row["alert_max"]) == (1000, 3000, 5.0)


def test_an_open_alert_shields_its_stream_from_learning_until_the_level_may_be_accepted() -> None:
    rows = np.zeros(6, DTYPE)
    rows["alert_phase"] = [QUIET, PENDING, FIRING, CLEARING, FIRING, QUIET]
    rows["alert_samples"] = [0, 0, 5, 5, 300, 300]
    assert protected(AlertSettings(accept_after_samples=288), rows).tolist() == [False, False, True, True, False, False]


@settings(max_examples=200, deadline=None)
@given(
    scores=st.lists(st.one_of(st.just(NAN), st.floats(0, 5)), max_size=60),
    guarded=st.sets(st.integers(0, 59), max_size=10),
    policy=st.builds(
        AlertSettings,
        open_after_samples=st.integers(1, 4),
        close_below=st.floats(0.1, 0.9),
        close_after_samples=st.integers(1, 4),
        hold_off_samples=st.integers(0, 20),
        habituation=st.floats(0, 2),
        habituation_half_life_samples=st.integers(1, 100),
        accept_after_samples=st.integers(1, 20),
        worsening=st.floats(1.1, 3),
    ),
)
def test_whatever_comes_every_alert_opens_once_and_closes_once(
    scores: list[float], guarded: set[int], policy: AlertSettings
) -> None:
    rows = np.zeros(1, DTYPE)
    open_now, last_opened = False, None
    for i, score in enumerate(scores):
        was = int(rows["alert_phase"][0])
        moved = advance(policy, rows, np.array([1000 * i]), np.array([score]), np.array([i in guarded]))
        opened, updated, closed = (bool(mask[0]) for mask in (moved.opened, moved.updated, moved.closed))
        assert opened + updated + closed <= 1
        assert opened <= (not open_now)
        assert (updated or closed) <= open_now
        assert bool(moved.accepted[0]) <= closed
        if opened and i not in guarded:
            assert last_opened is None or i - last_opened >= policy.hold_off_samples
            last_opened = i
        open_now = (open_now or opened) and not closed
        assert open_now == (int(rows["alert_phase"][0]) >= FIRING)
        assert was in (QUIET, PENDING, FIRING, CLEARING)
        assert int(rows["alert_phase"][0]) in TABLE
