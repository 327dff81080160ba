"""One partition in memory: offsets, transactions and what a reader of committed records may see of them."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import islice, takewhile
from typing import Literal, NamedTuple

from daemon.types import Outgoing

Outcome = Literal["committed", "aborted"]
"""How a transaction ends."""

_RECORD_OVERHEAD_BYTES = 70  # what a batch with one record weighs besides key, value and headers


@dataclass(frozen=True, slots=True)
class MemoryRecord:
    """One stored message; it fits the `Record` of the ports. `timestamp` is in milliseconds since 1970."""

    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...]


@dataclass(slots=True, eq=False)
class Transaction:
    """One transaction of one identity, and the partitions it has written to so far."""

    identity: str
    epoch: int
    outcome: Outcome | Literal["open"] = "open"
    partitions: list[PartitionLog] = field(default_factory=list)


class _Entry(NamedTuple):
    offset: int
    record: MemoryRecord | None  # None is a control record: it takes an offset and is shown to nobody
    transaction: Transaction | None

    @property
    def visible(self) -> bool:
        return self.record is not None and (self.transaction is None or self.transaction.outcome == "committed")


class PartitionLog:
    """The records of one partition, in offset order."""

    def __init__(self) -> None:
        self.first = 0
        self.end = 0
        self._entries: list[_Entry] = []
        self._open: dict[Transaction, int] = {}  # and the offset of its first record here

    @property
    def stable_end(self) -> int:
        """The last stable offset: nothing from here on may be read before the oldest open transaction ends."""
        return min(self._open.values(), default=self.end)

    def append(self, outgoing: Outgoing, timestamp: int, transaction: Transaction | None) -> None:
        """Store one record, at once visible when `transaction` is None."""
        if transaction is not None and transaction not in self._open:
            self._open[transaction] = self.end
            transaction.partitions.append(self)
        record = MemoryRecord(self.end, timestamp, outgoing.key, outgoing.value, tuple(outgoing.headers))
        self._store(record, transaction)

    def settle(self, transaction: Transaction) -> None:
        """Write the control record that ends `transaction` here."""
        del self._open[transaction]
        self._store(None, transaction)

    def read(self, position: int, records_max: int) -> tuple[Sequence[MemoryRecord], int]:
        """Return committed records from `position` on, and the offset after the last one passed.

        Control records and aborted records are passed over. Raises ValueError when `records_max` is below 1.
        """
        if records_max < 1:
            raise ValueError(f"records_max is {records_max}: ask for at least 1 record")
        stable = self.stable_end
        entries = islice(self._entries, self._index(position), None)
        readable = takewhile(lambda entry: entry.offset < stable, entries)
        found = list(islice((e.record for e in readable if e.visible and e.record is not None), records_max))
        return found, found[-1].offset + 1 if len(found) == records_max else max(position, stable)

    def trim(self, offset: int) -> None:
        """Forget everything below `offset`, as retention does; never beyond what is stable."""
        self.first = max(self.first, min(offset, self.stable_end))
        del self._entries[: self._index(self.first)]

    def compact(self, end: int) -> None:
        """Keep, below `end`, the newest committed value of each key and no tombstones; offsets stay.

        All that is not stable stays too.
        """
        stable = self._index(min(end, self.stable_end))
        head, tail = self._entries[:stable], self._entries[stable:]
        newest = {e.record.key: e for e in head if e.visible and e.record is not None}
        kept = [e for e in newest.values() if e.record is not None and e.record.value is not None]
        self._entries = sorted(kept, key=lambda entry: entry.offset) + tail

    def _store(self, record: MemoryRecord | None, transaction: Transaction | None) -> None:
        self._entries.append(_Entry(self.end, record, transaction))
        self.end += 1

    def _index(self, offset: int) -> int:
        return bisect_left(self._entries, offset, key=lambda entry: entry.offset)


def weight_bytes(outgoing: Outgoing) -> int:
    """Return about how many bytes a record takes in a batch of its own, which is what a topic's limit compares."""
    parts = (outgoing.key, outgoing.value, *(part for name, text in outgoing.headers for part in (name.encode(), text)))
    return _RECORD_OVERHEAD_BYTES + sum(len(part) for part in parts if part is not None)
