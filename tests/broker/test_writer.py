"""A writer on the real broker: what the client library would report, and what we do."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any, cast, overload

import pytest
from kafka.producer import transaction_manager

from daemon.errors import BrokerUnavailable, Fenced, TransactionFailed
from daemon.kafka import ConnectionSettings, KafkaBroker, client
from daemon.kafka.client import Producer
from daemon.kafka.source import KafkaSource
from daemon.kafka.writer import KafkaWriter, drop, producer_epoch
from daemon.types import Outgoing, TopicPartition, TopicSpec

from .conftest import Interrupt, Join, ReadAll

pytestmark = pytest.mark.broker


@pytest.fixture
def source(broker: KafkaBroker, topic_prefix: str, join: Join) -> KafkaSource:
    """A member of the group that owns the one partition of its input."""
    broker.ensure(TopicSpec(f"{topic_prefix}in", 1, compacted=False))
    source = broker.source([f"{topic_prefix}in"])
    join([source], lambda: bool(source._owned))
    return source


def record(topic: str, value: bytes) -> Outgoing:
    return Outgoing(topic, 0, b"key", value)


def opened(broker: KafkaBroker, identity: str) -> KafkaWriter:
    writer = broker.writer(identity)
    writer.open()
    return writer


def test_a_transaction_writes_records_and_moves_offsets_together(
    broker: KafkaBroker, source: KafkaSource, topic: str, topic_prefix: str, read_all: ReadAll
) -> None:
    writer, tp = opened(broker, topic), TopicPartition(f"{topic_prefix}in", 0)
    headers = (("reason", b"undecodable"),)
    records = [Outgoing(topic, 0, None, b"a", headers), Outgoing(topic, None, b"k", b"b")]
    writer.commit(records, {tp: 7}, source.membership())
    assert read_all(topic) == [b"a", b"b"]
    assert source.committed(tp) == 7


def test_a_writer_that_is_not_open_commits_nothing(broker: KafkaBroker, source: KafkaSource, topic: str) -> None:
    with pytest.raises(TransactionFailed, match="not open"):
        broker.writer(topic).commit([record(topic, b"a")], {}, source.membership())


@pytest.mark.parametrize("method", ["flush", "send_offsets_within", "commit_within"])
def test_who_lost_the_identity_is_fenced_and_its_records_are_never_seen(
    broker: KafkaBroker, source: KafkaSource, topic: str, read_all: ReadAll, interrupt: Interrupt, method: str
) -> None:
    zombie = opened(broker, topic)
    owner = broker.writer(topic)
    interrupt(zombie, method, owner.open)
    with pytest.raises(Fenced, match="another member"):
        zombie.commit([record(topic, b"zombie")], {TopicPartition(topic, 0): 1}, source.membership())
    owner.commit([record(topic, b"owner")], {}, source.membership())
    assert read_all(topic) == [b"owner"]


def test_an_identity_that_was_fenced_while_it_was_opened_is_opened_by_the_next_try(
    broker: KafkaBroker, source: KafkaSource, topic: str, read_all: ReadAll, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The broker says so when it ends an older holder's transaction, whose time is up, at the same moment."""
    older = cast("Any", producer_epoch(cast("Producer", opened(broker, topic)._producer)))
    writer = opened(broker, topic)
    writer.open()
    with monkeypatch.context() as patched:
        patched.setattr(transaction_manager, "NO_PRODUCER_ID", older.producer_id)
        patched.setattr(transaction_manager, "NO_PRODUCER_EPOCH", older.epoch)
        with pytest.raises(BrokerUnavailable, match="older holder"):
            writer.open()
    writer.open()
    writer.commit([record(topic, b"owner")], {}, source.membership())
    assert read_all(topic) == [b"owner"]


def test_the_library_itself_still_reports_a_commit_that_never_happened(
    settings: ConnectionSettings, broker: KafkaBroker, topic: str, read_all: ReadAll
) -> None:
    """When this fails the library was mended, and the guards of decision 0002 may be looked at again."""
    raw = client.producer(replace(settings, transaction_timeout_seconds=1.0), topic)
    raw.init_transactions()
    raw.begin_transaction()
    raw.send(topic, value=b"early", key=None, headers=[], partition=0).get(5)
    await_end(broker, topic, 2)  # the mark of the broker's abort
    raw.send(topic, value=b"late", key=None, headers=[], partition=0)
    cast("Any", raw).commit_transaction()
    assert read_all(topic) == []
    drop(raw)


class _Fake:
    """The part of the library's producer that a transaction touches, taking a new epoch while it commits."""

    def __init__(self) -> None:
        self.producer_id_and_epoch, self.last_error = object(), None
        self._transaction_manager = self
        self._sender = self

    def begin_transaction(self) -> None: ...
    def flush(self, timeout: float) -> None: ...
    def force_close(self) -> None: ...
    def join(self, timeout: float) -> None: ...
    def close(self, timeout: float) -> None: ...

    def send(self, *_: object, **__: object) -> _Fake:
        return self

    def get(self, timeout: float) -> None: ...

    def commit_within(self, _seconds: float) -> None:
        self.producer_id_and_epoch = object()


def test_a_commit_during_which_the_epoch_changed_counts_as_failed(
    settings: ConnectionSettings, source: KafkaSource
) -> None:
    writer = KafkaWriter(settings, "identity")
    writer._producer = cast("Producer", _Fake())
    with pytest.raises(TransactionFailed, match="outcome unknown"):
        writer.commit([record("topic", b"a")], {}, source.membership())
    assert writer._producer is None


class _Halting(Sequence[Outgoing]):
    """Records of which the last comes only when `wait` has returned."""

    def __init__(self, records: list[Outgoing], wait: Callable[[], object]) -> None:
        self._records, self._wait = records, wait

    @overload
    def __getitem__(self, index: int) -> Outgoing: ...
    @overload
    def __getitem__(self, index: slice) -> list[Outgoing]: ...
    def __getitem__(self, index: int | slice) -> Outgoing | list[Outgoing]:
        return self._records[index]

    def __len__(self) -> int:
        return len(self._records)

    def __iter__(self) -> Iterator[Outgoing]:
        yield from self._records[:-1]
        self._wait()
        yield self._records[-1]


def await_end(broker: KafkaBroker, topic: str, end: int) -> None:
    give_up = time.monotonic() + 15
    while broker.bounds(TopicPartition(topic, 0)).end < end:
        assert time.monotonic() < give_up


def test_a_transaction_that_the_broker_timed_out_never_counts_as_committed(
    settings: ConnectionSettings, broker: KafkaBroker, source: KafkaSource, topic: str, read_all: ReadAll
) -> None:
    # The broker believes one second, the writer believes thirty: as if this process had been asleep.
    asleep = KafkaWriter(settings, topic)
    asleep._producer = client.producer(replace(settings, transaction_timeout_seconds=1.0), topic)
    asleep._producer.init_transactions()
    records = _Halting([record(topic, b"early"), record(topic, b"late")], lambda: await_end(broker, topic, 2))
    with pytest.raises((TransactionFailed, Fenced)):
        asleep.commit(records, {}, source.membership())
    asleep.open()
    asleep.commit([record(topic, b"again")], {}, source.membership())
    assert read_all(topic) == [b"again"]
    asleep.close()


def test_a_record_that_the_client_refuses_fails_the_whole_transaction(
    broker: KafkaBroker, source: KafkaSource, topic: str, read_all: ReadAll
) -> None:
    writer = opened(broker, topic)
    with pytest.raises(TransactionFailed, match="MessageSizeTooLarge"):
        writer.commit([record(topic, b"small"), record(topic, bytes(5_000_000))], {}, source.membership())
    writer.open()
    writer.commit([record(topic, b"again")], {}, source.membership())
    assert read_all(topic) == [b"again"]


def test_a_record_that_the_broker_refuses_fails_the_whole_transaction_and_the_next_one_works(
    broker: KafkaBroker, source: KafkaSource, topic_prefix: str, read_all: ReadAll
) -> None:
    narrow = f"{topic_prefix}narrow"
    broker.ensure(TopicSpec(narrow, 1, compacted=False, config={"max.message.bytes": "2000"}))
    writer = opened(broker, narrow)
    with pytest.raises(TransactionFailed, match="MessageSizeTooLarge"):
        writer.commit([record(narrow, b"small"), record(narrow, os.urandom(10_000))], {}, source.membership())
    writer.open()
    writer.commit([record(narrow, b"again")], {}, source.membership())
    assert read_all(narrow) == [b"again"]


def test_a_batch_that_is_too_large_for_the_topic_is_split_and_not_taken_for_a_failure(
    broker: KafkaBroker, source: KafkaSource, topic_prefix: str, read_all: ReadAll
) -> None:
    narrow = f"{topic_prefix}narrow"
    broker.ensure(TopicSpec(narrow, 1, compacted=False, config={"max.message.bytes": "2000"}))
    values = [os.urandom(600) for _ in range(20)]
    opened(broker, narrow).commit([record(narrow, value) for value in values], {}, source.membership())
    assert read_all(narrow) == values


def test_a_topic_that_is_not_there_fails_the_transaction(
    settings: ConnectionSettings, source: KafkaSource, topic: str
) -> None:
    writer = KafkaWriter(replace(settings, connect_timeout_seconds=1.0), topic)
    writer.open()
    with pytest.raises(TransactionFailed):
        writer.commit([record(f"{topic}-absent", b"a")], {}, source.membership())


def test_offsets_of_who_is_no_member_are_refused_even_when_the_group_is_empty(
    broker: KafkaBroker, topic: str, read_all: ReadAll
) -> None:
    stranger = broker.source([topic])
    writer = opened(broker, topic)
    with pytest.raises(TransactionFailed, match="not a member"):
        writer.commit([record(topic, b"a")], {TopicPartition(topic, 0): 1}, stranger.membership())
    writer.open()
    assert read_all(topic) == []
    assert stranger.committed(TopicPartition(topic, 0)) is None


def test_producers_that_were_given_up_leave_no_thread_behind(
    broker: KafkaBroker, source: KafkaSource, topic: str
) -> None:
    before = set(threading.enumerate())
    writer = broker.writer(topic)
    for _ in range(3):
        writer.open()
        with pytest.raises(TransactionFailed):
            writer.commit([record(topic, bytes(5_000_000))], {}, source.membership())
    for thread in set(threading.enumerate()) - before:
        thread.join(5)
    assert set(threading.enumerate()) <= before
