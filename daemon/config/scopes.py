"""Finds groups whose streams cannot have weights of their own, or would take more memory than anyone means."""

from __future__ import annotations

from collections.abc import Iterator

from pydantic import ValidationError

from daemon.config.document import Path, Problem
from daemon.config.groups import GroupConfig
from daemon.config.problems import Source, at
from daemon.engine import layout

ROW_BYTES_MAX = 1_000_000  # a page holds whole rows, and a turn copies them
SLAB_BYTES_MAX = 16_000_000_000  # of one group in one partition, when it is full

_SHARED = "model.scope: stream with it: what several partitions share cannot move in each one's own transaction"
_STILL = "learning: continual with it (or frozen), for nothing else moves weights of a stream's own"
_CELLS = "lstm with model.scope: stream: how others learn in the step is not written out"
_DECODERS = "mlp or linear with model.scope: stream: how an LSTM decoder learns in the step is not written out"


def impossible_scopes(source: Source, path: Path) -> Iterator[Problem]:
    """Yield a problem for each setting of the group at `path` that does not go with whose its weights are."""
    group = _group(source, path)
    if group is None:
        return
    is_own = group.model.scope == "stream"
    if not is_own and group.learning == "continual":
        yield source.problem((*path, "learning"), _SHARED)
    if not is_own:
        return
    if group.learning == "background":
        yield source.problem((*path, "learning"), _STILL)
    if group.model.architecture != "lstm":
        yield source.problem((*path, "model", "architecture"), _CELLS)
    elif group.model.decoder == "lstm":
        yield source.problem((*path, "model", "decoder"), _DECODERS)
    else:
        yield from _too_large(source, path, group)


def row_bytes(group: GroupConfig) -> int:
    """Return what one stream of a group takes in memory and in the state topic."""
    recipe = group.recipe()
    return layout(group.detector(), recipe.fields() if recipe else ()).itemsize


def _too_large(source: Source, path: Path, group: GroupConfig) -> Iterator[Problem]:
    each = row_bytes(group)
    if each > ROW_BYTES_MAX:
        told = f"fewer numbers: with own weights a stream takes {_rough(each)} bytes, and {ROW_BYTES_MAX} are the most"
        yield source.problem((*path, "model", "hidden"), f"{told}; lower hidden, window, channels or every_samples")
    elif each * group.max_streams > SLAB_BYTES_MAX:
        most = _rough(SLAB_BYTES_MAX // each)
        told = f"about {most} at most, with own weights of {_rough(each)} bytes a stream"
        yield source.problem((*path, "max_streams"), f"{told}: {SLAB_BYTES_MAX} in each partition")


def _rough(number: int) -> int:
    """Return a number with its first two digits only."""
    return round(number, 2 - len(str(number)))


def _group(source: Source, path: Path) -> GroupConfig | None:
    """Return the group as it would be, None where something in it is wrong by itself."""
    found = at(source.substituted.value, path)
    try:
        return GroupConfig.model_validate(found) if isinstance(found, dict) else None
    except ValidationError:
        return None
