"""The windows' score is that of the published benchmark."""

from __future__ import annotations

import math

import numpy as np
import pytest

from benchmarks.accuracy.corpora import Series, Spans, probation_rows
from benchmarks.accuracy.windows import PROFILES, Detections, detections, score, sigmoid
from tests.unit.accuracy.made import series


def file(rows: int, spans: Spans) -> Series:
    made = series(np.zeros((rows, 1)), spans, corpus="nab")
    return Series("nab", made.name, made.table, made.labels, spans, 0, probation_rows(rows))


def found(rows: int, spans: Spans, opened: list[int]) -> Detections:
    mask = np.zeros(rows, dtype=bool)
    mask[opened] = True
    return detections(file(rows, spans), mask)


ONE = (1000, ((500, 599),))


@pytest.mark.parametrize(
    ("opened", "expected"),
    [
        ([], 0.0),
        ([500], 100.0),
        ([500, 501, 599], 100.0),  # what follows in a window costs nothing
        ([10, 149, 500], 100.0),  # nor does what came on probation
        ([150], -5.5),  # before every window: all of 0.11, where a miss is 1 and the range is 2
        ([999], -5.5),  # more than three widths behind
    ],
)
def test_a_detection_gains_or_costs(opened: list[int], expected: float) -> None:
    assert score([found(*ONE, opened)], PROFILES["standard"]) == pytest.approx(expected)


def test_a_late_detection_gains_less_along_the_sigmoid() -> None:
    late = (2.0 / (1.0 + math.exp(-2.5)) - 1.0) / (2.0 / (1.0 + math.exp(-5.0)) - 1.0)
    assert found(*ONE, [550]).gain == pytest.approx(late)
    assert float(sigmoid(np.array(0.0))) == 0.0


@pytest.mark.parametrize(
    ("profile", "expected"),
    [("standard", 18.483795439309286), ("low_fp", 5.010446204811769), ("low_fn", 23.43364140398397)],
)
def test_a_set_of_files_agrees_with_an_independent_program(profile: str, expected: float) -> None:
    files = [
        found(1000, ((300, 399), (700, 749)), [10, 200, 340, 350, 420, 500, 760]),
        found(400, ((20, 30), (200, 239)), [25, 100, 245, 399]),  # its first window lies within the probation
        found(500, (), [80, 499]),
    ]
    assert (sum(each.windows for each in files), sum(each.hit for each in files)) == (3, 1)
    assert sum(each.false_rows for each in files) == 9
    assert score(files, PROFILES[profile]) == pytest.approx(expected, abs=1e-11)


@pytest.mark.parametrize(("rows", "expected"), [(1000, 150), (4032, 604), (5000, 750), (22_695, 750)])
def test_the_probation_is_a_share_of_the_first_five_thousand_rows(rows: int, expected: int) -> None:
    assert probation_rows(rows) == expected
