"""Several workers under one command: they share the input, come back, and end together."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from urllib.parse import quote

import pytest
from prometheus_client.parser import text_string_to_metric_families

from daemon.kafka import KafkaBroker
from daemon.types import TopicSpec
from tests.e2e import feed, verdict
from tests.e2e.process import Daemon, Scores, settings, until

pytestmark = [pytest.mark.broker, pytest.mark.slow, pytest.mark.timeout(400)]

EXIT_CONFIG = 78
WORKERS = 2
TOKEN = "a-token-of-enough-characters"


@pytest.fixture
def metrics(broker: KafkaBroker, topic_prefix: str) -> str:
    """The input topic."""
    spec = TopicSpec(f"{topic_prefix}metrics", feed.PARTITIONS, compacted=False)
    broker.ensure(spec)
    return spec.name


def gone(process: int) -> bool:
    """Return whether a process has ended; one that nobody has waited for yet has."""
    try:
        return Path(f"/proc/{process}/stat").read_text("ascii").rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def test_workers_share_the_input_come_back_when_killed_and_end_together(
    kafka_bootstrap: str, topic_prefix: str, broker: KafkaBroker, metrics: str, tmp_path: Path
) -> None:
    (tmp_path / "token").write_text(TOKEN)
    told = settings(kafka_bootstrap, topic_prefix, workers=WORKERS)
    told["server"]["token_file"] = str(tmp_path / "token")
    broker.ensure(TopicSpec(f"{topic_prefix}scores", feed.PARTITIONS, compacted=False))
    scores = Scores(broker, f"{topic_prefix}scores")
    broker.publish(feed.plain(metrics, 0, 200))
    with Daemon(tmp_path, told) as daemon:
        daemon.token = TOKEN
        daemon.until_ready()
        daemon.until(lambda: scores.reach(200 * feed.PARTITIONS), "both workers score")
        shares = [daemon.metric("longwatch_partitions", worker=str(each)) for each in range(WORKERS)]
        assert sum(shares) == feed.PARTITIONS
        assert min(shares) > 0
        _sees_all_streams(daemon)
        first, second = daemon.children
        os.kill(first, signal.SIGKILL)
        daemon.until(lambda: daemon.metric("longwatch_worker_restarts_total") == 1, "its death is counted")
        broker.publish(feed.plain(metrics, 200, 200))
        daemon.until(lambda: scores.reach(400 * feed.PARTITIONS), "everything is scored")
        daemon.until(lambda: daemon.metric("longwatch_worker_up") == WORKERS, "both are there again")
        alive = daemon.children
        assert second in alive
        assert first not in alive
        assert daemon.stop() == 0
        assert all(gone(each) for each in alive)
    assert len(verdict.scores(scores.finish())) == 400 * feed.PARTITIONS  # each once


def _sees_all_streams(daemon: Daemon) -> None:
    """Look at the pages of all workers together, as somebody would who does not know that there are several."""
    text = daemon.get("/metrics")[1]
    names = [family.name for family in text_string_to_metric_families(text)]
    assert len(names) == len(set(names))
    assert daemon.get("/-/healthy")[0] == 200
    found = json.loads(daemon.get("/streams?limit=2")[1])
    assert found["matched"] == feed.PARTITIONS
    assert len(found["streams"]) == 2
    for stream in range(feed.PARTITIONS):
        status, state = daemon.get(f"/streams/{quote(feed.name(stream))}/state")
        assert (status, json.loads(state)["stream"]) == (200, feed.name(stream))
    assert daemon.get("/streams/nobody/state")[0] == 404
    assert daemon.get("/nothing")[0] == 404


def test_workers_end_when_their_supervisor_is_killed(
    kafka_bootstrap: str, topic_prefix: str, metrics: str, tmp_path: Path
) -> None:
    assert metrics
    with Daemon(tmp_path, settings(kafka_bootstrap, topic_prefix, workers=WORKERS)) as daemon:
        daemon.until_ready()
        left = daemon.children
        assert len(left) == WORKERS
        daemon.kill()
        until(lambda: all(gone(each) for each in left), "the workers have ended")


def test_what_no_restart_mends_ends_all_of_them(
    kafka_bootstrap: str, topic_prefix: str, broker: KafkaBroker, metrics: str, tmp_path: Path
) -> None:
    assert metrics
    broker.ensure(TopicSpec(f"{topic_prefix}state", feed.PARTITIONS, compacted=False))  # a state needs a compacted one
    with Daemon(tmp_path, settings(kafka_bootstrap, topic_prefix, workers=WORKERS)) as daemon:
        assert daemon.wait() == EXIT_CONFIG
        assert daemon.said("topic_mismatch")
