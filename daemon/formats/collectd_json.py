"""Format `collectd_json`: what collectd's write_kafka writes, an array of value lists."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec

from daemon.formats.definition import Definition, Example
from daemon.formats.options import Options
from daemon.formats.point import Kind, Malformed, Point, gathered, known, stamp
from daemon.formats.typed import typed


class _ValueList(msgspec.Struct):
    values: list[float | None]
    dstypes: list[str]
    dsnames: list[str]
    plugin: str
    type: str
    time: float | str | None = None
    host: str = ""
    plugin_instance: str = ""
    type_instance: str = ""


_DECODER = msgspec.json.Decoder(list[_ValueList])
_LABELS = ("host", "plugin", "plugin_instance", "type", "type_instance")


class CollectdFormat:
    """Decodes value lists, whose values, names and types are arrays side by side."""

    def __init__(self, options: Options) -> None:
        self._options = options

    def decode(self, value: bytes) -> Sequence[Point] | Malformed:
        """Return the record's points, or why there are none."""
        seen = typed(_DECODER, value)
        if isinstance(seen, Malformed):
            return seen
        return gathered(self._points(seen)) if seen else Malformed("empty", "an empty array")

    def _points(self, seen: Sequence[_ValueList]) -> Iterator[Point | Malformed]:
        for each in seen:
            moment = stamp(each.time, self._options)
            if isinstance(moment, Malformed):
                yield moment
            elif not len(each.values) == len(each.dstypes) == len(each.dsnames):
                yield Malformed("wrong_type", "values, dstypes and dsnames differ in length")
            elif not each.values:
                yield Malformed("empty", "a list without values")
            else:
                fields = {name: known(value) for name, value in zip(each.dsnames, each.values, strict=True)}
                yield Point(_name(each), _labels(each), moment, fields, _kinds(each))


def _name(seen: _ValueList) -> str:
    return seen.plugin if seen.plugin == seen.type else f"{seen.plugin}_{seen.type}"


def _labels(seen: _ValueList) -> dict[str, str]:
    found = ((name, getattr(seen, name)) for name in _LABELS)
    return {name: value for name, value in found if value}


def _kinds(seen: _ValueList) -> dict[str, Kind]:
    # With StoreRates, the default, a `derive` arrives as its rate and is still called `derive`: only a gauge is told.
    return {name: "gauge" for name, kind in zip(seen.dsnames, seen.dstypes, strict=True) if kind == "gauge"}


def _examples() -> Sequence[Example]:
    memory = (
        b'{"values":[4109631488],"dstypes":["gauge"],"dsnames":["value"],"time":1700000000.346,"interval":1.000,'
        b'"host":"node-c","plugin":"memory","plugin_instance":"","type":"memory","type_instance":"used"}'
    )
    traffic = (
        b'{"values":[12.5,null],"dstypes":["derive","derive"],"dsnames":["rx","tx"],"time":1700000000.346,'
        b'"interval":1.000,"host":"node-c","plugin":"interface","plugin_instance":"eth0","type":"if_octets",'
        b'"type_instance":""}'
    )
    used = {"host": "node-c", "plugin": "memory", "type": "memory", "type_instance": "used"}
    eth0 = {"host": "node-c", "plugin": "interface", "plugin_instance": "eth0", "type": "if_octets"}
    points = (
        Point("memory", used, 1_700_000_000_346, {"value": 4109631488.0}, {"value": "gauge"}),
        Point("interface_if_octets", eth0, 1_700_000_000_346, {"rx": 12.5, "tx": float("nan")}),
    )
    return (
        Example("one value", b"[" + memory + b"]", points[:1]),
        Example("several lists, one with two values", b"[" + memory + b"," + traffic + b"]", points),
        Example("a list without a time", b"[" + memory.replace(b'"time"', b'"when"') + b"]", "missing_field"),
        Example(
            "names that do not match the values",
            memory.replace(b"[4109631488]", b"[1,2]").join((b"[", b"]")),
            "wrong_type",
        ),
        Example("no array", memory, "wrong_type"),
        Example("nothing", b"[]", "empty"),
        Example("half a record", b"[" + memory, "undecodable"),
    )


DEFINITION = Definition(
    name="collectd_json",
    written_by="collectd (`write_kafka` with `Format JSON`)",
    about="An array of value lists. With `StoreRates true`, collectd's default, counters arrive as rates but are still"
    " called `derive`, so only gauges are told to be what they are.",
    timestamps="seconds with a fraction",
    labels="`plugin_type` (or `plugin`, where both are the same); `host`, `plugin`, `plugin_instance`, `type`,"
    " `type_instance`, unless empty",
    decoder=CollectdFormat,
    examples=_examples,
)
