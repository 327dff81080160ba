"""What a producer wrote and what it said of itself by another way, in one file; and how the two are compared."""

from __future__ import annotations

import json
import math
from base64 import b64decode, b64encode
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from daemon.formats import Malformed, Options, Point, decoder

GOLDEN = Path(__file__).parent / "golden"


class Said(NamedTuple):
    """One value of one series at one time, as its producer tells it."""

    name: str
    labels: tuple[tuple[str, str], ...]
    time_ms: int
    field: str
    value: float


@dataclass(frozen=True, slots=True)
class Recording:
    """Records of one topic, and what their producer said of the same time."""

    producer: str
    format: str
    records: Sequence[bytes]
    said: Collection[Said]
    input: Mapping[str, str] = field(default_factory=dict)  # further settings, as in the configuration
    note: str = ""
    interval_ms: int = 0  # what was said in the last one of these need not have been sent yet
    tolerance: float = 0.0  # where the producer rounds what it says


def said(name: str, labels: Mapping[str, str], time_ms: int, values: Mapping[str, float]) -> Iterable[Said]:
    """Yield what was said of one point; what is no finite number was not said."""
    key = tuple(sorted(labels.items()))
    return (Said(name, key, time_ms, each, value) for each, value in values.items() if math.isfinite(value))


def points(recording: Recording) -> list[Point]:
    """Decode all records as the daemon would; a refused one is a failure."""
    told = dict(recording.input)
    envelope = told.pop("envelope", "none")
    form = decoder(recording.format, Options(**told), envelope)  # type: ignore[arg-type]  # words of the configuration
    found: list[Point] = []
    for record in recording.records:
        decoded = form.decode(record)
        assert not isinstance(decoded, Malformed), f"{decoded} of {record[:300]!r}"
        found += decoded
    return found


def check(recording: Recording) -> int:
    """Compare what is read with what was said, both ways, and return how many values agree."""
    fields = {each.field for each in recording.said}
    found = {each for point in points(recording) for each in said(*point[:4]) if each.field in fields}
    assert found, "nothing was read"
    read, told = ({each[:4]: each.value for each in some} for some in (found, recording.said))
    near = {key for key, value in read.items() if abs(value - told.get(key, math.inf)) <= recording.tolerance}
    unsaid = [(key, read[key], told.get(key)) for key in sorted(set(read) - near)[:5]]
    assert not unsaid, f"read, but never said: {unsaid}"
    until_ms = max(each.time_ms for each in found) - recording.interval_ms
    unread = sorted(key for key in told if key[2] <= until_ms and key not in read)[:5]
    assert not unread, f"said, but not read: {unread}"
    return len(read)


def written(recording: Recording) -> str:
    """Return a recording as the text of a file, a record and a saying a line."""
    parts = {
        name: getattr(recording, name) for name in ("producer", "note", "format", "input", "interval_ms", "tolerance")
    }
    lists: dict[str, list[Any]] = {
        "records": [_text(each) for each in recording.records],
        "said": sorted(recording.said),
    }
    rows = [f'"{name}": {json.dumps(value)}' for name, value in parts.items()]
    for name, entries in lists.items():
        inner = ",\n".join(f"  {json.dumps(each)}" for each in entries)
        rows.append(f'"{name}": [\n{inner}\n]')
    return "{\n" + ",\n".join(rows) + "\n}\n"


def loaded(path: Path) -> Recording:
    """Read a recording from its file."""
    parts = json.loads(path.read_text(encoding="utf-8"))
    parts["records"] = [
        each.encode() if isinstance(each, str) else b64decode(each["base64"]) for each in parts["records"]
    ]
    parts["said"] = [
        Said(name, tuple((label, value) for label, value in labels), *rest) for name, labels, *rest in parts["said"]
    ]
    return Recording(**parts)


def _text(record: bytes) -> str | dict[str, str]:
    try:
        return record.decode()
    except UnicodeDecodeError:
        return {"base64": b64encode(record).decode()}
