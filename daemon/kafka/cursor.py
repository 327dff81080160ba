"""Reads one partition outside the group, committed records only, and knows how far it really got."""

from __future__ import annotations

from collections.abc import Sequence

from kafka.errors import LogTruncationError, OffsetOutOfRangeError

from daemon.errors import BrokerUnavailable
from daemon.kafka import client
from daemon.kafka.connecting import release
from daemon.kafka.failures import CLIENT_ERRORS, translated
from daemon.kafka.refusals import Right
from daemon.kafka.unpacking import unpack_quickly
from daemon.types import Record, TopicPartition

_ASK_SECONDS = 10.0
_CLOSE_SECONDS = 2.0


class KafkaCursor:
    """The real `daemon.ports.Cursor`; the partition must exist."""

    def __init__(self, settings: client.ConnectionSettings, partition: TopicPartition, start: int) -> None:
        self._partition = client.native(partition)
        self._closed = False
        try:
            self._consumer = client.lone_consumer(settings, committed=True)
        except CLIENT_ERRORS as error:
            raise translated(error, self._doing, self._tried) from error
        unpack_quickly(self._consumer)
        self._contact = client.Contact(self._consumer)
        try:
            self._consumer.assign([self._partition])
            self._position = max(start, self._first())
            self._consumer.seek(self._partition, self._position)
        except CLIENT_ERRORS as error:
            self.close()
            raise translated(error, self._doing, self._tried) from error

    @property
    def position(self) -> int:
        """The offset after the last one passed, control records and aborted ones included."""
        return self._position

    @property
    def closed(self) -> bool:
        """Whether `close` was called; then it holds nothing any more."""
        return self._closed

    def fetch(self, records_max: int, wait_seconds: float) -> Sequence[Record]:
        """Return the next records, none when nothing came within `wait_seconds`; `position` may move all the same.

        What was deleted before it was read is passed over. Raises BrokerUnavailable.
        """
        try:
            fetched = self._consumer.poll(timeout_ms=wait_seconds * 1000, max_records=records_max)
            self._position = self._consumer.position(self._partition, timeout_ms=0) or self._position
        except (OffsetOutOfRangeError, LogTruncationError):
            return self._skip_deleted()
        except CLIENT_ERRORS as error:
            raise translated(error, self._doing, self._tried) from error
        if not fetched and self._contact.is_lost():
            raise BrokerUnavailable(f"{self._doing}: no broker is connected")
        return fetched.get(self._partition, ())

    def close(self) -> None:
        """Release the connection."""
        if self._closed:
            return
        self._closed = True
        try:
            release(self._consumer, _CLOSE_SECONDS)
        except CLIENT_ERRORS as error:
            raise translated(error, self._doing, self._tried) from error

    @property
    def _doing(self) -> str:
        return f"reading {self._partition.topic}/{self._partition.partition}"

    @property
    def _tried(self) -> Right:
        return Right("Read", "topic", self._partition.topic)

    def _first(self) -> int:
        return self._consumer.beginning_offsets([self._partition], timeout_ms=_ASK_SECONDS * 1000)[self._partition]

    def _skip_deleted(self) -> Sequence[Record]:
        try:
            self._position = max(self._position, self._first())
            self._consumer.seek(self._partition, self._position)
        except CLIENT_ERRORS as error:
            raise translated(error, self._doing, self._tried) from error
        return ()
