"""Format `vector_json`: Vector's metrics, by its codec `json` or `native_json`, one a record or one a line."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

import msgspec

from daemon.formats import buckets
from daemon.formats.definition import Definition, Example
from daemon.formats.options import Options
from daemon.formats.point import UNTOLD, Kind, Malformed, Point, gathered, known, stamp
from daemon.formats.typed import Count, typed

Fields = dict[str, float]


class _Value(msgspec.Struct):
    value: float | None


class _Set(msgspec.Struct):
    values: list[str]


class _Sample(msgspec.Struct):
    value: float
    rate: Count


class _Distribution(msgspec.Struct):
    samples: list[_Sample]


class _Bucket(msgspec.Struct):
    upper_limit: float | None  # infinity is written as null
    count: Count


class _Histogram(msgspec.Struct):
    buckets: list[_Bucket]
    count: Count
    sum: float | None


class _Quantile(msgspec.Struct):
    quantile: float
    value: float | None


class _Summary(msgspec.Struct):
    quantiles: list[_Quantile]
    count: Count
    sum: float | None


class _Metric(msgspec.Struct):
    name: str
    kind: Literal["absolute", "incremental"]
    namespace: str | None = None
    timestamp: str | int | float | None = None
    tags: dict[str, str | list[str | None] | None] | None = None
    counter: _Value | None = None
    gauge: _Value | None = None
    set: _Set | None = None
    distribution: _Distribution | None = None
    aggregated_histogram: _Histogram | None = None
    aggregated_summary: _Summary | None = None


class _Native(msgspec.Struct):
    metric: _Metric


_NATIVE = msgspec.json.Decoder(_Native)
_PLAIN = msgspec.json.Decoder(_Metric)


class VectorFormat:
    """Decodes Vector's metric events, those inside `{"metric": ...}`, too."""

    def __init__(self, options: Options) -> None:
        self._options = options

    def decode(self, value: bytes) -> Sequence[Point] | Malformed:
        """Return the record's points, or why there are none."""
        return gathered(self._points(value)) if value.strip() else Malformed("empty", "no metric")

    def _points(self, value: bytes) -> Iterator[Point | Malformed]:
        for line in value.strip().split(b"\n"):
            seen = typed(_PLAIN, line)
            if isinstance(seen, Malformed) and b'"metric"' in line:
                wrapped = typed(_NATIVE, line)
                seen = wrapped if isinstance(wrapped, Malformed) else wrapped.metric
            yield seen if isinstance(seen, Malformed) else self._point(seen)

    def _point(self, seen: _Metric) -> Point | Malformed:
        moment = stamp(seen.timestamp, self._options, may_miss=True)
        if isinstance(moment, Malformed):
            return moment
        fields = _fields(seen)
        if isinstance(fields, Malformed):
            return fields
        name = f"{seen.namespace}_{seen.name}" if seen.namespace else seen.name
        return Point(name, _labels(seen), moment, fields, _kinds(seen, fields))


def _labels(seen: _Metric) -> dict[str, str]:
    found = {}
    for name, value in (seen.tags or {}).items():
        last = next((each for each in reversed(value) if each is not None), None) if isinstance(value, list) else value
        if last is not None:
            found[name] = last
    return found


def _fields(seen: _Metric) -> Fields | Malformed:
    if seen.gauge is not None:
        if seen.kind == "incremental":
            return Malformed(
                "wrong_type", "a gauge's change without the gauge: put Vector's aggregate transform before it"
            )
        return {"value": known(seen.gauge.value)}
    if seen.counter is not None:
        return {"value": known(seen.counter.value)}
    if seen.set is not None:
        return {"count": float(len(seen.set.values))}
    if seen.distribution is not None:
        samples = sorted((each.value, each.rate) for each in seen.distribution.samples)
        total = sum(value * rate for value, rate in samples)
        spread = [buckets.Bucket(value, value, rate) for value, rate in samples]
        return buckets.summary(sum(rate for _, rate in samples), total, spread)
    if seen.aggregated_histogram is not None:
        return _histogram(seen.aggregated_histogram)
    if seen.aggregated_summary is not None:
        quantiles = {
            buckets.quantile_field(each.quantile): known(each.value) for each in seen.aggregated_summary.quantiles
        }
        return buckets.summary(seen.aggregated_summary.count, seen.aggregated_summary.sum, ()) | quantiles
    return Malformed(
        "missing_field", "no counter, gauge, set, distribution, aggregated_histogram or aggregated_summary"
    )


def _histogram(seen: _Histogram) -> Fields | Malformed:
    limits = [each.upper_limit for each in seen.buckets if each.upper_limit is not None]
    counts = [each.count for each in seen.buckets]
    if len(counts) == len(limits):
        counts.append(0)  # nothing above the last limit
    found = buckets.explicit(limits, counts, None, None)
    if found is None:
        return Malformed("wrong_type", "a histogram whose limits do not rise")
    return buckets.summary(seen.count, seen.sum, found)


def _kinds(seen: _Metric, fields: Fields) -> dict[str, Kind]:
    total: Kind = "counter" if seen.kind == "absolute" else "delta"
    if seen.counter is not None:
        return {"value": total}
    if seen.set is not None:
        return {"count": "gauge"}
    return {name: total if name == "count" else "gauge" for name in fields} or dict(UNTOLD)


def _examples() -> Sequence[Example]:
    load = (
        b'{"name":"load1","namespace":"host","tags":{"host":"a","bare":null,"zone":["b",null,"c"]},'
        b'"timestamp":"2023-11-14T22:13:20.346789Z","kind":"absolute","gauge":{"value":9.25}}'
    )
    labels = {"host": "a", "zone": "c"}
    point = Point("host_load1", labels, 1_700_000_000_346, {"value": 9.25}, {"value": "gauge"})
    sent = b'{"name":"sent","kind":"incremental","counter":{"value":3.0}}'
    seen = b'{"name":"sent","kind":"absolute","counter":{"value":30}}'
    wait = (
        b'{"name":"wait","kind":"incremental","distribution":{"samples":[{"value":4.0,"rate":1},{"value":1.0,"rate":3}],'
        b'"statistic":"histogram"}}'
    )
    held: dict[str, float] = {"count": 4.0, "mean": 1.75, "p50": 1.0, "p90": 4.0, "p99": 4.0}
    kinds: dict[str, Kind] = dict.fromkeys(held, "gauge")
    took = (
        b'{"name":"took","kind":"absolute","aggregated_histogram":{"buckets":[{"upper_limit":1.0,"count":2},'
        b'{"upper_limit":2.0,"count":2},{"upper_limit":null,"count":0}],"count":4,"sum":5.0}}'
    )
    spread = {"count": 4.0, "mean": 1.25, "p50": 1.0, "p90": 1.8, "p99": 1.98}
    return (
        Example("a gauge", load, (point,)),
        Example("the same by the codec native_json", b'{"metric":' + load + b"}", (point,)),
        Example(
            "a counter, what was added and the total, a line each; without a time they have the record's own",
            sent + b"\n" + seen + b"\n",
            (
                Point("sent", {}, -1, {"value": 3.0}, {"value": "delta"}),
                Point("sent", {}, -1, {"value": 30.0}, {"value": "counter"}),
            ),
        ),
        Example(
            "a value that was no number: null, and missing",
            b'{"name":"a","kind":"absolute","gauge":{"value":null}}',
            (Point("a", {}, -1, {"value": float("nan")}, {"value": "gauge"}),),
        ),
        Example("a distribution", wait, (Point("wait", {}, -1, held, kinds | {"count": "delta"}),)),
        Example("a histogram", took, (Point("took", {}, -1, spread, kinds | {"count": "counter"}),)),
        Example(
            "distinct values",
            b'{"name":"users","kind":"absolute","set":{"values":["a","b"]}}',
            (Point("users", {}, -1, {"count": 2.0}, {"count": "gauge"}),),
        ),
        Example("a gauge's change", load.replace(b"absolute", b"incremental"), "wrong_type"),
        Example("a metric without a value", b'{"name":"a","kind":"absolute"}', "missing_field"),
        Example("a log line", b'{"message":"hello"}', "missing_field"),
        Example("a time that is none", load.replace(b"2023-11-14T22:13:20.346789Z", b"now"), "bad_timestamp"),
        Example("half a record", load[:40], "undecodable"),
        Example("nothing", b"\n", "empty"),
    )


DEFINITION = Definition(
    name="vector_json",
    written_by="Vector (sink `kafka`, `encoding.codec` `json` and `native_json`)",
    about="Counters, gauges, sets (how many values), distributions and histograms (count, mean, quantiles), summaries."
    " A gauge's change is refused, because it says nothing of the gauge; sketches are, too.",
    timestamps="RFC 3339; optional",
    labels="`namespace_name` (or `name`) and `tags`; of several values of a tag, the last",
    decoder=VectorFormat,
    examples=_examples,
)
