"""Every kind of threshold puts its limit at the score 1.0."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from detectors import threshold
from detectors.settings import QuantileThreshold, SigmaThreshold, StaticThreshold, Threshold
from detectors.slab import row_dtype

KINDS: tuple[Threshold, ...] = (StaticThreshold(3.0), SigmaThreshold(6.0), QuantileThreshold(0.999))


def rows(mean: float = 0.5, variance: float = 0.04) -> NDArray[np.void]:
    made = np.zeros(1, row_dtype(threshold.fields()))
    made["surprise_mean"], made["surprise_variance"] = mean, variance
    return made


@pytest.mark.parametrize(
    ("kind", "limit"),
    [
        (StaticThreshold(3.0), 3.0),
        (QuantileThreshold(0.999), 3.0),
        (SigmaThreshold(6.0), 0.5 + 6.0 * (0.2 + 0.05)),
    ],
)
def test_the_limit_is_at_one(kind: Threshold, limit: float) -> None:
    score = [float(threshold.score(kind, rows(), np.array([surprise]))[0]) for surprise in (limit, 0.9 * limit)]
    assert score[0] == pytest.approx(1.0, rel=1e-5)
    assert score[1] < 1.0


@given(kind=st.sampled_from(KINDS), one=st.floats(0, 12), other=st.floats(0, 12))
def test_a_larger_surprise_never_scores_less_and_no_score_is_negative(
    kind: Threshold, one: float, other: float
) -> None:
    low, high = (float(threshold.score(kind, rows(), np.array([each]))[0]) for each in sorted((one, other)))
    assert 0.0 <= low <= high


def test_mean_and_variance_of_the_surprise_are_learnt() -> None:
    rng, made = np.random.default_rng(0), rows(0.0, 0.0)
    for seen in range(3000):
        threshold.learn(made, rng.normal(2.0, 0.5, 1), np.array([float(seen)]), np.ones(1))
    assert float(made["surprise_mean"][0]) == pytest.approx(2.0, abs=0.05)
    assert float(made["surprise_variance"][0]) == pytest.approx(0.25, rel=0.15)


def test_without_weight_nothing_is_learnt() -> None:
    made = rows()
    threshold.learn(made, np.array([9.0]), np.array([5.0]), np.zeros(1))
    assert made.tobytes() == rows().tobytes()
