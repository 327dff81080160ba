"""An artefact comes back as it was, or it is refused by name."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import cast

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from safetensors.numpy import load, save

from detectors.artefact import BYTES_MAX, Artefact, ArtefactError, Lineage, dumps, loads, model_id
from detectors.autoencoder import weight_shapes
from detectors.network import Network
from detectors.settings import ModelSettings

MODEL = ModelSettings(hidden=6, window=4, bottleneck=2)
LINEAGE = Lineage(
    group="web\"servers' \\ {sha256}",
    trained_samples=5000,
    offsets={"metrics-1": (5, 9), "metrics-0": (0, 7)},
    created_at_ms=1_700_000_000_000,
    seed=0,
    losses=(0.5, 0.25),
    versions={"torch": "2.15.0", "longwatch": "0.1.0"},
)


def made(model: ModelSettings = MODEL, channels: tuple[str, ...] = ("cpu", "mémoire")) -> Artefact:
    rng = np.random.default_rng(0)
    shapes = weight_shapes(features=2 * len(channels), channels=len(channels), settings=model)
    weights = {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    calibration: dict[str, NDArray[np.generic]] = {
        "quantiles": rng.normal(size=(3, 5)),
        "count": np.array(7),
        "none": np.zeros((0, 2)),
    }
    return Artefact(model, channels, weights, calibration, LINEAGE)


DATA = dumps(made())


def sealed(data: bytes, old: bytes, new: bytes) -> bytes:
    """Return the artefact with its manifest changed and a checksum that fits again."""
    length = int.from_bytes(data[:8], "little")
    header = data[8 : 8 + length].replace(old, new)
    assert header != data[8 : 8 + length]
    found = header.index(b'sha256\\":\\"') + len(b'sha256\\":\\"')
    blank = header[:found] + b"0" * 64 + header[found + 64 :]
    whole = len(blank).to_bytes(8, "little") + blank + data[8 + length :]
    return whole.replace(b"0" * 64, hashlib.sha256(whole).hexdigest().encode(), 1)


def test_an_artefact_comes_back_as_it_was() -> None:
    before, after = made(), loads(DATA)
    assert (after.model, after.channels, after.lineage) == (before.model, before.channels, before.lineage)
    for mine, theirs in ((before.weights, after.weights), (before.calibration, after.calibration)):
        assert mine.keys() == theirs.keys()
        for name in mine:
            assert mine[name].dtype == theirs[name].dtype
            assert np.array_equal(mine[name], theirs[name])
            assert mine[name].shape == theirs[name].shape


def test_equal_artefacts_are_equal_bytes_whatever_the_order_of_their_parts() -> None:
    one = made()
    backwards = replace(
        one,
        weights=dict(reversed(list(one.weights.items()))),
        lineage=replace(LINEAGE, offsets=dict(reversed(LINEAGE.offsets.items()))),
    )
    assert dumps(backwards) == DATA
    assert dumps(loads(DATA)) == DATA


def test_equal_artefacts_are_equal_bytes_in_another_process() -> None:
    program = "import runpy, sys;made = runpy.run_path(sys.argv[1]);print(made['model_id'](made['DATA']))"
    root = Path(__file__).parents[3]
    environment = os.environ | {"PYTHONPATH": str(root), "PYTHONHASHSEED": "77"}
    ran = subprocess.run(
        [sys.executable, "-c", program, __file__], env=environment, check=True, capture_output=True, text=True
    )
    assert ran.stdout.strip() == model_id(DATA)


def test_the_model_id_is_the_beginning_of_the_checksum_of_the_bytes() -> None:
    assert model_id(DATA) == hashlib.sha256(DATA).hexdigest()[:16]
    assert model_id(dumps(replace(made(), lineage=replace(LINEAGE, created_at_ms=1)))) != model_id(DATA)


def test_any_tool_for_safetensors_opens_it() -> None:
    tensors = load(DATA)
    assert np.array_equal(tensors["weight/code.weight"], made().weights["code.weight"])


def test_a_network_is_built_from_it() -> None:
    network = Network.from_artefact(loads(DATA))
    assert (network.features, network.channels, network.widths.hidden, network.window) == (4, 2, 6, 4)


@settings(max_examples=300)
@given(at=st.integers(0, len(DATA) * 8 - 1))
def test_any_flipped_bit_is_noticed(at: int) -> None:
    flipped = bytearray(DATA)
    flipped[at // 8] ^= 1 << at % 8
    with pytest.raises(ArtefactError):
        loads(bytes(flipped))


@settings(max_examples=200)
@given(length=st.integers(0, len(DATA) - 1), tail=st.binary(max_size=40))
def test_any_truncation_is_noticed_also_with_something_else_behind_it(length: int, tail: bytes) -> None:
    if DATA[:length] + tail != DATA:
        with pytest.raises(ArtefactError):
            loads(DATA[:length] + tail)


@settings(max_examples=200)
@given(st.binary(max_size=300))
def test_foreign_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(ArtefactError, match=r"do not begin as an artefact does; train the group again"):
        loads(data)


def test_bytes_behind_the_end_are_noticed() -> None:
    with pytest.raises(ArtefactError, match="checksum does not fit"):
        loads(DATA + b"\0")


def test_a_foreign_safetensors_file_is_refused() -> None:
    with pytest.raises(ArtefactError, match="do not begin as an artefact does"):
        loads(save({"x": np.zeros(3, np.float32)}, {"format": "np"}))


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        (rb"\"format\":1", rb"\"format\":2", "its format is 2 and this version reads 1; use the version that wrote it"),
        (rb"\"hidden\":6", rb"\"hidden\":7", r"ahead.bias has shape \(6,\), and its model settings ask for \(7,\)"),
        (rb"\"hidden\":6", rb"\"hidden\":7000000000", "model.hidden is 7000000000 and must be 1 to 4096"),
        (rb"\"window\":4", rb"\"window\":0", "model.window is 0"),
        (rb"\"window\":4", rb"\"window\":\"4\"", "cannot be read"),
        (rb"\"decoder\":\"mlp\"", rb"\"decoder\":\"cnn\"", "cannot be read"),
        (rb"\"decoder\":\"mlp\"", rb"\"decoder\":\"linear\"", "decoder.out.weight has shape"),
        (rb"[\"cpu\",", rb"[\"cpu\",\"disk\",", "ahead_out.bias has shape"),
        (rb"\"seed\":0", rb"\"sead\":0", "cannot be read"),
        (rb"\"losses\":[0.5,", rb"\"losses\":[null,", "cannot be read"),
        (rb"\"weight/code.bias\":[2]", rb"\"weight/code.bias\":[3]", "not those that its manifest names"),
        (b'"weight/code.bias":', b'"weight/code.bios":', "not those that its manifest names"),
        (b'"dtype":"F32","shape":[2]', b'"dtype":"F99","shape":[2]', "cannot be read"),
        (b'"dtype":"F32","shape":[2]', b'"dtype":"I32","shape":[2]', "not a finite float32"),
        (b'"shape":[2]', b'"shape":[4]', "cannot be read"),
    ],
)
def test_a_manifest_that_does_not_fit_is_refused_although_its_checksum_does(old: bytes, new: bytes, told: str) -> None:
    with pytest.raises(ArtefactError, match=told):
        loads(sealed(DATA, old, new))


def test_an_artefact_that_is_too_large_is_refused_on_both_sides() -> None:
    large = {"histograms": np.zeros(BYTES_MAX // 8 + 1)}
    with pytest.raises(ArtefactError, match=f"{BYTES_MAX} is the most; lower hidden, window or channels"):
        dumps(replace(made(), calibration=large))
    with pytest.raises(ArtefactError, match=f"{BYTES_MAX} is the most"):
        loads(bytes(BYTES_MAX + 1))


@pytest.mark.parametrize(
    ("name", "array", "told"),
    [
        ("code.bias", np.array([0.0, np.nan], np.float32), "code.bias holds something that is not a finite float32"),
        ("code.bias", np.zeros(2), "code.bias holds something that is not a finite float32"),
        ("code.bias", np.zeros(3, np.float32), r"code.bias has shape \(3,\), and its model settings ask for \(2,\)"),
        ("other", np.zeros(3, np.float32), r"other has shape \(3,\), and its model settings ask for None"),
        ("encoder.weight_ih_l0", np.zeros(3, np.float32), "not the weights of an autoencoder of architecture lstm"),
    ],
)
def test_weights_that_could_not_be_loaded_are_not_written(name: str, array: NDArray[np.generic], told: str) -> None:
    one = made()
    with pytest.raises(ArtefactError, match=told):
        dumps(replace(one, weights={**one.weights, name: cast("NDArray[np.float32]", array)}))


def test_a_missing_weight_and_a_loss_that_is_not_finite_are_not_written() -> None:
    one = made()
    with pytest.raises(ArtefactError, match=r"the weight code\.bias is missing"):
        dumps(replace(one, weights={name: array for name, array in one.weights.items() if name != "code.bias"}))
    with pytest.raises(ArtefactError, match=r"lineage\.losses"):
        dumps(replace(one, lineage=replace(LINEAGE, losses=(0.1, float("nan")))))


def test_the_manifest_is_plain_json() -> None:
    length = int.from_bytes(DATA[:8], "little")
    manifest = json.loads(json.loads(DATA[8 : 8 + length])["__metadata__"]["longwatch"])
    assert manifest["lineage"]["offsets"] == {"metrics-0": [0, 7], "metrics-1": [5, 9]}
    assert manifest["shapes"]["weight/code.weight"] == [2, 6]
    assert manifest["format"] == 1
