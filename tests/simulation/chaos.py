"""A few daemons that share a group, and everything that can happen to them between two operations, told by a seed.

A crash point is one injected fault at one operation boundary: the process dies there, the broker aborts or cannot be
reached, the member is paused while the others take its partitions over, another process takes its identity, or the
group rebalances because a member comes or leaves. Clocks that jump, compaction, new models and slow readers of them
happen between turns and are not counted.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, get_args

from daemon import events
from daemon.errors import BrokerUnavailable, Fenced, RestoreStalled, TransactionFailed
from daemon.memory import Operation
from daemon.types import TopicPartition
from tests.simulation.reference import Swaps
from tests.simulation.world import MODELS_MAX, PARTITIONS, Process, ProcessDiedError, World, records

Kind = Literal["death", "abort", "expiry", "outage", "pause", "fence", "join", "leave"]
"""What a crash point may be. An expiry is the broker's own abort of a transaction that took too long."""

Point = tuple[Kind, Operation]

KINDS: tuple[Kind, ...] = get_args(Kind)
WEIGHTS: dict[Kind, int] = {
    "death": 10, "abort": 8, "expiry": 8, "outage": 6, "pause": 3, "fence": 2, "join": 2, "leave": 2,
}  # fmt: skip
ABORTED: tuple[Operation, ...] = ("begin", "send", "offsets", "commit", "after_commit")
EXPIRED: tuple[Operation, ...] = ("send", "offsets", "commit")
UNAVAILABLE: tuple[Operation, ...] = ("poll", "resume", "committed", "bounds", "cursor", "fetch", "open")
MEMBERS_MAX = 3
NESTED_TURNS_MAX = 14
WALL_MS = (-11_000_000, 0, 0, 3_600_000)  # where the cluster's clock may stand, from where it began
JUMP_SECONDS = (-20.0, -5.0, 7.0, 60.0, 900.0)
TURNS_PER_POINT_MAX = 400


class Member(Process):
    """A daemon to which something may happen at every operation."""

    def __init__(self, fleet: Fleet, identity: str) -> None:
        self.fleet = fleet
        self.outage = 0  # operations that will find no broker
        self.reading = fleet.rng.choice((1.0, 0.5, 0.04))  # of the turns in which it learns of new models
        self.held: set[TopicPartition] = set()  # restored and not given up since
        super().__init__(fleet.world, identity, self._boundary)
        self.read_models()

    def _boundary(self, operation: Operation) -> None:
        self.fleet.boundary(self, operation)


@dataclass(slots=True)
class Tally:
    """What happened in one or more runs."""

    points: Counter[Point] = field(default_factory=Counter)
    others: Counter[str] = field(default_factory=Counter)

    @property
    def total(self) -> int:
        """How many crash points there were."""
        return self.points.total()

    def add(self, other: Tally) -> None:
        """Take in another tally."""
        self.points.update(other.points)
        self.others.update(other.others)


class Fleet:
    """All members, alive, dead and missing, and the one source of chance."""

    def __init__(self, seed: int, kind: type[Member] = Member) -> None:
        self.rng = random.Random(seed)
        self.seed, self.tick, self._kind = seed, 0, kind
        self.world, self.tally = World(), Tally()
        self.swaps = Swaps(self.world)
        self.calm = False
        self.discarded: list[str] = []  # what restores could not use, of which there must be nothing
        self.members: list[Member] = []
        self.missing: list[str] = []
        self.unnoticed: list[Member] = []  # dead, but their heartbeats are still believed in
        self._names = self._depth = 0
        self._fuse = self._next()
        self._publishing = self.rng.choice(
            (0.0005, 0.001, 0.01)
        )  # of the turns; a model counts after some samples only
        self._owners: list[list[str]] = [[] for _ in range(PARTITIONS)]
        if self.rng.random() < 0.5:
            self._publish_model()
        for _ in range(self.rng.randint(1, MEMBERS_MAX)):
            self._enter()

    def run(self, points: int) -> None:
        """Go on until so many crash points lie behind, then let all come to rest."""
        turns = 0
        while self.tally.total < points:
            turns += 1
            if turns > TURNS_PER_POINT_MAX * points:
                raise AssertionError(f"{self.tally.total} of {points} crash points after {turns} turns")
            self._happen()
            self.take_turn(self.rng.choice(self.members))
        self._come_to_rest()

    def drain(self) -> None:
        """Let one member after the other end as it does when it is told to stop."""
        while self.members:
            member = self.members[0]
            try:
                member.loop.drain()
                self.members.remove(member)
            except Fenced:  # there were two of one identity, and the other had opened it last
                self._bury(member)
                self._come_to_rest()

    def take_turn(self, member: Member) -> None:
        """Let a member take one turn, which may be its last."""
        self.world.clock += self.rng.choice((0.0, 0.3, 1.0, 2.5))
        if self.calm or self.rng.random() < member.reading:  # a thread of its own does, when it gets to it
            member.read_models()
        seen = len(member.events)
        try:
            member.attempt()
        except (ProcessDiedError, Fenced, RestoreStalled) as error:
            self.tally.others[f"ended by {type(error).__name__}"] += 1
            self._bury(member)
        self._note(member, member.events[seen:])

    def boundary(self, member: Member, operation: Operation) -> None:
        """Let the operation happen, or something else, or something before it."""
        if self.calm:
            return
        if member.outage and operation in UNAVAILABLE:
            member.outage -= 1
            raise BrokerUnavailable(f"still no broker at {operation}")
        self._fuse -= 1
        if self._fuse > 0:
            return
        self._fuse = self._next()
        kind = self._choose(operation)
        self.tally.points[kind, operation] += 1
        self._inject(kind, member, operation)

    def _choose(self, operation: Operation) -> Kind:
        possible: list[Kind] = ["death"]
        possible += ["abort"] if operation in ABORTED else []
        possible += ["expiry"] if operation in EXPIRED else []
        possible += ["outage"] if operation in UNAVAILABLE else []
        if self._depth == 0:
            possible += ["pause", "fence"]
            possible += ["leave"] if len(self.members) > 1 else []
            possible += ["join"] if len(self.members) < MEMBERS_MAX else []
        return self.rng.choices(possible, [WEIGHTS[each] for each in possible])[0]

    def _inject(self, kind: Kind, member: Member, operation: Operation) -> None:
        match kind:
            case "death":
                raise ProcessDiedError(operation)
            case "abort":
                raise TransactionFailed(f"aborted at {operation}")
            case "expiry":
                self.world.cluster.expire(member.identity)
            case "outage":
                member.outage = self.rng.choice((0, 0, 1, 6))
                raise BrokerUnavailable(f"no broker at {operation}")
            case "pause":
                member.broker.lose_session()
                self._meanwhile(member)
            case "fence":
                self._enter(member.identity)
                self._meanwhile(member)
            case "join":
                self._enter()
            case "leave":
                self._leave(self.rng.choice([each for each in self.members if each is not member]))

    def _meanwhile(self, paused: Member) -> None:
        """Let the others go on while one member stands still in the middle of an operation."""
        self._depth += 1
        for _ in range(self.rng.randint(1, NESTED_TURNS_MAX)):
            others = [each for each in self.members if each is not paused]
            if not others:
                self._enter()
            else:
                self._feed()
                self.take_turn(self.rng.choice(others))
        self._depth -= 1

    def _leave(self, member: Member) -> None:
        """Let a member end as it does when it is told to stop."""
        self._depth += 1
        try:
            member.loop.drain()
            self.members.remove(member)
            self.world.dead.add(member.identity)  # draining may have failed in the middle of a transaction
        except (ProcessDiedError, Fenced):
            self._bury(member)
        self._depth -= 1

    def _happen(self) -> None:
        """Let the world go on: input, time, compaction, models, and members that come back."""
        rng, world = self.rng, self.world
        self._feed()
        if rng.random() < 0.04:
            self.swaps.follow()
            world.cluster.compact("state", rng.choice((0, 0, 3, 12)))
            self.tally.others["compactions"] += 1
        if rng.random() < 0.02:
            world.clock += rng.choice(JUMP_SECONDS)
            self.tally.others["jumps of the processes' clock"] += 1
        if rng.random() < 0.01:
            world.wall_ms = World.wall_ms + rng.choice(WALL_MS)
            self.tally.others["jumps of the cluster's clock"] += 1
        if rng.random() < self._publishing:
            self._publish_model()
        if rng.random() < 0.1:
            self._expire_the_dead()
        if self.unnoticed and rng.random() < 0.3:
            self.unnoticed.pop().die()
        if not self.members or (self.missing and rng.random() < 0.3):
            self._enter(self.missing.pop() if self.missing else None)

    def _feed(self) -> None:
        if self.world.behind() < self.rng.choice((1, 8, 20)):
            self.world.publish(records(self.seed * 1_000_003 + self.tick, 1, self.tick))
            self.tick += 1

    def _publish_model(self) -> None:
        seed = self.rng.randint(1, MODELS_MAX)
        if self.rng.random() < 0.5 and self.world.go_back_to(seed):
            self.tally.others["models gone back to"] += 1
        else:
            self.world.publish_model(seed)
            self.tally.others["models published"] += 1

    def _enter(self, identity: str | None = None) -> None:
        self._names += identity is None
        self.members.append(self._kind(self, identity or f"slot-{self._names}"))

    def _bury(self, member: Member) -> None:
        """Take a member that ended out of the world; its group may learn of it later, its identity may come back."""
        if member in self.members:
            self.members.remove(member)
        self.world.dead.add(member.identity)
        if self.rng.random() < 0.3 and not self.calm:
            self.unnoticed.append(member)
        else:
            member.die()
        taken = any(each.identity == member.identity for each in self.members)
        if not taken and len(self.members) + len(self.missing) < MEMBERS_MAX:
            self.missing.append(member.identity)

    def _expire_the_dead(self) -> None:
        """Let the broker end what dead identities left open."""
        for identity in sorted(self.world.dead):
            self.world.cluster.expire(identity)

    def _next(self) -> int:
        return self.rng.choice([self.rng.randint(1, 8), self.rng.randint(1, 25), self.rng.randint(1, 70)])

    def _note(self, member: Member, noted: Sequence[events.Event]) -> None:
        """Count what became of turns and partitions, and keep what must never be noted."""
        others = self.tally.others
        for event in noted:
            match event:
                case events.PartitionRestored(partition=partition):
                    member.held.add(partition)
                    self._restored_by(member.identity, partition)
                case events.PartitionDropped(partition=partition):
                    others["partitions handed on" if partition in member.held else "restores cut short"] += 1
                    member.held.discard(partition)
                case events.TurnFailed():
                    others["turns taken again"] += 1
                    member.held.clear()
                case events.StateFlushed():
                    others["flushes"] += 1
                case events.ModelRefused():
                    others["models not yet read"] += 1
                case events.StateDiscarded():
                    self.discarded.append(f"{member.identity} discarded the state of {event.partition}: {event.why}")
                case _:
                    pass

    def _restored_by(self, identity: str, partition: TopicPartition) -> None:
        owners = self._owners[partition.partition]
        if owners[-1:] != [identity]:
            owners.append(identity)
            self.tally.others["moves to another member"] += len(owners) > 1
            self.tally.others["moves back again"] += len(owners) > 2 and owners[-3] == identity

    def _come_to_rest(self) -> None:
        """Let nothing happen any more until every record is committed and every partition has one owner."""
        self.calm = True
        while self.unnoticed:
            self.unnoticed.pop().die()
        self._expire_the_dead()
        for _ in range(400):
            if not self.members:
                self._enter()
            for member in list(self.members):
                member.outage = 0
                self.take_turn(member)
            if self.members and not self.world.behind() and self._restored() and not self._rebalancing():
                return
        raise AssertionError(f"{self.world.behind()} records are left, {self._restored()=}")

    def _restored(self) -> bool:
        owned = [tp for member in self.members for tp in member.partitions.states]
        return sorted(owned) == [TopicPartition("metrics", number) for number in range(PARTITIONS)]

    def _rebalancing(self) -> bool:
        group = self.world.cluster.group("longwatch")
        return group.preparing or any(group.due(name) for name in group.members)
