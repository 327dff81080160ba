"""The production loop on an input without keys: whatever dies, wherever, it tells what it tells of one with keys."""

from __future__ import annotations

import json
import random
from collections import Counter
from dataclasses import dataclass
from functools import cache
from zlib import crc32

import pytest

from daemon import codec
from daemon.errors import BrokerUnavailable, TransactionFailed
from daemon.formats import JsonFormat
from daemon.formats.packed import PackedFormat
from daemon.homes import Homes
from daemon.intake import Intake, Limits
from daemon.intakes import ByTopic
from daemon.loop import Surroundings
from daemon.memory import MemoryBroker, Operation
from daemon.memory.broker import MemoryWriter
from daemon.partitions import Watched
from daemon.repartition import Around, Repartition, RepartitionSettings
from daemon.types import Outgoing, TopicPartition, TopicSpec
from daemon.wanted import Wanted
from tests.conformance.feed import START_MS
from tests.simulation.defects import Hasty
from tests.simulation.world import GROUP, PARTITIONS, Process, ProcessDiedError, Selection, World

TICKS, SEEDS, DEATHS_MIN = 60, 4, 5
RAW = 4  # partitions of the input, which is wider than what is made of it
FIRST = TopicPartition("metrics", 0)
TURNS_MAX = 6000
ABORTED: tuple[Operation, ...] = ("begin", "send", "offsets", "commit", "after_commit")
UNAVAILABLE: tuple[Operation, ...] = ("poll", "committed", "bounds", "open")


def samples(seed: int) -> list[tuple[str, bytes]]:
    """Return streams that jump and fall silent, each sample with its stream's name, and nonsense without one."""
    rng, found = random.Random(seed), []
    for tick in range(TICKS):
        for number in range(7):
            if rng.random() < 0.1 or (number == 4 and 20 <= tick < 40):
                continue
            jump = 40.0 if (number * 7) % 40 < tick % 40 < (number * 7) % 40 + 5 else 0.0
            value = 10.0 + number + rng.gauss(0, 0.3) + jump
            body = {"timestamp": START_MS + tick * 10_000 + number, "name": f"s{number}", "value": value}
            found.append((f"s{number}", json.dumps(body).encode()))
        if rng.random() < 0.1:
            found.append(("", b"nonsense"))
    return found


def home(stream: str) -> int:
    """Return the partition in which a stream of the one group lives."""
    return crc32(f"{GROUP}\x00{stream}".encode()) % PARTITIONS


class KeylessWorld(World):
    """A cluster whose input has no keys."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.cluster.ensure(TopicSpec("raw", RAW, compacted=False))

    def behind(self) -> int:
        """Return how many records of either topic are not committed yet; what ends a transaction is no record."""
        return self._left("raw", RAW, "longwatch-repartition") + self._left("metrics", PARTITIONS, "longwatch")

    def expire_the_dead(self) -> None:
        """Let the broker give up what they left open; it hides what comes after it."""
        for identity in sorted(self.dead):
            self.cluster.expire(identity)

    def _left(self, topic: str, partitions: int, group: str) -> int:
        offsets = self.cluster.group(group).offsets
        every = [TopicPartition(topic, number) for number in range(partitions)]
        return sum(each.offset >= offsets.get(tp, 0) for tp in every for each in self.cluster.visible(tp))


class TwoStages(Process):
    """A daemon that writes its input anew by stream, and reads that."""

    def __init__(self, world: World, identity: str = "one", faults: object = None) -> None:
        self._faults = faults if callable(faults) else lambda _operation: None
        self.door = MemoryBroker(
            world.cluster, "longwatch-repartition", faults=self._faults, committed_wait_seconds=5.0
        )
        super().__init__(world, identity, self._faults)
        around = Around(
            door=self.door,
            writer=self._first_writer(),
            feeds=ByTopic([(Wanted.of(["raw"]), Homes(JsonFormat(), [Selection()], Limits()))]),
            is_ours=lambda: self.partitions.holds(FIRST),
            stood=self.source.committed,
            note=self.events.append,
            monotonic=lambda: world.clock,
            wall_clock=lambda: world.wall_ms / 1000.0,
        )
        settings = RepartitionSettings(
            "metrics", "dead", 100, records_max=20, bytes_max=3000, seconds=0.5, poll_seconds=0.05, wait_seconds=0.2
        )
        self.first = Repartition(settings, around, ["raw"])

    def _first_writer(self) -> MemoryWriter:
        return self.broker.writer(f"{self.identity}-first")

    def _watched(self) -> Watched:
        watched = super()._watched()
        self._intake = Intake(PackedFormat(), [Selection()], Limits(10**6, 2**62))
        return Watched(
            watched.broker, watched.source, self._intake, watched.models, watched.groups, watched.restore,
            watched.note, watched.clock,
        )  # fmt: skip

    def _surroundings(self) -> Surroundings:
        around = super()._surroundings()
        return Surroundings(
            around.source, around.writer, self._intake, around.partitions, around.note, around.monotonic,
            lambda _now: self.first.turn(),
        )  # fmt: skip

    def die(self) -> None:
        """End without a word, with both places in both groups."""
        super().die()
        self.world.dead.add(f"{self.identity}-first")
        self.door.lose_session()


@dataclass(frozen=True)
class Told:
    """What a world tells, without the offsets, which are others where records are packed."""

    scores: dict[tuple[str, int], float | None]
    times: Counter[tuple[str, int]]
    alerts: Counter[tuple[str, str, str, str]]
    dead: int

    @classmethod
    def by(cls, world: World) -> Told:
        """Return what a world tells."""
        scores: dict[tuple[str, int], float | None] = {}
        times: Counter[tuple[str, int]] = Counter()
        for record in world._visible("scores"):
            columns = codec.decode_scores(record)
            for place, time_ms, score in zip(columns.stream, columns.time_ms, columns.score, strict=True):
                key = columns.streams[place], time_ms
                scores[key] = score
                times[key] += 1
        return cls(scores, times, world.alerts(), world.dead_letters().total())


@cache
def keyed(seed: int) -> Told:
    """Return what a daemon tells to whom the same comes keyed."""
    world = World()
    world.publish([Outgoing("metrics", home(stream), b"k", value) for stream, value in samples(seed)])
    process = Process(world)
    for _ in range(TURNS_MAX):
        if not world.behind():
            break
        process.turn()
    return Told.by(world)


class Trouble:
    """Members that read without keys what `samples` gives, and all that can happen to them, told by a seed."""

    def __init__(self, seed: int, members: int, kind: type[TwoStages] = TwoStages) -> None:
        self.world, self.happened = KeylessWorld(), Counter[str]()
        self._rng, self._members, self._kind = random.Random(1000 + seed), members, kind
        self._given = [Outgoing("raw", None, None, value) for _, value in samples(seed)]
        self._alive: list[TwoStages] = []
        self._names = 0

    def told(self) -> Told:
        """Let everything happen, and return what the members told."""
        for _ in range(TURNS_MAX):
            self._feed()
            if not self._given:
                self.world.expire_the_dead()
                if not self.world.behind():
                    return Told.by(self.world)
            self._turn()
        raise AssertionError(f"{self.world.behind()} records are left; {self.happened}")

    def _feed(self) -> None:
        if self._rng.random() < 0.3:
            some = self._rng.randint(1, 25)
            self.world.publish(self._given[:some])
            del self._given[:some]

    def _turn(self) -> None:
        """Let a member take a turn, which may be its last."""
        while len(self._alive) < self._members:
            self._names += 1
            self._alive.append(self._kind(self.world, f"member-{self._names}", self._fault))
        if self._rng.random() < 0.1:
            self.world.expire_the_dead()
        process = self._rng.choice(self._alive)
        if self._rng.random() < 0.01:
            self.happened["pause"] += 1
            self._rng.choice([process.broker, process.door]).lose_session()
        try:
            process.turn()
        except ProcessDiedError:
            process.die()
            self._alive.remove(process)

    def _fault(self, operation: Operation) -> None:
        drawn = self._rng.random()
        if drawn < 0.02:
            self.happened["death"] += 1
            raise ProcessDiedError
        if drawn < 0.06 and operation in ABORTED:
            self.happened["abort"] += 1
            raise TransactionFailed(f"aborted at {operation}")
        if drawn < 0.06 and operation in UNAVAILABLE:
            self.happened["outage"] += 1
            raise BrokerUnavailable(f"no broker at {operation}")


@pytest.mark.parametrize("members", [1, 2])
@pytest.mark.parametrize("seed", range(SEEDS))
def test_every_sample_of_a_keyless_input_is_scored_once_as_if_it_had_come_keyed(seed: int, members: int) -> None:
    trouble = Trouble(seed, members)
    expected, found = keyed(seed), trouble.told()
    assert trouble.happened["death"] >= DEATHS_MIN
    assert min(trouble.happened["abort"], trouble.happened["outage"]) > 0
    assert set(found.times.values()) == {1}
    assert found.scores.keys() == expected.scores.keys()
    assert len(expected.scores) > 5 * TICKS
    assert found.scores == pytest.approx(expected.scores, abs=1e-9)
    assert found.alerts == expected.alerts
    assert sum(change == "open" for *_, change in found.alerts) >= 4
    assert found.dead == expected.dead > 0


class Careless(TwoStages):
    """A daemon whose first stage has a hasty writer."""

    def _first_writer(self) -> MemoryWriter:
        return Hasty(self.world.cluster, f"{self.identity}-first", self._faults)


def test_the_simulation_finds_a_planted_defect() -> None:
    found = [Trouble(seed, 1, Careless).told() for seed in range(3)]
    assert any(told.scores.keys() != keyed(seed).scores.keys() for seed, told in enumerate(found))
