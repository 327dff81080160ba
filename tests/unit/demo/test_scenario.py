"""The scenario is quiet first and faulty later, lies in the past, and is watched with an ordinary configuration."""

from __future__ import annotations

import json
from collections import Counter

import numpy as np
import pytest

from daemon import config
from daemon.demo import scenario as scenarios
from daemon.demo.scenario import GROUP, PARTITIONS, TOPIC, Size
from daemon.formats.json import JsonFormat
from daemon.formats.options import Options
from daemon.formats.point import Malformed
from daemon.stream_keys import stream_key

NOW_MS = 1_763_700_123_456
SIZE = Size(seed=2, streams_each=2, history_days=3, live_days=10)
SCENARIO = scenarios.plan(SIZE, NOW_MS)


def test_all_samples_lie_in_the_past_and_the_last_ones_just_before_now() -> None:
    assert NOW_MS - 600_000 < SCENARIO.times_ms.max() < NOW_MS
    assert SCENARIO.observed.end_ms <= NOW_MS
    assert SCENARIO.observed.end_ms - SCENARIO.observed.start_ms == 10 * 86_400_000


def test_history_has_no_fault_and_the_live_part_has_many() -> None:
    assert min(fault.step_from for fault in SCENARIO.faults) >= SCENARIO.history_steps + 1.5 * 288
    np.testing.assert_allclose(
        np.nan_to_num(SCENARIO.values[: 3 * 288]),
        np.where(SCENARIO.fleet.present(0, 3 * 288), SCENARIO.fleet.values(0, 3 * 288), 0.0),
    )
    assert len(SCENARIO.labels) == len(SCENARIO.faults) > len(SCENARIO.fleet.streams)


def test_every_sample_becomes_one_record_and_nothing_else_does() -> None:
    records = SCENARIO.records(0, 400)
    assert len(records) == SCENARIO.samples(0, 400) == np.isfinite(SCENARIO.values[:400]).sum()


def test_records_come_in_the_order_of_their_times_and_a_stream_stays_in_its_partition() -> None:
    records = SCENARIO.records(0, 50)
    times = [json.loads(record.value or b"")["timestamp"] for record in records]
    assert times == sorted(times)
    homes = {(record.key, record.partition) for record in records}
    assert len(homes) == len(SCENARIO.fleet.streams)
    assert {partition for _, partition in homes} == set(range(PARTITIONS))


def test_the_daemons_own_format_reads_a_record_and_calls_the_stream_as_the_labels_do() -> None:
    settings = config.loads(scenarios.configuration(SCENARIO, "localhost:9092", "127.0.0.1:9464"), "demo", {})
    stream = SCENARIO.fleet.streams[3]
    record = scenarios.record_of(stream, 123_456_789_012, 1.5)
    decoded = JsonFormat(Options(unit=settings.input.timestamp_unit)).decode(record.value or b"")
    assert not isinstance(decoded, Malformed)
    (point,) = decoded
    assert (point.time_ms, point.fields) == (123_456_789_012, {"value": 1.5})
    assert stream_key(point.name, point.labels) == stream.key == (record.key or b"").decode()


def test_the_configuration_is_ordinary_and_trains_when_nearly_all_history_was_seen() -> None:
    settings = config.loads(scenarios.configuration(SCENARIO, "localhost:1", "127.0.0.1:2"), "demo", {})
    assert settings.kafka.bootstrap_servers == ("localhost:1",)
    assert settings.server.listen == "127.0.0.1:2"
    assert settings.input.topics == (TOPIC,)
    (group,) = settings.groups
    assert group.name == GROUP
    assert 0.97 < group.training.min_samples / SCENARIO.samples(0, SCENARIO.history_steps) < 1
    assert group.training.history_samples_max >= group.training.min_samples


def test_the_same_seed_gives_the_same_scenario_shifted_in_time() -> None:
    later = scenarios.plan(SIZE, NOW_MS + 300_000)
    assert [fault.kind for fault in later.faults] == [fault.kind for fault in SCENARIO.faults]
    np.testing.assert_array_equal(later.times_ms, SCENARIO.times_ms + 300_000)


def test_the_shipped_size_has_every_kind_of_fault_several_times() -> None:
    counts = Counter(fault.kind for fault in scenarios.plan(Size(), NOW_MS).faults)
    assert len(counts) == 8
    assert min(counts.values()) >= 5


@pytest.mark.parametrize(("begin", "end"), [(0, 1), (700, 1000)])
def test_records_of_consecutive_steps_are_the_records_of_all(begin: int, end: int) -> None:
    middle = (begin + end) // 2
    assert SCENARIO.records(begin, end) == SCENARIO.records(begin, middle) + SCENARIO.records(middle, end)
