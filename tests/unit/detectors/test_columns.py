"""Columns are the rows field by field: what is assigned to them comes back into the rows, and nothing else does."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from detectors.columns import Columns
from detectors.slab import copied, joined, row_dtype

Row = NDArray[np.void]
DTYPE = row_dtype([("count", "i1", ()), ("level", "f8", (2,)), ("size", "f4", ())])


@pytest.fixture
def rows() -> Row:
    """Five rows, no two of which are alike."""
    made = np.zeros(5, DTYPE)
    made["count"], made["size"] = np.arange(5), np.arange(5) / 4
    made["level"] = np.arange(10).reshape(5, 2)
    return made


def test_what_is_assigned_is_written_back_and_nothing_else(rows: Row) -> None:
    columns, before = Columns(rows), rows.copy()
    columns["size"] += 1.0
    level = columns["level"]
    level[:] = -1.0  # changed, but never assigned
    assert np.array_equal(rows["size"], before["size"])
    columns.store()
    assert np.array_equal(rows["size"], before["size"] + 1.0)
    assert np.array_equal(rows["level"], before["level"])


def test_assigning_keeps_shape_and_type_of_the_field(rows: Row) -> None:
    columns = Columns(rows)
    columns["level"] = 7
    columns["count"] = np.full(5, 3.0)
    columns.store()
    assert rows["level"].tolist() == [[7.0, 7.0]] * 5
    assert rows["count"].tolist() == [3] * 5


@pytest.mark.parametrize("at", [np.array([False, True, False, True, False]), np.array([1, 3])])
def test_some_rows_change_by_themselves_until_they_are_stored(rows: Row, at: NDArray[np.bool_]) -> None:
    columns = Columns(rows)
    columns["size"] *= 2.0
    part = columns.some(at)
    assert len(part) == 2
    assert part["size"].tolist() == [0.5, 1.5]
    part["size"] = 9.0
    assert columns["size"].tolist() == [0.0, 0.5, 1.0, 1.5, 2.0]
    part.store()
    assert columns["size"].tolist() == [0.0, 9.0, 1.0, 9.0, 2.0]
    columns.store()
    assert rows["size"].tolist() == [0.0, 9.0, 1.0, 9.0, 2.0]


def test_a_row_is_shown_as_it_is_now(rows: Row) -> None:
    columns = Columns(rows)
    columns["size"] = 8.0
    part = columns.some(np.array([4, 2]))
    part["count"] = 100
    shown = part.row(1)
    assert (int(shown["count"][0]), float(shown["size"][0]), shown["level"][0].tolist()) == (100, 8.0, [4.0, 5.0])
    assert rows["size"][2] == 0.5


def test_copies_and_joins_keep_every_byte_between_the_fields() -> None:
    full = np.full(5 * DTYPE.itemsize, 7, np.uint8).view(DTYPE)
    np.full(10 * DTYPE.itemsize, 9, np.uint8)  # what memory that is taken next may hold
    for made in (copied(full), joined([full[:2], full[2:]]), joined([full])):
        assert set(made.view(np.uint8).tolist()) == {7}
