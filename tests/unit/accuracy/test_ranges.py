"""Scores against labelled stretches come out as the published definitions say, to the last digits."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.accuracy.ranges import best_f1, events, f1, vus_pr

ROWS = np.arange(300)
LABELS = (
    ((ROWS >= 40) & (ROWS < 46))
    | ((ROWS >= 120) & (ROWS < 150))
    | ((ROWS >= 180) & (ROWS < 182))  # its buffer meets that of the stretch before
    | (ROWS >= 290)  # ends with the file
)
SCORE = np.round(np.abs(np.sin(ROWS * 0.7)) + 0.5 * LABELS + 0.4 * (ROWS % 17 == 0), 2)  # many ties


@pytest.mark.parametrize(
    ("window", "expected"),
    [(0, 0.6547833892013981), (1, 0.6547833892013981), (20, 0.7561196551464238), (100, 0.8950729159321481)],
)
def test_the_volume_agrees_with_an_independent_program(window: int, expected: float) -> None:
    assert vus_pr(LABELS, SCORE, window) == pytest.approx(expected, abs=1e-13)


def test_a_perfect_score_fills_the_volume_and_nothing_labelled_has_none() -> None:
    assert vus_pr(LABELS, LABELS.astype(float), 0) == pytest.approx(1.0)
    assert np.isnan(vus_pr(np.zeros(300, dtype=bool), SCORE))


def test_f1_agrees_with_an_independent_program() -> None:
    assert best_f1(LABELS, SCORE) == pytest.approx(0.7045454545454546, abs=1e-15)
    assert f1(LABELS, SCORE >= 1.0) == pytest.approx(0.5961538461538461, abs=1e-15)


def test_one_labelled_sample_under_an_alert_does_not_make_the_stretch_right() -> None:
    """Point adjustment would call this 1."""
    flagged = np.zeros(300, dtype=bool)
    flagged[130] = True
    assert f1(LABELS, flagged) == pytest.approx(2.0 / (LABELS.sum() + 1))


def test_events_are_caught_by_any_sample_and_a_segment_that_touches_one_is_not_false() -> None:
    flagged = np.zeros(300, dtype=bool)
    for begin, end in ((10, 14), (30, 41), (125, 126), (149, 160), (200, 201)):
        flagged[begin:end] = True
    found = events(LABELS, flagged)
    assert (found.stretches, found.caught, found.false_segments) == (4, 2, 2)
