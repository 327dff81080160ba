"""The follower hears every alert of every partition, also when the topic comes later."""

from __future__ import annotations

import math

import msgspec

from daemon.alert_events import AlertEvent, Change, Source
from daemon.demo.follow import Follower, alert_of
from daemon.demo.judge import Alert
from daemon.memory import MemoryBroker, MemoryCluster
from daemon.types import Outgoing, TopicSpec

TOPIC = "longwatch-alerts"


def event(alert_id: str, change: Change = "open", score: float | None = 2.5) -> AlertEvent:
    return AlertEvent(
        schema_version=1,
        alert_id=alert_id,
        change=change,
        rule="anomaly",
        reason="threshold",
        severity="warning",
        group="fleet",
        stream="cpu{}",
        labels={"name": "cpu"},
        started_at_ms=100,
        detected_at_ms=200,
        peak_at_ms=150,
        ended_at_ms=None,
        score=score,
        max_score=score,
        surprise={},
        threshold={},
        direction="up",
        features=[],
        model_id="m",
        config_checksum="c",
        source=Source("metrics", 0, 5),
    )


def message(partition: int, alert_id: str) -> Outgoing:
    return Outgoing(TOPIC, partition, b"cpu{}", msgspec.json.encode(event(alert_id)))


def test_an_event_becomes_what_the_judge_needs() -> None:
    assert alert_of(event("a", "close")) == Alert("a", "close", "cpu{}", "anomaly", 100, 200, 2.5)
    assert math.isnan(alert_of(event("a", score=None)).score)


def test_a_topic_that_is_not_there_yet_has_no_alerts() -> None:
    broker = MemoryBroker(MemoryCluster(), "follower")
    follower = Follower(broker, TOPIC)
    assert follower.read(0.0) == []
    broker.ensure(TopicSpec(TOPIC, 2, compacted=False))
    broker.publish([message(0, "a"), message(1, "b")])
    assert {alert.alert_id for alert in follower.read(0.0)} == {"a", "b"}


def test_each_alert_is_heard_once() -> None:
    broker = MemoryBroker(MemoryCluster(), "follower")
    broker.ensure(TopicSpec(TOPIC, 2, compacted=False))
    follower = Follower(broker, TOPIC)
    broker.publish([message(0, "a")])
    assert [alert.alert_id for alert in follower.read(0.0)] == ["a"]
    broker.publish([message(0, "b"), message(0, "c"), message(1, "d")])
    assert {alert.alert_id for alert in follower.drain()} == {"b", "c", "d"}
    assert follower.read(0.0) == follower.drain() == []
    follower.close()
