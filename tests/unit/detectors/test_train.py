"""From histories to a detector that is scaled, fitted and calibrated on the same data."""

from __future__ import annotations

import math

import numpy as np
import pytest

from detectors import scaling, scoring
from detectors.adopt import adopt
from detectors.fit import Progress
from detectors.network import Network, use_threads
from detectors.scoring import Detector
from detectors.settings import TrainingSettings
from detectors.slab import row_dtype
from detectors.train import SERIES_SAMPLES_MIN, StreamHistory, TooLittleHistory, Trained, _series, train
from tests.conformance.feed import INTERVAL_MS, START_MS, settings_of, wave

QUICK = TrainingSettings(min_samples=200, epochs_max=3, lanes=4, chunk_samples=32)
SETTINGS = settings_of(2, training=QUICK)


def history(samples: int, seed: int = 0) -> StreamHistory:
    times_ms = START_MS + INTERVAL_MS * np.arange(samples, dtype=np.int64)
    return StreamHistory(times_ms, wave(samples, 2, seed))


def learnt(*histories: StreamHistory) -> tuple[Trained, list[Progress]]:
    use_threads(1)
    told: list[Progress] = []
    return train(SETTINGS, histories, told.append), told


@pytest.fixture(scope="module")
def trained() -> tuple[Trained, list[Progress]]:
    """What training on four streams of different lengths gives."""
    gappy = history(150, 3)
    gappy.values[20:40, 0] = math.nan
    return learnt(history(200), history(300, 1), gappy, history(SERIES_SAMPLES_MIN - 1, 4))


def test_a_network_is_learnt_and_told_epoch_by_epoch(trained: tuple[Trained, list[Progress]]) -> None:
    found, told = trained
    assert found.samples == 650  # the shortest stream is left out
    assert [each.epoch for each in told] == list(range(1, len(told) + 1))
    report = found.fitted.report
    assert report.validation_losses == tuple(each.validation_loss for each in told)
    assert min(report.validation_losses) < 1.0


def test_the_calibration_fits_the_rows_that_adopt_it(trained: tuple[Trained, list[Progress]]) -> None:
    found, _ = trained
    detector = Detector(SETTINGS, Network(found.fitted.weights, model=SETTINGS.model), "m")
    rows = adopt(detector, np.zeros(2, row_dtype(scoring.fields(SETTINGS))), found.calibration)
    for name, values in found.calibration.items():
        assert np.isfinite(values).all(), name
    assert rows["error_square"].all()
    assert rows["tail"][:, 0].any() == (len(SETTINGS.channels) == 1)


def test_training_again_gives_the_same(trained: tuple[Trained, list[Progress]]) -> None:
    one, other = (learnt(history(150), history(120, 1))[0] for _ in range(2))
    for name, weights in one.fitted.weights.items():
        assert np.array_equal(weights, other.fitted.weights[name])
    for name, values in one.calibration.items():
        assert np.array_equal(values, other.calibration[name])


@pytest.mark.parametrize(
    ("lengths", "why"),
    [
        ([], "0 samples in 0 streams, 200 are needed"),
        ([100], "100 samples in 1 streams, 200 are needed"),
        ([SERIES_SAMPLES_MIN - 1] * 50, "0 samples in 0 streams"),
    ],
)
def test_too_little_history_is_said(lengths: list[int], why: str) -> None:
    with pytest.raises(TooLittleHistory, match=why):
        learnt(*(history(length) for length in lengths))


def test_the_histories_given_stay_as_they_are() -> None:
    given = [history(150), history(220, 1)]
    before = [(each.times_ms.copy(), each.values.copy()) for each in given]
    learnt(*given)
    for each, (times_ms, values) in zip(given, before, strict=True):
        assert np.array_equal(each.times_ms, times_ms)
        assert np.array_equal(each.values, values)
    assert [len(each.times_ms) for each in given] == [150, 220]


def test_what_a_history_is_told_to_be_is_what_is_learnt_from() -> None:
    use_threads(1)
    rises = np.cumsum(np.abs(wave(300, 2, 1)) + 1.0, axis=0)
    times_ms = START_MS + INTERVAL_MS * np.arange(300, dtype=np.int64)
    told = np.array([scaling.COUNTER, scaling.GAUGE], dtype=np.float32)
    (series,) = _series(SETTINGS, [StreamHistory(times_ms, rises, told)])
    assert series.valid[:3].tolist() == [[False, True], [True, True], [True, True]]
    steps = np.abs(np.diff(series.targets, axis=0)).mean(axis=0)
    assert steps[0] > 10 * steps[1]  # a rate goes up and down, a total only on
