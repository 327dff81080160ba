"""Format `telegraf_json`: Telegraf's JSON serializer, one metric a record or a batch under `metrics`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec

from daemon.formats.definition import Definition, Example
from daemon.formats.options import Options
from daemon.formats.point import Malformed, Point, gathered, loads, number, stamp, text_labels


class _Metric(msgspec.Struct, gc=False):
    name: str
    fields: dict[str, float | bool | str]
    timestamp: int | float | str
    tags: dict[str, str] = {}


class _Plain(_Metric, gc=False):
    metrics: msgspec.UnsetType = msgspec.UNSET  # a batch is not plain


class _Batch(msgspec.Struct):
    metrics: list[_Metric]


_DECODER = msgspec.json.Decoder(_Plain)
_BATCHES = msgspec.json.Decoder(_Batch)
_BATCH = b'{"metrics":'


class _NotPlain(Exception):
    """The record has another shape than the typed decoders'."""


class TelegrafFormat:
    """Decodes `{"name": ..., "tags": {...}, "fields": {...}, "timestamp": ...}`; fields that are texts are ignored."""

    def __init__(self, options: Options | None = None) -> None:
        self._options = options or Options()

    def decode(self, value: bytes) -> Sequence[Point] | Malformed:
        """Return the record's points, or why there are none."""
        try:
            seen = _BATCHES.decode(value).metrics if value.startswith(_BATCH) else [_DECODER.decode(value)]
            return gathered(self._plain(seen)) if seen else self._slow(value)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, _NotPlain):
            return self._slow(value)

    def _plain(self, seen: Sequence[_Metric]) -> Iterator[Point]:
        for each in seen:
            fields = {name: float(value) for name, value in each.fields.items() if not isinstance(value, str)}
            moment = stamp(each.timestamp, self._options)
            if isinstance(moment, Malformed) or not each.fields:
                raise _NotPlain
            if fields:
                yield Point(each.name, each.tags, moment, fields)

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
