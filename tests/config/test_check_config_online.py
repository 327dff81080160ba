"""check-config --connect says of a real broker's topics whether they will do."""

from __future__ import annotations

import io
from contextlib import closing
from pathlib import Path

import pytest

from daemon.commands.check_config import check_config
from daemon.config import Config
from daemon.kafka import ConnectionSettings, KafkaBroker
from daemon.types import TopicSpec

pytestmark = pytest.mark.broker


def connect(config: Config) -> KafkaBroker:
    return KafkaBroker(ConnectionSettings(bootstrap_servers=config.kafka.bootstrap_servers))


def check(folder: Path, bootstrap: str, topic: str, state: str, more: str = "") -> tuple[int, str]:
    path = folder / "longwatch.yaml"
    lines = (
        f"kafka: {{bootstrap_servers: '{bootstrap}'}}",
        f"input: {{topics: [{topic}]{more}}}",
        f"state: {{topic: {state}}}",
    )
    path.write_text("\n".join(lines), encoding="utf-8")
    out = io.StringIO()
    return check_config(path, connect, {}, out), out.getvalue()


def test_a_real_brokers_topics_are_described(kafka_bootstrap: str, topic_prefix: str, tmp_path: Path) -> None:
    topic = f"{topic_prefix}input"
    with closing(KafkaBroker(ConnectionSettings(bootstrap_servers=(kafka_bootstrap,)))) as broker:
        broker.ensure(TopicSpec(topic, 3, compacted=False))
        code, text = check(tmp_path, kafka_bootstrap, topic, f"{topic}-state")
        assert broker.partitions(f"{topic}-state") is None, "a check creates no topic"
    assert code == 0, text
    assert f"{topic}: 3 partitions, about 0 records" in text
    assert f"{topic}-state: does not exist yet" in text


def test_a_state_topic_that_forgets_is_a_problem(kafka_bootstrap: str, topic_prefix: str, tmp_path: Path) -> None:
    topic = f"{topic_prefix}input"
    with closing(KafkaBroker(ConnectionSettings(bootstrap_servers=(kafka_bootstrap,)))) as broker:
        broker.ensure(TopicSpec(topic, 1, compacted=False))
        broker.ensure(TopicSpec(f"{topic}-state", 1, compacted=False))
    code, text = check(tmp_path, kafka_bootstrap, topic, f"{topic}-state")
    assert code == 78
    assert "state.topic: " in text
    assert "cleanup.policy" in text


def test_the_topic_between_the_stages_is_described_and_the_state_is_as_wide_as_that(
    kafka_bootstrap: str, topic_prefix: str, tmp_path: Path
) -> None:
    topic, between = f"{topic_prefix}input", f"{topic_prefix}between"
    more = f", repartition: true, repartition_topic: {between}"
    with closing(KafkaBroker(ConnectionSettings(bootstrap_servers=(kafka_bootstrap,)))) as broker:
        broker.ensure(TopicSpec(topic, 1, compacted=False))
        broker.ensure(TopicSpec(f"{topic}-state", 1, compacted=True))
        code, text = check(tmp_path, kafka_bootstrap, topic, f"{topic}-state", more)
        assert code == 0, text
        assert f"{between}: does not exist yet" in text
        broker.ensure(TopicSpec(between, 3, compacted=False))
        code, text = check(tmp_path, kafka_bootstrap, topic, f"{topic}-state", more)
    assert code == 0, text
    assert f"{topic}-state: 1 partition, the daemon gives it 3, as the input has" in text
