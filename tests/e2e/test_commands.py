"""`longwatch train` and `longwatch backtest`, as a user types them."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from daemon.kafka import KafkaBroker
from daemon.types import TopicPartition, TopicSpec
from detectors import artefact
from tests.e2e import feed
from tests.e2e.process import group, longwatch, settings

pytestmark = [pytest.mark.broker, pytest.mark.slow, pytest.mark.timeout(400)]

EXIT_CONFIG = 78
TICKS = 250
STREAMS = feed.PARTITIONS + 1  # the last shares a partition with the first, and belongs to the other group
ROWS = 1500
FIRST_ODD = 1200


@pytest.fixture
def config(kafka_bootstrap: str, topic_prefix: str, tmp_path: Path) -> Path:
    """A file of settings under which training is quick; another group shares the topic."""
    training = {"min_samples": 600, "epochs_max": 2}
    groups = [group(learning="background", training=training, select=['name!="load_03"']), group(name="other")]
    told = settings(kafka_bootstrap, topic_prefix, groups=groups)
    path = tmp_path / "longwatch.yaml"
    path.write_text(json.dumps(told), encoding="utf-8")
    return path


def test_train_learns_from_the_topic_and_writes_an_artefact(
    topic_prefix: str, broker: KafkaBroker, config: Path, tmp_path: Path
) -> None:
    topic = f"{topic_prefix}metrics"
    broker.ensure(TopicSpec(topic, feed.PARTITIONS, compacted=False))
    broker.publish(feed.plain(topic, 0, TICKS, STREAMS))
    output = tmp_path / "model.safetensors"
    ended = longwatch("train", config, "--output", output)
    assert (ended.returncode, ended.stdout) == (0, ""), ended.stderr
    data = output.read_bytes()
    assert artefact.model_id(data) in ended.stderr
    lineage = artefact.loads(data).lineage
    assert lineage.trained_samples == TICKS * feed.PARTITIONS
    ends = [broker.bounds(TopicPartition(topic, number)).end for number in range(feed.PARTITIONS)]
    assert lineage.offsets == {f"{topic}-{number}": (0, end - 1) for number, end in enumerate(ends)}
    assert broker.partitions(f"{topic_prefix}models") is None  # kept, not published


def test_train_says_how_much_history_is_missing(topic_prefix: str, broker: KafkaBroker, config: Path) -> None:
    topic = f"{topic_prefix}metrics"
    broker.ensure(TopicSpec(topic, feed.PARTITIONS, compacted=False))
    broker.publish(feed.plain(topic, 0, 100))
    ended = longwatch("train", config)
    assert ended.returncode == 1
    assert "300 samples in 3 streams, 600 are needed" in ended.stderr


def test_train_does_not_publish_to_a_topic_that_would_lose_the_model(
    topic_prefix: str, broker: KafkaBroker, config: Path
) -> None:
    topic, models = f"{topic_prefix}metrics", f"{topic_prefix}models"
    broker.ensure(TopicSpec(topic, feed.PARTITIONS, compacted=False))
    broker.ensure(TopicSpec(models, 1, compacted=False))
    broker.publish(feed.plain(topic, 0, TICKS))
    ended = longwatch("train", config)
    assert ended.returncode == EXIT_CONFIG
    assert f"topic '{models}' would lose data" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert broker.bounds(TopicPartition(models, 0)).end == 0


@pytest.mark.parametrize("learns", ["before", "on-the-way"])
def test_backtest_scores_every_row_and_finds_the_odd_stretch(config: Path, tmp_path: Path, learns: str) -> None:
    source, output = tmp_path / "history.csv", tmp_path / "scores.csv"
    odd = range(FIRST_ODD, FIRST_ODD + 30)
    with source.open("w", encoding="utf-8", newline="") as out:
        rows = csv.writer(out)
        rows.writerow(("timestamp", "value", "label"))
        for at, value in enumerate(feed.values(0, ROWS, faults=False)):
            rows.writerow((feed.START_MS + at * feed.INTERVAL_MS, value + 15.0 * (at in odd), int(at in odd)))
    how = ["--train-rows", "800"] if learns == "before" else []
    ended = longwatch("backtest", "--input", source, "--output", output, "--config", config, *how)
    assert ended.returncode == 0, ended.stderr
    with output.open(encoding="utf-8", newline="") as written:
        found = list(csv.DictReader(written))
    assert [int(row["timestamp"]) for row in found] == [feed.START_MS + at * feed.INTERVAL_MS for at in range(ROWS)]
    assert any(found[at]["alert"] == "1" for at in odd)
    assert all(row["score"] for row in found[100:])
    assert "recall 1.000 (1 of 1)" in ended.stdout
