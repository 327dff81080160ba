"""History to learn from: the newest records of the input, or a file, as one series for each stream."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from daemon.intake import Takes
from daemon.ports import Broker
from daemon.state import GroupLayout, PartitionState
from daemon.types import Bounds, TopicPartition
from detectors.train import StreamHistory

Block = tuple[NDArray[np.intp], NDArray[np.int64], NDArray[np.float64]]  # slots, times, values

FETCH_RECORDS_MAX = 5000
FETCH_WAIT_SECONDS = 0.5


@dataclass(slots=True)
class Gathered:
    """The histories of one group, and the input offsets that they came from (first and last)."""

    histories: list[StreamHistory]
    offsets: dict[str, tuple[int, int]] = field(default_factory=dict)
    streams: list[str] = field(default_factory=list)  # whose history it is, place by place

    @property
    def samples(self) -> int:
        """How many samples there are in all."""
        return sum(len(history.times_ms) for history in self.histories)


@dataclass(frozen=True, slots=True)
class Span:
    """Which offsets to read: all of them where not said, and of those the last `samples_max`."""

    samples_max: int
    first: int | None = None
    end: int | None = None

    def within(self, held: Bounds) -> Bounds:
        """Return the part of what the partition holds that is read."""
        end = held.end if self.end is None else min(self.end, held.end)
        first = held.first if self.first is None else max(self.first, held.first)
        return Bounds(max(first, end - self.samples_max), end)


class Gatherer:
    """Collects the samples of one group by stream, the newest `samples_max` of each partition's share."""

    def __init__(self, intake: Takes, group: str, layout: GroupLayout) -> None:
        # nothing is stepped here, so no stream is ever seen: none may give way to another
        self._intake, self._group, self._layout = intake, group, replace(layout, evict_after_ms=0)

    def partition(
        self, broker: Broker, partition: TopicPartition, span: Span, progress: Callable[[int], None]
    ) -> Gathered:
        """Read `span` of `partition`, as it stands now, and return its samples by stream.

        `progress` is told the records read so far.
        """
        bounds = span.within(broker.bounds(partition))
        start, samples_max = bounds.first, span.samples_max
        cursor = broker.cursor(partition, start)
        state = PartitionState.empty({self._group: self._layout}, start)
        blocks = deque[Block]()
        read = 0
        try:
            while cursor.position < bounds.end:
                fetched = cursor.fetch(FETCH_RECORDS_MAX, FETCH_WAIT_SECONDS)
                records = [record for record in fetched if record.offset < bounds.end]
                if records:
                    part = self._intake.take(partition, records, state).parts[self._group]
                    if part.moved is not None:  # readings wait there for the next ones
                        part.slab.apply(part.moved)
                    _keep(blocks, (part.samples.slots, part.samples.times_ms, part.samples.values), samples_max)
                    read += len(records)
                    progress(read)
        finally:
            cursor.close()
        name = f"{partition.topic}-{partition.partition}"
        slab = state.slabs[self._group]
        found = _by_stream(blocks, samples_max, slab.view()["counter"])
        offsets = {name: (start, bounds.end - 1)} if read else {}
        return Gathered(list(found.values()), offsets, [slab.keys[slot] for slot in found])


def _keep(blocks: deque[Block], block: Block, samples_max: int) -> None:
    """Append a block and let go of the oldest that the newest samples do not need: a record may hold thousands."""
    blocks.append(block)
    held = sum(len(slots) for slots, _, _ in blocks)
    while held - len(blocks[0][0]) >= samples_max:
        held -= len(blocks.popleft()[0])


def _by_stream(blocks: Sequence[Block], samples_max: int, told: NDArray[np.float32]) -> dict[int, StreamHistory]:
    """Return one history for each slot: its samples in order of time, without repeats, and what it is `told` to be."""
    if not any(len(slots) for slots, _, _ in blocks):  # nothing there, or nothing of this group
        return {}
    slots = np.concatenate([block[0] for block in blocks])[-samples_max:]
    times_ms = np.concatenate([block[1] for block in blocks])[-samples_max:]
    values = np.concatenate([block[2] for block in blocks])[-samples_max:]
    order = np.lexsort((times_ms, slots))
    slots, times_ms, values = slots[order], times_ms[order], values[order]
    fresh = np.r_[True, (slots[1:] != slots[:-1]) | (times_ms[1:] > times_ms[:-1])]
    slots, times_ms, values = slots[fresh], times_ms[fresh], values[fresh]
    cuts = np.flatnonzero(slots[1:] != slots[:-1]) + 1
    first = slots[np.r_[0, cuts]]
    parts = zip(first.tolist(), np.split(times_ms, cuts), np.split(values, cuts), told[first], strict=True)
    return {slot: StreamHistory(times, block, kind) for slot, times, block, kind in parts}


def joined(parts: Iterable[Gathered]) -> Gathered:
    """Return all histories together."""
    result = Gathered([])
    for part in parts:
        result.histories.extend(part.histories)
        result.streams.extend(part.streams)
        result.offsets.update(part.offsets)
    return result
