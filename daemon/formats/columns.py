"""A record in columns: what stays the same from sample to sample as keys, with times and numbers beside them.

A format that can be cut so decodes by this very cut, so there are never two opinions of what a record says.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple, Protocol, runtime_checkable

import msgspec

from daemon.formats.options import TimestampUnit
from daemon.formats.point import UNTOLD, VALUES_MAX, Kind, Malformed, Point, time_ms

Key = Hashable
APART: Final = b"\xff"  # between the parts of a key: no UTF-8 holds it
_TEXT: Final = msgspec.json.Decoder(str)
_LABELS: Final = msgspec.json.Decoder(dict[str, str])


def json_key(name: msgspec.Raw, labels: msgspec.Raw) -> bytes:
    """Return the key of a name and labels as they stand in JSON, nothing where they do not."""
    return APART.join((name, labels))


def json_head(key: bytes, fields: Sequence[str]) -> Head | None:
    """Return what such a key stands for."""
    name, _, labels = key.partition(APART)
    try:
        return Head(_TEXT.decode(name) if name else "", _LABELS.decode(labels) if labels else {}, fields)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None


class Head(NamedTuple):
    """What stays the same of a point: all but its time and its numbers, which are those of `fields`, in their order."""

    name: str
    labels: Mapping[str, str]
    fields: Sequence[str] = ("value",)
    kinds: Mapping[str, Kind] = UNTOLD
    unit: str = ""


@dataclass(slots=True)
class Columns:
    """Points, each with as many numbers as its head has fields; NaN where a number is missing."""

    keys: list[Key] = field(default_factory=list)
    times_ms: list[int] = field(default_factory=list)  # or NO_TIME
    numbers: list[float] = field(default_factory=list)

    def extend(self, more: Columns) -> None:
        """Append what another one holds."""
        self.keys += more.keys
        self.times_ms += more.times_ms
        self.numbers += more.numbers

    def stamp(self, stamps: Sequence[object], unit: TimestampUnit) -> bool:
        """Append time stamps in `unit` as milliseconds; False, and nothing appended, when one of them is none."""
        found = [time_ms(each, unit) for each in stamps]
        if set(map(type, found)) != {int}:
            return False
        self.times_ms += found  # type: ignore[arg-type]  # looked at right now
        return True

    def shorten(self, points: int, numbers: int) -> None:
        """Leave no more than the first so many times and numbers."""
        del self.times_ms[points:], self.numbers[numbers:]

    def taken_keys(self) -> list[Key]:
        """Return the keys and hold none of them any more."""
        keys, self.keys = self.keys, []
        return keys


@runtime_checkable
class Columnar(Protocol):
    """A format whose plain records can be cut. Equal keys have equal heads."""

    def decode(self, value: bytes) -> Sequence[Point] | Malformed:
        """Return the record's points, or why there are none."""

    def cut(self, value: bytes, into: Columns) -> bool:
        """Append the record's points, at least one; False, and nothing appended, when it wants a closer look.

        So does one whose head is none. Raises nothing.
        """

    def cut_ones(self, values: Sequence[bytes], into: Columns) -> bool:
        """Append the one point, of one number, that each of the records holds; False, and it may be any, if not so.

        What it appends is what `cut` would. Raises nothing.
        """

    def head(self, key: Key) -> Head | None:
        """Return what a key of `cut` stands for; None when that is not as it must be. Raises nothing."""


def each_one(form: Columnar, values: Sequence[bytes], into: Columns) -> bool:
    """Append the points of records that hold one number each, one after the other; False at the first that does not."""
    for count, value in enumerate(values, 1):
        if not form.cut(value, into) or not len(into.keys) == len(into.numbers) == count:
            return False
    return True


def points(form: Columnar, value: bytes) -> list[Point] | None:
    """Return the points of a record that can be cut, None for any other."""
    cut = Columns()
    if not form.cut(value, cut):
        return None
    found, at = [], 0
    for key, moment in zip(cut.keys, cut.times_ms, strict=True):
        head = form.head(key)
        if head is None:
            return None
        end = at + len(head.fields)
        fields = dict(zip(head.fields, cut.numbers[at:end], strict=True))
        found.append(Point(head.name, head.labels, moment, fields, head.kinds, head.unit))
        at = end
    return found if at <= VALUES_MAX else None
