"""A group member in memory: which partitions it was given, and where it reads in each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from daemon.errors import BrokerUnavailable
from daemon.memory.cluster import MemoryCluster, MemoryMembership
from daemon.memory.faults import Faults
from daemon.memory.log import MemoryRecord
from daemon.types import Polled, TopicPartition

_NONE: frozenset[TopicPartition] = frozenset()


class MemorySource:
    """The group's share of the input. Partitions come and go inside `poll` only."""

    def __init__(
        self,
        cluster: MemoryCluster,
        group_id: str,
        topics: Sequence[str],
        *,
        faults: Faults,
        committed_wait_seconds: float,
    ) -> None:
        self._cluster = cluster
        self._group_id = group_id
        self._topics = frozenset(topics)
        self._faults = faults
        self._committed_wait_seconds = committed_wait_seconds
        self._owned = _NONE
        self._delivered: dict[TopicPartition, int] = {}  # and the position in each; the others are paused
        self._topic_ids: dict[TopicPartition, str | None] = {}  # of the topic that was resumed
        self._turns = 0
        self._closed = False
        self._enter()

    def poll(self, records_max: int, wait_seconds: float) -> Polled:
        """Return at most `records_max` records, and which partitions came (paused) and went.

        While a rebalance waits for other members, nothing is delivered. Raises ValueError on a closed source.
        """
        if self._closed:
            raise ValueError("this source is closed: ask the broker for another one")
        self._faults("poll")
        self._cluster.wait(self._has_news, wait_seconds)
        with self._cluster.changed:
            assigned, revoked, leaving = self._rebalance()
            stranded = self._strand()
            settled = not self._group.preparing or bool(revoked)
            records = self._take(records_max) if settled else {}
            return Polled(records, assigned | stranded, revoked | stranded, leaving)

    def resume_at(self, partition: TopicPartition, offset: int) -> None:
        """Deliver `partition` from `offset` on. Without effect on a partition that is not ours any more."""
        self._faults("resume")
        if partition in self._owned:
            self._delivered[partition] = offset
            self._topic_ids[partition] = self._topic_id(partition)

    def pause(self, partition: TopicPartition) -> None:
        """Stop delivering `partition`."""
        self._delivered.pop(partition, None)

    def committed(self, partition: TopicPartition) -> int | None:
        """Return the group's committed offset, None when there is none.

        Waits for open transactions that would move it; raises BrokerUnavailable when they take too long.
        """
        self._faults("committed")
        if not self._cluster.wait(lambda: self._is_settled(partition), self._committed_wait_seconds):
            raise BrokerUnavailable(
                f"an open transaction holds the offset of {partition.topic}/{partition.partition} in group"
                f" {self._group_id!r} for more than {self._committed_wait_seconds:g} s: open its identity to end it"
            )
        with self._cluster.changed:
            return self._group.offsets.get(partition)

    def lag(self) -> Mapping[TopicPartition, int]:
        """Return, for each partition delivered, how many offsets lie between our position and its end."""
        with self._cluster.changed:
            return {tp: max(self._cluster.log(tp).end - position, 0) for tp, position in self._there().items()}

    def membership(self) -> MemoryMembership:
        """Return the proof of membership as of the last poll."""
        return MemoryMembership(self._group_id, self._member, self._generation)

    def read(self, topics: Sequence[str]) -> None:
        """Read these topics from now on; what was read before stays ours through the rebalance that this causes."""
        self._topics = frozenset(topics)
        with self._cluster.changed:
            self._group.subscribe(self._member, self._topics)
            self._cluster.changed.notify_all()

    def lose_session(self) -> None:
        """Be thrown out of the group without noticing; the next poll tells, and joins again."""
        self._cluster.evict(self._group_id, self._member)

    def close(self) -> None:
        """Leave the group."""
        self._faults("leave")
        self._closed = True
        self._cluster.evict(self._group_id, self._member)
        self._owned, self._delivered = _NONE, {}

    def _enter(self) -> None:
        with self._cluster.changed:
            self._group = self._cluster.group(self._group_id)
            self._member, self._generation = self._group.enter(self._topics), -1
            self._cluster.changed.notify_all()

    def _is_settled(self, partition: TopicPartition) -> bool:
        return not any(partition in offsets for offsets in self._group.unsettled.values())

    def _has_news(self) -> bool:
        return self._group.due(self._member) or any(
            position < self._cluster.log(tp).stable_end or position > self._cluster.log(tp).end
            for tp, position in self._there().items()
        )

    def _there(self) -> dict[TopicPartition, int]:
        """Return what is delivered of topics that exist, with the position in each."""
        exists = self._cluster.subscribed(self._topics)
        return {tp: position for tp, position in self._delivered.items() if tp in exists}

    def _strand(self) -> frozenset[TopicPartition]:
        """Stop delivering where there is nothing any more at our position, and return those partitions."""
        found = set()
        for partition, position in self._there().items():
            log = self._cluster.log(partition)
            if not log.first <= position <= log.end or self._topic_ids[partition] != self._topic_id(partition):
                found.add(partition)
        return self._pause_all(frozenset(found))

    def _topic_id(self, partition: TopicPartition) -> str | None:
        return self._cluster.topic_id(partition.topic)

    def _rebalance(self) -> tuple[frozenset[TopicPartition], frozenset[TopicPartition], frozenset[TopicPartition]]:
        """Take this member one step on in the group; return what it gained, what it lost, and what of it is free."""
        lost = self._drop(self._owned) if self._member not in self._group.members else _NONE
        if self._member not in self._group.members:
            self._enter()
        gained, revoked = self._step()
        self._drop(revoked)
        self._owned |= gained
        return gained, lost | revoked, revoked - lost

    def _step(self) -> tuple[frozenset[TopicPartition], frozenset[TopicPartition]]:
        group = self._group
        if group.preparing and not group.members[self._member].joined:
            topics = frozenset[str]().union(*(member.topics for member in group.members.values()))
            group.join(self._member, self._cluster.subscribed(topics))
            self._cluster.changed.notify_all()
        if group.preparing or group.members[self._member].generation == group.generation:
            return _NONE, _NONE
        moved = group.sync(self._member)
        self._generation = group.generation
        self._cluster.changed.notify_all()
        return moved

    def _drop(self, partitions: frozenset[TopicPartition]) -> frozenset[TopicPartition]:
        self._owned -= partitions
        return self._pause_all(partitions)

    def _pause_all(self, partitions: frozenset[TopicPartition]) -> frozenset[TopicPartition]:
        for partition in partitions:
            self._delivered.pop(partition, None)
        return partitions

    def _take(self, records_max: int) -> dict[TopicPartition, Sequence[MemoryRecord]]:
        """Read from the delivered partitions, beginning with another one each time so that none starves."""
        order = sorted(self._there())
        first = self._turns % len(order) if order else 0
        self._turns += 1
        taken: dict[TopicPartition, Sequence[MemoryRecord]] = {}
        for partition in order[first:] + order[:first]:
            if records_max > 0:
                records, self._delivered[partition] = self._read(partition, records_max)
                records_max -= len(records)
                taken.update({partition: records} if records else {})
        return taken

    def _read(self, partition: TopicPartition, records_max: int) -> tuple[Sequence[MemoryRecord], int]:
        log, position = self._cluster.log(partition), self._delivered[partition]
        return log.read(position, records_max)
