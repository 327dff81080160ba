"""The slab: the state of many streams as one matrix, one row a stream, whole rows gathered and written back.

Nothing in a slab changes but by `apply`: a step takes copies of rows, moves them, and returns them as a delta.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Row = NDArray[np.void]
Slots = NDArray[np.intp]

Fields = Sequence[tuple[str, str, tuple[int, ...]]]
FIRST_CAPACITY = 64


@dataclass(frozen=True, slots=True)
class Delta:
    """What one turn would change: whole new rows for distinct slots."""

    slots: Slots
    rows: Row


class Slab:
    """Rows by stream key. Slots are handed out in order of arrival and never move."""

    def __init__(self, dtype: np.dtype[np.void], streams_max: int, page_rows: int) -> None:
        self.dtype = dtype
        self.streams_max = streams_max
        self.page_rows = page_rows
        self.keys: list[str] = []
        self._slot_of: dict[str, int] = {}
        self._rows: Row = np.zeros(0, dtype)
        self._dirty: set[int] = set()

    def __len__(self) -> int:
        return len(self.keys)

    def slot(self, key: str) -> int | None:
        """Return the slot of `key`, a fresh one for a new key, None when the slab is full."""
        found = self._slot_of.get(key)
        if found is not None or len(self.keys) >= self.streams_max:
            return found
        slot = len(self.keys)
        if slot == len(self._rows):
            self._grow()
        self.keys.append(key)
        self._slot_of[key] = slot
        self._dirty.add(slot // self.page_rows)
        return slot

    def take(self, slots: Slots) -> Row:
        """Return copies of the rows at `slots`."""
        return self._rows.take(slots)

    def apply(self, delta: Delta) -> None:
        """Put the delta's rows in place; their pages must be written before long."""
        self._rows[delta.slots] = delta.rows
        self._dirty.update((np.unique(delta.slots) // self.page_rows).tolist())

    def view(self) -> Row:
        """Return the rows in use, not to be written."""
        view = self._rows[: len(self.keys)]
        view.flags.writeable = False
        return view

    def dirty_pages(self) -> list[int]:
        """Return the numbers of the pages changed since `mark_clean`."""
        return sorted(self._dirty)

    def mark_clean(self, pages: Sequence[int]) -> None:
        """Note that `pages` have been written."""
        self._dirty.difference_update(pages)

    def mark_all_dirty(self) -> None:
        """Note that every page must be written again."""
        self._dirty.update(range(self.pages))

    @property
    def pages(self) -> int:
        """How many pages the rows in use fill."""
        return -(-len(self.keys) // self.page_rows)

    def page(self, number: int) -> tuple[list[str], Row]:
        """Return keys and rows of one page."""
        part = slice(number * self.page_rows, min((number + 1) * self.page_rows, len(self.keys)))
        return self.keys[part], self._rows[part]

    def load_page(self, keys: Sequence[str], rows: Row) -> None:
        """Take in a page that was written earlier; its streams get slots in the page's order."""
        slots = [self.slot(key) for key in keys]
        kept = [i for i, slot in enumerate(slots) if slot is not None]
        self._rows[[slot for slot in slots if slot is not None]] = rows[kept]

    def blocks(self, rows_max: int) -> Iterator[Slots]:
        """Yield all slots in use, at most `rows_max` at a time."""
        for start in range(0, len(self.keys), rows_max):
            yield np.arange(start, min(start + rows_max, len(self.keys)))

    def _grow(self) -> None:
        grown = np.zeros(min(max(FIRST_CAPACITY, 2 * len(self._rows)), self.streams_max), self.dtype)
        grown[: len(self._rows)] = self._rows
        self._rows = grown


def row_dtype(fields: Fields) -> np.dtype[np.void]:
    """Return the aligned row layout of `fields`, the same in memory and in a page."""
    return np.dtype([(name, kind, shape) for name, kind, shape in fields], align=True)
