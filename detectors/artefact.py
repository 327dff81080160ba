"""A trained model as bytes: weights, calibration and where they came from, under a checksum.

The bytes are a safetensors file, so any tool for such files opens it. Its metadata hold one entry, `longwatch`: the
manifest, whose first field is the SHA-256 of the whole file, taken with that field's 64 digits set to zero. Nothing is
parsed before the checksum fits.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, NoReturn

import msgspec
import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from detectors.autoencoder import sizes_of, weight_shapes
from detectors.progress import Progress
from detectors.settings import KERNEL_MAX, LAYERS_MAX, ModelSettings
from detectors.verdict import Verdict

FORMAT: Final = 1
BYTES_MAX: Final = 8 * 1024 * 1024
WIDTH_MAX: Final = 4096  # of all widths: what a manifest may ask for before anything is built
HEADER_KEY: Final = "longwatch"

_BLANK: Final = "0" * 64
# eight bytes of length, then JSON that holds JSON as a string
_START: Final = re.compile(rb'.{8}\{"__metadata__":\{"longwatch":"\{\\"sha256\\":\\"([0-9a-f]{64})\\"', re.DOTALL)
_SIZES_MAX: Final = {
    **dict.fromkeys(("hidden", "window", "bottleneck", "horizon"), WIDTH_MAX),
    "layers": LAYERS_MAX,
    "kernel": KERNEL_MAX,
}
_WEIGHT, _CALIBRATION = "weight/", "calibration/"
_TRAIN_AGAIN: Final = "train the group again, or restore an earlier model"


class ArtefactError(ValueError):
    """The bytes cannot be used as a model; the text says what is wrong, where, and what to do."""


@dataclass(frozen=True, slots=True)
class Lineage:
    """Where a model came from: enough to train it again."""

    group: str
    trained_samples: int
    offsets: dict[str, tuple[int, int]]  # by "topic-partition": first and last input offset
    created_at_ms: int
    seed: int
    losses: tuple[float, ...]  # on the later data, after each epoch
    versions: dict[str, str]  # by package
    parent: str = ""  # model id of what scored when it was trained
    trained_from_ms: int = 0  # event times
    trained_to_ms: int = 0
    settings: str = ""  # checksum of the detector's settings
    cause: str = ""  # what made the training due: schedule, drift, operator
    verdict: Verdict | None = None
    promoted_at_ms: int = 0  # 0: refused, or promoted by hand later
    curves: tuple[Progress, ...] = ()  # how the training went


@dataclass(frozen=True, slots=True, eq=False)
class Artefact:
    """A trained model with its calibration, its training data's range and its checksum."""

    model: ModelSettings
    channels: tuple[str, ...]
    weights: Mapping[str, NDArray[np.float32]]  # by their names in the autoencoder
    calibration: Mapping[str, NDArray[np.generic]]  # whatever the thresholds start from
    lineage: Lineage


class _Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What stands beside the tensors; `sha256` must stay the first field."""

    sha256: str
    format: int
    model: ModelSettings
    channels: tuple[str, ...]
    shapes: dict[str, tuple[int, ...]]
    lineage: Lineage


class _Header(msgspec.Struct):
    """The part of a safetensors header that is ours."""

    metadata: dict[str, str] = msgspec.field(name="__metadata__")


def dumps(artefact: Artefact) -> bytes:
    """Return the artefact as bytes; equal artefacts give equal bytes.

    Raises ArtefactError when it would be too large, holds a number that is not finite, or its weights do not fit its
    settings.
    """
    _check(artefact)
    tensors = {_WEIGHT + name: np.asarray(array, order="C") for name, array in artefact.weights.items()}
    tensors |= {_CALIBRATION + name: np.asarray(array, order="C") for name, array in artefact.calibration.items()}
    shapes = {name: array.shape for name, array in tensors.items()}
    manifest = _Manifest(_BLANK, FORMAT, artefact.model, artefact.channels, shapes, artefact.lineage)
    blank = save(tensors, {HEADER_KEY: msgspec.json.encode(manifest, order="deterministic").decode()})
    if len(blank) > BYTES_MAX:
        _refuse(f"it takes {len(blank)} bytes and {BYTES_MAX} is the most", "lower hidden, window or channels")
    return blank.replace(_BLANK.encode(), hashlib.sha256(blank).hexdigest().encode(), 1)


def loads(data: bytes) -> Artefact:
    """Return the artefact that `dumps` made `data` of; raises ArtefactError for anything else."""
    _check_digest(data)
    try:
        manifest = msgspec.json.decode(_manifest_json(data), type=_Manifest)
        tensors = load(data)
    except (msgspec.MsgspecError, SafetensorError, KeyError, ValueError, RecursionError) as error:
        raise ArtefactError(f"artefact: its checksum fits, but it cannot be read ({error}); {_TRAIN_AGAIN}") from error
    if manifest.format != FORMAT:
        _refuse(f"its format is {manifest.format} and this version reads {FORMAT}", "use the version that wrote it")
    if manifest.shapes != {name: array.shape for name, array in tensors.items()}:
        _refuse("its tensors are not those that its manifest names")
    weights, calibration = _under(_WEIGHT, tensors), _under(_CALIBRATION, tensors)
    artefact = Artefact(manifest.model, manifest.channels, weights, calibration, manifest.lineage)
    _check(artefact)
    return artefact


def model_id(data: bytes) -> str:
    """Return the name of the model with these bytes: the first 16 hexadecimal digits of their SHA-256."""
    return hashlib.sha256(data).hexdigest()[:16]


def _check_digest(data: bytes) -> None:
    if len(data) > BYTES_MAX:
        _refuse(f"it has {len(data)} bytes and {BYTES_MAX} is the most")
    start = _START.match(data)
    if start is None:
        _refuse(f"these {len(data)} bytes do not begin as an artefact does")
    blank = data[: start.start(1)] + _BLANK.encode() + data[start.end(1) :]
    if hashlib.sha256(blank).hexdigest().encode() != start[1]:
        _refuse("its checksum does not fit: it is damaged or cut short")


def _manifest_json(data: bytes) -> str:
    length = int.from_bytes(data[:8], "little")
    return msgspec.json.decode(data[8 : 8 + length], type=_Header).metadata[HEADER_KEY]


def _under(prefix: str, tensors: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    return {name.removeprefix(prefix): array for name, array in tensors.items() if name.startswith(prefix)}


def _check(artefact: Artefact) -> None:
    check_sizes(artefact.model)
    try:
        features, _ = sizes_of(artefact.weights, artefact.model)
        if not features or not artefact.channels:
            _refuse(f"a model of {len(artefact.channels)} channels and {features} inputs is none")
        expected = weight_shapes(features=features, channels=len(artefact.channels), settings=artefact.model)
    except ValueError as error:
        raise ArtefactError(f"artefact: {error}; {_TRAIN_AGAIN}") from error
    for name in sorted(expected.keys() | artefact.weights.keys()):
        _check_weight(name, artefact.weights.get(name), expected.get(name))
    if not all(map(math.isfinite, artefact.lineage.losses)):
        _refuse("lineage.losses holds a number that is not finite")


def check_sizes(model: ModelSettings) -> None:
    """Raise ArtefactError when settings that came from outside ask for more than is ever built."""
    for name, most in _SIZES_MAX.items():
        value = getattr(model, name)
        if not 1 <= value <= most:
            _refuse(f"model.{name} is {value} and must be 1 to {most}", "correct the model settings")


def _check_weight(name: str, array: NDArray[Any] | None, shape: tuple[int, ...] | None) -> None:
    if array is None:
        _refuse(f"the weight {name} is missing")
    if array.shape != shape:
        _refuse(f"the weight {name} has shape {array.shape}, and its model settings ask for {shape}")
    if array.dtype != np.float32 or not np.isfinite(array).all():
        _refuse(f"the weight {name} holds something that is not a finite float32")


def _refuse(problem: str, remedy: str | None = None) -> NoReturn:
    raise ArtefactError(f"artefact: {problem}; {remedy or _TRAIN_AGAIN}")
