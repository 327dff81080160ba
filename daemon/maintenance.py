"""Maintenance windows: when no alert opens and nothing is learnt.

They are told by event time alone, so that a replay decides as the turn did, however polls cut the input. The words and
the meaning of a recurring window are those of Alertmanager's time intervals; unlike there, one may cross midnight.
"""

from __future__ import annotations

import calendar
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, tzinfo
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

I8 = NDArray[np.int64]
Mask = NDArray[np.bool_]
Span = tuple[int, int]  # milliseconds since 1970: first moment inside, first moment outside

DAY_MINUTES: Final = 24 * 60
DAY_MS: Final = 86_400_000
BLOCK_DAYS: Final = 32  # spans are worked out for so many days at once, and remembered
BLOCK_MS: Final = BLOCK_DAYS * DAY_MS
BLOCKS: Final = range(int(datetime(9990, 1, 1, tzinfo=UTC).timestamp() * 1000) // BLOCK_MS)  # that calendars can tell
BLOCKS_REMEMBERED: Final = 4096
LONGEST_BLOCKS: Final = 15  # what goes on for longer than a year has no end
FOR_EVER_MS: Final = int(np.iinfo(np.int64).max)


@dataclass(frozen=True, slots=True)
class Once:
    """A window that comes once; `guards` says whether guard rails go on opening alerts in it."""

    begin_ms: int
    end_ms: int
    guards: bool = True

    def spans(self, begin_ms: int, end_ms: int) -> Iterator[Span]:
        """Yield what of the window may touch the time between the two."""
        if self.begin_ms < end_ms and self.end_ms > begin_ms:
            yield self.begin_ms, self.end_ms


@dataclass(frozen=True, slots=True)
class Recurring:
    """A window that comes on every day that fits all of its lists; an empty list fits every day.

    `times` are minutes of the day in `zone`; one that ends no later than it begins ends on the next day.
    """

    times: tuple[tuple[int, int], ...] = ((0, DAY_MINUTES),)
    weekdays: frozenset[int] = frozenset()  # 0 is Monday
    days_of_month: tuple[tuple[int, int], ...] = ()  # first and last; -1 is the month's last day
    months: frozenset[int] = frozenset()
    zone: tzinfo = UTC
    guards: bool = True

    def spans(self, begin_ms: int, end_ms: int) -> Iterator[Span]:
        """Yield what of the window may touch the time between the two, and some of what lies around it."""
        # a zone is at most a day off, and a window may have begun the day before
        first = (datetime.fromtimestamp(begin_ms / 1000, UTC) - timedelta(days=3)).date()
        for number in range((end_ms - begin_ms) // DAY_MS + 6):
            day = first + timedelta(days=number)
            if self._fits(day):
                yield from (self._on(day, *minutes) for minutes in self.times)

    def _fits(self, day: date) -> bool:
        if self.weekdays and day.weekday() not in self.weekdays:
            return False
        if self.months and day.month not in self.months:
            return False
        length = calendar.monthrange(day.year, day.month)[1] + 1
        days = [(at if at > 0 else length + at, to if to > 0 else length + to) for at, to in self.days_of_month]
        return not days or any(at <= day.day <= to for at, to in days)

    def _on(self, day: date, begin: int, end: int) -> Span:
        """Return the window of one day. Where clocks are changed, it reaches as far as its words can mean."""
        if end <= begin:
            end += DAY_MINUTES
        return min(self._moments(day, begin)), max(self._moments(day, end))

    def _moments(self, day: date, minutes: int) -> tuple[int, int]:
        at = datetime.combine(day, datetime.min.time(), self.zone) + timedelta(minutes=minutes)  # of the wall clock
        return _milliseconds(at.replace(fold=0)), _milliseconds(at.replace(fold=1))


Window = Once | Recurring


@dataclass(frozen=True, slots=True)
class Calendar:
    """The windows of one group. A calendar without any says no to everything and costs nothing."""

    windows: tuple[Window, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.windows)

    def covers(self, times_ms: I8) -> Mask:
        """Return which of the event times (n,) lie in a window."""
        return _covers(self.windows, times_ms)

    def mutes_guards(self, times_ms: I8) -> Mask:
        """Return which of the event times (n,) lie in a window that lets no guard rail open an alert."""
        return _covers(tuple(each for each in self.windows if not each.guards), times_ms)

    def patience_ends_ms(self, seen_ms: I8, patience_ms: I8) -> I8:
        """Return when (n,) patience ends with streams that were last seen at `seen_ms` (n,).

        Where that lies in a window, it begins anew at the window's end, and ends in no window.
        """
        ends_ms = seen_ms + patience_ms
        if not self.windows:
            return ends_ms
        inside = self.covers(ends_ms)
        if inside.any():
            ends_ms[inside] = self._end_ms(_later(self._end_ms(ends_ms[inside]), patience_ms[inside]))
        return ends_ms

    def _end_ms(self, times_ms: I8) -> I8:
        """Return the first moment from each of the times (n,) on that lies in no window."""
        result = times_ms.copy()
        for _ in range(LONGEST_BLOCKS):
            inside = np.flatnonzero(self.covers(result))
            if len(inside) == 0:
                return result
            result[inside] = [_end_of(self.windows, each) for each in result[inside].tolist()]
        result[self.covers(result)] = FOR_EVER_MS
        return result


NO_WINDOWS: Final = Calendar()


def _covers(windows: tuple[Window, ...], times_ms: I8) -> Mask:
    result = np.zeros(len(times_ms), dtype=bool)
    if not windows or len(times_ms) == 0:
        return result
    blocks = times_ms // BLOCK_MS
    first, last = int(blocks.min()), int(blocks.max())
    for block in (first,) if first == last else np.unique(blocks).tolist():
        begins, ends = _spans_of(windows, block)
        if len(begins):
            here = blocks == block
            at = np.searchsorted(begins, times_ms[here], side="right") - 1
            result[here] = (at >= 0) & (times_ms[here] < ends[at])
    return result


def _end_of(windows: tuple[Window, ...], time_ms: int) -> int:
    begins, ends = _spans_of(windows, time_ms // BLOCK_MS)
    return int(ends[np.searchsorted(begins, time_ms, side="right") - 1])


@lru_cache(BLOCKS_REMEMBERED)
def _spans_of(windows: tuple[Window, ...], block: int) -> tuple[I8, I8]:
    """Return begins and ends of the spans in a block, apart from each other, in their order, cut at its borders."""
    if block not in BLOCKS:
        return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
    begin_ms, end_ms = block * BLOCK_MS, (block + 1) * BLOCK_MS
    found = [span for window in windows for span in window.spans(begin_ms, end_ms)]
    cut = [(max(begin, begin_ms), min(end, end_ms)) for begin, end in found if begin < end_ms and end > begin_ms]
    spans = np.array(_merged(cut), dtype=np.int64).reshape(-1, 2)
    return spans[:, 0].copy(), spans[:, 1].copy()


def _merged(spans: Sequence[Span]) -> list[Span]:
    result: list[Span] = []
    for begin, end in sorted(spans):
        if result and begin <= result[-1][1]:
            result[-1] = result[-1][0], max(end, result[-1][1])
        elif begin < end:
            result.append((begin, end))
    return result


def _later(times_ms: I8, by_ms: I8) -> I8:
    return np.where(times_ms < FOR_EVER_MS - by_ms, times_ms + by_ms, FOR_EVER_MS)


def _milliseconds(at: datetime) -> int:
    return round(at.timestamp() * 1000)
