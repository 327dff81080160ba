"""Records become samples of the right streams; what cannot be used comes back with its reason and its origin."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.engine import layout
from daemon.formats import JsonFormat, Options, Point, decoder
from daemon.intake import Intake, Limits, Taken
from daemon.memory import MemoryRecord
from daemon.routing import STREAM_CHARS_MAX
from daemon.state import GroupLayout, PartitionState
from daemon.stream_keys import stream_key
from daemon.types import TopicPartition
from tests.conformance.feed import settings_of

HERE = TopicPartition("metrics", 3)
T_MS = 1_700_000_000_000
Labels = Mapping[str, str]


@dataclass(frozen=True)
class Group:
    """A group that takes what `takes` says."""

    name: str = "all"
    channels: Sequence[str] = ()
    takes: Callable[[Labels], bool] = field(default=lambda labels: True)

    def selects(self, labels: Labels) -> bool:
        """Return whether the group takes a point with these labels."""
        return self.takes(labels)


def record(offset: int, timestamp: int = -1, **parts: object) -> MemoryRecord:
    body = {"timestamp": T_MS + offset, "name": "cpu", **parts}
    return MemoryRecord(offset, timestamp, b"k", json.dumps(body).encode(), ())


def taking(
    records: Sequence[MemoryRecord], *groups: Group, limits: Limits | None = None, streams: int = 100
) -> tuple[Taken, PartitionState]:
    chosen = groups or (Group(),)
    layouts = {each.name: GroupLayout(layout(settings_of(len(each.channels) or 1)), streams) for each in chosen}
    state = PartitionState.empty(layouts, 0)
    return Intake(JsonFormat(), chosen, limits or Limits()).take(HERE, records, state), state


def test_samples_keep_their_offsets_times_and_values() -> None:
    records = [
        record(7, value=1.5, labels={"h": "a"}),
        record(9, value=2, labels={"h": "b"}),
        record(12, value=3, labels={"h": "a"}),
    ]
    taken, state = taking(records)
    samples = taken.parts["all"].samples
    assert state.slabs["all"].keys == ['cpu{h="a"}', 'cpu{h="b"}']
    assert samples.slots.tolist() == [0, 1, 0]
    assert samples.offsets.tolist() == [7, 9, 12]
    assert samples.times_ms.tolist() == [T_MS + 7, T_MS + 9, T_MS + 12]
    assert samples.values.tolist() == [[1.5], [2.0], [3.0]]
    assert (taken.samples, taken.next_offset, taken.rejected) == (3, 13, [])


def test_the_watermark_is_the_newest_time_before_each_sample_and_never_falls() -> None:
    taken, _ = taking([record(5, value=1), record(2, value=1), record(9, value=1)])
    assert taken.parts["all"].samples.watermark_ms.tolist() == [0, T_MS + 5, T_MS + 5]
    assert taken.watermark_ms == taken.parts["all"].watermark_ms == T_MS + 9


def test_taking_changes_nothing_in_the_state_but_new_streams() -> None:
    taken, state = taking([record(7, value=1)])
    assert (state.next_offset, state.watermark_ms) == (0, 0)
    assert not state.slabs["all"].view()["samples"].any()
    assert taken.next_offset == 8


def test_without_channels_every_field_is_a_stream_of_its_own() -> None:
    _, state = taking([record(1, values={"idle": 1, "user": 2}, labels={"h": "a"})])
    assert state.slabs["all"].keys == ['cpu{field="idle",h="a"}', 'cpu{field="user",h="a"}']


def test_with_channels_the_fields_of_a_record_are_one_sample_and_a_missing_one_is_masked() -> None:
    records = [record(1, values={"x": 1, "y": 2, "z": 3}), record(2, values={"y": 4}), record(3, values={"z": 5})]
    taken, state = taking(records, Group(channels=("y", "x")))
    np.testing.assert_equal(taken.parts["all"].samples.values, [[2.0, 1.0], [4.0, math.nan]])
    assert state.slabs["all"].keys == ["cpu"]
    assert taken.unselected == 1


def test_the_first_group_that_selects_a_point_takes_it() -> None:
    web = Group("web", takes=lambda labels: labels.get("job") == "web")
    named = Group("named", takes=lambda labels: labels.get("name") == "cpu")
    records = [
        record(1, value=1, labels={"job": "web"}),
        record(2, value=2),
        record(3, value=3, name="mem"),
        record(4, value=4, labels={"job": "web"}),
    ]
    taken, _ = taking(records, web, named)
    assert taken.parts["web"].samples.offsets.tolist() == [1, 4]
    assert taken.parts["named"].samples.offsets.tolist() == [2]
    assert (taken.unselected, taken.rejected) == (1, [])


@pytest.mark.parametrize(
    ("value", "timestamp", "reason"),
    [
        (b"", -1, "empty"),
        (None, -1, "empty"),
        (b"{" * 3000, -1, "oversized"),
        (b"nonsense", -1, "undecodable"),
        (b'{"timestamp": 1700000000}', -1, "missing_field"),
        (b'{"timestamp": 1700000000, "value": NaN}', -1, "not_finite"),
        (b'{"timestamp": 1700000000, "value": 1}', 1_699_999_699_999, "bad_timestamp"),
    ],
)
def test_a_bad_record_comes_back_with_its_origin_and_the_others_are_taken(
    value: bytes | None, timestamp: int, reason: str
) -> None:
    records = [record(4, value=1), MemoryRecord(5, timestamp, None, value, ()), record(6, value=2)]
    taken, _ = taking(records, limits=Limits(record_bytes_max=2000))
    assert [(each[:3], each.reason) for each in taken.rejected] == [(("metrics", 3, 5), reason)]
    assert taken.parts["all"].samples.offsets.tolist() == [4, 6]
    assert taken.next_offset == 7


OWN_TIME = T_MS + 10_000
T = T_MS // 1000
GOOD = {"timestamp": T, "value": 1}

WILD: list[tuple[str, bytes | None, str | int]] = [  # the reason for which it is refused, or its samples
    ("json that ends early", b'{"timestamp": 1700000000, "value": ', "undecodable"),
    ("not UTF-8", b"\xff\xfe\x00rubbish", "undecodable"),
    ("text that is not UTF-8", b'{"timestamp": 1700000000, "name": "\xff", "value": 1}', "undecodable"),
    ("half of a surrogate pair", json.dumps({**GOOD, "name": "\ud800"}).encode(), "undecodable"),
    ("junk of a megabyte", b"\x00" * 1_000_000, "oversized"),
    ("json of a megabyte", json.dumps({**GOOD, "labels": {"a": "x" * 1_000_000}}).encode(), "oversized"),
    ("an empty value", b"", "empty"),
    ("no value", None, "empty"),
    ("blanks", b"   ", "undecodable"),
    ("a number", b"5", "wrong_type"),
    ("null", b"null", "wrong_type"),
    ("an array of nothing", b"[]", "empty"),
    ("no time", json.dumps({"value": 1}).encode(), "missing_field"),
    ("no value field", json.dumps({"timestamp": T}).encode(), "missing_field"),
    ("a text for a value", json.dumps({**GOOD, "value": "12"}).encode(), "wrong_type"),
    ("an array for a value", json.dumps({**GOOD, "value": [1]}).encode(), "wrong_type"),
    ("NaN", b'{"timestamp": 1700000000, "value": NaN}', "not_finite"),
    ("Infinity", b'{"timestamp": 1700000000, "value": Infinity}', "not_finite"),
    ("beyond a double", b'{"timestamp": 1700000000, "value": 1e309}', "not_finite"),
    ("the largest double", b'{"timestamp": 1700000000, "value": 1e308}', 1),
    ("a boolean", json.dumps({**GOOD, "value": True}).encode(), 1),
    ("null for a value", json.dumps({"timestamp": T, "values": {"x": None}}).encode(), 0),
    ("a time before 1970", json.dumps({**GOOD, "timestamp": -1}).encode(), "bad_timestamp"),
    ("the time 0", json.dumps({**GOOD, "timestamp": 0}).encode(), 1),
    ("the year 2262", json.dumps({**GOOD, "timestamp": 9_223_372_036}).encode(), "bad_timestamp"),
    ("beyond the year 2262", json.dumps({**GOOD, "timestamp": 9_223_372_037_000}).encode(), "bad_timestamp"),
    ("tomorrow", json.dumps({**GOOD, "timestamp": T + 86_400}).encode(), "bad_timestamp"),
    ("a boolean for a time", json.dumps({**GOOD, "timestamp": True}).encode(), "wrong_type"),
    ("a name in another script", json.dumps({**GOOD, "name": "темп\N{THERMOMETER}"}).encode(), 1),
    ("a name of 100 kB", json.dumps({**GOOD, "name": "x" * 100_000}).encode(), "oversized"),
    ("a label of 100 kB", json.dumps({**GOOD, "labels": {"a": "\x01" * 10_000}}).encode(), "oversized"),
]


@pytest.mark.parametrize(("value", "outcome"), [each[1:] for each in WILD], ids=[each[0] for each in WILD])
@pytest.mark.parametrize("key", [None, b"", b"k" * 100_000, "ключ".encode(), b"\xff\x00"])
def test_whatever_a_record_holds_the_ones_around_it_are_taken(
    value: bytes | None, outcome: str | int, key: bytes | None
) -> None:
    wild = MemoryRecord(5, OWN_TIME, key, value, ())
    taken, state = taking([record(4, OWN_TIME, value=1), wild, record(6, OWN_TIME, value=2)])
    assert {4, 6} <= set(taken.parts["all"].samples.offsets.tolist())
    assert [each.reason for each in taken.rejected] == ([outcome] if isinstance(outcome, str) else [])
    assert taken.samples == 2 + (outcome if isinstance(outcome, int) else 0)
    assert taken.watermark_ms == T_MS + 6
    assert all(len(name) <= STREAM_CHARS_MAX for name in state.slabs["all"].keys)


@pytest.mark.parametrize(
    ("stamps", "taken_at"),
    [
        ([0, 10, 400], [0, 10]),  # seconds; one alone is far ahead: refused
        ([0, 10, 400, 401], [0, 10, 401]),  # the next one agrees with it: there was a gap
        ([0, 400, 10, 401, 11], [0, 10, 11]),  # but not one between others
        ([0, 400, 900, 1400], [0]),  # each somewhere else
        ([0, 300, 600, 900], [0, 300, 600, 900]),
        ([900, 0, 10], [900, 0, 10]),  # the first of all is believed, and being late is no fault of a record
    ],
)
@pytest.mark.parametrize("own_time", [-1, 0, -5])
def test_without_a_time_of_its_own_a_record_far_ahead_needs_a_second_one(
    stamps: list[int], taken_at: list[int], own_time: int
) -> None:
    bodies = [{"timestamp": T + stamp, "name": f"s{i}", "value": stamp} for i, stamp in enumerate(stamps)]
    records = [MemoryRecord(i, own_time, None, json.dumps(each).encode(), ()) for i, each in enumerate(bodies)]
    taken, _ = taking(records)
    assert taken.parts["all"].samples.values[:, 0].tolist() == taken_at
    assert {each.reason for each in taken.rejected} <= {"bad_timestamp"}
    piecewise = PartitionState.empty({"all": GroupLayout(layout(settings_of()), 100)}, 0)
    intake, values = Intake(JsonFormat(), [Group()], Limits()), []
    for each in records:
        part = intake.take(HERE, [each], piecewise)
        values += part.parts["all"].samples.values[:, 0].tolist()
        part.settle(piecewise)
    assert values == taken_at


def test_a_record_of_1970_has_no_time_of_its_own() -> None:
    taken, _ = taking([record(0, 0, value=1), record(1, 0, value=2)])
    assert taken.samples == 2


def test_a_sample_without_any_value_is_counted_and_makes_no_stream() -> None:
    records = [
        record(1, values={"x": None, "y": None}, labels={"h": "a"}),
        record(2, values={"x": 1, "y": None}, labels={"h": "a"}),
    ]
    taken, state = taking(records, Group(channels=("x", "y")))
    assert (taken.samples, dict(taken.missing), taken.unselected, taken.rejected) == (1, {"all": 1}, 0, [])
    taken, state = taking(records)
    assert (taken.samples, dict(taken.missing)) == (1, {"all": 3})
    assert state.slabs["all"].keys == ['cpu{field="x",h="a"}']


def test_a_label_named_field_does_not_hide_which_field_it_was() -> None:
    records = [
        record(1, values={"x": 1, "y": 2}, labels={"field": "north"}),
        record(2, values={"x": 3, "y": 4}, labels={"field": "south", "exported_field": "z"}),
        record(3, value=5, labels={"field": "west"}),
    ]
    _, state = taking(records)
    assert state.slabs["all"].keys == [
        'cpu{exported_field="north",field="x"}',
        'cpu{exported_field="north",field="y"}',
        'cpu{exported_exported_field="south",exported_field="z",field="x"}',
        'cpu{exported_exported_field="south",exported_field="z",field="y"}',
        'cpu{field="west"}',
    ]


def test_records_in_a_row_that_cannot_be_used_are_counted_until_one_can() -> None:
    bad = [MemoryRecord(i, -1, None, b"nonsense", ()) for i in range(10)]
    taken, state = taking([*bad[:3], record(3, value=1), *bad[4:6]])
    assert (taken.rejected_run, taken.rejected_run_max) == (2, 3)
    taken.settle(state)
    intake = Intake(JsonFormat(), [Group()], Limits())
    again = intake.take(HERE, bad[6:9], state)
    assert (again.rejected_run, again.rejected_run_max) == (5, 5)
    again.settle(state)
    assert intake.take(HERE, [record(9, value=1)], state).rejected_run == 0


def test_a_full_group_is_no_fault_of_the_records() -> None:
    taken, _ = taking([record(i, value=1, labels={"h": str(i)}) for i in range(9)], streams=2)
    assert (len(taken.rejected), taken.rejected_run_max) == (7, 0)


@pytest.mark.parametrize("ahead_ms", [0, 300_000])
def test_a_time_stamp_may_be_ahead_of_the_records_own_time_within_limits(ahead_ms: int) -> None:
    taken, _ = taking([record(0, T_MS - ahead_ms, value=1)])
    assert taken.samples == 1


def test_a_batch_with_one_sample_from_the_future_moves_no_watermark() -> None:
    batch = [{"timestamp": T_MS, "value": 1}, {"timestamp": T_MS + 10**9, "value": 1}]
    taken, _ = taking([MemoryRecord(0, T_MS, None, json.dumps(batch).encode(), ())])
    assert (taken.samples, taken.watermark_ms) == (0, 0)
    assert [each.reason for each in taken.rejected] == ["bad_timestamp"]


def test_streams_beyond_the_groups_limit_are_refused_and_known_ones_go_on() -> None:
    records = [record(i, value=1, labels={"h": str(i % 4)}) for i in range(8)]
    taken, state = taking(records, streams=2)
    assert len(state.slabs["all"]) == 2
    assert taken.parts["all"].samples.offsets.tolist() == [0, 1, 4, 5]
    assert {(each.offset, each.reason) for each in taken.rejected} == {(i, "max_streams") for i in (2, 3, 6, 7)}


def test_a_record_is_rejected_once_however_many_of_its_samples_find_no_place() -> None:
    batch = [{"timestamp": T_MS, "value": 1, "labels": {"h": str(i)}} for i in range(50)]
    taken, _ = taking([MemoryRecord(3, -1, None, json.dumps(batch).encode(), ())], streams=2)
    assert [(each.offset, each.reason) for each in taken.rejected] == [(3, "max_streams")]
    assert taken.samples == 2


def test_the_order_of_labels_makes_no_other_stream() -> None:
    _, state = taking(
        [record(1, value=1, labels={"a": "1", "b": "2"}), record(2, value=1, labels={"b": "2", "a": "1"})]
    )
    assert state.slabs["all"].keys == ['cpu{a="1",b="2"}']


@given(
    one=st.dictionaries(st.sampled_from("ab"), st.text(max_size=4)),
    other=st.dictionaries(st.sampled_from("ab"), st.text(max_size=4)),
)
def test_streams_with_other_label_values_have_other_keys(one: dict[str, str], other: dict[str, str]) -> None:
    assert (stream_key("m", one) == stream_key("m", other)) == (one == other)


def test_keys_are_written_as_prometheus_writes_them() -> None:
    assert stream_key("cpu", {"b": 'x"\n\\', "a": "y"}) == 'cpu{a="y",b="x\\"\\n\\\\"}'
    assert stream_key("cpu", {}) == "cpu"
    assert stream_key("", {}) == "{}"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (Point("m", {"a": "b"}, 0, {"c": 1.0}), Point("m", {"a": "b\x00c"}, 0, {"c": 1.0})),
        (Point("m", {"a\x00b": "c"}, 0, {"f": 1.0}), Point("m", {"a": "b\x00c"}, 0, {"f": 1.0})),
        (Point("m", {"a": "c", "b": "d"}, 0, {"f": 1.0}), Point("m", {"a": "b"}, 0, {"c": 1.0, "d": 2.0, "f": 3.0})),
        (Point("m\x00a", {}, 0, {"f": 1.0}), Point("m", {}, 0, {"a": 1.0, "f": 2.0})),
        (Point("m", {"a": "b"}, 0, {"f": 1.0}), Point("m", {"b": "a"}, 0, {"f": 1.0})),
    ],
)
def test_points_of_other_shapes_are_never_taken_for_each_other(one: Point, other: Point) -> None:
    class Given:
        """A format that reads every record as these points."""

        def decode(self, value: bytes) -> Sequence[Point]:
            return [one if value == b"1" else other]

    def keys(*values: bytes) -> list[str]:
        state = PartitionState.empty({"all": GroupLayout(layout(settings_of()), 100)}, 0)
        records = [MemoryRecord(i, -1, None, value, ()) for i, value in enumerate(values)]
        Intake(Given(), [Group()], Limits()).take(HERE, records, state)
        return state.slabs["all"].keys

    assert keys(b"1", b"2", b"1", b"2") == list(dict.fromkeys([*keys(b"1"), *keys(b"2")]))


def test_routes_remembered_by_labels_are_forgotten_before_they_fill_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    import daemon.routing as module

    class Uncut:
        decode = JsonFormat().decode  # and nothing else

    monkeypatch.setattr(module, "CACHED_STREAMS_MAX", 10)
    layouts = {"all": GroupLayout(layout(settings_of()), 100)}
    state = PartitionState.empty(layouts, 0)
    intake = Intake(Uncut(), [Group()], Limits())
    taken = intake.take(HERE, [record(i, value=1, labels={"h": str(i % 25)}) for i in range(75)], state)
    assert taken.samples == 75
    assert len(state.slabs["all"]) == 25
    assert len(intake._routes) <= 10


@pytest.mark.parametrize(("stamp", "expected"), [(T_MS, T_MS), (-1, "missing_field")])
def test_a_payload_without_a_time_has_the_record_s_own(stamp: int, expected: int | str) -> None:
    layouts = {"all": GroupLayout(layout(settings_of(1)), 100)}
    intake = Intake(decoder("influx", Options()), [Group()], Limits())
    taken = intake.take(HERE, [MemoryRecord(0, stamp, None, b"m f=1", ())], PartitionState.empty(layouts, 0))
    found = [each.reason for each in taken.rejected] or taken.parts["all"].samples.times_ms.tolist()
    assert found == [expected]
