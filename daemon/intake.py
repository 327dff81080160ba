"""From records to samples: decode, select, find each stream's slot; what cannot be used comes back as a value."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from daemon.engine import Part, Samples
from daemon.formats.point import Format, Malformed, Point
from daemon.state import PartitionState
from daemon.stream_keys import stream_key
from daemon.types import Record, Rejected, TopicPartition

CACHED_STREAMS_MAX = 500_000


class Selection(Protocol):
    """A group as the intake sees it: which points it takes, and which of their fields."""

    @property
    def name(self) -> str: ...
    @property
    def channels(self) -> Sequence[str]: ...  # scored jointly; none: every field is a stream of its own
    def selects(self, labels: Mapping[str, str]) -> bool: ...


@dataclass(frozen=True, slots=True)
class Limits:
    """What a record may be before it is a dead letter."""

    record_bytes_max: int = 262_144
    future_ms_max: int = 300_000


@dataclass(slots=True)
class _Columns:
    """The samples of one group in one partition while they are being gathered."""

    slots: list[int] = field(default_factory=list)
    offsets: list[int] = field(default_factory=list)
    times_ms: list[int] = field(default_factory=list)
    values: list[list[float]] = field(default_factory=list)
    watermark_ms: list[int] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Taken:
    """What the records of one partition held."""

    parts: Mapping[str, Part]  # by group
    rejected: Sequence[Rejected]
    samples: int
    unselected: int
    next_offset: int
    watermark_ms: int


class Intake:
    """Turns one partition's records into samples of its slabs."""

    def __init__(self, decoder: Format, groups: Sequence[Selection], limits: Limits) -> None:
        self._decoder = decoder
        self._groups = groups
        self._limits = limits
        self._routes: dict[tuple[object, ...], list[tuple[Selection, str, Sequence[str]]]] = {}

    def take(self, partition: TopicPartition, records: Sequence[Record], state: PartitionState) -> Taken:
        """Decode `records`, in their order; new streams get slots in the state's slabs, nothing else changes there.

        Samples of groups that the state has no slab for are passed over.
        """
        columns = {group.name: _Columns() for group in self._groups if group.name in state.slabs}
        rejected: list[Rejected] = []
        watermark, unselected = state.watermark_ms, 0
        for record in records:
            points = self._decode(record)
            if isinstance(points, Malformed):
                rejected.append(Rejected(*partition, record.offset, *points))
                continue
            for point in points:
                problem = self._place(point, record.offset, watermark, state, columns)
                if problem is not None and problem.reason == "empty":
                    unselected += 1
                elif problem is not None and not (rejected and rejected[-1].offset == record.offset):
                    # one dead letter a record, however many of its points find no place
                    rejected.append(Rejected(*partition, record.offset, *problem))
                watermark = max(watermark, point.time_ms)
        return Taken(
            parts={name: _part(partition, state, name, found, watermark) for name, found in columns.items()},
            rejected=rejected,
            samples=sum(len(found.slots) for found in columns.values()),
            unselected=unselected,
            next_offset=records[-1].offset + 1,
            watermark_ms=watermark,
        )

    def _decode(self, record: Record) -> Sequence[Point] | Malformed:
        value = record.value
        if not value:
            return Malformed("empty", "the record has no value")
        if len(value) > self._limits.record_bytes_max:
            return Malformed("oversized", f"{len(value)} bytes, at most {self._limits.record_bytes_max} are read")
        points = self._decoder.decode(value)
        if isinstance(points, Malformed) or not points:
            return points
        latest = max(point.time_ms for point in points)
        if record.timestamp >= 0 and latest > record.timestamp + self._limits.future_ms_max:
            return Malformed("bad_timestamp", f"{latest - record.timestamp} ms ahead of the record's own time")
        return points

    def _place(
        self, point: Point, offset: int, watermark: int, state: PartitionState, columns: dict[str, _Columns]
    ) -> Malformed | None:
        """Append the point's samples to their columns; return why not, with the reason `empty` if no group wants it."""
        placed = False
        for group, key, names in self._route(point):
            found = columns.get(group.name)
            if found is None:  # a training gathers one group: what another one selects is not in its state
                continue
            slot = state.slabs[group.name].slot(key)
            if slot is None:
                return Malformed("max_streams", f"group {group.name} is full; the stream {key[:120]} is new")
            found.slots.append(slot)
            found.offsets.append(offset)
            found.times_ms.append(point.time_ms)
            found.values.append([point.fields.get(name, np.nan) for name in names])
            found.watermark_ms.append(watermark)
            placed = True
        return None if placed else Malformed("empty", "no group selects it")

    def _route(self, point: Point) -> list[tuple[Selection, str, Sequence[str]]]:
        """Return group, stream key and field names of each stream that the point feeds; remembered by labels."""
        shape = (point.name, *point.labels.items(), *point.fields)
        found = self._routes.get(shape)
        if found is None:
            if len(self._routes) >= CACHED_STREAMS_MAX:
                self._routes.clear()
            found = self._routes[shape] = self._find_route(point)
        return found

    def _find_route(self, point: Point) -> list[tuple[Selection, str, Sequence[str]]]:
        labels = {**point.labels, "name": point.name} if point.name else point.labels
        group = next((group for group in self._groups if group.selects(labels)), None)
        if group is None:
            return []
        if group.channels:
            wanted = [name for name in group.channels if name in point.fields]
            return [(group, stream_key(point.name, point.labels), tuple(group.channels))] if wanted else []
        return [
            (
                group,
                stream_key(point.name, point.labels if name == "value" else {**point.labels, "field": name}),
                (name,),
            )
            for name in point.fields
        ]


def _part(partition: TopicPartition, state: PartitionState, group: str, found: _Columns, watermark_ms: int) -> Part:
    slab = state.slabs[group]
    width = slab.dtype["window"].shape[1]
    values = np.array(found.values, dtype=np.float64).reshape(len(found.slots), width)
    samples = Samples(
        slots=np.array(found.slots, dtype=np.intp),
        offsets=np.array(found.offsets, dtype=np.int64),
        times_ms=np.array(found.times_ms, dtype=np.int64),
        values=values,
        watermark_ms=np.array(found.watermark_ms, dtype=np.int64),
    )
    return Part(partition, slab, samples, watermark_ms)
