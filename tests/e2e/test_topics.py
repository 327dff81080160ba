"""An input topic that goes away under a running daemon and comes back as another one."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest
from kafka import KafkaAdminClient

from daemon.kafka import ConnectionSettings, KafkaBroker
from daemon.types import TopicSpec
from tests.e2e import feed
from tests.e2e.process import Daemon, Scores, settings

pytestmark = [pytest.mark.broker, pytest.mark.slow, pytest.mark.timeout(400)]

TICKS = 60


@pytest.fixture
def metrics(broker: KafkaBroker, topic_prefix: str) -> str:
    """The input topic, with some records."""
    spec = TopicSpec(f"{topic_prefix}metrics", feed.PARTITIONS, compacted=False)
    broker.ensure(spec)
    broker.publish(feed.plain(spec.name, 0, TICKS))
    return spec.name


def delete(bootstrap: str, broker: KafkaBroker, daemon: Daemon, topic: str) -> None:
    admin = KafkaAdminClient(bootstrap_servers=bootstrap)
    admin.delete_topics([topic])
    admin.close()
    daemon.until(lambda: broker.partitions(topic) is None, f"{topic} is gone")


def test_an_input_that_is_deleted_and_made_anew_and_wider_is_read_from_its_beginning(
    kafka_bootstrap: str, topic_prefix: str, broker: KafkaBroker, metrics: str, tmp_path: Path
) -> None:
    wide = feed.PARTITIONS + 2
    with Daemon(tmp_path, settings(kafka_bootstrap, topic_prefix)) as daemon:
        daemon.until_ready()
        found = Scores(broker, f"{topic_prefix}scores")
        daemon.until(lambda: found.reach(TICKS * feed.PARTITIONS), "everything is scored")
        found.close()
        delete(kafka_bootstrap, broker, daemon, metrics)
        broker.ensure(TopicSpec(metrics, wide, compacted=False))
        later = [
            record._replace(partition=number % wide) for number, record in enumerate(feed.plain(metrics, TICKS, 40))
        ]
        with closing(KafkaBroker(ConnectionSettings((kafka_bootstrap,)))) as anew:  # the other one knows the old topic
            anew.publish(later)
        daemon.until(lambda: broker.partitions(f"{topic_prefix}scores") == wide, "the topics keep up")
        again = Scores(broker, f"{topic_prefix}scores")
        daemon.until(lambda: again.reach(TICKS * feed.PARTITIONS + len(later)), "the new topic is scored")
        gaps = daemon.metric("longwatch_input_gaps_total", topic=metrics, reason="recreated")
        assert gaps + len(daemon.said("state_discarded")) > 0
        assert daemon.metric("longwatch_partitions", state="assigned") == wide
        assert daemon.stop() == 0
        assert again.samples == TICKS * feed.PARTITIONS + len(later)
        again.close()
