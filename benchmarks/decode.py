"""Measures what decoding a sample costs in each format, against `json.loads` of the same samples in the same run.

The samples are those of a small fleet, written in every format one to a record or many, as its producers do. By turns,
each is decoded by the daemon's own decoder, cut as those of known streams are, and as JSON records of one sample each
by `json.loads` and by msgspec, which look at nothing. The ratios count: they depend little on the machine.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
from cramjam import snappy
from google.protobuf.json_format import Parse
from opentelemetry.proto.metrics.v1 import metrics_pb2

sys.path.insert(0, str(Path(__file__).parents[1]))  # so that it runs as a file, too

from daemon.formats import FORMATS, Format, Malformed, Options, decoder
from daemon.formats.columns import Columnar, Columns
from daemon.formats.prometheus_remote_write import write_request

SAMPLES = 1000
MANY = 50  # samples in a record that holds many
START_S = 1_700_000_000
BEGIN, END = "<!-- decode.py -->", "<!-- end of decode.py -->"


@dataclass(frozen=True, slots=True)
class Sample:
    """One value of one series."""

    host: str
    cpu: str
    time_s: int
    value: float

    @property
    def labels(self) -> dict[str, str]:
        """What tells the series apart."""
        return {"host": self.host, "cpu": self.cpu}


@dataclass(frozen=True, slots=True)
class Case:
    """The samples as records of one format."""

    format: str
    in_a_record: int
    records: Sequence[bytes]

    def decoded(self) -> Callable[[], int]:
        """Return what decodes all records and counts the values."""
        form = decoder(self.format, Options())
        return lambda: sum(_values(form, record) for record in self.records)

    def cut(self) -> Callable[[], int] | None:
        """Return what cuts all records and counts the values; None where the format has no columns."""
        form = decoder(self.format, Options())
        return (lambda: _cut(form, self.records)) if isinstance(form, Columnar) else None


@dataclass(frozen=True, slots=True)
class Cost:
    """What a case took: seconds a sample in each round, and the ratios to the two others in the same round."""

    case: Case
    seconds: float
    cut_seconds: float | None
    to_json: float
    to_msgspec: float


def _values(form: Format, record: bytes) -> int:
    points = form.decode(record)
    assert not isinstance(points, Malformed), points
    return sum(len(point.fields) for point in points)


def _cut(form: Columnar, records: Sequence[bytes]) -> int:
    columns = Columns()
    if not form.cut_ones(records, columns):
        columns = Columns()
        assert all(form.cut(record, columns) for record in records)
    return len(columns.numbers)


def samples() -> list[Sample]:
    """Return a minute of a few machines."""
    return [Sample(f"web-{i % 20:02d}", f"cpu{i % 4}", START_S + i // 20, 50.0 + i % 97 / 8) for i in range(SAMPLES)]


def _plain(each: Sample) -> dict[str, Any]:
    return {"timestamp": each.time_s, "name": "cpu", "labels": each.labels, "value": each.value}


def _telegraf(each: Sample) -> dict[str, Any]:
    return {"fields": {"idle": each.value}, "name": "cpu", "tags": each.labels, "timestamp": each.time_s}


def _influx(each: Sample) -> str:
    return f"cpu,host={each.host},cpu={each.cpu} idle={each.value} {each.time_s}000000000"


def _adapter(each: Sample) -> dict[str, Any]:
    stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(each.time_s))
    return {"labels": {"__name__": "cpu", **each.labels}, "name": "cpu", "timestamp": stamp, "value": str(each.value)}


def _vector(each: Sample) -> dict[str, Any]:
    stamp = time.strftime("%Y-%m-%dT%H:%M:%S.000000000Z", time.gmtime(each.time_s))
    return {
        "name": "cpu",
        "namespace": "host",
        "tags": each.labels,
        "timestamp": stamp,
        "kind": "absolute",
        "gauge": {"value": each.value},
    }


def _collectd(each: Sample) -> dict[str, Any]:
    known = {"values": [each.value], "dstypes": ["gauge"], "dsnames": ["value"], "time": each.time_s + 0.346}
    return known | {
        "interval": 10.0,
        "host": each.host,
        "plugin": "cpu",
        "plugin_instance": each.cpu,
        "type": "percent",
        "type_instance": "idle",
    }


def _otlp(batch: Sequence[Sample]) -> dict[str, Any]:
    points = [
        {
            "attributes": [{"key": "cpu", "value": {"stringValue": each.cpu}}],
            "timeUnixNano": f"{each.time_s}000000000",
            "asDouble": each.value,
        }
        for each in batch
    ]
    metric = {"name": "cpu", "unit": "1", "gauge": {"dataPoints": points}}
    resource = {"attributes": [{"key": "host.name", "value": {"stringValue": batch[0].host}}]}
    scopes = [{"scope": {"name": "cpu"}, "metrics": [metric]}]
    return {"resourceMetrics": [{"resource": resource, "scopeMetrics": scopes}]}


def _written(batch: Sequence[Sample]) -> bytes:
    request = write_request()()
    for each in batch:
        series = request.timeseries.add()
        for name, value in {"__name__": "cpu", **each.labels}.items():
            series.labels.add(name=name, value=value)
        series.samples.add(value=each.value, timestamp=each.time_s * 1000)
    return bytes(snappy.compress_raw(request.SerializeToString()))


def _proto(batch: Sequence[Sample]) -> bytes:
    return bytes(Parse(json.dumps(_otlp(batch)), metrics_pb2.MetricsData()).SerializeToString())


def _dumps(tree: object) -> bytes:
    return json.dumps(tree, separators=(",", ":")).encode()


WRITERS: dict[str, tuple[tuple[int, Callable[[Sequence[Sample]], bytes]], ...]] = {
    "json": (
        (1, lambda batch: _dumps(_plain(batch[0]))),
        (MANY, lambda batch: _dumps([_plain(each) for each in batch])),
    ),
    "telegraf_json": (
        (1, lambda batch: _dumps(_telegraf(batch[0]))),
        (MANY, lambda batch: _dumps({"metrics": [_telegraf(each) for each in batch]})),
    ),
    "influx": (
        (1, lambda batch: _influx(batch[0]).encode()),
        (MANY, lambda batch: "\n".join(map(_influx, batch)).encode()),
    ),
    "prometheus_json": ((1, lambda batch: _dumps(_adapter(batch[0]))),),
    "prometheus_remote_write": ((1, _written), (MANY, _written)),
    "otlp_proto": ((1, _proto), (MANY, _proto)),
    "otlp_json": ((1, lambda batch: _dumps(_otlp(batch))), (MANY, lambda batch: _dumps(_otlp(batch)))),
    "vector_json": ((1, lambda batch: _dumps(_vector(batch[0]))),),
    "collectd_json": (
        (1, lambda batch: _dumps([_collectd(batch[0])])),
        (MANY, lambda batch: _dumps([_collectd(each) for each in batch])),
    ),
}


def cases() -> Iterator[Case]:
    """Yield the samples in every format."""
    every = samples()
    for name in FORMATS:
        for size, write in WRITERS[name]:
            yield Case(name, size, [write(every[start : start + size]) for start in range(0, len(every), size)])


def measure(every: Sequence[Case], rounds: int) -> list[Cost]:
    """Take all cases by turns with the two that they are compared with."""
    records = [_dumps(_plain(each)) for each in samples()]
    bare: list[Callable[[], object]] = [
        lambda: [json.loads(record) for record in records],
        lambda: [msgspec.json.decode(record) for record in records],
    ]
    found = []
    for case in every:
        decode, cut = case.decoded(), case.cut()
        assert decode() == (cut or decode)() == SAMPLES, f"{case.format} loses samples"
        taken = [[_seconds(each) for each in (decode, *bare, cut or decode)] for _ in range(rounds)]
        ratios = [statistics.median(row[0] / row[i] for row in taken) for i in (1, 2)]
        decoding, cutting = (min(row[i] for row in taken) / SAMPLES for i in (0, 3))
        found.append(Cost(case, decoding, cutting if cut else None, *ratios))
    return found


def _seconds(call: Callable[[], object]) -> float:
    began = time.process_time()
    call()
    return time.process_time() - began


def table(costs: Sequence[Cost]) -> Iterator[str]:
    """Yield the lines of the table."""
    yield (
        "| format | samples in a record | bytes a sample | microseconds a sample | only cut | of `json.loads` |"
        " of msgspec |"
    )
    yield "|---|---|---|---|---|---|---|"
    for each in costs:
        size = sum(map(len, each.case.records)) / SAMPLES
        cut = "-" if each.cut_seconds is None else f"{each.cut_seconds * 1e6:.2f}"
        numbers = f"{each.case.in_a_record} | {size:.0f} | {each.seconds * 1e6:.2f} | {cut}"
        yield f"| `{each.case.format}` | {numbers} | {each.to_json:.2f} | {each.to_msgspec:.2f} |"


def main() -> None:
    """Measure, print the table, and write it into a page where one is named."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=30, help="how often each is measured (default %(default)d)")
    parser.add_argument("--write", type=Path, metavar="PAGE", help="put the table between its marks in this page")
    arguments = parser.parse_args()
    told = "\n".join(table(measure(list(cases()), arguments.rounds)))
    print(told)
    if arguments.write is not None:
        before, _, rest = arguments.write.read_text(encoding="utf-8").partition(BEGIN)
        after = rest.partition(END)[2]
        arguments.write.write_text(f"{before}{BEGIN}\n\n{told}\n\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
