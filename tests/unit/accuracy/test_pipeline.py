"""Errors become scores and alerts by the product's own tail and alarm logic, causally, whoever stands beside them."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.accuracy import baselines
from benchmarks.accuracy.outcome import Outcome
from benchmarks.accuracy.pipeline import replayed, through_tail
from detectors.settings import DetectorSettings
from tests.unit.accuracy.made import series, waves

SETTINGS = DetectorSettings(warmup_samples=30)
ERRORS = [np.abs(waves(rows, 1, seed)[:, 0]) for seed, rows in enumerate((200, 400, 300))]


@pytest.fixture(scope="module")
def outcomes() -> list[Outcome]:
    return through_tail(SETTINGS, ERRORS, 1)


def test_a_file_is_scored_as_if_it_stood_alone(outcomes: list[Outcome]) -> None:
    for error, outcome in zip(ERRORS, outcomes, strict=True):
        (alone,) = through_tail(SETTINGS, [error], 1)
        assert np.array_equal(alone.score, outcome.score)
        assert np.array_equal(alone.opened, outcome.opened)
        assert np.array_equal(alone.alarmed, outcome.alarmed)


def test_the_jump_opens_an_alert_and_nothing_is_said_while_warming(outcomes: list[Outcome]) -> None:
    for error, outcome in zip(ERRORS, outcomes, strict=True):
        jump = int(0.9 * len(error))
        assert outcome.opened[jump : jump + 8].any()
        assert not outcome.score[:30].any()
        assert not (outcome.opened & ~outcome.alarmed).any()


def test_a_replay_at_the_shipped_level_opens_the_same_alerts(outcomes: list[Outcome]) -> None:
    found = replayed(SETTINGS.alert, [outcome.score for outcome in outcomes], np.array([0.5, 1.0, 50.0]))
    for levels, outcome in zip(found, outcomes, strict=True):
        assert np.array_equal(levels[1], outcome.opened)
        assert not levels[2].any()


@pytest.mark.parametrize("name", baselines.DETECTORS)
@pytest.mark.parametrize("width", [1, 3])
def test_no_baseline_looks_ahead(name: str, width: int) -> None:
    values, changed = waves(260, width), waves(260, width)
    changed[200:] = -40.0
    errors = [baselines.error(name, series(each, train_rows=120)) for each in (values, changed)]
    assert np.array_equal(errors[0][:200], errors[1][:200])
    assert np.isfinite(errors[1]).all()
    assert errors[1][200] > 3.0 * np.median(errors[1][:200])


def test_a_missing_value_is_no_error() -> None:
    values = waves(260, 2)
    values[100:103] = np.nan
    assert np.isfinite(baselines.error("var", series(values, train_rows=120))).all()
