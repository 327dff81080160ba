"""A drift is seen where the network's errors are no longer what they were, and nowhere else."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest
from numpy.typing import NDArray

from detectors import adopt, drift
from detectors.drift import SETTLED_SAMPLES, Drift, DriftLimits
from tests.conformance.feed import Feed, drawn, series, settings_of, together, wave

LIMITS = DriftLimits()
STREAMS, LEARNT, MORE = 12, 900, 90  # learnt for so long, the hold-offs of their first alerts are over
Calibration = Mapping[str, NDArray[np.float32]]


@pytest.fixture(scope="module", params=[1, 2], ids=["one channel", "two channels"])
def settled(request: pytest.FixtureRequest) -> tuple[Feed, Calibration]:
    """Streams that have been scored by one model for a while, and what its errors were when it took over."""
    settings = settings_of(request.param)
    feed = Feed(settings, drawn(settings))
    given = [series(wave(LEARNT, request.param, seed), f"s{seed}") for seed in range(STREAMS)]
    feed.poll(together(*(each[:250] for each in given)))
    calibration = adopt.calibrate(feed.slabs[0].view())
    feed.poll(together(*(each[250:] for each in given)))
    return feed, calibration


def later(settled: tuple[Feed, Calibration], noise: float) -> Drift:
    """Return what is measured after MORE samples of the same, with noise of this size on top."""
    feed, calibration = settled
    rng, width = np.random.default_rng(3), len(feed.group.detector.settings.channels)
    given = []
    for seed in range(STREAMS):
        values = wave(LEARNT + MORE, width, seed)
        values[LEARNT:] += noise * rng.standard_normal((MORE, width))
        given.append(series(values, f"s{seed}")[LEARNT:])
    (_, delta), *_ = feed.step(together(*given)).deltas
    return drift.measure(delta.rows, calibration)


def test_streams_that_go_on_as_they_did_have_not_drifted(settled: tuple[Feed, Calibration]) -> None:
    found = later(settled, 0.0)
    assert found.streams == STREAMS
    assert found.share < 0.5
    assert 0.5 < found.growth < 1.5
    assert not drift.drifted(LIMITS, found)


def test_streams_that_behave_differently_have_drifted_at_once(settled: tuple[Feed, Calibration]) -> None:
    found = later(settled, 1.5)
    assert found.share > 0.8
    assert drift.drifted(DriftLimits(growth=0.0), found)
    assert not drift.drifted(DriftLimits(share=0.0, growth=0.0), found)


def test_streams_that_have_not_settled_since_the_swap_say_nothing(settled: tuple[Feed, Calibration]) -> None:
    feed, calibration = settled
    rows = feed.slabs[0].view().copy()
    rows["model_samples"] = SETTLED_SAMPLES - 1
    found = drift.measure(rows, calibration)
    assert found == Drift(0, 0.0, 0.0)
    assert not drift.drifted(LIMITS, found)


def test_the_growth_is_the_usual_error_over_that_at_promotion(settled: tuple[Feed, Calibration]) -> None:
    feed, calibration = settled
    rows = feed.slabs[0].view().copy()
    rows["error_square"] = 9.0 * calibration["error_square"]
    assert drift.measure(rows, calibration).growth == pytest.approx(3.0, rel=1e-5)
    assert drift.measure(rows, {}).growth == 0.0
    assert drift.drifted(DriftLimits(share=0.0, growth=3.0), Drift(1, 0.0, 3.0))


@pytest.mark.parametrize(
    ("streams", "share", "found"),
    [(1, 1.0, False), (4, 1.0, True), (10, 0.7, False), (10, 0.8, True), (1000, 0.53, True)],
)
def test_of_a_few_streams_nearly_all_must_agree(streams: int, share: float, found: bool) -> None:
    assert drift.drifted(LIMITS, Drift(streams, share, 1.0)) == found
