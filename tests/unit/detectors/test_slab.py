"""A slab gives out slots, copies of rows and pages, and changes by nothing but deltas."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.slab import FIRST_CAPACITY, FREE, Delta, Slab, row_dtype

DTYPE = row_dtype([("n", "i8", ()), ("v", "f4", (3,))])


def slab(streams: int, streams_max: int = 1000, page_rows: int = 4) -> Slab:
    made = Slab(DTYPE, streams_max, page_rows)
    slots = [made.slot(f"s{number}") for number in range(streams)]
    if slots:
        made.apply(numbered(made, [slot for slot in slots if slot is not None], 0))
    return made


def freed(made: Slab, *slots: int) -> None:
    """Let streams give way, as a turn does."""
    for slot in slots:
        made.retire(slot)
    nothing = np.zeros(0, np.intp)
    made.apply(Delta(nothing, made.take(nothing), np.array(slots)))


def numbered(made: Slab, slots: list[int], number: int) -> Delta:
    rows = made.take(np.array(slots))
    rows["n"] = number
    return Delta(np.array(slots), rows)


def test_slots_are_given_in_order_of_arrival_and_a_stream_never_moves() -> None:
    made = slab(0)
    assert [made.slot(key) for key in "abca"] == [0, 1, 2, 0]
    assert made.keys == ["a", "b", "c"]
    assert len(made) == 3


@pytest.mark.parametrize("streams_max", [1, FIRST_CAPACITY - 1, FIRST_CAPACITY, FIRST_CAPACITY + 1])
def test_a_full_slab_knows_its_streams_and_takes_no_other(streams_max: int) -> None:
    made = slab(streams_max, streams_max)
    assert made.slot("one more") is None
    assert made.slot("s0") == 0
    assert len(made) == streams_max
    made.apply(numbered(made, [streams_max - 1], 7))
    assert made.view()["n"][-1] == 7


def test_rows_taken_are_copies() -> None:
    made = slab(3)
    rows = made.take(np.array([0, 2]))
    rows["n"] = 5
    assert not made.view()["n"].any()
    made.apply(Delta(np.array([0, 2]), rows))
    rows["n"] = 6
    assert made.view()["n"].tolist() == [5, 0, 5]


def test_what_is_looked_at_cannot_be_written() -> None:
    made = slab(3)
    with pytest.raises(ValueError, match="read-only"):
        made.view()["n"] = 1
    made.apply(numbered(made, [1], 1))  # looking has not frozen the slab itself


def test_growing_keeps_rows_and_zeroes_new_ones() -> None:
    made = slab(FIRST_CAPACITY)
    made.apply(numbered(made, list(range(FIRST_CAPACITY)), 3))
    made.slot("another")
    assert made.view()["n"].tolist() == [3] * FIRST_CAPACITY + [0]


def test_pages_are_dirty_from_the_first_row_or_change_until_marked_clean() -> None:
    made = slab(10)
    assert made.dirty_pages() == [0, 1, 2]
    made.mark_clean([0, 1])
    assert made.dirty_pages() == [2]
    made.mark_clean([2])
    made.apply(numbered(made, [5, 6], 1))
    assert made.dirty_pages() == [1]
    made.mark_all_dirty()
    assert made.dirty_pages() == [0, 1, 2]


def test_a_new_stream_is_in_its_page_and_makes_it_dirty_once_it_has_a_row() -> None:
    made = slab(3)
    made.mark_clean([0])
    assert made.slot("s3") == 3
    assert (made.dirty_pages(), made.page(0)[0], made.stored) == ([], ["s0", "s1", "s2"], 3)
    made.apply(numbered(made, [3], 1))
    assert (made.dirty_pages(), made.page(0)[0], made.stored) == ([0], ["s0", "s1", "s2", "s3"], 4)


def test_a_stream_that_gives_way_keeps_its_row_until_a_delta_frees_it() -> None:
    made = slab(10, streams_max=10)
    made.apply(numbered(made, [4], 7))
    made.mark_clean([0, 1, 2])
    made.retire(4)
    assert (len(made), made.keys[4], made.view()["n"][4], made.dirty_pages()) == (9, "s4", 7, [])
    assert made.page(1)[0] == ["s4", "s5", "s6", "s7"]
    assert made.slot("heir") == 10  # another place: the row is still needed
    made.apply(numbered(made, [10], 1))
    nothing = np.zeros(0, np.intp)
    made.apply(Delta(nothing, made.take(nothing), np.array([4])))
    assert (len(made), made.keys[4], made.view()["n"][4]) == (10, FREE, 0)
    assert made.page(1)[0] == [FREE, "s5", "s6", "s7"]
    assert made.dirty_pages() == [1, 2]


def test_free_places_are_taken_before_new_ones_and_begin_at_zero() -> None:
    made = slab(10, streams_max=10)
    made.apply(numbered(made, [2, 5], 9))
    freed(made, 2, 5)
    assert {made.slot("x"), made.slot("y")} == {2, 5}
    assert made.slot("z") is None
    assert not made.view()["n"][[2, 5]].any()
    assert len(made.view()) == 10


def test_the_living_have_a_key_and_a_row() -> None:
    made = slab(5)
    freed(made, 1)
    made.retire(3)
    made.slot("awaited")
    assert made.living().tolist() == [0, 2, 4]
    assert np.concatenate(list(made.blocks(2))).tolist() == [0, 2, 4]


def test_a_page_with_too_many_streams_or_one_twice_is_not_loaded() -> None:
    rows = slab(4).page(0)[1]
    assert slab(2, streams_max=4).load_page(["a", FREE, "b", FREE], rows)
    assert not slab(2, streams_max=4).load_page(["a", "b", "c", FREE], rows)
    assert not slab(0).load_page(["a", "b", "a", FREE], rows)
    assert not slab(2).load_page(["s1", "b", "c", "d"], rows)
    assert not slab(0).load_page(["a", "b"], rows)


@settings(max_examples=40, deadline=None)
@given(streams=st.integers(0, 200), page_rows=st.integers(1, 70))
def test_pages_rebuild_the_slab(streams: int, page_rows: int) -> None:
    made = slab(streams, page_rows=page_rows)
    for number in range(streams):
        made.apply(numbered(made, [number], number))
    other = Slab(DTYPE, 1000, page_rows)
    for number in range(made.pages):
        keys, rows = made.page(number)
        assert len(keys) == len(rows) <= page_rows
        other.load_page(keys, rows)
    assert other.keys == made.keys
    assert other.view().tobytes() == made.view().tobytes()


@pytest.mark.parametrize(("rows_max", "sizes"), [(4, [4, 4, 2]), (10, [10]), (99, [10])])
def test_blocks_cover_every_slot_once(rows_max: int, sizes: list[int]) -> None:
    blocks = list(slab(10).blocks(rows_max))
    assert [len(block) for block in blocks] == sizes
    assert np.concatenate(blocks).tolist() == list(range(10))
    assert list(slab(0).blocks(4)) == []


def test_rows_lie_in_memory_as_in_a_page() -> None:
    assert DTYPE.isalignedstruct
    assert DTYPE.names == ("n", "v")
