"""Every format is what its examples say, and knows no other way than points or a reason."""

from __future__ import annotations

import json
import math
from base64 import b64encode
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import get_args

import pytest

from daemon import assembly
from daemon.config import loads, schema
from daemon.formats import FORMATS, NO_TIME, Definition, Example, Kind, Malformed, Options, Point, decoder
from daemon.formats.page import page
from daemon.formats.point import VALUES_MAX
from daemon.memory import MemoryRecord
from daemon.state import PartitionState
from daemon.types import RejectReason, TopicPartition
from detectors import scaling

ROOT = Path(__file__).parents[2]
CASES = [(each, example) for each in FORMATS.values() for example in each.examples()]
IDS = [f"{each.name}: {example.says}" for each, example in CASES]
CPU = '{"name":"cpu","tags":{"host":"a"},"fields":{"idle":1.5},"timestamp":1700000000}'
EVENT = '{"specversion":"1.0","id":"1","source":"s","type":"t","time":"2023-11-14T22:13:20.5Z",%s}'


def plain(point: Point) -> tuple[object, ...]:
    """Return a point so that it can be compared: NaN as a text, numbers without their last bits."""
    fields = {name: "NaN" if math.isnan(value) else round(value, 9) for name, value in point.fields.items()}
    return (point.name, dict(point.labels), point.time_ms, fields, dict(point.kinds), point.unit)


def read(definition: Definition, example: Example) -> Sequence[Point] | Malformed:
    return definition.decoder(example.options).decode(example.record)


@pytest.mark.parametrize(("definition", "example"), CASES, ids=IDS)
def test_an_example_gives_what_it_says(definition: Definition, example: Example) -> None:
    found = read(definition, example)
    if isinstance(found, Malformed):
        assert (found.reason, len(found.detail) <= 500) == (example.gives, True), found
        assert found.detail
    else:
        assert not isinstance(example.gives, str), f"expected {example.gives}, got {found}"
        assert [plain(each) for each in found] == [plain(each) for each in example.gives]


@pytest.mark.parametrize("definition", FORMATS.values(), ids=lambda each: each.name)
def test_a_format_shows_what_it_reads_and_what_it_refuses(definition: Definition) -> None:
    given = [each.gives for each in definition.examples()]
    assert {"undecodable"} <= {each for each in given if isinstance(each, str)} <= set(get_args(RejectReason))
    assert any(points and not isinstance(points, str) for points in given)
    kinds = {kind for points in given if not isinstance(points, str) for each in points for kind in each.kinds.values()}
    assert kinds <= set(get_args(Kind))


@pytest.mark.parametrize(("definition", "example"), CASES, ids=IDS)
def test_the_record_s_own_time_stands_in_for_any_other(definition: Definition, example: Example) -> None:
    options = Options("auto", "record", example.options.fields, example.options.compression)
    found = definition.decoder(options).decode(example.record)
    assert isinstance(found, Malformed) or {each.time_ms for each in found} <= {NO_TIME}


@pytest.mark.parametrize(("definition", "example"), CASES, ids=IDS)
def test_an_envelope_changes_nothing_but_a_missing_time(definition: Definition, example: Example) -> None:
    event = (EVENT % f'"data_base64":"{b64encode(example.record).decode()}"').encode()
    bare = read(definition, example)
    found = decoder(definition.name, example.options, "cloudevents").decode(event)
    if isinstance(bare, Malformed) or isinstance(found, Malformed):
        assert found == bare
        return
    stamped = 1_700_000_000_500 if example.options.source == "payload" else NO_TIME
    expected = [each._replace(time_ms=stamped) if each.time_ms == NO_TIME else each for each in bare]
    assert [plain(each) for each in found] == [plain(each) for each in expected]


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        (EVENT % f'"data":{CPU}', ["cpu"]),
        (f"[{EVENT},{EVENT}]" % (f'"data":{CPU}', f'"data":{CPU.replace("cpu", "mem")}'), ["cpu", "mem"]),
        (EVENT % '"subject":"x"', "missing_field"),
        (EVENT % '"data":""', "missing_field"),
        (EVENT % '"data_base64":"%"', "undecodable"),
        (EVENT % '"data":{}', "missing_field"),
        (CPU, "missing_field"),
        ("[]", "empty"),
        ("{", "undecodable"),
    ],
)
def test_cloud_events_come_one_by_one_or_in_a_batch(event: str, expected: Sequence[str] | RejectReason) -> None:
    found = decoder("telegraf_json", Options(), "cloudevents").decode(event.encode())
    got = found.reason if isinstance(found, Malformed) else [each.name for each in found]
    assert got == expected


def test_an_event_s_data_may_be_a_text() -> None:
    event = EVENT % '"data":"cpu idle=1\\nmem used=2 1700000000000000000"'
    found = decoder("influx", Options(), "cloudevents").decode(event.encode())
    assert not isinstance(found, Malformed)
    assert [(each.name, each.time_ms) for each in found] == [("cpu", 1_700_000_000_500), ("mem", 1_700_000_000_000)]


LARGE: Mapping[str, bytes] = {
    "json": json.dumps({"timestamp": 1, "values": {str(i): i for i in range(VALUES_MAX + 1)}}).encode(),
    "influx": b"m f=1\n" * (VALUES_MAX + 1),
}


@pytest.mark.parametrize("name", LARGE)
def test_a_record_has_so_many_values_at_most(name: str) -> None:
    found = decoder(name, Options()).decode(LARGE[name])
    assert isinstance(found, Malformed)
    assert found.reason == "oversized"


def test_every_module_with_a_definition_is_a_format_of_its_own_name() -> None:
    files = {path.stem for path in (ROOT / "daemon/formats").glob("*.py") if "DEFINITION = " in path.read_text("utf-8")}
    assert files == set(FORMATS)
    assert schema()["definitions"]["InputConfig"]["properties"]["format"]["enum"] == list(FORMATS)


def test_the_page_on_formats_is_fresh() -> None:
    written = (ROOT / "docs/formats.md").read_text(encoding="utf-8")
    is_fresh = written == page(FORMATS.values())
    assert is_fresh, "run `make docs`"


def test_all_that_the_configuration_says_of_the_input_reaches_the_decoder() -> None:
    good = (ROOT / "tests/config/good/field-paths-by-name.yaml").read_text(encoding="utf-8")
    config = loads(good, "good.yaml", {})
    state = PartitionState.empty(assembly.layouts(config), 0)
    event = EVENT % '"data":{"meta":{"host":"a"},"stats":{"load":[0.5],"mem":3}}'
    records = [MemoryRecord(0, 1_700_000_000_000, None, event.encode(), ())]
    taken = assembly.intake(config).take(TopicPartition("metrics", 0), records, state)
    assert not taken.rejected
    assert state.slabs["all"].keys == ['{field="load1",host="a"}', '{field="mem",host="a"}']
    assert taken.parts["all"].samples.times_ms.tolist() == [1_700_000_000_000] * 2
    assert state.slabs["all"].view()["counter"].tolist() == [[scaling.COUNTER]] * 2
