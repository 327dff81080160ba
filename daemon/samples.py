"""Samples in columns: what the intake hands to the step, with the slab they belong to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from daemon.types import TopicPartition
from detectors.slab import Delta, Row, Slab, Slots, copied

F = NDArray[np.float64]
I8 = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Samples:
    """The samples of one group in one partition, in the order of their offsets; columns of length n."""

    slots: Slots
    offsets: I8
    times_ms: I8
    values: F  # (n, D), NaN where a channel is missing
    watermark_ms: I8  # newest event time in the partition before this sample


@dataclass(frozen=True, slots=True)
class Evicted:
    """Streams that gave way to others, none of which has a sample after that; columns of length n."""

    slots: Slots
    offsets: I8  # of the records whose samples took the places
    watermark_ms: I8  # newest event time in the partition before those

    @classmethod
    def of(cls, found: Sequence[tuple[int, int, int]]) -> Evicted:
        """Return the columns of `found`: slots, offsets and watermarks."""
        columns = np.array(found, dtype=np.int64).reshape(-1, 3).T
        return cls(columns[0].astype(np.intp), columns[1], columns[2])

    @classmethod
    def nobody(cls) -> Evicted:
        """Return columns without a stream."""
        return cls.of(())


@dataclass(frozen=True, slots=True)
class Part:
    """Samples together with the slab they belong to; `watermark_ms` is the partition's after the whole batch.

    Where samples are made of readings, making them has moved rows, which the slab does not have yet: `moved` holds
    those of every stream with a sample, and perhaps of others.
    """

    partition: TopicPartition
    slab: Slab
    samples: Samples
    watermark_ms: int
    evicted: Evicted = field(default_factory=Evicted.nobody)
    moved: Delta | None = None
    next_offset: int = 0  # of the partition's first record after the batch

    @property
    def moved_slots(self) -> Slots | None:
        """The slots, ascending, of the rows that were moved before the step; None where none can be."""
        return None if self.moved is None else self.moved.slots

    def rows(self, slots: Slots) -> Row:
        """Return copies of the rows at `slots` as they stand before the step; all that were moved are among them."""
        return self.slab.take(slots) if self.moved is None else copied(self.moved.rows)
