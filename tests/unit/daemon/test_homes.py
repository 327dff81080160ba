"""Every reading goes to the one partition where its stream lives, and is there what it was where it came from."""

from __future__ import annotations

import json
import random
from collections import defaultdict
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon import assembly
from daemon.config import Config, loads
from daemon.errors import ConfigError
from daemon.formats import FORMATS
from daemon.formats.packed import Reading, packed
from daemon.homes import HEAD_BYTES_MAX, Homes, Moved, PartitionClock
from daemon.memory import MemoryRecord
from daemon.samples import Samples
from daemon.state import PartitionState
from daemon.types import TopicPartition
from detectors.slab import Slab

T = 1_700_000_000_000
PARTITIONS = 5
HOSTS = """
input: {repartition: %s, labels: {site: north}, values: counter}
groups:
  - {name: joint, select: ['job="joint"'], channels: [cpu, mem], drop: [pod]}
  - {name: hosts, select: ['job="hosts"'], by: [host, site], rename: {node: host}}
  - {name: rest, select: ['job!="nobody"'], values: gauge}
"""
JOINED = """
input: {repartition: true}
groups:
  - {name: all, channels: [cpu, mem], by: [host], join: {channel: name, interval_seconds: 10}}
"""


def config(text: str) -> Config:
    return loads(text, "test", {})


def homes(text: str) -> Homes:
    return assembly.homes(config(text)).of("metrics")


def record(offset: int, body: object, at_ms: int = T) -> MemoryRecord:
    return MemoryRecord(offset, at_ms, None, body if isinstance(body, bytes) else json.dumps(body).encode(), ())


def points(rng: random.Random) -> object:
    """Return a point, or some: of few streams, with one value or more, labels in any order, and mostly a time."""
    if rng.random() < 0.2:
        return [points(rng) for _ in range(rng.randrange(1, 4))]
    names = [name for name in ("cpu", "mem", "disk") if rng.random() < 0.6] or ["cpu"]
    labels = {"job": rng.choice(["joint", "hosts", "rest", "nobody"]), "pod": f"p{rng.randrange(9)}"}
    labels |= {rng.choice(["host", "node"]): f"h{rng.randrange(3)}"}
    labels = dict(rng.sample(sorted(labels.items()), len(labels)))
    one = (
        {"value": rng.choice([1.5, None, 2])} if rng.random() < 0.5 else {"values": dict.fromkeys(names, rng.random())}
    )
    time = {"timestamp": T + rng.randrange(50_000)} if rng.random() < 0.95 else {}
    return {"name": rng.choice(["m", "n"]), "labels": labels, **time, **one}


def told(slab: Slab, samples: Samples, into: dict[str, list[tuple[object, ...]]]) -> None:
    """Append each sample to those of its stream, with what its row begins with."""
    for slot, at, values in zip(samples.slots, samples.times_ms, samples.values, strict=True):
        kind = slab.take(np.array([slot]))["counter"].tolist()
        into[slab.keys[slot]].append((int(at), repr(values.tolist()), repr(kind)))


Streams = dict[str, dict[str, list[tuple[object, ...]]]]


def as_it_comes(text: str, records: Sequence[MemoryRecord]) -> tuple[Streams, int, int]:
    """Return the samples of each stream, by group, and how many records are refused and points unselected."""
    told_by = config(text)
    state = PartitionState.empty(assembly.layouts(told_by), 0)
    taken = assembly.intake(told_by).take(TopicPartition("metrics", 0), records, state)
    found: Streams = {name: defaultdict(list) for name in taken.parts}
    for name, part in taken.parts.items():
        told(part.slab, part.samples, found[name])
    return found, len(taken.rejected), taken.unselected


def by_way_of_homes(text: str, records: Sequence[MemoryRecord]) -> tuple[Streams, int, int]:
    """Return the same after both stages; fails where a stream is found on two partitions."""
    told_by, clock, stage = config(text), PartitionClock(), homes(text)
    moved = [stage.moved(each, clock, PARTITIONS) for each in records]
    by_home: dict[int, list[Reading]] = defaultdict(list)
    for each in moved:
        for home, reading in each.readings:
            by_home[home].append(reading)
    found: Streams = {group.name: {} for group in told_by.groups}
    refused = 0
    for home, readings in by_home.items():
        state = PartitionState.empty(assembly.layouts(told_by), 0)
        between = [MemoryRecord(n, T, None, value, ()) for n, value in enumerate(packed(readings))]
        taken = assembly.intake(told_by).take(TopicPartition("longwatch-input", home), between, state)
        refused += len(taken.rejected) + taken.unselected
        for name, part in taken.parts.items():
            here: dict[str, list[tuple[object, ...]]] = defaultdict(list)
            told(part.slab, part.samples, here)
            assert not here.keys() & found[name].keys()
            found[name] |= here
    assert refused == 0
    return found, sum(each.problem is not None for each in moved), sum(each.unselected for each in moved)


@given(st.integers(0, 10**6))
def test_both_stages_together_give_each_stream_the_samples_that_it_would_have_had(seed: int) -> None:
    rng = random.Random(seed)
    records = [record(offset, points(rng)) for offset in range(40)]
    records += [record(40, b"nonsense"), record(41, {"timestamp": T + 10**7, "value": 1}), record(42, b"")]
    expected, found = as_it_comes(HOSTS % "false", records), by_way_of_homes(HOSTS % "true", records)
    assert found == expected


def readings(moved: Moved) -> list[int]:
    return [home for home, _ in moved.readings]


def test_the_channels_of_a_joined_stream_meet() -> None:
    stage, clock = homes(JOINED), PartitionClock()
    found: dict[str, set[int]] = defaultdict(set)
    for host in range(40):
        for name in ("cpu", "mem"):
            body = {"timestamp": T, "name": name, "labels": {"host": f"h{host}", "pid": f"{host}{name}"}, "value": 1}
            found[f"h{host}"].update(readings(stage.moved(record(0, body), clock, PARTITIONS)))
    assert all(len(each) == 1 for each in found.values())
    assert set().union(*found.values()) == set(range(PARTITIONS))


def test_the_fields_of_a_point_stay_together_whichever_come_and_however_they_are_called() -> None:
    stage, clock, plain = homes("input: {repartition: true}"), PartitionClock(), {"timestamp": T, "name": "m"}
    bodies: list[dict[str, object]] = [
        {**plain, "labels": {"host": "a"}, "values": {"x": 1, "y": 2}},
        {**plain, "labels": {"host": "a"}, "values": {"y": 2}},
        {**plain, "labels": {"host": "a", "field": "x"}, "value": 1},  # the very stream that the first one's x is
        {**plain, "labels": {"host": "a", "field": "q"}, "values": {"x": 1}},
    ]
    found = {home for body in bodies for home in readings(stage.moved(record(0, body), clock, 1000))}
    assert len(found) == 1


def test_a_record_lies_where_its_newest_time_is_but_not_after_its_own() -> None:
    stage, clock = homes("input: {repartition: true}"), PartitionClock()
    body = [{"timestamp": T - each, "value": 1} for each in (5000, 2000, 9000)]
    assert stage.moved(record(0, body), clock, 1).at_ms == T - 2000
    assert stage.moved(record(1, {"timestamp": T + 5000, "value": 1}), clock, 1).at_ms == T
    assert stage.moved(record(2, {"timestamp": T + 5000, "value": 1}, -1), clock, 1).at_ms == T + 5000


def test_a_record_that_is_too_far_ahead_is_refused_in_the_first_stage_and_never_in_the_second() -> None:
    stage, clock = homes("input: {repartition: true}"), PartitionClock()
    refused = stage.moved(record(3, {"timestamp": T + 10**7, "value": 1}), clock, 1)
    assert refused.problem is not None
    assert (refused.problem.reason, refused.offset, refused.is_unusable) == ("bad_timestamp", 3, True)
    ahead = packed([reading for _, reading in stage.moved(record(4, {"timestamp": T, "value": 1}), clock, 1).readings])
    early = [MemoryRecord(0, T - 10**9, None, ahead[0], ())]  # where this machine's clock is far behind
    told_by = config("input: {repartition: true}")
    state = PartitionState.empty(assembly.layouts(told_by), 0)
    assert assembly.intake(told_by).take(TopicPartition("longwatch-input", 0), early, state).samples == 1


def test_a_stream_whose_name_is_too_long_is_refused_and_the_rest_of_its_record_is_not() -> None:
    stage, clock = homes("input: {repartition: true}"), PartitionClock()
    body = [{"timestamp": T, "name": name, "value": 1} for name in ("good", "x" * 5000)]
    for _ in range(2):  # found, and remembered
        moved = stage.moved(record(7, body), clock, 1)
        assert moved.problem is not None
        assert (moved.problem.reason, moved.is_unusable, len(moved.readings)) == ("oversized", False, 1)
        assert moved.record is not None


def test_a_point_that_would_fit_into_no_message_is_refused() -> None:
    stage = homes("input: {repartition: true, record_bytes_max: 9000000}\ngroups: [{name: all, by: [host]}]")
    body = [{"timestamp": T, "labels": {"note": "x" * size}, "value": 1} for size in (10, HEAD_BYTES_MAX)]
    moved = stage.moved(record(0, body), PartitionClock(), 1)
    assert moved.problem is not None
    assert (moved.problem.reason, len(moved.readings)) == ("oversized", 1)


@pytest.mark.parametrize("name", sorted(FORMATS))
def test_records_of_every_format_find_their_home(name: str) -> None:
    stage = homes(f"input: {{repartition: true, format: {name}}}")
    usable = [each for each in FORMATS[name].examples() if not isinstance(each.gives, str)]
    plain = [each for each in usable if each.options == usable[0].options]
    for example in plain[:1]:
        moved = stage.moved(record(0, example.record), PartitionClock(), PARTITIONS)
        assert len(moved.readings) == len(example.gives)


def test_feeds_that_meet_in_one_topic_cannot_tell_different_things_of_their_values() -> None:
    feeds = "[{topics: [a], values: counter}, {topics: [b]}]"
    assert config(f"input: {{feeds: {feeds}}}").input.feeds
    with pytest.raises(ConfigError, match=r"input\.feeds\[0\]\.values.*the same in every feed"):
        config(f"input: {{repartition: true, feeds: {feeds}}}")


def test_the_topic_between_the_stages_is_of_its_own() -> None:
    assert config("input: {topics: [longwatch-input]}").input.repartition is False
    with pytest.raises(ConfigError, match="a topic of its own"):
        config("input: {topics: [longwatch-input], repartition: true}")
    with pytest.raises(ConfigError, match="a topic of its own"):
        config("input: {repartition: true, repartition_topic: longwatch-state}")


def test_no_pattern_matches_the_topic_between_the_stages() -> None:
    told_by = config("input: {topics: ['^long.*'], repartition: true}")
    assert not told_by.read_from().matches("longwatch-input")
    assert told_by.read_from().matches("longwave")
    assert told_by.wanted().named == ("longwatch-input",)
