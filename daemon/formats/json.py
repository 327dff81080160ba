"""Format `json`: objects, their parts named in the configuration; one a record, an array of them, or one a line.

By default `{"timestamp": ..., "name": ..., "labels": {...}, "value": 1.5}`, or `"values": {"cpu": 1, "mem": 2}` for a
record with several fields.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from daemon.formats.columns import APART, Columns, Head, json_head, json_key, points
from daemon.formats.definition import Definition, Example
from daemon.formats.options import FieldPaths, Options
from daemon.formats.point import NO_TIME, Malformed, Point, gathered, loads, numbers, stamp, text_labels, time_ms

EMPTY = "an empty array"
VALUE = "value"
_Decoder = msgspec.json.Decoder[Any]


class JsonFormat:
    """Decodes JSON records. The common shapes are cut by a typed decoder, everything else is looked at closely."""

    def __init__(self, options: Options | None = None) -> None:
        self._options = options or Options()
        self.paths = self._options.fields
        self._fast = _typed_decoders(self.paths)
        self._unit = None if self._options.source == "record" else self._options.unit

    def decode(self, value: bytes) -> Sequence[Point] | Malformed:
        """Return the record's points, or why there are none."""
        return points(self, value) or self._slow(value)

    def cut(self, value: bytes, into: Columns) -> bool:
        """Append the record's points; False when it is none of the common shapes."""
        if self._fast is None:
            return False
        one, many = self._fast
        try:
            if value[:1] != b"[":
                return self._append(one.decode(value), into)
            seen = many.decode(value)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return False
        found = Columns()
        if not seen or not (self._alike(seen, found) or self._each(seen, found)):
            return False
        into.extend(found)
        return True

    def cut_ones(self, values: Sequence[bytes], into: Columns) -> bool:
        """Append the points of records that hold one value each; False when one of them does not."""
        if self._fast is None:
            return False
        decode = self._fast[0].decode
        try:
            return self._alike([decode(value) for value in values], into)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return False

    def _alike(self, seen: Sequence[Any], into: Columns) -> bool:
        """Append points that all have one value and a time; False, and nothing appended, when one has not."""
        numbers = [each.value for each in seen]
        if None in numbers or self._unit is None or not into.stamp([each.timestamp for each in seen], self._unit):
            return False
        into.numbers += numbers
        into.keys += [APART.join((each.name, each.labels)) for each in seen]
        return True

    def _each(self, seen: Sequence[Any], into: Columns) -> bool:
        return all(self._append(each, into) for each in seen)

    def _append(self, seen: Any, into: Columns) -> bool:
        moment = NO_TIME if self._unit is None else time_ms(seen.timestamp, self._unit)
        if type(moment) is not int:
            return False
        key = json_key(seen.name, seen.labels)
        if seen.value is not None:
            into.keys.append(key)
            into.numbers.append(seen.value)
        else:
            several = getattr(seen, "values", None)
            if not several:
                return False
            into.keys.append((key, *several))
            into.numbers.extend(several.values())
        into.times_ms.append(moment)
        return True

    def head(self, key: Any) -> Head | None:
        """Return name, labels and fields that a key stands for."""
        told, *fields = key if isinstance(key, tuple) else (key, VALUE)
        return json_head(told, fields)

    def _slow(self, value: bytes) -> list[Point] | Malformed:
        """Decode with care, to tell what exactly is wrong or to find the parts elsewhere."""
        seen = loads(value)
        if isinstance(seen, Malformed):
            lines = value.strip().split(b"\n")
            return gathered(self._lines(lines)) if len(lines) > 1 else seen
        if seen == []:
            return Malformed("empty", EMPTY)
        return gathered(self._point(item) for item in (seen if isinstance(seen, list) else [seen]))

    def _lines(self, lines: Sequence[bytes]) -> Iterator[Point | Malformed]:
        for index, line in enumerate(lines, 1):
            found = self.decode(line) if line.strip() else ()
            if isinstance(found, Malformed):
                yield found._replace(detail=f"line {index}: {found.detail}")
                return
            yield from found

    def _point(self, item: object) -> Point | Malformed:
        if not isinstance(item, dict):
            return Malformed("wrong_type", f"expected an object, got {type(item).__name__}")
        moment = stamp(_at(item, self.paths.timestamp), self._options)
        if isinstance(moment, Malformed):
            return moment._replace(detail=f"{self.paths.timestamp}: {moment.detail}")
        labels = text_labels(_object(item, self.paths.labels))
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
        paths = self.paths
        single = _at(item, paths.value)
        several = _object(item, paths.values) if single is None else {"value": single}
        if several is None:
            where = paths.values if isinstance(paths.values, str) else ", ".join(paths.values.values())
            return Malformed("missing_field", f"neither {paths.value} nor {where[:100]}")
        if not isinstance(several, dict):
            return Malformed("wrong_type", f"{paths.values}: expected an object, got {type(several).__name__}")
        return numbers(several)


def _typed_decoders(paths: FieldPaths) -> tuple[_Decoder, _Decoder] | None:
    told = {name: getattr(paths, name) for name in ("timestamp", "name", "labels", "value", "values")}
    if not isinstance(paths.labels, str) or any("." in told[name] for name in ("timestamp", "name", "labels", "value")):
        return None
    parts: list[tuple[str, Any, Any]] = [
        ("timestamp", int | float | str | None, None),
        ("value", float | None, None),
        ("name", msgspec.Raw, msgspec.Raw()),
        ("labels", msgspec.Raw, msgspec.Raw()),
    ]
    if isinstance(paths.values, str) and "." not in paths.values:
        parts.append(("values", dict[str, float] | None, None))
    shape = msgspec.defstruct("PlainRecord", parts, rename=told, gc=False)
    return msgspec.json.Decoder(shape), msgspec.json.Decoder(list[shape])  # type: ignore[valid-type]  # made just now


def _object(item: object, paths: str | Mapping[str, str]) -> object:
    """Return the object at a path, or one with what stands at the path of each name; None where nothing does."""
    if isinstance(paths, str):
        return _at(item, paths)
    found = {name: value for name, path in paths.items() if (value := _at(item, path)) is not None}
    return found or None


def _at(item: object, path: str) -> object:
    """Return what stands at a dotted path, None where nothing does."""
    found = item
    for part in path.split("."):
        if isinstance(found, Mapping):
            found = found.get(part)
        elif isinstance(found, list) and part.isascii() and part.isdigit() and int(part) < len(found):
            found = found[int(part)]
        else:
            return None
    return found


def _examples() -> Sequence[Example]:
    cpu = b'{"timestamp": 1700000000, "name": "cpu", "labels": {"host": "a"}, "value": 1.5}'
    point = Point("cpu", {"host": "a"}, 1_700_000_000_000, {"value": 1.5})
    both = (point, point._replace(labels={"host": "b"}))
    other = cpu.replace(b'"a"', b'"b"')
    wide = b'{"timestamp": 1700000000, "name": "m", "values": {"cpu": 1, "up": true, "disk": null, "os": "x"}}'
    flat = b'{"at": {"ms": 1700000000000}, "host": "a", "load": [0.5, 0.7], "mem": 3}'
    paths = FieldPaths("at.ms", labels={"host": "host"}, values={"load1": "load.0", "mem": "mem"})
    return (
        Example("one value", cpu, (point,)),
        Example("an array", b"[" + cpu + b", " + other + b"]", both),
        Example("an object a line", cpu + b"\n" + other + b"\n", both),
        Example(
            "many values; null is a missing one, texts are ignored",
            wide,
            (Point("m", {}, 1_700_000_000_000, {"cpu": 1.0, "up": 1.0, "disk": float("nan")}),),
        ),
        Example(
            "parts that stand elsewhere",
            flat,
            (Point("", {"host": "a"}, 1_700_000_000_000, {"load1": 0.5, "mem": 3.0}),),
            Options(fields=paths),
        ),
        Example(
            "no time, where the record's own is wanted",
            b'{"value": 1}',
            (Point("", {}, -1, {"value": 1.0}),),
            Options(source="record"),
        ),
        Example("no time", b'{"value": 1}', "missing_field"),
        Example("a text for a value", b'{"timestamp": 1700000000, "value": "high"}', "wrong_type"),
        Example("NaN", b'{"timestamp": 1700000000, "value": NaN}', "not_finite"),
        Example("a time that is none", b'{"timestamp": "now", "value": 1}', "bad_timestamp"),
        Example("an empty array", b"[]", "empty"),
        Example("half a record", cpu[:20], "undecodable"),
    )


DEFINITION = Definition(
    name="json",
    written_by="your own programs, Vector, Fluent Bit, Kafka Connect",
    about="Objects whose parts stand where `input.fields` says: one value, or many (`values`). Without a map of values,"
    " `input.fields.values` may name the path of each: `{cpu: stats.cpu, load1: load.0}`; so may `labels`.",
    timestamps="a number or ISO 8601",
    labels="where `input.fields` says; numbers and truth values are written out",
    decoder=JsonFormat,
    examples=_examples,
)
