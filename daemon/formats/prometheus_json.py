"""Format `prometheus_json`: what prometheus-kafka-adapter writes, one sample a record, as JSON or as Avro's JSON."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from daemon.formats.definition import Definition, Example
from daemon.formats.options import Options
from daemon.formats.point import Malformed, Point, known, shown, stamp
from daemon.formats.typed import typed

NAME = "__name__"


class _Sample(msgspec.Struct, gc=False):
    value: str | float
    timestamp: str | int | float | None = None
    name: str = ""
    labels: dict[str, str] = {}


_DECODER = msgspec.json.Decoder(_Sample)


class PrometheusJsonFormat:
    """Decodes `{"labels": {...}, "name": ..., "timestamp": "...Z", "value": "3.2"}`: the value is a text."""

    def __init__(self, options: Options) -> None:
        self._options = options

    def decode(self, value: bytes) -> Sequence[Point] | Malformed:
        """Return the record's point, or why there is none."""
        seen = typed(_DECODER, value)
        if isinstance(seen, Malformed):
            return seen
        moment = stamp(seen.timestamp, self._options)
        if isinstance(moment, Malformed):
            return moment
        try:
            found = known(float(seen.value))
        except ValueError:
            return Malformed("wrong_type", f"value: expected a number, also as a text, got {shown(seen.value)}")
        labels = {name: text for name, text in seen.labels.items() if name != NAME}
        return [Point(seen.name or seen.labels.get(NAME, ""), labels, moment, {"value": found})]


def _examples() -> Sequence[Example]:
    up = b'{"labels":{"__name__":"up","instance":"a"},"name":"up","timestamp":"2023-11-14T22:13:20Z","value":"%s"}'
    avro = b'{"timestamp":"2023-11-14T22:13:20Z","value":"1","name":"up","labels":{"instance":"a"}}'
    point = Point("up", {"instance": "a"}, 1_700_000_000_000, {"value": 1.0})
    return (
        Example("one sample", up % b"1", (point,)),
        Example("the same as Avro's JSON", avro, (point,)),
        Example("NaN is a missing value", up % b"NaN", (point._replace(fields={"value": float("nan")}),)),
        Example("a value that is no number", up % b"high", "wrong_type"),
        Example("no value", b'{"name":"up","timestamp":"2023-11-14T22:13:20Z"}', "missing_field"),
        Example("no time", b'{"name":"up","value":"1"}', "missing_field"),
        Example("a time that is none", b'{"name":"up","value":"1","timestamp":"now"}', "bad_timestamp"),
        Example("half a record", up[:40], "undecodable"),
    )


DEFINITION = Definition(
    name="prometheus_json",
    written_by="prometheus-kafka-adapter (`SERIALIZATION_FORMAT` `json` and `avro-json`)",
    about="One sample a record. NaN and infinities are missing values. The adapter sends no key, so that a stream is"
    " spread over the topic's partitions: give the topic one partition.",
    timestamps="RFC 3339, which the adapter cuts to seconds",
    labels="`name` and `labels` without `__name__`",
    decoder=PrometheusJsonFormat,
    examples=_examples,
)
