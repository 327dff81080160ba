"""`longwatch train` on files: the model, how far it has come, and what it was like."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from daemon.commands.saves import Saves
from daemon.commands.train import TrainArguments, train
from daemon.commands.voices import EXIT_FAILED, EXIT_OK
from daemon.config import load
from daemon.models import ready
from detectors import artefact, checkpoint
from detectors.network import use_threads


@pytest.fixture(autouse=True)
def _threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    use_threads(before)


@pytest.fixture
def arguments(tmp_path: Path) -> TrainArguments:
    """What trains a small stacked model of a short file."""
    rows = (f"{1_700_000_000 + 60 * i},{np.sin(i / 9):.5f}\n" for i in range(400))
    (tmp_path / "a.csv").write_text("timestamp,value\n" + "".join(rows), encoding="utf-8")
    model = {"architecture": "stacked", "layers": 2, "hidden": 4, "window": 4, "bottleneck": 2}
    training = {"min_samples": 100, "epochs_max": 2, "lanes": 4, "chunk_samples": 16}
    group = {"name": "g", "model": model, "training": training}
    (tmp_path / "c.yaml").write_text(json.dumps({"groups": [group]}), encoding="utf-8")
    return TrainArguments(tmp_path / "c.yaml", files=(tmp_path / "a.csv",), output=tmp_path / "model.st")


def run(arguments: TrainArguments) -> tuple[int, str]:
    err = io.StringIO()
    return train(arguments, {}, io.StringIO(), err), err.getvalue()


def test_a_training_leaves_model_checkpoint_and_picture_and_nothing_else(
    arguments: TrainArguments, tmp_path: Path
) -> None:
    before = {each.name for each in tmp_path.iterdir()}
    saves = Saves(checkpoint=tmp_path / "c.ckpt", plot=tmp_path / "curves.svg")
    assert run(replace(arguments, saves=saves))[0] == EXIT_OK
    assert {each.name for each in tmp_path.iterdir()} - before == {"model.st", "c.ckpt", "curves.svg"}
    found = artefact.loads((tmp_path / "model.st").read_bytes())
    reached = checkpoint.loads((tmp_path / "c.ckpt").read_bytes())
    assert found.lineage.curves == reached.facts.epochs
    assert [each.validation_loss for each in found.lineage.curves] == list(found.lineage.losses)
    assert "architecture stacked" in (tmp_path / "curves.svg").read_text(encoding="utf-8")
    group = load(arguments.config, {}).groups[0]
    live = ready(found, "id", group.detector())
    assert live.detector.network is not None


def test_a_pipe_and_a_link_are_written_to_and_stay_what_they_are(arguments: TrainArguments, tmp_path: Path) -> None:
    pipe, link, target = tmp_path / "pipe", tmp_path / "link", tmp_path / "target"
    os.mkfifo(pipe)
    link.symlink_to(target)
    reading = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        assert run(replace(arguments, output=pipe, saves=Saves(checkpoint=link)))[0] == EXIT_OK
        assert artefact.loads(os.read(reading, 65536)).model.architecture == "stacked"
    finally:
        os.close(reading)
    assert pipe.is_fifo()
    assert link.is_symlink()
    assert checkpoint.loads(target.read_bytes()).facts.model.architecture == "stacked"


def test_a_training_that_is_resumed_adds_what_is_left(arguments: TrainArguments, tmp_path: Path) -> None:
    place = tmp_path / "c.ckpt"
    assert run(replace(arguments, saves=Saves(checkpoint=place)))[0] == EXIT_OK
    text = arguments.config.read_text(encoding="utf-8").replace('"epochs_max": 2', '"epochs_max": 3')
    arguments.config.write_text(text, encoding="utf-8")
    assert run(replace(arguments, saves=Saves(checkpoint=place, resume=place)))[0] == EXIT_OK
    assert [each.epoch for each in checkpoint.loads(place.read_bytes()).facts.epochs] == [1, 2, 3]


def test_a_checkpoint_that_is_not_there_or_is_none_is_told(arguments: TrainArguments, tmp_path: Path) -> None:
    code, told = run(replace(arguments, saves=Saves(resume=tmp_path / "none.ckpt")))
    assert (code, "none.ckpt: cannot be read" in told) == (EXIT_FAILED, True)
    (tmp_path / "other.ckpt").write_bytes(b"something else")
    code, told = run(replace(arguments, saves=Saves(resume=tmp_path / "other.ckpt")))
    assert (code, "these 14 bytes are none" in told) == (EXIT_FAILED, True)


def test_a_picture_that_cannot_be_written_is_told_before_the_training(
    arguments: TrainArguments, tmp_path: Path
) -> None:
    saves = Saves(checkpoint=tmp_path / "c.ckpt", plot=tmp_path / "nowhere" / "curves.svg")
    code, told = run(replace(arguments, saves=saves))
    assert (code, "curves.svg: cannot be written" in told) == (EXIT_FAILED, True)
    assert not (tmp_path / "c.ckpt").exists()
