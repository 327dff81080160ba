"""Every kind of threshold puts its limit at the score 1.0."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from detectors import tail, threshold
from detectors.settings import BudgetThreshold, QuantileThreshold, SigmaThreshold, StaticThreshold, Threshold
from detectors.slab import row_dtype

KINDS: tuple[Threshold, ...] = (
    StaticThreshold(3.0),
    SigmaThreshold(6.0),
    QuantileThreshold(0.999),
    BudgetThreshold(1100.0),
)


def rows(kind: Threshold, mean: float = 0.5, variance: float = 0.04) -> NDArray[np.void]:
    """Return a row that has seen a usual surprise of 0 to 1, or one of this mean and variance."""
    made = np.zeros(1, row_dtype([("samples", "f4", ()), *threshold.fields(kind)]))
    match kind:
        case SigmaThreshold():
            made["surprise_mean"], made["surprise_variance"] = mean, variance
        case QuantileThreshold():
            for seen, surprise in enumerate(np.random.default_rng(0).permutation(np.linspace(0.0, 1.0, 4000))):
                threshold.learn(kind, made, np.array([surprise]), np.array([float(seen)]), np.ones(1, bool))
        case StaticThreshold() | BudgetThreshold():
            pass
    return made


MADE = {kind.kind: rows(kind) for kind in KINDS}


@pytest.mark.parametrize(
    ("kind", "limit"),
    [
        (StaticThreshold(3.0), 3.0),
        (SigmaThreshold(6.0), 0.5 + 6.0 * (0.2 + 0.05)),
        (BudgetThreshold(1100.0), 1.5),
    ],
)
def test_the_limit_is_at_one(kind: Threshold, limit: float) -> None:
    score = [
        float(threshold.score(kind, MADE[kind.kind], np.array([surprise]))[0]) for surprise in (limit, 0.9 * limit)
    ]
    assert score[0] == pytest.approx(1.0, rel=1e-5)
    assert score[1] < 1.0
    told = threshold.limit(kind, MADE[kind.kind])
    assert told is not None
    assert told[0] == pytest.approx(limit, rel=1e-5)


def test_where_no_one_number_is_the_limit_none_is_told() -> None:
    assert threshold.limit(QuantileThreshold(0.999), MADE["quantile"]) is None


@given(kind=st.sampled_from(KINDS), one=st.floats(0, 12), other=st.floats(0, 12))
def test_a_larger_surprise_never_scores_less_and_no_score_is_negative(
    kind: Threshold, one: float, other: float
) -> None:
    low, high = (float(threshold.score(kind, MADE[kind.kind], np.array([each]))[0]) for each in sorted((one, other)))
    assert 0.0 <= low <= high


def test_a_histogram_is_halved_under_an_alert_too_or_its_counts_would_outgrow_their_type() -> None:
    kind = QuantileThreshold(0.9)
    made = np.zeros(1, row_dtype(threshold.fields(kind)))
    for seen in range(3 * tail.EPOCH_SAMPLES_MAX):
        alerting = (seen + 1) % tail.EPOCH_SAMPLES_MAX < 4  # at the end of every epoch
        threshold.learn(kind, made, np.array([0.1]), np.array([float(seen)]), np.array([not alerting]))
        assert made["surprise_tail"][0, 0, 0] >= tail.SAMPLE_COUNT or seen < 4
    assert made["surprise_tail"][0, 0, 0] > tail.EPOCH_SAMPLES_MAX


def test_a_quantile_is_that_of_the_streams_own_surprise() -> None:
    kind = QuantileThreshold(0.9)
    low, high = (float(threshold.score(kind, MADE["quantile"], np.array([each]))[0]) for each in (0.8, 0.97))
    assert low < 1.0 < high


def test_mean_and_variance_of_the_surprise_are_learnt() -> None:
    kind = SigmaThreshold(6.0)
    rng, made = np.random.default_rng(0), rows(kind, 0.0, 0.0)
    for seen in range(3000):
        threshold.learn(kind, made, rng.normal(2.0, 0.5, 1), np.array([float(seen)]), np.ones(1, bool))
    assert float(made["surprise_mean"][0]) == pytest.approx(2.0, abs=0.05)
    assert float(made["surprise_variance"][0]) == pytest.approx(0.25, rel=0.15)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: str(kind.kind))
def test_a_row_that_may_not_learn_stays_as_it_is(kind: Threshold) -> None:
    made = MADE[kind.kind].copy()
    threshold.learn(kind, made, np.array([9.0]), np.array([5.0]), np.zeros(1, bool))
    for name in made.dtype.names or ():
        assert np.array_equal(made[name], MADE[kind.kind][name]), name


STREAMS, BUDGET = 40, BudgetThreshold(200.0)


@pytest.mark.parametrize(("before", "after"), [(0.3, 0.3), (0.3, 0.9), (0.9, 0.3)], ids=["steady", "wilder", "calmer"])
def test_alerts_come_as_often_as_the_budget_says_also_when_the_stream_changes(before: float, after: float) -> None:
    rng, made = np.random.default_rng(0), np.zeros(STREAMS, row_dtype(threshold.fields(BUDGET)))
    opened: list[NDArray[np.bool_]] = []
    for scale in (before, after):
        opened.clear()
        for _ in range(40 * int(BUDGET.samples_per_alert)):
            surprise = rng.exponential(scale, STREAMS)
            opened.append(threshold.score(BUDGET, made, surprise) >= 1.0)
            threshold.learn(BUDGET, made, surprise, np.zeros(STREAMS), np.ones(STREAMS, bool))
            threshold.spend(BUDGET, made, opened[-1])
    settled = np.array(opened[len(opened) // 2 :])
    assert BUDGET.samples_per_alert * settled.mean() == pytest.approx(1.0, rel=0.25)


def test_a_smaller_budget_begins_with_a_higher_limit_and_every_limit_has_bounds() -> None:
    surprise, made = np.array([1.5]), np.zeros(1, row_dtype(threshold.fields(BUDGET)))
    scores = [float(threshold.score(BudgetThreshold(n), made, surprise)[0]) for n in (1e2, 1e4, 1e9)]
    assert scores == sorted(scores, reverse=True)
    for _ in range(200):
        threshold.spend(BUDGET, made, np.ones(1, bool))
    assert float(threshold.score(BUDGET, made, np.array([12.0]))[0]) == pytest.approx(1.0)
    for _ in range(10_000):
        threshold.learn(BUDGET, made, surprise, np.zeros(1), np.ones(1, bool))
    assert float(threshold.score(BUDGET, made, np.array([1.0]))[0]) == pytest.approx(1.0)


def test_a_guard_rail_spends_nothing_of_a_budget_and_an_anomaly_does() -> None:
    for opened, raised in ((False, 0.0), (True, threshold.BUDGET_GAIN)):
        made = rows(BUDGET)
        threshold.spend(BUDGET, made, np.array([opened]))
        assert float(made["limit_raised"][0]) == pytest.approx(raised)
