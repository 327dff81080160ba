"""A checkpoint carries a training from one process to another, and is refused by any other training."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from detectors.checkpoint import Checkpoint, CheckpointError, Saving, dumps, loads
from detectors.fit import Fitted, TrainingSeries, fit
from detectors.progress import CURVE_POINTS_MAX, Progress, thinned
from detectors.settings import ModelSettings, TrainingSettings

MODEL = ModelSettings(hidden=4, window=3, bottleneck=2)
QUICK = TrainingSettings(epochs_max=3, lanes=4, chunk_samples=8)


pytestmark = pytest.mark.usefixtures("one_thread")


def series(shift: float = 0.0) -> list[TrainingSeries]:
    values = np.sin(np.arange(200) / 5 + shift)[:, None].astype(np.float32)
    return [TrainingSeries(np.repeat(values, 2, axis=1), values, np.ones_like(values, np.bool_))]


def learnt(
    saving: Saving, training: TrainingSettings = QUICK, model: ModelSettings = MODEL, shift: float = 0.0
) -> Fitted:
    return fit(series(shift), model=model, training=training, progress=lambda _: None, saving=saving)


@pytest.fixture(scope="module")
def reached() -> Checkpoint:
    """Where a training of three epochs stood at its end."""
    kept: list[Checkpoint] = []
    learnt(Saving(keep=kept.append))
    assert [len(each.facts.epochs) for each in kept] == [1, 2, 3]
    return kept[-1]


def test_bytes_bring_back_every_fact_and_every_number(reached: Checkpoint) -> None:
    found = loads(dumps(reached))
    assert found.facts == reached.facts
    assert found.tensors.keys() == reached.tensors.keys()
    assert all(np.array_equal(found.tensors[name], reached.tensors[name]) for name in reached.tensors)
    assert dumps(found) == dumps(reached)


def test_a_training_that_was_done_is_not_done_again(reached: Checkpoint) -> None:
    report = learnt(Saving(start=reached)).report
    assert (report.epochs, report.stopped) == (3, "epochs")
    assert report.curves == reached.facts.epochs


def test_a_training_may_take_longer_than_was_meant(reached: Checkpoint) -> None:
    report = learnt(Saving(start=reached), replace(QUICK, epochs_max=5, seconds_max=99.0)).report
    assert [each.epoch for each in report.curves] == [1, 2, 3, 4, 5]
    assert report.curves[:3] == reached.facts.epochs


@pytest.mark.parametrize(
    ("training", "model", "shift", "why"),
    [
        (QUICK, replace(MODEL, architecture="gru"), 0.0, "made for ModelSettings.*architecture='lstm'"),
        (replace(QUICK, learning_rate=0.1), MODEL, 0.0, "made with TrainingSettings"),
        (QUICK, MODEL, 1.0, "made from another history; name the same files or the same offsets"),
    ],
    ids=["model", "training", "history"],
)
def test_another_training_is_refused(
    reached: Checkpoint, training: TrainingSettings, model: ModelSettings, shift: float, why: str
) -> None:
    with pytest.raises(CheckpointError, match=why):
        learnt(Saving(start=reached), training, model, shift)


@pytest.mark.parametrize("cut", [0, 7, 100, -1])
def test_bytes_that_are_cut_short_are_refused(reached: Checkpoint, cut: int) -> None:
    with pytest.raises(CheckpointError, match="start afresh"):
        loads(dumps(reached)[:cut])


@pytest.mark.parametrize("damage", ["shape", "name", "nan"])
def test_tensors_that_do_not_fit_are_refused(reached: Checkpoint, damage: str) -> None:
    tensors = dict(reached.tensors)
    weight = tensors.pop("mean/code.weight")
    if damage == "shape":
        tensors["mean/code.weight"] = weight[:1]
    if damage == "nan":
        tensors["mean/code.weight"] = weight * np.float32(np.nan)
    with pytest.raises(CheckpointError, match="its tensors do not fit"):
        learnt(Saving(start=Checkpoint(reached.facts, tensors)))


def test_curves_tell_norms_clipping_and_rates_of_every_epoch(reached: Checkpoint) -> None:
    for each in reached.facts.epochs:
        assert 0.0 < each.gradient_norm <= each.gradient_norm_max
        assert 0.0 <= each.clipped_share <= 1.0
    rates = [each.learning_rate for each in reached.facts.epochs]
    assert rates == sorted(rates, reverse=True)
    assert rates[-1] == pytest.approx(0.05 * QUICK.learning_rate)


@pytest.mark.parametrize("count", [0, 1, CURVE_POINTS_MAX, CURVE_POINTS_MAX + 1, 12_345])
def test_curves_are_thinned_to_a_bound_and_keep_their_end(count: int) -> None:
    curves = [Progress(epoch, count, 0.0, 0.0, 0.0, 0.0) for epoch in range(1, count + 1)]
    few = thinned(curves)
    assert len(few) == len(set(few)) <= CURVE_POINTS_MAX
    assert list(few) == sorted(few, key=lambda each: each.epoch)
    assert list(few[-1:]) == curves[-1:]
    assert count > CURVE_POINTS_MAX or list(few) == curves
