"""A partition comes back from its pages and a silent replay, or starts afresh and says why."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from daemon.errors import BrokerUnavailable, RestoreStalled
from daemon.events import InputGap
from daemon.memory import MemoryBroker, MemoryCluster
from daemon.memory.broker import MemoryCursor
from daemon.restore import Restore, RestoreSettings
from daemon.state import GroupLayout, PartitionState, flush
from daemon.types import Outgoing, Record, TopicPartition, TopicSpec
from detectors.slab import Delta, row_dtype

HERE = TopicPartition("in", 0)
LAYOUTS = {"g": GroupLayout(row_dtype([("samples", "f4", ())]), 100)}
SETTINGS = RestoreSettings("state", LAYOUTS, seconds_max=60.0)


class Cluster(MemoryCluster):
    """A cluster in which nobody waits."""

    def __init__(self, inputs: int = 20, manifest: int | None = None, topic_id: str | None = None) -> None:
        super().__init__(idle=lambda _seconds: None)
        self.ensure(TopicSpec("in", 1, compacted=False))
        self.ensure(TopicSpec("state", 1, compacted=True))
        for number in range(inputs):
            self.publish(Outgoing("in", 0, None, str(number).encode()))
        if manifest is not None:
            self.write_pages(manifest, self.topic_id("in") if topic_id is None else topic_id)

    def write_pages(self, offset: int, topic_id: str | None = None) -> None:
        """Write the pages of the state after the records below `offset`, with their manifest."""
        state = PartitionState.empty(LAYOUTS, 0)
        count(state, offset)
        state.next_offset, state.topic_id = offset, topic_id or ""
        for message in flush("state", HERE, state, LAYOUTS)[0]:
            self.publish(message)


def count(state: PartitionState, by: int) -> None:
    """Count records in the row of the one stream."""
    slot = state.slabs["g"].slot("s")
    assert slot is not None
    rows = state.slabs["g"].take(np.array([slot]))
    rows["samples"] += by
    state.slabs["g"].apply(Delta(np.array([slot]), rows))


def replay(state: PartitionState, records: Sequence[Record]) -> None:
    count(state, len(records))
    state.next_offset = records[-1].offset + 1


def counted(state: PartitionState) -> float:
    return float(state.slabs["g"].view()["samples"].sum())


def restored(cluster: MemoryCluster, committed: int | None) -> tuple[PartitionState, Restore]:
    restore = Restore(MemoryBroker(cluster), HERE, committed, SETTINGS, 0.0)
    for _ in range(20):
        if restore.advance(replay, 1.0):
            assert restore.state is not None
            return restore.state, restore
    raise AssertionError("the restore never ended")


def test_pages_and_a_silent_replay_give_the_state_at_the_committed_offset() -> None:
    state, restore = restored(Cluster(manifest=12), committed=17)
    assert (counted(state), state.next_offset) == (17, 17)
    assert (restore.replayed, restore.pages, restore.discarded) == (5, 1, [])
    assert state.flushed_offset == 12


def test_nothing_is_replayed_when_the_pages_stand_at_the_committed_offset() -> None:
    state, restore = restored(Cluster(manifest=17), committed=17)
    assert (counted(state), restore.replayed) == (17, 0)


def test_without_a_manifest_reading_goes_on_at_the_committed_offset_and_the_loss_is_said() -> None:
    state, restore = restored(Cluster(), committed=8)
    assert (counted(state), state.next_offset, state.flushed_offset, restore.gaps) == (0, 8, None, [])
    assert restore.discarded == ["the group has come to offset 8, and there is no state of it"]


def test_a_new_group_begins_at_the_first_offset_that_is_left() -> None:
    cluster = Cluster()
    cluster.trim(HERE, 5)
    state, restore = restored(cluster, committed=None)
    assert (state.next_offset, restore.discarded, restore.gaps) == (5, [], [])


def test_records_that_retention_deleted_before_they_could_be_replayed_are_said() -> None:
    cluster = Cluster(manifest=4)
    cluster.trim(HERE, 9)
    state, restore = restored(cluster, committed=12)
    assert restore.discarded == ["offsets 4 to 9 were deleted by retention before they could be replayed"]
    assert (counted(state), state.next_offset, restore.gaps) == (4 + 3, 12, [])


def test_retention_beyond_the_committed_offset_is_a_gap_and_the_streams_are_kept() -> None:
    cluster = Cluster(manifest=4)
    cluster.trim(HERE, 15)
    state, restore = restored(cluster, committed=12)
    assert restore.gaps == [InputGap(HERE, "trimmed", 12, 15)]
    assert "offsets 4 to 12" in restore.discarded[0]
    assert (counted(state), state.next_offset) == (4, 15)


def recreated(cluster: Cluster, inputs: int) -> None:
    """Delete the input and create it again, with so many records."""
    cluster.delete("in")
    cluster.ensure(TopicSpec("in", 1, compacted=False))
    for number in range(inputs):
        cluster.publish(Outgoing("in", 0, None, str(number).encode()))


@pytest.mark.parametrize("committed", [None, 17])
@pytest.mark.parametrize("inputs", [0, 3, 40])
def test_another_topic_of_the_same_name_is_read_from_its_beginning(inputs: int, committed: int | None) -> None:
    cluster = Cluster(manifest=12)
    recreated(cluster, inputs)
    state, restore = restored(cluster, committed)
    assert (counted(state), state.next_offset, state.flushed_offset) == (0, 0, None)
    assert restore.gaps == [InputGap(HERE, "recreated", 12, 0)]
    assert restore.discarded == ["the input topic was deleted and created again"]
    assert state.topic_id == cluster.topic_id("in")


@pytest.mark.parametrize("manifest", [None, 12])
def test_a_topic_that_ends_below_the_committed_offset_is_another_one_when_nobody_knows_its_id(
    manifest: int | None,
) -> None:
    state, restore = restored(Cluster(10, manifest, topic_id=""), committed=17)
    assert (counted(state), state.next_offset) == (0, 0)
    assert [gap.reason for gap in restore.gaps] == ["recreated"]


@pytest.mark.parametrize(("inputs", "replayed"), [(15, 3), (10, 0)])
def test_records_that_the_cluster_lost_are_a_gap_and_the_streams_are_kept(inputs: int, replayed: int) -> None:
    state, restore = restored(Cluster(inputs, manifest=12), committed=17)
    assert restore.gaps == [InputGap(HERE, "truncated", 17, inputs)]
    assert (counted(state), state.next_offset, restore.discarded) == (12 + replayed, inputs, [])


def test_a_group_whose_offsets_the_broker_forgot_goes_on_where_its_pages_stand() -> None:
    state, restore = restored(Cluster(manifest=12), committed=None)
    assert (counted(state), state.next_offset, restore.discarded, restore.gaps) == (12, 12, [], [])


def test_a_group_that_was_set_back_starts_afresh() -> None:
    state, restore = restored(Cluster(manifest=12), committed=3)
    assert (counted(state), state.next_offset, state.flushed_offset) == (0, 3, None)
    assert "set back to 3" in restore.discarded[0]


def test_an_unreadable_manifest_starts_the_partition_afresh() -> None:
    cluster = Cluster(manifest=12)
    cluster.publish(Outgoing("state", 0, b"manifest/in/0", b"nonsense"))
    state, restore = restored(cluster, committed=14)
    assert (counted(state), state.next_offset) == (0, 14)
    assert "manifest cannot be read" in restore.discarded[0]


def test_an_open_transaction_of_a_dead_writer_is_waited_for() -> None:
    cluster = Cluster(manifest=4)
    epoch = cluster.take_over("dead")
    transaction = cluster.begin("dead", epoch)
    cluster.send(transaction, Outgoing("state", 0, b"page/in/0/g/0", b"never committed"))
    cluster.write_pages(15)  # newer, and hidden behind it
    restore = Restore(MemoryBroker(cluster), HERE, 17, SETTINGS, 0.0)
    assert not any(restore.advance(replay, 1.0) for _ in range(5))
    assert (restore.pages, restore.replayed) == (1, 0)  # the older one
    cluster.expire("dead")
    while not restore.advance(replay, 1.0):
        pass
    assert restore.state is not None
    assert (counted(restore.state), restore.replayed) == (17, 2)


def hang(cluster: Cluster, topic: str) -> None:
    """Leave a transaction open in partition 0 of `topic` that nobody ends."""
    transaction = cluster.begin("hanging", cluster.take_over("hanging"))
    cluster.send(transaction, Outgoing(topic, 0, b"k", b"never committed"))


@pytest.mark.parametrize(
    ("topic", "told"), [("in", "in/0 stands at offset 20 .* come to 25"), ("state", "state/0 stands at offset 2 .* 3;")]
)
def test_a_restore_that_gets_no_further_is_given_up_and_says_where_it_stands(topic: str, told: str) -> None:
    cluster = Cluster(manifest=4)
    hang(cluster, topic)
    for _ in range(4):
        cluster.publish(Outgoing("in", 0, None, b"behind it"))
    restore = Restore(MemoryBroker(cluster), HERE, 25 if topic == "in" else 17, SETTINGS, 0.0)
    assert not any(restore.advance(replay, 59.0) for _ in range(10))
    with pytest.raises(RestoreStalled, match=f"restoring in/0: {told}"):
        restore.advance(replay, 59.0 + 60.1)


def test_a_restore_may_take_any_time_as_long_as_it_gets_further() -> None:
    cluster = Cluster(manifest=4)
    restore = Restore(MemoryBroker(cluster), HERE, 20, SETTINGS, 0.0)
    now = 0.0
    while not restore.advance(replay, now):
        now += 59.0
    assert now > 2 * SETTINGS.seconds_max


def test_the_replay_stops_exactly_at_the_committed_offset_also_between_control_records() -> None:
    cluster = Cluster(0, manifest=0)
    for number in range(6):  # every record in a transaction of its own: its commit takes an offset too
        epoch = cluster.take_over("w")
        transaction = cluster.begin("w", epoch)
        cluster.send(transaction, Outgoing("in", 0, None, str(number).encode()))
        cluster.commit(transaction)
    state, restore = restored(cluster, committed=8)
    assert (counted(state), state.next_offset, restore.replayed) == (4, 8, 4)


def test_a_restore_can_be_given_up_at_any_time() -> None:
    restore = Restore(MemoryBroker(Cluster(manifest=4)), HERE, 17, SETTINGS, 0.0)
    restore.close()
    restore.advance(replay, 1.0)
    restore.close()
    restore.close()


class Stubborn(MemoryCursor):
    """A reader that cannot be closed in order."""

    def close(self) -> None:
        """Fail."""
        raise BrokerUnavailable("no broker is connected")


class Door(MemoryBroker):
    """A broker that hands out such readers."""

    def cursor(self, partition: TopicPartition, start: int) -> MemoryCursor:
        """Return a reader."""
        return Stubborn(self._cluster, partition, start, self._faults)


def test_giving_up_never_fails_so_that_what_was_polled_meanwhile_is_not_forgotten() -> None:
    restore = Restore(Door(Cluster(manifest=4)), HERE, 17, SETTINGS, 0.0)
    restore.advance(replay, 1.0)
    restore.close()
