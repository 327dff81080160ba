"""The production loop on a cluster in memory, with processes that die and members that come and go.

Nothing waits: a reader that would wait moves the world's clock instead.
"""

from __future__ import annotations

import json
import random
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cache

import numpy as np
from numpy.typing import NDArray

from daemon import codec, events, model_topic, models
from daemon.alert_events import AlertEvent, Group
from daemon.engine import layout
from daemon.errors import BrokerUnavailable
from daemon.formats import JsonFormat
from daemon.inflow import TurnLimits
from daemon.intake import Intake, Limits
from daemon.loop import Loop, LoopSettings, Surroundings
from daemon.maintenance import NO_WINDOWS, Calendar
from daemon.memory import MemoryBroker, MemoryCluster, Operation
from daemon.models import ModelStore
from daemon.partitions import Partitions, Watched
from daemon.ports import Writer
from daemon.restore import RestoreSettings
from daemon.state import GroupLayout, Manifest, Pages, PartitionState
from daemon.types import Outgoing, TopicPartition, TopicSpec
from detectors.adopt import calibrate
from detectors.artefact import Artefact, Lineage, dumps, loads, model_id
from detectors.network import use_threads
from detectors.scoring import Detector
from detectors.settings import AlertSettings, DetectorSettings, ModelSettings, StaticThreshold
from tests.conformance.feed import EVIDENCE_BYTES_MAX, START_MS, Feed, drawn, series, together, wave, weights

PARTITIONS = 3
GROUP = "all"
SETTINGS = DetectorSettings(
    model=ModelSettings(hidden=4, window=3, bottleneck=2),
    alert=AlertSettings(hold_off_samples=8, close_after_samples=2, accept_after_samples=14, silence_intervals=4.0),
    threshold=StaticThreshold(1.0),
    warmup_samples=12,
)
LAYOUTS = {GROUP: GroupLayout(layout(SETTINGS), 1000)}
TOPICS = {"metrics": False, "state": True, "alerts": False, "scores": False, "dead": False}
FLUSH_SECONDS = 6.0
RESTORE_SECONDS = 600.0
TURNS_MAX = 4000
MODELS_MAX = 3

Hook = Callable[[Operation], None]
Key = tuple[int, int, str]  # partition, offset, stream


class ProcessDiedError(Exception):
    """Raised in the place of a process that ends without a word."""


@dataclass(frozen=True)
class Selection:
    """The group that takes everything."""

    name: str = GROUP
    channels: Sequence[str] = ()

    def selects(self, _labels: object) -> bool:
        """Return whether the group takes a point: always."""
        return True


def records(seed: int, ticks: int, first: int = 0) -> list[Outgoing]:
    """Return the input of some ticks: streams that jump and fall silent, late and repeated samples, and nonsense."""
    rng = random.Random(seed)
    found = []
    for tick in range(first, first + ticks):
        for number in range(9):
            if rng.random() < 0.12 or (number == 4 and 20 <= tick % 60 < 34):
                continue
            value = (
                10.0
                + rng.gauss(0, 0.3)
                + number
                + (40.0 if (number * 7) % 40 < tick % 40 < (number * 7) % 40 + 5 else 0)
            )
            late = 1 if rng.random() < 0.03 else 0
            body = {"timestamp": START_MS + (tick - late) * 10_000, "name": f"s{number}", "value": value}
            found.append(Outgoing("metrics", number % PARTITIONS, b"k", json.dumps(body).encode()))
        if rng.random() < 0.1:
            found.append(Outgoing("metrics", rng.randrange(PARTITIONS), None, b"nonsense"))
    return found


@cache
def artefact(seed: int) -> bytes:
    """Return a model of random weights, as the models topic carries it; it is calibrated, so it soon counts."""
    feed = Feed(SETTINGS, drawn(SETTINGS, seed))
    feed.poll(together(*(series(wave(60, seed=number), f"s{number}") for number in range(4))))
    lineage = Lineage(GROUP, 1, {}, 0, seed, (), {})
    calibration = calibrate(feed.slabs[0].view())
    return dumps(Artefact(SETTINGS.model, SETTINGS.channels, weights(SETTINGS, seed), calibration, lineage))


@dataclass
class World:
    """A cluster, its clock, and what became of everything that was written to it."""

    clock: float = 1000.0  # of the processes, in seconds
    wall_ms: int = START_MS + 10_000_000  # of the cluster: it stamps the records
    dead: set[str] = field(default_factory=set)  # identities that may have left a transaction open
    calendar: Calendar = NO_WINDOWS  # of the group's maintenance
    cluster: MemoryCluster = field(init=False)

    def __post_init__(self) -> None:
        use_threads(1)
        self.cluster = MemoryCluster(now_ms=lambda: self.wall_ms, idle=self._idle)
        for name, compacted in TOPICS.items():
            self.cluster.ensure(TopicSpec(name, PARTITIONS, compacted, {"max.message.bytes": "16000000"}))
        self.cluster.ensure(TopicSpec("models", 1, compacted=True, config={"max.message.bytes": "16000000"}))

    def publish(self, given: Sequence[Outgoing]) -> None:
        """Write records outside any transaction."""
        for each in given:
            self.cluster.publish(each)

    def publish_model(self, seed: int) -> None:
        """Put a model into the topic and make it the current one."""
        self.publish(model_topic.messages("models", GROUP, artefact(seed), []))

    def go_back_to(self, seed: int) -> bool:
        """Make a model of the topic the current one again, as an operator does; return whether it was there."""
        name = model_id(artefact(seed))
        held = name in model_topic.read(MemoryBroker(self.cluster), "models", GROUP).models
        if held:
            self.publish([model_topic.pointed("models", GROUP, model_topic.Pointer(name, "operator"))])
        return held

    def behind(self) -> int:
        """Return how many input records are not committed yet."""
        offsets = self.cluster.group("longwatch").offsets
        inputs = [TopicPartition("metrics", number) for number in range(PARTITIONS)]
        return sum(self.cluster.bounds(tp).end - offsets.get(tp, 0) for tp in inputs)

    def scores(self) -> tuple[dict[Key, float | None], Counter[Key]]:
        """Return the score of every sample that was told, and how often it was."""
        found: dict[Key, float | None] = {}
        times: Counter[Key] = Counter()
        for record in self._visible("scores"):
            for key, score in scored(codec.decode_scores(record)):
                found[key], times[key] = score, times[key] + 1
        return found, times

    def alerts(self) -> Counter[tuple[str, str, str, str]]:
        """Return how often each change of each alert was told: (stream, rule, id, change)."""
        return Counter((each.stream, each.rule, each.alert_id, each.change) for each in self.alert_events())

    def alert_events(self) -> list[AlertEvent]:
        """Return every alert event that was told."""
        return [codec.decode_alert(record) for record in self._visible("alerts")]

    def dead_letters(self) -> Counter[tuple[bytes, bytes]]:
        """Return how often each record went to the dead letters: (partition, offset)."""
        every = [
            record for number in range(PARTITIONS) for record in self.cluster.visible(TopicPartition("dead", number))
        ]
        heads = [dict(record.headers) for record in every]
        return Counter((each["longwatch-partition"], each["longwatch-offset"]) for each in heads)

    def state(self, number: int) -> tuple[PartitionState, Manifest]:
        """Return what the state topic holds of one partition, all of which must be usable."""
        state, manifest, discarded = self.stored(number)
        assert discarded == []
        return state, manifest

    def stored(self, number: int) -> tuple[PartitionState, Manifest, list[str]]:
        """Return what the state topic holds of one partition, and what of it cannot be used."""
        pages = Pages(TopicPartition("metrics", number))
        pages.add(self.cluster.visible(TopicPartition("state", number)))
        built = pages.build(LAYOUTS)
        assert built is not None
        return built

    def _visible(self, topic: str) -> list[bytes]:
        every = [self.cluster.visible(TopicPartition(topic, number)) for number in range(PARTITIONS)]
        return [record.value for part in every for record in part if record.value is not None]

    def _idle(self, seconds: float) -> None:
        self.clock += seconds
        if seconds >= 1.0:  # somebody waits for an open transaction: by then the broker has given it up
            for identity in self.dead:
                self.cluster.expire(identity)


def scored(told: codec.ScoreColumns) -> Iterator[tuple[Key, float | None]]:
    """Yield the samples of a record of the scores topic."""
    for place, offset, score in zip(told.stream, told.offset, told.score, strict=True):
        yield (told.partition, offset, told.streams[place]), score


@cache
def known_models() -> dict[str, models.LiveModel]:
    """Return the models of the first seeds by their ids."""
    return {model_id(artefact(seed)): live(artefact(seed)) for seed in range(MODELS_MAX + 1)}


@cache
def live(data: bytes) -> models.LiveModel:
    """Return a model made ready, once for all processes: it is immutable."""
    return models.ready(loads(data), model_id(data), SETTINGS)


class Models(ModelStore):
    """A store that takes over what another process has made ready; every process starts with one."""

    def _admit(self, group: str, data: bytes) -> None:
        self._models[group, model_id(data)] = live(data)


class Process:
    """One daemon: the loop as the composition root wires it, turned by hand."""

    def __init__(self, world: World, identity: str = "one", faults: Hook = lambda _operation: None) -> None:
        self.world, self.identity = world, identity
        self.events: list[events.Event] = []
        self.broker = MemoryBroker(world.cluster, faults=faults, committed_wait_seconds=5.0)
        quiet = MemoryBroker(world.cluster)
        self._models = Models(quiet, "models", {GROUP: SETTINGS}, self.events.append)
        self._cursor = quiet.cursor(TopicPartition("models", 0), 0)
        self.source = self.broker.source(["metrics"])
        self.partitions = Partitions(self._watched())
        self.loop = Loop(_settings(), self._surroundings(), threading.Event())

    def turn(self) -> None:
        """Take one turn, as `Loop.run` does; a second goes by."""
        self.read_models()
        self.world.clock += 1.0
        self.attempt()

    def attempt(self) -> None:
        """Take one turn and no time; a broker that cannot be reached is noted, as `Loop.run` does."""
        try:
            self.loop.turn()
        except BrokerUnavailable as error:
            self.events.append(events.BrokerLost(str(error)))

    def read_models(self) -> None:
        """Take in what the models topic holds."""
        self._models._read_on(self._cursor, 0.0)

    def die(self) -> None:
        """End without a word; the group learns of it when heartbeats stop, which is now."""
        self.world.dead.add(self.identity)
        self.broker.lose_session()

    def of(self, kind: type[events.Event]) -> list[events.Event]:
        """Return the events of one kind."""
        return [event for event in self.events if isinstance(event, kind)]

    def _watched(self) -> Watched:
        told = Group(GROUP, Detector(SETTINGS), evidence_bytes_max=EVIDENCE_BYTES_MAX)
        groups = {GROUP: replace(told, calendar=self.world.calendar)}
        restore = RestoreSettings("state", LAYOUTS, RESTORE_SECONDS)
        self._intake = Intake(JsonFormat(), [Selection()], Limits())
        return Watched(
            self.broker,
            self.source,
            self._intake,
            self._models,
            groups,
            restore,
            self.events.append,
            lambda: self.world.clock,
        )

    def _writer(self) -> Writer:
        return self.broker.writer(self.identity)

    def _surroundings(self) -> Surroundings:
        clock = lambda: self.world.clock  # noqa: E731
        return Surroundings(
            self.source, self._writer(), self._intake, self.partitions, self.events.append, clock, lambda _now: None
        )


def _settings() -> LoopSettings:
    return LoopSettings(
        limits=TurnLimits(records_max=25, bytes_max=900),  # so that records wait now and then
        flush_seconds=FLUSH_SECONDS,
        state_topic="state",
        alerts_topic="alerts",
        dead_letters_topic="dead",
        dead_letter_bytes_max=100,
        scores_topic="scores",
        scores_floor=None,
        layouts=LAYOUTS,
    )


def finish(world: World, process: Process) -> Process:
    """Turn until every input record is committed."""
    for _ in range(TURNS_MAX):
        if not world.behind():
            return process
        process.turn()
    raise AssertionError(f"{world.behind()} records are left after {TURNS_MAX} turns")


def rows(state: PartitionState) -> dict[str, dict[str, NDArray[np.float64]]]:
    """Return every field of every stream's row, by stream."""
    slab = state.slabs[GROUP]
    view = slab.view()
    return {
        key: {name: view[name][slot].copy() for name in view.dtype.names or ()} for slot, key in enumerate(slab.keys)
    }
