"""Rows field by field: what the arithmetic works on.

In a slab the fields of one stream stand side by side, so that a row is fetched and written back as one piece. What is
computed goes along the streams, one field after the other: over whole rows every access would be to another place in
memory. `Columns` copies a field out when it is first asked for, and writes back at the end what has changed.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from detectors.slab import copied

Row = NDArray[np.void]
Mask = NDArray[np.bool_]
Index = NDArray[np.intp]


class Columns:
    """The fields of n rows, each contiguous (n, ...). Reads and assigns like the rows themselves.

    A field that is changed in place must be assigned as well: only what was assigned is written back.
    """

    __slots__ = ("_changed", "_columns", "_rows")

    def __init__(self, rows: Row) -> None:
        self._rows = rows
        self._columns: dict[str, NDArray[Any]] = {}
        self._changed: set[str] = set()

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, name: str) -> NDArray[Any]:
        column = self._columns.get(name)
        if column is None:
            column = self._columns[name] = self._rows[name].copy()
        return column

    def __setitem__(self, name: str, value: ArrayLike) -> None:
        column = self[name]
        if value is not column:
            column[...] = value
        self._changed.add(name)

    @property
    def dtype(self) -> np.dtype[Any]:
        """The layout of the rows."""
        return self._rows.dtype

    def row(self, at: int) -> Row:
        """Return a copy (1,) of one row as it is now."""
        return self._shown(self.stored(at), at)

    def stored(self, at: int) -> Row:
        """Return a copy (1,) of one row as it was last stored."""
        return copied(self._rows[at : at + 1])

    def _shown(self, row: Row, at: int) -> Row:
        for name in self._changed:
            row[name] = self._columns[name][at]
        return row

    def store(self) -> None:
        """Write what has changed into the rows."""
        for name in self._changed:
            self._rows[name] = self._columns[name]
        self._changed.clear()

    def some(self, at: Mask | Index) -> Part:
        """Return the fields of the rows `at`, as they are now; `store` brings back what changes in them."""
        return Part(self, at)


class Part(Columns):
    """The fields of some of the rows that other columns hold."""

    __slots__ = ("_at", "_whole")

    def __init__(self, whole: Columns, at: Mask | Index) -> None:
        super().__init__(whole._rows)  # noqa: SLF001  # one of its own kind
        self._whole, self._at = whole, np.flatnonzero(at) if at.dtype == bool else at

    def __len__(self) -> int:
        return len(self._at)

    def __getitem__(self, name: str) -> NDArray[Any]:
        column = self._columns.get(name)
        if column is None:
            column = self._columns[name] = self._whole[name].take(self._at, axis=0)
        return column

    def row(self, at: int) -> Row:
        """Return a copy (1,) of one row as it is now."""
        return self._shown(self._whole.row(int(self._at[at])), at)

    def store(self) -> None:
        """Write what has changed into the columns that these were taken from."""
        for name in self._changed:
            column = self._whole[name]
            column[self._at] = self._columns[name]
            self._whole[name] = column
        self._changed.clear()


Rows = Row | Columns
"""What is computed with: rows as they are, or field by field."""
