"""Which samples of a batch may be taken at once: those of different streams, each after the one before it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Index = NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class Wave:
    """Samples of different streams: where they stand among the batch's, and their rows within a block."""

    at: Index
    row: Index
    is_first: bool


@dataclass(frozen=True, slots=True)
class Queue:
    """Samples ordered by their streams' rows, and those of one stream by time; columns of length n."""

    at: Index  # where the sample stands among the batch's
    row: Index
    rank: Index  # how many samples of its stream come before it

    @classmethod
    def joined(cls, queues: Sequence[Queue], rows: Index, samples: Index) -> Queue:
        """Return one queue of several partitions', whose rows and samples begin at `rows` and `samples`."""
        return cls(
            np.concatenate([each.at + start for each, start in zip(queues, samples, strict=False)]),
            np.concatenate([each.row + start for each, start in zip(queues, rows, strict=False)]),
            np.concatenate([each.rank for each in queues]),
        )

    def waves(self, first: int, end: int) -> Iterator[Wave]:
        """Yield the samples of the rows from `first` to `end`, so that no wave holds a stream twice, in their order."""
        low, high = np.searchsorted(self.row, (first, end))
        if low == high:
            return
        at, row, rank = self.at[low:high], self.row[low:high] - first, self.rank[low:high]
        order = np.argsort(rank, kind="stable")
        for number, wave in enumerate(np.split(order, np.cumsum(np.bincount(rank))[:-1])):
            yield Wave(at[wave], row[wave], number == 0)


def queued(slots: Index, among: Index | None = None) -> tuple[Queue, Index]:
    """Return a queue of one partition's samples, which are in their order, and the different slots, ascending.

    Where the slots are some of those `among`, which ascend too, the rows are counted among these.
    """
    at = np.argsort(slots, kind="stable")
    ordered = slots[at]
    is_first = np.ones(len(ordered), dtype=bool)
    np.not_equal(ordered[1:], ordered[:-1], out=is_first[1:])
    row = np.cumsum(is_first) - 1
    begins = np.flatnonzero(is_first)
    rank = np.arange(len(at)) - begins[row]
    if among is None:
        return Queue(at, row, rank), ordered[begins]
    return Queue(at, np.searchsorted(among, ordered), rank), among
