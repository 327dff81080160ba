"""check-config says every problem of a file, or what it sets up, and never a secret."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest

from daemon.commands.check_config import check_config
from daemon.config import Config
from daemon.errors import BrokerUnavailable, TopicMismatch
from daemon.ports import Broker, Cursor, Source, Writer
from daemon.types import Bounds, Outgoing, TopicPartition, TopicSpec

TEXT = """
input: {topics: [metrics, more]}
groups:
  - name: api
    select: ['job="api"']
    channels: [cpu, mem]
    threshold: {kind: sigma, sigmas: 5}
    guard: {cpu: {max: 99}}
kafka:
  security: {protocol: SASL_SSL, sasl_mechanism: PLAIN, username: lw, password: hunter2}
"""


class Topics(Broker):
    """A broker that knows some topics, and no records."""

    def __init__(self, partitions: Mapping[str, int], fault: str = "") -> None:
        self.known = dict(partitions)
        self.fault = fault
        self.is_closed = False

    def topics(self) -> Sequence[str]:
        return sorted(self.known)

    def partitions(self, topic: str) -> int | None:
        return self.known.get(topic)

    def ensure(self, spec: TopicSpec) -> None:
        assert self.known[spec.name] == spec.partitions, "a check creates no topic"
        if self.fault and spec.compacted:
            raise TopicMismatch(self.fault)

    def bounds(self, partition: TopicPartition) -> Bounds:  # noqa: ARG002 - the port asks for it
        return Bounds(3, 13)

    def cursor(self, partition: TopicPartition, start: int) -> Cursor:  # noqa: ARG002 - the port asks for it
        raise AssertionError("a check reads no records")

    def source(self, topics: Sequence[str]) -> Source:  # noqa: ARG002 - the port asks for it
        raise AssertionError("a check joins no group")

    def writer(self, identity: str) -> Writer:  # noqa: ARG002 - the port asks for it
        raise AssertionError("a check fences nobody")

    def publish(self, records: Sequence[Outgoing]) -> None:  # noqa: ARG002 - the port asks for it
        raise AssertionError("a check writes nothing")

    def topic_id(self, topic: str) -> str | None:
        return topic if topic in self.known else None

    def close(self) -> None:
        self.is_closed = True


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "longwatch.yaml"
    path.write_text(TEXT, encoding="utf-8")
    return path


def check(path: Path, connect: Callable[[Config], Broker] | None = None) -> tuple[int, str]:
    out = io.StringIO()
    return check_config(path, connect, {}, out), out.getvalue()


def test_a_good_file_is_summed_up_and_ends_with_0(path: Path) -> None:
    code, text = check(path)
    assert code == 0
    assert text.startswith(f"{path}: ok\n")
    assert 'api: job="api"; cpu, mem; threshold sigma 5.0; severity warning; guards on cpu' in text
    assert "metrics, more (json)" in text


def test_a_summary_shows_no_secret(path: Path) -> None:
    text = check(path)[1]
    assert "hunter2" not in text
    assert "as lw, password <secret>" in text


def test_a_bad_file_prints_all_its_problems_and_ends_with_78(path: Path) -> None:
    path.write_text("threads: 0\nstat: {}\n", encoding="utf-8")
    code, text = check(path)
    assert code == 78
    assert [line.split(": ")[0] for line in text.splitlines()] == [f"{path}:1", f"{path}:2"]


def test_a_bad_file_connects_to_nothing(path: Path) -> None:
    path.write_text("threads: 0\n", encoding="utf-8")

    def refuse(_config: Config) -> Broker:
        raise AssertionError("connected with a bad configuration")

    assert check(path, refuse)[0] == 78


def test_the_broker_is_asked_for_every_topic_and_let_go(path: Path) -> None:
    broker = Topics({"metrics": 4, "more": 1, "longwatch-state": 4, "longwatch-alerts": 1})
    code, text = check(path, lambda _config: broker)
    assert code == 0
    assert "metrics: 4 partitions, about 40 records" in text
    assert "longwatch-alerts: 1 partition\n" in text
    assert "longwatch-models: does not exist yet, the daemon creates it" in text
    assert broker.is_closed


def test_a_missing_input_topic_is_a_problem(path: Path) -> None:
    code, text = check(path, lambda _config: Topics({"metrics": 4}))
    assert code == 78
    assert f"{path}: input.topics[1]: the topic more does not exist" in text


def test_feeds_and_windows_are_summed_up_and_a_feeds_missing_topic_is_a_problem(path: Path) -> None:
    path.write_text(
        """
input:
  feeds: [{topics: [metrics]}, {topics: [hosts, more], format: influx}]
maintenance: [{weekdays: [sunday]}]
groups:
  - name: all
    maintenance: [{months: ["1"]}]
""",
        encoding="utf-8",
    )
    code, text = check(path, lambda _config: Topics({"metrics": 4, "hosts": 1}))
    assert code == 78
    assert f"{path}: input.feeds[1].topics[1]: the topic more does not exist" in text
    code, text = check(path)
    assert code == 0
    assert "  input     metrics (json)\n  input     hosts, more (influx)\n" in text
    assert "severity warning; windows of maintenance: 2\n" in text


def test_a_topic_with_wrong_settings_is_a_problem(path: Path) -> None:
    broker = Topics({"metrics": 1, "more": 1, "longwatch-state": 1}, fault="cleanup.policy is delete")
    code, text = check(path, lambda _config: broker)
    assert code == 78
    assert "state.topic: cleanup.policy is delete" in text


def test_a_state_topic_that_is_too_narrow_will_grow(path: Path) -> None:
    code, text = check(path, lambda _config: Topics({"metrics": 4, "more": 1, "longwatch-state": 3}))
    assert code == 0
    assert "longwatch-state: 3 partitions, the daemon gives it 4, as the input has" in text


def test_a_broker_that_does_not_answer_is_a_problem_that_says_where(path: Path) -> None:
    def fail(_config: Config) -> Broker:
        raise BrokerUnavailable("no answer within 10 s")

    code, text = check(path, fail)
    assert code == 78
    assert "no broker answered at localhost:9092 (no answer within 10 s)" in text
