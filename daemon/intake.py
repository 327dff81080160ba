"""From records to samples: decode, select, find each stream's slot; what cannot be used comes back as a value.

Records whose format can be cut go through arrays, many at once. Whatever is new or odd about a record, it is taken by
itself, point by point, as all of them could be: both ways give the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Protocol

import numpy as np

from daemon.cuts import Cut, Row, earlier_ms
from daemon.formats.columns import Columnar, Key
from daemon.formats.point import NO_TIME, UNTOLD, Format, Kind, Malformed, Point
from daemon.labelling import AS_THEY_COME, Labels
from daemon.recipe import Recipe, Recipes
from daemon.routing import Route, Routes, Selection
from daemon.state import PartitionState
from daemon.taking import NAN, Taken, Taking
from daemon.types import Record, TopicPartition

__all__ = ["Clock", "Intake", "Limits", "Selection", "Taken", "Takes", "decoded"]

ONES = 256  # records that are tried at once
FEW_POINTS = 16  # in a row; calls for arrays would cost more than they spare
CAREFUL_RECORDS = 64  # are taken by themselves after one that came out otherwise than was foreseen


class Takes(Protocol):
    """Turns the records of partitions into samples of their slabs, as `Intake.take` says."""

    def take(self, partition: TopicPartition, records: Sequence[Record], state: PartitionState) -> Taken: ...


class Clock(Protocol):
    """Knows how far a partition's input has come."""

    def ahead(self, record_ms: int, latest_ms: int, future_ms_max: int) -> Malformed | None: ...


@dataclass(frozen=True, slots=True)
class Limits:
    """What a record may be before it is a dead letter."""

    record_bytes_max: int = 262_144
    future_ms_max: int = 300_000


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
        self._columnar = decoder if isinstance(decoder, Columnar) else None
        self._groups = groups
        self._limits = limits
        self._recipes = Recipes(recipes)
        self._routes = Routes(groups, kinds, labels, self._recipes)

    def take(self, partition: TopicPartition, records: Sequence[Record], state: PartitionState) -> Taken:
        """Decode `records`, in their order; new streams get slots in the state's slabs, nothing else changes there.

        A stream for which another gives way gets a slot too; the other's is freed by the step's delta. Samples of
        groups that the state has no slab for are passed over.
        """
        taking = Taking(partition, state, [group.name for group in self._groups])
        if self._columnar is None:
            for record in records:
                self._take_one(record, taking)
        else:
            self._take_many(self._columnar, records, taking)
        taken = taking.taken(records[-1].offset + 1, self._recipes.widths(self._groups))
        made = self._recipes.made(taken.parts, self._groups)
        return replace(taken, parts=made.parts, joined=made.tallies, absent=made.absent)

    def _take_many(self, form: Columnar, records: Sequence[Record], taking: Taking) -> None:
        """Take records through arrays as far as they go."""
        row, bytes_max = Row(form, taking.places), self._limits.record_bytes_max
        for start in range(0, len(records), ONES):
            some = records[start : start + ONES]
            for record in () if row.take_ones(some, bytes_max) else some:
                value = record.value
                keys = row.take(record, value) if value and len(value) <= bytes_max else ()
                if row.records and (keys is not None or row.is_full):
                    self._take_row(row, taking)
                    row = Row(form, taking.places)
                if keys is not None:
                    self._take_one(record, taking, keys)
        self._take_row(row, taking)

    def _take_row(self, row: Row, taking: Taking) -> None:
        cut, at = row.cut() if row.records else None, 0
        while cut is not None and at < len(cut.records):
            at = self._take_plain(cut, at, taking)
            careful = cut.records[at : at + CAREFUL_RECORDS]
            for record in careful:
                self._take_one(record, taking)
            at += len(careful)

    def _take_plain(self, cut: Cut, first: int, taking: Taking) -> int:
        """Take the records from `first` on; return before which one there was another watermark than was foreseen."""
        odd = cut.odd[first:] | cut.ahead(first, taking.watermark_ms, self._limits.future_ms_max)
        for number in (first + np.flatnonzero(odd)).tolist():
            self._place(cut, first, number, taking)
            foreseen_ms = max(taking.watermark_ms, int(cut.latest_ms[number]))
            self._take_one(cut.records[number], taking)
            first = number + 1
            if taking.watermark_ms != foreseen_ms:
                return first
        self._place(cut, first, len(cut.records), taking)
        return len(cut.records)

    def _place(self, cut: Cut, first: int, end: int, taking: Taking) -> None:
        """Place the points of the records from `first` to `end`, about which nothing is odd."""
        begin, stop = int(cut.points[first]), int(cut.points[end])
        if stop - begin < FEW_POINTS:
            for record in cut.records[first:end]:
                self._take_one(record, taking)
            return
        times_ms, taking.rejected_run = cut.times_ms[begin:stop], 0
        watermark_ms = earlier_ms(times_ms, taking.watermark_ms)
        taking.watermark_ms = max(int(watermark_ms[-1]), int(times_ms[-1]))
        if (cut.stamps[first:end] <= 0).any():
            taking.ahead_ms = 0
        offsets = np.repeat(cut.offsets[first:end], np.diff(cut.points[first : end + 1]))
        unselected, found = taking.places.samples(cut.known[begin:stop], int(cut.numbers[first]))
        taking.pass_over(unselected)
        for each in found:
            values = np.where(each.numbers < 0, NAN, cut.values[each.numbers])
            at = each.point
            taking.extend(each, offsets[at], times_ms[at], values, watermark_ms[at])

    def _take_one(self, record: Record, taking: Taking, keys: Sequence[Key] = ()) -> None:
        """Take a record by itself; where its points go is remembered under `keys`, where there are any."""
        found = self._decode(record, taking)
        if isinstance(found, Malformed):
            taking.reject(record, found)
            return
        taking.rejected_run = 0
        known = taking.places.known
        for number, point in enumerate(found):
            learning = len(keys) == len(found) and keys[number] not in known
            route = self._routes.found(point) if learning else self._routes.of(point)
            problem = taking.place(point, record.offset, route)
            if problem is not None:
                taking.refuse(record, problem)
                self._routes.forget(point, route)
            elif learning and not isinstance(route, Malformed):
                self._learn(keys[number], point, route, taking)
            if point.time_ms > taking.watermark_ms:  # noqa: PLR1730  # `max` takes several times as long
                taking.watermark_ms = point.time_ms

    def _learn(self, key: Key, point: Point, route: Route, taking: Taking) -> None:
        """Remember where a point went, when it is what its key stands for: it may have been understood otherwise."""
        head = None if self._columnar is None else self._columnar.head(key)
        if head is not None and head.fields and set(head.fields) == set(point.fields):
            taking.learn(key, head.fields, route)

    def _decode(self, record: Record, taking: Taking) -> Sequence[Point] | Malformed:
        return decoded(self._decoder, record, self._limits, taking)


def decoded(decoder: Format, record: Record, limits: Limits, clock: Clock) -> Sequence[Point] | Malformed:
    """Return the points of a record, each with its time, or why the record cannot be used."""
    value = record.value
    if not value:
        return Malformed("empty", "the record has no value")
    if len(value) > limits.record_bytes_max:
        return Malformed("oversized", f"{len(value)} bytes, at most {limits.record_bytes_max} are read")
    found = decoder.decode(value)
    if isinstance(found, Malformed) or not found:
        return found
    times_ms = [point.time_ms for point in found]
    if NO_TIME in times_ms:
        found = _timed(found, record.timestamp)
        if isinstance(found, Malformed):
            return found
        times_ms = [point.time_ms for point in found]
    latest_ms = times_ms[0] if len(times_ms) == 1 else max(times_ms)
    return clock.ahead(record.timestamp, latest_ms, limits.future_ms_max) or found


def _timed(points: Sequence[Point], record_ms: int) -> Sequence[Point] | Malformed:
    """Return the points with the record's own time where the payload does not say theirs."""
    if record_ms < 0:
        return Malformed("missing_field", "neither the payload nor the record has a time stamp")
    return [point._replace(time_ms=record_ms) if point.time_ms == NO_TIME else point for point in points]
