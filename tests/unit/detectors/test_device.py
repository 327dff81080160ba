"""A GPU is a choice that changes nothing where there is none, and is refused with a reason where it is demanded."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch

from daemon.commands.check_config import check_config
from detectors.architectures.family import Teaching
from detectors.autoencoder import untrained, weights_of
from detectors.checkpoint import Checkpoint, Saving
from detectors.device import CPU, DeviceMissing, found
from detectors.fit import fit
from detectors.lanes import History, TrainingSeries, chunks, random_spans
from detectors.network import Network
from detectors.objective import Lesson, heads
from detectors.settings import Architecture, DetectorSettings, Device, ModelSettings, TrainingSettings

MODEL = ModelSettings(hidden=6, window=4, bottleneck=2)
TRAINING = TrainingSettings(epochs_max=3, chunk_samples=16, lanes=4)
HAS_GPU = torch.cuda.is_available()

pytestmark = pytest.mark.usefixtures("one_thread")


def given() -> TrainingSeries:
    values = np.sin(np.arange(600)[:, None] / 7.0).astype(np.float32)
    return TrainingSeries(np.repeat(values, 4, axis=1), values, np.ones_like(values, dtype=bool))


Weights = dict[str, np.ndarray[tuple[int, ...], np.dtype[np.float32]]]


def learnt(device: torch.device, saving: Saving | None = None) -> Weights:
    history = History.of([given()], device)
    return fit(history, model=MODEL, training=TRAINING, progress=lambda _: None, saving=saving).weights


def test_auto_takes_what_there_is() -> None:
    assert found("cpu") == CPU
    assert found("auto") == torch.device("cuda" if HAS_GPU else "cpu")


def test_a_gpu_that_is_not_there_is_refused_with_a_reason_and_a_way_out(tmp_path: Path) -> None:
    config, out = tmp_path / "longwatch.yaml", io.StringIO()
    config.write_text("groups: [{name: a, select: [a='1']}, {name: b, device: cuda}]", encoding="utf-8")
    code = check_config(config, None, {}, out)
    if HAS_GPU:
        assert code == 0
        return
    assert code == 78
    assert out.getvalue().startswith("groups[1].device: cuda cannot be had: ")
    assert "say cpu, or auto" in out.getvalue()
    with pytest.raises(DeviceMissing):
        Network.of({}, DetectorSettings(device="cuda"))


@pytest.mark.parametrize("wanted", ["cpu", "auto"])
def test_training_on_a_device_gives_weights_that_score_on_any(wanted: Device) -> None:
    device = found(wanted)
    weights, other = learnt(device), learnt(CPU)
    for name, weight in weights.items():
        assert np.allclose(weight, other[name], atol=0.0 if device == CPU else 0.05), name
    network = Network.of(weights, DetectorSettings(model=MODEL, device=wanted))
    rows = np.linspace(-1, 1, 12, dtype=np.float32).reshape(3, 4)
    state = np.zeros((3, 6), np.float32)
    mine, theirs = (each.advance(rows, state, state).forecast for each in (network, Network(weights, model=MODEL)))
    assert np.allclose(mine, theirs, atol=0.0 if device == CPU else 1e-4)


def test_a_training_goes_on_from_its_checkpoint_where_it_is_told_to() -> None:
    kept: list[Checkpoint] = []
    whole = learnt(found("auto"), Saving(keep=kept.append))
    again = learnt(found("auto"), Saving(start=kept[0]))
    for name, weight in whole.items():
        assert np.allclose(weight, again[name], atol=0.05 if HAS_GPU else 0.0), name


def test_weights_of_a_streams_own_stay_on_the_processor() -> None:
    model = untrained(features=4, channels=1, settings=MODEL, seed=0)
    settings = DetectorSettings(model=MODEL, scope="stream", device="cuda")
    assert Network.of(weights_of(model), settings).bases.parts


@pytest.mark.parametrize("architecture", get_args(Architecture))
def test_whatever_a_lesson_computes_stays_where_the_history_is(architecture: Architecture) -> None:
    there, chance = torch.device("meta"), torch.Generator().manual_seed(0)
    history = History.of([given()], there)  # what mixes devices is refused, as with a GPU
    spans = random_spans(replace(history), lanes=4, burn_in=16, generator=chance)
    chunk = next(chunks(spans, lanes=4, samples=16, rows=600)).to(there)
    settings = replace(MODEL, architecture=architecture, horizon=2)
    network = untrained(features=4, channels=1, settings=settings, seed=0).to(there)
    teaching, state = Teaching(TRAINING, chance), chunk.carry(network.nothing(4))
    inputs = network.disturbed(history.inputs[chunk.rows], teaching)
    summary, _ = network.encode(inputs, state)
    loss = heads(network, history, Lesson(chunk, inputs, summary, torch.arange(4, device=there)), teaching).loss
    penalty = network.penalty(inputs, state, summary, teaching)
    assert {each.device for each in (loss, penalty, *history.repetition(chunk, 2)) if each is not None} == {there}


def test_the_choice_of_a_device_is_no_part_of_a_models_shape() -> None:
    assert DetectorSettings(device="auto").model == replace(DetectorSettings(), device="cpu").model
