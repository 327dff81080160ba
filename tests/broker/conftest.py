"""One connection to the real broker, with times short enough for tests, and a way to interfere in a transaction."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol, cast

import pytest

from daemon.kafka import ConnectionSettings, KafkaBroker
from daemon.kafka.client import Producer
from daemon.kafka.source import KafkaSource
from daemon.kafka.writer import KafkaWriter
from daemon.types import Record, TopicPartition, TopicSpec
from tests.broker.guarded import Guarded, guarded_broker

WAIT_SECONDS = 60.0


class _Interrupted:
    """A producer that does something else first when one of its methods is called."""

    def __init__(self, producer: Producer, method: str, action: Callable[[], object]) -> None:
        self._inner, self._method, self._action = producer, method, action

    def __getattr__(self, name: str) -> object:
        if name == self._method:
            self._action()
        return getattr(self._inner, name)


class Interrupt(Protocol):
    """Makes `writer` call `action` just before it calls `method` of the client library."""

    def __call__(self, writer: KafkaWriter, method: str, action: Callable[[], object]) -> None: ...


class ReadAll(Protocol):
    """Returns the values of all committed records of a partition, having waited for its high watermark."""

    def __call__(self, topic: str, partition: int = 0) -> list[bytes | None]: ...


class Join(Protocol):
    """Polls `sources` in turn until `done`, and returns the records that came out."""

    def __call__(self, sources: Sequence[KafkaSource], done: Callable[[], bool]) -> list[Record]: ...


@pytest.fixture(scope="package")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    """A broker that asks who is there, and what they may do."""
    with guarded_broker(tmp_path_factory.mktemp("guarded")) as broker:
        yield broker


@pytest.fixture
def settings(kafka_bootstrap: str, topic_prefix: str) -> ConnectionSettings:
    return ConnectionSettings((kafka_bootstrap,), group_id=f"{topic_prefix}group", session_timeout_seconds=6.0)


@pytest.fixture
def broker(settings: ConnectionSettings) -> Iterator[KafkaBroker]:
    broker = KafkaBroker(settings)
    yield broker
    broker.close()


@pytest.fixture
def topic(broker: KafkaBroker, topic_prefix: str) -> str:
    """A topic of one partition."""
    broker.ensure(TopicSpec(f"{topic_prefix}out", 1, compacted=False))
    return f"{topic_prefix}out"


@pytest.fixture
def interrupt() -> Interrupt:
    def do(writer: KafkaWriter, method: str, action: Callable[[], object]) -> None:
        assert writer._producer is not None
        writer._producer = cast("Producer", _Interrupted(writer._producer, method, action))

    return do


@pytest.fixture
def read_all(broker: KafkaBroker) -> ReadAll:
    def do(topic: str, partition: int = 0) -> list[bytes | None]:
        tp = TopicPartition(topic, partition)
        cursor, end, values = broker.cursor(tp, 0), broker.bounds(tp).end, list[bytes | None]()
        give_up = time.monotonic() + WAIT_SECONDS
        while cursor.position < end:
            assert time.monotonic() < give_up, f"stuck at {cursor.position} of {end}"
            values += [record.value for record in cursor.fetch(1000, 0.2)]
        cursor.close()
        return values

    return do


@pytest.fixture
def join() -> Join:
    def do(sources: Sequence[KafkaSource], done: Callable[[], bool]) -> list[Record]:
        records: list[Record] = []
        give_up = time.monotonic() + WAIT_SECONDS
        while not done():
            assert time.monotonic() < give_up, "the group did not settle"
            for source in sources:
                records += [record for batch in source.poll(500, 0.1).records.values() for record in batch]
        return records

    return do
