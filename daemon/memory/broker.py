"""The door to an in-memory cluster: what `daemon.kafka` is to a real one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from daemon.errors import BrokerUnavailable, TopicMismatch, TransactionFailed
from daemon.memory.cluster import MemoryCluster, MemoryMembership
from daemon.memory.faults import Faults, no_faults
from daemon.memory.log import MemoryRecord
from daemon.memory.source import MemorySource
from daemon.ports import Membership
from daemon.types import Bounds, Outgoing, TopicPartition, TopicSpec


class MemoryWriter:
    """One transactional identity of one process."""

    def __init__(self, cluster: MemoryCluster, identity: str, faults: Faults) -> None:
        self._cluster = cluster
        self._identity = identity
        self._faults = faults
        self._epoch: int | None = None

    def open(self) -> None:
        """Take over the identity: fence older holders, end what they left open."""
        self._epoch = None
        self._faults("open")
        self._epoch = self._cluster.take_over(self._identity)

    def commit(
        self, records: Sequence[Outgoing], offsets: Mapping[TopicPartition, int], membership: Membership
    ) -> None:
        """Write all records and move the group's offsets, or do nothing.

        Raises Fenced or TransactionFailed, and passes on what the fault hook raises. After any of them the transaction
        stays open on the cluster, as a dead process leaves it, until the identity is opened again.
        """
        epoch, self._epoch = self._epoch, None  # whatever is raised below, the identity must be opened again
        if epoch is None:
            raise TransactionFailed(f"identity {self._identity!r} is not open: call open() before commit()")
        if not isinstance(membership, MemoryMembership):
            raise TypeError("membership comes from another broker: pass what this broker's source returned")
        self._commit(epoch, records, offsets, membership)
        self._faults("after_commit")
        self._epoch = epoch

    def close(self) -> None:
        """Let go of the identity; what it left open stays open."""
        self._epoch = None

    def _commit(
        self,
        epoch: int,
        records: Sequence[Outgoing],
        offsets: Mapping[TopicPartition, int],
        membership: MemoryMembership,
    ) -> None:
        self._faults("begin")
        transaction = self._cluster.begin(self._identity, epoch)
        for record in records:
            self._faults("send")
            self._cluster.send(transaction, record)
        if offsets:
            self._faults("offsets")
            self._cluster.move_offsets(transaction, offsets, membership)
        self._faults("commit")
        self._cluster.commit(transaction)


class MemoryCursor:
    """A reader of one partition, outside any group."""

    def __init__(self, cluster: MemoryCluster, partition: TopicPartition, start: int, faults: Faults) -> None:
        self._cluster = cluster
        self._partition = partition
        self._faults = faults
        self._position = max(start, cluster.bounds(partition).first)

    @property
    def position(self) -> int:
        """The offset after the last one passed, control records included."""
        return self._position

    def fetch(self, records_max: int, wait_seconds: float) -> Sequence[MemoryRecord]:
        """Return the next committed records; also none, without waiting on, when only control records were passed."""
        self._faults("fetch")
        self._cluster.wait(self._can_move, wait_seconds)
        with self._cluster.changed:
            records, self._position = self._cluster.log(self._partition).read(self._position, records_max)
        return records

    def close(self) -> None:
        """Nothing is held."""

    def _can_move(self) -> bool:
        return self._cluster.log(self._partition).stable_end > self._position


class MemoryBroker:
    """What one process sees of a `MemoryCluster`, as the member of one group.

    `faults` is called before every operation and may raise; `committed_wait_seconds` bounds how long a source waits for
    another member's open transaction.
    """

    def __init__(
        self,
        cluster: MemoryCluster,
        group_id: str = "longwatch",
        *,
        faults: Faults = no_faults,
        committed_wait_seconds: float = 10.0,
    ) -> None:
        self._cluster = cluster
        self._group_id = group_id
        self._faults = faults
        self._committed_wait_seconds = committed_wait_seconds
        self._sources: list[MemorySource] = []

    def topics(self) -> Sequence[str]:
        """Return the names of all topics that there are."""
        return self._cluster.topics()

    def partitions(self, topic: str) -> int | None:
        """Return how many partitions `topic` has, None when it does not exist."""
        return self._cluster.partitions(topic)

    def topic_id(self, topic: str) -> str | None:
        """Return what tells `topic` from any other that has ever had its name, None when it does not exist."""
        return self._cluster.topic_id(topic)

    def ensure(self, spec: TopicSpec) -> None:
        """Create the topic, or check it, or let it grow. Raises TopicMismatch naming what differs and what to do."""
        self._cluster.ensure(spec)

    def bounds(self, partition: TopicPartition) -> Bounds:
        """Return first offset and high watermark, open transactions included. Raises LookupError when unknown."""
        self._faults("bounds")
        return self._cluster.bounds(partition)

    def cursor(self, partition: TopicPartition, start: int) -> MemoryCursor:
        """Read `partition` from `start`, or from its first offset if that is later. Raises LookupError when unknown."""
        self._faults("cursor")
        return MemoryCursor(self._cluster, partition, start, self._faults)

    def source(self, topics: Sequence[str]) -> MemorySource:
        """Join the group and read `topics`; those that do not exist yet are read once they do."""
        source = MemorySource(
            self._cluster,
            self._group_id,
            topics,
            faults=self._faults,
            committed_wait_seconds=self._committed_wait_seconds,
        )
        self._sources.append(source)
        return source

    def writer(self, identity: str) -> MemoryWriter:
        """Return the transactional writer called `identity`, not yet opened."""
        return MemoryWriter(self._cluster, identity, self._faults)

    def publish(self, records: Sequence[Outgoing]) -> None:
        """Write records outside any transaction. Raises BrokerUnavailable when the topic or partition is missing.

        Raises TopicMismatch when the topic's settings forbid the record. Those before it are written.
        """
        self._faults("publish")
        for record in records:
            try:
                self._cluster.publish(record)
            except LookupError as problem:
                raise BrokerUnavailable(str(problem)) from problem
            except ValueError as problem:
                raise TopicMismatch(str(problem)) from problem

    def lose_session(self) -> None:
        """Let the group forget this process's members, as it does when heartbeats stop: by death or a long pause."""
        for source in self._sources:
            source.lose_session()

    def close(self) -> None:
        """Leave the group with every source of this door."""
        for source in self._sources:
            source.close()
        self._sources.clear()
