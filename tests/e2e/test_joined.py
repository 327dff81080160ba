"""Channels that come one by one are joined, also by a daemon that is killed: it tells what an undisturbed one tells."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from daemon import codec
from daemon.alert_events import AlertEvent
from daemon.kafka import ConnectionSettings, KafkaBroker
from daemon.types import Outgoing, TopicSpec
from tests.e2e import feed, verdict
from tests.e2e.process import Daemon, Follower, Scores, group, settings

pytestmark = [pytest.mark.broker, pytest.mark.slow, pytest.mark.timeout(400)]

CHANNELS = ("cpu", "memory", "latency")
HOSTS, TICKS, FAULT = 3, 240, range(170, 176)
KILLED_AT = 200  # samples
JOIN = {"channel": "name", "interval_seconds": 10, "lateness_seconds": 12}


def readings(topic: str) -> list[Outgoing]:
    """Return every channel of every host as records of their own, a little apart, some late, and some missing."""
    rng, found = random.Random(5), []
    for host in range(HOSTS):
        for number, channel in enumerate(CHANNELS):
            series = feed.values(3 * host + number, TICKS, faults=False)
            for tick, value in enumerate(series):
                if channel == "latency" and tick % 50 == 49:
                    continue
                at_ms = tick * feed.INTERVAL_MS + 200 + 3000 * number + rng.randrange(500)
                fault = 25.0 if host == 1 and channel == "latency" and tick in FAULT else 0.0
                body = {"timestamp": feed.START_MS + at_ms, "name": channel, "value": value + fault}
                told = json.dumps({**body, "labels": {"host": f"h{host}", "pid": str(tick % 7)}}).encode()
                late_ms = 9000 if rng.random() < 0.02 else 0
                found.append((at_ms + late_ms, Outgoing(topic, host % 2, b"k", told)))
    return [record for _, record in sorted(found, key=lambda each: each[0])]


def told_of(bootstrap: str, shared: str, own: str, records_max: int) -> dict[str, Any]:
    hosts = group(name="hosts", channels=list(CHANNELS), join=JOIN, by=["host"], warmup_samples=100)
    told = settings(bootstrap, own, groups=[hosts])
    told["input"] = {"topics": [f"{shared}metrics"], "poll_seconds": 0.1, "records_max": records_max}
    return told


class Run:
    """One daemon on the shared input, with topics of its own for what it writes."""

    def __init__(self, bootstrap: str, shared: str, name: str, folder: Path, records_max: int) -> None:
        own = f"{shared}{name}-"
        self.door = KafkaBroker(ConnectionSettings((bootstrap,), group_id=f"{own}group"))
        for topic in ("scores", "alerts"):
            self.door.ensure(TopicSpec(f"{own}{topic}", 2, compacted=False))
        self.scores, self.alerts = Scores(self.door, f"{own}scores"), Follower(self.door, f"{own}alerts")
        self.daemon = Daemon(folder / name, told_of(bootstrap, shared, own, records_max))

    def reach(self, samples: int) -> None:
        """Wait until so many samples are scored."""
        self.daemon.until(lambda: self.scores.reach(samples), f"{samples} samples are scored")

    def finish(self) -> tuple[Mapping[verdict.Sample, verdict.Score], list[AlertEvent], list[verdict.Change]]:
        """End the daemon and return what it told."""
        assert self.daemon.stop() == 0
        found = self.alerts.finish()
        told = verdict.scores(self.scores.finish()), [codec.decode_alert(each.value or b"") for each in found]
        for each in (self.scores, self.alerts, self.door):
            each.close()
        return (*told, verdict.changes(found))


def test_a_killed_daemon_joins_channels_to_the_same_samples_and_raises_the_same_alerts(
    kafka_bootstrap: str, topic_prefix: str, broker: KafkaBroker, tmp_path: Path
) -> None:
    broker.ensure(TopicSpec(f"{topic_prefix}metrics", 2, compacted=False))
    broker.publish(readings(f"{topic_prefix}metrics"))
    calm = Run(kafka_bootstrap, topic_prefix, "calm", tmp_path, 5000)
    killed = Run(kafka_bootstrap, topic_prefix, "killed", tmp_path, 150)
    with killed.daemon, calm.daemon:
        killed.reach(KILLED_AT)
        killed.daemon.kill()
        killed.daemon.start()
        samples = HOSTS * TICKS - HOSTS  # the last one of each stream waits for what never comes
        calm.reach(samples)
        killed.reach(samples)
        told = {"group": "hosts", "outcome": "complete"}
        assert calm.daemon.metric("longwatch_samples_joined_total", **told) >= HOSTS * (TICKS - 6)
        missing = {"group": "hosts", "channel": "latency"}
        assert calm.daemon.metric("longwatch_channels_missing_total", **missing) >= HOSTS * 4
        expected, found = calm.finish(), killed.finish()
    verdict.assert_same(expected[0], found[0], 1e-6)
    assert found[2] == expected[2]
    opened = [each for each in found[1] if each.change == "open" and each.rule == "anomaly"]
    (fault,) = [each for each in opened if each.stream == '{host="h1"}' and _tick(each.detected_at_ms) in FAULT]
    assert max(fault.features, key=lambda feature: feature.share).name == "latency"
    assert fault.quality == 1.0


def _tick(time_ms: int) -> int:
    return (time_ms - feed.START_MS) // feed.INTERVAL_MS
