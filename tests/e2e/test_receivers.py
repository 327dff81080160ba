"""Alerts reach an Alertmanager and a webhook from a daemon that is killed, past a receiver that is away."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from daemon.kafka import KafkaBroker
from daemon.types import TopicSpec
from tests.e2e import feed
from tests.e2e.process import Daemon, group, settings
from tests.receivers.alertmanager import Alertmanager, free_port
from tests.told import Server

pytestmark = [pytest.mark.broker, pytest.mark.slow, pytest.mark.timeout(400)]

STREAM = 0
WARM = 200
HIGH = 60.0
GUARDED = group(guard={"value": {"max": 45.0}}, warmup_samples=10**6)  # nothing else opens an alert


def test_an_alert_reaches_every_receiver_and_so_does_its_end(
    kafka_bootstrap: str, topic_prefix: str, broker: KafkaBroker, tmp_path: Path
) -> None:
    topic, name = f"{topic_prefix}metrics", feed.name(STREAM)
    broker.ensure(TopicSpec(topic, feed.PARTITIONS, compacted=False))
    with Server() as theirs, Server() as ours:
        manager = Alertmanager(tmp_path / "alertmanager", theirs.url, free_port())
        receivers = [
            {"name": "duty", "alertmanager": [manager.url], "remind_seconds": 2},
            {"name": "hook", "webhook": f"{ours.url}/in", "labels": {"cluster": "test"}},
        ]
        told: dict[str, Any] = settings(kafka_bootstrap, topic_prefix, groups=[GUARDED])
        told["outputs"]["receivers"] = receivers
        with Daemon(tmp_path, told) as daemon:
            broker.publish(feed.plain(topic, 0, WARM, streams=1))
            daemon.until(lambda: daemon.metric("longwatch_samples_total") == WARM, "everything is scored")
            high = [feed.record(topic, STREAM, tick, HIGH) for tick in range(WARM, WARM + 5)]
            broker.publish(high)
            daemon.until(lambda: (name, "firing") in ours.alerts, "the webhook was told")
            daemon.until(
                lambda: daemon.metric("longwatch_deliveries_total", receiver="duty", outcome="failed") > 0,
                "Alertmanager, which is not there, was tried",
            )
            daemon.kill()
            with manager:
                daemon.start()
                daemon.until(lambda: (name, "firing") in theirs.alerts, "it was told when it came")
                (alert,) = manager.alerts()
                assert alert["labels"]["alertname"] == "LongwatchGuard"
                daemon.kill()  # whoever takes over must know which alerts are open
                daemon.start()
                broker.publish(feed.plain(topic, WARM + 5, WARM, streams=1))
                daemon.until(lambda: (name, "resolved") in theirs.alerts, "it was told that it is over")
                daemon.until(lambda: (name, "resolved") in ours.alerts, "the webhook, too")
                daemon.until(lambda: daemon.metric("longwatch_delivery_lag_records") == 0, "nothing is left to tell")
                assert daemon.metric("longwatch_deliveries_total", receiver="hook", outcome="taken") > 0
                assert daemon.stop() == 0
    assert ours.taken[0].body["commonLabels"]["cluster"] == "test"
    assert ours.taken[0].path == "/in"
