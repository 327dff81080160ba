"""What the first stage of a repartitioned input packs comes out as it went in, and nothing else is taken for it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import get_args

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from daemon.formats import Malformed, Point
from daemon.formats.columns import Columns, Head
from daemon.formats.packed import BYTES_MAX, READINGS_MAX, PackedFormat, Reading, head_bytes, packed
from daemon.formats.point import TIME_MS_MAX, Kind

text = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
kinds: st.SearchStrategy[Kind] = st.sampled_from(get_args(Kind))
number = st.floats(allow_infinity=False)


@st.composite
def points(draw: st.DrawFn) -> Point:
    fields = draw(st.dictionaries(text, number, min_size=1, max_size=4))
    told: dict[str, Kind] = draw(st.dictionaries(st.sampled_from(list(fields)), kinds, max_size=2))
    time_ms = draw(st.integers(0, TIME_MS_MAX - 1))
    return Point(draw(text), draw(st.dictionaries(text, text, max_size=3)), time_ms, fields, told, draw(text))


def reading(point: Point) -> Reading:
    head = Head(point.name, point.labels, list(point.fields), point.kinds, point.unit)
    return Reading(head_bytes(head), point.time_ms, list(point.fields.values()))


def unpacked(records: Sequence[bytes]) -> list[Point]:
    found = [PackedFormat().decode(record) for record in records]
    assert not any(isinstance(each, Malformed) for each in found)
    return [point for each in found for point in each if isinstance(point, Point)]


@given(st.lists(points(), max_size=30))
def test_points_come_out_as_they_went_in(given_points: list[Point]) -> None:
    found = unpacked(packed([reading(each) for each in given_points]))
    assert [repr(each) for each in found] == [repr(each) for each in given_points]  # NaN is not equal to itself


def test_a_record_holds_so_many_readings_and_bytes_and_no_more() -> None:
    one = Point("cpu", {"host": "a"}, 1, {"value": 1.5})
    wide = Point("wide", {}, 2, {f"f{number}": math.nan for number in range(BYTES_MAX // 10)})
    assert packed([]) == []
    assert [len(unpacked([each])) for each in packed([reading(one)] * 250)] == [READINGS_MAX, READINGS_MAX, 50]
    assert [len(unpacked([each])) for each in packed([reading(each) for each in (one, wide, one)])] == [2, 1]


@given(st.lists(points(), min_size=1, max_size=3), st.data())
def test_a_damaged_record_is_refused_or_still_makes_sense(given_points: list[Point], data: st.DataObject) -> None:
    (whole,) = packed([reading(each) for each in given_points])
    place = data.draw(st.integers(0, len(whole) - 1))
    damaged = whole[:place] + bytes([data.draw(st.integers(0, 255))]) + whole[place + 1 :]
    for value in (damaged, whole[:place]):
        found = PackedFormat().decode(value)
        assert isinstance(found, Malformed) or all(0 <= each.time_ms < TIME_MS_MAX for each in found)


def test_columns_that_do_not_fit_each_other_are_refused() -> None:
    head, other = head_bytes(Head("a", {}, ["x"])), head_bytes(Head("b", {}, ["x", "y"]))
    good = [1, [msgspec.Raw(head), msgspec.Raw(other)], [0, 1], [5, 6], bytes(24)]
    encode, form = msgspec.msgpack.encode, PackedFormat()
    assert form.cut(encode(good), Columns())
    faults: dict[int, list[object]] = {
        0: [2],
        1: [[], [msgspec.Raw(head)], [msgspec.Raw(encode("no head"))] * 2],
        2: [[0, 2], [-1, 1], [0], []],
        3: [[5], [5, -6], [5, TIME_MS_MAX]],
        4: [bytes(16), bytes(25), b"\x00" * 16 + b"\x00\x00\x00\x00\x00\x00\xf0\x7f"],
    }
    for place, values in faults.items():
        for value in values:
            into = Columns()
            assert not form.cut(encode([*good[:place], value, *good[place + 1 :]]), into)
            assert into == Columns()
