"""What the faults are done to: a cluster, and the daemons of one group, each with a supervisor that restarts it."""

from __future__ import annotations

import signal
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from daemon.embedded import EmbeddedCluster
from daemon.errors import BrokerUnavailable
from daemon.kafka import ConnectionSettings, KafkaBroker, client
from daemon.types import TopicPartition, TopicSpec
from tests.e2e.chaos.tape import PARTITIONS
from tests.e2e.process import Daemon, settings
from tests.e2e.taught import halves, publish_model

SESSION_SECONDS = 3.0
TRANSACTION_SECONDS = 4.0
FLUSH_SECONDS = 2.0
RECORDS_MAX = 200
READY_SECONDS = 180.0
PREFERRED = 0
# how a daemon says that it ends, for its supervisor to start it again
EXPECTED_ENDS = ("fenced", "restore_stalled")
EXIT_SHUTDOWN_LATE = 75
# asked to end before it had said what it does then, a process just ends
EXPECTED_CODES = (0, EXIT_SHUTDOWN_LATE, -signal.SIGTERM)


@dataclass(frozen=True, slots=True)
class Place:
    """A cluster, and where the topics of one group in it are."""

    bootstrap: tuple[str, ...]
    copies: int
    shared: str  # prefix of input and models
    own: str  # prefix of what the group writes
    client: str  # through which the group's daemons reach it

    @property
    def input(self) -> str:
        """The input topic."""
        return f"{self.shared}metrics"

    @property
    def outputs(self) -> tuple[str, str, str]:
        """The topics of scores, alerts and dead letters."""
        return f"{self.own}scores", f"{self.own}alerts", f"{self.own}dead-letters"

    def connection(self) -> ConnectionSettings:
        """Return how a bystander reaches the cluster; its group is the one of the daemons."""
        return ConnectionSettings(
            self.bootstrap, group_id=f"{self.own}group", replication=self.copies, connect_timeout_seconds=5.0
        )

    def settings(self, instance_id: str | None, records_max: int) -> dict[str, Any]:
        """Return a daemon's settings, with times so short that a fault is over in seconds."""
        told = settings("", self.own, groups=halves(), shutdown_seconds=10)
        told["kafka"] = {
            "bootstrap_servers": list(self.bootstrap),
            "group_id": f"{self.own}group",
            "client": self.client,
            "instance_id": instance_id,
            "session_timeout_seconds": SESSION_SECONDS,
            "transaction_timeout_seconds": TRANSACTION_SECONDS,
        }
        told["input"] = {"topics": [self.input], "poll_seconds": 0.1, "records_max": records_max}
        told["state"]["flush_seconds"] = FLUSH_SECONDS
        told["outputs"]["models"]["topic"] = f"{self.shared}models"
        told["outputs"]["replication"] = self.copies
        return told


class Member(Daemon):
    """A daemon of the group; `busy` while a fault is done to it, `wanted` while it should run."""

    busy = False
    wanted = False

    def start(self) -> None:
        """Begin a life."""
        super().start()
        self.wanted = True


class Stand:
    """Everything that faults are done to, and what was seen of it on the way."""

    def __init__(self, cluster: EmbeddedCluster, members: Sequence[Member], place: Place) -> None:
        self.cluster, self.members, self.place = cluster, members, place
        self.broker_busy = False
        self.ends: Counter[str] = Counter()
        self.crashes: list[str] = []

    @property
    def bases(self) -> Sequence[Member]:
        """The members that run from beginning to end; one more comes and goes."""
        return self.members[:-1]

    @property
    def guest(self) -> Member:
        """The member that comes and goes."""
        return self.members[-1]

    def supervise(self) -> None:
        """Start again what has ended by itself, and remember why it ended."""
        for member in self.members:
            if member.wanted and not member.busy and member.code is not None:
                self.note_end(member)
                member.start()

    def note_end(self, member: Member) -> None:
        """Remember why a member has ended: what it said, or a crash."""
        said = [event for event in EXPECTED_ENDS if member.said(event)]
        if member.code in EXPECTED_CODES or said:
            self.ends[said[0] if said else f"exit code {member.code}"] += 1
        else:
            self.crashes.append(f"{member.config.parent.name} ended with code {member.code}:\n{member.tail()}")

    def move(self, topics: Sequence[str]) -> None:
        """Let another node lead each partition of `topics`: rotate the copies, and prefer the first."""
        admin = cast("Any", client.admin(self.place.connection()))
        try:
            wanted = {
                client.native(TopicPartition(found["name"], each["partition_index"])): _rotated(each["replica_nodes"])
                for found in admin.describe_topics(topics)
                for each in found["partitions"]
            }
            admin.alter_partition_reassignments(wanted)
            admin.elect_leaders(PREFERRED, list(topics), raise_errors=False)
        finally:
            admin.close()


def _rotated(nodes: Sequence[int]) -> list[int]:
    return [*nodes[1:], nodes[0]]


@contextmanager
def stand(cluster: EmbeddedCluster, prefix: str, folder: Path, daemons: int, client: str) -> Iterator[Stand]:
    """Yield a group of daemons that has topics and a model, and runs; one more member waits to be started."""
    copies = min(len(cluster.brokers), 3)
    place = Place(tuple(cluster.bootstrap.split(",")), copies, prefix, f"{prefix}chaos-", client)
    prepare(place)
    with ExitStack() as stack:
        members = []
        for number in range(daemons + 1):
            # every second one has a lasting name: it keeps its partitions over a restart, the others do not
            instance_id = f"{prefix}{number}" if number % 2 == 0 else None
            members.append(Member(folder / f"daemon-{number}", place.settings(instance_id, RECORDS_MAX)))
            stack.callback(members[-1].kill)
        publish_model(members[0].config, folder)
        made = Stand(cluster, members, place)
        for member in made.bases:
            member.start()
        for member in made.bases:
            member.until_ready(READY_SECONDS)
        yield made


def prepare(place: Place) -> None:
    """Create the topics of input and outputs."""
    broker = KafkaBroker(place.connection())
    try:
        for topic in (place.input, *place.outputs):
            broker.ensure(TopicSpec(topic, PARTITIONS, compacted=False))
    finally:
        broker.close()


def terminated(member: Member) -> Iterator[float]:
    """Ask a member to end, and wait for it in steps."""
    member.wanted = False
    member.send(signal.SIGTERM)
    while member.code is None:
        yield 0.1


def input_ends(broker: KafkaBroker, place: Place) -> list[int] | None:
    """Return where each partition of the input ends now, None while no broker tells."""
    try:
        return [broker.bounds(TopicPartition(place.input, number)).end for number in range(PARTITIONS)]
    except BrokerUnavailable:
        return None
