"""Format `influx`: the line protocol of InfluxDB, one line a point, many lines a batch."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

from daemon.formats.columns import Columns, Head, each_one, points
from daemon.formats.definition import Definition, Example
from daemon.formats.options import Options
from daemon.formats.point import DETAIL_CHARS_MAX, Malformed, Point, gathered, numbers, stamp

NOWHEN: Final = -2
_NAME: Final = rb"[^ ,=\n]+"
_NUMBER: Final = rb"-?[0-9]{1,15}(?:i|\.[0-9]{1,15})?"
_FIELD: Final = re.compile(b"(%b)=(%b)" % (_NAME, _NUMBER))
_FIELDS: Final = b"%b=%b(?:,%b=%b)*" % (_NAME, _NUMBER, _NAME, _NUMBER)
_LINE: Final = re.compile(rb"(?m)^([^ #\n][^ \n]*) (%b) ([0-9]{1,19})$" % _FIELDS)


class InfluxFormat:
    """Decodes `measurement,tag=a field=1i,other=2.5 1700000000000000000`; fields that are texts are ignored."""

    def __init__(self, options: Options) -> None:
        from line_protocol_parser import LineFormatError, parse_line

        self._options = options
        self._parse: Callable[[str], dict[str, Any] | None] = parse_line
        self._error: type[Exception] = LineFormatError

    def decode(self, value: bytes) -> Sequence[Point] | Malformed:
        """Return the record's points, or why there are none."""
        return points(self, value) or self._read(value)

    def cut(self, value: bytes, into: Columns) -> bool:
        """Append the record's points; False when a line holds anything but tags and plain numbers."""
        if b'"' in value or b"\\" in value:
            return False
        lines = value.strip(b"\n").count(b"\n") + 1
        seen = _LINE.findall(value)
        times_ms = {told: self._time_ms(told) for told in {each[-1] for each in seen}}
        if len(seen) < lines or NOWHEN in times_ms.values():
            return False
        for series, fields, told in seen:
            named = _FIELD.findall(fields)
            into.keys.append((series, *[name for name, _ in named]))
            into.numbers += [float(number.removesuffix(b"i")) for _, number in named]
            into.times_ms.append(times_ms[told])
        return True

    def _time_ms(self, told: bytes) -> int:
        moment = stamp(int(told), self._options)
        return NOWHEN if isinstance(moment, Malformed) else moment

    def cut_ones(self, values: Sequence[bytes], into: Columns) -> bool:
        """Append the points of records that hold one number each; False when one of them does not."""
        return each_one(self, values, into)

    def head(self, key: Any) -> Head | None:
        """Return measurement, tags and fields that a key stands for, as the library reads them."""
        series, *names = key
        found = self._read(series + b" " + b",".join(name + b"=1" for name in names) + b" 1000000000000000000")
        if isinstance(found, Malformed) or len(found) != 1 or len(found[0].fields) != len(names):
            return None
        return Head(found[0].name, found[0].labels, tuple(found[0].fields))

    def _read(self, value: bytes) -> Sequence[Point] | Malformed:
        """Return what the library reads."""
        try:
            text = value.decode()
        except UnicodeDecodeError as error:
            return Malformed("undecodable", f"expected UTF-8: {error}"[:DETAIL_CHARS_MAX])
        if not text.strip():
            return Malformed("empty", "no line with a point")
        return gathered(self._points(text))

    def _points(self, text: str) -> Iterator[Point | Malformed]:
        begun = ""
        for line in text.split("\n"):
            whole = f"{begun}\n{line}" if begun else line
            if not whole.strip():
                continue
            try:
                seen = self._parse(whole)
            except (self._error, ValueError) as error:
                if whole.count('"') % 2:  # a text may hold the end of a line
                    begun = whole
                    continue
                yield Malformed("undecodable", f"line {whole[:60]!r}: {error}"[:DETAIL_CHARS_MAX])
                return
            begun = ""
            if seen is not None:
                yield from self._point(seen)
        if begun:
            yield Malformed("undecodable", f"line {begun[:60]!r}: a text without its end")

    def _point(self, seen: dict[str, Any]) -> Iterator[Point | Malformed]:
        fields = {name: value for name, value in seen["fields"].items() if not isinstance(value, str)}
        moment = stamp(seen["time"], self._options, may_miss=True)
        if isinstance(moment, Malformed):
            yield moment
        elif fields:
            found = numbers(fields)
            yield found if isinstance(found, Malformed) else Point(seen["measurement"], seen["tags"], moment, found)


def _examples() -> Sequence[Example]:
    line = b"system,host=node-a load1=4.5,n_cpus=2i,up=t 1700000000000000000\n"
    point = Point("system", {"host": "node-a"}, 1_700_000_000_000, {"load1": 4.5, "n_cpus": 2.0, "up": 1.0})
    return (
        Example("one line", line, (point,)),
        Example(
            "several lines, a comment, and texts, which are ignored",
            b'# by hand\ncpu,cpu=cpu\\ 0 idle=97.5 1700000000000000000\nos,host=a name="x 1",up=1u 1700000000000000000',
            (
                Point("cpu", {"cpu": "cpu 0"}, 1_700_000_000_000, {"idle": 97.5}),
                Point("os", {"host": "a"}, 1_700_000_000_000, {"up": 1.0}),
            ),
        ),
        Example(
            "a line without a time has the record's own",
            b"mem used=5",
            (Point("mem", {}, -1, {"used": 5.0}),),
        ),
        Example("no line protocol", b"cpu idle", "undecodable"),
        Example("a negative time", b"cpu idle=1 -5", "bad_timestamp"),
        Example("a comment without a point", b"\n", "empty"),
    )


DEFINITION = Definition(
    name="influx",
    written_by='Telegraf (`data_format = "influx"`), InfluxDB\'s clients',
    about="InfluxDB's line protocol. Fields that are texts are ignored, truth values are 1 and 0.",
    timestamps="a number, nanoseconds by convention; optional",
    labels="measurement and tags",
    decoder=InfluxFormat,
    examples=_examples,
)
