"""What the daemon does to the world around it: signals, bad records, pages, commands, brokers that go and come."""

from __future__ import annotations

import http.client
import itertools
import json
import subprocess
import time
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest

from daemon.kafka import KafkaBroker
from daemon.model_topic import Pointer
from daemon.types import Outgoing, TopicPartition, TopicSpec
from tests import programs
from tests.e2e import feed, verdict
from tests.e2e.process import Daemon, Follower, Scores, group, longwatch, settings

pytestmark = [pytest.mark.broker, pytest.mark.slow, pytest.mark.timeout(400)]

EXIT_CONFIG = 78
TOKEN = "a-token-of-enough-characters"
SHUTDOWN_SECONDS = 20.0


@pytest.fixture
def metrics(broker: KafkaBroker, topic_prefix: str) -> str:
    """The input topic."""
    spec = TopicSpec(f"{topic_prefix}metrics", feed.PARTITIONS, compacted=False)
    broker.ensure(spec)
    return spec.name


@pytest.fixture
def scores(broker: KafkaBroker, topic_prefix: str) -> Scores:
    """What is written to the scores topic."""
    topic = f"{topic_prefix}scores"
    broker.ensure(TopicSpec(topic, feed.PARTITIONS, compacted=False))
    return Scores(broker, topic)


def test_a_stop_drains_in_time_and_leaves_nothing_to_replay(
    kafka_bootstrap: str, topic_prefix: str, broker: KafkaBroker, metrics: str, scores: Scores, tmp_path: Path
) -> None:
    told = settings(kafka_bootstrap, topic_prefix, shutdown_seconds=SHUTDOWN_SECONDS)
    told["state"]["flush_seconds"] = 3600  # pages come from draining, or not at all
    told["input"]["records_max"] = 100
    broker.publish(feed.plain(metrics, 0, 600))
    with Daemon(tmp_path, told) as daemon:
        daemon.until(lambda: scores.reach(300), "the daemon is in full swing")
        began = time.monotonic()
        assert daemon.stop() == 0
        assert time.monotonic() - began < SHUTDOWN_SECONDS
        daemon.start()
        daemon.until_ready()
        assert [line["replayed_records"] for line in daemon.said("partition_restored")] == [0] * feed.PARTITIONS
        daemon.until(lambda: scores.reach(600 * feed.PARTITIONS), "everything is scored")
        daemon.kill()
        daemon.start()
        daemon.until_ready()
        assert sum(line["replayed_records"] for line in daemon.said("partition_restored")) > 0
        assert daemon.stop() == 0
    assert len(verdict.scores(scores.finish())) == 600 * feed.PARTITIONS


def bad_records(topic: str) -> dict[str, Outgoing]:
    """Return a record for each reason to refuse one; the group holds no more streams than there are already."""
    good = '"timestamp": 1700000000000, "name": "load_00"'
    an_hour_ahead = int(time.time() * 1000) + 3_600_000
    values = {
        "undecodable": b'{"timestamp": 17',
        "missing_field": f"{{{good}}}".encode(),
        "wrong_type": f'{{{good}, "value": "high"}}'.encode(),
        "not_finite": f'{{{good}, "value": NaN}}'.encode(),
        "bad_timestamp": f'{{"timestamp": {an_hour_ahead}, "name": "load_00", "value": 1}}'.encode(),
        "oversized": f'{{{good}, "value": 1, "labels": {{"note": "{"x" * 3000}"}}}}'.encode(),
        "max_streams": b'{"timestamp": 1700000000000, "name": "one_too_many", "value": 1}',
        "empty": b"",
    }
    return {reason: Outgoing(topic, 0, b"k", value) for reason, value in values.items()}


def test_a_bad_record_is_counted_and_kept_aside_and_the_loop_goes_on(
    kafka_bootstrap: str, topic_prefix: str, broker: KafkaBroker, metrics: str, scores: Scores, tmp_path: Path
) -> None:
    told = settings(kafka_bootstrap, topic_prefix, groups=[group(max_streams=1)])
    told["input"]["record_bytes_max"] = 2000
    told["outputs"]["dead_letters"]["value_bytes_max"] = 1000
    bad = bad_records(metrics)
    broker.publish(feed.plain(metrics, 0, 50))
    first_bad = broker.bounds(TopicPartition(metrics, 0)).end
    broker.publish([*bad.values(), *feed.plain(metrics, 50, 50)])
    with Daemon(tmp_path, told) as daemon:
        daemon.until(lambda: scores.reach(100 * feed.PARTITIONS), "all good records are scored")
        page = {reason: daemon.metric("longwatch_records_rejected_total", reason=reason) for reason in bad}
        letters = Follower(broker, f"{topic_prefix}dead-letters").finish()
    assert page == dict.fromkeys(bad, 1)
    kept = {dict(letter.headers)["longwatch-reason"].decode(): letter for letter in letters}
    assert len(letters) == len(bad)
    for number, (reason, record) in enumerate(bad.items()):
        headers = dict(kept[reason].headers)
        assert headers["longwatch-topic"] == metrics.encode()
        assert headers["longwatch-partition"] == b"0"
        assert headers["longwatch-offset"] == str(first_bad + number).encode()
        assert headers["longwatch-value-bytes"] == str(len(record.value or b"")).encode()
        assert headers["longwatch-detail"]
        assert (kept[reason].value or b"") == (record.value or b"")[:1000]


def test_the_pages_satisfy_prometheus_probes_and_who_looks_closer(
    kafka_bootstrap: str, topic_prefix: str, broker: KafkaBroker, metrics: str, scores: Scores, tmp_path: Path
) -> None:
    broker.publish(feed.plain(metrics, 0, 200))
    (tmp_path / "token").write_text(TOKEN, encoding="utf-8")
    told = settings(kafka_bootstrap, topic_prefix)
    told["server"]["token_file"] = str(tmp_path / "token")
    with Daemon(tmp_path, told) as daemon:
        daemon.token = TOKEN
        daemon.until(lambda: scores.reach(200 * feed.PARTITIONS), "everything is scored")
        assert daemon.get("/-/ready")[0] == http.client.OK
        assert daemon.get("/-/healthy")[0] == http.client.OK
        assert daemon.get("/-/nothing")[0] == http.client.NOT_FOUND
        daemon.until(lambda: daemon.metric("longwatch_samples_total", group="all") == 200 * feed.PARTITIONS, "counted")
        daemon.until(
            lambda: daemon.metric("longwatch_streams", state="ready") == feed.PARTITIONS, "streams are counted"
        )
        page = daemon.get("/metrics")[1]
        found = json.loads(daemon.get("/streams?match=load")[1])
        state = json.loads(daemon.get(found["streams"][0]["state"])[1])
    assert (len(found["streams"]), state["samples"]) == (feed.PARTITIONS, 200)
    assert np.shape(state["gates"]["forget"]) == (8, 8)
    assert np.allclose(state["gates"]["hidden"][-1], state["carried"]["hidden"], atol=state["gates"]["gap"] + 1e-6)
    command = [programs.found("promtool", "prometheus"), "check", "metrics"]
    checked = subprocess.run(command, input=page.encode(), capture_output=True, check=False)
    assert (checked.returncode, checked.stdout + checked.stderr) == (0, b"")


def test_a_configuration_with_problems_ends_with_78_and_names_each(tmp_path: Path) -> None:
    config = tmp_path / "longwatch.yaml"
    config.write_text(
        "kafka: {bootstrap_servers: nowhere}\nstate: {flush_second: 1}\nthreads: many\n", encoding="utf-8"
    )
    ended = longwatch("run", config)
    assert ended.returncode == EXIT_CONFIG
    problems = ended.stderr.splitlines()
    assert len(problems) == 3
    for place, problem in zip(("kafka.bootstrap_servers", "state.flush_second", "threads"), problems, strict=True):
        assert problem.startswith(f"{config}:")
        assert place in problem


@pytest.mark.parametrize(("topic", "compacted"), [("state", False), ("models", False), ("alerts", True)])
def test_an_internal_topic_that_would_lose_data_ends_with_78(
    kafka_bootstrap: str,
    topic_prefix: str,
    broker: KafkaBroker,
    metrics: str,
    tmp_path: Path,
    topic: str,
    compacted: bool,
) -> None:
    broker.ensure(TopicSpec(f"{topic_prefix}{topic}", feed.PARTITIONS, compacted=compacted))
    with Daemon(tmp_path, settings(kafka_bootstrap, topic_prefix)) as daemon:
        assert daemon.wait() == EXIT_CONFIG
        (line,) = daemon.said("topic_mismatch")
    assert f"{topic_prefix}{topic}" in line["why"]
    assert "cleanup.policy" in line["why"]
    assert "kafka-configs.sh --alter" in line["why"]


def test_an_input_topic_that_is_not_there_yet_is_awaited(
    kafka_bootstrap: str, topic_prefix: str, broker: KafkaBroker, tmp_path: Path
) -> None:
    topic = f"{topic_prefix}metrics"
    with Daemon(tmp_path, settings(kafka_bootstrap, topic_prefix)) as daemon:
        daemon.until(lambda: daemon.metric("longwatch_broker_lost_total") >= 2, "it looks again and again")
        assert f"input topic {topic} does not exist yet" in daemon.said("broker_lost")[0]["why"]
        assert daemon.get("/-/healthy")[0] == http.client.OK
        assert daemon.get("/-/ready")[0] == http.client.SERVICE_UNAVAILABLE
        broker.ensure(TopicSpec(topic, feed.PARTITIONS, compacted=False))
        broker.publish(feed.plain(topic, 0, 50))
        daemon.until_ready()
        found = Scores(broker, f"{topic_prefix}scores")
        daemon.until(lambda: found.reach(50 * feed.PARTITIONS), "everything is scored")
        assert daemon.stop() == 0


def test_a_stop_is_obeyed_while_no_broker_answers(topic_prefix: str, tmp_path: Path) -> None:
    with Daemon(tmp_path, settings("127.0.0.1:1", topic_prefix)) as daemon:
        daemon.until(lambda: bool(daemon.said("broker_lost")), "it says that no broker answers")
        assert daemon.stop() == 0


def test_scoring_goes_on_while_a_first_model_is_learnt_and_then_uses_it(
    kafka_bootstrap: str, topic_prefix: str, broker: KafkaBroker, metrics: str, scores: Scores, tmp_path: Path
) -> None:
    other = group(name="other", select=['name="load_02"'])
    learns = group(learning="background", training={"min_samples": 400, "epochs_max": 2})
    ticks = itertools.count(200)
    broker.publish(feed.plain(metrics, 0, 200))
    with Daemon(tmp_path, settings(kafka_bootstrap, topic_prefix, groups=[other, learns])) as daemon:

        def swapped() -> bool:
            broker.publish(feed.plain(metrics, next(ticks), 1))
            scores.advance()
            return bool(daemon.metric("longwatch_model_info", group="all"))

        daemon.until(swapped, "a model is in use")
        daemon.until(lambda: bool(daemon.said("training_finished")), "the child that learnt it has ended")
        (began,), (ended,), (swap,) = map(daemon.said, ("training_started", "training_finished", "model_swapped"))
        assert ended["outcome"] == "published", ended
        assert daemon.metric("longwatch_model_info", group="all", model_id=swap["model_id"]) == 1
        assert daemon.metric("longwatch_training_runs_total", group="all", outcome="published") == 1
        assert current_model(broker, f"{topic_prefix}models") == swap["model_id"]
        end = next(ticks) * feed.PARTITIONS
        daemon.until(lambda: scores.reach(end), "what came after the swap is scored, too")
        assert daemon.stop() == 0
    beside = [record for record in scores.records if stamp(began) < record.timestamp / 1000 < stamp(ended)]
    assert len(beside) > 5
    assert len(verdict.scores(scores.finish())) == end


def current_model(broker: KafkaBroker, topic: str) -> str:
    """Return the id of the model that the models topic calls the current one."""
    records = Follower(broker, topic).finish()
    return [Pointer.read(record.value or b"").model_id for record in records if record.key == b"current/all"][-1]


def stamp(line: Mapping[str, str]) -> float:
    """Return when a line was logged, in seconds since 1970."""
    return datetime.fromisoformat(line["timestamp"]).timestamp()
