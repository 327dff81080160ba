"""What becomes of made samples beyond the step: evidence, training, backtest; and what producers tell of channels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from daemon import explanation
from daemon.commands.backtest import backtest
from daemon.commands.made import made
from daemon.config import GroupConfig, loads
from daemon.engine import layout
from daemon.formats import JsonFormat, Malformed, Point
from daemon.formats.point import Kind
from daemon.history import Gatherer, Span
from daemon.intake import Intake, Limits
from daemon.joining import Join
from daemon.labelling import Labelling, Labels
from daemon.memory import MemoryBroker, MemoryCluster, MemoryRecord
from daemon.recipe import NAME, Recipe
from daemon.state import GroupLayout, PartitionState
from daemon.tables import Table
from daemon.types import Outgoing, TopicPartition, TopicSpec
from detectors import scaling
from detectors.dayzero import day_zero
from detectors.network import use_threads
from detectors.settings import DetectorSettings
from tests.conformance.feed import settings_of
from tests.unit.daemon.joined import HERE, START_MS, Partition, Reading, Selection, in_pieces, records

CONFIG = """
groups:
  - name: all
    channels: [share, cpu]
    join: {channel: name, interval_seconds: 10, lateness_seconds: 5}
    derive: {share: {ratio: [used, total]}}
    by: [host]
    warmup_samples: 20
    model: {hidden: 5, window: 4, bottleneck: 3}
    learning: frozen
"""


def group() -> GroupConfig:
    return loads(CONFIG, "test", {}).groups[0]


def readings(count: int = 80) -> list[Reading]:
    rng, found = np.random.default_rng(3), []
    for tick in range(count):
        fault = 40.0 if tick == 60 else 0.0
        values = {"used": 5.0 + rng.normal(0.0, 0.2), "total": 10.0, "cpu": 20.0 + rng.normal(0.0, 0.5) + fault}
        for number, (name, value) in enumerate(values.items()):
            if not (tick % 9 == 8 and name == "used"):
                found.append(Reading("a", name, tick * 10_000 + 700 * number, float(value)))
    return found


def scored(cuts: Sequence[int] = ()) -> Partition:
    use_threads(1)  # as the daemon does
    told = group()
    recipe = told.recipe()
    assert recipe is not None
    partition = Partition(recipe, told.detector())
    partition.group = replace(partition.group, detector=day_zero(told.detector()))
    return in_pieces(partition, readings(), cuts)


def test_what_is_explained_is_the_joined_sample_and_gives_its_score_again() -> None:
    found = scored(range(0, 240, 50))
    (opened,) = [each for each in found.events if each.change == "open" and each.rule == "anomaly"]
    told = explanation.read(opened)
    assert told.moment.time_ms == START_MS + 60 * 10_000
    assert explanation.explained(opened, told, day_zero(group().detector())).apart == 0.0
    assert [feature.name for feature in opened.features] == ["share", "cpu"]
    assert max(opened.features, key=lambda feature: feature.share).name == "cpu"


def test_a_backtest_of_the_same_readings_gives_the_scores_of_the_daemon() -> None:
    names, live = ("used", "total", "cpu"), scored()
    sent = readings()
    values = np.array([[each.value if name == each.channel else np.nan for name in names] for each in sent])
    times_ms = np.array([START_MS + each.at_ms for each in sent])
    table = made(group(), Table(names, [str(each) for each in times_ms], times_ms, values, None))
    found = backtest(group(), table, 0)
    expected = {at: score for (_, at), score in live.scores.items()}
    assert (table.times_ms - START_MS).tolist() == sorted(expected)
    np.testing.assert_allclose(found.score, [expected[at] for at in sorted(expected)], rtol=1e-9)
    assert len([each for each in found.alerts if each.change == "open"]) == 1


def test_a_training_reads_the_samples_that_are_scored() -> None:
    told, cluster = group(), MemoryCluster(idle=lambda _seconds: None)
    recipe = told.recipe()
    assert recipe is not None
    cluster.ensure(TopicSpec("in", 1, compacted=False))
    broker = MemoryBroker(cluster)
    broker.publish([Outgoing("in", 0, b"k", each.value) for each in records(readings())])
    keys = Labels(groups={"all": Labelling(by=("host",))})
    intake = Intake(JsonFormat(), [Selection(told.channels)], Limits(10**6, 10**15), {}, keys, {"all": recipe})
    kept = GroupLayout(layout(told.detector(), recipe.fields()), 10)
    (history,) = Gatherer(intake, "all", kept).partition(broker, HERE, Span(10**6), lambda _read: None).histories
    expected = scored().samples['{host="a"}']
    assert (history.times_ms - START_MS).tolist() == [at for at, *_ in expected]
    live = [[np.nan if value is None else value for value in values] for *_, values in expected]
    np.testing.assert_array_equal(history.values, live)
    assert history.told is not None
    assert history.told.tolist() == [scaling.GAUGE, scaling.UNKNOWN]


def recipe_of(*channels: str) -> Recipe:
    return Recipe(channels, channels, NAME, Join(len(channels), 10_000))


def settings_for() -> DetectorSettings:
    return replace(settings_of(3), channels=("total", "added", "level"))


class Telling:
    """A format whose producer says what its values are."""

    def decode(self, value: bytes) -> Sequence[Point] | Malformed:
        name, kind, at, number = value.decode().split()
        kinds: dict[str, Kind] = {"value": kind}  # type: ignore[dict-item]  # one of them
        return [Point(name, {"host": "a"}, START_MS + int(at), {"value": float(number)}, kinds)]


def test_what_a_producer_tells_of_each_channel_holds_for_the_joined_stream() -> None:
    recipe = recipe_of("total", "added", "level")
    state = PartitionState.empty({"all": GroupLayout(layout(settings_for(), recipe.fields()), 10)}, 0)
    intake = Intake(Telling(), [Selection(recipe.channels)], Limits(), recipes={"all": recipe})
    lines = ["level gauge 1 5", "total counter 2 7", "added delta 3 1"]
    for offset, line in enumerate(lines):
        taken = intake.take(HERE, [MemoryRecord(offset, 10**15, None, line.encode(), ())], state)
        moved = taken.parts["all"].moved
        assert moved is not None
        state.slabs["all"].apply(moved)
    told = state.slabs["all"].view()["counter"][0].tolist()
    assert told == [scaling.COUNTER, scaling.DELTA, scaling.UNKNOWN]


def test_a_flood_of_refused_streams_leaves_nothing_behind() -> None:
    recipe = recipe_of("total", "added", "level")
    state = PartitionState.empty({"all": GroupLayout(layout(settings_for(), recipe.fields()), 1)}, 0)
    intake = Intake(Flood(), [Selection(recipe.channels)], Limits(), recipes={"all": recipe})
    flood = [MemoryRecord(i, 10**15, None, b"%d" % i, ()) for i in range(300)]
    assert len(intake.take(TopicPartition("in", 0), flood, state).rejected) == 299
    assert sum(map(len, intake._recipes._told.values())) == 1


class Flood:
    """A format in which every record is of another stream."""

    def decode(self, value: bytes) -> Sequence[Point] | Malformed:
        return [Point("total", {"host": value.decode()}, START_MS, {"value": 1.0}, {"value": "counter"})]
