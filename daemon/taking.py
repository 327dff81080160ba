"""One take on its way: what was found so far, in columns by group, and what is known at this point of the input."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from daemon.eviction import Ages, Gathered
from daemon.formats.point import Malformed, Point
from daemon.joining import Tally
from daemon.places import NOWHERE, Found, Place
from daemon.routing import Begins, Route
from daemon.samples import Evicted, Part, Samples
from daemon.state import PartitionState
from daemon.types import Record, Rejected, TopicPartition
from detectors.slab import Slab

NAN = math.nan
POINTS_PER_STREAM_MAX = 2  # that are remembered: one stream may be written in several ways

F = NDArray[np.float64]
I8 = NDArray[np.int64]


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


def _are_missing(values: Sequence[float]) -> bool:
    """Return whether none of the values is a number."""
    for value in values:  # noqa: SIM110  # `all` takes several times as long
        if value == value:  # noqa: PLR0124  # of NaN alone it is not true
            return False
    return True


def far_ahead(
    record_ms: int, latest_ms: int, known_ms: tuple[int, int], future_ms_max: int
) -> tuple[Malformed | None, int]:
    """Return what is wrong when a record's newest event time lies too far in the future, and what is remembered of it.

    A record's own time says what was the future then. Without one, the first record that is far ahead of all before
    it is refused, and one that comes next and agrees with it is believed: a gap in the input ends so, too. `known_ms`
    is the watermark, and what this function said to remember of the record before.
    """
    watermark_ms, before_ms = known_ms
    if record_ms > 0:
        ahead_ms = latest_ms - record_ms
        told = f"{ahead_ms} ms ahead of the record's own time"
        return (Malformed("bad_timestamp", told) if ahead_ms > future_ms_max else None), before_ms
    ahead_ms = latest_ms - watermark_ms
    agreed = abs(latest_ms - before_ms) <= future_ms_max
    if watermark_ms <= 0 or ahead_ms <= future_ms_max or agreed:
        return None, 0
    told = f"{ahead_ms} ms ahead of all records before, and the record has no own time"
    return Malformed("bad_timestamp", told), latest_ms


class Taking:
    """What one take has found so far; all of it is asked for by `taken`."""

    def __init__(self, partition: TopicPartition, state: PartitionState, groups: Sequence[str]) -> None:
        self._partition, self._slabs, self.places = partition, state.slabs, state.places
        self._gathered = {name: Gathered() for name in groups if name in state.slabs}
        self._ages: dict[tuple[str, str | None], Ages] = {}  # by group and, of a full share, its tenant
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
        """Return what is wrong when a record's newest event time lies too far in the future, as `far_ahead` says."""
        problem, self.ahead_ms = far_ahead(record_ms, latest_ms, (self.watermark_ms, self.ahead_ms), future_ms_max)
        return problem

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
                    return self._full(group, key)
            gathered.slots.append(slot)
            gathered.offsets.append(offset)
            gathered.times_ms.append(point.time_ms)
            gathered.values.extend(values)
            gathered.watermark_ms.append(self.watermark_ms)
        return None

    def learn(self, key: Hashable, fields: Sequence[str], route: Route) -> None:
        """Remember where a point of these fields was placed; not where a stream of it is not known by now."""
        place = self._place_of(fields, route)
        if place is not None:
            self.places.learn(
                key, place, POINTS_PER_STREAM_MAX * sum(slab.streams_max for slab in self._slabs.values())
            )

    def _place_of(self, fields: Sequence[str], route: Route) -> Place | None:
        slab = self._slabs.get(route[0][0]) if route else None
        if slab is None:
            return Place(fields=len(fields), unselected=max(len(route), 1))
        slots = [slab.held(key) for _, key, *_ in route]
        known = [slot for slot in slots if slot is not None]
        if len(known) < len(slots):
            return None
        at = {name: number for number, name in enumerate(fields)}
        picks = [[at.get(name, NOWHERE) for name in names] for _, _, names, _ in route]
        return Place(route[0][0], known, picks, len(fields))

    def extend(self, samples: Found, offsets: I8, times_ms: I8, values: F, watermark_ms: I8) -> None:
        """Append samples (n,) of a group to its columns; those without any value are counted."""
        present = ~np.isnan(values).all(axis=1)
        if not present.all():
            self._missing[samples.group] = self._missing.get(samples.group, 0) + int((~present).sum())
        gathered = self._gathered[samples.group]
        for column, given in (
            (gathered.slots, samples.slots),
            (gathered.offsets, offsets),
            (gathered.times_ms, times_ms),
            (gathered.values, values),
            (gathered.watermark_ms, watermark_ms),
        ):
            column.frombytes(given[present].tobytes())

    def pass_over(self, points: int) -> None:
        """Count points that nobody takes."""
        self._unselected += points

    def _slot_of_another(self, stream: tuple[str, str, Begins | None], gathered: Gathered, offset: int) -> int | None:
        """Return a slot for a stream that is new to a full group, when another one may give way to it."""
        group, key, begins = stream
        slab = self._slabs[group]
        tenant = slab.full_tenant(key)
        if slab.evict_after_ms <= 0 or self.watermark_ms <= slab.full_until(tenant):
            return None
        ages = self._ages.get((group, tenant))
        if ages is None:
            ages = self._ages[group, tenant] = Ages(slab, gathered, tenant)
        leaving = ages.give_way(self.watermark_ms)
        if leaving is None:
            slab.note_full(tenant, ages.nobody_until_ms())
            return None
        gathered.evicted.append((leaving, offset, self.watermark_ms))
        slab.retire(leaving)
        self.places.forget(group, leaving)
        return slab.slot(key, begins)

    def _full(self, group: str, key: str) -> Malformed:
        """Return why a new stream finds no place."""
        tenant = self._slabs[group].full_tenant(key)
        full = f"group {group} is" if tenant is None else f"the share of tenant {tenant[:120]!r} in group {group} is"
        return Malformed("max_streams", f"{full} full; the stream {key[:120]} is new")

    def taken(self, next_offset: int, widths: Mapping[str, int]) -> Taken:
        """Return all that was found; `widths` says how many values each group has side by side."""
        return Taken(
            parts={
                name: _part(self._partition, (self._slabs[name], widths[name]), found, (self.watermark_ms, next_offset))
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


def _part(partition: TopicPartition, held: tuple[Slab, int], found: Gathered, until: tuple[int, int]) -> Part:
    (slab, width), (watermark_ms, next_offset) = held, until
    values = np.array(found.values, dtype=np.float64).reshape(len(found.slots), width)
    samples = Samples(
        slots=np.array(found.slots, dtype=np.intp),
        offsets=np.array(found.offsets, dtype=np.int64),
        times_ms=np.array(found.times_ms, dtype=np.int64),
        values=values,
        watermark_ms=np.array(found.watermark_ms, dtype=np.int64),
    )
    return Part(partition, slab, samples, watermark_ms, Evicted.of(found.evicted), next_offset=next_offset)
