"""`longwatch models` on a real broker, beside a daemon that runs: what an operator chooses is what scores."""

from __future__ import annotations

import json
import os
from io import StringIO
from pathlib import Path

import pytest

from daemon import assembly, model_topic
from daemon.commands.models import Action, ModelsArguments, models
from daemon.config import load
from daemon.kafka import KafkaBroker
from daemon.types import TopicSpec
from detectors.artefact import Artefact, Lineage, dumps, model_id
from tests.conformance.feed import weights
from tests.e2e import feed
from tests.e2e.process import Daemon, group, settings

pytestmark = [pytest.mark.broker, pytest.mark.slow, pytest.mark.timeout(400)]


def published(config_path: Path, broker: KafkaBroker) -> list[str]:
    """Publish two models, the second the first one's child, and return their names."""
    config = load(config_path, {})
    told = config.groups[0].detector()
    assembly.prepare_models_topic(config, broker)
    names = [""]
    for seed in (1, 2):
        lineage = Lineage("all", 1, {}, seed, seed, (), {}, parent=names[-1])
        data = dumps(Artefact(told.model, told.channels, weights(told, seed, 0.2), {}, lineage))
        broker.publish(model_topic.messages(config.outputs.models.topic, "all", data, []))
        names.append(model_id(data))
    return names[1:]


def told(config: Path, action: Action, name: str = "") -> object:
    """Return what the command says to a program."""
    out, err = StringIO(), StringIO()
    code = models(ModelsArguments(action, config, name, None, True), os.environ, out, err)
    assert code == 0, err.getvalue()
    found: object = json.loads(out.getvalue())
    return found


def test_a_running_daemon_obeys_a_rollback_and_a_promotion(
    kafka_bootstrap: str, topic_prefix: str, broker: KafkaBroker, tmp_path: Path
) -> None:
    metrics = f"{topic_prefix}metrics"
    broker.ensure(TopicSpec(metrics, feed.PARTITIONS, compacted=False))
    broker.publish(feed.plain(metrics, 0, 60))
    daemon = Daemon(tmp_path, settings(kafka_bootstrap, topic_prefix, groups=[group()]))
    old, new = published(daemon.config, broker)

    def scores_with(name: str) -> bool:
        return daemon.metric("longwatch_model_info", model_id=name) == 1

    with daemon:
        daemon.until(lambda: scores_with(new), "the newest model scores")
        assert told(daemon.config, "rollback") == {"group": "all", "current": old, "before": new}
        daemon.until(lambda: scores_with(old) and not scores_with(new), "the older model scores again")
        broker.publish(feed.plain(metrics, 60, 20))
        assert told(daemon.config, "promote", new[:8]) == {"group": "all", "current": new, "before": old}
        daemon.until(lambda: scores_with(new) and not scores_with(old), "the newer model scores again")
        assert daemon.stop() == 0
    assert [line["model_id"] for line in daemon.said("model_swapped")] == [new, old, new]
