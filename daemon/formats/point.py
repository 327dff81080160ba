"""What a format makes of a record: points, each one metric at one time, with one field or many."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import Final, Literal, NamedTuple, Protocol

from daemon.formats.options import Options, TimestampUnit
from daemon.types import RejectReason

_MS_PER: Mapping[str, float] = {"s": 1e3, "ms": 1.0, "us": 1e-3, "ns": 1e-6}
_NS_PER_MS = 1_000_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MS = timedelta(milliseconds=1)
TIME_MS_MAX = 2**63 // _NS_PER_MS  # the year 2262: the last that nanoseconds in 64 bits can hold

_AUTO_MS_MIN = 10**11
STAMP_MAX = 1e30  # in any unit
VALUES_MAX: Final = 100_000  # numbers in one record
NO_TIME: Final = -1  # the payload does not say: the record's own time is meant
DETAIL_CHARS_MAX: Final = 200

Kind = Literal["gauge", "counter", "delta"]
"""What a number is: a level, a total that only grows (apart from resets), or what was added since the last one."""

UNTOLD: Final[Mapping[str, Kind]] = MappingProxyType({})


class Point(NamedTuple):
    """One metric at one event time (or NO_TIME). A field is NaN where the record says that it is missing.

    `kinds` says what the fields are, as far as the producer does; `unit` is the producer's word, empty without one.
    """

    name: str
    labels: Mapping[str, str]
    time_ms: int
    fields: Mapping[str, float]
    kinds: Mapping[str, Kind] = UNTOLD
    unit: str = ""


class Malformed(NamedTuple):
    """Why a record could not be read, as a value."""

    reason: RejectReason
    detail: str


class Format(Protocol):
    """One message layout."""

    def decode(self, value: bytes) -> Sequence[Point] | Malformed:
        """Return the record's points, or why there are none. Raises nothing, whatever the bytes are."""


def gathered(found: Iterable[Point | Malformed]) -> list[Point] | Malformed:
    """Return all points, or the first reason why not; more than VALUES_MAX numbers are one, too."""
    points: list[Point] = []
    values = 0
    for point in found:
        if isinstance(point, Malformed):
            return point
        values += len(point.fields)
        if values > VALUES_MAX:
            return Malformed("oversized", f"more than {VALUES_MAX} values in one record")
        points.append(point)
    return points


def stamp(value: object, options: Options, *, may_miss: bool = False) -> int | Malformed:
    """Return a payload's time stamp as milliseconds since 1970, NO_TIME where the record's own shall be taken."""
    if options.source == "record" or (value is None and may_miss):
        return NO_TIME
    if value is None:
        return Malformed("missing_field", "no time stamp")
    return time_ms(value, options.unit)


def fixed_stamp(value: int, unit: TimestampUnit, options: Options) -> int | Malformed:
    """Return the time stamp of a format that prescribes its unit; 0 stands for none."""
    return NO_TIME if options.source == "record" or value == 0 else time_ms(value, unit)


def time_ms(value: object, unit: TimestampUnit) -> int | Malformed:
    """Return a time stamp (a number in `unit`, or an ISO 8601 text) as milliseconds since 1970."""
    if type(value) is int and 0 < value < TIME_MS_MAX and (unit == "ms" or (unit == "auto" and value >= _AUTO_MS_MIN)):
        return value  # as most do
    if isinstance(value, str):
        return _parsed_time_ms(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return Malformed("wrong_type", f"time stamp: expected a number or an ISO 8601 text, got {shown(value)}")
    if not abs(value) < STAMP_MAX:  # NaN is not below anything
        return Malformed("bad_timestamp", "time stamp is not finite, or far too large")
    scale = _MS_PER[_guessed_unit(value) if unit == "auto" else unit]
    if isinstance(value, int):
        return _checked_time_ms(value // round(1 / scale) if scale < 1 else value * round(scale))
    # a float of seconds is a little less than the millisecond it means as often as it is a little more
    return _checked_time_ms(math.floor(value * scale + 1e-3))


def _parsed_time_ms(text: str) -> int | Malformed:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return Malformed("bad_timestamp", f"time stamp: expected ISO 8601, got {shown(text)}")
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return _checked_time_ms((moment - _EPOCH) // _MS)


def _guessed_unit(value: float) -> str:
    """Tell the unit by magnitude: seconds until the year 5138, then milliseconds, microseconds, nanoseconds."""
    size = abs(value)
    return "s" if size < _AUTO_MS_MIN else "ms" if size < 1e14 else "us" if size < 1e17 else "ns"


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
            return Malformed("not_finite", f"field {shown(name)} is too large")
        if not math.isfinite(result):
            return Malformed("not_finite", f"field {shown(name)} is {result}")
        return result
    if isinstance(value, str):
        return None
    return Malformed("wrong_type", f"field {shown(name)}: expected a number, got {shown(value)}")


def numbers(fields: Mapping[str, object]) -> dict[str, float] | Malformed:
    """Return the fields that are numbers; texts are left out, and at least one number must remain."""
    result = {}
    for name, value in fields.items():
        found = number(name, value)
        if isinstance(found, Malformed):
            return found
        if found is not None:
            result[name] = found
    if not result:
        return Malformed("wrong_type", "no field is a number")
    return result


def known(value: float | None) -> float:
    """Return a number of a format in which it may be any float: what is none, or not finite, is missing (NaN)."""
    return float(value) if value is not None and math.isfinite(value) else math.nan


def text_labels(value: object) -> dict[str, str] | Malformed:
    """Return labels as texts; numbers and booleans are written out, null is left out."""
    if value is None:
        return {}
    if not isinstance(value, dict):
        return Malformed("wrong_type", f"labels: expected an object, got {shown(value)}")
    result = {}
    for key, item in value.items():
        if isinstance(item, dict | list):
            return Malformed("wrong_type", f"label {shown(key)}: expected a text, got {shown(item)}")
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
        return Malformed("undecodable", f"expected JSON: {error}"[:DETAIL_CHARS_MAX])
    return result


def shown(value: object) -> str:
    """Return a value as an error may show it: cut."""
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
