"""A partition comes back from its pages and a silent replay, or starts afresh and says why."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from daemon.errors import RestoreStalled
from daemon.memory import MemoryBroker, MemoryCluster
from daemon.restore import Restore, RestoreSettings
from daemon.state import GroupLayout, PartitionState, flush
from daemon.types import Outgoing, Record, TopicPartition, TopicSpec
from detectors.slab import Delta, row_dtype

HERE = TopicPartition("in", 0)
LAYOUTS = {"g": GroupLayout(row_dtype([("samples", "f4", ())]), 100)}
SETTINGS = RestoreSettings("state", LAYOUTS, seconds_max=60.0)


class Cluster(MemoryCluster):
    """A cluster in which nobody waits."""

    def __init__(self, inputs: int = 20, manifest: int | None = None) -> None:
        super().__init__(idle=lambda _seconds: None)
        self.ensure(TopicSpec("in", 1, compacted=False))
        self.ensure(TopicSpec("state", 1, compacted=True))
        for number in range(inputs):
            self.publish(Outgoing("in", 0, None, str(number).encode()))
        if manifest is not None:
            self.write_pages(manifest)

    def write_pages(self, offset: int) -> None:
        """Write the pages of the state after the records below `offset`, with their manifest."""
        state = PartitionState.empty(LAYOUTS, 0)
        count(state, offset)
        state.next_offset = offset
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


def test_without_a_manifest_reading_goes_on_at_the_committed_offset() -> None:
    state, restore = restored(Cluster(), committed=8)
    assert (counted(state), state.next_offset, state.flushed_offset, restore.discarded) == (0, 8, None, [])


def test_a_new_group_begins_at_the_first_offset_that_is_left() -> None:
    cluster = Cluster()
    cluster.trim(HERE, 5)
    state, restore = restored(cluster, committed=None)
    assert (state.next_offset, restore.discarded) == (5, [])


def test_records_that_retention_deleted_before_they_could_be_replayed_are_said() -> None:
    cluster = Cluster(manifest=4)
    cluster.trim(HERE, 9)
    state, restore = restored(cluster, committed=12)
    assert restore.discarded == ["offsets 4 to 9 were deleted by retention before being read"]
    assert (counted(state), state.next_offset) == (4 + 3, 12)


def test_retention_beyond_the_committed_offset_is_said_too() -> None:
    cluster = Cluster(manifest=4)
    cluster.trim(HERE, 15)
    state, restore = restored(cluster, committed=12)
    assert "offsets 4 to 15" in restore.discarded[0]
    assert state.next_offset == 15


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


def test_a_restore_without_an_end_is_given_up_and_says_where_it_stands() -> None:
    cluster = Cluster(manifest=4)
    restore = Restore(MemoryBroker(cluster), HERE, 99, SETTINGS, 0.0)  # offsets that the input does not hold
    assert not any(restore.advance(replay, 59.0) for _ in range(10))
    with pytest.raises(RestoreStalled, match=r"topic='in', partition=0.*stands at 20"):
        restore.advance(replay, 60.1)


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
