"""Joining: readings, each of some channels of a stream, become samples on a grid of event time.

What lies in one interval of the grid makes one sample. A sample that is still open lies in its stream's row, so that
it survives, moves and is replayed with it. It is closed when nothing more can belong to it:

- when it is complete, unless later readings may still change it;
- when its stream has a reading that is later than its end by the lateness or more;
- when the partition's watermark has moved on by an interval and the lateness since its first reading. Counted from
  there, a stream whose clock is behind the others' loses nothing.

A stream's samples are closed in the order of their times. The third rule is applied with the watermark at which it
became true, not with the one at which it was noticed, so nothing depends on how polls cut the input.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from daemon.samples import Evicted, Part, Samples
from daemon.types import DropReason
from daemon.waves import Wave, queued
from detectors.slab import Delta, Fields, Row, Slots

F = NDArray[np.float64]
I8 = NDArray[np.int64]
Mask = NDArray[np.bool_]
Index = NDArray[np.intp]

Several = Literal["first", "last", "mean", "sum", "min", "max"]
"""What counts where a channel has several readings in one interval."""

OPEN_MAX: Final = 16  # samples of a stream that may be open at once
OPEN_LEARNT: Final = 4  # where the interval is learnt, and with it how many the lateness would need
DISTANCES: Final = 5  # between readings of a channel, from whose median its stream's interval is learnt
ROUND_SHARE: Final = 0.05  # by so much an interval is rounded to whole seconds
VALUE_MAX: Final = 1e290  # a larger one counts as this much: a sum of any number of them is finite
NEVER: Final = np.iinfo(np.int64).max // 4

SEEN, NEWEST = "join_seen_ms", "join_newest_ms"


@dataclass(frozen=True, slots=True)
class Join:
    """How the readings of a group become samples."""

    width: int  # channels
    interval_ms: int  # 0: each stream's own is learnt
    lateness_ms: int = 0
    several: Several = "first"

    @property
    def open_max(self) -> int:
        """How many samples of one stream may be open at once."""
        return -(-self.lateness_ms // self.interval_ms) + 1 if self.interval_ms else OPEN_LEARNT

    def fields(self) -> Fields:
        """Return the row fields of a stream whose samples are joined; zeros are right for a new one."""
        count, width = self.open_max, self.width
        learning = [("join_last_ms", "i8", (width,)), ("join_distances", "f8", (width, DISTANCES))]
        return [
            ("join_interval_ms", "i8", ()),  # 0: not known yet
            ("join_next_ms", "i8", ()),  # what lies before it belongs to a sample that is closed
            (NEWEST, "i8", ()),  # of all readings
            (SEEN, "i8", ()),  # the watermark when a reading was last newer than all before
            ("join_due_ms", "i8", ()),  # the watermark that closes the oldest open sample; 0: none is open
            ("join_opened_ms", "i8", (count,)),  # the watermark at a sample's first reading
            ("join_offset", "i8", (count,)),  # of its last reading's record
            ("join_count", "i4", (count, width)),  # readings so far
            ("join_value", "f8", (count, width)),  # made of these
            *([] if self.interval_ms else learning),
        ]


@dataclass(slots=True)
class Tally:
    """What came of the readings of one part."""

    complete: int = 0  # samples with every channel
    incomplete: int = 0
    late: int = 0  # readings of a sample that was closed already
    duplicate: int = 0  # readings of a channel that the sample has, where the first one counts
    unmeasured: int = 0  # readings of streams whose interval was not known yet

    def dropped(self) -> list[tuple[DropReason, int]]:
        """Return how many readings were left out, by reason."""
        found: list[tuple[DropReason, int]] = [
            ("late", self.late),
            ("duplicate", self.duplicate),
            ("unmeasured", self.unmeasured),
        ]
        return [(reason, count) for reason, count in found if count]


def joined(join: Join, part: Part, told: Mapping[str, Sequence[float]]) -> tuple[Part, Tally]:
    """Return the part with the samples that its readings close, and the rows that hold the others; nothing changes.

    `told` says what the channels of a stream, by its key, are (the row field `counter`), as far as producers say so.
    """
    slots = np.union1d(part.samples.slots, _due(part))
    joining = _Joining(join, part, slots)
    queue, _ = queued(part.samples.slots, slots)
    for wave in queue.waves(0, len(slots)):
        joining.take(wave)
    joining.sweep()
    rows = joining.stored()
    _tell_kinds(part, slots, rows, told)
    return replace(part, samples=joining.samples(), moved=Delta(slots, rows)), joining.tally


def _due(part: Part) -> Slots:
    """Return the slots of the streams that have an open sample which the watermark closes."""
    due_ms = part.slab.view()["join_due_ms"]
    return np.flatnonzero((due_ms > 0) & (due_ms <= part.watermark_ms))


def _tell_kinds(part: Part, slots: Slots, rows: Row, told: Mapping[str, Sequence[float]]) -> None:
    """Write into the rows what channels are told to be, unless their values have told something already."""
    if not told:
        return
    counter = rows["counter"]
    fresh = (counter == 0.0) & (rows["steps"] == 0.0)
    for at in np.flatnonzero(fresh.any(axis=1)).tolist():
        codes = told.get(part.slab.keys[int(slots[at])])
        if codes is not None:
            counter[at] = np.where(fresh[at], codes, counter[at])


@dataclass(frozen=True, slots=True)
class _Closed:
    """Samples that were closed at once, in columns."""

    order: Index  # the place of the reading that closed each; those of the sweep come last
    row: Index
    offsets: I8
    times_ms: I8
    values: F
    watermark_ms: I8


@dataclass(frozen=True, slots=True)
class _Now:
    """When it is looked whether samples are to be closed: columns as long as the rows looked at."""

    row: Index
    newest_ms: I8  # of the stream's readings
    watermark_ms: I8
    order: Index
    since_ms: I8  # the watermark at which something else made the oldest the oldest; -NEVER: nothing did


@dataclass(slots=True)
class _Joining:
    """The readings of one part on their way; the fields of the rows stand in arrays of their own."""

    join: Join
    part: Part
    slots: Slots
    tally: Tally = field(default_factory=Tally)
    rows: Row = field(init=False)
    held: dict[str, NDArray[Any]] = field(init=False)
    closed: list[_Closed] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.rows = self.part.slab.take(self.slots)
        self.held = {name: self.rows[name].copy() for name, _, _ in self.join.fields()}
        if self.join.interval_ms:
            other = self.held["join_interval_ms"] != self.join.interval_ms  # of new streams, and of other settings
            self.held["join_count"][other] = 0
            self.held["join_interval_ms"][:] = self.join.interval_ms

    def take(self, wave: Wave) -> None:
        """Take one reading of each of some streams."""
        samples, row = self.part.samples, wave.row
        times_ms, watermark_ms = samples.times_ms[wave.at], samples.watermark_ms[wave.at]
        values, before_ms = samples.values[wave.at], self.held[NEWEST][row]
        newest_ms = np.maximum(before_ms, times_ms)
        is_newer = times_ms > before_ms
        self.held[SEEN][row] = np.where(is_newer, np.maximum(watermark_ms, times_ms), self.held[SEEN][row])
        if not self.join.interval_ms:
            self._learn(row, times_ms, values)
        self._close(_Now(row, newest_ms, watermark_ms, wave.at, np.full(len(row), -NEVER)), before_ms)
        self.held[NEWEST][row] = newest_ms
        interval_ms = self.held["join_interval_ms"][row]
        known = interval_ms > 0
        begin_ms = times_ms - times_ms % np.maximum(interval_ms, 1)
        late = (begin_ms < self.held["join_next_ms"][row]) | (begin_ms + self._hold_ms(row) <= newest_ms)
        self.tally.unmeasured += int((~known).sum())
        self.tally.late += int((late & known).sum())
        here = np.flatnonzero(known & ~late)
        if len(here):
            at, row, begin_ms = wave.at[here], row[here], begin_ms[here]
            self._put(
                at, row, begin_ms // interval_ms[here] % self.join.open_max, np.maximum(watermark_ms, times_ms)[here]
            )
            since_ms = watermark_ms[here]
            self._close(_Now(row, newest_ms[here], since_ms, at, since_ms), newest_ms[here])

    def _put(self, at: Index, row: Index, cell: Index, watermark_ms: I8) -> None:
        """Put the readings `at` into the open samples in which they belong."""
        values = np.clip(self.part.samples.values[at], -VALUE_MAX, VALUE_MAX)
        count = self.held["join_count"][row, cell]
        is_first = ~(count > 0).any(axis=1)
        opened = self.held["join_opened_ms"]
        opened[row, cell] = np.where(is_first, watermark_ms, opened[row, cell])
        present = ~np.isnan(values)
        if self.join.several == "first":
            self.tally.duplicate += int((present & (count > 0)).sum())
            present &= count == 0
        offset = self.held["join_offset"]
        offset[row, cell] = np.where(present.any(axis=1), self.part.samples.offsets[at], offset[row, cell])
        before = self.held["join_value"][row, cell]
        combined = np.where(count > 0, _combined(self.join.several, before, values), values)
        self.held["join_value"][row, cell] = np.where(present, combined, before)
        self.held["join_count"][row, cell] = count + present

    def sweep(self) -> None:
        """Close what the watermark closes: the partition's, or the one at which a stream gave way to another."""
        row, evicted = np.arange(len(self.slots)), self.part.evicted
        watermark_ms = np.full(len(row), self.part.watermark_ms, dtype=np.int64)
        _at_eviction(watermark_ms, self.slots, evicted)
        last = np.full(len(row), len(self.part.samples.slots), dtype=np.intp)
        newest_ms = self.held[NEWEST]
        self._close(_Now(row, newest_ms, watermark_ms, last, np.full(len(row), -NEVER)), newest_ms)

    def _close(self, now: _Now, before_ms: I8) -> None:
        """Close the samples that are due, the oldest of a stream first, and none before an older one.

        `before_ms` is the newest time by which the open samples lie where they are.
        """
        row, interval_ms = now.row, np.maximum(self.held["join_interval_ms"][now.row], 1)
        if not (self.held["join_count"][row] > 0).any():
            return
        hold_ms, waits = self._hold_ms(row), np.zeros(len(row), dtype=bool)
        since_ms = now.since_ms.copy()
        first = before_ms // interval_ms - self.join.open_max + 1
        for number in range(self.join.open_max):
            begin_ms, cell = (first + number) * interval_ms, (first + number) % self.join.open_max
            there = self.held["join_count"][row, cell] > 0
            is_open = there.any(axis=1)
            full = there.all(axis=1) & (self.join.several == "first") & (since_ms > -NEVER)
            overdue_ms = self.held["join_opened_ms"][row, cell] + hold_ms
            overdue, passed = overdue_ms <= now.watermark_ms, begin_ms + hold_ms <= now.newest_ms
            due = is_open & ~waits & (full | overdue | passed)
            by_watermark = np.maximum(since_ms, overdue_ms)
            since_ms = np.where(due & ~full, np.where(overdue, by_watermark, now.watermark_ms), since_ms)
            waits |= is_open & ~due
            if due.any():
                self._emit(now, np.flatnonzero(due), cell, begin_ms, since_ms)

    def _emit(self, now: _Now, due: Index, cell: I8, begin_ms: I8, watermark_ms: I8) -> None:
        row, cell, begin_ms = now.row[due], cell[due], begin_ms[due]
        count = self.held["join_count"][row, cell]
        values = self.held["join_value"][row, cell]
        if self.join.several == "mean":
            values = values / np.maximum(count, 1)
        values = np.where(count > 0, values, np.nan)
        complete = int((count > 0).all(axis=1).sum())
        self.tally.complete += complete
        self.tally.incomplete += len(due) - complete
        offsets = self.held["join_offset"][row, cell]
        self.closed.append(_Closed(now.order[due], row, offsets, begin_ms, values, watermark_ms[due]))
        self.held["join_count"][row, cell] = 0
        self.held["join_next_ms"][row] = begin_ms + self.held["join_interval_ms"][row]

    def _hold_ms(self, row: Index) -> I8:
        """Return how long after its beginning a sample may stay open."""
        interval_ms: I8 = self.held["join_interval_ms"][row]
        if self.join.interval_ms:
            return interval_ms + self.join.lateness_ms
        return interval_ms + np.minimum(self.join.lateness_ms, (self.join.open_max - 1) * interval_ms)

    def _learn(self, row: Index, times_ms: I8, values: F) -> None:
        """Follow the distances between the readings of each channel until there are enough to tell the interval."""
        learning = np.flatnonzero(self.held["join_interval_ms"][row] == 0)
        if len(learning) == 0:
            return
        row, times_ms, present = row[learning], times_ms[learning], ~np.isnan(values[learning])
        last_ms, distances = self.held["join_last_ms"][row], self.held["join_distances"][row]  # (m, D), (m, D, n)
        known: Mask = distances > 0
        counted = known.sum(axis=2)
        distance = np.where(present & (last_ms > 0), times_ms[:, None] - last_ms, 0)
        i, d = np.nonzero(distance > 0)
        distances[i, d, np.minimum(counted[i, d], DISTANCES - 1)] = distance[i, d]
        self.held["join_distances"][row] = distances
        self.held["join_last_ms"][row] = np.where(present, np.maximum(last_ms, times_ms[:, None]), last_ms)
        enough = np.asarray((distances > 0).all(axis=2))
        usual = np.where(enough, np.median(distances, axis=2), np.inf).min(axis=1)
        self.held["join_interval_ms"][row] = np.where(enough.any(axis=1), _rounded_ms(usual), 0)

    def stored(self) -> Row:
        """Return the rows with all that has moved."""
        held, row = self.held, np.arange(len(self.slots))
        interval_ms = np.maximum(held["join_interval_ms"], 1)
        first = held[NEWEST] // interval_ms - self.join.open_max + 1
        due_ms, hold_ms = np.zeros(len(row), dtype=np.int64), self._hold_ms(row)
        for number in reversed(range(self.join.open_max)):
            cell = (first + number) % self.join.open_max
            is_open = (held["join_count"][row, cell] > 0).any(axis=1)
            due_ms = np.where(is_open, held["join_opened_ms"][row, cell] + hold_ms, due_ms)
        held["join_due_ms"][:] = due_ms
        for name, column in held.items():
            self.rows[name] = column
        return self.rows

    def samples(self) -> Samples:
        """Return the closed samples, by the place of what closed them; a stream's own are in the order of time."""
        closed = self.closed or [_nothing(self.join.width)]
        order = np.argsort(np.concatenate([each.order for each in closed]), kind="stable")
        return Samples(
            slots=self.slots[np.concatenate([each.row for each in closed])[order]],
            offsets=np.concatenate([each.offsets for each in closed])[order],
            times_ms=np.concatenate([each.times_ms for each in closed])[order],
            values=np.concatenate([each.values for each in closed])[order],
            watermark_ms=np.concatenate([each.watermark_ms for each in closed])[order],
        )


def _combined(several: Several, before: F, values: F) -> F:
    """Return what two readings of one channel give, or all before and one more."""
    match several:
        case "first":
            return before
        case "last":
            return values
        case "mean" | "sum":
            return before + values
        case "min":
            return np.minimum(before, values)
        case "max":
            return np.maximum(before, values)


def _at_eviction(watermark_ms: I8, slots: Slots, evicted: Evicted) -> None:
    """Put the watermark at which a stream gave way in the place of the partition's."""
    if len(evicted.slots):
        at = np.minimum(np.searchsorted(slots, evicted.slots), max(len(slots) - 1, 0))
        there = slots[at] == evicted.slots if len(slots) else np.zeros(len(at), dtype=bool)
        watermark_ms[at[there]] = evicted.watermark_ms[there]


def _rounded_ms(distance_ms: F) -> I8:
    """Return intervals as whole seconds where that is near, else as whole milliseconds."""
    bounded = np.clip(distance_ms, 1.0, 1e15)
    seconds = np.rint(bounded / 1000.0) * 1000.0
    near = np.abs(seconds - bounded) <= ROUND_SHARE * bounded
    result: I8 = np.where(near, seconds, np.rint(bounded)).astype(np.int64)
    return result


def _nothing(width: int) -> _Closed:
    none = np.zeros(0, dtype=np.int64)
    return _Closed(none.astype(np.intp), none.astype(np.intp), none, none, np.zeros((0, width)), none)
