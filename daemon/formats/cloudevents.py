"""The CloudEvents envelope: what lies in an event's `data` is a record of whichever format the topic has."""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Iterator, Sequence
from typing import Final

import msgspec

from daemon.formats.options import Options
from daemon.formats.point import NO_TIME, Format, Malformed, Point, gathered, stamp
from daemon.formats.typed import typed

QUOTE: Final = b'"'


class _Event(msgspec.Struct):
    specversion: str
    type: str
    time: str | None = None
    data: msgspec.Raw = msgspec.Raw()
    data_base64: str | None = None


_ONE = msgspec.json.Decoder(_Event)
_MANY = msgspec.json.Decoder(list[_Event])
_TEXT = msgspec.json.Decoder(str)


class CloudEvents:
    """Decodes events in structured mode, one or an array, and hands their data to `inner`.

    In binary mode the envelope is in the record's headers: nothing has to be unpacked, and no envelope is named.
    """

    def __init__(self, inner: Format, options: Options) -> None:
        self._inner = inner
        self._options = options

    def decode(self, value: bytes) -> Sequence[Point] | Malformed:
        """Return the points of all events, or why there are none."""
        if not value.lstrip().startswith(b"["):
            one = typed(_ONE, value)
            return one if isinstance(one, Malformed) else self._opened(one)
        many = typed(_MANY, value)
        if isinstance(many, Malformed):
            return many
        return gathered(self._each(many)) if many else Malformed("empty", "an empty batch of events")

    def _each(self, events: Sequence[_Event]) -> Iterator[Point | Malformed]:
        for event in events:
            found = self._opened(event)
            if isinstance(found, Malformed):
                yield found
                return
            yield from found

    def _opened(self, event: _Event) -> Sequence[Point] | Malformed:
        data = _data(event)
        if isinstance(data, Malformed):
            return data
        points = self._inner.decode(data)
        if isinstance(points, Malformed) or all(point.time_ms != NO_TIME for point in points):
            return points
        moment = stamp(event.time, self._options, may_miss=True)
        if isinstance(moment, Malformed):
            return moment
        return [point._replace(time_ms=moment) if point.time_ms == NO_TIME else point for point in points]


def _data(event: _Event) -> bytes | Malformed:
    if event.data_base64 is not None:
        try:
            found = b64decode(event.data_base64, validate=True)
        except ValueError as error:
            return Malformed("undecodable", f"data_base64: {error}"[:100])
    else:
        found = bytes(event.data).strip()
        if found.startswith(QUOTE):
            text = typed(_TEXT, found)  # it was passed over so far, and need not be UTF-8
            if isinstance(text, Malformed):
                return text
            found = text.encode()
    return found or Malformed("missing_field", "an event without data")
