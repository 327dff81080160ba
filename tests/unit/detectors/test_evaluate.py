"""Alerts are judged against labelled stretches, each counted once, none adjusted."""

from __future__ import annotations

import math

import numpy as np
import pytest

from detectors.evaluate import Evaluation, evaluate


def judged(labels: str, opened: str) -> Evaluation:
    """Judge rows ten seconds apart; `x` marks a labelled row and an alert."""
    marks = [np.array([letter == "x" for letter in text], dtype=bool) for text in (labels, opened)]
    return evaluate(marks[0], marks[1], 10_000 * np.arange(len(labels)))


@pytest.mark.parametrize(
    ("labels", "opened", "stretches", "caught", "alerts", "true", "delays"),
    [
        ("..xxx...", "...x....", 1, 1, 1, 1, (10.0,)),
        ("..xxx...", "..x.x...", 1, 1, 2, 2, (0.0,)),
        ("..xxx...", ".x...x..", 1, 0, 2, 0, ()),
        ("xx..xx.x", ".x.....x", 3, 2, 2, 2, (10.0, 0.0)),
        ("........", "x.......", 0, 0, 1, 0, ()),
        ("xxxxxxxx", "........", 1, 0, 0, 0, ()),
        ("", "", 0, 0, 0, 0, ()),
    ],
)
def test_stretches_and_alerts_are_counted(
    labels: str, opened: str, stretches: int, caught: int, alerts: int, true: int, delays: tuple[float, ...]
) -> None:
    assert judged(labels, opened) == Evaluation(stretches, caught, alerts, true, delays)


def test_shares_are_taken_of_what_there_is() -> None:
    found = judged("xx..xx.x..", ".x....x..x")
    assert found.recall == pytest.approx(1 / 3)
    assert found.precision == pytest.approx(1 / 3)
    assert judged("x.x.x", "x.x.x").delay_seconds == 0.0
    assert judged("xxxxx.xx", "..x...xx").delay_seconds == 10.0  # the median


def test_of_nothing_there_is_no_share() -> None:
    nothing = judged("....", "....")
    assert all(math.isnan(share) for share in (nothing.recall, nothing.precision, nothing.delay_seconds))
