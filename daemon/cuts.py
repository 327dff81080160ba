"""Records in a row that could be cut: their points in columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from daemon.formats.columns import Columnar, Columns, Key
from daemon.formats.point import NO_TIME, VALUES_MAX
from daemon.places import NOWHERE, Places
from daemon.types import Record

I8 = NDArray[np.int64]
Mask = NDArray[np.bool_]

NUMBERS_MAX = 65_536  # in a row; then they are placed


class Row:
    """Gathers records that were cut, one after the other, whose points are all known."""

    def __init__(self, form: Columnar, places: Places) -> None:
        self.records: list[Record] = []
        self._form, self._known = form, places.known
        self._columns = Columns()
        self._found: list[int] = []  # under which numbers the points are known
        self._points: list[int] = []  # how many there are up to the end of each record
        self._numbers: list[int] = []

    def take_ones(self, records: Sequence[Record], bytes_max: int) -> bool:
        """Take records in that hold one number each; False, and none taken, when one of them is odd or not known."""
        values = [record.value or b"" for record in records]
        if max(map(len, values)) > bytes_max:
            return False
        columns = Columns()
        if not self._form.cut_ones(values, columns):
            return False
        found = [self._known.get(key, NOWHERE) for key in columns.keys]
        if NOWHERE in found:
            return False
        points, numbers = len(self._found), len(self._columns.numbers)
        self._columns.times_ms += columns.times_ms
        self._columns.numbers += columns.numbers
        self._found += found
        self._points += range(points + 1, points + 1 + len(found))
        self._numbers += range(numbers + 1, numbers + 1 + len(found))
        self.records += records
        return True

    def take(self, record: Record, value: bytes) -> Sequence[Key] | None:
        """Take a record in, and return None; else why not: the keys of its points when one of them is not known."""
        columns = self._columns
        if not self._form.cut(value, columns):
            return ()
        found = [self._known.get(key, NOWHERE) for key in columns.keys]
        if NOWHERE in found:
            columns.shorten(len(self._found), self._numbers[-1] if self._numbers else 0)
            return columns.taken_keys()
        columns.keys.clear()
        self.records.append(record)
        self._found += found
        self._points.append(len(self._found))
        self._numbers.append(len(columns.numbers))
        return None

    @property
    def is_full(self) -> bool:
        """Whether it is time to place what was gathered."""
        return len(self._columns.numbers) >= NUMBERS_MAX

    def cut(self) -> Cut:
        """Return all of it as arrays."""
        columns, records = self._columns, self.records
        points, numbers = (np.array([0, *ends], np.intp) for ends in (self._points, self._numbers))
        stamps = np.array([record.timestamp for record in records], np.int64)
        times_ms = np.array(columns.times_ms, np.int64)
        timeless = times_ms == NO_TIME
        if timeless.any():
            times_ms = np.where(timeless, np.repeat(stamps, np.diff(points)), times_ms)
        return Cut(
            records=records,
            points=points,
            numbers=numbers,
            offsets=np.array([record.offset for record in records], np.int64),
            stamps=stamps,
            times_ms=times_ms,
            latest_ms=np.maximum.reduceat(times_ms, points[:-1]),
            values=np.array(columns.numbers, np.float64),
            known=np.array(self._found, np.intp),
            odd=(np.minimum.reduceat(times_ms, points[:-1]) < 0) | (np.diff(numbers) > VALUES_MAX),
        )


@dataclass(frozen=True, slots=True)
class Cut:
    """Records and their points; those of record i are the points from `points[i]` to `points[i + 1]`."""

    records: Sequence[Record]
    points: NDArray[np.intp]
    numbers: NDArray[np.intp]  # where each record's numbers begin, as `points`
    offsets: I8
    stamps: I8  # the records' own times
    times_ms: I8  # of the points
    latest_ms: I8  # of each record
    values: NDArray[np.float64]
    known: NDArray[np.intp]  # under which number a point is known
    odd: Mask  # records with a point that has no time, or with too many numbers

    def ahead(self, first: int, watermark_ms: int, future_ms_max: int) -> Mask:
        """Return which of the records from `first` on may be too far in the future, after `watermark_ms`."""
        latest_ms, stamps = self.latest_ms[first:], self.stamps[first:]
        before_ms = earlier_ms(latest_ms, watermark_ms)
        alone = (before_ms > 0) & (latest_ms - before_ms > future_ms_max)
        return np.where(stamps > 0, latest_ms - stamps > future_ms_max, alone)


def earlier_ms(times_ms: I8, watermark_ms: int) -> I8:
    """Return the newest time before each one (n,): of those before it, and of all that came before them."""
    return np.maximum.accumulate(np.concatenate([[watermark_ms], times_ms[:-1]]))
