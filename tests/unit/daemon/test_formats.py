"""A record becomes points, or a reason why not; never an exception."""

from __future__ import annotations

import json
import math
from typing import get_args

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from daemon.formats import FieldPaths, Format, JsonFormat, Malformed, Options, Point, TelegrafFormat
from daemon.formats.options import TimestampUnit
from daemon.formats.point import TIME_MS_MAX, time_ms
from daemon.types import RejectReason

T = 1_700_000_000
T_MS = T * 1000
PATHS = FieldPaths(timestamp="meta.at", name="meta.metric", labels="tags", value="data.one", values="data.all")
DOTTED = Options(fields=PATHS)
FORMATS: dict[str, Format] = {
    **{f"json-{unit}": JsonFormat(Options(unit=unit)) for unit in get_args(TimestampUnit)},
    "json-dotted": JsonFormat(DOTTED),
    "telegraf": TelegrafFormat(),
    "telegraf-ns": TelegrafFormat(Options(unit="ns")),
}


def record(**parts: object) -> bytes:
    return json.dumps({"timestamp": T, **parts}).encode()


def metric(**parts: object) -> dict[str, object]:
    return {"name": "cpu", "tags": {"host": "a"}, "fields": {"idle": 99.5}, "timestamp": T, **parts}


@pytest.mark.parametrize(
    ("value", "points"),
    [
        (record(value=1.5), [Point("", {}, T_MS, {"value": 1.5})]),
        (record(value=2, name="up", labels={"a": "b"}), [Point("up", {"a": "b"}, T_MS, {"value": 2.0})]),
        (record(value=True), [Point("", {}, T_MS, {"value": 1.0})]),
        (record(values={"x": 1, "on": False}), [Point("", {}, T_MS, {"x": 1.0, "on": 0.0})]),
        (record(values={"x": 1, "state": "fine"}), [Point("", {}, T_MS, {"x": 1.0})]),
        (
            record(value=1, labels={"n": 5, "t": True, "no": None}),
            [Point("", {"n": "5", "t": "true"}, T_MS, {"value": 1.0})],
        ),
        (record(value=1, labels=None, name=None), [Point("", {}, T_MS, {"value": 1.0})]),
        (record(value=1, more=[1, {"x": 2}]), [Point("", {}, T_MS, {"value": 1.0})]),
        (
            b'[{"timestamp":1,"value":1},{"timestamp":2,"value":2}]',
            [Point("", {}, 1000 * i, {"value": float(i)}) for i in (1, 2)],
        ),
    ],
)
def test_json_records_of_every_shape_are_understood(value: bytes, points: list[Point]) -> None:
    assert JsonFormat().decode(value) == points


def test_a_null_in_json_is_a_missing_value() -> None:
    found = JsonFormat().decode(record(values={"x": None, "y": 1}))
    assert not isinstance(found, Malformed)
    (point,) = found
    assert math.isnan(point.fields["x"])
    assert point.fields["y"] == 1.0


def test_the_parts_of_a_record_may_stand_anywhere() -> None:
    value = {"meta": {"at": "2023-11-14T22:13:20Z", "metric": "m"}, "tags": {"a": "b"}, "data": {"one": 3}}
    assert JsonFormat(DOTTED).decode(json.dumps(value).encode()) == [Point("m", {"a": "b"}, T_MS, {"value": 3.0})]


@pytest.mark.parametrize(
    ("stamp", "unit", "expected_ms"),
    [
        (T, "auto", T_MS),
        (T + 0.25, "auto", T_MS + 250),
        (T_MS, "auto", T_MS),
        (T_MS * 1000, "auto", T_MS),
        (T_MS * 1_000_000 + 999_999, "auto", T_MS),
        (T_MS * 1_000_000 + 999_999, "ns", T_MS),
        (5, "s", 5000),
        (5, "ms", 5),
        (5999, "us", 5),
        ("2023-11-14T22:13:20Z", "auto", T_MS),
        ("2023-11-14T22:13:20.123456789Z", "ms", T_MS + 123),
        ("2023-11-14T23:13:20+01:00", "auto", T_MS),
        ("2023-11-14 22:13:20", "auto", T_MS),  # without a zone it is UTC
        (0, "auto", 0),
    ],
)
def test_time_stamps_are_understood_in_every_unit(stamp: object, unit: TimestampUnit, expected_ms: int) -> None:
    assert time_ms(stamp, unit) == expected_ms


REJECTED: list[tuple[RejectReason, str, bytes]] = [
    ("undecodable", "json-auto", b"\xff\xfe\xfd"),
    ("undecodable", "json-auto", b'{"timestamp": 1, "value": '),
    ("undecodable", "json-auto", b"[" * 100_000),
    ("undecodable", "json-auto", b"1" * 5000),
    ("undecodable", "json-auto", record(value=1, labels={"a": "\ud800"})),
    ("undecodable", "json-auto", b'{"timestamp":1,"value":1,"labels":{"a":"\xed\xa0\x80"}}'),
    ("undecodable", "telegraf", json.dumps(metric(tags={"\udfff": "x"})).encode()),
    ("missing_field", "json-auto", b'{"value": 1}'),
    ("missing_field", "json-auto", record()),
    ("missing_field", "json-dotted", record(value=1)),
    ("missing_field", "telegraf", b"{}"),
    ("missing_field", "telegraf", json.dumps({"metrics": [{"name": "x"}]}).encode()),
    ("wrong_type", "json-auto", b'"text"'),
    ("wrong_type", "json-auto", b"[1]"),
    ("wrong_type", "json-auto", b'{"timestamp": [], "value": 1}'),
    ("wrong_type", "json-auto", b'{"timestamp": true, "value": 1}'),
    ("wrong_type", "json-auto", record(value="12")),
    ("wrong_type", "json-auto", record(value=[1])),
    ("wrong_type", "json-auto", record(values=[1])),
    ("wrong_type", "json-auto", record(values={})),
    ("wrong_type", "json-auto", record(value=1, name=5)),
    ("wrong_type", "json-auto", record(value=1, labels=[])),
    ("wrong_type", "json-auto", record(value=1, labels={"a": {}})),
    ("wrong_type", "telegraf", b"[]"),
    ("wrong_type", "telegraf", json.dumps(metric(fields=1)).encode()),
    ("wrong_type", "telegraf", json.dumps(metric(tags=1)).encode()),
    ("wrong_type", "telegraf", b'{"metrics": {}}'),
    ("wrong_type", "telegraf", b'{"metrics": [1]}'),
    ("not_finite", "json-auto", b'{"timestamp": 1, "value": NaN}'),
    ("not_finite", "json-auto", b'{"timestamp": 1, "value": -Infinity}'),
    ("not_finite", "json-auto", b'{"timestamp": 1, "value": 1e999}'),
    ("not_finite", "json-auto", b'{"timestamp": 1, "value": 1' + b"0" * 400 + b"}"),
    ("bad_timestamp", "json-auto", b'{"timestamp": -1, "value": 1}'),
    ("bad_timestamp", "json-auto", b'{"timestamp": "yesterday", "value": 1}'),
    ("bad_timestamp", "json-auto", b'{"timestamp": NaN, "value": 1}'),
    ("bad_timestamp", "json-auto", b'{"timestamp": 1' + b"0" * 400 + b', "value": 1}'),
    ("bad_timestamp", "json-s", b'{"timestamp": 1e308, "value": 1}'),
    ("bad_timestamp", "json-s", record(value=1, timestamp=T_MS * 1000)),
    ("bad_timestamp", "telegraf", json.dumps(metric(timestamp="x")).encode()),
    ("empty", "json-auto", b"[]"),
    ("empty", "telegraf", b'{"metrics": []}'),
]


@pytest.mark.parametrize(("reason", "form", "value"), REJECTED)
def test_a_record_that_cannot_be_used_says_why(reason: RejectReason, form: str, value: bytes) -> None:
    found = FORMATS[form].decode(value)
    assert isinstance(found, Malformed)
    assert found.reason == reason
    assert found.detail
    assert len(found.detail) < 500


def test_telegraf_metrics_come_one_by_one_or_in_a_batch() -> None:
    one = Point("cpu", {"host": "a"}, T_MS, {"idle": 99.5})
    assert TelegrafFormat().decode(json.dumps(metric()).encode()) == [one]
    assert TelegrafFormat().decode(json.dumps({"metrics": [metric(), metric(name="m")]}).encode()) == [
        one,
        one._replace(name="m"),
    ]


def test_texts_in_telegraf_are_ignored_also_where_a_metric_holds_nothing_else() -> None:
    texts = metric(name="system", fields={"uptime_format": "3 days, 4:05"})
    mixed = metric(fields={"state": "fine", "idle": 99.5, "up": True})
    found = TelegrafFormat().decode(json.dumps({"metrics": [texts, mixed]}).encode())
    assert found == [Point("cpu", {"host": "a"}, T_MS, {"idle": 99.5, "up": 1.0})]
    assert TelegrafFormat().decode(json.dumps(texts).encode()) == []


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)
likely = st.fixed_dictionaries(
    {},
    optional={
        **dict.fromkeys(("timestamp", "value", "values", "name", "labels", "fields", "tags", "meta", "data"), anything),
        "metrics": st.lists(anything, max_size=2),
    },
)
shaped = st.fixed_dictionaries(
    {"timestamp": st.floats() | st.integers() | st.integers(T, T + 99) | anything, "name": st.just("m") | anything},
    optional={
        "value": st.floats() | st.integers() | anything,
        "values": st.dictionaries(st.text(max_size=3), st.floats() | anything, max_size=3),
        "fields": st.dictionaries(st.text(max_size=3), st.floats() | anything, max_size=3),
        "labels": st.dictionaries(st.text(max_size=3), anything, max_size=2),
    },
)


@settings(max_examples=250, deadline=None)
@given(value=st.binary(max_size=60) | (anything | likely | shaped).map(lambda each: json.dumps(each).encode()))
@example(b"")
@example(b"\x00" * 10)
def test_whatever_bytes_come_the_answer_is_points_or_a_reason(value: bytes) -> None:
    for form in FORMATS.values():
        found = form.decode(value)
        if isinstance(found, Malformed):
            assert found.reason in get_args(RejectReason)
            found.detail.encode("utf-8", "replace")
            continue
        for point in found:
            assert 0 <= point.time_ms < TIME_MS_MAX
            assert point.fields
            assert not any(math.isinf(number) for number in point.fields.values())
            json.dumps([point.name, point.labels, list(point.fields)], ensure_ascii=False).encode()


@settings(max_examples=150, deadline=None)
@given(value=shaped.map(lambda each: json.dumps(each).encode()))
def test_the_quick_way_and_the_careful_way_read_the_same(value: bytes) -> None:
    careful = JsonFormat()
    careful._fast = None
    assert repr(JsonFormat().decode(value)) == repr(careful.decode(value))
