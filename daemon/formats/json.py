"""Format `json`: one object a record, its parts named in the configuration.

By default `{"timestamp": ..., "name": ..., "labels": {...}, "value": 1.5}`, or `"values": {"cpu": 1, "mem": 2}` for a
record with several fields. An array of such objects is a batch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from daemon.formats.point import Malformed, Point, TimestampUnit, loads, number, text_labels, time_ms


@dataclass(frozen=True, slots=True)
class FieldPaths:
    """Where the parts of a record stand; a dot goes one object deeper."""

    timestamp: str = "timestamp"
    name: str = "name"
    labels: str = "labels"
    value: str = "value"
    values: str = "values"


class JsonFormat:
    """Decodes JSON records. The common shape goes through a typed decoder, everything else is looked at closely."""

    def __init__(self, paths: FieldPaths | None = None, unit: TimestampUnit = "auto") -> None:
        self.paths = paths or FieldPaths()
        self.unit = unit
        self._fast = _typed_decoder(self.paths)

    def decode(self, value: bytes) -> Sequence[Point] | Malformed:
        """Return the record's points, or why there are none."""
        if self._fast is not None:
            try:
                return self._plain(self._fast.decode(value))
            except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, _NotPlain):
                pass
        return self._slow(value)

    def _plain(self, seen: Any) -> list[Point]:
        moment = time_ms(seen.timestamp, self.unit)
        if isinstance(moment, Malformed) or seen.value is None:
            raise _NotPlain
        return [Point(seen.name, seen.labels, moment, {"value": seen.value})]

    def _slow(self, value: bytes) -> list[Point] | Malformed:
        """Decode with care, to tell what exactly is wrong or to find the parts elsewhere."""
        seen = loads(value)
        if isinstance(seen, Malformed):
            return seen
        points = []
        for item in seen if isinstance(seen, list) else [seen]:
            point = self._point(item)
            if isinstance(point, Malformed):
                return point
            points.append(point)
        return points or Malformed("empty", "an empty array")

    def _point(self, item: object) -> Point | Malformed:
        if not isinstance(item, dict):
            return Malformed("wrong_type", f"expected an object, got {type(item).__name__}")
        stamp = _at(item, self.paths.timestamp)
        if stamp is None:
            return Malformed("missing_field", f"no {self.paths.timestamp}")
        moment = time_ms(stamp, self.unit)
        if isinstance(moment, Malformed):
            return moment
        labels = text_labels(_at(item, self.paths.labels))
        if isinstance(labels, Malformed):
            return labels
        fields = self._fields(item)
        if isinstance(fields, Malformed):
            return fields
        name = _at(item, self.paths.name)
        if name is not None and not isinstance(name, str):
            return Malformed("wrong_type", f"{self.paths.name}: expected a text, got {type(name).__name__}")
        return Point(name or "", labels, moment, fields)

    def _fields(self, item: Mapping[str, object]) -> dict[str, float] | Malformed:
        single = _at(item, self.paths.value)
        several = _at(item, self.paths.values) if single is None else {"value": single}
        if several is None:
            return Malformed("missing_field", f"neither {self.paths.value} nor {self.paths.values}")
        if not isinstance(several, dict):
            return Malformed("wrong_type", f"{self.paths.values}: expected an object, got {type(several).__name__}")
        return numbers(several)


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


class _NotPlain(Exception):
    """The record has another shape than the typed decoder's."""


def _typed_decoder(paths: FieldPaths) -> msgspec.json.Decoder[Any] | None:
    names = {"timestamp": paths.timestamp, "name": paths.name, "labels": paths.labels, "value": paths.value}
    if any("." in path for path in names.values()):
        return None
    parts: list[tuple[str, Any, Any]] = [
        ("timestamp", int | float | str, msgspec.NODEFAULT),
        ("value", float | None, None),
        ("name", str, ""),
        ("labels", dict[str, str], msgspec.field(default_factory=dict)),
    ]
    shape = msgspec.defstruct("PlainRecord", parts, rename=names, gc=False)
    return msgspec.json.Decoder(shape)


def _at(item: Mapping[str, object], path: str) -> object:
    """Return what stands at a dotted path, None where nothing does."""
    found: object = item
    for part in path.split("."):
        if not isinstance(found, Mapping):
            return None
        found = found.get(part)
    return found
