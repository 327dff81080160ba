"""A broker that goes away in the middle of the work costs time, and no score; one that refuses us ends us."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from daemon.embedded import EmbeddedBroker
from daemon.kafka import ConnectionSettings, KafkaBroker
from daemon.types import TopicPartition, TopicSpec
from tests.e2e import feed, verdict
from tests.e2e.process import Daemon, Follower, offsets_committed, settings

pytestmark = [pytest.mark.broker, pytest.mark.slow, pytest.mark.timeout(400)]

TICKS = 1200
EXIT_CONFIG = 78


@pytest.fixture
def own() -> Iterator[EmbeddedBroker]:
    """A broker that only this test uses, because it kills it."""
    with EmbeddedBroker() as broker:
        yield broker


@pytest.fixture
def kafka_bootstrap(own: EmbeddedBroker) -> str:
    return own.bootstrap


def test_a_broker_that_dies_and_comes_back_costs_no_score_and_doubles_none(
    own: EmbeddedBroker, topic_prefix: str, broker: KafkaBroker, tmp_path: Path
) -> None:
    metrics, ends = TopicSpec(f"{topic_prefix}metrics", feed.PARTITIONS, compacted=False), feed.PARTITIONS * [TICKS]
    told = settings(own.bootstrap, topic_prefix)
    told["input"]["records_max"] = 60
    broker.ensure(metrics)
    broker.ensure(TopicSpec(f"{topic_prefix}scores", feed.PARTITIONS, compacted=False))
    broker.publish(feed.plain(metrics.name, 0, TICKS // 2))
    with Daemon(tmp_path, told) as daemon:
        daemon.until(lambda: daemon.metric("longwatch_records_total") > 300, "the daemon is in full swing")
        own.restart()
        broker.publish(feed.plain(metrics.name, TICKS // 2, TICKS // 2))
        daemon.until(lambda: offsets_committed(broker, metrics.name) == ends, "all is committed")
        daemon.until(lambda: daemon.metric("longwatch_lag_records") == 0, "it knows that nothing is left to read")
        assert daemon.stop() == 0
    found = verdict.scores(Follower(broker, f"{topic_prefix}scores").finish())
    expected = {verdict.Sample(partition, offset) for partition in range(feed.PARTITIONS) for offset in range(TICKS)}
    assert found.keys() == expected
    assert broker.bounds(TopicPartition(metrics.name, 0)).end == TICKS


def test_a_setting_that_the_broker_refuses_ends_with_78(topic_prefix: str, tmp_path: Path) -> None:
    with EmbeddedBroker(properties={"group.max.session.timeout.ms": "5000"}) as strict:
        with closing(KafkaBroker(ConnectionSettings((strict.bootstrap,)))) as broker:
            broker.ensure(TopicSpec(f"{topic_prefix}metrics", 1, compacted=False))
        with Daemon(tmp_path, settings(strict.bootstrap, topic_prefix)) as daemon:
            assert daemon.wait() == EXIT_CONFIG
            (line,) = daemon.said("settings_refused")
    assert "InvalidSessionTimeoutError" in line["why"]
    assert "correct `kafka:` in the configuration" in line["why"]
