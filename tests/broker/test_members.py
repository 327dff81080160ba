"""Members of a group on the real broker that restart, or are busy for long."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, cast

import pytest

from daemon.errors import Fenced, TransactionFailed
from daemon.kafka import ConnectionSettings, KafkaBroker
from daemon.types import Outgoing, TopicPartition, TopicSpec

from .conftest import ReadAll
from .test_source import Member, settle

pytestmark = pytest.mark.broker


@pytest.fixture
def four(broker: KafkaBroker, topic_prefix: str) -> str:
    """A topic of four partitions."""
    broker.ensure(TopicSpec(f"{topic_prefix}in", 4, compacted=False))
    return f"{topic_prefix}in"


@contextmanager
def door(settings: ConnectionSettings) -> Iterator[KafkaBroker]:
    """Yield a door that is closed in any case."""
    broker = KafkaBroker(settings)
    try:
        yield broker
    finally:
        broker.close()


def test_a_static_member_that_is_back_in_time_costs_nobody_a_rebalance(settings: ConnectionSettings, four: str) -> None:
    with door(replace(settings, instance_id="a")) as a, door(replace(settings, instance_id="b")) as b:
        stays, first_life = Member(a.source([four])), Member(b.source([four]))
        settle([stays, first_life], [2, 2])
        generation, owned = stays.source.membership().generation_id, first_life.owned
        first_life.source.close()
        with door(replace(settings, instance_id="b")) as again:
            second_life = Member(again.source([four]))
            moved = 0
            while second_life.owned != owned:
                second_life.poll()
                polled = stays.poll()
                moved += len(polled.assigned | polled.revoked)
            for _ in range(10):
                polled = stays.poll()
                moved += len(polled.assigned | polled.revoked)
            assert moved == 0
            assert (
                stays.source.membership().generation_id == second_life.source.membership().generation_id == generation
            )


def test_a_static_member_whose_id_another_one_took_is_told_to_stop(settings: ConnectionSettings, four: str) -> None:
    """The library alone would go on as a member for ever, at full speed, and say nothing."""
    with door(replace(settings, instance_id="a")) as first, door(replace(settings, instance_id="a")) as second:
        replaced, owner = Member(first.source([four])), Member(second.source([four]))
        settle([replaced], [4])
        while len(owner.owned) < 4:
            owner.poll()
        with pytest.raises(Fenced, match="another member took over the instance id 'a'"):
            for _ in range(100):
                replaced.poll()
        owner.poll()


def test_a_member_that_is_busy_for_longer_than_its_session_stays_one(
    settings: ConnectionSettings, four: str, topic: str
) -> None:
    with door(replace(settings, session_timeout_seconds=1.5)) as broker:
        busy, writer = Member(broker.source([four])), broker.writer(topic)
        settle([busy], [4])
        generation = busy.source.membership().generation_id
        threading.Event().wait(2.5)  # a restore, or a long turn: nobody polls
        writer.open()
        writer.commit([], {TopicPartition(four, 0): 1}, busy.source.membership())
        assert not busy.poll().revoked
        assert busy.source.membership().generation_id == generation


def test_a_turn_that_takes_longer_than_a_member_may_loses_its_partitions_and_its_work(
    settings: ConnectionSettings, four: str, topic: str, read_all: ReadAll
) -> None:
    with door(settings) as broker:
        slow, writer = Member(broker.source([four])), broker.writer(topic)
        heartbeat = cast("Any", slow.source)._consumer._coordinator.heartbeat
        heartbeat.config["max_poll_interval_ms"] = 1000  # five minutes, outside of tests
        settle([slow], [4])
        writer.open()
        threading.Event().wait(2.5)
        with pytest.raises(TransactionFailed):
            writer.commit([Outgoing(topic, 0, None, b"late")], {TopicPartition(four, 0): 1}, slow.source.membership())
        lost = slow.poll(1.0)
        assert len(lost.revoked) == 4
        assert not lost.leaving  # what was lost may be somebody else's by now
        settle([slow], [4])
        writer.open()
        writer.commit([Outgoing(topic, 0, None, b"again")], {TopicPartition(four, 0): 1}, slow.source.membership())
        assert read_all(topic) == [b"again"]
