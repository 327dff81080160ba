"""Points of many streams in one record, in columns: what the first stage of a repartitioned input hands the second.

Nobody else writes this format, so it is none that can be configured. Points come out as they went in, in their order.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Final, NamedTuple

import msgspec
import numpy as np

from daemon.formats.columns import Columns, Head, Key, each_one, points
from daemon.formats.point import TIME_MS_MAX, VALUES_MAX, Kind, Malformed, Point

VERSION: Final = 1
READINGS_MAX: Final = 100  # in one record: turns are fitted by counting records
BYTES_MAX: Final = 200_000  # from about so many on, the next reading begins another record
HEADS_KNOWN_MAX: Final = 500_000
_NUMBERS: Final = np.dtype("<f8")


class Reading(NamedTuple):
    """One point: what stays the same of it as `head_bytes` wrote it, its time, and a number for each field."""

    head: bytes
    time_ms: int
    numbers: Sequence[float]


class _Head(msgspec.Struct, array_like=True, frozen=True):
    name: str
    labels: dict[str, str]
    fields: Annotated[list[str], msgspec.Meta(min_length=1, max_length=VALUES_MAX)]
    kinds: dict[str, Kind]
    unit: str


class _Packed(msgspec.Struct, array_like=True, frozen=True):
    version: int
    heads: list[msgspec.Raw]
    of: list[Annotated[int, msgspec.Meta(ge=0)]]  # which head each point has
    times_ms: list[Annotated[int, msgspec.Meta(ge=0, lt=TIME_MS_MAX)]]
    numbers: bytes


_pack: Final = msgspec.msgpack.Encoder().encode
_head: Final = msgspec.msgpack.Decoder(_Head)
_packed: Final = msgspec.msgpack.Decoder(_Packed)


def head_bytes(head: Head) -> bytes:
    """Return what stays the same of a point as a packed record holds it."""
    return _pack(_Head(head.name, dict(head.labels), list(head.fields), dict(head.kinds), head.unit))


def packed(readings: Sequence[Reading]) -> list[bytes]:
    """Return records that hold the readings, in their order."""
    found, first, room = list[bytes](), 0, BYTES_MAX
    for at, reading in enumerate(readings):
        if at > first and (at - first >= READINGS_MAX or room <= 0):
            found.append(_record(readings[first:at]))
            first, room = at, BYTES_MAX
        room -= len(reading.head) + 8 * len(reading.numbers)
    return [*found, _record(readings[first:])] if len(readings) > first else found


def _record(readings: Sequence[Reading]) -> bytes:
    places: dict[bytes, int] = {}
    of = [places.setdefault(reading.head, len(places)) for reading in readings]
    times_ms = [reading.time_ms for reading in readings]
    numbers = np.array([number for reading in readings for number in reading.numbers], _NUMBERS)
    return _pack(_Packed(VERSION, [msgspec.Raw(head) for head in places], of, times_ms, numbers.tobytes()))


class PackedFormat:
    """Decodes packed records."""

    def __init__(self) -> None:
        self._widths: dict[bytes, int] = {}  # how many numbers a point of a head has

    def decode(self, value: bytes) -> Sequence[Point] | Malformed:
        """Return the record's points, or why there are none."""
        return points(self, value) or Malformed("undecodable", "no record of a repartitioned input, or a damaged one")

    def cut(self, value: bytes, into: Columns) -> bool:
        """Append the record's points; False when it is not what `packed` writes."""
        try:
            seen = _packed.decode(value)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return False
        heads = [bytes(head) for head in seen.heads]
        widths = [self._width(head) for head in heads]
        if seen.version != VERSION or not seen.of or 0 in widths or max(seen.of) >= len(heads):
            return False
        if len(seen.of) != len(seen.times_ms) or 8 * sum(widths[each] for each in seen.of) != len(seen.numbers):
            return False
        numbers = np.frombuffer(seen.numbers, _NUMBERS)
        if np.isinf(numbers).any():
            return False
        into.keys += [heads[each] for each in seen.of]
        into.times_ms += seen.times_ms
        into.numbers += numbers.tolist()
        return True

    def cut_ones(self, values: Sequence[bytes], into: Columns) -> bool:
        """Append the points of records that hold one number each; False when one of them does not."""
        return each_one(self, values, into)

    def head(self, key: Key) -> Head | None:
        """Return what a key stands for."""
        found = _read_head(key) if isinstance(key, bytes) else None
        return None if found is None else Head(found.name, found.labels, found.fields, found.kinds, found.unit)

    def _width(self, head: bytes) -> int:
        """Return how many numbers a point of this head has, 0 when it is none."""
        known = self._widths.get(head)
        if known is None:
            found = _read_head(head)
            known = 0 if found is None else len(found.fields)
            if len(self._widths) >= HEADS_KNOWN_MAX:
                self._widths.clear()
            self._widths[head] = known
        return known


def _read_head(head: bytes) -> _Head | None:
    try:
        return _head.decode(head)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
