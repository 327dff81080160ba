"""Claims about what only the in-memory cluster offers: faults at any step, its own clock, compaction on demand."""

from __future__ import annotations

from collections.abc import Sequence
from threading import Thread

import pytest

from daemon.errors import BrokerUnavailable, Fenced, TopicMismatch, TransactionFailed
from daemon.memory import MemoryBroker, MemoryCluster, Operation
from daemon.memory.source import MemorySource
from daemon.types import Bounds, Outgoing, TopicPartition, TopicSpec

GIVEN, OUT, TABLE = TopicPartition("given", 0), TopicPartition("out", 0), TopicPartition("table", 0)


class DiedError(Exception):
    """The process ended here."""


class Script:
    """A fault hook that notes every step, and at the named one does what it was told."""

    def __init__(self, at: str = "", action: object = DiedError) -> None:
        self.at = at
        self.action = action
        self.steps: list[str] = []

    def __call__(self, operation: Operation) -> None:
        """Note the step, and do at the named one what was told."""
        self.steps.append(operation)
        if operation != self.at:
            return
        if isinstance(self.action, type) and issubclass(self.action, Exception):
            raise self.action
        if callable(self.action):
            self.action()


def cluster() -> MemoryCluster:
    made = MemoryCluster(idle=lambda _: None)
    for partition in (GIVEN, OUT):
        made.ensure(TopicSpec(partition.topic, 1, compacted=False))
    made.ensure(TopicSpec(TABLE.topic, 1, compacted=True))
    return made


def member(broker: MemoryBroker) -> MemorySource:
    source = broker.source([GIVEN.topic])
    assert source.poll(1, 0).assigned == {GIVEN}
    return source


def outgoing(*values: str, partition: TopicPartition = OUT) -> Sequence[Outgoing]:
    return [Outgoing(partition.topic, 0, b"k", value.encode()) for value in values]


def values(made: MemoryCluster, partition: TopicPartition = OUT) -> list[bytes | None]:
    return [record.value for record in made.visible(partition)]


def test_the_hook_sees_every_step_of_a_turn_in_order() -> None:
    script = Script()
    broker = MemoryBroker(cluster(), faults=script)
    source, writer = member(broker), broker.writer("w")
    writer.open()
    source.committed(GIVEN)
    writer.commit(outgoing("a", "b"), {GIVEN: 1}, source.membership())
    assert script.steps == [
        "poll", "open", "committed", "begin", "send", "send", "offsets", "commit", "after_commit",
    ]  # fmt: skip


@pytest.mark.parametrize("step", ["begin", "send", "offsets", "commit"])
def test_a_death_before_the_commit_leaves_nothing_visible(step: str) -> None:
    made = cluster()
    broker = MemoryBroker(made, faults=Script(step))
    source, writer = member(broker), broker.writer("w")
    writer.open()
    with pytest.raises(DiedError):
        writer.commit(outgoing("lost"), {GIVEN: 1}, source.membership())
    broker.lose_session()
    successor = MemoryBroker(made)
    successor.writer("w").open()
    assert values(made) == []
    assert member(successor).committed(GIVEN) is None


def test_a_death_after_the_commit_leaves_everything_visible() -> None:
    made = cluster()
    broker = MemoryBroker(made, faults=Script("after_commit"))
    source, writer = member(broker), broker.writer("w")
    writer.open()
    with pytest.raises(DiedError):
        writer.commit(outgoing("kept"), {GIVEN: 1}, source.membership())
    assert values(made) == [b"kept"]
    assert source.committed(GIVEN) == 1


def test_a_dead_writers_transaction_hides_newer_records_until_its_identity_is_opened() -> None:
    made = cluster()
    broker = MemoryBroker(made, faults=Script("commit"))
    writer = broker.writer("w")
    writer.open()
    with pytest.raises(DiedError):
        writer.commit(outgoing("open"), {}, broker.source([]).membership())
    made.publish(outgoing("newer")[0])
    assert (made.bounds(OUT), values(made)) == (Bounds(0, 2), [])
    MemoryBroker(made).writer("w").open()
    assert (made.bounds(OUT), values(made)) == (Bounds(0, 3), [b"newer"])


def test_a_writer_that_failed_must_be_opened_before_it_commits_again() -> None:
    broker = MemoryBroker(cluster(), faults=Script("begin"))
    writer = broker.writer("w")
    writer.open()
    membership = broker.source([]).membership()
    with pytest.raises(DiedError):
        writer.commit([], {}, membership)
    with pytest.raises(TransactionFailed, match="open"):
        writer.commit([], {}, membership)


@pytest.mark.parametrize("step", ["begin", "send", "offsets", "commit"])
def test_a_writer_is_fenced_at_whichever_step_it_is_when_another_takes_over(step: str) -> None:
    made = cluster()
    broker = MemoryBroker(made, faults=Script(step, MemoryBroker(made).writer("w").open))
    source, writer = member(broker), broker.writer("w")
    writer.open()
    with pytest.raises(Fenced):
        writer.commit(outgoing("late"), {GIVEN: 1}, source.membership())
    assert values(made) == []
    assert source.committed(GIVEN) is None


def test_a_transaction_that_the_broker_aborts_while_it_is_committed_fails() -> None:
    made = cluster()
    broker = MemoryBroker(made, faults=Script("commit", lambda: made.expire("w")))
    source, writer = member(broker), broker.writer("w")
    writer.open()
    with pytest.raises(TransactionFailed, match="aborted"):
        writer.commit(outgoing("late"), {GIVEN: 1}, source.membership())
    assert values(made) == []
    assert source.committed(GIVEN) is None


def test_the_committed_offset_waits_for_the_transaction_that_would_move_it() -> None:
    made = cluster()
    broker = MemoryBroker(made, faults=Script("commit"))
    source, writer = member(broker), broker.writer("w")
    writer.open()
    with pytest.raises(DiedError):
        writer.commit([], {GIVEN: 1}, source.membership())
    with pytest.raises(BrokerUnavailable, match="given/0"):
        source.committed(GIVEN)
    writer.open()
    assert source.committed(GIVEN) is None


def test_a_member_whose_session_was_lost_learns_it_and_enters_again() -> None:
    broker = MemoryBroker(cluster())
    source, writer = member(broker), broker.writer("w")
    stale = source.membership()
    broker.lose_session()
    writer.open()
    with pytest.raises(TransactionFailed, match="generation"):
        writer.commit([], {GIVEN: 1}, stale)
    polled = source.poll(1, 0)
    assert polled.revoked == {GIVEN}
    assert polled.assigned == {GIVEN}
    writer.open()
    writer.commit([], {GIVEN: 1}, source.membership())
    assert source.committed(GIVEN) == 1


def test_a_partition_that_was_lost_and_given_back_comes_paused() -> None:
    made = cluster()
    broker = MemoryBroker(made)
    source = member(broker)
    source.resume_at(GIVEN, 0)
    broker.lose_session()
    made.publish(outgoing("v", partition=GIVEN)[0])
    assert not source.poll(1, 0).records
    assert not source.poll(1, 0).records
    source.resume_at(GIVEN, 0)
    assert [record.value for record in source.poll(1, 0).records[GIVEN]] == [b"v"]


def test_a_partition_is_given_to_nobody_before_its_old_owner_has_given_it_up() -> None:
    made = cluster()
    made.grow("given", 2)
    first = MemoryBroker(made).source(["given"])
    assert len(first.poll(1, 0).assigned) == 2
    second = MemoryBroker(made).source(["given"])
    assert not first.poll(1, 0).revoked  # it has joined the new generation, and does not know its share yet
    assert not second.poll(1, 0).assigned  # it completed that generation, but the first still holds everything
    given_up = first.poll(1, 0).revoked
    assert len(given_up) == 1
    first.poll(1, 0)
    assert second.poll(1, 0).assigned == given_up


def test_compaction_keeps_the_newest_committed_value_of_each_key_and_no_tombstone() -> None:
    made = cluster()
    for key, value in ((b"a", b"1"), (b"b", b"1"), (b"a", b"2"), (b"c", b"1"), (b"c", None)):
        made.publish(Outgoing("table", 0, key, value))
    before = made.bounds(TABLE)
    made.compact("table")
    assert [(record.offset, record.key, record.value) for record in made.visible(TABLE)] == [
        (1, b"b", b"1"),
        (2, b"a", b"2"),
    ]
    assert made.bounds(TABLE) == before


def test_a_cursor_reaches_the_end_of_a_compacted_partition() -> None:
    made = cluster()
    broker = MemoryBroker(made)
    writer = broker.writer("w")
    writer.open()
    for value in ("1", "2", "3"):
        writer.commit(outgoing(value, partition=TABLE), {}, broker.source([]).membership())
    made.compact("table")
    cursor = broker.cursor(TABLE, 0)
    assert [(record.offset, record.value) for record in cursor.fetch(10, 0)] == [(4, b"3")]
    assert cursor.position == made.bounds(TABLE).end == 6


def test_compaction_leaves_alone_what_an_open_transaction_still_holds_up() -> None:
    made = cluster()
    made.publish(Outgoing("table", 0, b"k", b"old"))
    broker = MemoryBroker(made, faults=Script("commit"))
    writer = broker.writer("w")
    writer.open()
    with pytest.raises(DiedError):
        writer.commit(outgoing("open", partition=TABLE), {}, broker.source([]).membership())
    made.publish(Outgoing("table", 0, b"k", b"new"))
    made.compact("table")
    assert values(made, TABLE) == [b"old"]
    made.expire("w")
    assert values(made, TABLE) == [b"old", b"new"]


@pytest.mark.parametrize(("offset", "first"), [(1, 2), (3, 3), (99, 4)])
def test_retention_goes_neither_back_nor_beyond_the_end(offset: int, first: int) -> None:
    made = cluster()
    for value in "0123":
        made.publish(outgoing(value)[0])
    made.trim(OUT, 2)
    made.trim(OUT, offset)
    assert made.bounds(OUT) == Bounds(first, 4)


def test_a_topic_that_is_created_later_comes_to_the_group_that_waits_for_it() -> None:
    made = cluster()
    source = MemoryBroker(made).source(["later"])
    assert not source.poll(1, 0).assigned
    made.ensure(TopicSpec("later", 1, compacted=False))
    assert source.poll(1, 0).assigned == {TopicPartition("later", 0)}


def test_members_that_read_different_topics_get_only_their_own() -> None:
    made = cluster()
    first, second = MemoryBroker(made).source(["given"]), MemoryBroker(made).source(["out"])
    given: list[set[TopicPartition]] = [set(), set()]
    for _ in range(3):
        for number, source in enumerate((first, second)):
            given[number] |= source.poll(1, 0).assigned
    assert given == [{GIVEN}, {OUT}]


def test_records_carry_the_clusters_own_clock() -> None:
    made = MemoryCluster(now_ms=lambda: 1234)
    made.ensure(TopicSpec("out", 1, compacted=False))
    made.publish(outgoing("v")[0])
    assert made.visible(OUT)[0].timestamp == 1234


def test_a_simulation_is_told_how_long_a_reader_would_have_waited() -> None:
    waited: list[float] = []
    made = MemoryCluster(idle=waited.append)
    made.ensure(TopicSpec("out", 1, compacted=False))
    cursor = MemoryBroker(made).cursor(OUT, 0)
    assert not cursor.fetch(1, 2.5)
    made.publish(outgoing("v")[0])
    assert cursor.fetch(1, 2.5)
    assert waited == [2.5]


def test_without_a_simulation_a_reader_wakes_when_another_thread_writes() -> None:
    made = MemoryCluster()
    made.ensure(TopicSpec("out", 1, compacted=False))
    broker = MemoryBroker(made)
    found: list[bytes | None] = []
    reader = Thread(target=lambda: found.extend(r.value for r in broker.cursor(OUT, 0).fetch(1, 60)))
    reader.start()
    broker.publish(outgoing("v"))
    reader.join(30)
    assert found == [b"v"]


def test_polls_begin_with_another_partition_each_time_so_that_none_starves() -> None:
    made = cluster()
    made.grow("given", 2)
    broker = MemoryBroker(made)
    source = broker.source(["given"])
    for partition in source.poll(1, 0).assigned:
        source.resume_at(partition, 0)
    broker.publish([Outgoing("given", number % 2, None, b"v") for number in range(20)])
    polled = [set(source.poll(5, 0).records) for _ in range(2)]
    assert polled[0] != polled[1]


@pytest.mark.parametrize(
    ("record", "why"),
    [
        (Outgoing("absent", 0, b"k", b"v"), "absent"),
        (Outgoing("out", 7, b"k", b"v"), "partition 7"),
        (Outgoing("out", 0, b"k", bytes(2_000_000)), r"max\.message\.bytes"),
        (Outgoing("table", 0, None, b"v"), "key"),
    ],
)
def test_a_record_that_cannot_be_stored_says_why(record: Outgoing, why: str) -> None:
    with pytest.raises((BrokerUnavailable, TopicMismatch), match=why):
        MemoryBroker(cluster()).publish([record])


def test_asking_for_no_records_is_a_mistake_that_is_told() -> None:
    made = cluster()
    with pytest.raises(ValueError, match="records_max"):
        MemoryBroker(made).cursor(OUT, 0).fetch(0, 0)
