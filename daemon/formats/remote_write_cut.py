"""Cuts requests of remote write: samples, told apart by the labels of their series and what the request says of all."""

from __future__ import annotations

import math
import struct
from typing import Final

from daemon.formats.columns import Columns
from daemon.formats.point import NO_TIME, TIME_MS_MAX
from daemon.formats.wire import NotPlainError, number, part, parted

SERIES, SAMPLES = b"\x0a", b"\x12"
PARTS: Final = SAMPLES + b"\x22"  # and native histograms
PLAIN: Final = struct.pack("<BdBB", 0x09, 1.0, 0x10, 1)  # a sample of the first millisecond
_VALUE: Final = 0x09
_TIME: Final = 0x10
_DOUBLE: Final = struct.Struct("<d")

Key = tuple[bytes, bytes]  # what the request says of all, what the series says of itself


def cut(request: bytes, into: Columns) -> bool:
    """Append the samples of a request; False, and it may be some, when there is anything else in it."""
    times_ms: dict[bytes, int] = {}  # most samples of a request are of the same time
    try:
        told, series = parted(request, (0, len(request)), SERIES)
        for _, *span in series:
            labels, samples = parted(request, span, PARTS)
            for tag, begin, end in samples:
                if tag != SAMPLES[0]:
                    return False
                value = 0.0
                if request[begin] == _VALUE:
                    (value,) = _DOUBLE.unpack_from(request, begin + 1)
                    begin += 9  # noqa: PLW2901  # on to the time
                stamp = request[begin:end]
                time_ms = times_ms.get(stamp)
                if time_ms is None:
                    time_ms = times_ms[stamp] = _time_ms(stamp)
                into.times_ms.append(time_ms)
                into.numbers.append(value if math.isfinite(value) else math.nan)
                into.keys.append((told, labels))
    except (NotPlainError, IndexError, struct.error):
        return False
    return bool(into.keys)


def _time_ms(stamp: bytes) -> int:
    if stamp[0] != _TIME:
        raise NotPlainError
    found, end = number(stamp, 1)
    if end != len(stamp) or found >= TIME_MS_MAX:
        raise NotPlainError
    return found or NO_TIME


def joined(key: Key) -> bytes:
    """Return the request with one plain sample of the series that a key is of."""
    told, labels = key
    return told + part(SERIES[0], labels + part(SAMPLES[0], PLAIN))
