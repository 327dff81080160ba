"""From records to readings that know where they belong: what the first stage of a repartitioned input does to each.

A stream's home is a partition that its group and its name tell, whatever else is in a record: all of its readings meet
there. Nothing is remembered that could not be found anew.
"""

from __future__ import annotations

import zlib
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from daemon.formats.columns import Columnar, Columns, Head
from daemon.formats.packed import Reading, head_bytes
from daemon.formats.point import NO_TIME, UNTOLD, VALUES_MAX, Format, Kind, Malformed, Point
from daemon.intake import Limits, decoded
from daemon.labelling import AS_THEY_COME, Labels
from daemon.recipe import Recipe, Recipes
from daemon.routing import Routes, Selection
from daemon.taking import far_ahead
from daemon.types import Record

KNOWN_MAX = 500_000
RECORD_BYTES = 200  # in memory, besides what is in a record
HEAD_BYTES_MAX = 4_000_000  # of a point's name, labels and fields: it must fit into one message


@dataclass(frozen=True, slots=True)
class Moved:
    """What became of one record: readings with their homes, and why it, or a part of it, cannot be used."""

    record: Record | None  # only where there is a problem
    offset: int
    at_ms: int  # where it lies in time: the newest of its event times, as far as that is not in its future
    readings: Sequence[tuple[int, Reading]] = ()
    problem: Malformed | None = None
    unselected: int = 0  # points that nobody takes
    is_unusable: bool = False  # as a whole
    weight_bytes: int = RECORD_BYTES


@dataclass(slots=True)
class PartitionClock:
    """How far a partition's input has come, as far as was seen."""

    watermark_ms: int = 0
    ahead_ms: int = 0

    def ahead(self, record_ms: int, latest_ms: int, future_ms_max: int) -> Malformed | None:
        """Return what is wrong when a record's newest event time lies too far in the future; else go on to it."""
        known_ms = (self.watermark_ms, self.ahead_ms)
        problem, self.ahead_ms = far_ahead(record_ms, latest_ms, known_ms, future_ms_max)
        if problem is None:
            self.watermark_ms = max(self.watermark_ms, latest_ms)
        return problem


@dataclass(frozen=True, slots=True)
class _Home:
    """Where the points of one head go; nowhere where nobody takes them, or where there is a problem."""

    partition: int | None
    head: bytes = b""
    width: int = 1
    problem: Malformed | None = None


@dataclass(slots=True)
class _Found:
    """What was found of one record so far."""

    readings: list[tuple[int, Reading]] = field(default_factory=list)
    problem: Malformed | None = None
    unselected: int = 0

    def add(self, home: _Home, time_ms: int, numbers: Sequence[float]) -> None:
        """Take in a point."""
        if home.partition is not None:
            self.readings.append((home.partition, Reading(home.head, time_ms, numbers)))
        elif home.problem is not None:
            self.problem = self.problem or home.problem
        else:
            self.unselected += 1


class Homes:
    """Finds the homes of one feed's readings among `partitions`."""

    def __init__(
        self,
        decoder: Format,
        groups: Sequence[Selection],
        limits: Limits,
        labels: Labels = AS_THEY_COME,
        recipes: Mapping[str, Recipe] = MappingProxyType({}),
    ) -> None:
        self._decoder, self._limits, self._labels = decoder, limits, labels
        self._columnar = decoder if isinstance(decoder, Columnar) else None
        kinds: Mapping[str, Kind] = UNTOLD  # what values are makes no difference to where they go
        self._routes = Routes(groups, kinds, labels, Recipes(recipes))
        self._known: dict[Hashable, _Home] = {}
        self._partitions = 0

    def moved(self, record: Record, clock: PartitionClock, partitions: int) -> Moved:
        """Return what becomes of a record where there are so many partitions to go to."""
        if partitions != self._partitions or len(self._known) >= KNOWN_MAX:
            self._known.clear()
            self._partitions = partitions
        return self._cut(record, clock) or self._whole(record, clock)

    def _cut(self, record: Record, clock: PartitionClock) -> Moved | None:
        """Return what becomes of a record that can be cut; None where it wants a closer look."""
        form, value, columns = self._columnar, record.value, Columns()
        if form is None or not value or len(value) > self._limits.record_bytes_max or not form.cut(value, columns):
            return None
        times_ms = [record.timestamp if each == NO_TIME else each for each in columns.times_ms]
        if min(times_ms) < 0 or len(columns.numbers) > VALUES_MAX:
            return None
        homes = [self._known.get(key) or self._learn(form, key) for key in columns.keys]
        if None in homes:
            return None
        latest_ms, found, at = max(times_ms), _Found(), 0
        problem = clock.ahead(record.timestamp, latest_ms, self._limits.future_ms_max)
        if problem is not None:
            return _refused(record, problem)
        for home, time_ms in zip(homes, times_ms, strict=True):
            assert home is not None
            found.add(home, time_ms, columns.numbers[at : at + home.width])
            at += home.width
        return _moved(record, latest_ms, found)

    def _whole(self, record: Record, clock: PartitionClock) -> Moved:
        points = decoded(self._decoder, record, self._limits, clock)
        if isinstance(points, Malformed):
            return _refused(record, points)
        found = _Found()
        for point in points:
            found.add(self._home_of(point), point.time_ms, list(point.fields.values()))
        return _moved(record, max((point.time_ms for point in points), default=0), found)

    def _learn(self, form: Columnar, key: Hashable) -> _Home | None:
        head = form.head(key)
        if head is None or not head.fields:
            return None
        home = self._known[key] = self._found(head)
        return home

    def _home_of(self, point: Point) -> _Home:
        name, labels, _, fields, kinds, unit = point
        key = (name, *labels.items(), None, *fields, None, *kinds.items(), unit)
        known = self._known.get(key)
        if known is None:
            known = self._known[key] = self._found(Head(name, labels, list(fields), kinds, unit))
        return known

    def _found(self, head: Head) -> _Home:
        """Return where points of a head go: with the labels of their feed, by which groups select them there, too."""
        width, numbers = len(head.fields), dict.fromkeys(head.fields, 0.0)
        home = self._routes.home(Point(head.name, head.labels, 0, numbers, head.kinds, head.unit)) if width else None
        if home is None or isinstance(home, Malformed):
            return _Home(None, width=width, problem=home)
        told = head._replace(labels=self._labels.with_those_of_all(head.labels))
        written = head_bytes(told)
        if len(written) > HEAD_BYTES_MAX:
            why = f"name, labels and fields of a point take more than {HEAD_BYTES_MAX} bytes"
            return _Home(None, width=width, problem=Malformed("oversized", why))
        return _Home(zlib.crc32(home.encode()) % self._partitions, written, width)


def _refused(record: Record, problem: Malformed) -> Moved:
    weight = RECORD_BYTES + len(record.value or b"")
    return Moved(record, record.offset, 0, problem=problem, is_unusable=True, weight_bytes=weight)


def _moved(record: Record, latest_ms: int, found: _Found) -> Moved:
    at_ms = min(latest_ms, record.timestamp) if record.timestamp > 0 else latest_ms
    kept = record if found.problem is not None else None
    weight = RECORD_BYTES + len(record.value or b"")
    return Moved(kept, record.offset, at_ms, found.readings, found.problem, found.unselected, weight_bytes=weight)
