"""What a format makes of a record: points, each one metric at one time, with one field or many."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Literal, NamedTuple, Protocol

from daemon.types import RejectReason

TimestampUnit = Literal["auto", "s", "ms", "us", "ns"]

_MS_PER: Mapping[str, float] = {"s": 1e3, "ms": 1.0, "us": 1e-3, "ns": 1e-6}
_NS_PER_MS = 1_000_000
TIME_MS_MAX = 2**63 // _NS_PER_MS  # the year 2262: the last that nanoseconds in 64 bits can hold


STAMP_MAX = 1e30  # in any unit


class Point(NamedTuple):
    """One metric at one event time. A field is NaN where the record says that it is missing."""

    name: str
    labels: Mapping[str, str]
    time_ms: int
    fields: Mapping[str, float]


class Malformed(NamedTuple):
    """Why a record could not be read, as a value."""

    reason: RejectReason
    detail: str


class Format(Protocol):
    """One message layout."""

    def decode(self, value: bytes) -> Sequence[Point] | Malformed:
        """Return the record's points, or why there are none. Raises nothing, whatever the bytes are."""


def time_ms(value: object, unit: TimestampUnit) -> int | Malformed:
    """Return a time stamp (a number in `unit`, or an ISO 8601 text) as milliseconds since 1970."""
    if isinstance(value, str):
        return _parsed_time_ms(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return Malformed("wrong_type", f"time stamp: expected a number or an ISO 8601 text, got {_shown(value)}")
    if not abs(value) < STAMP_MAX:  # NaN is not below anything
        return Malformed("bad_timestamp", "time stamp is not finite, or far too large")
    scale = _MS_PER[_guessed_unit(value) if unit == "auto" else unit]
    result = value // round(1 / scale) if isinstance(value, int) and scale < 1 else int(value * scale)
    return _checked_time_ms(result)


def _parsed_time_ms(text: str) -> int | Malformed:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return Malformed("bad_timestamp", f"time stamp: expected ISO 8601, got {_shown(text)}")
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return _checked_time_ms(int(moment.timestamp() * 1000))


def _guessed_unit(value: float) -> str:
    """Tell the unit by magnitude: seconds until the year 5138, then milliseconds, microseconds, nanoseconds."""
    size = abs(value)
    return "s" if size < 1e11 else "ms" if size < 1e14 else "us" if size < 1e17 else "ns"


def _checked_time_ms(value: int) -> int | Malformed:
    if 0 <= value < TIME_MS_MAX:
        return value
    return Malformed("bad_timestamp", f"time stamp {value} ms is not between 1970 and 2262")


def number(name: str, value: object) -> float | Malformed | None:
    """Return a field's value as a float: booleans are 1 and 0, null is NaN, a text is no number (None)."""
    if value is None:
        return math.nan
    if isinstance(value, bool | int | float):
        try:
            result = float(value)
        except OverflowError:
            return Malformed("not_finite", f"field {_shown(name)} is too large")
        if not math.isfinite(result):
            return Malformed("not_finite", f"field {_shown(name)} is {result}")
        return result
    if isinstance(value, str):
        return None
    return Malformed("wrong_type", f"field {_shown(name)}: expected a number, got {_shown(value)}")


def text_labels(value: object) -> dict[str, str] | Malformed:
    """Return labels as texts; numbers and booleans are written out, null is left out."""
    if value is None:
        return {}
    if not isinstance(value, dict):
        return Malformed("wrong_type", f"labels: expected an object, got {_shown(value)}")
    result = {}
    for key, item in value.items():
        if isinstance(item, dict | list):
            return Malformed("wrong_type", f"label {_shown(key)}: expected a text, got {_shown(item)}")
        if item is not None:
            result[key] = item if isinstance(item, str) else json.dumps(item)
    return result


def loads(value: bytes) -> object | Malformed:
    """Return what JSON says, NaN and Infinity included, which producers do write.

    Halves of surrogate pairs are refused: no stream whose name holds one could ever be written to Kafka.
    """
    try:
        text = value.decode(json.detect_encoding(value))
        result: object = json.loads(text.removeprefix("\ufeff"))
        if "\\ud" in text or "\\uD" in text:
            json.dumps(result, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        return Malformed("undecodable", f"expected JSON: {error}"[:200])
    return result


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
