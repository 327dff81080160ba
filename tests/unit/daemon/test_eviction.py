"""In a full group the stream that was not seen for longest gives way, the same however polls cut the input."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from daemon.alert_events import AlertEvent, Group
from daemon.engine import layout, step
from daemon.formats import JsonFormat
from daemon.intake import Intake, Limits
from daemon.memory import MemoryRecord
from daemon.state import GroupLayout, Pages, PartitionState, flush, mark_flushed
from daemon.types import TopicPartition
from detectors.scoring import Detector
from detectors.settings import AlertSettings, Guard, StaticThreshold
from detectors.tenants import Tenants
from tests.conformance.feed import START_MS, settings_of
from tests.simulation.world import Selection

HERE = TopicPartition("in", 0)
SETTINGS = settings_of(
    alert=AlertSettings(silence_intervals=3.0, hold_off_samples=3, close_after_samples=2),
    guard=(("value", Guard(max=100.0)),),
    threshold=StaticThreshold(1.0),
    warmup_samples=3,
)
GROUP = Group("all", Detector(SETTINGS))
SECOND = 1000
Sent = tuple[str, int, float]  # stream, seconds since the start, value


def records(sent: Sequence[Sent], first: int = 0) -> list[MemoryRecord]:
    bodies = [{"timestamp": START_MS + at * SECOND, "name": name, "value": value} for name, at, value in sent]
    stamp = START_MS + 10**12
    return [MemoryRecord(first + i, stamp, b"k", json.dumps(each).encode(), ()) for i, each in enumerate(bodies)]


class Partition:
    """One partition whose records go through intake and step in polls, and whose state can be written and read."""

    def __init__(self, streams_max: int = 3, evict_after_seconds: int = 50, tenants: Tenants | None = None) -> None:
        self.layouts = {
            "all": GroupLayout(layout(SETTINGS), streams_max, evict_after_seconds * SECOND, tenants=tenants)
        }
        self.intake = Intake(JsonFormat(), [Selection()], Limits())
        self.state = PartitionState.empty(self.layouts, 0)
        self.events: list[AlertEvent] = []
        self.scores: dict[tuple[str, int], float] = {}
        self.refused: list[int] = []
        self.counted: Counter[tuple[str, str]] = Counter()
        self.stored: dict[bytes, bytes] = {}

    def poll(self, given: Sequence[MemoryRecord], *, write: bool = False) -> None:
        """Take a poll through a whole turn; the pages that it writes are those of the turn before, as in the loop."""
        taken = self.intake.take(HERE, given, self.state)
        caused = step([(GROUP, [taken.parts["all"]])])
        self.refused.extend(each.offset for each in taken.rejected)
        self.events.extend(caused.alerts)
        for found in caused.scores:
            keys, samples = found.part.slab.keys, found.part.samples
            for slot, offset, score in zip(samples.slots, samples.offsets, found.score, strict=True):
                self.scores[keys[slot], int(offset)] = float(score)
        for counts in (caused.dropped, caused.forgotten):
            self.counted.update({(group, str(reason)): count for (group, reason), count in counts.items()})
        if write:
            self.write()
        for slab, delta in caused.deltas:
            slab.apply(delta)
        taken.settle(self.state)

    def write(self) -> None:
        """Write what the state topic would get."""
        messages, numbers = flush("state", HERE, self.state, self.layouts)
        self.stored |= {each.key or b"": each.value or b"" for each in messages}
        mark_flushed(self.state, numbers)

    def restored(self) -> PartitionState:
        """Return what the state topic holds."""
        pages = Pages(HERE)
        pages.add([MemoryRecord(i, -1, key, value, ()) for i, (key, value) in enumerate(self.stored.items())])
        built = pages.build(self.layouts)
        assert built is not None
        assert built[2] == []
        return built[0]

    def told(self) -> list[tuple[str, str, str, str, int, int | None]]:
        """Return every event of every alert, in a fixed order."""
        return sorted(
            (e.stream, e.rule, e.change, e.reason, e.detected_at_ms, e.source.last_offset or -1) for e in self.events
        )

    def rows(self) -> dict[str, dict[str, NDArray[np.float64]]]:
        """Return the fields of every stream that is remembered."""
        slab = self.state.slabs["all"]
        found = slab.take(slab.living())
        names = found.dtype.names or ()
        keys = [slab.keys[slot] for slot in slab.living()]
        return {key: {name: found[name][i].copy() for name in names} for i, key in enumerate(keys)}


def whole(sent: Sequence[Sent], evict_after_seconds: int = 50) -> Partition:
    made = Partition(evict_after_seconds=evict_after_seconds)
    made.poll(records(sent))
    return made


def in_pieces(sent: Sequence[Sent], at: Sequence[int]) -> Partition:
    made, given_records = Partition(), records(sent)
    for begin, end in pairwise([0, *sorted({each for each in at if 0 < each < len(sent)}), len(sent)]):
        made.poll(given_records[begin:end])
    return made


def same(one: Partition, other: Partition) -> None:
    assert other.told() == one.told()
    assert other.refused == one.refused
    assert other.counted == one.counted
    np.testing.assert_equal(other.scores, one.scores)
    np.testing.assert_equal(other.rows(), one.rows())


THREE: list[Sent] = [("a", 0, 1.0), ("b", 1, 1.0), ("c", 2, 1.0)]


@pytest.mark.parametrize(
    ("then", "living", "refused"),
    [
        ([("d", 3, 1.0)], ["a", "b", "c"], [3]),  # full, and nobody is old enough
        ([("c", 60, 1.0), ("d", 61, 1.0)], ["b", "c", "d"], []),  # the oldest goes
        ([("a", 20, 1.0), ("c", 60, 1.0), ("d", 61, 1.0)], ["a", "c", "d"], []),  # a was seen since
        ([("a", 0, 9.0), ("c", 60, 1.0), ("d", 61, 1.0)], ["b", "c", "d"], []),  # but a repeated sample is no sight
        ([("c", 60, 1.0), ("d", 61, 1.0), ("e", 62, 1.0), ("f", 63, 1.0)], ["c", "d", "e"], [6]),
        ([("c", 60, 1.0), ("d", 61, 1.0), ("a", 62, 1.0)], ["a", "c", "d"], []),  # who comes back takes the next place
        ([("c", 51, 1.0), ("d", 51, 1.0)], ["b", "c", "d"], []),
        ([("c", 50, 1.0), ("d", 50, 1.0)], ["a", "b", "c"], [4]),  # not seen for exactly so long is not longer
    ],
)
@pytest.mark.parametrize("polls", ["one", "each"])
def test_the_stream_that_was_not_seen_for_longest_gives_way_to_a_new_one(
    then: list[Sent], living: list[str], refused: list[int], polls: str
) -> None:
    sent = [*THREE, *then]
    found = whole(sent) if polls == "one" else in_pieces(sent, range(len(sent)))
    assert sorted(found.rows()) == living
    assert found.refused == refused


def test_without_an_age_nobody_gives_way() -> None:
    found = whole([*THREE, ("c", 10**6, 1.0), ("d", 10**6, 1.0)], evict_after_seconds=0)
    assert (sorted(found.rows()), found.refused) == (["a", "b", "c"], [4])


def test_of_streams_last_seen_at_one_time_the_first_by_name_gives_way_wherever_they_stand() -> None:
    for order in ("abc", "cba", "bac"):
        found = whole([*((name, 0, 1.0) for name in order), ("c", 60, 1.0), ("d", 61, 1.0)])
        assert sorted(found.rows()) == ["b", "c", "d"]


def steady(name: str, first: int, count: int) -> list[Sent]:
    return [(name, first + i, 10.0) for i in range(count)]


def test_what_is_open_of_a_stream_that_gives_way_is_closed_and_says_why() -> None:
    sent = [*steady("a", 0, 6), ("a", 6, 500.0), *steady("b", 0, 6), *steady("c", 90, 3), ("d", 93, 1.0)]
    found = whole(sent)
    of_a = {(e.rule, e.change, e.reason, e.source.last_offset) for e in found.events if e.stream == "a"}
    assert of_a == {
        ("guard", "open", "guard", 6),
        ("silence", "open", "silence", None),
        ("guard", "close", "evicted", 16),
        ("silence", "close", "evicted", 16),
    }
    opened, closed = (
        {e.alert_id for e in found.events if e.stream == "a" and e.change == x} for x in ("open", "close")
    )
    assert opened == closed
    assert found.counted["all", "evicted"] == 1
    assert {e.stream for e in found.events if e.reason == "evicted"} == {"a"}
    same(found, in_pieces(sent, range(len(sent))))


def test_who_comes_back_after_it_gave_way_is_a_new_stream() -> None:
    sent = [*steady("a", 0, 9), *steady("b", 9, 3), ("c", 90, 1.0), ("d", 91, 1.0), ("c", 150, 1.0), ("a", 151, 7.0)]
    found = whole(sent)
    assert sorted(found.rows()) == ["a", "c", "d"]
    assert (float(found.rows()["a"]["samples"]), found.rows()["a"]["raw_last"].tolist()) == (1, [7.0])
    assert found.counted["all", "evicted"] == 2
    same(found, in_pieces(sent, range(len(sent))))


moments = st.integers(0, 30) | st.integers(0, 400)
sends = st.lists(
    st.tuples(st.sampled_from("abcdefg"), moments, st.sampled_from([1.0, 10.0, 500.0])), min_size=1, max_size=60
)


@settings(max_examples=40, deadline=None)
@given(sent=sends, at=st.lists(st.integers(1, 59), max_size=8), rising=st.booleans())
def test_how_polls_cut_the_input_changes_nothing(sent: list[Sent], at: list[int], rising: bool) -> None:
    ordered = sorted(sent, key=lambda each: each[1]) if rising else sent
    same(whole(ordered), in_pieces(ordered, at))
    same(whole(ordered), in_pieces(ordered, range(60)))


@settings(max_examples=40, deadline=None)
@given(sent=sends, at=st.lists(st.integers(1, 59), min_size=1, max_size=8), written=st.integers(0, 8))
def test_a_replay_from_the_pages_comes_to_the_same(sent: list[Sent], at: list[int], written: int) -> None:
    cuts = [0, *sorted({each for each in at if each < len(sent)}), len(sent)]
    first, every = Partition(), records(sent)
    first.write()
    for number, (begin, end) in enumerate(pairwise(cuts)):
        first.poll(every[begin:end], write=number == written)
    heir = Partition()
    heir.state = first.restored()
    if rest := every[heir.state.next_offset :]:
        heir.poll(rest)
    np.testing.assert_equal(heir.rows(), first.rows())
    assert heir.state.watermark_ms == first.state.watermark_ms


def test_a_flood_of_new_streams_takes_no_more_room_than_the_group_may() -> None:
    made = Partition(streams_max=100, evict_after_seconds=50)
    known = [(f"known{i}", 0, 1.0) for i in range(100)]
    made.poll(records(known))
    slab, offset = made.state.slabs["all"], 100
    for turn in range(20):
        flood = [(f"new{turn}-{i}", 1 + turn, 1.0) for i in range(200)] + [("known7", 1 + turn, 1.0)]
        made.poll(records(flood, offset))
        offset += len(flood)
    assert (len(slab), len(slab.view()), slab.pages) == (100, 100, -(-100 // slab.page_rows))
    assert len(made.refused) == 20 * 200
    assert len(made.intake._routes) <= 100
    assert len(made.state.places) <= 200
    assert float(made.rows()["known7"]["samples"]) == 21
    for turn in range(5):  # an hour later all but one are old: each flood takes their places, and then its own
        flood = [(f"late{turn}-{i}", 3600 * (turn + 1), 1.0) for i in range(150)]
        made.poll(records(flood, offset))
        offset += len(flood)
        assert len(slab) == 100
    assert len(slab.view()) <= 100 + 100  # those that give way in a turn keep their rows until its end
    assert made.counted["all", "evicted"] == 5 * 100
