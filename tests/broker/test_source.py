"""A source on the real broker: assignment, hand-over, resuming, membership."""

from __future__ import annotations

import threading
import time
from dataclasses import replace

import pytest

from daemon.errors import TransactionFailed
from daemon.kafka import KafkaBroker
from daemon.kafka.source import KafkaSource
from daemon.types import Outgoing, Polled, TopicPartition, TopicSpec

pytestmark = pytest.mark.broker


class Member:
    """A source together with what it was told that it owns."""

    def __init__(self, source: KafkaSource) -> None:
        self.source = source
        self.owned: frozenset[TopicPartition] = frozenset()
        self.values: list[bytes | None] = []

    def poll(self, wait_seconds: float = 0.1) -> Polled:
        polled = self.source.poll(500, wait_seconds)
        assert not set(polled.records) - self.owned | polled.assigned & set(polled.records)
        self.owned = self.owned - polled.revoked | polled.assigned
        self.values += [record.value for batch in polled.records.values() for record in batch]
        return polled


def settle(members: list[Member], sizes: list[int]) -> None:
    give_up = time.monotonic() + 20
    while [len(m.owned) for m in members] != sizes or len({m.source.membership().generation_id for m in members}) != 1:
        assert time.monotonic() < give_up, [member.owned for member in members]
        for member in members:
            member.poll()


def read_until(member: Member, count: int) -> None:
    give_up = time.monotonic() + 20
    while len(member.values) < count:
        assert time.monotonic() < give_up, member.values
        member.poll()


@pytest.fixture
def four(broker: KafkaBroker, topic_prefix: str) -> str:
    """A topic of four partitions with ten records in each."""
    name = f"{topic_prefix}in"
    broker.ensure(TopicSpec(name, 4, compacted=False))
    broker.publish([Outgoing(name, i % 4, None, b"%d" % i) for i in range(40)])
    return name


def test_nothing_comes_out_before_a_partition_is_resumed_and_then_everything_from_there(
    broker: KafkaBroker, four: str
) -> None:
    member = Member(broker.source([four]))
    settle([member], [4])
    for _ in range(5):
        assert member.poll().records == {}

    member.source.resume_at(TopicPartition(four, 2), 4)
    read_until(member, 6)
    assert member.values == [b"%d" % i for i in range(18, 40, 4)]


def test_a_paused_partition_is_silent_and_goes_on_where_it_is_told(broker: KafkaBroker, four: str) -> None:
    member, tp = Member(broker.source([four])), TopicPartition(four, 0)
    settle([member], [4])
    member.source.resume_at(tp, 0)
    first: list[int] = []
    while not first:
        first = [record.offset for record in member.source.poll(3, 1.0).records.get(tp, ())]
    assert first == [0, 1, 2]
    member.source.pause(tp)  # seven more were fetched ahead
    for _ in range(3):
        assert member.source.poll(500, 0.1).records == {}
    member.source.resume_at(tp, 1)
    assert [record.offset for record in member.source.poll(500, 2.0).records[tp]] == list(range(1, 10))


def test_lag_is_what_was_not_polled_yet(broker: KafkaBroker, four: str) -> None:
    member, tp = Member(broker.source([four])), TopicPartition(four, 3)
    settle([member], [4])
    assert member.source.lag() == {}
    member.source.resume_at(tp, 0)
    while not member.source.poll(4, 1.0).records:
        pass
    assert member.source.lag() == {tp: 6}


def test_a_member_that_never_waits_for_an_answer_still_gets_its_partitions(broker: KafkaBroker, four: str) -> None:
    """The library alone forgets an assignment that arrives between two polls, some members even that they must ask."""
    members = [Member(broker.source([four])), Member(broker.source([four]))]
    elsewhere = threading.Event()
    give_up = time.monotonic() + 20
    while [len(member.owned) for member in members] != [2, 2]:
        assert time.monotonic() < give_up, [member.owned for member in members]
        for member in members:
            member.poll(0.001)
            elsewhere.wait(0.05)


def test_a_second_member_takes_half_and_gives_it_back_when_it_leaves(broker: KafkaBroker, four: str) -> None:
    first = Member(broker.source([four]))
    settle([first], [4])
    second = Member(broker.source([four]))
    settle([first, second], [2, 2])
    assert not first.owned & second.owned

    for tp in second.owned:
        second.source.resume_at(tp, 0)
    read_until(second, 20)
    assert first.values == []

    second.source.close()
    settle([first], [4])


def test_what_went_to_another_member_is_not_delivered_any_more(broker: KafkaBroker, four: str) -> None:
    first, second = Member(broker.source([four])), Member(broker.source([four]))
    settle([first, second], [2, 2])
    gone = next(iter(second.owned))
    first.source.resume_at(gone, 0)
    for _ in range(5):
        assert gone not in first.poll().records


def test_an_older_generation_cannot_commit_and_the_present_one_can(broker: KafkaBroker, four: str, topic: str) -> None:
    first = Member(broker.source([four]))
    settle([first], [4])
    stale = first.source.membership()
    second = Member(broker.source([four]))
    settle([first, second], [2, 2])

    writer, tp = broker.writer(topic), next(iter(first.owned))
    writer.open()
    with pytest.raises(TransactionFailed):
        writer.commit([Outgoing(topic, 0, None, b"stale")], {tp: 5}, stale)
    writer.open()
    assert first.source.committed(tp) is None
    writer.commit([Outgoing(topic, 0, None, b"present")], {tp: 5}, first.source.membership())
    assert first.source.committed(tp) == 5


def test_the_proof_of_membership_is_not_renewed_outside_of_poll(broker: KafkaBroker, four: str) -> None:
    """A turn that was polled before a rebalance must not be committed with the proof of what came after it."""
    first = Member(broker.source([four]))
    settle([first], [4])
    before = first.source.membership()
    second = Member(broker.source([four]))
    for _ in range(5):
        second.poll()
    assert first.source.membership() == before


def test_a_static_member_that_restarts_gets_its_partitions_back(broker: KafkaBroker, four: str) -> None:
    fixed = KafkaBroker(replace(broker._settings, instance_id="slot-0"))
    member = Member(fixed.source([four]))
    settle([member], [4])
    before = member.owned
    member.source.close()
    again = Member(fixed.source([four]))
    settle([again], [4])
    assert again.owned == before
    fixed.close()


def test_a_partition_paused_with_half_of_a_fetch_taken_goes_on_once_resumed(broker: KafkaBroker, four: str) -> None:
    """The library sets such a fetch aside and, left alone, never looks at it or at the partition again."""
    broker.publish([Outgoing(four, number % 2, None, b"x" * 100) for number in range(4000)])
    member = Member(broker.source([four]))
    settle([member], [4])
    for number in (0, 1):
        member.source.resume_at(TopicPartition(four, number), 0)
    half_taken = first_of(member, 100)
    member.source.pause(half_taken)
    for _ in range(3):
        member.source.poll(100, 0.1)
    member.source.resume_at(half_taken, 0)
    give_up, seen = time.monotonic() + 20, set[int]()
    while len(seen) < 2010:  # 2000 and the ten that were there before
        assert time.monotonic() < give_up, len(seen)
        seen.update(record.offset for record in member.poll().records.get(half_taken, ()))
    assert seen == set(range(2010))


def first_of(member: Member, records_max: int) -> TopicPartition:
    give_up = time.monotonic() + 20
    while not (polled := member.source.poll(records_max, 0.2).records):
        assert time.monotonic() < give_up
    return next(iter(polled))
