"""Whether records are taken through arrays or point by point, everything that comes of them is the same."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.decode import WRITERS, Sample
from daemon.alert_events import Group
from daemon.engine import layout, step
from daemon.formats import FORMATS, Format, Malformed, Options, Point, decoder
from daemon.formats.columns import Columnar, Columns, points
from daemon.intake import Intake, Limits
from daemon.labelling import Labelling, Labels
from daemon.memory import MemoryRecord
from daemon.partitions import settle
from daemon.state import GroupLayout, PartitionState
from daemon.types import TopicPartition
from detectors.scoring import Detector
from detectors.settings import AlertSettings
from tests.conformance.feed import settings_of

HERE = TopicPartition("in", 0)
T = 1_700_000_000
COLUMNAR = [name for name in FORMATS if isinstance(decoder(name, Options()), Columnar)]
FUTURE_MS = 60_000


class Plain:
    """A format without its columns."""

    def __init__(self, form: Format) -> None:
        self._form = form

    def decode(self, value: bytes) -> Sequence[Point] | Malformed:
        """Return the record's points, or why there are none."""
        return self._form.decode(value)


@dataclass(frozen=True)
class Selection:
    """A group that takes what `takes` says."""

    name: str = "all"
    channels: Sequence[str] = ()
    takes: Callable[[Mapping[str, str]], bool] = field(default=lambda labels: True)

    def selects(self, labels: Mapping[str, str]) -> bool:
        """Return whether the group takes a point with these labels."""
        return self.takes(labels)


@dataclass(frozen=True)
class World:
    """How a feed is configured."""

    groups: Sequence[Selection] = (Selection(),)
    streams_max: int = 50
    labels: Labels = field(default_factory=Labels)
    evict_after_ms: int = 0
    known: Sequence[str] | None = None  # the groups that have slabs, None: all


WORLDS = {
    "one group": World(),
    "a full group": World(streams_max=6),
    "a full group whose streams give way": World(streams_max=6, evict_after_ms=20_000),
    "channels": World((Selection(channels=("idle", "value", "load")),)),
    "two groups and what nobody takes": World(
        (
            Selection("zero", takes=lambda labels: labels.get("cpu") == "cpu0"),
            Selection("joint", ("value", "idle"), lambda labels: labels.get("cpu") == "cpu1"),
            Selection("two", takes=lambda labels: labels.get("cpu") == "cpu2"),
        )
    ),
    "a group without a slab": World(
        (Selection("zero", takes=lambda labels: labels.get("cpu") == "cpu0"), Selection("rest")), known=("rest",)
    ),
    "labels of another name, and few of them": World(
        labels=Labels({"site": "here"}, {"all": Labelling({"cpu": "core"}, by=("core",))})
    ),
}


class Taker:
    """One partition, taken through whole turns."""

    def __init__(self, form: Format, world: World) -> None:
        found = {
            each.name: settings_of(len(each.channels) or 1, alert=AlertSettings(silence_intervals=3.0))
            for each in world.groups
        }
        layouts = {
            name: GroupLayout(layout(told), world.streams_max, world.evict_after_ms)
            for name, told in found.items()
            if world.known is None or name in world.known
        }
        self._groups = {name: Group(name, Detector(told)) for name, told in found.items()}
        self._intake = Intake(form, world.groups, Limits(5_000, FUTURE_MS), labels=world.labels)
        self.state = PartitionState.empty(layouts, 0)

    def take(self, records: Sequence[MemoryRecord]) -> Mapping[str, object]:
        """Take a poll through a turn; return everything that may be compared."""
        taken = self._intake.take(HERE, records, self.state)
        caused = step([(self._groups[name], [part]) for name, part in taken.parts.items()])
        settle(self.state, taken, caused.deltas)
        told = {name: getattr(taken, name) for name in taken.__slots__ if name != "parts"}
        for name, part in taken.parts.items():
            told[name] = [(key, value.dtype, value.tolist()) for key, value in asdict_of(part.samples)]
            told[f"{name} evicted"] = [(key, value.tolist()) for key, value in asdict_of(part.evicted)]
            told[f"{name} keys"] = list(part.slab.keys)
            told[f"{name} rows"] = part.slab.view().tobytes()
            told[f"{name} watermark"] = part.watermark_ms
        told["alerts"] = [asdict(each) for each in caused.alerts]
        return told


def asdict_of(columns: object) -> Sequence[tuple[str, np.ndarray[tuple[int, ...], np.dtype[np.generic]]]]:
    """Return the arrays of a dataclass by name."""
    return [(name, getattr(columns, name)) for name in columns.__slots__]  # type: ignore[attr-defined]


def written(name: str, rng: Random, at: int) -> bytes:
    """Return a record of a few samples, most of which are well formed and of streams that come again and again."""
    sizes = dict(WRITERS[name])
    size = rng.choice(list(sizes))
    many = 1 if size == 1 else rng.randrange(1, 5)
    late = rng.choice((0, 0, 0, 0, -3, 5, 30, 200 if rng.random() < 0.1 else 1))
    host = f"h{rng.randrange(40) if rng.random() < 0.05 else rng.randrange(2)}"
    samples = [Sample(host, f"cpu{rng.randrange(4)}", T + at + late, rng.uniform(0, 100)) for _ in range(many)]
    return sizes[size](samples)


def odd(name: str, rng: Random, at: int) -> bytes:
    """Return a record that is written in another way, or that is none."""
    value = rng.choice([each.record for each in FORMATS[name].examples()] + [b"", b"x" * 6000])
    if rng.random() < 0.5:
        value = written(name, rng, at)
        cut = rng.randrange(len(value))
        value = (
            value[:cut]
            + rng.choice((b"", b"\xff", b" ", b"1", b'"', b"{", bytes([rng.randrange(256)])))
            + value[cut + rng.randrange(2) :]
        )
    return value


WIDE = ({"values": {"idle": 1, "load": 2.5}}, {"values": {"load": 1, "x": None}}, {"value": None}, {"value": True})
ODD_JSON = (
    {"labels": {"cpu": 1}},
    {"labels": None},
    {"labels": {"cpu": "cpu0", "host": "\ud800"}},
    {"name": None},
    {"extra": "\ud800"},
    {"timestamp": "2023-11-14T22:13:20Z"},
    {"timestamp": None},
)


def wide(rng: Random, at: int) -> bytes:
    """Return a record of the format `json` with several values, or one of them odd."""
    body = {"timestamp": T + at, "name": "cpu", "labels": {"cpu": f"cpu{rng.randrange(4)}"}, "value": rng.random()}
    told = rng.choice(WIDE)
    if "values" in told:
        del body["value"]
    body |= told
    if rng.random() < 0.2:
        body |= rng.choice(ODD_JSON)
    return json.dumps(body).encode()


def records(name: str, seed: int, count: int) -> list[MemoryRecord]:
    """Return records in a row, some of them odd."""
    rng = Random(seed)
    share, found = rng.choice((0.0, 0.02, 0.3)), []
    own_time = rng.choice((None, -1, 0))
    for at in range(count):
        value = odd(name, rng, at) if rng.random() < share else written(name, rng, at)
        if name == "json" and rng.random() < share + 0.2:
            value = wide(rng, at)
        stamp = rng.choice((T * 1000 + at * 1000, -1)) if own_time is None else own_time
        found.append(MemoryRecord(at, stamp, rng.choice((None, b"k")), value, ()))
    return found


@pytest.mark.parametrize("name", COLUMNAR)
@pytest.mark.parametrize("world", WORLDS.values(), ids=WORLDS)
@settings(max_examples=4, deadline=None)
@given(seed=st.integers(0, 2**32), source=st.sampled_from(("payload", "record")))
def test_it_makes_no_difference_whether_records_are_cut(name: str, world: World, seed: int, source: str) -> None:
    form = decoder(name, Options(source="record" if source == "record" else "payload"))
    columns, plain = Taker(form, world), Taker(Plain(form), world)
    rng, left = Random(seed), records(name, seed, 300)
    while left:
        size = rng.choice((1, 3, 40, 150))
        given, left = left[:size], left[size:]
        ours, theirs = columns.take(given), plain.take(given)
        for key, value in theirs.items():
            assert repr(ours[key]) == repr(value), key


@pytest.mark.parametrize("name", COLUMNAR)
@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_what_is_cut_one_by_one_and_all_at_once_is_the_same(name: str, seed: int) -> None:
    form = decoder(name, Options())
    assert isinstance(form, Columnar)
    rng, one, many = Random(seed), Columns(), Columns()
    values = [dict(WRITERS[name])[1]([Sample("a", "b", T + i, rng.random())]) for i in range(rng.randrange(1, 30))]
    if rng.random() < 0.5:
        values.insert(rng.randrange(len(values)), odd(name, rng, 0))
    if form.cut_ones(values, many):
        assert all(form.cut(value, one) for value in values)
        assert (one.keys, one.times_ms, one.numbers) == (many.keys, many.times_ms, many.numbers)
        assert len(one.keys) == len(one.numbers) == len(values)


@pytest.mark.parametrize("name", COLUMNAR)
def test_a_record_that_cannot_be_cut_leaves_nothing_behind(name: str) -> None:
    form, into = decoder(name, Options()), Columns()
    assert isinstance(form, Columnar)
    for seed in range(300):
        value = odd(name, Random(seed), 0)
        before = len(into.keys), len(into.times_ms), len(into.numbers)
        if not form.cut(value, into):
            assert (len(into.keys), len(into.times_ms), len(into.numbers)) == before
            assert points(form, value) is None


def test_what_is_remembered_of_points_is_bounded() -> None:
    taker = Taker(
        decoder("json", Options()), World(streams_max=10, labels=Labels(groups={"all": Labelling(drop=("id",))}))
    )
    for start in range(0, 500, 50):
        bodies = [{"timestamp": T, "name": "a", "labels": {"id": str(start + i)}, "value": i} for i in range(50)]
        taker.take([MemoryRecord(start + i, -1, None, json.dumps(each).encode(), ()) for i, each in enumerate(bodies)])
        assert len(taker.state.places) <= 20


def plain_json(count: int, first: int, at: int, own_time: int = -1) -> list[MemoryRecord]:
    """Return records of one stream, a second apart."""
    bodies = [{"timestamp": T + at + i, "name": "a", "value": float(i)} for i in range(count)]
    return [MemoryRecord(first + i, own_time, None, json.dumps(each).encode(), ()) for i, each in enumerate(bodies)]


def test_a_row_of_ordinary_records_ends_what_one_far_ahead_began() -> None:
    form = decoder("json", Options())
    columns, plain = Taker(form, World()), Taker(Plain(form), World())
    far = {"timestamp": T + 9_000, "name": "a", "value": 1.0}
    polls = [
        [*plain_json(20, 0, 0), MemoryRecord(20, -1, None, json.dumps(far).encode(), ())],
        plain_json(40, 21, 20),
        [MemoryRecord(61, -1, None, json.dumps(far).encode(), ())],
    ]
    rejected = []
    for each in polls:
        ours, theirs = columns.take(each), plain.take(each)
        assert ours == theirs
        rejected.append(repr(ours["rejected"]).count("bad_timestamp"))
    assert rejected == [1, 0, 1]  # nothing agreed with it


def test_nothing_is_remembered_of_a_point_whose_key_stands_for_nothing() -> None:
    class Vague:
        """A format whose keys do not tell its streams apart."""

        def cut(self, _value: bytes, into: Columns) -> bool:
            into.keys.append("same")
            into.times_ms.append(T * 1000)
            into.numbers.append(1.0)
            return True

        def cut_ones(self, values: Sequence[bytes], into: Columns) -> bool:
            return all(self.cut(value, into) for value in values)

        def head(self, _key: object) -> None:
            return None

        def decode(self, value: bytes) -> Sequence[Point]:
            return [Point(value.decode(), {}, T * 1000, {"value": 1.0})]

    taker = Taker(Vague(), World())
    taker.take([MemoryRecord(i, -1, None, b"ab"[i % 2 : i % 2 + 1], ()) for i in range(40)])
    assert taker.state.slabs["all"].keys == ["a", "b"]
