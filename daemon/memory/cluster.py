"""The in-memory cluster: topics, groups and transactional identities behind one lock.

It outlives the brokers that connect to it, so a test can let a daemon die and start another on the same cluster.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from threading import Condition
from zlib import crc32

from daemon.errors import Fenced, TopicMismatch, TransactionFailed
from daemon.memory.group import Group
from daemon.memory.log import MemoryRecord, Outcome, PartitionLog, Transaction, weight_bytes
from daemon.types import Bounds, Outgoing, TopicPartition, TopicSpec

_MESSAGE_BYTES_MAX = 1_048_588  # what a Kafka broker accepts when a topic does not say otherwise


@dataclass(slots=True)
class _Topic:
    spec: TopicSpec
    logs: list[PartitionLog]
    number: int  # no other topic of this cluster has it
    keyless: int = 0  # records without key so far: they go round the partitions


@dataclass(slots=True)
class _Identity:
    epoch: int = 0
    transaction: Transaction | None = None


@dataclass(frozen=True, slots=True)
class MemoryMembership:
    """Which member of which generation wants to move a group's offsets."""

    group_id: str
    member: str
    generation: int


def wall_clock_ms() -> int:
    """Return the milliseconds since 1970."""
    return time.time_ns() // 1_000_000


@dataclass(slots=True)
class MemoryCluster:
    """A cluster that lives as long as this object.

    `now_ms` stamps records. `idle`, when given, is called with the seconds that a reader is willing to wait, instead of
    waiting for another thread: a simulation moves its own clock there and loses no time.
    """

    now_ms: Callable[[], int] = wall_clock_ms
    idle: Callable[[float], None] | None = None
    changed: Condition = field(default_factory=Condition)
    _topics: dict[str, _Topic] = field(default_factory=dict)
    _groups: dict[str, Group] = field(default_factory=dict)
    _identities: dict[str, _Identity] = field(default_factory=dict)
    _topics_ever: int = 0

    def wait(self, ready: Callable[[], bool], seconds: float) -> bool:
        """Return whether `ready` became true within `seconds`; it is asked under the lock."""
        with self.changed:
            if self.idle is None or seconds <= 0 or ready():
                return self.changed.wait_for(ready, max(seconds, 0.0))
        self.idle(seconds)
        with self.changed:
            return ready()

    # Topics

    def topics(self) -> list[str]:
        """Return the names of all topics that there are."""
        with self.changed:
            return sorted(self._topics)

    def partitions(self, topic: str) -> int | None:
        """Return how many partitions `topic` has, None when there is no such topic."""
        with self.changed:
            known = self._topics.get(topic)
            return None if known is None else len(known.logs)

    def ensure(self, spec: TopicSpec) -> None:
        """Create the topic, let it grow, or raise TopicMismatch when the one that exists would lose data."""
        with self.changed:
            known = self._topics.get(spec.name)
            if known is not None:
                if spec.growable and len(known.logs) < spec.partitions:
                    self.grow(spec.name, spec.partitions)
                _check(known, spec)
                return
            self._topics_ever += 1
            self._topics[spec.name] = _Topic(spec, [PartitionLog() for _ in range(spec.partitions)], self._topics_ever)
            self._announce(spec.name)

    def topic_id(self, topic: str) -> str | None:
        """Return what tells `topic` from any other that has ever had its name, None when there is no such topic."""
        with self.changed:
            known = self._topics.get(topic)
            return None if known is None else str(known.number)

    def delete(self, topic: str) -> None:
        """Delete `topic` and what the groups committed for it; those that read it rebalance."""
        with self.changed:
            del self._topics[topic]
            for group in self._groups.values():
                group.forget(topic)
            self._announce(topic)

    def grow(self, topic: str, partitions: int) -> None:
        """Add partitions to a topic until it has `partitions`; the groups that read it rebalance."""
        with self.changed:
            logs = self._topics[topic].logs
            logs.extend(PartitionLog() for _ in range(partitions - len(logs)))
            self._announce(topic)

    def log(self, partition: TopicPartition) -> PartitionLog:
        """Return the log of `partition`. Raises LookupError when there is none. Hold `changed` while using it."""
        known = self._topics.get(partition.topic)
        if known is None or not 0 <= partition.partition < len(known.logs):
            raise LookupError(f"there is no partition {partition.partition} of topic {partition.topic!r}: ensure() it")
        return known.logs[partition.partition]

    def bounds(self, partition: TopicPartition) -> Bounds:
        """Return the first offset and the high watermark of `partition`."""
        with self.changed:
            log = self.log(partition)
            return Bounds(log.first, log.end)

    def visible(self, partition: TopicPartition) -> Sequence[MemoryRecord]:
        """Return every record of `partition` that a reader of committed records would see now."""
        with self.changed:
            log = self.log(partition)
            return log.read(log.first, log.end + 1)[0]

    def compact(self, topic: str, active: int = 0) -> None:
        """Compact every partition of `topic` now, but for its last `active` offsets: they are the active segment."""
        with self.changed:
            for log in self._topics[topic].logs:
                log.compact(log.end - active)

    def trim(self, partition: TopicPartition, offset: int) -> None:
        """Delete the records of `partition` below `offset` now."""
        with self.changed:
            self.log(partition).trim(offset)

    # Groups

    def group(self, group_id: str) -> Group:
        """Return the group called `group_id`, new if it must be. Hold `changed` while using it."""
        return self._groups.setdefault(group_id, Group())

    def subscribed(self, topics: frozenset[str]) -> frozenset[TopicPartition]:
        """Return every partition of those of `topics` that exist."""
        with self.changed:
            known = [(name, len(self._topics[name].logs)) for name in topics if name in self._topics]
        return frozenset(TopicPartition(name, number) for name, count in known for number in range(count))

    def evict(self, group_id: str, member: str) -> None:
        """Remove a member as the coordinator does whose heartbeats stopped: it learns of it when it polls again."""
        with self.changed:
            self.group(group_id).leave(member)
            self.changed.notify_all()

    # Writing

    def publish(self, outgoing: Outgoing) -> None:
        """Store one record outside any transaction. Raises LookupError or ValueError when it cannot be stored."""
        with self.changed:
            self._append(outgoing, None)
            self.changed.notify_all()

    def take_over(self, identity: str) -> int:
        """Abort what `identity` left open, fence its older holders and return the new holder's epoch."""
        with self.changed:
            known = self._identities.setdefault(identity, _Identity())
            self._end(known, "aborted")
            known.epoch += 1
            return known.epoch

    def expire(self, identity: str) -> None:
        """Abort the open transaction of `identity`, as a broker does when its time limit has passed."""
        with self.changed:
            self._end(self._identities.get(identity, _Identity()), "aborted")

    def begin(self, identity: str, epoch: int) -> Transaction:
        """Start a transaction. Raises Fenced when `epoch` is not the newest."""
        with self.changed:
            known = self._identities.setdefault(identity, _Identity())
            transaction = Transaction(identity, epoch)
            self._check_holder(transaction)
            known.transaction = transaction
            return transaction

    def send(self, transaction: Transaction, outgoing: Outgoing) -> None:
        """Store one record of an open transaction. Raises Fenced, or TransactionFailed when it cannot be stored."""
        with self.changed:
            self._check_open(transaction)
            try:
                self._append(outgoing, transaction)
            except (LookupError, ValueError) as problem:
                raise TransactionFailed(str(problem)) from problem

    def move_offsets(
        self, transaction: Transaction, offsets: Mapping[TopicPartition, int], membership: MemoryMembership
    ) -> None:
        """Let an open transaction carry offsets. Raises Fenced, or TransactionFailed when the membership is stale."""
        with self.changed:
            self._check_open(transaction)
            group = self.group(membership.group_id)
            if membership.member not in group.members or membership.generation != group.generation:
                raise TransactionFailed(
                    f"{membership.member} of generation {membership.generation} may not move the offsets of group"
                    f" {membership.group_id!r}, now in generation {group.generation}: poll, and restore what changed"
                )
            group.unsettled.setdefault(transaction, {}).update(offsets)

    def commit(self, transaction: Transaction) -> None:
        """Make a transaction's records and offsets visible. Raises Fenced, or TransactionFailed when it was aborted."""
        with self.changed:
            self._check_open(transaction)
            self._end(self._identities[transaction.identity], "committed")

    def _check_open(self, transaction: Transaction) -> None:
        self._check_holder(transaction)
        if transaction.outcome != "open":
            raise TransactionFailed(f"the broker aborted the transaction of {transaction.identity!r}: open it again")

    def _check_holder(self, transaction: Transaction) -> None:
        newest = self._identities[transaction.identity].epoch
        if transaction.epoch != newest:
            raise Fenced(
                f"identity {transaction.identity!r} was taken over (epoch {newest}, ours is {transaction.epoch}):"
                " give each instance an identity of its own"
            )

    def _end(self, holder: _Identity, outcome: Outcome) -> None:
        transaction, holder.transaction = holder.transaction, None
        if transaction is None:
            return
        transaction.outcome = outcome
        for log in transaction.partitions:
            log.settle(transaction)
        for group in self._groups.values():
            group.settle(transaction)
        self.changed.notify_all()

    def _append(self, outgoing: Outgoing, transaction: Transaction | None) -> None:
        topic = self._topics.get(outgoing.topic)
        if topic is None:
            raise LookupError(f"topic {outgoing.topic!r} does not exist: create it with ensure()")
        _check_acceptable(topic, outgoing)
        partition = TopicPartition(outgoing.topic, _choose(topic, outgoing))
        self.log(partition).append(outgoing, self.now_ms(), transaction)

    def _announce(self, topic: str) -> None:
        for group in self._groups.values():
            if any(topic in member.topics for member in group.members.values()):
                group.prepare()
        self.changed.notify_all()


def _choose(topic: _Topic, outgoing: Outgoing) -> int:
    if outgoing.partition is not None:
        return outgoing.partition
    if outgoing.key is not None:
        return crc32(outgoing.key) % len(topic.logs)
    topic.keyless += 1
    return (topic.keyless - 1) % len(topic.logs)


def _check_acceptable(topic: _Topic, outgoing: Outgoing) -> None:
    limit = _limit_bytes(topic.spec)
    if (weight := weight_bytes(outgoing)) > limit:
        raise ValueError(
            f"a record of {weight} bytes is too large for topic {topic.spec.name!r} (max.message.bytes={limit})"
        )
    if topic.spec.compacted and outgoing.key is None:
        raise ValueError(f"topic {topic.spec.name!r} is compacted (cleanup.policy): its records need a key")


def _check(known: _Topic, spec: TopicSpec) -> None:
    problems = []
    if len(known.logs) < spec.partitions:
        problems.append(f"partitions is {len(known.logs)}, at least {spec.partitions} are needed: add partitions")
    if known.spec.compacted != spec.compacted:
        found, needed = (_POLICY[compacted] for compacted in (known.spec.compacted, spec.compacted))
        problems.append(f"cleanup.policy is {found}, {needed} is needed: change it, or name another topic")
    room, demand = _limit_bytes(known.spec), int(spec.config.get("max.message.bytes", 0))
    if room < demand:
        problems.append(f"max.message.bytes is {room}, at least {demand} is needed: raise it")
    if problems:
        raise TopicMismatch(f"topic {spec.name!r}: " + "; ".join(problems))


def _limit_bytes(spec: TopicSpec) -> int:
    return int(spec.config.get("max.message.bytes", _MESSAGE_BYTES_MAX))


_POLICY = {True: "compact", False: "delete"}
