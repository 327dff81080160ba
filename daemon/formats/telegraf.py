"""Format `telegraf_json`: Telegraf's JSON serializer, one metric a record or a batch under `metrics`."""

from __future__ import annotations

from collections.abc import Sequence

from daemon.formats.json import numbers
from daemon.formats.point import Malformed, Point, TimestampUnit, loads, text_labels, time_ms


class TelegrafFormat:
    """Decodes `{"name": ..., "tags": {...}, "fields": {...}, "timestamp": ...}`; fields that are texts are ignored."""

    def __init__(self, unit: TimestampUnit = "auto") -> None:
        self.unit = unit

    def decode(self, value: bytes) -> Sequence[Point] | Malformed:
        """Return the record's points, or why there are none."""
        seen = loads(value)
        if isinstance(seen, Malformed):
            return seen
        if not isinstance(seen, dict):
            return Malformed("wrong_type", f"expected an object, got {type(seen).__name__}")
        batch = seen.get("metrics", [seen])
        if not isinstance(batch, list):
            return Malformed("wrong_type", f"metrics: expected an array, got {type(batch).__name__}")
        points = []
        for item in batch:
            point = self._point(item)
            if isinstance(point, Malformed):
                return point
            if point is not None:
                points.append(point)
        return points if batch else Malformed("empty", "an empty batch")

    def _point(self, item: object) -> Point | Malformed | None:
        """Return the metric's point, None when it holds nothing but texts, as some of Telegraf's own do."""
        if not isinstance(item, dict):
            return Malformed("wrong_type", f"expected an object, got {type(item).__name__}")
        name, fields = item.get("name"), item.get("fields")
        if not isinstance(name, str) or fields is None or "timestamp" not in item:
            return Malformed("missing_field", "expected name, fields and timestamp")
        if not isinstance(fields, dict):
            return Malformed("wrong_type", f"fields: expected an object, got {type(fields).__name__}")
        moment = time_ms(item["timestamp"], self.unit)
        labels = text_labels(item.get("tags"))
        if fields and all(isinstance(value, str) for value in fields.values()):
            return None
        found = numbers(fields)
        for part in (moment, labels, found):
            if isinstance(part, Malformed):
                return part
        return Point(name, labels, moment, found)  # type: ignore[arg-type]  # the loop above left no Malformed
