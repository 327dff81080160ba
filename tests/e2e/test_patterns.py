"""A topic that appears while the daemon runs, and matches a pattern, is read without a restart."""

from __future__ import annotations

from pathlib import Path

import pytest

from daemon.kafka import KafkaBroker
from daemon.types import TopicSpec
from tests.e2e import feed
from tests.e2e.process import Daemon, settings

pytestmark = [pytest.mark.broker, pytest.mark.slow, pytest.mark.timeout(400)]

TICKS = 60


def test_a_topic_that_appears_is_read_and_none_of_ours_is(
    kafka_bootstrap: str, topic_prefix: str, broker: KafkaBroker, tmp_path: Path
) -> None:
    first, second = f"{topic_prefix}in-a", f"{topic_prefix}in-b"
    broker.ensure(TopicSpec(first, 1, compacted=False))
    told = settings(kafka_bootstrap, topic_prefix)
    told["input"] = {"topics": [f"^{topic_prefix}.*"], "discover_seconds": 1, "poll_seconds": 0.1}
    with Daemon(tmp_path, told) as daemon:
        daemon.until_ready()
        broker.publish([each._replace(partition=0) for each in feed.plain(first, 0, TICKS, 1)])
        daemon.until(lambda: daemon.metric("longwatch_samples_total") == TICKS, "the first topic is scored")
        broker.ensure(TopicSpec(second, 2, compacted=False))
        broker.publish([each._replace(partition=1) for each in feed.plain(second, 0, TICKS, 1)])
        daemon.until(lambda: daemon.metric("longwatch_samples_total") == 2 * TICKS, "the second topic is scored")
        assert daemon.metric("longwatch_input_topics") == 2
        (found,) = daemon.said("topics_found")
        assert found["topics"] == second
        assert daemon.metric("longwatch_records_rejected_total") == 0
        assert daemon.stop() == 0
