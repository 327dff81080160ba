"""Reads the group's share of the input, and lets nothing of a partition out before its state was restored."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping, Sequence

from kafka.errors import LogTruncationError, NoOffsetForPartitionError, OffsetOutOfRangeError

from daemon.errors import BrokerUnavailable, Fenced
from daemon.kafka import client
from daemon.kafka.assignment import Kind, Note, Settled, settle
from daemon.kafka.connecting import release
from daemon.kafka.failures import CLIENT_ERRORS, translated
from daemon.kafka.joining import hold_joins, is_replaced
from daemon.kafka.refusals import Right
from daemon.kafka.unpacking import unpack_quickly
from daemon.types import Polled, Record, TopicPartition

_STABLE = "<stable>"
_CLOSE_SECONDS = 5.0
# The broker looks for transactions that are too old every ten seconds.
_SWEEP_SECONDS = 15.0


class _Notes(client.RebalanceListener):
    """What happened to the assignment, in order. It is called on the thread that sends heartbeats: it only writes.

    Once partitions have left, no next rebalance may begin before the poll after the one that told so.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._notes: list[Note] = []
        self._held = False

    def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        self._add("came", assigned)

    def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        self._add("left", revoked)

    def on_partitions_lost(self, lost: Iterable[TopicPartition]) -> None:
        self._add("lost", lost)

    def take(self) -> list[Note]:
        with self._lock:
            notes, self._notes = self._notes, []
        return notes

    def held(self) -> bool:
        """Return whether what has left may still be written."""
        return self._held

    def release(self) -> None:
        """Let the next rebalance begin, unless there is something that was never told."""
        with self._lock:
            self._held = any(kind == "left" for kind, _ in self._notes)

    def _add(self, kind: Kind, partitions: Iterable[TopicPartition]) -> None:
        with self._lock:
            self._held = self._held or kind == "left"
            self._notes.append((kind, frozenset(TopicPartition(*tp) for tp in partitions)))


class KafkaSource:
    """The real `daemon.ports.Source`. Partitions come and go inside `poll` only; use it from one thread."""

    def __init__(self, settings: client.ConnectionSettings, topics: Sequence[str]) -> None:
        self._settings = settings
        self._notes = _Notes()
        self._owned: frozenset[TopicPartition] = frozenset()
        self._delivered: set[TopicPartition] = set()
        self._stranded: set[TopicPartition] = set()  # nothing is left there where we stand
        self._topic_ids: dict[str, object] = {}
        self._closed = False
        try:
            self._consumer = client.group_consumer(settings)
        except CLIENT_ERRORS as error:
            raise translated(error, f"joining group {settings.group_id!r}") from error
        self._contact = client.Contact(self._consumer)
        self._topics = list(topics)
        hold_joins(self._consumer, self._notes.held)
        unpack_quickly(self._consumer)
        self._consumer.subscribe(self._topics, listener=self._notes)
        self._membership = self._consumer.group_metadata()

    @property
    def closed(self) -> bool:
        """Whether `close` was called; then it holds nothing any more."""
        return self._closed

    def poll(self, records_max: int, wait_seconds: float) -> Polled:
        """Return what has arrived, at most `records_max` records, and which partitions came (paused) and went.

        A partition among both went and came back: its state elsewhere may have moved, or there is nothing any more
        where we stood. Those leaving have no other owner before the next poll. Raises BrokerUnavailable, and Fenced
        when another member has our instance id.
        """
        self._notes.release()
        fetched = self._fetch(records_max, wait_seconds)
        if self._settings.instance_id is not None and is_replaced(self._consumer):
            raise Fenced(
                f"group {self._settings.group_id!r}: another member took over the instance id"
                f" {self._settings.instance_id!r}, so this one must stop; give each member an id of its own"
            )
        if fetched:
            client.await_topics(self._consumer)
        self._note_other_topics()
        settled = self._settle()
        # Nothing of a partition may come out between its assignment and `resume_at`, whatever was fetched of it.
        records = {TopicPartition(*tp): batch for tp, batch in fetched.items() if tp in self._delivered}
        if not (records or settled.came or settled.went) and self._contact.is_lost():
            servers = ", ".join(self._settings.bootstrap_servers)
            raise BrokerUnavailable(f"no broker of {servers} is connected: trying again")
        return Polled(records, settled.came, settled.went, settled.leaving)

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
        client.forget_answer(self._consumer, client.native(partition))
        try:
            return self._consumer.committed(client.native(partition), timeout_ms=wait_seconds * 1000)
        except CLIENT_ERRORS as error:
            where = f"{partition.topic}/{partition.partition} in group {self._settings.group_id!r}"
            tried = Right("Read", "topic", partition.topic)
            raise translated(error, f"asking for the committed offset of {where}", tried) from error

    def lag(self) -> Mapping[TopicPartition, int]:
        """Return, for each partition delivered and fetched once, how many offsets lie between us and its end."""
        return {tp: lag for tp in self._delivered if (lag := self._lag_of(tp)) is not None}

    def membership(self) -> client.GroupMetadata:
        """Return the proof of membership as of the last poll."""
        return self._membership

    def read(self, topics: Sequence[str]) -> None:
        """Read these topics from now on; what was read before stays ours through the rebalance that this causes."""
        self._topics = list(topics)
        self._consumer.subscribe(self._topics, listener=self._notes)

    def close(self) -> None:
        """Leave the group, unless it knows us by an instance id; then our place is kept for the session timeout."""
        if self._closed:
            return
        self._closed = True
        self._owned, self._delivered = frozenset(), set()
        try:
            release(self._consumer, _CLOSE_SECONDS)
        except CLIENT_ERRORS as error:
            raise translated(error, f"leaving group {self._settings.group_id!r}") from error

    def _fetch(self, records_max: int, wait_seconds: float) -> Mapping[TopicPartition, Sequence[Record]]:
        try:
            return self._consumer.poll(timeout_ms=wait_seconds * 1000, max_records=records_max)
        except NoOffsetForPartitionError:
            return {}  # just assigned, and without a position for a moment more
        except LogTruncationError as error:
            return self._strand(error.divergent_offsets)
        except OffsetOutOfRangeError as error:
            return self._strand(error.args[0])
        except CLIENT_ERRORS as error:
            tried = Right("Read", "topic", ", ".join(self._topics))
            raise translated(error, f"reading as a member of group {self._settings.group_id!r}", tried) from error

    def _strand(self, partitions: Iterable[TopicPartition]) -> Mapping[TopicPartition, Sequence[Record]]:
        self._stranded.update(TopicPartition(*tp) for tp in partitions)
        return {}

    def _note_other_topics(self) -> None:
        """Give up our place in topics that were deleted and created again, also where offsets reach as far."""
        for topic in self._topics:
            known = client.topic_id(self._consumer, topic)
            if known is not None and self._topic_ids.setdefault(topic, known) != known:
                self._topic_ids[topic] = known
                self._stranded.update(tp for tp in self._owned if tp.topic == topic)

    def _settle(self) -> Settled:
        """Bring what we own up to the notes; return what came and went since the last call, and what may be written."""
        settled = settle(self._owned, frozenset(self._stranded), self._notes.take())
        self._owned = settled.owned
        self._stranded.clear()
        self._delivered -= settled.went
        self._hold(settled.came)
        # A rebalance is on its way while the state is not stable: the old proof lets the broker refuse us.
        membership = self._consumer.group_metadata()
        if membership.state == _STABLE:
            self._membership = membership
        return settled

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
