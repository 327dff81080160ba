"""Format `telegraf_json`: Telegraf's JSON serializer, one metric a record or a batch under `metrics`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated, Any

import msgspec

from daemon.formats.columns import APART, Columns, Head, json_head, json_key, points
from daemon.formats.definition import Definition, Example
from daemon.formats.options import Options
from daemon.formats.point import Malformed, Point, gathered, loads, number, stamp, text_labels


class _Metric(msgspec.Struct, gc=False):
    name: msgspec.Raw
    fields: dict[str, float | bool | str]
    timestamp: int | float | str
    tags: msgspec.Raw = msgspec.Raw()


class _Plain(_Metric, gc=False):
    metrics: msgspec.UnsetType = msgspec.UNSET  # a batch is not plain


class _One(msgspec.Struct, gc=False):
    name: msgspec.Raw
    fields: Annotated[dict[str, float], msgspec.Meta(min_length=1, max_length=1)]
    timestamp: int | float | str
    tags: msgspec.Raw = msgspec.Raw()
    metrics: msgspec.UnsetType = msgspec.UNSET


class _Batch(msgspec.Struct):
    metrics: list[_Metric]


_DECODER = msgspec.json.Decoder(_Plain)
_ONES = msgspec.json.Decoder(_One)
_BATCHES = msgspec.json.Decoder(_Batch)
_BATCH = b'{"metrics":'


class TelegrafFormat:
    """Decodes `{"name": ..., "tags": {...}, "fields": {...}, "timestamp": ...}`; fields that are texts are ignored."""

    def __init__(self, options: Options | None = None) -> None:
        self._options = options or Options()
        self._is_untimed = self._options.source == "record"

    def decode(self, value: bytes) -> Sequence[Point] | Malformed:
        """Return the record's points, or why there are none."""
        return points(self, value) or self._slow(value)

    def cut(self, value: bytes, into: Columns) -> bool:
        """Append the record's points; False when it is not as the typed decoders want it."""
        try:
            seen = _BATCHES.decode(value).metrics if value.startswith(_BATCH) else [_DECODER.decode(value)]
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return False
        found = Columns()
        if not (self._alike(seen, found) or all(self._append(each, found) for each in seen)) or not found.keys:
            return False
        into.extend(found)
        return True

    def cut_ones(self, values: Sequence[bytes], into: Columns) -> bool:
        """Append the points of records with one field each; False when one of them has not."""
        try:
            seen = [_ONES.decode(value) for value in values]
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return False
        return self._alike(seen, into) and len(into.numbers) == len(seen)

    def _alike(self, seen: Sequence[_Metric | _One], into: Columns) -> bool:
        """Append metrics with a time and nothing but numbers; False, and nothing appended, when one is not so."""
        numbers: list[float | bool | str] = []
        for each in seen:
            numbers += each.fields.values()
        is_plain = str not in set(map(type, numbers)) and all(each.fields for each in seen)
        if not is_plain or self._is_untimed or not into.stamp([each.timestamp for each in seen], self._options.unit):
            return False
        into.numbers += map(float, numbers)
        into.keys += [(APART.join((each.name, each.tags)), *each.fields) for each in seen]
        return True

    def _append(self, seen: _Metric, into: Columns) -> bool:
        moment, fields = stamp(seen.timestamp, self._options), seen.fields
        if type(moment) is not int or not fields:
            return False
        if str in map(type, fields.values()):
            fields = {name: value for name, value in fields.items() if not isinstance(value, str)}
        if fields:  # some of Telegraf's own metrics hold nothing but texts
            into.keys.append((json_key(seen.name, seen.tags), *fields))
            into.times_ms.append(moment)
            into.numbers.extend(map(float, fields.values()))
        return True

    def head(self, key: Any) -> Head | None:
        """Return name, tags and fields that a key stands for."""
        told, *fields = key
        return json_head(told, fields)

    def _slow(self, value: bytes) -> list[Point] | Malformed:
        """Decode with care, to tell what exactly is wrong."""
        seen = loads(value)
        if isinstance(seen, Malformed):
            return seen
        if not isinstance(seen, dict):
            return Malformed("wrong_type", f"expected an object, got {type(seen).__name__}")
        batch = seen.get("metrics", [seen])
        if not isinstance(batch, list):
            return Malformed("wrong_type", f"metrics: expected an array, got {type(batch).__name__}")
        return gathered(self._points(batch)) if batch else Malformed("empty", "an empty batch")

    def _points(self, batch: Sequence[object]) -> Iterator[Point | Malformed]:
        for item in batch:
            point = self._point(item)
            if point is not None:
                yield point

    def _point(self, item: object) -> Point | Malformed | None:
        """Return the metric's point, None when it holds nothing but texts, as some of Telegraf's own do."""
        if not isinstance(item, dict):
            return Malformed("wrong_type", f"expected an object, got {type(item).__name__}")
        name, fields = item.get("name"), item.get("fields")
        if not isinstance(name, str) or fields is None or "timestamp" not in item:
            return Malformed("missing_field", "expected name, fields and timestamp")
        if not isinstance(fields, dict) or not fields:
            return Malformed("wrong_type", f"fields: expected an object with numbers, got {type(fields).__name__}")
        moment = stamp(item["timestamp"], self._options)
        labels = text_labels(item.get("tags"))
        found: dict[str, float] = {}
        for field, value in fields.items():
            each = number(field, value)
            if isinstance(each, Malformed):
                return each
            if each is not None:
                found[field] = each
        if isinstance(moment, Malformed):
            return moment
        if isinstance(labels, Malformed):
            return labels
        return Point(name, labels, moment, found) if found else None


def _examples() -> Sequence[Example]:
    system = b'{"fields":{"load1":4.5,"n_cpus":2,"up":true},"name":"system","tags":{"host":"a"},"timestamp":1700000000}'
    texts = b'{"fields":{"uptime_format":"1 day"},"name":"system","tags":{"host":"a"},"timestamp":1700000000}'
    point = Point("system", {"host": "a"}, 1_700_000_000_000, {"load1": 4.5, "n_cpus": 2.0, "up": 1.0})
    other, second = system.replace(b'"a"', b'"b"'), point._replace(labels={"host": "b"})
    return (
        Example("one metric", system + b"\n", (point,)),
        Example("a batch", b'{"metrics":[' + system + b"," + texts + b"," + other + b"]}", (point, second)),
        Example("nothing but texts: nothing to score", texts, ()),
        Example("no fields", b'{"name":"system","timestamp":1700000000}', "missing_field"),
        Example("a field that is an array", system.replace(b"4.5", b"[4.5]"), "wrong_type"),
        Example("a field beyond all numbers", system.replace(b"4.5", b"1e999"), "not_finite"),
        Example("a time that is none", system.replace(b"1700000000", b'"now"'), "bad_timestamp"),
        Example("an empty batch", b'{"metrics":[]}', "empty"),
        Example("half a record", system[:40], "undecodable"),
    )


DEFINITION = Definition(
    name="telegraf_json",
    written_by='Telegraf (`outputs.kafka` with `data_format = "json"`)',
    about='Telegraf\'s JSON. Fields that are texts are ignored, truth values are 1 and 0. With `routing_tag = "host"`'
    " Telegraf keys its records, so that a host's streams stay together. Telegraf may write several records of the same"
    " name, tags and time that differ in their fields.",
    timestamps="a number, seconds unless `json_timestamp_units` says otherwise, or ISO 8601",
    labels="`name` and `tags`",
    decoder=TelegrafFormat,
    examples=_examples,
)
