"""The exposition and the rules are accepted by Prometheus's own tool, and every rule is seen firing and not firing."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from prometheus_client import generate_latest

from daemon import events
from daemon.metrics import Metrics
from daemon.telemetry import Telemetry
from daemon.types import Rejected, TopicPartition

ToolFinder = Callable[[str, str], str]
ZERO = TopicPartition("metrics", 0)


class Quiet:
    """A log that keeps nothing."""

    def debug(self, event: str, /, **fields: object) -> None:
        """Keep nothing."""

    info = warning = error = exception = debug


@pytest.fixture(scope="module")
def folder(deploy: Path) -> Path:
    return deploy / "prometheus"


@pytest.fixture(scope="module")
def exposition() -> bytes:
    telemetry = Telemetry(lambda: 1_800_000_000.0, Quiet(), config_checksum="c0ffee")
    for event in some_of_everything():
        telemetry.note(event)
    text: bytes = generate_latest(telemetry.registry)
    return text


def some_of_everything() -> Iterator[events.Event]:
    yield events.TurnCommitted(9, 2, 0.1, 0.1, 0.1, {"api": np.asarray([0.2, 1.2], dtype=np.float64)})
    yield events.RecordsRejected((Rejected("metrics", 0, 5, "undecodable", "not JSON"),))
    yield events.RecordsRejected((Rejected("metrics", 0, 6, "undecodable", "not JSON"),))
    yield events.SamplesDropped("api", "late", 4)
    yield events.AlertChanged("api", "open", "anomaly", "a1", "host=web-1", 1.7)
    yield events.StreamsCounted("api", {"ready": 7}, 1, 100)
    yield events.TopicsFound(("metrics",), ())
    yield events.StreamsSpread("metrics", "api", 2, "host=web-1")
    yield events.SamplesJoined("api", 8, 1)
    yield events.ChannelsMissing("api", "cpu", 1)
    yield events.BrokerLost("connection refused")
    yield events.BrokerLost("connection refused")
    yield events.LagMeasured(ZERO, 12, 3.5)
    yield events.PartitionRestored(ZERO, 1.5, 4, 100)
    yield events.StateFlushed(4, 4096)
    yield events.ModelSwapped("api", "m1", 5000)
    yield events.ModelRefused("api", "another window")
    yield events.DriftMeasured("api", 12, 0.2, 1.1, drifted=False)
    yield from (events.Repartitioning(active=True), events.Repartitioned(5, 7, 0.1))
    yield from (events.Delivered("duty", 3), events.DeliveryMeasured("duty", 2, 1))
    yield events.TrainingStarted("api")
    yield events.TrainingFinished("api", "published", 12.0, "loss 0.1")
    yield events.Readiness(ready=True, partitions_assigned=2, partitions_restoring=0)


def documents(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return content


def alerts(folder: Path) -> list[dict[str, Any]]:
    rules = [rule for group in documents(folder / "rules.yml")["groups"] for rule in group["rules"]]
    return [rule for rule in rules if "alert" in rule]


def run(command: list[str], given: bytes = b"") -> tuple[int, str]:
    done = subprocess.run(command, input=given, capture_output=True, check=False)
    return done.returncode, (done.stdout + done.stderr).decode()


def test_promtool_accepts_the_exposition(exposition: bytes, tool: ToolFinder) -> None:
    code, said = run([tool("promtool", "prometheus"), "check", "metrics"], exposition)
    complaints = [line for line in said.splitlines() if "process_" not in line]
    assert complaints == []
    assert code in {0, 3}  # 3: there were remarks, all of them about process_*


def test_the_exposition_that_promtool_sees_has_every_metric(exposition: bytes) -> None:
    lines = exposition.decode().splitlines()
    shown = {line.split()[2] for line in lines if line.startswith("# TYPE longwatch_")}
    assert shown == {metric.declared.name for metric in Metrics}
    with_samples = {line.partition("{")[0].partition(" ")[0] for line in lines if line.startswith("longwatch_")}
    of_supervisor = {Metrics.WORKER_UP, Metrics.WORKER_RESTARTS}
    assert {
        one.declared.name for one in set(Metrics) - of_supervisor if one.declared.kind != "histogram"
    } <= with_samples


def test_promtool_accepts_the_rules_and_the_scrape_job(folder: Path, tool: ToolFinder) -> None:
    promtool = tool("promtool", "prometheus")
    code, said = run([promtool, "check", "config", str(folder / "prometheus.yml")])
    assert code == 0, said
    code, said = run([promtool, "check", "rules", "--lint=all", "--lint-fatal", str(folder / "rules.yml")])
    assert code == 0, said


def test_every_rule_fires_and_does_not_fire_as_its_test_says(folder: Path, tool: ToolFinder) -> None:
    code, said = run([tool("promtool", "prometheus"), "test", "rules", str(folder / "rules_test.yml")])
    assert code == 0, said


def test_no_rule_is_without_a_test_that_fires_and_one_that_does_not(folder: Path) -> None:
    cases = [one for test in documents(folder / "rules_test.yml")["tests"] for one in test.get("alert_rule_test", ())]
    names = {alert["alert"] for alert in alerts(folder)}
    assert {case["alertname"] for case in cases if case["exp_alerts"]} == names
    assert {case["alertname"] for case in cases if not case["exp_alerts"]} == names


def test_every_alert_says_how_bad_it_is_what_it_is_and_what_to_do(folder: Path) -> None:
    for alert in alerts(folder):
        assert alert["labels"]["severity"] in {"critical", "warning", "info"}, alert["alert"]
        assert set(alert["annotations"]) == {"summary", "description"}, alert["alert"]


def test_the_scrape_job_has_the_name_that_the_rules_expect(folder: Path) -> None:
    jobs = [job["job_name"] for job in documents(folder / "prometheus.yml")["scrape_configs"]]
    assert jobs == ["longwatch"]
    assert 'up{job="longwatch"}' in (folder / "rules.yml").read_text(encoding="utf-8")
