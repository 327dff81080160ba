"""A stream that lies on two partitions is found, counted, and said once."""

from __future__ import annotations

import json

from daemon import events
from daemon.engine import layout, step
from daemon.formats import JsonFormat
from daemon.intake import Intake, Limits
from daemon.memory import MemoryRecord
from daemon.partitions import settle
from daemon.spread import LOOKED_AT_MAX, every_stream, newcomers, spread
from daemon.state import GroupLayout, PartitionState
from daemon.telemetry import Telemetry
from daemon.types import TopicPartition
from tests.conformance.feed import START_MS, settings_of
from tests.simulation.world import GROUP, Selection
from tests.unit.test_telemetry import Lines

LAYOUTS = {GROUP: GroupLayout(layout(settings_of()), 10_000)}


class Member:
    """A member with some partitions, through which records go turn by turn."""

    def __init__(self, *partitions: TopicPartition) -> None:
        self.states = {each: PartitionState.empty(LAYOUTS, 0) for each in partitions}
        self.intake = Intake(JsonFormat(), [Selection()], Limits())

    def turn(self, partition: TopicPartition, *streams: str) -> list[events.StreamsSpread]:
        bodies = [{"timestamp": START_MS, "name": name, "value": 1.0} for name in streams]
        records = [MemoryRecord(i, -1, None, json.dumps(body).encode(), ()) for i, body in enumerate(bodies)]
        state = self.states[partition]
        taken = self.intake.take(partition, records, state)
        found = list(spread({partition: newcomers(state)}, self.states))
        settle(state, taken, step([]).deltas)
        return found


ZERO, ONE, OTHER = TopicPartition("in", 0), TopicPartition("in", 1), TopicPartition("else", 0)


def test_a_stream_that_comes_on_a_second_partition_of_its_topic_is_found() -> None:
    member = Member(ZERO, ONE, OTHER)
    assert member.turn(ZERO, "a", "b") == []
    assert member.turn(OTHER, "a") == []  # topics are kept apart
    assert member.turn(ONE, "c", "b", "a") == [events.StreamsSpread("in", GROUP, 2, "b")]


def test_a_partition_that_was_restored_is_looked_at_as_a_whole() -> None:
    member = Member(ZERO, ONE)
    member.turn(ZERO, "a", "b")
    member.turn(ONE, "b", "c")
    (found,) = spread({ONE: every_stream(member.states[ONE])}, member.states)
    assert (found.count, found.stream) == (1, "b")


def test_a_flood_of_new_streams_is_looked_at_in_part() -> None:
    member = Member(ZERO, ONE)
    names = [f"s{i}" for i in range(LOOKED_AT_MAX + 500)]
    member.turn(ZERO, *names)
    (found,) = member.turn(ONE, *names)
    assert found.count == LOOKED_AT_MAX


def test_it_is_counted_each_time_and_said_once_a_topic() -> None:
    lines = Lines()
    telemetry = Telemetry(lambda: 0.0, lines)
    for topic in ("in", "in", "else"):
        telemetry.note(events.StreamsSpread(topic, GROUP, 3, "a"))
    assert [fields["topic"] for _, event, fields in lines.kept if event == "streams_spread"] == ["in", "else"]
    counted = telemetry.registry.get_sample_value("longwatch_streams_spread_total", {"topic": "in", "group": GROUP})
    assert counted == 6
