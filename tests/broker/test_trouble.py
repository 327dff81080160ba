"""What goes wrong while a member reads through librdkafka takes no record with it."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

import confluent_kafka
import pytest
from confluent_kafka import KafkaError, KafkaException

from daemon.errors import BrokerUnavailable, ConfigError, Fenced
from daemon.kafka import ConnectionSettings, KafkaBroker
from daemon.kafka.librdkafka import LibrdkafkaBroker
from daemon.kafka.librdkafka import source as module
from daemon.kafka.librdkafka.source import LibrdkafkaSource
from daemon.types import Outgoing, TopicPartition, TopicSpec

pytestmark = pytest.mark.broker

RECORDS = 60
WAIT_SECONDS = 60.0
REFUSED = KafkaError.TOPIC_AUTHORIZATION_FAILED


class Message:
    """A record or a trouble, as the library tells of it."""

    def __init__(self, place: TopicPartition, offset: int, code: int | None = None, words: str | None = None) -> None:
        self._place, self._offset = place, offset
        self._error = None if code is None else KafkaError(code, words)

    def error(self) -> KafkaError | None:
        return self._error

    def topic(self) -> str:
        return self._place.topic

    def partition(self) -> int:
        return self._place.partition

    def offset(self) -> int:
        return self._offset

    def timestamp(self) -> tuple[int, int]:
        return confluent_kafka.TIMESTAMP_CREATE_TIME, 1

    def headers(self) -> None:
        return None

    def key(self) -> None:
        return None

    def value(self) -> bytes:
        return b"%d" % self._offset


@pytest.fixture
def topic(broker: KafkaBroker, topic_prefix: str) -> str:
    """A topic of two partitions with as many records in each."""
    name = f"{topic_prefix}in"
    broker.ensure(TopicSpec(name, 2, compacted=False))
    broker.publish([Outgoing(name, number % 2, None, b"%d" % (number // 2)) for number in range(2 * RECORDS)])
    return name


@pytest.fixture
def source(settings: ConnectionSettings, topic: str) -> Iterator[LibrdkafkaSource]:
    broker = LibrdkafkaBroker(settings)
    yield broker.source([topic])
    broker.close()


class Reader:
    """Takes what a source brings, as a daemon does: what comes is read from where its state stands."""

    def __init__(self, source: LibrdkafkaSource) -> None:
        self._source = source
        self.next: dict[TopicPartition, int] = {}
        self.troubles = 0

    def poll(self) -> None:
        """Poll once. Every record must be the one after the last of its partition."""
        try:
            polled = self._source.poll(7, 0.2)
        except (BrokerUnavailable, ConfigError):
            self.troubles += 1
            return
        for partition in polled.assigned:
            self._source.resume_at(partition, self.next.setdefault(partition, 0))
        for partition, records in polled.records.items():
            for record in records:
                assert record.offset == self.next[partition], partition
                self.next[partition] += 1

    def read(self, count: int) -> None:
        """Poll until so many records of each of two partitions came."""
        give_up = time.monotonic() + WAIT_SECONDS
        while len(self.next) < 2 or min(self.next.values()) < count:
            assert time.monotonic() < give_up, self.next
            self.poll()


def test_a_look_at_the_topics_that_finds_no_broker_loses_no_record(
    source: LibrdkafkaSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "TOPICS_SECONDS", 0.0)
    looks, known = [0], source._topic_id

    def look(topic: str) -> str | None:
        looks[0] += 1
        if looks[0] % 3 == 0:
            raise BrokerUnavailable("asking for the topic: no answer")
        return known(topic)

    monkeypatch.setattr(source, "_topic_id", look)
    reader = Reader(source)
    reader.read(RECORDS)
    assert reader.troubles


def test_what_the_library_loses_with_a_trouble_of_its_own_is_read_again(
    source: LibrdkafkaSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader, consume, calls = Reader(source), source._waiting.consume, [0]

    def failing(records_max: int, wait_seconds: float) -> Sequence[confluent_kafka.Message]:
        calls[0] += 1
        came = consume(records_max, wait_seconds)
        if calls[0] % 10 == 0:
            raise KafkaException(KafkaError(KafkaError._TRANSPORT))
        return came

    monkeypatch.setattr(source._waiting, "consume", failing)
    reader.read(RECORDS)
    assert reader.troubles


def test_records_that_come_with_a_trouble_are_given_and_the_trouble_is_told_next(
    source: LibrdkafkaSource, topic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader = Reader(source)
    reader.read(RECORDS)
    one, other = TopicPartition(topic, 0), TopicPartition(topic, 1)
    told = [Message(one, RECORDS), Message(one, -1, REFUSED), Message(other, RECORDS)]
    monkeypatch.setattr(source._waiting, "consume", lambda *_: told)
    reader.poll()
    assert reader.next == {one: RECORDS + 1, other: RECORDS + 1}
    with pytest.raises(ConfigError, match="lacks the right Read"):
        source.poll(7, 0.2)


def test_a_member_whose_name_is_taken_hears_it_also_as_a_trouble_that_says_so_in_words_only(
    source: LibrdkafkaSource, topic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = "Fatal error: Broker: Static consumer fenced by other consumer with same group.instance.id: Fatal consumer"
    told = [Message(TopicPartition(topic, 0), -1, KafkaError._FATAL, words)]
    monkeypatch.setattr(source._waiting, "consume", lambda *_: told)
    with pytest.raises(Fenced, match="another member took over the instance id"):
        source.poll(7, 0.2)


def test_a_cursor_reads_again_what_the_library_loses_with_a_trouble(
    settings: ConnectionSettings, topic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    broker = LibrdkafkaBroker(settings)
    cursor = broker.cursor(TopicPartition(topic, 0), 0)
    consumer, calls = cursor._consumer, [0]

    class Failing:
        """The library's consumer, with trouble now and then."""

        def __getattr__(self, name: str) -> object:
            return getattr(consumer, name)

        def consume(self, records_max: int, wait_seconds: float) -> list[confluent_kafka.Message]:
            calls[0] += 1
            came = consumer.consume(records_max, wait_seconds)
            if calls[0] % 3 == 2:
                raise KafkaException(KafkaError(KafkaError._TRANSPORT))
            return came

    monkeypatch.setattr(cursor, "_consumer", Failing())
    found, troubles, give_up = list[int](), 0, time.monotonic() + WAIT_SECONDS
    while len(found) < RECORDS:
        assert time.monotonic() < give_up, found
        try:
            found += [record.offset for record in cursor.fetch(7, 0.2)]
        except BrokerUnavailable:
            troubles += 1
    assert found == list(range(RECORDS))
    assert troubles
    broker.close()
