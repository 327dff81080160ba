"""Claims about the transactional writer."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

import pytest

from daemon.errors import Fenced, TransactionFailed
from daemon.types import Outgoing, TopicPartition

if TYPE_CHECKING:
    from tests.contract.conftest import World

BULKY = Random(1).randbytes(10_000)  # no compression makes it fit into a topic that takes 2,000 bytes


def test_a_transactions_records_and_offsets_become_visible_together(world: World) -> None:
    given, broker = world.partition(), world.broker()
    out = world.topic(partitions=2)
    source = world.reading(broker, given)
    writer = broker.writer(world.name("writer"))
    writer.open()
    assert source.committed(given) is None
    records = [Outgoing(out, number, b"k", b"%d" % number) for number in (0, 1, 0)]
    writer.commit(records, {given: 7}, source.membership())
    assert [world.values(TopicPartition(out, number)) for number in (0, 1)] == [[b"0", b"0"], [b"1"]]
    assert source.committed(given) == 7


def test_one_writer_commits_turn_after_turn(world: World) -> None:
    given, out, broker = world.partition(), world.partition(), world.broker()
    source = world.reading(broker, given)
    writer = broker.writer(world.name("writer"))
    writer.open()
    for turn in range(5):
        writer.commit([Outgoing(out.topic, 0, b"k", b"%d" % turn)], {given: turn + 1}, source.membership())
        assert source.committed(given) == turn + 1
    assert world.values(out) == [b"0", b"1", b"2", b"3", b"4"]
    world.until(lambda: world.door.bounds(out).end == 10, "a control record after each")


def test_offsets_move_without_any_record(world: World) -> None:
    given, broker = world.partition(), world.broker()
    source = world.reading(broker, given)
    writer = broker.writer(world.name("writer"))
    writer.open()
    writer.commit([], {given: 3}, source.membership())
    assert source.committed(given) == 3


def test_offsets_of_one_group_are_not_those_of_another(world: World) -> None:
    given, broker = world.partition(), world.broker()
    source, other = world.reading(broker, given), world.reading(world.broker(), given)
    writer = broker.writer(world.name("writer"))
    writer.open()
    writer.commit([], {given: 3}, source.membership())
    assert source.committed(given) == 3
    assert other.committed(given) is None


def test_a_record_that_the_broker_refuses_fails_the_whole_transaction(world: World) -> None:
    given, out, broker = world.partition(), world.partition(), world.broker()
    narrow = world.topic(config={"max.message.bytes": "2000"})
    source = world.reading(broker, given)
    writer = broker.writer(world.name("writer"))
    writer.open()
    records = [Outgoing(out.topic, 0, b"k", b"good"), Outgoing(narrow, 0, b"k", BULKY)]
    with pytest.raises(TransactionFailed):
        writer.commit(records, {given: 1}, source.membership())
    writer.open()
    assert world.values(out) == []
    assert world.values(TopicPartition(narrow, 0)) == []
    assert source.committed(given) is None


def test_a_record_without_key_fails_the_transaction_into_a_compacted_topic(world: World) -> None:
    compacted, broker = TopicPartition(world.topic(compacted=True), 0), world.broker()
    writer = broker.writer(world.name("writer"))
    writer.open()
    with pytest.raises(TransactionFailed):
        writer.commit([Outgoing(compacted.topic, 0, None, b"v")], {}, broker.source([compacted.topic]).membership())
    writer.open()
    assert world.values(compacted) == []


def test_a_writer_commits_again_after_a_failure_once_it_was_opened_again(world: World) -> None:
    given, broker = world.partition(), world.broker()
    out = TopicPartition(world.topic(config={"max.message.bytes": "2000"}), 0)
    source = world.reading(broker, given)
    writer = broker.writer(world.name("writer"))
    writer.open()
    with pytest.raises(TransactionFailed):
        writer.commit([Outgoing(out.topic, 0, b"k", BULKY)], {given: 1}, source.membership())
    writer.open()
    writer.commit([Outgoing(out.topic, 0, b"k", b"good")], {given: 2}, source.membership())
    assert world.values(out) == [b"good"]
    assert source.committed(given) == 2


def test_a_second_holder_of_an_identity_fences_the_first(world: World) -> None:
    given, out, broker = world.partition(), world.partition(), world.broker()
    source = world.reading(broker, given)
    identity = world.name("writer")
    first, second = broker.writer(identity), world.broker().writer(identity)
    first.open()
    first.commit([Outgoing(out.topic, 0, b"k", b"first")], {}, source.membership())
    second.open()
    with pytest.raises(Fenced, match=identity):
        first.commit([Outgoing(out.topic, 0, b"k", b"late")], {given: 9}, source.membership())
    assert world.values(out) == [b"first"]
    assert source.committed(given) is None


def test_the_second_holder_commits_while_the_first_is_fenced(world: World) -> None:
    out, broker = world.partition(), world.broker()
    membership = broker.source([out.topic]).membership()
    identity = world.name("writer")
    first, second = broker.writer(identity), world.broker().writer(identity)
    first.open()
    second.open()
    with pytest.raises(Fenced):
        first.commit([Outgoing(out.topic, 0, b"k", b"late")], {}, membership)
    second.open()
    second.commit([Outgoing(out.topic, 0, b"k", b"second")], {}, membership)
    assert world.values(out) == [b"second"]


def test_writers_of_different_identities_do_not_disturb_each_other(world: World) -> None:
    out, broker = world.partition(), world.broker()
    membership = broker.source([out.topic]).membership()
    writers = [broker.writer(world.name("writer")) for _ in range(2)]
    for writer in writers:
        writer.open()
    for number, writer in enumerate(writers):
        writer.commit([Outgoing(out.topic, 0, b"k", b"%d" % number)], {}, membership)
    assert world.values(out) == [b"0", b"1"]


def test_the_membership_of_a_closed_source_moves_no_offsets(world: World) -> None:
    given, out, broker = world.partition(), world.partition(), world.broker()
    source = world.reading(broker, given)
    membership = source.membership()
    source.close()
    writer = broker.writer(world.name("writer"))
    writer.open()
    with pytest.raises(TransactionFailed):
        writer.commit([Outgoing(out.topic, 0, b"k", b"late")], {given: 1}, membership)
    writer.open()
    assert world.values(out) == []


def test_a_closed_writer_commits_nothing(world: World) -> None:
    out, broker = world.partition(), world.broker()
    membership = broker.source([out.topic]).membership()
    writer = broker.writer(world.name("writer"))
    writer.open()
    writer.close()
    with pytest.raises(TransactionFailed):
        writer.commit([Outgoing(out.topic, 0, b"k", b"late")], {}, membership)
    assert world.values(out) == []
