"""How far a training has come, as bytes: enough to go on as if it had never stopped.

The bytes are a safetensors file; its metadata hold one entry, `longwatch`, with everything that is no tensor.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from detectors.objective import Judged
from detectors.progress import Progress
from detectors.settings import ModelSettings, TrainingSettings

FORMAT: Final = 1
HEADER_KEY: Final = "longwatch"
_START_AFRESH: Final = "start afresh, without a checkpoint"

Tensors = Mapping[str, NDArray[np.float32]]


class CheckpointError(ValueError):
    """The bytes cannot be gone on from; the text says what is wrong, and what to do."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What stands beside the tensors."""

    history: str  # its fingerprint
    model: ModelSettings
    training: TrainingSettings
    epochs: tuple[Progress, ...]
    best_epoch: int
    best: Judged
    updates: int
    clipped: int  # of them


@dataclass(frozen=True, slots=True, eq=False)
class Checkpoint:
    """A training between two epochs. Tensors by name: `weight/`, `best/`, `mean/`, `square/` of each, and `state/`."""

    facts: Facts
    tensors: Tensors


@dataclass(frozen=True, slots=True)
class Saving:
    """Where a training goes on from, and who keeps how far it has come, called after each epoch."""

    start: Checkpoint | None = None
    keep: Callable[[Checkpoint], None] | None = None


class _Header(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    format: int
    facts: Facts


def dumps(checkpoint: Checkpoint) -> bytes:
    """Return the checkpoint as bytes."""
    header = msgspec.json.encode(_Header(FORMAT, checkpoint.facts), order="deterministic").decode()
    return save(dict(checkpoint.tensors), {HEADER_KEY: header})


def loads(data: bytes) -> Checkpoint:
    """Return the checkpoint that `dumps` made `data` of; raises CheckpointError for anything else."""
    try:
        length = int.from_bytes(data[:8], "little")
        metadata = msgspec.json.decode(data[8 : 8 + length])["__metadata__"]
        header = msgspec.json.decode(metadata[HEADER_KEY], type=_Header)
        tensors = load(data)
    except (msgspec.MsgspecError, SafetensorError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise CheckpointError(f"checkpoint: these {len(data)} bytes are none ({error}); {_START_AFRESH}") from error
    if header.format != FORMAT:
        raise CheckpointError(f"checkpoint: its format is {header.format} and not {FORMAT}; {_START_AFRESH}")
    return Checkpoint(header.facts, tensors)


def check(facts: Facts, *, history: str, model: ModelSettings, training: TrainingSettings) -> None:
    """Raise CheckpointError unless a training with these can go on from `facts`; how long it takes may differ."""
    if facts.model != model:
        raise CheckpointError(f"checkpoint: made for {facts.model}, configured is {model}; {_START_AFRESH}")
    limits = {name: getattr(training, name) for name in ("epochs_max", "patience_epochs", "seconds_max")}
    if replace(facts.training, **limits) != training:
        raise CheckpointError(f"checkpoint: made with {facts.training}, configured is {training}; {_START_AFRESH}")
    if facts.history != history:
        raise CheckpointError(
            f"checkpoint: made from another history; name the same files or the same offsets, or {_START_AFRESH}"
        )
