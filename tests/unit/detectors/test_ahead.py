"""A forecast feeds the detector its own expectation, and its bounds are what the past measured, nothing else."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from detectors import scaling, scoring
from detectors.ahead import FORECASTS_MIN, ahead, bounds, next_sample
from detectors.dayzero import day_zero
from detectors.network import Network
from detectors.scoring import Detector
from detectors.settings import DetectorSettings, Scope
from detectors.slab import row_dtype
from tests.conformance.feed import INTERVAL_MS, SMALL, START_MS, drawn, settings_of, wave

F = NDArray[np.float64]
Row = NDArray[np.void]
TWO = Detector(settings_of(2), drawn(settings_of(2)), "m")
SHIPPED = day_zero(DetectorSettings())


def lived(detector: Detector, values: F) -> Row:
    """Return the rows (1,) of a stream of `values` (T, D)."""
    row = np.zeros(1, row_dtype(scoring.fields(detector.settings)))
    scoring.clear(row)
    for i, value in enumerate(values):
        scoring.score(detector, row, np.array([START_MS + i * INTERVAL_MS]), value[None], np.zeros(1, bool))
    return row


def test_the_first_step_is_what_the_next_sample_is_compared_with() -> None:
    row = lived(TWO, wave(150, 2))
    forecast = ahead(TWO, row, 3)
    expected, margin = next_sample(TWO, row)
    assert forecast.shape == (1, 3, 2)
    assert np.allclose(forecast[:, 0], expected)
    moved = row.copy()
    scored = scoring.score(TWO, moved, row["time_ms"] + 1, np.full((1, 2), 10.0), np.zeros(1, bool))
    assert np.array_equal(scored.expected, expected)
    assert np.array_equal(scored.margin, margin)


def test_every_further_step_is_the_expectation_after_the_one_before_came_true() -> None:
    row = lived(TWO, wave(150, 2))
    forecast, by_hand = ahead(TWO, row, 4), row.copy()
    for step in range(4):
        expected, _ = next_sample(TWO, by_hand)
        assert np.allclose(forecast[0, step], expected[0])
        scoring.score(TWO, by_hand, by_hand["time_ms"] + INTERVAL_MS, expected, np.ones(1, bool))


def test_the_rows_stay_and_do_not_depend_on_each_other() -> None:
    rows = np.concatenate([lived(TWO, wave(90 + 9 * i, 2, seed=i)) for i in range(3)])
    before = rows.tobytes()
    together = ahead(TWO, rows, 5)
    assert rows.tobytes() == before
    for i in range(3):
        assert np.array_equal(ahead(TWO, rows[i : i + 1], 5)[0], together[i])


def test_a_swing_is_forecast_better_than_by_its_last_value() -> None:
    swing = np.sin(np.arange(640) / 8.0)[:, None]
    forecast = ahead(SHIPPED, lived(SHIPPED, swing[:600]), 24)[0]
    assert np.abs(forecast - swing[600:624]).mean() < 0.3 * np.abs(swing[599] - swing[600:624]).mean()


def test_a_counter_is_forecast_as_its_rate() -> None:
    rate = 5.0 + np.sin(np.arange(300) / 10.0)
    row = lived(SHIPPED, 10.0 * np.cumsum(rate)[:, None])
    assert row["counter"][0, 0] == 1
    forecast = ahead(SHIPPED, row, 6)
    assert ((forecast > 3.5) & (forecast < 6.5)).all()


def test_a_detector_without_a_network_expects_the_local_average() -> None:
    detector = Detector(settings_of())
    row = lived(detector, wave(120))
    assert np.allclose(ahead(detector, row, 3), next_sample(detector, row)[0], atol=0.5)


# bounds


def measured(errors: F, coverage: float = 0.8) -> tuple[F, F, F]:
    """Return lower, upper and held of forecasts of 0 that erred so, (m, K, D)."""
    nothing = np.zeros_like(errors)
    found = bounds(nothing, nothing, errors, coverage=coverage, at=np.arange(len(errors)))
    return found.lower, found.upper, found.held


def test_bounds_are_the_quantiles_of_the_errors_and_held_is_near_what_was_asked() -> None:
    rng = np.random.default_rng(0)
    errors = rng.normal(0.0, [[[1.0], [3.0]]], (2000, 2, 1))
    lower, upper, held = measured(errors)
    assert np.allclose(upper[:, 0], [1.2816, 3.0 * 1.2816], rtol=0.1)
    assert np.allclose(lower[:, 0], [-1.2816, -3.0 * 1.2816], rtol=0.1)
    assert np.allclose(held, 0.8, atol=0.06)


def test_held_looks_at_bounds_that_were_made_before_so_a_stream_that_gets_wilder_shows_it() -> None:
    errors = np.random.default_rng(0).normal(size=(400, 3, 1)) * np.linspace(1.0, 20.0, 400)[:, None, None]
    assert (measured(errors)[2] < 0.6).all()


def test_a_missing_value_is_neither_an_error_nor_a_hit() -> None:
    errors = np.random.default_rng(0).normal(size=(300, 1, 2))
    holed = errors.copy()
    holed[::2, :, 1] = np.nan
    lower, upper, held = measured(holed)
    assert np.isfinite([lower, upper, held]).all()
    assert np.allclose(held, 0.8, atol=0.12)
    assert np.array_equal(lower[:, 0], measured(errors)[0][:, 0])


def test_the_error_is_told_beside_that_of_the_last_value() -> None:
    forecast, naive, actual = np.zeros((40, 1, 1)), np.ones((40, 1, 1)), np.full((40, 1, 1), -1.0)
    found = bounds(forecast, naive, actual, coverage=0.9, at=np.arange(40))
    assert (found.error[0, 0], found.naive_error[0, 0], found.forecasts) == (1.0, 2.0, 40)


def test_too_few_forecasts_give_no_bounds() -> None:
    few = np.zeros((FORECASTS_MIN - 1, 2, 1))
    with pytest.raises(ValueError, match=f"{FORECASTS_MIN} are needed"):
        bounds(few, few, few, coverage=0.9, at=np.arange(len(few)))


def several(scope: Scope = "group") -> Detector:
    """Return a detector whose network tells three samples ahead."""
    settings = settings_of(2, model=replace(SMALL, horizon=3), scope=scope)
    return Detector(settings, drawn(settings), "m")


@pytest.mark.parametrize("scope", ["group", "stream"])
def test_a_network_that_was_taught_several_samples_ahead_tells_them_at_once_and_is_fed_beyond(scope: Scope) -> None:
    detector = several(scope)
    row = lived(detector, wave(150, 2))
    forecast, by_hand = ahead(detector, row, 9), row.copy()
    network = detector.network
    assert isinstance(network, Network)
    told: list[F] = []
    for step in range(9):
        begins = not told
        expected = next_sample(detector, by_hand)[0] if begins else told.pop(0)
        assert np.allclose(forecast[0, step], expected[0]), step
        before = by_hand.copy()
        scoring.score(detector, by_hand, by_hand["time_ms"] + INTERVAL_MS, expected, np.ones(1, bool))
        if begins:
            z, last = scaling.scaled(before, expected), before["window"][:, 0]
            read = scoring.inputs(z, z - last, by_hand["time_ms"])
            moved = network.advance(read, before["hidden"], before["cell"])
            own = by_hand["forecast"] - moved.ahead[:, 0]  # of the stream's own readout
            told = [by_hand["location"] + scaling.floored(by_hand) * (moved.ahead[:, k] + own) for k in range(3)]


def test_what_is_told_at_once_depends_on_no_neighbour_and_moves_no_row() -> None:
    detector = several()
    rows = np.concatenate([lived(detector, wave(90 + 9 * i, 2, seed=i)) for i in range(3)])
    before = rows.tobytes()
    together = ahead(detector, rows, 8)
    assert rows.tobytes() == before
    for i in range(3):
        assert np.array_equal(ahead(detector, rows[i : i + 1], 8)[0], together[i])
