"""Derived channels: what is scored in the place of what was read, made of it sample by sample.

The list is closed: a rate, a difference, a ratio of two, a logarithm. What cannot be made is missing (NaN), which the
detector leaves out of its errors; nothing is ever invented. What a rate or a difference needs of the sample before
lies in the stream's row.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from daemon.samples import Part
from daemon.waves import queued
from detectors import scaling
from detectors.slab import Delta, Fields, Row

F = NDArray[np.float64]
I8 = NDArray[np.int64]
Index = NDArray[np.intp]

Kind = Literal["rate", "difference", "ratio", "log"]
WITH_MEMORY: Final = ("rate", "difference")


@dataclass(frozen=True, slots=True)
class Derived:
    """One channel that is made: of one other, or of two (`ratio`)."""

    name: str
    kind: Kind
    of: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Derivation:
    """What is read, what is made of it in this order, and what of both is scored."""

    reads: tuple[str, ...]
    makes: tuple[Derived, ...]
    channels: tuple[str, ...]

    @property
    def is_made(self) -> tuple[bool, ...]:
        """Which of the channels that are scored are derived."""
        names = {each.name for each in self.makes}
        return tuple(name in names for name in self.channels)

    @property
    def remembered(self) -> int:
        """How many of the derived channels need the value before."""
        return sum(each.kind in WITH_MEMORY for each in self.makes)

    def fields(self) -> Fields:
        """Return the row fields that this needs; zeros are right for a new stream."""
        count = self.remembered
        if not count:
            return []
        return [
            ("derive_newest_ms", "i8", ()),
            ("derive_ms", "i8", (count,)),  # when the value before was; 0: there is none
            ("derive_value", "f8", (count,)),
        ]


def derived(derivation: Derivation, part: Part) -> Part:
    """Return the part with the channels that are scored, and the rows that remember what the next sample needs."""
    queue, slots = queued(part.samples.slots, part.moved_slots)
    rows, read = part.rows(slots), part.samples.values
    if derivation.remembered:
        memory = _Memory(rows)
        values = np.empty((len(read), len(derivation.channels)))
        for wave in queue.waves(0, len(slots)):
            before = memory.at(wave.row, part.samples.times_ms[wave.at])
            values[wave.at] = _made(derivation, read[wave.at], before)
        memory.store()
    else:
        values = _made(derivation, read, None)
    # what is made is what it is made to be, however much it looks like a total
    rows["counter"] = np.where(derivation.is_made, scaling.GAUGE, rows["counter"])
    return replace(part, samples=replace(part.samples, values=values), moved=Delta(slots, rows))


def _made(derivation: Derivation, values: F, before: _Before | None) -> F:
    """Return the channels that are scored (n, D) of what was read (n, R)."""
    known = {name: values[:, r] for r, name in enumerate(derivation.reads)}
    number = 0
    with np.errstate(over="ignore", invalid="ignore"):
        for each in derivation.makes:
            of = [known[name] for name in each.of]
            if before is not None and each.kind in WITH_MEMORY:
                known[each.name] = before.change(number, of[0], per_second=each.kind == "rate")
                number += 1
            else:
                known[each.name] = _ratio(*of) if each.kind == "ratio" else _log(of[0])
    result = np.stack([known[name] for name in derivation.channels], axis=1)
    return np.where(np.isfinite(result), result, np.nan)


def _ratio(above: F, below: F) -> F:
    """Return above by below, missing where either is or the lower one is 0."""
    result: F = np.divide(above, below, out=np.full(len(above), np.nan), where=below != 0)
    return result


def _log(value: F) -> F:
    """Return the natural logarithm, missing where there is none."""
    result: F = np.log(value, out=np.full(len(value), np.nan), where=value > 0)
    return result


class _Memory:
    """What rows remember for rates and differences, in arrays of their own while a part goes through."""

    def __init__(self, rows: Row) -> None:
        self._rows = rows
        self.newest_ms: I8 = rows["derive_newest_ms"].copy()
        self.ms: I8 = rows["derive_ms"].copy()
        self.value: F = rows["derive_value"].copy()

    def at(self, row: Index, times_ms: I8) -> _Before:
        """Return what samples of different streams find; those that come late neither find nor leave anything."""
        fresh = times_ms > self.newest_ms[row]
        self.newest_ms[row] = np.maximum(times_ms, self.newest_ms[row])
        return _Before(self, row, times_ms, fresh)

    def store(self) -> None:
        """Write what has moved into the rows."""
        for name, column in (("newest_ms", self.newest_ms), ("ms", self.ms), ("value", self.value)):
            self._rows[f"derive_{name}"] = column


@dataclass(frozen=True, slots=True)
class _Before:
    """The samples before those of one wave."""

    memory: _Memory
    row: Index
    times_ms: I8
    fresh: NDArray[np.bool_]

    def change(self, number: int, value: F, *, per_second: bool) -> F:
        """Return by how much `value` differs from the one before, and take its place.

        A rate is that of a total: where it falls, the total began anew, and what was added is not known.
        """
        memory, row = self.memory, self.row
        before_ms = memory.ms[row, number]
        known = self.fresh & (before_ms > 0)
        change = np.where(known, value - memory.value[row, number], np.nan)
        if per_second:
            seconds = np.maximum(self.times_ms - before_ms, 1) / 1000.0
            change = np.where(change < 0, np.nan, change / seconds)
        taken = self.fresh & ~np.isnan(value)
        memory.value[row, number] = np.where(taken, value, memory.value[row, number])
        memory.ms[row, number] = np.where(taken, self.times_ms, before_ms)
        return change


def order_of(makes: Sequence[Derived], reads: Sequence[str]) -> Derived | None:
    """Return the first derived channel that needs one that is neither read nor made before it; None if all can be."""
    known = set(reads)
    for each in makes:
        if not known.issuperset(each.of):
            return each
        known.add(each.name)
    return None
