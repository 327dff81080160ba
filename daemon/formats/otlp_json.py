"""Format `otlp_json`: OpenTelemetry's metrics as JSON, a whole MetricsData a record."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from daemon.formats.definition import Definition, Example
from daemon.formats.options import Options
from daemon.formats.otlp import KINDS_OF_DATA, Reading, Walk
from daemon.formats.point import Kind, Malformed, Point
from daemon.formats.typed import Count, Int32, Int64, typed
from daemon.types import RejectReason


class _Struct(msgspec.Struct, rename="camel"):
    """Keys are in camel case; 64-bit integers are texts."""


class _Any(_Struct):
    string_value: str | None = None
    bool_value: bool | None = None
    int_value: Int64 | None = None
    double_value: float | None = None
    array_value: _Array | None = None
    kvlist_value: _Pairs | None = None
    bytes_value: str | None = None


class _Array(_Struct):
    values: list[_Any] = []


class _Pair(_Struct):
    key: str
    value: _Any | None = None


class _Pairs(_Struct):
    values: list[_Pair] = []


class _Number(_Struct):
    attributes: list[_Pair] = []
    time_unix_nano: int = 0
    as_double: float | None = None
    as_int: Int64 | None = None
    flags: int = 0


class _Histogram(_Struct):
    attributes: list[_Pair] = []
    time_unix_nano: int = 0
    count: Count = 0.0
    sum: float | None = None
    bucket_counts: list[Count] = []
    explicit_bounds: list[float] = []
    flags: int = 0
    min: float | None = None
    max: float | None = None


class _Buckets(_Struct):
    offset: Int32 = 0
    bucket_counts: list[Count] = []


class _Exponential(_Struct):
    attributes: list[_Pair] = []
    time_unix_nano: int = 0
    count: Count = 0.0
    sum: float | None = None
    scale: Int32 = 0
    zero_count: Count = 0.0
    positive: _Buckets | None = None
    negative: _Buckets | None = None
    flags: int = 0
    zero_threshold: float = 0.0


class _Quantile(_Struct):
    quantile: float = 0.0
    value: float = 0.0


class _Summary(_Struct):
    attributes: list[_Pair] = []
    time_unix_nano: int = 0
    count: Count = 0.0
    sum: float = 0.0
    quantile_values: list[_Quantile] = []
    flags: int = 0


class _Gauges(_Struct):
    data_points: list[_Number] = []


class _Sums(_Struct):
    data_points: list[_Number] = []
    aggregation_temporality: int = 0
    is_monotonic: bool = False


class _Histograms(_Struct):
    data_points: list[_Histogram] = []
    aggregation_temporality: int = 0


class _Exponentials(_Struct):
    data_points: list[_Exponential] = []
    aggregation_temporality: int = 0


class _Summaries(_Struct):
    data_points: list[_Summary] = []


class _Metric(_Struct):
    name: str = ""
    unit: str = ""
    gauge: _Gauges | None = None
    sum: _Sums | None = None
    histogram: _Histograms | None = None
    exponential_histogram: _Exponentials | None = None
    summary: _Summaries | None = None


class _Scope(_Struct):
    name: str = ""
    attributes: list[_Pair] = []


class _OfScope(_Struct):
    scope: _Scope | None = None
    metrics: list[_Metric] = []


class _Resource(_Struct):
    attributes: list[_Pair] = []


class _OfResource(_Struct):
    resource: _Resource | None = None
    scope_metrics: list[_OfScope] = []


class _MetricsData(_Struct):
    resource_metrics: list[_OfResource] = []


_DECODER = msgspec.json.Decoder(_MetricsData, strict=False)


class OtlpJsonFormat:
    """Decodes MetricsData as JSON: 64-bit integers are texts, enums are numbers."""

    def __init__(self, options: Options) -> None:
        self._walk = Walk(Reading(_number, _plain, _data, getattr), options)

    def decode(self, value: bytes) -> Sequence[Point] | Malformed:
        """Return the record's points, or why there are none."""
        seen = typed(_DECODER, value)
        return seen if isinstance(seen, Malformed) else self._walk.points(seen)


def _number(point: _Number) -> float | None:
    return point.as_int if point.as_double is None else point.as_double


def _plain(value: _Any) -> object:
    if value.array_value is not None:
        return "array", value.array_value.values
    if value.kvlist_value is not None:
        return "object", value.kvlist_value.values
    simple = (value.string_value, value.bool_value, value.int_value, value.double_value, value.bytes_value)
    return next((each for each in simple if each is not None), None)


def _data(metric: _Metric) -> tuple[str, Any] | None:
    for name in KINDS_OF_DATA:
        data = getattr(metric, name)
        if data is not None:
            return name, data
    return None


def _wrapped(metric: str) -> str:
    resource = '{"attributes":[{"key":"host.name","value":{"stringValue":"a"}}]}'
    scope = '{"name":"meter","attributes":[{"key":"zone","value":{"stringValue":"b"}}]}'
    return (
        f'{{"resourceMetrics":[{{"resource":{resource},"scopeMetrics":[{{"scope":{scope},"metrics":[{metric}]}}]}}]}}'
    )


def example_points() -> Sequence[tuple[str, str, Sequence[Point]]]:
    """Return what each example says, its JSON, and its points: those of otlp_proto, too."""
    at = '"timeUnixNano":"1700000000346000000"'
    cores = '"attributes":[{"key":"core","value":{"intValue":"3"}}]'
    labels = {"host.name": "a", "zone": "b"}
    core = labels | {"core": "3"}
    gauge: dict[str, Kind] = {"value": "gauge"}

    def point(name: str, value: float, kind: Kind, unit: str) -> Point:
        return Point(name, core, 1_700_000_000_346, {"value": value}, {"value": kind}, unit)

    def summed(temporality: int, monotonic: str) -> str:
        data = f'{{"dataPoints":[{{{cores},{at},"asInt":"512"}}],"aggregationTemporality":{temporality}{monotonic}}}'
        return _wrapped(f'{{"name":"io","unit":"By","sum":{data}}}')

    level = f'{{"name":"heat","unit":"Cel","gauge":{{"dataPoints":[{{{at},"asDouble":61.5}},{{{at},"flags":1}}]}}}}'
    held = {"count": 4.0, "mean": 2.5, "p50": 2.0, "p90": 4.4, "p99": 4.94}
    spread = (
        f'{{"name":"wait","unit":"s","histogram":{{"aggregationTemporality":1,"dataPoints":[{{{at},"count":"4","sum":10,'
        '"bucketCounts":["1","1","2"],"explicitBounds":[1,2],"min":0.5,"max":5}]}}'
    )
    powers = (
        f'{{"name":"wait","exponentialHistogram":{{"aggregationTemporality":2,"dataPoints":[{{{at},"count":"4","sum":10,'
        '"scale":0,"zeroCount":"1","positive":{"offset":0,"bucketCounts":["1","2"]}}]}}'
    )
    kinds: dict[str, Kind] = dict.fromkeys(held, "gauge")
    spread_point = Point("wait", labels, 1_700_000_000_346, held, kinds | {"count": "delta"}, "s")
    powers_fields = held | {"p50": 2.0, "p90": 3.6, "p99": 3.96}
    powers_point = Point("wait", labels, 1_700_000_000_346, powers_fields, kinds | {"count": "counter"})
    return (
        (
            "a gauge; a point that says that it has no value",
            _wrapped(level),
            [
                Point("heat", labels, 1_700_000_000_346, {"value": value}, gauge, "Cel")
                for value in (61.5, float("nan"))
            ],
        ),
        ("a total that only grows", summed(2, ',"isMonotonic":true'), [point("io", 512.0, "counter", "By")]),
        ("what was added", summed(1, ',"isMonotonic":true'), [point("io", 512.0, "delta", "By")]),
        ("a total that may fall", summed(2, ""), [point("io", 512.0, "gauge", "By")]),
        ("a histogram of what was added", _wrapped(spread), [spread_point]),
        ("a cumulative exponential histogram", _wrapped(powers), [powers_point]),
    )


def example_refusals() -> Sequence[tuple[str, str, RejectReason]]:
    """Return what else each example says, its JSON, and why it is refused, in both encodings."""
    late = '{"name":"heat","gauge":{"dataPoints":[{"timeUnixNano":"18446744073709551615","asInt":"1"}]}}'
    torn = '{"name":"wait","histogram":{"dataPoints":[{"count":"4","bucketCounts":["4"],"explicitBounds":[1,2]}]}}'
    return (
        ("a time beyond the year 2262", _wrapped(late), "bad_timestamp"),
        ("a histogram whose bounds do not match its counts", _wrapped(torn), "wrong_type"),
    )


def _examples() -> Sequence[Example]:
    first = example_points()[0][1].encode()
    return (
        *(Example(says, text.encode(), points) for says, text, points in example_points()),
        *(Example(says, text.encode(), reason) for says, text, reason in example_refusals()),
        Example("half a record", first[:50], "undecodable"),
        Example("a count that is none", first.replace(b"61.5", b'"hot"'), "wrong_type"),
        Example("an attribute without a key", first.replace(b'"key"', b'"kee"'), "missing_field"),
        Example("a time beyond all bounds", first.replace(b"1700000000346000000", b"9" * 30), "bad_timestamp"),
        Example("no metrics", b"{}", "empty"),
    )


DEFINITION = Definition(
    name="otlp_json",
    written_by="the OpenTelemetry collector (`kafkaexporter` with `encoding: otlp_json`)",
    about="The same as `otlp_proto`, written as JSON.",
    timestamps="nanoseconds, fixed; optional",
    labels="as `otlp_proto`",
    decoder=OtlpJsonFormat,
    examples=_examples,
)
