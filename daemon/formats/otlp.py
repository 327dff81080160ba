"""OTLP's metrics as points, whichever way they were written: resources, scopes, metrics, data points."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from daemon.formats import buckets
from daemon.formats.options import Options
from daemon.formats.point import UNTOLD, Kind, Malformed, Point, fixed_stamp, gathered, known

DELTA: Final = 1
CUMULATIVE: Final = 2
NO_VALUE: Final = 1  # flag of a point that says: there was a series here, and now there is none
NESTING_MAX: Final = 16  # of an attribute's value


@dataclass(frozen=True, slots=True)
class Reading:
    """What differs between Protobuf's messages and our own structs."""

    number: Callable[[Any], float | None]  # of a NumberDataPoint
    plain: Callable[[Any], object]  # an AnyValue as a text, number, list of AnyValues or list of KeyValues
    data: Callable[[Any], tuple[str, Any] | None]  # of a Metric: the name of its kind, and that part
    optional: Callable[[Any, str], float | None]


class Walk:
    """Walks over metrics, which need not be what they say."""

    def __init__(self, reading: Reading, options: Options) -> None:
        self._reading = reading
        self._options = options

    def points(self, seen: Any) -> list[Point] | Malformed:
        """Return every point below a MetricsData."""
        if not seen.resource_metrics:
            return Malformed("empty", "no resource_metrics")
        return gathered(self._points(seen))

    def _points(self, seen: Any) -> Iterator[Point | Malformed]:
        for of_resource in seen.resource_metrics:
            resource = self._labels(of_resource.resource.attributes if of_resource.resource else ())
            for of_scope in of_resource.scope_metrics:
                labels = resource | self._scope(of_scope.scope)
                for metric in of_scope.metrics:
                    yield from self._metric(metric, labels)

    def _scope(self, scope: Any) -> dict[str, str]:
        # its name would make every stream's own longer by a library's path, and change with that
        return self._labels(scope.attributes) if scope else {}

    def _metric(self, metric: Any, shared: dict[str, str]) -> Iterator[Point | Malformed]:
        found = self._reading.data(metric)
        if found is None:
            return
        name, data = found
        read = _READERS[name]
        for point in data.data_points:
            moment = fixed_stamp(point.time_unix_nano, "ns", self._options)
            if isinstance(moment, Malformed):
                yield moment
                continue
            fields = read(self._reading, point)
            if isinstance(fields, Malformed):
                yield fields
                continue
            if point.flags & NO_VALUE:
                fields = dict.fromkeys(fields, float("nan"))
            labels = shared | self._labels(point.attributes) if point.attributes else shared
            yield Point(metric.name, labels, moment, fields, _kinds(name, data, fields), metric.unit)

    def _labels(self, attributes: Iterable[Any]) -> dict[str, str]:
        found = {}
        for each in attributes:
            value = self._plain(each.value, NESTING_MAX) if each.value else None
            if value is not None:
                found[each.key] = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        return found

    def _plain(self, value: Any, depth: int) -> object:
        found = self._reading.plain(value)
        if isinstance(found, tuple):
            kind, items = found
            if depth == 0:
                return None
            if kind == "array":
                return [self._plain(each, depth - 1) for each in items]
            return {each.key: self._plain(each.value, depth - 1) if each.value else None for each in items}
        return found


Fields = dict[str, float]


def _number(reading: Reading, point: Any) -> Fields:
    return {"value": known(reading.number(point))}


def _histogram(reading: Reading, point: Any) -> Fields | Malformed:
    low, high = reading.optional(point, "min"), reading.optional(point, "max")
    found = buckets.explicit(point.explicit_bounds, point.bucket_counts, low, high)
    if found is None:
        return Malformed("wrong_type", "a histogram whose bounds do not rise, or do not match its counts")
    return buckets.summary(point.count, reading.optional(point, "sum"), found)


def _exponential(reading: Reading, point: Any) -> Fields:
    found = []
    if point.negative:
        negative = buckets.exponential(point.scale, point.negative.offset, point.negative.bucket_counts)
        found += buckets.mirrored(negative)
    if point.zero_count:
        found.append(buckets.Bucket(-point.zero_threshold, point.zero_threshold, point.zero_count))
    if point.positive:
        found += buckets.exponential(point.scale, point.positive.offset, point.positive.bucket_counts)
    return buckets.summary(point.count, reading.optional(point, "sum"), found)


def _summary(_reading: Reading, point: Any) -> Fields:
    quantiles = {buckets.quantile_field(each.quantile): known(each.value) for each in point.quantile_values}
    return buckets.summary(point.count, point.sum, ()) | quantiles


_READERS: Final[dict[str, Callable[[Reading, Any], Fields | Malformed]]] = {
    "gauge": _number,
    "sum": _number,
    "histogram": _histogram,
    "exponential_histogram": _exponential,
    "summary": _summary,
}
KINDS_OF_DATA: Final[Sequence[str]] = tuple(_READERS)
_GAUGE: Final[dict[str, Kind]] = {"value": "gauge"}
_COUNTER: Final[dict[str, Kind]] = {"value": "counter"}
_DELTA: Final[dict[str, Kind]] = {"value": "delta"}


def _kinds(name: str, data: Any, fields: Fields) -> dict[str, Kind] | Any:
    if name == "gauge":
        return _GAUGE
    if name == "summary":
        return {each: "counter" if each == "count" else "gauge" for each in fields}
    if name == "sum":
        if data.aggregation_temporality == DELTA:
            return _DELTA
        if data.aggregation_temporality == CUMULATIVE:
            return _COUNTER if data.is_monotonic else _GAUGE
        return UNTOLD
    count: Kind = "delta" if data.aggregation_temporality == DELTA else "counter"
    return {each: count if each == "count" else "gauge" for each in fields}
