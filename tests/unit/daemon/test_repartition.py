"""The first stage of a repartitioned input: who does it, from where on, in which order, and what it never waits for."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import pytest

from daemon import events
from daemon.errors import BrokerUnavailable, InputUnusable
from daemon.formats import JsonFormat, Malformed
from daemon.formats.packed import PackedFormat
from daemon.homes import Homes
from daemon.intake import Limits
from daemon.intakes import ByTopic
from daemon.memory import MemoryBroker, MemoryCluster, Operation
from daemon.memory.faults import Faults, no_faults
from daemon.repartition import STUCK_SECONDS, Around, Repartition, RepartitionSettings
from daemon.types import Outgoing, TopicPartition, TopicSpec
from daemon.wanted import Wanted

T = 1_700_000_000_000
GROUP = "longwatch-repartition"
SETTINGS = RepartitionSettings(
    "between", "dead", 100, records_max=50, bytes_max=10**6, seconds=0.5, poll_seconds=0.05, wait_seconds=0.2
)
RAW = [TopicPartition("raw", number) for number in range(3)]


@dataclass(frozen=True)
class Everything:
    """The group that takes every point but those of `nobody`."""

    name: str = "all"
    channels: Sequence[str] = ()

    def selects(self, labels: object) -> bool:
        """Return whether it takes a point."""
        return isinstance(labels, dict) and labels["name"] != "nobody"


def sample(tick: int, name: str = "cpu") -> bytes:
    return json.dumps({"timestamp": T + tick * 1000, "name": name, "value": tick}).encode()


@dataclass
class Stage:
    """A cluster with an input of three partitions, and members of the first stage."""

    clock: float = 1000.0
    noted: list[events.Event] = field(default_factory=list)
    ours: bool = True
    stood: dict[TopicPartition, int] = field(default_factory=dict)
    faults: Faults = no_faults

    def __post_init__(self) -> None:
        self.cluster = MemoryCluster(now_ms=lambda: T + 10**7, idle=self._idle)
        for name, partitions in (("raw", 3), ("between", 2), ("dead", 1)):
            self.cluster.ensure(TopicSpec(name, partitions, compacted=False))

    def _idle(self, seconds: float) -> None:
        self.clock += seconds

    def member(self, name: str = "one", settings: RepartitionSettings = SETTINGS) -> Repartition:
        """Return a member that believes to be the one, as long as `ours` says so."""
        door = MemoryBroker(self.cluster, GROUP, faults=self.faults)
        around = Around(
            door=door,
            writer=door.writer(name),
            feeds=ByTopic([(Wanted.of(["^r.*"]), Homes(JsonFormat(), [Everything()], Limits()))]),
            is_ours=lambda: self.ours,
            stood=self.stood.get,
            note=self.noted.append,
            monotonic=lambda: self.clock,
            wall_clock=lambda: T / 1000.0,
        )
        return Repartition(settings, around, ["raw"])

    def publish(self, partition: int, *values: bytes) -> None:
        """Let a producer write into one partition of the input."""
        for value in values:
            self.cluster.publish(Outgoing("raw", partition, None, value))

    def until(self, member: Repartition, done: Callable[[], bool], turns_max: int = 100) -> None:
        """Let a member take turns until something is so."""
        for _ in range(turns_max):
            if done():
                return
            member.turn()
        raise AssertionError(f"not within {turns_max} turns: {self.written()}")

    def turns(self, member: Repartition, count: int = 10) -> None:
        """Let a member take some turns."""
        for _ in range(count):
            member.turn()

    def written(self) -> list[int]:
        """Return the ticks of the samples in the topic between the stages, in the order in which they stand there."""
        found, form = [], PackedFormat()
        for number in range(2):
            for record in self.cluster.visible(TopicPartition("between", number)):
                points = form.decode(record.value or b"")
                assert not isinstance(points, Malformed)
                found += [int(point.fields["value"]) for point in points]
        return found

    def of(self, kind: type[events.Event]) -> list[events.Event]:
        """Return the events of one kind."""
        return [each for each in self.noted if isinstance(each, kind)]


def test_a_stream_that_comes_round_robin_stands_in_one_partition_and_in_order() -> None:
    stage = Stage()
    for tick in range(30):
        stage.publish(tick % 3, sample(tick))
    stage.until(stage.member(), lambda: len(stage.written()) == 30)
    assert stage.written() == list(range(30))
    assert sum(not stage.cluster.visible(TopicPartition("between", number)) for number in range(2)) == 1
    told = [each for each in stage.of(events.Repartitioned) if isinstance(each, events.Repartitioned)]
    assert (sum(each.records for each in told), sum(each.readings for each in told)) == (30, 30)


def test_who_has_but_a_part_of_the_input_waits_until_it_has_all_of_it() -> None:
    stage = Stage()
    one, two = stage.member("one"), stage.member("two")
    for _ in range(5):
        one.turn()
        two.turn()
    for tick in range(9):
        stage.publish(tick % 3, sample(tick))
    for _ in range(20):
        one.turn()
        two.turn()
    assert stage.written() == []
    two.close()
    stage.until(one, lambda: len(stage.written()) == 9)
    assert stage.written() == list(range(9))


def test_a_member_that_is_not_the_one_any_more_leaves_it_to_another() -> None:
    stage = Stage()
    one = stage.member("one")
    stage.publish(0, sample(0))
    stage.until(one, lambda: stage.written() == [0])
    stage.ours = False
    one.turn()
    assert stage.of(events.Repartitioning) == [events.Repartitioning(active=True), events.Repartitioning(active=False)]
    assert len(stage.of(events.PartitionDropped)) == 3
    stage.ours = True
    stage.publish(1, sample(1))
    stage.until(stage.member("two"), lambda: stage.written() == [0, 1])


def test_a_partition_that_has_more_and_gives_nothing_holds_the_others_up_for_a_moment_only() -> None:
    stage = Stage()
    door = MemoryBroker(stage.cluster, "producer")
    member = stage.member()
    transaction = stage.cluster.begin("producer", stage.cluster.take_over("producer"))
    stage.cluster.send(transaction, Outgoing("raw", 2, None, sample(1)))
    stage.publish(0, sample(0), sample(2))
    stage.publish(1, sample(3))
    stage.turns(member, 20)
    assert stage.written() == []
    began = stage.clock
    stage.until(member, lambda: stage.written() == [0, 2, 3], 300)
    assert stage.clock - began < 2 * STUCK_SECONDS
    stage.cluster.commit(transaction)
    stage.until(member, lambda: stage.written() == [0, 2, 3, 1])
    door.close()


def test_a_reading_waits_a_moment_for_older_ones_of_partitions_that_are_at_their_end() -> None:
    stage = Stage()
    member = stage.member()
    stage.turns(member)
    stage.publish(0, sample(1))
    stage.turns(member, 3)
    assert stage.written() == []
    stage.publish(1, sample(0))
    stage.publish(2, sample(2), sample(3))
    began = stage.clock
    stage.until(member, lambda: stage.written() == [0, 1, 2, 3])
    assert 0.15 < stage.clock - began < 1.0


def test_time_in_which_nothing_was_polled_is_no_waiting() -> None:
    stage = Stage()
    transaction = stage.cluster.begin("producer", stage.cluster.take_over("producer"))
    stage.cluster.send(transaction, Outgoing("raw", 2, None, sample(1)))
    stage.publish(0, sample(0))
    member = stage.member()
    for _ in range(5):
        member.turn()
        stage.clock += 100.0  # the second stage restores
    assert stage.written() == []


def test_it_begins_where_a_daemon_of_the_group_stood_that_read_the_input_itself() -> None:
    stage = Stage(stood={RAW[0]: 2})
    stage.publish(0, *(sample(tick) for tick in range(4)))
    stage.publish(1, sample(1))
    stage.until(stage.member(), lambda: len(stage.written()) == 3)
    assert stage.written() == [1, 2, 3]


def test_what_was_deleted_before_it_was_read_is_told() -> None:
    stage = Stage()
    stage.publish(0, *(sample(tick) for tick in range(4)))
    one = stage.member()
    stage.until(one, lambda: len(stage.written()) == 4)
    one.close()
    stage.publish(0, *(sample(tick) for tick in range(4, 8)))
    stage.cluster.trim(RAW[0], 6)
    stage.until(stage.member(), lambda: len(stage.written()) == 6)
    assert stage.written() == [0, 1, 2, 3, 6, 7]
    assert stage.of(events.InputGap) == [events.InputGap(RAW[0], "trimmed", 4, 6)]


def test_a_topic_that_was_made_anew_is_read_from_its_beginning() -> None:
    stage = Stage()
    stage.publish(0, *(sample(tick) for tick in range(4)))
    member = stage.member()
    stage.until(member, lambda: len(stage.written()) == 4)
    before = dict(stage.cluster.group(GROUP).offsets)
    stage.cluster.delete("raw")
    stage.cluster.group(GROUP).offsets = before  # they may outlive it
    stage.cluster.ensure(TopicSpec("raw", 3, compacted=False))
    stage.publish(0, *(sample(tick) for tick in range(4, 12)))
    stage.until(member, lambda: len(stage.written()) == 12)
    assert stage.written() == list(range(12))
    assert stage.of(events.InputGap)[0] == events.InputGap(RAW[0], "recreated", 4, 0)


def test_a_topic_that_grows_and_one_that_appears_are_read_too() -> None:
    stage = Stage()
    stage.publish(0, sample(0))
    member = stage.member()
    stage.until(member, lambda: stage.written() == [0])
    stage.cluster.grow("raw", 5)
    stage.publish(4, sample(1))
    stage.until(member, lambda: stage.written() == [0, 1])
    stage.cluster.ensure(TopicSpec("rawer", 1, compacted=False))
    stage.cluster.publish(Outgoing("rawer", 0, None, sample(2)))
    member.read(["raw", "rawer"])
    stage.until(member, lambda: stage.written() == [0, 1, 2])


@pytest.mark.parametrize("every", [0, 2])
def test_who_is_far_ahead_is_paused_until_the_others_have_come_up_and_a_broker_lets_it_be_resumed(every: int) -> None:
    resumed = [0]

    def refuse(operation: Operation) -> None:
        resumed[0] += operation == "resume"
        if operation == "resume" and every and resumed[0] % every:
            raise BrokerUnavailable("no broker to resume at")

    stage = Stage(faults=refuse)
    for number in range(3):
        stage.publish(number, *(sample(3 * tick + number) for tick in range(200)))
    settings = replace(SETTINGS, held_bytes_max=2_000, records_max=7)
    stage.until(stage.member(settings=settings), lambda: len(stage.written()) == 600, 2000)
    assert stage.written() == list(range(600))
    assert resumed[0] > 10 * len(RAW)  # after pauses, not only at the beginning


def test_what_cannot_be_used_is_a_dead_letter_with_the_place_that_it_came_from() -> None:
    stage = Stage()
    stage.publish(1, sample(0), b"nonsense", sample(2), sample(1, "nobody"))
    stage.until(stage.member(), lambda: len(stage.written()) == 2)
    (letter,) = stage.cluster.visible(TopicPartition("dead", 0))
    headers = dict(letter.headers)
    assert (headers["longwatch-topic"], headers["longwatch-partition"]) == (b"raw", b"1")
    assert (headers["longwatch-offset"], letter.value) == (b"1", b"nonsense")
    assert [each.offset for told in stage.of(events.RecordsRejected) for each in told.rejected] == [1]  # type: ignore[union-attr]
    assert stage.of(events.PointsUnselected) == [events.PointsUnselected("raw", 1)]


def test_too_many_unusable_records_in_a_row_end_the_process_and_nothing_of_them_is_skipped() -> None:
    stage = Stage()
    stage.publish(1, sample(0), *[b"nonsense"] * 3)
    member = stage.member(settings=replace(SETTINGS, rejected_run_max=3))
    with pytest.raises(InputUnusable, match=r"raw/1: 3 records in a row cannot be used, up to offset 3"):
        stage.turns(member)
    assert stage.cluster.group(GROUP).offsets == {}
    assert not stage.cluster.visible(TopicPartition("dead", 0))


def test_the_lag_of_the_input_is_told_by_its_own_topic() -> None:
    stage = Stage()
    stage.publish(0, *(sample(tick) for tick in range(4)))
    member = stage.member()
    stage.until(member, lambda: len(stage.written()) == 4)
    stage.clock += 2.0
    member.turn()
    told = [each for each in stage.of(events.LagMeasured) if isinstance(each, events.LagMeasured)][-3:]
    assert {each.partition: each.records for each in told} == dict.fromkeys(RAW, 0)
