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
from daemon.formats import JsonFormat
from daemon.intake import Intake, Limits, Taken
from daemon.memory import MemoryRecord
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


def test_routes_remembered_by_labels_are_forgotten_before_they_fill_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    import daemon.intake as module

    monkeypatch.setattr(module, "CACHED_STREAMS_MAX", 10)
    layouts = {"all": GroupLayout(layout(settings_of()), 100)}
    state = PartitionState.empty(layouts, 0)
    intake = Intake(JsonFormat(), [Group()], Limits())
    taken = intake.take(HERE, [record(i, value=1, labels={"h": str(i % 25)}) for i in range(75)], state)
    assert taken.samples == 75
    assert len(state.slabs["all"]) == 25
    assert len(intake._routes) <= 10
