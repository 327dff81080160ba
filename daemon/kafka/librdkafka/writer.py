"""Writes records and offsets in one transaction through librdkafka, which tells the truth about what became of it."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from typing import cast

import confluent_kafka
from confluent_kafka import KafkaError as NativeError
from confluent_kafka import KafkaException, Message, Producer

from daemon.errors import TransactionFailed
from daemon.kafka.client import ConnectionSettings
from daemon.kafka.failures import failed_opening, failed_transaction
from daemon.kafka.librdkafka import options
from daemon.kafka.librdkafka.failures import of, raised
from daemon.kafka.librdkafka.reading import Contact
from daemon.kafka.librdkafka.source import Proof
from daemon.kafka.refusals import Right
from daemon.ports import Membership
from daemon.types import Outgoing, TopicPartition

# Less than the broker's own timeout, so that a transaction is given up by us before it is aborted behind our back.
_COMMIT_SHARE = 0.6
_ROOM_SECONDS = 0.1  # between two tries when there is no room for one more record
_UNKNOWN = -1  # a partition that the key decides on

Native = confluent_kafka.TopicPartition


class LibrdkafkaWriter:
    """One transactional identity; every error costs the producer, and `open` builds the next one."""

    def __init__(self, settings: ConnectionSettings, identity: str) -> None:
        self._settings = settings
        self._identity = identity
        self._producer: Producer | None = None
        self._refused: NativeError | None = None  # the first record that a broker did not take

    def open(self) -> None:
        """Take over the identity: fence older holders, end what they left open. Raises BrokerUnavailable."""
        self._abandon()
        producer = Producer(options.producer(self._settings, self._identity, Contact().on_error))
        try:
            producer.init_transactions(self._settings.connect_timeout_seconds)
        except BaseException as error:
            _drop(producer)
            if isinstance(error, KafkaException):
                tried = Right("Write", "transactional-id", self._identity)
                raise failed_opening(raised(error), f"opening identity {self._identity!r}", tried) from error
            raise
        self._producer = producer

    def commit(
        self, records: Sequence[Outgoing], offsets: Mapping[TopicPartition, int], membership: Membership
    ) -> None:
        """Write all records and move the group's offsets, or do nothing. Raises TransactionFailed or Fenced."""
        if self._producer is None:
            raise TransactionFailed(f"identity {self._identity!r} is not open: call open() before commit()")
        if not records and not offsets:
            return
        self._refused = None
        try:
            self._transact(self._producer, records, offsets, cast("Proof", membership))
        except BaseException as error:
            self._abandon()
            if isinstance(error, (KafkaException, TransactionFailed, BufferError)):
                # what a record was refused for tells more than that the transaction cannot be committed then
                refused = cast("NativeError | None", self._refused)  # a callback may have set it
                cause = raised(error) if refused is None else of(refused)
                tried = Right("Write", "topic", ", ".join(sorted({record.topic for record in records})))
                raise failed_transaction(cause, f"transaction of {self._identity!r}", tried) from error
            raise

    def close(self) -> None:
        """Let go of the identity without waiting; what it left open ends when it is opened again, or by timeout."""
        self._abandon()

    def _transact(
        self, producer: Producer, records: Sequence[Outgoing], offsets: Mapping[TopicPartition, int], proof: Proof
    ) -> None:
        give_up = time.monotonic() + self._settings.transaction_timeout_seconds * _COMMIT_SHARE
        producer.begin_transaction()
        for record in records:
            self._send(producer, record, give_up)
        if offsets:
            # The broker lets anyone move the offsets of an empty group; a member that never joined must not.
            if not proof.member_id:
                raise TransactionFailed("not a member of the group yet, or not any more: poll before committing")
            moved = [Native(*partition, offset) for partition, offset in offsets.items()]
            producer.send_offsets_to_transaction(moved, proof.metadata, _left(give_up))
        producer.commit_transaction(_left(give_up))

    def _send(self, producer: Producer, record: Outgoing, give_up: float) -> None:
        while True:
            try:
                producer.produce(
                    record.topic,
                    value=record.value,
                    key=record.key,
                    partition=_UNKNOWN if record.partition is None else record.partition,
                    on_delivery=self._delivered,
                    headers=list(record.headers),
                )
            except BufferError:
                if time.monotonic() > give_up:
                    raise
                producer.poll(_ROOM_SECONDS)
            else:
                producer.poll(0.0)
                return

    def _delivered(self, error: NativeError | None, _message: Message) -> None:
        if error is not None and self._refused is None and not error.txn_requires_abort():
            self._refused = error

    def _abandon(self) -> None:
        producer, self._producer = self._producer, None
        _drop(producer)


def _left(give_up: float) -> float:
    return max(give_up - time.monotonic(), 0.0)


def _drop(producer: Producer | None) -> None:
    """Let go of `producer` without waiting for anything that it still wants to send."""
    if producer is None:
        return
    holder = [producer]

    def end() -> None:
        holder.pop().purge()  # the last reference: the library's threads end with it

    threading.Thread(target=end, daemon=True, name="librdkafka-drop").start()
