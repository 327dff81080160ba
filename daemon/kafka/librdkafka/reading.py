"""From librdkafka's messages to records, and what its other messages tell."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from confluent_kafka import Consumer, KafkaError, KafkaException, Message

from daemon.types import TopicPartition

PATIENCE_SECONDS = 1.0
_NO_TIME = -1
_new = tuple.__new__
_PASSING = {
    KafkaError._TRANSPORT,  # noqa: SLF001  # the library's names for its own errors
    KafkaError._ALL_BROKERS_DOWN,  # noqa: SLF001
    KafkaError._RESOLVE,  # noqa: SLF001
    KafkaError.UNKNOWN_TOPIC_OR_PART,  # a topic that comes later, or that was deleted
    KafkaError._UNKNOWN_TOPIC,  # noqa: SLF001
    KafkaError._UNKNOWN_PARTITION,  # noqa: SLF001
    KafkaError.UNKNOWN_TOPIC_ID,
    KafkaError._MAX_POLL_EXCEEDED,  # noqa: SLF001  # what was ours is told as lost
}
_NOTHING_LEFT = {KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE, KafkaError._LOG_TRUNCATION}  # noqa: SLF001


class Read(NamedTuple):
    """One record."""

    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes]]


@dataclass(slots=True)
class Consumed:
    """What one call brought: records, where we are now, and where there is nothing any more at our position."""

    records: dict[TopicPartition, list[Read]] = field(default_factory=dict)
    positions: dict[TopicPartition, int] = field(default_factory=dict)
    stranded: set[TopicPartition] = field(default_factory=set)
    trouble: KafkaException | None = None  # that does not pass by itself


def consumed(consumer: Consumer, records_max: int, wait_seconds: float) -> list[Message]:
    """Return at most so many messages as soon as there are any: asked for many, the library waits for all of them."""
    first = consumer.consume(1, wait_seconds)
    return [*first, *consumer.consume(records_max - 1, 0.0)] if first and records_max > 1 else first


def sorted_out(messages: Sequence[Message]) -> Consumed:
    """Return what `messages` say, in order: trouble never takes records with it."""
    found, places = Consumed(), dict[tuple[str | None, int | None], list[Read]]()
    for message in messages:
        if message.error() is not None:
            _tell(message, found)
            continue
        place = message.topic(), message.partition()
        records = places.get(place)
        if records is None:
            records = places[place] = []
        records.append(_read(message))
    for place, records in places.items():
        partition = TopicPartition(*place)  # type: ignore[arg-type]
        found.records[partition] = records
        found.positions[partition] = max(found.positions.get(partition, 0), records[-1].offset + 1)
    return found


def _tell(message: Any, found: Consumed) -> None:
    error, partition = message.error(), TopicPartition(message.topic(), message.partition())
    if error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001
        found.positions[partition] = message.offset()
    elif error.code() in _NOTHING_LEFT:
        found.stranded.add(partition)
    elif error.code() not in _PASSING and (found.trouble is None or error.code() == KafkaError._FATAL):  # noqa: SLF001
        found.trouble = KafkaException(error)  # of several the first, unless there is one that ends us


def _read(message: Any) -> Read:  # the library's types say that everything may be missing, or text
    kind, time_ms = message.timestamp()
    headers = message.headers()
    told = [(name, value or b"") for name, value in headers] if headers else ()
    # what Read(...) does, without the call in between: this is done for every record
    return _new(Read, (message.offset(), time_ms if kind else _NO_TIME, message.key(), message.value(), told))


class Contact:
    """Knows since when no broker has answered: the library tells that it lost them, and not that they are back."""

    def __init__(self) -> None:
        self.fatal: KafkaError | None = None
        self._lost_since: float | None = None

    def on_error(self, error: KafkaError) -> None:
        """Take in what the library tells outside any call."""
        if error.fatal():
            self.fatal = error
        if error.code() == KafkaError._ALL_BROKERS_DOWN and self._lost_since is None:  # noqa: SLF001
            self._lost_since = time.monotonic()

    def is_lost(self, consumer: Consumer) -> bool:
        """Return whether no broker has answered for more than a second, and none answers now."""
        if self._lost_since is None:
            return False
        try:
            consumer.list_topics(timeout=PATIENCE_SECONDS)
        except KafkaException:
            return time.monotonic() - self._lost_since > PATIENCE_SECONDS
        self._lost_since = None
        return False
