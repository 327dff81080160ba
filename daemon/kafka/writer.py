"""Writes records and offsets in one transaction, and never believes the client library when it says that it did."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any, cast

from kafka.errors import KafkaError

from daemon.errors import TransactionFailed
from daemon.kafka import client
from daemon.kafka.deadline import within
from daemon.kafka.failures import failed_opening, failed_transaction
from daemon.kafka.refusals import Right
from daemon.ports import Membership
from daemon.types import Outgoing, TopicPartition

_DROP_SECONDS = 30.0
# Less than the broker's own timeout, so that a transaction is given up by us before it is aborted behind our back.
_COMMIT_SHARE = 0.6


class KafkaWriter:
    """One transactional identity; every error costs the producer, and `open` builds the next one."""

    def __init__(self, settings: client.ConnectionSettings, identity: str) -> None:
        self._settings = settings
        self._identity = identity
        self._producer: client.Producer | None = None

    def open(self) -> None:
        """Take over the identity: fence older holders, end what they left open. Raises BrokerUnavailable."""
        self._abandon()
        producer: client.Producer | None = None
        try:
            producer = client.producer(self._settings, self._identity)
            producer.init_transactions()  # which waits for `connect_timeout_seconds` at most
        except BaseException as error:
            drop(producer)
            if isinstance(error, Exception):
                tried = Right("Write", "transactional-id", self._identity)
                raise failed_opening(error, f"opening identity {self._identity!r}", tried) from error
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
        try:
            self._transact(self._producer, records, offsets, cast("client.GroupMetadata", membership))
        except BaseException as error:
            cause = last_error(self._producer) or error
            self._abandon()
            if isinstance(error, Exception) and isinstance(cause, Exception):
                tried = Right("Write", "topic", ", ".join(sorted({record.topic for record in records})))
                raise failed_transaction(cause, f"transaction of {self._identity!r}", tried) from error
            raise

    def close(self) -> None:
        """Let go of the identity without waiting; what it left open ends when it is opened again, or by timeout."""
        self._abandon()

    def _transact(
        self,
        producer: client.Producer,
        records: Sequence[Outgoing],
        offsets: Mapping[TopicPartition, int],
        membership: client.GroupMetadata,
    ) -> None:
        give_up = time.monotonic() + self._settings.transaction_timeout_seconds * _COMMIT_SHARE
        epoch = producer_epoch(producer)
        producer.begin_transaction()
        send_all(producer, records, give_up - time.monotonic())
        if offsets:
            self._move(producer, offsets, membership, give_up - time.monotonic())
        producer.commit_within(give_up - time.monotonic())
        # The library forgets a transaction that the broker aborted, takes a new epoch and reports success.
        if producer_epoch(producer) is not epoch:
            raise TransactionFailed(f"identity {self._identity!r} got a new epoch while committing: outcome unknown")

    def _move(
        self,
        producer: client.Producer,
        offsets: Mapping[TopicPartition, int],
        membership: client.GroupMetadata,
        wait_seconds: float,
    ) -> None:
        # The broker lets anyone move the offsets of an empty group; a member that never joined must not.
        if membership.generation_id < 0:
            raise TransactionFailed("not a member of the group yet, or not any more: poll before committing offsets")
        moved = {client.native(partition): client.native_offset(offset) for partition, offset in offsets.items()}
        producer.send_offsets_within(wait_seconds, moved, membership)

    def _abandon(self) -> None:
        producer, self._producer = self._producer, None
        drop(producer)


def send_all(producer: client.Producer, records: Sequence[Outgoing], wait_seconds: float) -> None:
    """Send `records` and check that each was acknowledged; raises the error of the first that was not."""
    give_up = time.monotonic() + wait_seconds
    sent = [
        producer.send(
            record.topic,
            value=record.value,
            key=record.key,
            headers=list(record.headers),
            partition=record.partition,
        )
        for record in records
    ]
    # This only hurries: it takes a batch that the library splits in two for a failed one, which the futures do not.
    with contextlib.suppress(KafkaError):
        within(give_up - time.monotonic(), lambda: producer.flush(wait_seconds))
    for one in sent:
        one.get(max(give_up - time.monotonic(), 0.0))


def producer_epoch(producer: client.Producer) -> object:
    """Return the object that the library replaces whenever it takes another producer id or epoch."""
    return cast("Any", producer)._transaction_manager.producer_id_and_epoch  # noqa: SLF001  # no public way in 3.0


def last_error(producer: client.Producer) -> BaseException | None:
    """Return the error that put the library's transaction out of order, which later errors hide."""
    return cast("BaseException | None", cast("Any", producer)._transaction_manager.last_error)  # noqa: SLF001


def drop(producer: client.Producer | None) -> None:
    """Let go of `producer` without waiting for anything that it still wants to send."""
    if producer is None:
        return

    def close() -> None:
        # Its own close() flushes first, and when that fails leaves the thread and the socket behind.
        sender = cast("Any", producer)._sender  # noqa: SLF001
        sender.force_close()
        sender.join(_DROP_SECONDS)
        with contextlib.suppress(KafkaError):
            producer.close(0)

    threading.Thread(target=close, daemon=True, name="kafka-drop").start()
