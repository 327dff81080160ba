"""From records to samples: decode, select, find each stream's slot; what cannot be used comes back as a value."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from types import MappingProxyType
from typing import Protocol

import numpy as np

from daemon.eviction import Ages, Gathered
from daemon.formats.point import NO_TIME, UNTOLD, Format, Kind, Malformed, Point
from daemon.joining import Tally
from daemon.labelling import AS_THEY_COME, Labels
from daemon.recipe import Recipe, Recipes
from daemon.samples import Evicted, Part, Samples
from daemon.state import PartitionState
from daemon.stream_keys import stream_key
from daemon.types import Record, Rejected, TopicPartition
from detectors import scaling
from detectors.slab import Slab

NAN = math.nan
CACHED_STREAMS_MAX = 500_000
STREAM_CHARS_MAX = 4096  # of a stream's name, which stands in pages, scores and alerts
SEPARATOR = "\x00"
FIELD = "field"  # the label that tells the fields of a record apart


class Selection(Protocol):
    """A group as the intake sees it: which points it takes, and which of their fields."""

    @property
    def name(self) -> str: ...
    @property
    def channels(self) -> Sequence[str]: ...  # scored jointly; none: every field is a stream of its own
    def selects(self, labels: Mapping[str, str]) -> bool: ...


class Takes(Protocol):
    """Turns the records of partitions into samples of their slabs, as `Intake.take` says."""

    def take(self, partition: TopicPartition, records: Sequence[Record], state: PartitionState) -> Taken: ...


@dataclass(frozen=True, slots=True)
class Limits:
    """What a record may be before it is a dead letter."""

    record_bytes_max: int = 262_144
    future_ms_max: int = 300_000


@dataclass(frozen=True, slots=True)
class Taken:
    """What the records of one partition held."""

    parts: Mapping[str, Part]  # by group
    rejected: Sequence[Rejected]
    samples: int
    unselected: int  # points that no group wants
    missing: Mapping[str, int]  # by group, samples without any value
    next_offset: int
    watermark_ms: int
    ahead_ms: int
    rejected_run: int
    rejected_run_max: int  # the longest run of unusable records that came to its end, or its present end, in here
    joined: Mapping[str, Tally] = field(default_factory=dict)  # by group, what came of readings
    absent: Mapping[tuple[str, str], int] = field(default_factory=dict)  # by group and channel, samples without it

    def settle(self, state: PartitionState) -> None:
        """Note how far the partition was read and what is remembered of that."""
        state.next_offset, state.watermark_ms = self.next_offset, self.watermark_ms
        state.ahead_ms, state.rejected_run = self.ahead_ms, self.rejected_run


Begins = Mapping[str, Sequence[float]]  # what the row of a new stream begins with
Shape = str | tuple[str, ...]
Route = Sequence[tuple[str, str, Sequence[str], Begins | None]]  # group, stream key, field names
_TOLD: Mapping[Kind, float] = {"counter": scaling.COUNTER, "delta": scaling.DELTA}


class Intake:
    """Turns one partition's records into samples of its slabs."""

    def __init__(
        self,
        decoder: Format,
        groups: Sequence[Selection],
        limits: Limits,
        kinds: Mapping[str, Kind] = UNTOLD,  # by group, where the operator says what its values are
        labels: Labels = AS_THEY_COME,
        recipes: Mapping[str, Recipe] = MappingProxyType({}),  # of the groups whose samples are made of something
    ) -> None:
        self._decoder = decoder
        self._kinds, self._labels = kinds, labels
        self._groups = groups
        self._limits = limits
        self._routes: dict[Shape, Route] = {}
        self._recipes = Recipes(recipes)

    def take(self, partition: TopicPartition, records: Sequence[Record], state: PartitionState) -> Taken:
        """Decode `records`, in their order; new streams get slots in the state's slabs, nothing else changes there.

        A stream for which another gives way gets a slot too; the other's is freed by the step's delta. Samples of
        groups that the state has no slab for are passed over.
        """
        taking = _Taking(partition, state, [group.name for group in self._groups])
        for record in records:
            points = self._decode(record, taking)
            if isinstance(points, Malformed):
                taking.reject(record, points)
                continue
            taking.rejected_run = 0
            for point in points:
                shape = _shape(point)
                known = self._routes.get(shape)
                route = self._route(point, shape) if known is None else known
                problem = taking.place(point, record.offset, route)
                if problem is not None:
                    taking.refuse(record, problem)
                    self._routes.pop(shape, None)  # a flood of new streams shall not fill the memory
                    self._recipes.forget(() if isinstance(route, Malformed) else [each[:2] for each in route])
                if point.time_ms > taking.watermark_ms:  # noqa: PLR1730  # `max` takes several times as long
                    taking.watermark_ms = point.time_ms
        taken = taking.taken(records[-1].offset + 1, self._recipes.widths(self._groups))
        made = self._recipes.made(taken.parts, self._groups)
        return replace(taken, parts=made.parts, joined=made.tallies, absent=made.absent)

    def _decode(self, record: Record, taking: _Taking) -> Sequence[Point] | Malformed:
        value = record.value
        if not value:
            return Malformed("empty", "the record has no value")
        if len(value) > self._limits.record_bytes_max:
            return Malformed("oversized", f"{len(value)} bytes, at most {self._limits.record_bytes_max} are read")
        points = self._decoder.decode(value)
        if isinstance(points, Malformed) or not points:
            return points
        times_ms = [point.time_ms for point in points]
        if NO_TIME in times_ms:
            points = _timed(points, record.timestamp)
            if isinstance(points, Malformed):
                return points
            times_ms = [point.time_ms for point in points]
        latest_ms = times_ms[0] if len(times_ms) == 1 else max(times_ms)
        return taking.ahead(record.timestamp, latest_ms, self._limits.future_ms_max) or points

    def _route(self, point: Point, shape: Shape) -> Route | Malformed:
        """Find group, stream key and field names of each stream that the point feeds, and remember them."""
        found = self._find_route(point)
        if any(len(key) > STREAM_CHARS_MAX for _, key, *_ in found):
            return Malformed("oversized", f"the name of a stream has more than {STREAM_CHARS_MAX} characters")
        if len(self._routes) >= CACHED_STREAMS_MAX:
            self._routes.clear()
            self._recipes.forget_all()
        self._routes[shape] = found
        return found

    def _find_route(self, point: Point) -> Route:
        labels = self._labels.with_those_of_all(point.labels)
        told = {**labels, "name": point.name} if point.name else labels
        group = next((group for group in self._groups if group.selects(told)), None)
        if group is None:
            return ()
        recipe = self._recipes.of(group.name)
        if recipe is not None:
            return self._route_of(recipe, group.name, point, labels)
        labels = self._labels.of_a_stream(group.name, labels)
        if group.channels:
            wanted = [name for name in group.channels if name in point.fields]
            names = _one_object(tuple(group.channels))
            key = stream_key(point.name, labels)
            return ((group.name, key, names, self._begins(group.name, point, names)),) if wanted else ()
        return tuple(
            (
                group.name,
                stream_key(point.name, _field_labels(labels, name)),
                _one_object((name,)),
                self._begins(group.name, point, (name,)),
            )
            for name in point.fields
        )

    def _route_of(self, recipe: Recipe, group: str, point: Point, labels: Mapping[str, str]) -> Route:
        """Find the one stream of which the point has readings."""
        names = recipe.names(point.name, self._labels.renamed(group, labels), list(point.fields))
        if names is None:
            return ()
        key = stream_key(*recipe.stream(point.name, self._labels.of_a_stream(group, labels)))
        begins = self._begins(group, point, names)
        told = None if begins is None else _told(self._recipes.tell(group, key, recipe.told(begins["counter"])))
        return ((group, key, _one_object(names), told),)

    def _begins(self, group: str, point: Point, names: Sequence[str]) -> Begins | None:
        """Return what a stream's row begins with where it is told what its values are.

        A producer's gauge may still turn out to be a counter, by what it does: many of them are.
        """
        told = self._kinds.get(group)
        if told is not None:
            return _told((_TOLD.get(told, scaling.GAUGE),) * len(names))
        found = tuple(_TOLD.get(point.kinds.get(name, "gauge"), scaling.UNKNOWN) for name in names)
        return _told(found) if any(found) else None


@lru_cache(1024)
def _one_object(names: tuple[str, ...]) -> tuple[str, ...]:
    """Return `names`: the same object each time, however many routes hold it."""
    return names


@lru_cache(1024)
def _told(codes: tuple[float, ...]) -> Begins:
    """Return what rows begin with: one object, however many routes remember it."""
    return {"counter": codes}


def _are_missing(values: Sequence[float]) -> bool:
    """Return whether none of the values is a number."""
    for value in values:  # noqa: SIM110  # `all` takes several times as long
        if value == value:  # noqa: PLR0124  # of NaN alone it is not true
            return False
    return True


def _timed(points: Sequence[Point], record_ms: int) -> Sequence[Point] | Malformed:
    """Return the points with the record's own time where the payload does not say theirs."""
    if record_ms < 0:
        return Malformed("missing_field", "neither the payload nor the record has a time stamp")
    return [point._replace(time_ms=record_ms) if point.time_ms == NO_TIME else point for point in points]


def _shape(point: Point) -> Shape:
    """Return what tells a point's streams from all others, as one text where no part of it holds the separator.

    There are as many shapes as streams: a text is a fraction of a tuple's memory, and found with fewer looks at it. How
    many labels there are tells these from the fields.
    """
    labels = point.labels
    parts = (str(len(labels)), point.name, *labels, *labels.values(), *point.fields)
    shape = SEPARATOR.join(parts)
    return shape if shape.count(SEPARATOR) == len(parts) - 1 else parts


def _field_labels(labels: Mapping[str, str], name: str) -> Mapping[str, str]:
    """Return the labels of the stream of one field; a label of that very name is kept under another one."""
    if name == "value":
        return labels
    kept = FIELD
    while kept in labels:
        kept = f"exported_{kept}"
    return {**{kept if label == FIELD else label: value for label, value in labels.items()}, FIELD: name}


class _Taking:
    """One take on its way: what was found so far, and what is known at this point of the input."""

    def __init__(self, partition: TopicPartition, state: PartitionState, groups: Sequence[str]) -> None:
        self._partition, self._slabs = partition, state.slabs
        self._gathered = {name: Gathered() for name in groups if name in state.slabs}
        self._ages: dict[str, Ages] = {}
        self._rejected: list[Rejected] = []
        self._missing: dict[str, int] = {}
        self._unselected = 0
        self.watermark_ms, self.ahead_ms = state.watermark_ms, state.ahead_ms
        self.rejected_run, self._rejected_run_max = state.rejected_run, 0

    def reject(self, record: Record, problem: Malformed) -> None:
        """Note a record that cannot be used at all."""
        self.rejected_run += 1
        self._rejected_run_max = max(self._rejected_run_max, self.rejected_run)
        self._rejected.append(Rejected(*self._partition, record.offset, *problem))

    def refuse(self, record: Record, problem: Malformed) -> None:
        """Note that a point finds no place: one dead letter a record, however many of its points do not."""
        if not (self._rejected and self._rejected[-1].offset == record.offset):
            self._rejected.append(Rejected(*self._partition, record.offset, *problem))

    def ahead(self, record_ms: int, latest_ms: int, future_ms_max: int) -> Malformed | None:
        """Return what is wrong when a record's newest event time lies too far in the future.

        A record's own time says what was the future then. Without one, the first record that is far ahead of all before
        it is refused, and one that comes next and agrees with it is believed: a gap in the input ends so, too.
        """
        if record_ms > 0:
            ahead_ms = latest_ms - record_ms
            told = f"{ahead_ms} ms ahead of the record's own time"
            return Malformed("bad_timestamp", told) if ahead_ms > future_ms_max else None
        ahead_ms = latest_ms - self.watermark_ms
        agreed = abs(latest_ms - self.ahead_ms) <= future_ms_max
        if self.watermark_ms <= 0 or ahead_ms <= future_ms_max or agreed:
            self.ahead_ms = 0
            return None
        self.ahead_ms = latest_ms
        return Malformed("bad_timestamp", f"{ahead_ms} ms ahead of all records before, and the record has no own time")

    def place(self, point: Point, offset: int, route: Route | Malformed) -> Malformed | None:
        """Append the point's samples to the columns of their groups; return why one of them finds no place."""
        if isinstance(route, Malformed):
            return route
        if not route:
            self._unselected += 1
        fields = point.fields
        for group, key, names, begins in route:
            gathered = self._gathered.get(group)
            if gathered is None:  # a training gathers one group: what another one selects is not in its state
                self._unselected += 1
                continue
            values = [fields.get(name, NAN) for name in names]
            if _are_missing(values):
                self._missing[group] = self._missing.get(group, 0) + 1
                continue
            slot = self._slabs[group].slot(key, begins)
            if slot is None:
                slot = self._slot_of_another((group, key, begins), gathered, offset)
                if slot is None:
                    return Malformed("max_streams", f"group {group} is full; the stream {key[:120]} is new")
            gathered.slots.append(slot)
            gathered.offsets.append(offset)
            gathered.times_ms.append(point.time_ms)
            gathered.values.extend(values)
            gathered.watermark_ms.append(self.watermark_ms)
        return None

    def _slot_of_another(self, stream: tuple[str, str, Begins | None], gathered: Gathered, offset: int) -> int | None:
        """Return a slot for a stream that is new to a full group, when another one may give way to it."""
        group, key, begins = stream
        slab = self._slabs[group]
        if slab.evict_after_ms <= 0 or self.watermark_ms <= slab.full_until_ms:
            return None
        ages = self._ages.get(group) or self._ages.setdefault(group, Ages(slab, gathered))
        leaving = ages.give_way(self.watermark_ms)
        if leaving is None:
            slab.full_until_ms = ages.nobody_until_ms()
            return None
        gathered.evicted.append((leaving, offset, self.watermark_ms))
        slab.retire(leaving)
        return slab.slot(key, begins)

    def taken(self, next_offset: int, widths: Mapping[str, int]) -> Taken:
        """Return all that was found; `widths` says how many values each group has side by side."""
        return Taken(
            parts={
                name: _part(self._partition, (self._slabs[name], widths[name]), found, self.watermark_ms)
                for name, found in self._gathered.items()
            },
            rejected=self._rejected,
            samples=sum(len(found.slots) for found in self._gathered.values()),
            unselected=self._unselected,
            missing=self._missing,
            next_offset=next_offset,
            watermark_ms=self.watermark_ms,
            ahead_ms=self.ahead_ms,
            rejected_run=self.rejected_run,
            rejected_run_max=self._rejected_run_max,
        )


def _part(partition: TopicPartition, held: tuple[Slab, int], found: Gathered, watermark_ms: int) -> Part:
    slab, width = held
    values = np.array(found.values, dtype=np.float64).reshape(len(found.slots), width)
    samples = Samples(
        slots=np.array(found.slots, dtype=np.intp),
        offsets=np.array(found.offsets, dtype=np.int64),
        times_ms=np.array(found.times_ms, dtype=np.int64),
        values=values,
        watermark_ms=np.array(found.watermark_ms, dtype=np.int64),
    )
    return Part(partition, slab, samples, watermark_ms, Evicted.of(found.evicted))
