"""History is the newest records of the input, as one series for each stream."""

from __future__ import annotations

import json
from collections import deque

import numpy as np
import pytest

from daemon.engine import layout
from daemon.formats import JsonFormat
from daemon.history import Block, Gathered, Gatherer, Span, _keep, joined
from daemon.intake import Intake, Limits
from daemon.memory import MemoryBroker, MemoryCluster
from daemon.state import GroupLayout
from daemon.types import Bounds, Outgoing, TopicPartition, TopicSpec
from tests.conformance.feed import settings_of
from tests.simulation.world import Selection

HERE = TopicPartition("in", 0)
T_MS = 1_700_000_000_000


def gathered(times: list[tuple[str, int]], span: Span) -> tuple[Gathered, list[int]]:
    cluster = MemoryCluster(idle=lambda _seconds: None)
    cluster.ensure(TopicSpec("in", 1, compacted=False))
    for offset, (name, second) in enumerate(times):
        body = {"timestamp": T_MS + second * 1000, "name": name, "value": offset}
        cluster.publish(Outgoing("in", 0, None, json.dumps(body).encode()))
    intake = Intake(JsonFormat(), [Selection()], Limits())
    told: list[int] = []
    gatherer = Gatherer(intake, "all", GroupLayout(layout(settings_of()), 100))
    return gatherer.partition(MemoryBroker(cluster), HERE, span, told.append), told


def shown(found: Gathered) -> list[tuple[list[int], list[float]]]:
    return [((each.times_ms - T_MS).tolist(), each.values[:, 0].tolist()) for each in found.histories]


def test_samples_are_gathered_by_stream_in_order_of_time_without_repeats() -> None:
    found, told = gathered([("a", 1), ("b", 1), ("a", 3), ("a", 2), ("a", 3), ("b", 2)], Span(100))
    assert shown(found) == [([1000, 2000, 3000], [0.0, 3.0, 2.0]), ([1000, 2000], [1.0, 5.0])]
    assert (found.samples, found.offsets, told) == (5, {"in-0": (0, 5)}, [6])


def test_the_newest_samples_are_kept_when_there_are_too_many() -> None:
    found, _ = gathered([("a", second) for second in range(50)], Span(10))
    assert shown(found)[0][0] == [second * 1000 for second in range(40, 50)]
    assert found.offsets == {"in-0": (40, 49)}


def test_blocks_are_let_go_of_as_soon_as_the_newest_samples_do_without_them() -> None:
    blocks = deque[Block]()
    for length, kept in ((4, [4]), (3, [4, 3]), (0, [4, 3, 0]), (6, [4, 3, 0, 6]), (1, [3, 0, 6, 1]), (30, [30])):
        _keep(blocks, (np.zeros(length, np.intp), np.zeros(length, np.int64), np.zeros((length, 1))), 10)
        assert [len(slots) for slots, _, _ in blocks] == kept


def test_a_span_of_offsets_is_read_exactly() -> None:
    found, _ = gathered([("a", second) for second in range(50)], Span(100, 5, 9))
    assert shown(found)[0][1] == [5.0, 6.0, 7.0, 8.0]
    assert found.offsets == {"in-0": (5, 8)}


def test_samples_without_a_value_teach_nothing_and_nobody_gives_way_while_history_is_read() -> None:
    cluster = MemoryCluster(idle=lambda _seconds: None)
    cluster.ensure(TopicSpec("in", 1, compacted=False))
    for second, (name, value) in enumerate([("a", 1.0), ("b", None), ("a", None), ("b", 2.0), ("c", 3.0), ("a", 4.0)]):
        body = {"timestamp": T_MS + second * 10**6, "name": name, "values": {"value": value}}
        cluster.publish(Outgoing("in", 0, None, json.dumps(body).encode()))
    intake = Intake(JsonFormat(), [Selection()], Limits(future_ms_max=10**12))
    gatherer = Gatherer(intake, "all", GroupLayout(layout(settings_of()), 2, evict_after_ms=1))
    found = gatherer.partition(MemoryBroker(cluster), HERE, Span(100), lambda _read: None)
    assert [each.values[:, 0].tolist() for each in found.histories] == [[1.0, 4.0], [2.0]]


def test_an_empty_partition_has_no_history() -> None:
    found, told = gathered([], Span(10))
    assert (found.histories, found.offsets, told) == ([], {}, [])


@pytest.mark.parametrize(
    ("span", "held", "expected"),
    [
        (Span(100), Bounds(3, 20), Bounds(3, 20)),
        (Span(5), Bounds(3, 20), Bounds(15, 20)),
        (Span(100, 0, 99), Bounds(3, 20), Bounds(3, 20)),
        (Span(100, 7, 9), Bounds(3, 20), Bounds(7, 9)),
        (Span(1, 7, 9), Bounds(3, 20), Bounds(8, 9)),
    ],
)
def test_a_span_never_asks_for_what_is_not_held(span: Span, held: Bounds, expected: Bounds) -> None:
    assert span.within(held) == expected


def test_partitions_are_joined() -> None:
    one, _ = gathered([("a", 1)], Span(10))
    other = Gathered(one.histories, {"in-1": (4, 5)})
    both = joined([one, other])
    assert (both.samples, both.offsets) == (2, {"in-0": (0, 0), "in-1": (4, 5)})
    assert np.array_equal(both.histories[0].values, both.histories[1].values)
