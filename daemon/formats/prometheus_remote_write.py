"""Format `prometheus_remote_write`: WriteRequest of the remote write protocol 1, in Snappy's block format or bare."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from typing import Any, Final

from daemon.formats import remote_write_cut
from daemon.formats.buckets import summary
from daemon.formats.columns import Columns, Head, each_one, points
from daemon.formats.definition import Definition, Example
from daemon.formats.options import Options
from daemon.formats.point import DETAIL_CHARS_MAX, NO_TIME, UNTOLD, Kind, Malformed, Point, fixed_stamp, gathered, known

MESSAGE_BYTES_MAX: Final = 32 * 1024 * 1024  # after decompression
GROWTH_MAX: Final = 22  # Snappy's largest copy makes 64 bytes of 3; who claims more only wants the memory
NAME: Final = "__name__"
PACKAGE: Final = "longwatch.remote_write"

# type numbers of descriptor.proto: double 1, int64 3, uint64 4, string 9, message 11, bytes 12, uint32 13, sint32 17
_MESSAGES: Final = {
    "Label": (("name", 1, 9, ""), ("value", 2, 9, "")),
    "Sample": (("value", 1, 1, ""), ("timestamp", 2, 3, "")),
    "Histogram": (
        ("count_int", 1, 4, ""),
        ("count_float", 2, 1, ""),
        ("sum", 3, 1, ""),
        ("timestamp", 15, 3, ""),
    ),
    "Metadata": (("type", 1, 13, ""), ("metric_family_name", 2, 9, ""), ("unit", 5, 9, "")),
    "TimeSeries": (("labels", 1, 11, "Label"), ("samples", 2, 11, "Sample"), ("histograms", 4, 11, "Histogram")),
    "WriteRequest": (
        ("timeseries", 1, 11, "TimeSeries"),
        ("metadata", 3, 11, "Metadata"),
        ("symbols", 4, 12, "*"),  # these two make a request of version 2, which shares nothing with version 1
        ("timeseries_v2", 5, 12, "*"),
    ),
}
_SUFFIXES: Final = {1: ("",), 3: ("_bucket", "_count", "_sum"), 5: ("_count", "_sum")}  # counters of a family, by type


class RemoteWriteFormat:
    """Decodes WriteRequests: many series, each with its samples and native histograms."""

    def __init__(self, options: Options) -> None:
        from cramjam import DecompressionError, snappy
        from google.protobuf.message import DecodeError

        self._options = options
        self._snappy: Any = snappy
        self._errors: tuple[type[Exception], ...] = (DecompressionError, DecodeError, ValueError)
        self._request: Callable[[bytes], Any] = write_request().FromString

    def decode(self, value: bytes) -> Sequence[Point] | Malformed:
        """Return the record's points, or why there are none."""
        return points(self, value) or self._read(value)

    def cut(self, value: bytes, into: Columns) -> bool:
        """Append the record's points; False when they are not all of samples."""
        found = Columns()
        try:
            bare = self._bare(value)
        except _TooLarge:
            return False
        except self._errors:
            return False
        if not remote_write_cut.cut(bare, found):
            return False
        if self._options.source == "record":
            found.times_ms = [NO_TIME] * len(found.times_ms)
        into.extend(found)
        return True

    def cut_ones(self, values: Sequence[bytes], into: Columns) -> bool:
        """Append the points of records that hold one each; False when one of them does not."""
        return each_one(self, values, into)

    def head(self, key: Any) -> Head | None:
        """Return what a key stands for, as the library reads it."""
        try:
            found = self._understood(remote_write_cut.joined(key))
        except self._errors:
            return None
        if isinstance(found, Malformed) or [each.fields for each in found] != [{"value": 1.0}]:
            return None
        name, labels, _, fields, kinds, unit = found[0]
        return Head(name, labels, tuple(fields), kinds, unit)

    def _read(self, value: bytes) -> Sequence[Point] | Malformed:
        """Return what the library reads."""
        try:
            return self._understood(self._bare(value))
        except _TooLarge:
            return Malformed("oversized", f"more than {MESSAGE_BYTES_MAX} bytes after decompression")
        except self._errors as error:
            return Malformed("undecodable", f"expected a WriteRequest ({self._told()}): {error}"[:DETAIL_CHARS_MAX])

    def _understood(self, bare: bytes) -> Sequence[Point] | Malformed:
        seen = self._request(bare)
        if seen.symbols or seen.timeseries_v2:
            return Malformed("undecodable", "remote write 2 is not read: let the producer send version 1")
        if bare and not seen.timeseries and not seen.metadata:  # Telegraf sends metrics that are all text as nothing
            return Malformed("empty", "a request without series")
        return gathered(self._points(seen))

    def _told(self) -> str:
        return f"compression: {self._options.compression}"

    def _bare(self, value: bytes) -> bytes:
        if self._options.compression == "none":
            return value
        claimed = self._snappy.decompress_raw_len(value)
        if claimed > MESSAGE_BYTES_MAX:
            raise _TooLarge
        if claimed > GROWTH_MAX * len(value):
            raise ValueError(f"{len(value)} bytes of Snappy cannot become {claimed}")
        return bytes(self._snappy.decompress_raw(value))

    def _points(self, seen: Any) -> Iterator[Point | Malformed]:
        told = _told(seen.metadata)
        for series in seen.timeseries:
            labels = {label.name: label.value for label in series.labels}
            name = labels.pop(NAME, "")
            kind, unit = told.get(name, (None, ""))
            kinds: dict[str, Kind] = {"value": kind} if kind else {}
            for sample in series.samples:
                moment = fixed_stamp(sample.timestamp, "ms", self._options)
                if isinstance(moment, Malformed):
                    yield moment
                else:
                    yield Point(name, labels, moment, {"value": known(sample.value)}, kinds or UNTOLD, unit)
            for each in series.histograms:
                moment = fixed_stamp(each.timestamp, "ms", self._options)
                fields = _histogram(each)
                counted: dict[str, Kind] = {"count": "counter", "mean": "gauge"}
                yield moment if isinstance(moment, Malformed) else Point(name, labels, moment, fields, counted, unit)


def _histogram(seen: Any) -> dict[str, float]:
    # a stale series has a sum that is no number, and a count of 0, which would look like a reset
    if math.isnan(seen.sum):
        return {"count": math.nan, "mean": math.nan}
    return summary(float(seen.count_int or seen.count_float), seen.sum, ())


class _TooLarge(Exception):
    """The message would not fit into the memory that we have for it."""


def _told(metadata: Any) -> dict[str, tuple[Kind | None, str]]:
    """Return kind and unit of each series' name, as far as the request itself says them."""
    found: dict[str, tuple[Kind | None, str]] = {}
    for each in metadata:
        if each.type == 2:
            found[each.metric_family_name] = ("gauge", each.unit)
        for suffix in _SUFFIXES.get(each.type, ()):
            found[each.metric_family_name + suffix] = ("counter", each.unit)
    return found


@cache
def write_request() -> Any:
    """Return the class of WriteRequest messages, built here: what is not read has no field in it."""
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    file = descriptor_pb2.FileDescriptorProto(name="remote_write.proto", package=PACKAGE, syntax="proto3")
    for name, parts in _MESSAGES.items():
        message = file.message_type.add(name=name)
        for label, tag, kind, of in parts:
            part = message.field.add(name=label, number=tag, type=kind, label=3 if of else 1)  # 3: repeated
            if of not in {"", "*"}:
                part.type_name = f".{PACKAGE}.{of}"
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{PACKAGE}.WriteRequest"))


def _examples() -> Sequence[Example]:
    from cramjam import snappy

    request = write_request()()
    for job, value in (("a", 1.0), ("b", float("nan"))):
        series = request.timeseries.add()
        series.labels.add(name=NAME, value="requests_total")
        series.labels.add(name="job", value=job)
        series.samples.add(value=value, timestamp=1_700_000_000_346)
    plain = request.SerializeToString()
    request.metadata.add(type=1, metric_family_name="requests_total", unit="requests")
    counted = request.SerializeToString()
    points = [
        Point("requests_total", {"job": job}, 1_700_000_000_346, {"value": value})
        for job, value in (("a", 1.0), ("b", float("nan")))
    ]
    native = write_request()()
    series = native.timeseries.add()
    series.labels.add(name=NAME, value="wait")
    series.histograms.add(count_int=4, sum=10.0, timestamp=1_700_000_000_346)
    series.histograms.add(sum=float("nan"), timestamp=1_700_000_001_346)
    counted_kinds: dict[str, Kind] = {"count": "counter", "mean": "gauge"}
    wait = Point("wait", {}, 1_700_000_000_346, {"count": 4.0, "mean": 2.5}, counted_kinds)
    gone = wait._replace(time_ms=1_700_000_001_346, fields=dict.fromkeys(wait.fields, float("nan")))
    bare = Options(compression="none")
    return (
        Example("two series; NaN (a stale series, too) is a missing value", _packed(snappy, plain), points),
        Example(
            "with metadata in the same request",
            _packed(snappy, counted),
            [each._replace(kinds={"value": "counter"}, unit="requests") for each in points],
        ),
        Example("a native histogram, and how it ends", _packed(snappy, native.SerializeToString()), (wait, gone)),
        Example("without compression", plain, points, bare),
        Example("metadata alone", _packed(snappy, b"\x1a\x04\x08\x01\x12\x00"), ()),
        Example("version 2", _packed(snappy, b"\x22\x00\x22\x03job\x2a\x02\x0a\x00"), "undecodable"),
        Example("compressed where it should not be", _packed(snappy, plain), "undecodable", bare),
        Example("nothing, as Telegraf writes a metric that has nothing but texts", b"\x00", ()),
        Example("none of the parts of a request", _packed(snappy, b"\x32\x00"), "empty"),
        Example("a claim to become 4 GB", b"\xff\xff\xff\xff\x0f", "oversized"),
        Example("a claim to become a thousand times as much", b"\x88\x27\x00\x61\x61", "undecodable"),
        Example("very regular", _packed(snappy, b"\x32\x80\x80\x02" + bytes(1 << 15)), "empty"),
    )


def _packed(snappy: Any, message: bytes) -> bytes:
    return bytes(snappy.compress_raw(message))


DEFINITION = Definition(
    name="prometheus_remote_write",
    written_by='Prometheus remote write 1 put on Kafka: Telegraf (`data_format = "prometheusremotewrite"`), Grafana'
    " Mimir's ingest topic (`compression: none`), relays",
    about="Requests of protocol version 1, compressed with Snappy (`input.compression: snappy`) or bare (`none`). NaN"
    " and infinities are missing values, staleness markers among them. Native histograms become count and mean. Version"
    " 2 is refused. Kinds are known where the request itself brings its metadata, which Prometheus sends apart.",
    timestamps="milliseconds, fixed",
    labels="the series' labels; `__name__` is the name",
    decoder=RemoteWriteFormat,
    examples=_examples,
)
