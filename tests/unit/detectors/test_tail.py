"""A tail counts how improbable an error is, in decades, whatever the errors' distribution and unit."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from detectors.slab import row_dtype
from detectors.tail import DECADES_MAX, PARTS, Tail, fields

F = NDArray[np.float64]
Rng = np.random.Generator
STREAMS = 60


def learnt(tail: Tail, draw: Callable[[Rng], F], samples: int = 3000) -> NDArray[np.void]:
    """Return rows (STREAMS,) of one unit that have seen so many samples."""
    rng = np.random.default_rng(3)
    rows = np.zeros(STREAMS, row_dtype(fields(tail.name, 1)))
    for seen in range(samples):
        tail.learn(rows, draw(rng), np.full((STREAMS, 1), float(seen)), np.ones(STREAMS))
    return rows


def made(floor: float = 0.0001, shape_max: float = 0.4) -> Tail:
    return Tail("t", floor, shape_max)


DRAWS: dict[str, tuple[Callable[[Rng], F], Callable[[float], float]]] = {
    "half normal": (
        lambda rng: np.abs(rng.normal(size=(STREAMS, 1))),
        lambda p: {0.1: 1.645, 0.01: 2.576, 0.001: 3.291}[p],
    ),
    "exponential": (lambda rng: rng.exponential(size=(STREAMS, 1)), lambda p: -np.log(p)),
    "lognormal": (lambda rng: rng.lognormal(size=(STREAMS, 1)), lambda p: {0.1: 3.602, 0.01: 10.24, 0.001: 21.98}[p]),
}


@pytest.fixture(scope="module", params=DRAWS)
def case(request: pytest.FixtureRequest) -> tuple[NDArray[np.void], Callable[[float], float]]:
    """Rows that learnt one distribution, and its upper quantiles."""
    draw, quantile = DRAWS[request.param]
    return learnt(made(), draw), quantile


@pytest.mark.parametrize(("probability", "slack"), [(0.1, 0.4), (0.01, 0.4), (0.001, 0.6)])
def test_the_decades_are_those_of_the_distribution(
    case: tuple[NDArray[np.void], Callable[[float], float]], probability: float, slack: float
) -> None:
    rows, quantile = case
    decades = made().decades(rows, np.full((STREAMS, 1), quantile(probability)))
    assert float(np.median(decades)) == pytest.approx(-np.log10(probability), abs=slack)


def test_a_larger_error_is_never_less_improbable(case: tuple[NDArray[np.void], Callable[[float], float]]) -> None:
    rows, _ = case
    errors = np.geomspace(1e-6, 1e6, 400)
    decades = np.array([made().decades(rows[:1], np.array([[error]]))[0, 0] for error in errors])
    assert (np.diff(decades) >= -1e-6).all()
    assert decades[0] >= 0.0
    assert decades[-1] <= DECADES_MAX


def test_the_unit_of_the_error_does_not_matter() -> None:
    draw = DRAWS["exponential"][0]
    one, thousand = learnt(made(), draw, 500), learnt(made(), lambda rng: 1000.0 * draw(rng), 500)
    ask = np.full((STREAMS, 1), 4.0)
    assert made().decades(thousand, 1000.0 * ask) == pytest.approx(made().decades(one, ask), abs=0.02)


def test_below_the_floor_all_errors_are_one() -> None:
    tail = made(floor=1.0)
    rows = learnt(tail, lambda rng: rng.uniform(0.0, 0.9, (STREAMS, 1)), 200)
    low, high = (tail.decades(rows, np.full((STREAMS, 1), error)) for error in (0.0, 0.99))
    assert np.array_equal(low, high)


def test_a_sample_without_weight_teaches_nothing() -> None:
    rows = learnt(made(), DRAWS["exponential"][0], 100)
    before = {part: rows[f"t_{part}"].copy() for part in PARTS if part != "edge"}
    made().learn(rows, np.full((STREAMS, 1), 50.0), np.full((STREAMS, 1), 100.0), np.zeros(STREAMS))
    for part, values in before.items():
        assert np.array_equal(rows[f"t_{part}"], values)


def test_a_single_wild_error_does_not_make_itself_ordinary() -> None:
    rows = learnt(made(), DRAWS["half normal"][0], 1000)
    wild = np.full((STREAMS, 1), 1e4)
    before = float(np.median(made().decades(rows, wild)))
    made().learn(rows, wild, np.full((STREAMS, 1), 1000.0), np.ones(STREAMS))
    assert float(np.median(made().decades(rows, wild))) > 0.6 * before
    assert before > 4.0


@settings(max_examples=40, deadline=None)
@given(errors=st.lists(st.floats(0, 1e12), min_size=1, max_size=60), asked=st.floats(0, 1e12))
def test_whatever_was_learnt_the_decades_are_bounded(errors: list[float], asked: float) -> None:
    tail, rows = made(0.05), np.zeros(1, row_dtype(fields("t", 1)))
    for seen, error in enumerate(errors):
        tail.learn(rows, np.array([[error]]), np.array([[float(seen)]]), np.ones(1))
    decades = tail.decades(rows, np.array([[asked]]))
    assert 0.0 <= float(decades[0, 0]) <= DECADES_MAX
    assert all(np.isfinite(rows[f"t_{part}"]).all() for part in PARTS)
