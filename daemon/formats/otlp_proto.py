"""Format `otlp_proto`: OpenTelemetry's metrics as Protobuf, a whole MetricsData a record."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable, Sequence
from typing import Any

from daemon.formats import otlp_cut
from daemon.formats.columns import Columns, Head, each_one, points
from daemon.formats.definition import Definition, Example
from daemon.formats.options import Options
from daemon.formats.otlp import Reading, Walk
from daemon.formats.otlp_json import example_points, example_refusals
from daemon.formats.point import DETAIL_CHARS_MAX, NO_TIME, Malformed, Point


class OtlpProtoFormat:
    """Decodes MetricsData and ExportMetricsServiceRequest, which are the same on the wire."""

    def __init__(self, options: Options) -> None:
        from google.protobuf.message import DecodeError

        self._is_untimed = options.source == "record"
        self._walk = Walk(Reading(_number, _plain, _data, _optional), options)
        self._error: type[Exception] = DecodeError
        self._parse: Callable[[bytes], Any] = _messages().MetricsData.FromString

    def decode(self, value: bytes) -> Sequence[Point] | Malformed:
        """Return the record's points, or why there are none."""
        return points(self, value) or self._read(value)

    def cut(self, value: bytes, into: Columns) -> bool:
        """Append the record's points; False when they are not all of gauges and sums."""
        found = Columns()
        if not otlp_cut.cut(value, found):
            return False
        if self._is_untimed:
            found.times_ms = [NO_TIME] * len(found.times_ms)
        into.extend(found)
        return True

    def cut_ones(self, values: Sequence[bytes], into: Columns) -> bool:
        """Append the points of records that hold one each; False when one of them does not."""
        return each_one(self, values, into)

    def head(self, key: Any) -> Head | None:
        """Return what a key stands for, as the library reads it."""
        found = self._read(otlp_cut.joined(key))
        if isinstance(found, Malformed) or [each.fields for each in found] != [{"value": 1.0}]:
            return None
        name, labels, time_ms, fields, kinds, unit = found[0]
        return Head(name, labels, tuple(fields), kinds, unit) if time_ms in (1, NO_TIME) else None

    def _read(self, value: bytes) -> Sequence[Point] | Malformed:
        """Return what the library reads."""
        try:
            seen = self._parse(value)
        except self._error as error:
            return Malformed("undecodable", f"expected MetricsData of OTLP: {error}"[:DETAIL_CHARS_MAX])
        return self._walk.points(seen)


def _messages() -> Any:
    from opentelemetry.proto.metrics.v1 import metrics_pb2

    return metrics_pb2


def _number(point: Any) -> float | None:
    which = point.WhichOneof("value")
    return None if which is None else float(getattr(point, which))


def _plain(value: Any) -> object:
    match value.WhichOneof("value"):
        case None:
            return None
        case "array_value":
            return "array", value.array_value.values
        case "kvlist_value":
            return "object", value.kvlist_value.values
        case "bytes_value":
            return b64encode(value.bytes_value).decode()
        case which:
            found: object = getattr(value, which)
            return found


def _data(metric: Any) -> tuple[str, Any] | None:
    which = metric.WhichOneof("data")
    return None if which is None else (which, getattr(metric, which))


def _optional(point: Any, name: str) -> float | None:
    return float(getattr(point, name)) if point.HasField(name) else None


def _examples() -> Sequence[Example]:
    from google.protobuf.json_format import Parse

    found = [
        Example(says, Parse(text, _messages().MetricsData()).SerializeToString(), gives)
        for says, text, gives in (*example_points(), *example_refusals())
    ]
    return (
        *found,
        Example("half a record", found[0].record[:30], "undecodable"),
        Example("no metrics", b"\x12\x00", "empty"),
    )


DEFINITION = Definition(
    name="otlp_proto",
    written_by="the OpenTelemetry collector (`kafkaexporter`, its default `encoding: otlp_proto`)",
    about="A whole MetricsData a record: gauges, sums with their temporality, histograms as count, mean and quantiles"
    " (estimated from the buckets, p50, p90, p99), summaries. Of a cumulative histogram mean and quantiles are over"
    " all that was ever observed: let the producer send deltas. With"
    " `partition_metrics_by_resource_attributes: true` the collector keys its records. They hold whole batches: raise"
    " `input.record_bytes_max` where those are larger.",
    timestamps="nanoseconds, fixed; optional",
    labels="attributes of the resource, the scope and the point, the last of which wins; not the scope's name",
    decoder=OtlpProtoFormat,
    examples=_examples,
)
