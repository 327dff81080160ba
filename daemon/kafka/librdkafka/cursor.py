"""Reads one partition outside the group through librdkafka, and knows how far it really got."""

from __future__ import annotations

from collections.abc import Sequence

import confluent_kafka
from confluent_kafka import Consumer, KafkaException

from daemon.errors import BrokerUnavailable
from daemon.kafka.client import ConnectionSettings
from daemon.kafka.deadline import within
from daemon.kafka.failures import translated
from daemon.kafka.librdkafka import options
from daemon.kafka.librdkafka.failures import raised
from daemon.kafka.librdkafka.reading import Contact, Read, consumed, sorted_out
from daemon.kafka.refusals import Right
from daemon.types import TopicPartition

_ASK_SECONDS = 10.0
_CLOSE_SECONDS = 5.0

Native = confluent_kafka.TopicPartition


class LibrdkafkaCursor:
    """`daemon.ports.Cursor` through librdkafka; the partition must exist."""

    def __init__(self, settings: ConnectionSettings, partition: TopicPartition, start: int) -> None:
        self._partition = partition
        self._closed = False
        self._contact = Contact()
        self._consumer = Consumer(options.consumer(settings, self._contact.on_error))
        try:
            self._position = max(start, self._first())
        except BaseException:
            self.close()
            raise
        self._consumer.assign([Native(*partition, self._position)])

    @property
    def position(self) -> int:
        """The offset after the last one passed, control records and aborted ones included."""
        return self._position

    @property
    def closed(self) -> bool:
        """Whether `close` was called; then it holds nothing any more."""
        return self._closed

    def fetch(self, records_max: int, wait_seconds: float) -> Sequence[Read]:
        """Return the next records, none when nothing came within `wait_seconds`; `position` may move all the same.

        What was deleted before it was read is passed over. Raises BrokerUnavailable.
        """
        try:
            messages = consumed(self._consumer, records_max, wait_seconds)
            found = sorted_out(messages)
            if found.trouble is not None:
                raise found.trouble
        except KafkaException as error:
            self._consumer.assign([Native(*self._partition, self._position)])  # what came with it comes again
            raise translated(raised(error), self._doing, self._tried) from error
        if found.stranded:
            self._position = max(self._position, self._first())
            self._consumer.assign([Native(*self._partition, self._position)])
            return ()
        self._position = max(self._position, found.positions.get(self._partition, 0))
        if not messages and self._contact.is_lost(self._consumer):
            raise BrokerUnavailable(f"{self._doing}: no broker is connected")
        return found.records.get(self._partition, ())

    def close(self) -> None:
        """Release the connection."""
        if self._closed:
            return
        self._closed = True
        try:
            within(_CLOSE_SECONDS, self._consumer.close)
        except TimeoutError as error:
            raise BrokerUnavailable(f"{self._doing}: it does not end") from error

    @property
    def _doing(self) -> str:
        return f"reading {self._partition.topic}/{self._partition.partition}"

    @property
    def _tried(self) -> Right:
        return Right("Read", "topic", self._partition.topic)

    def _first(self) -> int:
        try:
            first, _ = self._consumer.get_watermark_offsets(Native(*self._partition), timeout=_ASK_SECONDS)
        except KafkaException as error:
            raise translated(raised(error), self._doing, self._tried) from error
        return first
