"""Who gives way when a group or a tenant's share is full: who was not seen for longest, once that is long enough.

The choice rests on event times alone, so it is the same in a replay, and however polls cut the input. A stream's newest
samples may still be on their way to the step when the choice is made: they are counted in here, by the step's rule.
"""

from __future__ import annotations

import heapq
from array import array
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from daemon.joining import NEWEST, SEEN
from detectors.slab import Row, Slab

I8 = NDArray[np.int64]


def _integers() -> array[int]:
    return array("q")


@dataclass(slots=True)
class Gathered:
    """What one take has found for a slab so far: samples in columns, and the streams that gave way for some of them."""

    slots: array[int] = field(default_factory=_integers)
    offsets: array[int] = field(default_factory=_integers)
    times_ms: array[int] = field(default_factory=_integers)
    values: array[float] = field(default_factory=lambda: array("d"))  # those of a sample side by side
    watermark_ms: array[int] = field(default_factory=_integers)
    evicted: list[tuple[int, int, int]] = field(default_factory=list)  # slot, and offset and watermark at that point


class Ages:
    """The streams of one slab, or of one tenant in it, by how long they were not seen, for the length of one take."""

    def __init__(self, slab: Slab, gathered: Gathered, tenant: str | None = None) -> None:
        self._slab, self._gathered, self._tenant = slab, gathered, tenant
        self._slots = slab.living(tenant)
        # a stream is seen by its readings, though no sample may have come of them yet
        self._is_joined = SEEN in (slab.dtype.names or ())
        self._seen_ms: I8 = slab.view()[SEEN if self._is_joined else "seen_ms"][self._slots]
        self._considered_ms = np.iinfo(np.int64).min  # whose last sight is older stands in the heap
        self._heap: list[tuple[int, str, int]] = []  # when it was last seen, its key, its slot
        self._newest: dict[int, tuple[int, int]] = {}  # by slot, of the gathered samples: time, and when it was seen
        self._followed = 0

    def give_way(self, watermark_ms: int) -> int | None:
        """Return the slot of the stream that gives way at `watermark_ms`; None when nobody is old enough.

        Of streams that were last seen at the same time, the first by key goes first.
        """
        limit_ms = watermark_ms - self._slab.evict_after_ms
        self._follow()
        self._consider(limit_ms)
        while self._heap and self._heap[0][0] < limit_ms:
            seen_ms, _, slot = heapq.heappop(self._heap)
            if self._slab.is_held(slot) and self._newest.get(slot, (0, seen_ms))[1] == seen_ms:
                return slot
        return None

    def nobody_until_ms(self) -> int:
        """Return up to which watermark nobody gives way, whatever is gathered from now on."""
        waiting = self._seen_ms[self._seen_ms >= self._considered_ms]
        oldest = [*(each[0] for each in self._heap[:1]), *([int(waiting.min())] if len(waiting) else [])]
        return min(oldest, default=0) + self._slab.evict_after_ms

    def _follow(self) -> None:
        """Note the samples that were gathered since: those that the step will take are when their streams were seen."""
        gathered, rows, keys = self._gathered, self._slab.view(), self._slab.keys
        for at in range(self._followed, len(gathered.slots)):
            slot, time_ms = gathered.slots[at], gathered.times_ms[at]
            if not self._slab.is_held(slot, self._tenant):
                continue
            known = self._newest.get(slot) or (self._newest_ms(rows, slot), 0)
            if time_ms > known[0]:
                seen_ms = max(gathered.watermark_ms[at], time_ms)
                self._newest[slot] = (time_ms, seen_ms)
                heapq.heappush(self._heap, (seen_ms, keys[slot], slot))
        self._followed = len(gathered.slots)

    def _newest_ms(self, rows: Row, slot: int) -> int:
        if self._is_joined:
            return int(rows[NEWEST][slot])
        return int(rows["time_ms"][slot]) if rows["samples"][slot] else -1

    def _consider(self, limit_ms: int) -> None:
        """Put the streams last seen before `limit_ms` into the heap; most takes look at few of a great many."""
        if limit_ms <= self._considered_ms:
            return
        due = self._slots[(self._seen_ms >= self._considered_ms) & (self._seen_ms < limit_ms)]
        rows, keys = self._slab.view(), self._slab.keys
        seen = rows[SEEN if self._is_joined else "seen_ms"][due]
        for slot, seen_ms in zip(due.tolist(), seen.tolist(), strict=True):
            heapq.heappush(self._heap, (seen_ms, keys[slot], slot))
        self._considered_ms = limit_ms
