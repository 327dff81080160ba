"""State pages carry a partition's rows there and back; whatever is wrong with them is said, never loaded."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daemon.errors import StateUnusable
from daemon.memory import MemoryRecord
from daemon.state import GroupLayout, Page, Pages, PartitionState, flush, mark_flushed, streams_by_state
from daemon.types import Outgoing, TopicPartition
from detectors.slab import Delta, row_dtype

HERE = TopicPartition("in", 2)
DTYPE = row_dtype([("samples", "f4", ()), ("silent", "i1", ()), ("window", "f4", (700, 8)), ("time_ms", "i8", ())])
LAYOUTS = {"a": GroupLayout(DTYPE, 1000), "b": GroupLayout(DTYPE, 1000)}  # 8 rows a page
Change = Callable[[bytes], bytes | None]


def filled(streams: int, group: str = "a", first: int = 0) -> PartitionState:
    """Return a state whose streams carry their own number in their rows."""
    state = PartitionState.empty(LAYOUTS, 0)
    add(state, streams, group, first)
    state.next_offset, state.watermark_ms, state.models = 500, 1234, {"a": "m1"}
    return state


def add(state: PartitionState, streams: int, group: str = "a", first: int = 0) -> None:
    slab = state.slabs[group]
    slots = np.array([slab.slot(f"s{first + i}") for i in range(streams)], dtype=np.intp)
    rows = slab.take(slots)
    rows["samples"] = first + np.arange(streams) + 1
    rows["window"] = rows["samples"][:, None, None]
    slab.apply(Delta(slots, rows))


def stored(messages: Sequence[Outgoing]) -> list[MemoryRecord]:
    return [MemoryRecord(i, -1, each.key, each.value, ()) for i, each in enumerate(messages)]


def written(state: PartitionState) -> list[MemoryRecord]:
    return stored(flush("state", HERE, state, LAYOUTS)[0])


def pages_of(records: Sequence[MemoryRecord]) -> Pages:
    pages = Pages(HERE)
    pages.add(records)
    return pages


@settings(max_examples=30, deadline=None)
@given(counts=st.tuples(st.integers(0, 30), st.integers(0, 30)))
def test_what_is_flushed_is_built_again(counts: tuple[int, int]) -> None:
    state = filled(counts[0])
    add(state, counts[1], "b", 100)
    built = pages_of(written(state)).build(LAYOUTS)
    assert built is not None
    found, manifest, discarded = built
    assert discarded == []
    assert (found.next_offset, found.watermark_ms, found.flushed_offset) == (500, 1234, 500)
    assert (found.models["a"], manifest.offset) == ("m1", 500)
    for name, slab in state.slabs.items():
        assert found.slabs[name].keys == slab.keys
        assert found.slabs[name].view().tobytes() == slab.view().tobytes()


def test_only_changed_pages_are_written_again() -> None:
    state = filled(20)
    messages, numbers = flush("state", HERE, state, LAYOUTS)
    assert numbers == {"a": [0, 1, 2], "b": []}
    assert [message.partition for message in messages] == [2] * 4
    mark_flushed(state, numbers)
    add(state, 1, first=9)
    messages, numbers = flush("state", HERE, state, LAYOUTS)
    assert numbers == {"a": [1], "b": []}
    assert [message.key for message in messages] == [b"page/in/2/a/1", b"manifest/in/2"]


def test_what_was_restored_is_not_written_again() -> None:
    built = pages_of(written(filled(20))).build(LAYOUTS)
    assert built is not None
    assert flush("state", HERE, built[0], LAYOUTS)[1] == {"a": [], "b": []}


def test_a_page_holds_only_rows_that_were_applied() -> None:
    state = filled(5)
    slab = state.slabs["a"]
    rows = slab.take(np.arange(5))
    rows["samples"] = 99
    Delta(np.arange(5), rows)  # caused, but never applied
    built = pages_of(written(state)).build(LAYOUTS)
    assert built is not None
    assert built[0].slabs["a"].view()["samples"].tolist() == [1, 2, 3, 4, 5]


def test_a_stream_that_has_a_slot_but_no_row_yet_is_in_no_page() -> None:
    state = filled(9)
    assert state.slabs["a"].slot("new") == 9
    built = pages_of(written(state)).build(LAYOUTS)
    assert built is not None
    assert "new" not in built[0].slabs["a"].keys
    assert len(built[0].slabs["a"]) == 9


def test_places_that_streams_left_stay_free_and_are_taken_again() -> None:
    state = filled(20)
    slab = state.slabs["a"]
    for slot in (3, 17):
        slab.retire(slot)
    slab.apply(Delta(np.zeros(0, np.intp), slab.take(np.zeros(0, np.intp)), np.array([3, 17])))
    built = pages_of(written(state)).build(LAYOUTS)
    assert built is not None
    found = built[0].slabs["a"]
    assert (len(found), found.keys, built[2]) == (18, slab.keys, [])
    assert {found.slot("x"), found.slot("y"), found.slot("z")} == {3, 17, 20}
    assert not found.view()["samples"][[3, 17]].any()


def test_a_stream_that_gives_way_in_a_turn_is_in_the_pages_of_that_turn_and_its_heir_is_not() -> None:
    state = filled(9)
    slab = state.slabs["a"]
    slab.retire(4)
    assert slab.slot("heir") == 9
    assert slab.slot("s4") == 10  # it came back in the same turn, as a new one
    built = pages_of(written(state)).build(LAYOUTS)
    assert built is not None
    found = built[0].slabs["a"]
    assert found.keys == [f"s{i}" for i in range(9)]
    assert found.view()["samples"][4] == 5


def test_the_last_page_of_every_key_counts_and_other_partitions_do_not() -> None:
    old, new = filled(9), filled(9)
    add(new, 9, first=0)
    new.slabs["a"].apply(Delta(np.array([3]), new.slabs["a"].take(np.array([7]))))
    new.next_offset = 600
    other = stored(flush("state", TopicPartition("in", 20), filled(3), LAYOUTS)[0])
    alien = stored(flush("state", TopicPartition("inn", 2), filled(3), LAYOUTS)[0])
    built = pages_of([*written(old), *other, *written(new), *alien]).build(LAYOUTS)
    assert built is not None
    assert built[0].next_offset == 600
    assert built[0].slabs["a"].view()["samples"][3] == 8


def test_without_a_manifest_there_is_no_state() -> None:
    records = written(filled(9))
    assert pages_of([]).build(LAYOUTS) is None
    assert pages_of(records[:-1]).build(LAYOUTS) is None
    gone = MemoryRecord(99, -1, b"manifest/in/2", None, ())
    assert pages_of([*records, gone]).build(LAYOUTS) is None


@pytest.mark.parametrize(
    "value", [b"", b"\xff" * 40, msgspec.msgpack.encode({"version": 1}), msgspec.msgpack.encode(5)]
)
def test_a_manifest_that_cannot_be_read_is_unusable(value: bytes) -> None:
    with pytest.raises(StateUnusable, match="manifest"):
        pages_of([MemoryRecord(0, -1, b"manifest/in/2", value, ())]).build(LAYOUTS)


def test_a_manifest_of_another_version_is_unusable() -> None:
    (*_, manifest) = written(filled(1))
    told = msgspec.msgpack.decode(manifest.value or b"")
    later = msgspec.msgpack.encode({**told, "version": 99})
    with pytest.raises(StateUnusable, match="version 99"):
        pages_of([MemoryRecord(0, -1, manifest.key, later, ())]).build(LAYOUTS)


def repacked(**changes: object) -> Change:
    return lambda value: msgspec.msgpack.encode({**msgspec.msgpack.decode(value), **changes})


def resealed(**changes: object) -> Callable[[bytes], bytes]:
    """Change a page as somebody would who knows how to write one."""

    def change(value: bytes) -> bytes:
        page = msgspec.msgpack.decode(value, type=Page)
        return msgspec.msgpack.encode(msgspec.structs.replace(page, **changes).sealed())

    return change


def shortened(value: bytes) -> bytes:
    page = msgspec.msgpack.decode(value, type=Page)
    return resealed(rows=page.rows[: DTYPE.itemsize])(value)


DAMAGE: dict[str, tuple[Change, str]] = {
    "gone": (lambda value: None, "page 1 is missing"),
    "empty": (lambda value: b"", "page 1 cannot be read"),
    "cut": (lambda value: value[:-5], "page 1 cannot be read"),
    "a bit": (lambda value: value[:-99] + bytes([value[-99] ^ 1]) + value[-98:], "page 1 is corrupt"),
    "fewer rows than keys": (shortened, "page 1 is corrupt"),
    "other version": (repacked(version=7), "another version"),
    "other layout": (repacked(layout="x"), "another version"),
    "other number": (repacked(place="page/in/2/a/0"), "another place"),
    "other group": (repacked(place="page/in/2/b/1"), "another place"),
    "other partition": (resealed(place="page/in/3/a/1"), "another place"),
    "other topic": (resealed(place="page/inn/2/a/1"), "another place"),
    "other names": (repacked(keys=[f"t{i}" for i in range(8)]), "page 1 is corrupt"),
    "keys of another type": (repacked(keys=[1, 2]), "cannot be read"),
    "same streams twice": (resealed(keys=[f"s{i}" for i in range(8)]), "one of them twice"),
    "another program's": (lambda value: b'{"key": "value"}', "page 1 cannot be read"),
    "huge": (lambda value: value + bytes(16_000_001), "at most"),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_damaged_page_costs_its_group_and_says_why(kind: str) -> None:
    change, why = DAMAGE[kind]
    state = filled(20)
    add(state, 3, "b")
    records = [
        replace(record, value=change(record.value or b"")) if record.key == b"page/in/2/a/1" else record
        for record in written(state)
    ]
    built = pages_of(records).build(LAYOUTS)
    assert built is not None
    found, _, (told,) = built
    assert why in told
    assert "group a" in told
    assert len(found.slabs["a"]) == 0
    assert "a" not in found.models
    assert len(found.slabs["b"]) == 3
    assert found.next_offset == 500


@settings(max_examples=60, deadline=None)
@given(place=st.integers(0, 10**6), byte=st.integers(1, 255))
def test_no_changed_byte_of_a_page_is_ever_loaded(place: int, byte: int) -> None:
    records = written(filled(1))
    value = records[0].value or b""
    place = place % len(value) if byte % 2 else place % 200  # as often in what surrounds the rows
    damaged = replace(records[0], value=value[:place] + bytes([value[place] ^ byte]) + value[place + 1 :])
    built = pages_of([damaged, *records[1:]]).build(LAYOUTS)
    assert built is not None
    assert built[2]
    assert len(built[0].slabs["a"]) == 0


@settings(max_examples=100, deadline=None)
@given(place=st.integers(0, 10**6), byte=st.integers(1, 255))
def test_no_changed_byte_of_a_manifest_is_ever_believed(place: int, byte: int) -> None:
    records = written(filled(1))
    value = records[-1].value or b""
    place %= len(value)
    damaged = replace(records[-1], value=value[:place] + bytes([value[place] ^ byte]) + value[place + 1 :])
    with pytest.raises(StateUnusable, match="manifest"):
        pages_of([*records[:-1], damaged]).build(LAYOUTS)


def test_a_manifest_of_another_partition_is_unusable() -> None:
    other = flush("state", TopicPartition("in", 3), filled(1), LAYOUTS)[0][-1]
    with pytest.raises(StateUnusable, match="another place"):
        pages_of([MemoryRecord(0, -1, b"manifest/in/2", other.value, ())]).build(LAYOUTS)


def test_pages_of_another_consumer_group_start_afresh() -> None:
    others = {name: replace(layout, owner="another") for name, layout in LAYOUTS.items()}
    built = pages_of(written(filled(9))).build(others)
    assert built is not None
    assert len(built[0].slabs["a"]) == 0
    assert "consumer group changed" in built[2][0]


def test_rows_of_another_layout_start_afresh() -> None:
    wider = {"a": GroupLayout(row_dtype([("samples", "f4", (2,))]), 1000)}
    built = pages_of(written(filled(9))).build(wider)
    assert built is not None
    found, _, discarded = built
    assert len(found.slabs["a"]) == 0
    assert any("another layout" in why for why in discarded)
    assert any("b is not configured any more" in why for why in discarded)


def test_fewer_streams_allowed_than_stored_is_said() -> None:
    built = pages_of(written(filled(20))).build({**LAYOUTS, "a": GroupLayout(DTYPE, 5)})
    assert built is not None
    assert built[2] == ["group a: more than 5 streams, or one of them twice"]
    assert len(built[0].slabs["a"]) == 0


def test_a_group_that_is_new_starts_empty_beside_the_known_ones() -> None:
    records = stored(flush("state", HERE, PartitionState({"a": filled(9).slabs["a"]}), LAYOUTS)[0])
    built = pages_of(records).build(LAYOUTS)
    assert built is not None
    assert (len(built[0].slabs["a"]), len(built[0].slabs["b"]), built[2]) == (9, 0, [])


@pytest.mark.parametrize(("itemsize", "rows"), [(4, 64), (200_000, 1), (400_000, 1), (20_000, 10)])
def test_pages_are_of_bounded_size(itemsize: int, rows: int) -> None:
    assert GroupLayout(np.dtype([("x", "i1", (itemsize,))]), 10).page_rows == rows


def test_streams_are_counted_by_what_they_are() -> None:
    state = filled(5)
    slab = state.slabs["a"]
    rows = slab.take(np.arange(5))
    rows["silent"] = [0, 0, 1, 0, 0]
    slab.apply(Delta(np.arange(5), rows))
    assert streams_by_state(slab, 3) == {"warming": 2, "stale": 1, "ready": 2}
