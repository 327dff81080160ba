"""Reads the group's share of the input, and lets nothing of a partition out before its state was restored."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping, Sequence

from daemon.errors import BrokerUnavailable
from daemon.kafka import client
from daemon.kafka.deadline import within
from daemon.kafka.failures import CLIENT_ERRORS, translated
from daemon.types import Polled, TopicPartition

_STABLE = "<stable>"
_CLOSE_SECONDS = 5.0
# The broker looks for transactions that are too old every ten seconds.
_SWEEP_SECONDS = 15.0


class _Notes(client.RebalanceListener):
    """What happened to the assignment, in order. It is called on the thread that sends heartbeats: it only writes."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._notes: list[tuple[bool, frozenset[TopicPartition]]] = []

    def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        self._add(assigned, came=True)

    def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        self._add(revoked, came=False)

    def take(self) -> list[tuple[bool, frozenset[TopicPartition]]]:
        with self._lock:
            notes, self._notes = self._notes, []
        return notes

    def _add(self, partitions: Iterable[TopicPartition], *, came: bool) -> None:
        with self._lock:
            self._notes.append((came, frozenset(TopicPartition(*tp) for tp in partitions)))


class KafkaSource:
    """The real `daemon.ports.Source`. Partitions come and go inside `poll` only; use it from one thread."""

    def __init__(self, settings: client.ConnectionSettings, topics: Sequence[str]) -> None:
        self._settings = settings
        self._notes = _Notes()
        self._owned: frozenset[TopicPartition] = frozenset()
        self._delivered: set[TopicPartition] = set()
        self._closed = False
        try:
            self._consumer = client.group_consumer(settings)
        except CLIENT_ERRORS as error:
            raise translated(error, f"joining group {settings.group_id!r}") from error
        self._contact = client.Contact(self._consumer)
        self._consumer.subscribe(list(topics), listener=self._notes)
        self._membership = self._consumer.group_metadata()

    def poll(self, records_max: int, wait_seconds: float) -> Polled:
        """Return what has arrived, at most `records_max` records, and which partitions came (paused) and went.

        A partition among both went and came back: its state elsewhere may have moved. When the input lost records
        before they were read, reading goes on at the first that is left. Raises BrokerUnavailable.
        """
        try:
            fetched = self._consumer.poll(timeout_ms=wait_seconds * 1000, max_records=records_max)
        except CLIENT_ERRORS as error:
            raise translated(error, f"reading as a member of group {self._settings.group_id!r}") from error
        assigned, revoked = self._settle()
        # Nothing of a partition may come out between its assignment and `resume_at`, whatever was fetched of it.
        records = {TopicPartition(*tp): batch for tp, batch in fetched.items() if tp in self._delivered}
        if not (records or assigned or revoked) and self._contact.is_lost():
            servers = ", ".join(self._settings.bootstrap_servers)
            raise BrokerUnavailable(f"no broker of {servers} is connected: trying again")
        return Polled(records, assigned, revoked)

    def resume_at(self, partition: TopicPartition, offset: int) -> None:
        """Deliver `partition` from `offset` on; without effect when it is not ours any more."""
        if partition not in self._owned or partition not in self._consumer.assignment():
            return
        self._consumer.seek(client.native(partition), offset)
        client.forget_fetched(self._consumer, client.native(partition))
        self._consumer.resume(client.native(partition))
        self._delivered.add(partition)

    def pause(self, partition: TopicPartition) -> None:
        """Stop delivering `partition`; what was fetched ahead is dropped when `resume_at` seeks."""
        self._delivered.discard(partition)
        if partition in self._consumer.assignment():
            self._consumer.pause(client.native(partition))

    def committed(self, partition: TopicPartition) -> int | None:
        """Return the group's committed offset, None when there is none; waits for open transactions.

        Raises BrokerUnavailable when they outlive the transaction timeout.
        """
        wait_seconds = self._settings.transaction_timeout_seconds + _SWEEP_SECONDS
        try:
            return self._consumer.committed(client.native(partition), timeout_ms=wait_seconds * 1000)
        except CLIENT_ERRORS as error:
            where = f"{partition.topic}/{partition.partition} in group {self._settings.group_id!r}"
            raise translated(error, f"asking for the committed offset of {where}") from error

    def lag(self) -> Mapping[TopicPartition, int]:
        """Return, for each partition delivered and fetched once, how many offsets lie between us and its end."""
        return {tp: lag for tp in self._delivered if (lag := self._lag_of(tp)) is not None}

    def membership(self) -> client.GroupMetadata:
        """Return the proof of membership as of the last poll."""
        return self._membership

    def close(self) -> None:
        """Leave the group, unless it knows us by an instance id; then our place is kept for the session timeout."""
        if self._closed:
            return
        self._closed = True
        self._owned, self._delivered = frozenset(), set()
        try:
            within(_CLOSE_SECONDS * 2, lambda: self._consumer.close(autocommit=False, timeout_ms=_CLOSE_SECONDS * 1000))
        except CLIENT_ERRORS as error:
            raise translated(error, f"leaving group {self._settings.group_id!r}") from error

    def _settle(self) -> tuple[frozenset[TopicPartition], frozenset[TopicPartition]]:
        """Bring what we own up to the notes; return what came and what went since the last call."""
        before, went = self._owned, frozenset[TopicPartition]()
        for came, partitions in self._notes.take():
            self._owned = self._owned | partitions if came else self._owned - partitions
            went = went if came else went | partitions
        came_now = self._owned - (before - went)
        self._delivered -= went
        self._hold(came_now)
        # A rebalance is on its way while the state is not stable: the old proof lets the broker refuse us.
        membership = self._consumer.group_metadata()
        if membership.state == _STABLE:
            self._membership = membership
        return came_now, before & went

    def _hold(self, partitions: frozenset[TopicPartition]) -> None:
        for partition in partitions & self._consumer.assignment():
            self._consumer.pause(client.native(partition))
            # Any position will do: without one, each poll would first ask for the committed offset and wait.
            self._consumer.seek(client.native(partition), 0)

    def _lag_of(self, partition: TopicPartition) -> int | None:
        if partition not in self._consumer.assignment():
            return None
        end = self._consumer.highwater(client.native(partition))
        position = self._consumer.position(client.native(partition), timeout_ms=0)
        return None if end is None or position is None else max(end - position, 0)
