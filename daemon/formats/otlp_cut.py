"""Cuts OTLP's Protobuf: the points of gauges and sums, told apart by the bytes around their times and numbers."""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from daemon.formats.columns import Columns
from daemon.formats.point import NO_TIME, TIME_MS_MAX
from daemon.formats.wire import NotPlainError, part, parted

RESOURCES, SCOPES, METRICS, POINTS = b"\x0a", b"\x12", b"\x12", b"\x0a"  # tags of the parts, from outside inwards
NUMBERS: Final = b"\x2a\x3a"  # gauge and sum
DATA: Final = NUMBERS + b"\x4a\x52\x5a"  # and histograms of both kinds and summaries
BEGUN, AS_DOUBLE, AS_INT = 0x11, 0x21, 0x31
NS_PER_MS = 1_000_000
PLAIN: Final = struct.pack("<BQBd", 0x19, NS_PER_MS, AS_DOUBLE, 1.0)  # a point of the first millisecond
_DOUBLE: Final = struct.Struct("<BQBd")
_INTEGER: Final = struct.Struct("<BQBq")
_TIME: Final = 0x19


class Metric(NamedTuple):
    """All of a message that is around the points of one metric, level by level."""

    kind: int
    resource: bytes
    scope: bytes
    metric: bytes
    data: bytes


Key = tuple[Metric, bytes]


def cut(value: bytes, into: Columns) -> bool:
    """Append the points of a message; False, and it may be some, when there is anything else in it."""
    stamps: list[int] = []
    try:
        for metric, points in _metrics(value):
            for _, begin, end in points:
                if value[begin] == BEGUN:
                    begin += 9  # noqa: PLW2901  # nobody asks since when
                told = _INTEGER if value[begin + 9] == AS_INT else _DOUBLE
                time, stamp, kind, number = told.unpack_from(value, begin)
                if time != _TIME or kind not in (AS_DOUBLE, AS_INT) or begin + 18 > end:
                    return False
                stamps.append(stamp)
                into.numbers.append(number)
                into.keys.append((metric, value[begin + 18 : end]))
    except (NotPlainError, IndexError, struct.error):
        return False
    if not stamps or max(stamps) >= TIME_MS_MAX * NS_PER_MS:
        return False
    into.times_ms += [stamp // NS_PER_MS if stamp else NO_TIME for stamp in stamps]
    if not math.isfinite(sum(into.numbers)):
        into.numbers = [number if math.isfinite(number) else math.nan for number in into.numbers]
    return True


def _metrics(value: bytes) -> Iterator[tuple[Metric, Sequence[tuple[int, int, int]]]]:
    rest, resources = parted(value, (0, len(value)), RESOURCES)
    if rest:
        raise NotPlainError
    for _, *of_resource in resources:
        resource, scopes = parted(value, of_resource, SCOPES)
        for _, *of_scope in scopes:
            scope, metrics = parted(value, of_scope, METRICS)
            for _, *of_metric in metrics:
                metric, data = parted(value, of_metric, DATA)
                if len(data) != 1 or data[0][0] not in NUMBERS:
                    raise NotPlainError
                kind, *of_data = data[0]
                rest, points = parted(value, of_data, POINTS)
                yield Metric(kind, resource, scope, metric, rest), points


def joined(key: Key) -> bytes:
    """Return the message with one plain point of the kind that a key is of."""
    (kind, resource, scope, metric, data), rest = key
    of_data = part(kind, part(POINTS[0], PLAIN + rest) + data)
    of_scope = scope + part(METRICS[0], metric + of_data)
    return part(RESOURCES[0], resource + part(SCOPES[0], of_scope))
