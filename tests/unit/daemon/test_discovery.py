"""Topics that match a pattern are found when they appear; those that we write never are."""

from __future__ import annotations

import pytest

from daemon import assembly, events
from daemon.config import loads
from daemon.discovery import Discovery
from daemon.errors import BrokerUnavailable
from daemon.memory import MemoryBroker, MemoryCluster
from daemon.types import TopicPartition, TopicSpec
from daemon.wanted import Wanted

TEXT = """
input:
  feeds:
    - {topics: [apps, "^app-[a-z]+$"], format: json}
    - {topics: ["^.*"], format: influx}
state: {topic: app-state}
"""
OURS = ("app-state", "longwatch-alerts", "longwatch-scores", "longwatch-dead-letters", "longwatch-models")


class World:
    """A cluster in memory and what is discovered in it."""

    def __init__(self, *patterns: str) -> None:
        self.cluster = MemoryCluster(idle=lambda _seconds: None)
        self.broker = MemoryBroker(self.cluster)
        self.noted: list[events.Event] = []
        self.prepared = 0
        self.is_ready = True
        self.found = Discovery(Wanted.of(patterns, OURS), self.broker, self.prepare, self.noted.append)

    def prepare(self) -> None:
        if not self.is_ready:
            raise BrokerUnavailable("not now")
        self.prepared += 1

    def make(self, *topics: str) -> None:
        for topic in topics:
            self.cluster.ensure(TopicSpec(topic, 2, compacted=False))


def test_a_pattern_is_of_the_whole_name_and_of_nothing_that_we_write() -> None:
    wanted = loads(TEXT, "test", {}).wanted()
    there = ("zoo", "apps", "app-b", "app-a", "app-a-1", *OURS, "__consumer_offsets")
    assert wanted.among(there) == ("apps", "app-a", "app-a-1", "app-b", "zoo")
    assert not any(wanted.matches(topic) for topic in (*OURS, "__consumer_offsets"))
    only = Wanted.of(["^app-[a-z]+"])
    assert [topic for topic in there if only.matches(topic)] == ["app-b", "app-a", "app-state"]


def test_while_nothing_matches_it_waits() -> None:
    world = World("^in-.*")
    with pytest.raises(BrokerUnavailable, match=r"no topic matches \^in-\.\* yet"):
        world.found.begin()
    world.make("in-a")
    world.found.begin()
    assert world.found.topics == ("in-a",)


def test_a_topic_that_appears_is_read_once_our_own_topics_have_room_for_it() -> None:
    world = World("first", "^in-.*")
    world.make("first", "in-b")
    world.found.begin()
    source = world.broker.source(world.found.topics)
    assert not world.found.again(10.0, 30.0)
    world.make("in-a", "app-state", "other")
    assert not world.found.again(39.9, 30.0)  # not yet time
    world.is_ready = False
    assert not world.found.again(40.0, 30.0)
    assert [type(each) for each in world.noted] == [events.TopicsFound, events.BrokerLost]
    world.is_ready = True
    assert world.found.again(70.0, 30.0)
    assert world.found.topics == ("first", "in-a", "in-b")
    assert world.noted[-1] == events.TopicsFound(("first", "in-a", "in-b"), ("in-a",))
    assert world.prepared == 1
    source.read(world.found.topics)
    given: set[TopicPartition] = set()
    for _ in range(4):
        given |= source.poll(10, 0.0).assigned
    assert given == {TopicPartition(topic, number) for topic in ("first", "in-a", "in-b") for number in (0, 1)}


def test_a_topic_that_is_deleted_is_waited_for() -> None:
    world = World("^in-.*")
    world.make("in-a", "in-b")
    world.found.begin()
    world.cluster.delete("in-b")
    assert not world.found.again(1.0, 1.0)
    assert world.found.topics == ("in-a", "in-b")


def test_without_a_pattern_nobody_is_asked() -> None:
    world = World("in-a")
    world.broker.close()
    world.found.begin()
    assert (world.found.topics, world.found.again(1.0, 1.0)) == (("in-a",), False)


def test_a_topic_of_several_feeds_is_that_of_the_one_that_names_it_or_of_the_first_that_matches() -> None:
    config = loads(TEXT, "test", {})
    intake = assembly.intake(config)
    kinds = {topic: intake.of(topic) for topic in ("apps", "app-x", "hosts")}
    assert kinds["apps"] is kinds["app-x"] is not kinds["hosts"]
