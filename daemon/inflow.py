"""How much a turn takes of the input: little while little waits, much where there is lag, never more than it can bear.

Records that were read and are too much for this turn wait here, and their partitions are paused until they have gone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from daemon.ports import Source
from daemon.state import PartitionState
from daemon.types import Polled, Record, TopicPartition

BUSY_POLL_SECONDS = 0.01  # while there is something to do, also when nothing comes
RECORDS_LITTLE = 500  # of a turn while there is no lag
GROWTH_MAX = 2.0  # of a turn from one to the next, upwards or downwards


@dataclass(frozen=True, slots=True)
class TurnLimits:
    """What a turn may take at most, and how long it should last where there is lag."""

    records_max: int
    bytes_max: int = 8 * 1024 * 1024  # of the records' values; one record of each partition may always come
    seconds: float = 0.5
    poll_seconds: float = 0.5


class Inflow:
    """Polls the source for as much as the next turn should take, and holds back what is too much for it."""

    def __init__(self, source: Source, limits: TurnLimits) -> None:
        self._source, self._limits = source, limits
        self.records = min(RECORDS_LITTLE, limits.records_max)  # that the next turn takes at most
        self._held: dict[TopicPartition, tuple[PartitionState, Sequence[Record]]] = {}

    @property
    def paused(self) -> int:
        """How many partitions are paused until what was read of them has been taken."""
        return len(self._held)

    def poll(self, *, busy: bool) -> Polled:
        """Return what has arrived, as `Source.poll` does; it waits hardly at all where there is something else to do.

        Raises BrokerUnavailable.
        """
        return self._source.poll(self.records, BUSY_POLL_SECONDS if busy or self._held else self._limits.poll_seconds)

    def share(self, polled: Polled, states: Mapping[TopicPartition, PartitionState]) -> Polled:
        """Return `polled` with the records of this turn: those that wait since earlier ones, and what fits besides.

        What waits of a partition is dropped when its state is another one by now: it was, or will be, read again.
        """
        waiting = {tp: records for tp, (state, records) in self._held.items() if states.get(tp) is state}
        paused = set(waiting)
        waiting |= {tp: records for tp, records in polled.records.items() if tp in states and records}
        counts, self._held = self._counts(waiting), {}
        for tp, records in waiting.items():
            if counts[tp] < len(records):
                self._held[tp] = states[tp], records[counts[tp] :]
                if tp not in paused:
                    self._source.pause(tp)
            elif tp in paused:
                self._source.resume_at(tp, records[-1].offset + 1)
        return replace(polled, records={tp: records[: counts[tp]] for tp, records in waiting.items()})

    def went(self, records: int, seconds: float) -> None:
        """Settle how much the next turn may take, after one that took so many records and so long."""
        limits, wanted = self._limits, float(self.records)
        if seconds > limits.seconds:
            wanted = max(records * limits.seconds / seconds, wanted / GROWTH_MAX)
        elif self._held:
            wanted = records
        elif 2 * records > self.records:
            wanted *= min(limits.seconds / max(seconds, 1e-3), GROWTH_MAX)
        elif 4 * records < self.records:
            wanted = max(min(wanted, RECORDS_LITTLE), wanted / GROWTH_MAX)
        self.records = min(max(int(wanted), 1), limits.records_max)

    def _counts(self, waiting: Mapping[TopicPartition, Sequence[Record]]) -> dict[TopicPartition, int]:
        """Return how many records of each partition fit: what one leaves of its part is for the others."""
        sizes = {tp: _bytes(records) for tp, records in waiting.items()}
        every = {tp: len(records) for tp, records in waiting.items()}
        records_left, bytes_left = self.records, self._limits.bytes_max
        if sum(every.values()) <= records_left and sum(sizes.values()) <= bytes_left:
            return every
        found = {}
        for number, tp in enumerate(sorted(waiting, key=sizes.__getitem__)):
            others = len(waiting) - number
            some = waiting[tp][: max(records_left // others, 1)]
            found[tp] = _fitting(some, bytes_left // others)
            records_left -= found[tp]
            bytes_left -= _bytes(some[: found[tp]])
        return found


def _bytes(records: Sequence[Record]) -> int:
    return sum(len(record.value) for record in records if record.value is not None)


def _fitting(records: Sequence[Record], bytes_max: int) -> int:
    """Return how many of the first records have so many bytes together; one in any case."""
    size = 0
    for number, record in enumerate(records):
        size += len(record.value or b"")
        if size > bytes_max:
            return max(number, 1)
    return len(records)
