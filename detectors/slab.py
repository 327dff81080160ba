"""The slab: the state of many streams as one matrix, one row a stream, whole rows gathered and written back.

Nothing in a slab changes but by `apply`: a step takes copies of rows, moves them, and returns them as a delta. Streams
come and go between: a new one gets a slot, one that gives way keeps its row until the delta that frees it is applied.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from detectors.tenants import Shares, Tenants

Row = NDArray[np.void]
Slots = NDArray[np.intp]

Fields = Sequence[tuple[str, str, tuple[int, ...]]]
FIRST_CAPACITY = 64
UNKNOWN_MS = -1
FREE = ""  # stands in the place of a key where a slot belongs to nobody


def no_slots() -> Slots:
    """Return no slot at all."""
    return np.zeros(0, dtype=np.intp)


@dataclass(frozen=True, slots=True)
class Delta:
    """What one turn would change: whole new rows for distinct slots, and then slots that belong to nobody any more."""

    slots: Slots
    rows: Row
    freed: Slots = field(default_factory=no_slots)
    quiet_until_ms: int = UNKNOWN_MS  # after it no stream falls silent before the watermark is later than this


class Slab:
    """Rows by stream key. Slots are handed out in order of arrival, freed ones first, and a stream never moves.

    `keys` names the stream of each slot, FREE where there is none. A slot that was handed out but has had no row yet
    is in no page, so pages hold what has been applied and nothing else.
    """

    def __init__(
        self,
        dtype: np.dtype[np.void],
        streams_max: int,
        page_rows: int,
        evict_after_ms: int = 0,
        tenants: Tenants | None = None,
    ) -> None:
        self.dtype = dtype
        self.streams_max = streams_max
        self.page_rows = page_rows
        self.evict_after_ms = evict_after_ms  # who was not seen for so long gives way to a new stream; 0: nobody does
        self.full_until_ms = -1  # nobody gives way up to this watermark; known once it has been looked into
        self.quiet_until_ms = UNKNOWN_MS  # as the last delta says; spares a look at every row
        self.shares = None if tenants is None else Shares(tenants)
        self.keys: list[str] = []
        self._slot_of: dict[str, int] = {}
        self._free: list[int] = []
        self._awaited: set[int] = set()  # handed out, without a row so far
        self._stored = 0  # slots below this one have had a row at some time
        self._rows: Row = np.zeros(0, dtype)
        self._dirty = np.zeros(0, dtype=bool)  # by page

    def __len__(self) -> int:
        return len(self._slot_of)

    def slot(self, key: str, begins: Mapping[str, Sequence[float]] | None = None) -> int | None:
        """Return the slot of `key`, a fresh one for a new key, None when the slab or its tenant's share is full.

        The row of a fresh one is zero but for the fields that `begins` holds.
        """
        found = self._slot_of.get(key)
        if found is not None or len(self._slot_of) >= self.streams_max:
            return found
        if self.shares is not None and self.shares.full(key) is not None:
            return None
        slot = self._free.pop() if self._free else self._appended()
        self.keys[slot] = key
        self._slot_of[key] = slot
        self._awaited.add(slot)
        if self.shares is not None:
            self.shares.enter(slot, key)
        for name, value in (begins or {}).items():
            self._rows[name][slot] = value
        return slot

    def find(self, key: str) -> int | None:
        """Return the slot of a stream that has a row, None for any other."""
        slot = self._slot_of.get(key)
        return None if slot in self._awaited else slot

    def knows(self, key: str) -> bool:
        """Return whether a stream has a slot, with or without a row."""
        return key in self._slot_of

    def newcomers(self, count_max: int) -> list[str]:
        """Return the keys of streams that have a slot and no row yet, at most so many."""
        return [key for slot in sorted(self._awaited)[:count_max] if (key := self.keys[slot]) != FREE]

    def some_keys(self, count_max: int) -> list[str]:
        """Return the keys of the first streams by their slots, at most so many."""
        return [key for key in self.keys[:count_max] if key != FREE]

    def held(self, key: str) -> int | None:
        """Return the slot of a stream, also of one that has had no row yet."""
        return self._slot_of.get(key)

    def retire(self, slot: int) -> None:
        """Let the stream at `slot` give way: its key is not known any more, its row stays until a delta frees it."""
        del self._slot_of[self.keys[slot]]
        if self.shares is not None:
            self.shares.leave(slot)

    def full_tenant(self, key: str) -> str | None:
        """Return whose share is full where that keeps a new stream out, None where it is the slab or nothing."""
        return None if self.shares is None else self.shares.full(key)

    def full_until(self, tenant: str | None) -> int:
        """Return the watermark up to which nobody gives way to a new stream, where the share of `tenant` is full."""
        if tenant is None or self.shares is None:
            return self.full_until_ms
        return self.shares.full_until_ms.get(tenant, -1)

    def note_full(self, tenant: str | None, until_ms: int) -> None:
        """Note that watermark, which spares looking again and again."""
        if tenant is None or self.shares is None:
            self.full_until_ms = until_ms
        else:
            self.shares.full_until_ms[tenant] = until_ms

    def living(self, tenant: str | None = None) -> Slots:
        """Return the slots of all streams that have a row, or of a tenant's, in the order of the slots."""
        slots = [slot for slot in self._slot_of.values() if slot not in self._awaited and self._is_of(tenant, slot)]
        return np.sort(np.array(slots, dtype=np.intp))

    def is_held(self, slot: int, tenant: str | None = None) -> bool:
        """Return whether a stream, or one of a tenant's, has the slot and has not given way."""
        return self._slot_of.get(self.keys[slot]) == slot and self._is_of(tenant, slot)

    def take(self, slots: Slots) -> Row:
        """Return copies of the rows at `slots`."""
        taken: Row = _whole(self._rows).take(slots).view(self.dtype)
        return taken

    def apply(self, delta: Delta) -> None:
        """Put the delta's rows in place; their pages must be written before long."""
        _whole(self._rows)[delta.slots] = _whole(delta.rows)
        self._rows[delta.freed] = np.zeros(1, self.dtype)
        for slot in delta.freed.tolist():
            self.keys[slot] = FREE
            self._free.append(slot)
        self.quiet_until_ms = delta.quiet_until_ms
        changed = np.concatenate([delta.slots, delta.freed])
        if len(changed):
            if self._awaited:
                self._awaited.difference_update(delta.slots.tolist())
            self._stored = max(self._stored, int(changed.max()) + 1)
            self._mark(changed // self.page_rows)

    def view(self) -> Row:
        """Return the rows of all slots, not to be written; those that belong to nobody are zero."""
        view = self._rows[: len(self.keys)]
        view.flags.writeable = False
        return view

    def dirty_pages(self) -> list[int]:
        """Return the numbers of the pages changed since `mark_clean`."""
        return [int(page) for page in np.flatnonzero(self._dirty)]

    def mark_clean(self, pages: Sequence[int]) -> None:
        """Note that `pages` have been written."""
        self._dirty[np.array(pages, dtype=np.intp)] = False

    def mark_all_dirty(self) -> None:
        """Note that every page must be written again."""
        self._mark(np.arange(self.pages))

    @property
    def stored(self) -> int:
        """How many slots the pages hold, free ones among them."""
        return self._stored

    @property
    def pages(self) -> int:
        """How many pages they fill."""
        return -(-self._stored // self.page_rows)

    def page(self, number: int) -> tuple[list[str], Row]:
        """Return keys and rows of one page."""
        first, end = number * self.page_rows, min((number + 1) * self.page_rows, self._stored)
        keys = [FREE if slot in self._awaited else self.keys[slot] for slot in range(first, end)]
        return keys, self._rows[first:end]

    def load_page(self, keys: Sequence[str], rows: Row) -> bool:
        """Take in the next page, as it was written; return whether its streams fit and are told apart."""
        first, named = len(self.keys), [key for key in keys if key != FREE]
        if len(self._slot_of) + len(named) > self.streams_max or len(rows) != len(keys):
            return False
        self.keys.extend(keys)
        while len(self.keys) > len(self._rows):
            self._grow()
        for slot, key in enumerate(keys, first):
            if key == FREE:
                self._free.append(slot)
            else:
                self._slot_of[key] = slot
                if self.shares is not None:
                    self.shares.enter(slot, key)
        if len(self._slot_of) + len(self._free) != len(self.keys):
            return False
        _whole(self._rows)[first : len(self.keys)] = _whole(rows)
        self._stored = len(self.keys)
        return True

    def blocks(self, rows_max: int) -> Iterator[Slots]:
        """Yield the slots of all streams that have a row, at most `rows_max` at a time."""
        slots = self.living()
        for start in range(0, len(slots), rows_max):
            yield slots[start : start + rows_max]

    def _is_of(self, tenant: str | None, slot: int) -> bool:
        return tenant is None or self.shares is None or self.shares.has(tenant, slot)

    def _mark(self, pages: Slots) -> None:
        if self.pages > len(self._dirty):
            self._dirty = np.concatenate([self._dirty, np.zeros(self.pages, dtype=bool)])
        self._dirty[pages] = True

    def _appended(self) -> int:
        if len(self.keys) == len(self._rows):
            self._grow()
        self.keys.append(FREE)
        return len(self.keys) - 1

    def _grow(self) -> None:
        """Make room for twice the rows, within the limit of streams; beyond it for those that take a turn's places."""
        held = len(self._rows)
        wanted = max(FIRST_CAPACITY, 2 * held)
        room = min(wanted, self.streams_max) if held < self.streams_max else held + max(FIRST_CAPACITY, held // 8)
        self.reserve(room)

    def reserve(self, slots: int) -> None:
        """Make room for so many slots at once, so that loading many pages does not copy rows again and again."""
        if slots > len(self._rows):
            grown = np.zeros(slots, self.dtype)
            _whole(grown)[: len(self._rows)] = _whole(self._rows)
            self._rows = grown


def copied(rows: Row) -> Row:
    """Return a copy of rows, to the last byte: what lies between fields would go into pages as chance has it."""
    result: Row = _whole(rows).copy().view(rows.dtype)
    return result


def joined(rows: Sequence[Row]) -> Row:
    """Return rows of one layout, one after the other."""
    if len(rows) == 1:
        return rows[0]
    result: Row = np.concatenate([_whole(each) for each in rows]).view(rows[0].dtype)
    return result


def _whole(rows: Row) -> Row:
    """Return the same rows as pieces without fields.

    numpy moves such in one go, others field by field, and leaves the bytes between these to chance.
    """
    return np.ascontiguousarray(rows).view(f"V{rows.dtype.itemsize}")


def row_dtype(fields: Fields) -> np.dtype[np.void]:
    """Return the aligned row layout of `fields`, the same in memory and in a page."""
    return np.dtype([(name, kind, shape) for name, kind, shape in fields], align=True)
