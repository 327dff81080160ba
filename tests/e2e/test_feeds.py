"""Two topics in two formats through one daemon, with a window of maintenance over a part of what they hold."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from daemon import codec
from daemon.alert_events import AlertEvent
from daemon.kafka import KafkaBroker
from daemon.types import Outgoing, TopicSpec
from tests.e2e import feed
from tests.e2e.process import Daemon, Follower, Scores, group, settings, until

pytestmark = [pytest.mark.broker, pytest.mark.slow, pytest.mark.timeout(400)]

TICKS = 260
MAINTAINED, SPIKES = range(100, 140), (110, 220)


def moment(tick: int) -> str:
    return datetime.fromtimestamp((feed.START_MS + tick * feed.INTERVAL_MS) / 1000, UTC).isoformat()


def spiked(stream: int) -> list[float]:
    values = feed.values(stream, TICKS, faults=False)
    for at in SPIKES:
        values[at : at + 3] = [value + 40.0 for value in values[at : at + 3]]
    return values


def lines(topic: str, stream: int) -> list[Outgoing]:
    """Return a stream as InfluxDB lines, each second one from another instance of the same service."""
    return [
        Outgoing(topic, 0, b"k", f"load,svc=s{stream},pod=p{i % 2} value={value} {_ns(i)}".encode())
        for i, value in enumerate(spiked(stream))
    ]


def _ns(tick: int) -> int:
    return (feed.START_MS + tick * feed.INTERVAL_MS) * 1_000_000


def told(alerts: Follower) -> list[AlertEvent]:
    return [codec.decode_alert(record.value or b"") for record in alerts.finish()]


def test_topics_of_two_formats_are_scored_by_one_daemon_and_a_window_keeps_their_alerts_away(
    kafka_bootstrap: str, topic_prefix: str, broker: KafkaBroker, tmp_path: Path
) -> None:
    apps, hosts = f"{topic_prefix}apps", f"{topic_prefix}hosts"
    for topic in (apps, hosts):
        broker.ensure(TopicSpec(topic, 1, compacted=False))
    broker.publish([feed.record(apps, 2, i, value)._replace(partition=0) for i, value in enumerate(spiked(2))])
    broker.publish([each for stream in (1, 2) for each in lines(hosts, stream)])
    feeds = [
        {"topics": [apps], "labels": {"feed": "apps"}},
        {"topics": [hosts], "format": "influx", "labels": {"feed": "hosts"}},
    ]
    common = {"warmup_samples": 95, "alert": {"hold_off_samples": 0, "habituation": 0}}
    groups = [
        group(name="hosts", select=['feed="hosts"'], rename={"svc": "service"}, by=["service"], **common),
        group(name="apps", drop=["feed"], **common),
    ]
    over = {
        "input": {"feeds": feeds, "poll_seconds": 0.1},
        "groups": groups,
        "maintenance": [{"starts_at": moment(MAINTAINED.start), "ends_at": moment(MAINTAINED.stop)}],
    }
    with Daemon(tmp_path, settings(kafka_bootstrap, topic_prefix, **over)) as daemon:
        daemon.until_ready()
        scores = Scores(broker, f"{topic_prefix}scores")
        daemon.until(lambda: scores.reach(3 * TICKS), "everything is scored")
        scores.close()
        until(lambda: daemon.metric("longwatch_alerts_withheld_total", group="apps") == 1, "one is told", 20)
        until(lambda: daemon.metric("longwatch_alerts_withheld_total", group="hosts") == 2, "two are told", 20)
        assert daemon.stop() == 0
    alerts = Follower(broker, f"{topic_prefix}alerts")
    found = told(alerts)
    alerts.close()
    streams = {"load_02": apps, 'load{service="s1"}': hosts, 'load{service="s2"}': hosts}
    opened = {each.stream: each for each in found if each.change == "open" and each.rule == "anomaly"}
    assert {stream: each.source.topic for stream, each in opened.items()} == streams
    ticks = {(each.detected_at_ms - feed.START_MS) // feed.INTERVAL_MS for each in found if each.change == "open"}
    assert ticks == {SPIKES[1]}
