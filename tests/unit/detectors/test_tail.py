"""A tail counts how improbable an error is, in decades, whatever the errors' distribution."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from detectors import tail
from detectors.slab import row_dtype
from detectors.tail import placed

F = NDArray[np.float64]
Counts = NDArray[np.uint16]
Rng = np.random.Generator
STREAMS = 60
ALL = np.ones((STREAMS, 1), bool)


def fresh(streams: int = STREAMS) -> Counts:
    rows = np.zeros(streams, row_dtype([tail.field("tail", 1)]))
    counts: Counts = rows["tail"]
    return counts


def learnt(draw: Callable[[Rng], F], samples: int = 3000) -> Counts:
    """Return histograms (STREAMS, 1, BINS + 1) that have seen so many errors."""
    rng, counts = np.random.default_rng(3), fresh()
    for seen in range(1, samples + 1):
        tail.learn(counts, placed(draw(rng)), ALL, tail.halves(np.full((STREAMS, 1), float(seen))))
    return counts


DRAWS: dict[str, tuple[Callable[[Rng], F], Callable[[float], float]]] = {
    "half normal": (
        lambda rng: np.abs(rng.normal(size=(STREAMS, 1))),
        lambda p: {0.1: 1.645, 0.01: 2.576, 0.001: 3.291}[p],
    ),
    "exponential": (lambda rng: rng.exponential(size=(STREAMS, 1)), lambda p: -np.log(p)),
    "lognormal": (lambda rng: rng.lognormal(size=(STREAMS, 1)), lambda p: {0.1: 3.602, 0.01: 10.24, 0.001: 21.98}[p]),
}


@pytest.fixture(scope="module", params=DRAWS)
def case(request: pytest.FixtureRequest) -> tuple[Counts, Callable[[float], float]]:
    """Histograms of one distribution, and its upper quantiles."""
    draw, quantile = DRAWS[request.param]
    return learnt(draw), quantile


@pytest.mark.parametrize(("probability", "slack"), [(0.1, 0.15), (0.01, 0.3), (0.001, 0.6)])
def test_the_decades_are_those_of_the_distribution(
    case: tuple[Counts, Callable[[float], float]], probability: float, slack: float
) -> None:
    counts, quantile = case
    decades = tail.decades(counts, placed(np.full((STREAMS, 1), quantile(probability))))
    assert float(np.median(decades)) == pytest.approx(-np.log10(probability), abs=slack)


def test_a_larger_error_is_never_less_improbable(case: tuple[Counts, Callable[[float], float]]) -> None:
    counts, _ = case
    errors = np.geomspace(1e-6, 1e6, 400)
    decades = np.array([tail.decades(counts[:1], placed(np.array([[error]])))[0, 0] for error in errors])
    assert (np.diff(decades) >= -1e-6).all()
    assert decades[0] >= 0.0
    assert decades[-1] <= tail.DECADES_MAX


def test_what_lies_below_the_grid_is_one_and_the_same() -> None:
    counts = learnt(DRAWS["exponential"][0], 200)
    low, high = (tail.decades(counts, placed(np.full((STREAMS, 1), error))) for error in (0.0, np.exp(tail.LOWEST)))
    assert np.array_equal(low, high)
    assert (low < 0.01).all()


def test_an_error_that_is_not_learnt_changes_nothing() -> None:
    counts = learnt(DRAWS["exponential"][0], 100)
    before = counts.copy()
    tail.learn(counts, placed(np.full((STREAMS, 1), 50.0)), ~ALL, np.zeros((STREAMS, 1), bool))
    assert np.array_equal(counts, before)


def test_a_single_wild_error_does_not_make_itself_ordinary() -> None:
    counts = learnt(DRAWS["half normal"][0], 1000)
    wild = np.full((STREAMS, 1), 100.0)
    before = float(np.median(tail.decades(counts, placed(wild))))
    tail.learn(counts, placed(wild), ALL, np.zeros((STREAMS, 1), bool))
    assert float(np.median(tail.decades(counts, placed(wild)))) > 0.3 * before
    assert before > 4.0


def test_the_start_of_a_stream_is_outweighed_in_the_end() -> None:
    counts = fresh()
    for seen in range(1, 4001):
        error = np.full((STREAMS, 1), 50.0 if seen <= 100 else 0.5)
        tail.learn(counts, placed(error), ALL, tail.halves(np.full((STREAMS, 1), float(seen))))
    share = float(np.exp(-np.log(10) * tail.decades(counts, placed(np.full((STREAMS, 1), 49.0))))[0, 0])
    assert share < 0.25 * 100 / 4000


def test_however_long_it_learns_no_count_overflows() -> None:
    most = 0
    for _ in range(40):  # an epoch whose every sample is counted in the highest bin
        most = (most + tail.SAMPLE_COUNT * tail.EPOCH_SAMPLES_MAX) // 2
        assert most + tail.SAMPLE_COUNT * tail.EPOCH_SAMPLES_MAX < 2**16
    counts = np.full((1, 1, tail.BINS + 1), 2**16 - 1 - tail.SAMPLE_COUNT, np.uint16)
    tail.learn(counts, placed(np.full((1, 1), 1e9)), np.ones((1, 1), bool), np.ones((1, 1), bool))
    assert counts[0, 0, 0] == 2**15 - 1


@settings(max_examples=40, deadline=None)
@given(errors=st.lists(st.floats(0, 1e12), min_size=0, max_size=60), asked=st.floats(0, 1e12))
def test_whatever_was_learnt_the_decades_are_bounded(errors: list[float], asked: float) -> None:
    counts = fresh(1)
    for error in errors:
        tail.learn(counts, placed(np.array([[error]])), np.ones((1, 1), bool), np.zeros((1, 1), bool))
    assert 0.0 <= float(tail.decades(counts, placed(np.array([[asked]])))[0, 0]) <= tail.DECADES_MAX
