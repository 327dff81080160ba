"""A candidate that is as good as what it would replace passes its trial, and one that is worse does not."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from daemon import canaries
from daemon.alert_events import Group
from daemon.models import LiveModel
from daemon.trial import TrialLimits, objections, tried
from detectors.dayzero import day_zero
from detectors.network import Network
from detectors.scoring import Detector
from detectors.settings import DetectorSettings, TrainingSettings
from detectors.train import StreamHistory, train
from detectors.verdict import Figures, Verdict
from tests.conformance.feed import INTERVAL_MS, START_MS, drawn, settings_of, wave

SETTINGS = settings_of(training=TrainingSettings(min_samples=100, epochs_max=3, lanes=4))
LIMITS = TrialLimits()
SAMPLES, STREAMS = 360, 6
ZERO = LiveModel(day_zero(SETTINGS), {}, 0)


def histories(streams: int = STREAMS, samples: int = SAMPLES, *, counter: bool = False) -> list[StreamHistory]:
    found = []
    for seed in range(streams):
        values = np.cumsum(np.abs(wave(samples, 1, seed)), axis=0) if counter else wave(samples, 1, seed)
        found.append(StreamHistory(START_MS + INTERVAL_MS * np.arange(samples), values))
    return found


def learnt(settings: DetectorSettings = SETTINGS, seed: int = 0) -> LiveModel:
    told = replace(settings, training=replace(settings.training, seed=seed))
    trained = train(told, histories(), lambda _progress: None)
    network = Network(trained.fitted.weights, model=settings.model)
    return LiveModel(Detector(settings, network, f"m{seed}"), trained.calibration, trained.samples)


@pytest.fixture(scope="module")
def good() -> LiveModel:
    return learnt()


def verdict(
    candidate: LiveModel, incumbent: LiveModel, given: list[StreamHistory] | None = None, limits: TrialLimits = LIMITS
) -> Verdict:
    return tried(Group("g", candidate.detector), candidate, incumbent, given or histories(), limits)


def test_an_honest_candidate_passes_against_day_zero_and_against_another_one_every_time(good: LiveModel) -> None:
    first, second = verdict(good, ZERO), verdict(learnt(seed=1), good)
    assert first == verdict(good, ZERO)  # the same trial has the same verdict
    assert (first.passed, first.why, first.against) == (True, "", "")
    assert (second.passed, second.against) == (True, "m0")
    assert first.candidate is not None
    assert set(first.candidate.recall) == {"spike", "level", "frozen", "variance"}
    assert first.canaries == 4 * STREAMS
    assert first.samples == STREAMS * (SAMPLES // 5)


def test_a_candidate_that_expects_nonsense_is_refused_with_the_figures(good: LiveModel) -> None:
    wild = replace(good, detector=replace(good.detector, network=drawn(SETTINGS, 3, spread=3.0)))
    found = verdict(wild, good)
    assert not found.passed
    assert found.candidate is not None
    assert found.incumbent is not None
    assert found.candidate.error > 2 * found.incumbent.error
    assert f"usual error is {found.candidate.error:.3f}" in found.why


FIGURES = Figures(0.4, 1.0, 10, 0.2, {"spike": 0.9, "level": 0.9})


@pytest.mark.parametrize(
    ("worse", "word"),
    [
        (replace(FIGURES, error=0.31), "usual error is 0.310, the limit is 0.300"),
        (replace(FIGURES, score_high=1.6), "one score in a hundred is above 1.60, the limit is 1.50"),
        (replace(FIGURES, alerts=24), "24 alerts where there were 10, the limit is 23"),
        (
            replace(FIGURES, recall={"spike": 0.5, "level": 0.8}),
            "65% of the canaries were noticed where it had been 90%",
        ),
    ],
)
def test_each_limit_can_refuse_and_says_so(worse: Figures, word: str) -> None:
    found = list(objections(worse, FIGURES, 100, LIMITS))
    assert len(found) == 1
    assert word in found[0]
    assert not list(objections(FIGURES, FIGURES, 100, LIMITS))


def test_of_a_few_canaries_more_may_be_missed() -> None:
    worse = replace(FIGURES, recall={"spike": 0.5, "level": 0.8})
    assert not list(objections(worse, FIGURES, 4, LIMITS))
    assert not list(objections(replace(FIGURES, recall={}), FIGURES, 0, LIMITS))


def test_where_too_little_was_held_back_nothing_is_tried_and_that_is_said(good: LiveModel) -> None:
    for given, limits in ((histories(1, 300), LIMITS), (histories(2, 64), LIMITS), (None, TrialLimits(streams_max=0))):
        found = verdict(good, ZERO, given, limits)
        assert (found.passed, found.candidate, found.canaries) == (True, None, 0)
        assert found.why.startswith("not tried")


def test_a_trial_takes_no_more_streams_and_samples_than_it_may(good: LiveModel) -> None:
    found = verdict(good, ZERO, histories(9, 500), TrialLimits(streams_max=4, samples_max=250))
    assert found.streams <= 4
    assert found.samples == found.streams * 100


def test_histories_of_all_lengths_are_tried_side_by_side(good: LiveModel) -> None:
    given = [each for samples in (360, 300, 130, 64) for each in histories(2, samples)]
    found = verdict(good, ZERO, given)
    assert found.passed
    assert found.candidate is not None


def test_canaries_can_be_put_into_counters_and_into_what_is_partly_missing(good: LiveModel) -> None:
    given = histories(counter=True)
    for each in given:
        each.values[::9] = np.nan
    found = verdict(good, ZERO, given)
    assert found.candidate is not None
    assert found.canaries


@pytest.mark.parametrize("kind", canaries.KINDS)
def test_a_canary_is_as_the_stream_was_until_its_fault_begins(kind: canaries.Kind) -> None:
    values = wave(canaries.SAMPLES, 2)
    made = canaries.faulty(kind, values, np.array([0.5, 2.0]))
    lead = canaries.LEAD_SAMPLES
    assert np.array_equal(made[:lead], values[:lead])
    apart = np.abs(made - values)[lead:]
    match kind:
        case "none":
            assert not apart.any()
        case "spike":
            assert apart[0].tolist() == pytest.approx([canaries.SIZE * 0.5, canaries.SIZE * 2.0])
            assert not apart[1:].any()
        case "level":
            assert np.allclose(apart, canaries.SIZE * np.array([0.5, 2.0]))
        case "frozen":
            assert (made[lead:] == values[lead - 1]).all()
        case "variance":
            assert apart.std(axis=0) == pytest.approx([0.5 * 1.8, 2.0 * 1.8], rel=0.3)


@pytest.mark.parametrize("kind", canaries.KINDS)
def test_a_counter_never_falls_whatever_its_fault(kind: canaries.Kind) -> None:
    values = np.cumsum(np.abs(wave(canaries.SAMPLES)), axis=0)
    made = canaries.faulty_counter(kind, values, np.array([5.0]), np.full(canaries.SAMPLES, 10.0))
    assert all(later >= earlier for earlier, later in pairwise(made[:, 0].tolist()))
    assert np.allclose(made[: canaries.LEAD_SAMPLES], values[: canaries.LEAD_SAMPLES])
