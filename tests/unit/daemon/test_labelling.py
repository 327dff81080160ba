"""What a stream is called: by its own labels, its feed's, and what its group makes of them, topic by topic."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from daemon import assembly
from daemon.config import Config, loads
from daemon.intake import Taken
from daemon.labelling import AS_THEY_COME, Labelling
from daemon.memory import MemoryRecord
from daemon.state import PartitionState
from daemon.types import TopicPartition
from detectors import scaling

T_MS = 1_700_000_000_000
CONFIG = """
input:
  feeds:
    - topics: [apps]
      fields: {timestamp: ts, labels: tags}
      timestamp_unit: ms
      labels: {feed: apps}
    - topics: [hosts, more-hosts]
      format: influx
      timestamp_unit: ms
      values: counter
      labels: {feed: hosts, origin: influx}
groups:
  - name: pods
    select: ['feed="apps"']
    by: [service, field]
    rename: {app: service}
  - name: gauges
    select: ['origin="influx"', 'name="mem"']
    channels: [used, free]
    drop: [feed]
    values: gauge
  - name: rest
"""
APPS, HOSTS, MORE = (TopicPartition(topic, 0) for topic in ("apps", "hosts", "more-hosts"))
NAMES = st.sampled_from(["a", "b", "c", "d"])
LABELS = st.dictionaries(NAMES, st.text(min_size=1, max_size=3))


def configured(text: str = CONFIG) -> Config:
    return loads(text, "test", {})


def record(offset: int, value: bytes) -> MemoryRecord:
    return MemoryRecord(offset, -1, b"k", value, ())


def app(offset: int, pod: str, **tags: str) -> MemoryRecord:
    told = {"ts": T_MS + offset, "name": "latency", "value": 1.0 + offset, "tags": {"pod": pod, **tags}}
    return record(offset, json.dumps(told).encode())


def taking(partition: TopicPartition, *records: MemoryRecord, text: str = CONFIG) -> tuple[Taken, PartitionState]:
    config = configured(text)
    state = PartitionState.empty(assembly.layouts(config), 0)
    return assembly.intake(config).take(partition, records, state), state


def keys(state: PartitionState) -> dict[str, list[str]]:
    return {name: list(slab.keys) for name, slab in state.slabs.items() if slab.keys}


def test_each_topic_is_read_in_the_format_of_its_feed() -> None:
    line = b"cpu,host=h1 user=3i %d" % T_MS
    for partition in (HOSTS, MORE):
        taken, state = taking(partition, record(0, line))
        assert not taken.rejected
        assert keys(state) == {"rest": ['cpu{feed="hosts",field="user",host="h1",origin="influx"}']}
        assert taken.parts["rest"].samples.times_ms.tolist() == [T_MS]
    assert taking(APPS, record(0, line))[0].rejected[0].reason == "undecodable"
    assert taking(APPS, app(0, "p1", app="shop"))[0].samples == 1


def test_a_label_of_the_feed_takes_the_place_of_the_records_own_and_chooses_the_group() -> None:
    _, state = taking(APPS, app(0, "p1", app="shop", feed="mine"))
    assert keys(state) == {"pods": ['latency{service="shop"}']}


def test_the_feed_says_what_values_are_unless_the_group_does() -> None:
    _, state = taking(HOSTS, record(0, b"mem,host=h used=1,free=2 %d\ndisk,host=h reads=7i %d" % (T_MS, T_MS)))
    assert keys(state)["gauges"] == ['mem{host="h",origin="influx"}']
    assert state.slabs["gauges"].view()["counter"][0].tolist() == [scaling.GAUGE] * 2
    assert state.slabs["rest"].view()["counter"][0].tolist() == [scaling.COUNTER]


def test_series_that_become_one_stream_come_as_samples_of_one_row() -> None:
    taken, state = taking(APPS, app(0, "p1", app="shop"), app(0, "p2", app="shop"), app(1, "p3", app="mail"))
    assert keys(state) == {"pods": ['latency{service="shop"}', 'latency{service="mail"}']}
    assert taken.parts["pods"].samples.slots.tolist() == [0, 0, 1]


def test_a_new_name_takes_the_place_of_a_label_that_has_it_already() -> None:
    labelling = Labelling(rename={"host": "instance", "a": "b", "b": "a"}, drop=("job",))
    labels = {"host": "h", "instance": "i", "a": "1", "b": "2", "job": "j"}
    assert labelling.of(labels) == {"instance": "h", "a": "2", "b": "1"}
    assert labels["host"] == "h"


@given(LABELS, st.dictionaries(NAMES, NAMES), st.lists(NAMES, max_size=3), st.lists(NAMES, max_size=3))
def test_what_stays_is_what_by_names_and_drop_does_not(
    labels: dict[str, str], rename: dict[str, str], by: list[str], drop: list[str]
) -> None:
    new = dict(zip(rename, dict.fromkeys(rename.values()), strict=False))  # one label for each new name
    renamed = Labelling(rename=new).of(labels)
    assert Labelling(new, tuple(by)).of(labels) == (
        {name: value for name, value in renamed.items() if name in by} if by else renamed
    )
    assert Labelling(new, (), tuple(drop)).of(labels) == {
        name: value for name, value in renamed.items() if name not in drop
    }
    assert Labelling().of(labels) == AS_THEY_COME.of_a_stream("any", labels) == labels
    assert set(renamed.values()) <= set(labels.values())


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(["p1", "p2"]), st.sampled_from(["shop", "mail"]), st.booleans()), max_size=20),
    st.lists(st.integers(0, 20), max_size=5),
)
def test_how_polls_cut_the_topics_changes_no_stream_and_no_sample(
    sent: list[tuple[str, str, bool]], places: list[int]
) -> None:
    lines = [b"cpu,host=%b user=%d %d" % (pod.encode(), at, T_MS + at) for at, (pod, _, _) in enumerate(sent)]
    apps = [app(at, pod, app=name) if whole else app(at, pod) for at, (pod, name, whole) in enumerate(sent)]
    hosts = [record(at, line) for at, line in enumerate(lines)]
    config = configured()
    found = []
    for cuts in ([0, len(sent)], sorted({0, len(sent), *(min(place, len(sent)) for place in places)})):
        intake = assembly.intake(config)
        states = {tp: PartitionState.empty(assembly.layouts(config), 0) for tp in (APPS, HOSTS)}
        columns: dict[tuple[str, str], list[Mapping[str, object]]] = {}
        for begin, end in itertools.pairwise(cuts):
            for partition, records in ((APPS, apps[begin:end]), (HOSTS, hosts[begin:end])):
                if records:
                    taken = intake.take(partition, records, states[partition])
                    taken.settle(states[partition])
                    for name, part in taken.parts.items():
                        columns.setdefault((partition.topic, name), []).extend(
                            {"slot": slot, "value": value, "time": time}
                            for slot, value, time in zip(
                                part.samples.slots.tolist(),
                                part.samples.values.tolist(),
                                part.samples.times_ms.tolist(),
                                strict=True,
                            )
                        )
        found.append((columns, {tp: keys(state) for tp, state in states.items()}))
    np.testing.assert_equal(found[1], found[0])


def test_a_section_without_feeds_is_one_feed() -> None:
    config = configured("input: {topics: [a, b], format: influx}")
    assert config.input.every_topic() == ("a", "b")
    assert [each.format for each in config.input.every_feed()] == ["influx"]
    assert configured().input.every_topic() == ("apps", "hosts", "more-hosts")
