"""Reads the group's share of the input through librdkafka, and lets nothing out before its state was restored."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

import confluent_kafka
from confluent_kafka import Consumer, KafkaError, KafkaException

from daemon.errors import BrokerUnavailable, Fenced
from daemon.kafka.assignment import Kind, Note, Settled, settle
from daemon.kafka.client import ConnectionSettings
from daemon.kafka.deadline import within
from daemon.kafka.failures import translated
from daemon.kafka.librdkafka import options
from daemon.kafka.librdkafka.failures import of, raised
from daemon.kafka.librdkafka.reading import Consumed, Contact, consumed, sorted_out
from daemon.kafka.librdkafka.waiting import Waiting
from daemon.kafka.refusals import Right
from daemon.types import Polled, TopicPartition

TOPICS_SECONDS: Final = 30.0  # between two looks whether a topic is still the same one
_CLOSE_SECONDS = 10.0
_SEEK_SECONDS = 10.0
_SEEK_PAUSE_SECONDS = 0.005
# Told as a trouble, what is fatal is called so, and only its text says what it is.
_FENCED = (KafkaError.FENCED_INSTANCE_ID, KafkaError._FENCED)  # noqa: SLF001
_ANYWHERE = 0  # an offset that nobody has to be asked for
# The broker looks for transactions that are too old every ten seconds.
_SWEEP_SECONDS = 15.0

Native = confluent_kafka.TopicPartition


@dataclass(frozen=True, slots=True)
class Proof:
    """The library's proof of membership in a group's generation, and as whom it was given."""

    metadata: object
    member_id: str


class LibrdkafkaSource:
    """`daemon.ports.Source` through librdkafka. Partitions come and go inside `poll` only; use it from one thread.

    `topic_id` tells what a topic is now: by it one that was deleted and created again is recognised.
    """

    def __init__(
        self, settings: ConnectionSettings, topics: Sequence[str], topic_id: Callable[[str], str | None]
    ) -> None:
        self._settings, self._topic_id = settings, topic_id
        self._lock = threading.Lock()
        self._notes: list[Note] = []
        self._owned: frozenset[TopicPartition] = frozenset()
        self._delivered: set[TopicPartition] = set()
        self._stranded: set[TopicPartition] = set()  # nothing is left there where we stand
        self._stopped: set[TopicPartition] = set()  # the library reads no more there, until it begins anew
        self._trouble: KafkaException | None = None  # that came with records, and is told by the next poll
        self._positions: dict[TopicPartition, int] = {}
        self._topic_ids: dict[str, str] = {}
        self._closed = False
        self._contact = Contact()
        self._consumer = Consumer(options.member(settings, self._contact.on_error))
        self._proof = Proof(self._consumer.consumer_group_metadata(), "")
        self.read(topics)
        self._waiting = Waiting(partial(consumed, self._consumer))

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
        self._note_other_topics()  # before anything is read that would be lost with what this may raise
        found = self._read(records_max, wait_seconds)
        self._demand_place(found.trouble)
        self._stranded |= found.stranded
        settled = self._settle()
        # Nothing of a partition may come out between its assignment and `resume_at`, whatever was fetched of it.
        records = {tp: batch for tp, batch in found.records.items() if tp in self._delivered}
        self._positions.update((tp, at) for tp, at in found.positions.items() if tp in self._delivered)
        if not (records or settled.came or settled.went) and self._contact.is_lost(self._consumer):
            servers = ", ".join(self._settings.bootstrap_servers)
            raise BrokerUnavailable(f"no broker of {servers} is connected: trying again")
        return Polled(records, settled.came, settled.went, settled.leaving)

    def resume_at(self, partition: TopicPartition, offset: int) -> None:
        """Deliver `partition` from `offset` on; without effect when it is not ours any more."""
        if partition not in self._owned:
            return
        if partition in self._stopped:  # where it has found nothing, the library does not go on, wherever it is sent
            self._stopped.discard(partition)
            self._consumer.incremental_unassign([Native(*partition)])
            self._consumer.incremental_assign([Native(*partition, offset)])
        elif not self._seek(Native(*partition, offset)):
            return
        self._consumer.resume([Native(*partition)])
        self._delivered.add(partition)
        self._positions[partition] = offset

    def pause(self, partition: TopicPartition) -> None:
        """Stop delivering `partition`; what was fetched ahead is dropped when `resume_at` seeks."""
        self._delivered.discard(partition)
        if partition in self._owned:
            self._consumer.pause([Native(*partition)])

    def committed(self, partition: TopicPartition) -> int | None:
        """Return the group's committed offset, None when there is none; waits for open transactions.

        Raises BrokerUnavailable when they outlive the transaction timeout.
        """
        wait_seconds = self._settings.transaction_timeout_seconds + _SWEEP_SECONDS
        try:
            (found,) = self._consumer.committed([Native(*partition)], timeout=wait_seconds)
        except KafkaException as error:
            where = f"{partition.topic}/{partition.partition} in {self._group}"
            tried = Right("Read", "topic", partition.topic)
            raise translated(raised(error), f"asking for the committed offset of {where}", tried) from error
        if found.error is not None:
            raise translated(of(found.error), f"asking for the committed offset of {self._group}")
        return found.offset if found.offset >= 0 else None

    def lag(self) -> Mapping[TopicPartition, int]:
        """Return, for each partition delivered and fetched once, how many offsets lie between us and its end."""
        return {tp: lag for tp in self._delivered if (lag := self._lag_of(tp)) is not None}

    def membership(self) -> Proof:
        """Return the proof of membership, of the present generation as long as we are who we were at the last poll.

        The library joins again by itself when others come and go. What it has to give up stays ours until the poll
        after the one that told so, in the new generation, too. When we lost our place, it takes another name: then the
        old proof lets the broker refuse us.
        """
        metadata = self._consumer.consumer_group_metadata()
        # In this order: a name that is still the old one now was so when the proof was made.
        return Proof(metadata, self._proof.member_id) if self._is_same() else self._proof

    def read(self, topics: Sequence[str]) -> None:
        """Read these topics from now on; what was read before stays ours through the rebalance that this causes."""
        self._topics = list(topics)
        self._topics_due = time.monotonic()
        self._consumer.subscribe(
            self._topics, on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_lost
        )

    def close(self) -> None:
        """Leave the group, unless it knows us by an instance id; then our place is kept for the session timeout."""
        if self._closed:
            return
        self._closed = True
        self._owned, self._delivered = frozenset(), set()
        self._waiting.close()
        try:
            within(_CLOSE_SECONDS, self._consumer.close)
        except TimeoutError as error:
            raise BrokerUnavailable(f"leaving {self._group}: no answer within {_CLOSE_SECONDS:g} s") from error

    @property
    def _group(self) -> str:
        return f"group {self._settings.group_id!r}"

    def _read(self, records_max: int, wait_seconds: float) -> Consumed:
        """Return what has arrived; trouble that came with records is told by the next call."""
        trouble, self._trouble = self._trouble, None
        try:
            if trouble is not None:
                raise trouble
            found = sorted_out(self._waiting.consume(records_max, wait_seconds))
        except KafkaException as error:
            if trouble is None:
                # The library has taken records with it, nobody knows which: everything is read again.
                self._stranded |= self._delivered
            tried = Right("Read", "topic", ", ".join(self._topics))
            raise translated(raised(error), f"reading as a member of {self._group}", tried) from error
        self._trouble = found.trouble
        return found

    # what the library tells, while it consumes

    def _on_assign(self, consumer: Consumer, partitions: Sequence[Native]) -> None:
        # Without a position it would ask for the committed offset first, and wait. One that it has to ask for, as the
        # end, it asks for again when the answer comes after a seek, and goes there in spite of that.
        consumer.incremental_assign([Native(each.topic, each.partition, _ANYWHERE) for each in partitions])
        consumer.pause(list(partitions))
        self._note("came", partitions)

    def _on_revoke(self, consumer: Consumer, partitions: Sequence[Native]) -> None:
        self._note("left", partitions)
        if not self._closed:
            self._waiting.hold()  # they belong to nobody else until this returns
        consumer.incremental_unassign(list(partitions))

    def _on_lost(self, consumer: Consumer, partitions: Sequence[Native]) -> None:
        self._note("lost", partitions)
        consumer.incremental_unassign(list(partitions))

    def _note(self, kind: Kind, partitions: Iterable[Native]) -> None:
        with self._lock:
            self._notes.append((kind, frozenset(TopicPartition(each.topic, each.partition) for each in partitions)))

    # after it

    def _demand_place(self, trouble: KafkaException | None) -> None:
        fatal = self._contact.fatal
        if trouble is not None and trouble.args[0].code() == KafkaError._FATAL:  # noqa: SLF001
            fatal = trouble.args[0]
        if fatal is None:
            return
        if fatal.code() in _FENCED or any(KafkaError(code).str() in fatal.str() for code in _FENCED):
            raise Fenced(
                f"{self._group}: another member took over the instance id {self._settings.instance_id!r}, so this one"
                " must stop; give each member an id of its own"
            )
        raise translated(of(fatal), f"reading as a member of {self._group}")

    def _note_other_topics(self) -> None:
        """Give up our place in topics that were deleted and created again, also where offsets reach as far."""
        now = time.monotonic()
        if now < self._topics_due:
            return
        self._topics_due = now + TOPICS_SECONDS
        for topic in self._topics:
            known = self._topic_id(topic)
            if known is not None and self._topic_ids.setdefault(topic, known) != known:
                self._topic_ids[topic] = known
                self._stranded.update(tp for tp in self._owned if tp.topic == topic)

    def _settle(self) -> Settled:
        """Bring what we own up to the notes; return what came and went since the last call, and what may be written."""
        with self._lock:
            notes, self._notes = self._notes, []
        settled = settle(self._owned, frozenset(self._stranded), notes)
        self._stopped = (self._stopped | self._stranded) & settled.owned
        self._owned = settled.owned
        self._stranded.clear()
        self._delivered -= settled.went
        for partition in settled.went:
            self._positions.pop(partition, None)
        metadata, member_id = self._consumer.consumer_group_metadata(), self._consumer.memberid() or ""
        self._proof = Proof(metadata, member_id)
        return settled

    def _is_same(self) -> bool:
        return self._consumer.memberid() == self._proof.member_id

    def _seek(self, place: Native) -> bool:
        """Go to `place`; False when it is not ours any more. What was just assigned cannot be sought in at once."""
        give_up, pause = time.monotonic() + _SEEK_SECONDS, threading.Event()
        while True:
            try:
                self._consumer.seek(place)
            except KafkaException as error:
                code = error.args[0].code()
                if code in {KafkaError._UNKNOWN_PARTITION, KafkaError._UNKNOWN_TOPIC}:  # noqa: SLF001
                    return False
                if code != KafkaError._STATE or time.monotonic() > give_up:  # noqa: SLF001
                    raise translated(raised(error), f"going to {place.topic}/{place.partition}") from error
                pause.wait(_SEEK_PAUSE_SECONDS)
            else:
                return True

    def _lag_of(self, partition: TopicPartition) -> int | None:
        position = self._positions.get(partition)
        _, end = self._consumer.get_watermark_offsets(Native(*partition), cached=True)
        return None if position is None or end < 0 else max(end - position, 0)
