"""A real Prometheus scrapes the real pages and answers every query of the dashboard."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import threading
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from daemon.access import Access
from daemon.events import (
    DriftMeasured,
    LagMeasured,
    ModelSwapped,
    Readiness,
    StateFlushed,
    StreamsCounted,
    TurnCommitted,
)
from daemon.http import Pages
from daemon.telemetry import Telemetry
from daemon.types import TopicPartition
from tests.certificates import Authority

ToolFinder = Callable[[str, str], str]
START = 1_800_000_000.0


class Quiet:
    """A log that keeps nothing."""

    def debug(self, event: str, /, **fields: object) -> None:
        """Keep nothing."""

    info = warning = error = exception = debug


class Prometheus:
    """A Prometheus that runs."""

    def __init__(self, address: str) -> None:
        self._address = address

    def ask(self, query: str) -> list[dict[str, Any]]:
        """Return the answer to an instant query. Raises HTTPError when Prometheus refuses the query."""
        encoded = urllib.parse.urlencode({"query": query})
        with urllib.request.urlopen(f"http://{self._address}/api/v1/query?{encoded}", timeout=10) as answer:
            result: list[dict[str, Any]] = json.load(answer)["data"]["result"]
        return result

    def wait_for(self, query: str, seconds: float) -> list[dict[str, Any]]:
        """Return the answer as soon as there is one."""
        never = threading.Event()
        for _ in range(round(seconds / 0.1)):
            try:
                if result := self.ask(query):
                    return result
            except urllib.error.URLError:
                pass
            never.wait(0.1)
        raise TimeoutError(query)


def telemetry_of_some_work() -> Telemetry:
    telemetry = Telemetry(lambda: START, Quiet(), config_checksum="c0ffee")
    telemetry.note(TurnCommitted(9, 2, 0.1, 0.1, 0.1, {"api": np.asarray([0.2, 1.2])}))
    telemetry.note(StreamsCounted("api", {"ready": 7, "warming": 1}, 1, 100))
    telemetry.note(LagMeasured(TopicPartition("metrics", 0), 12, 3.5))
    telemetry.note(ModelSwapped("api", "m1", 5000))
    telemetry.note(DriftMeasured("api", 12, 0.2, 1.1, drifted=False))
    telemetry.note(StateFlushed(4, 4096))
    telemetry.note(Readiness(ready=True, partitions_assigned=2, partitions_restoring=0))
    return telemetry


@pytest.fixture(scope="module")
def pages() -> Iterator[Pages]:
    served = Pages(telemetry_of_some_work(), "127.0.0.1:0", 60.0)
    served.start()
    yield served
    served.close()


@contextmanager
def running_prometheus(tool: ToolFinder, folder: Path) -> Iterator[Prometheus]:
    """Run Prometheus with the configuration in `folder`, where its data and its log go, too."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    command = [
        tool("prometheus", "prometheus"),
        f"--config.file={folder / 'prometheus.yml'}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address={address}",
    ]
    with (folder / "log").open("wb") as log, subprocess.Popen(command, stdout=log, stderr=log) as process:
        try:
            yield Prometheus(address)
        finally:
            process.terminate()


@pytest.fixture(scope="module")
def prometheus(
    pages: Pages, deploy: Path, tool: ToolFinder, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Prometheus]:
    folder = tmp_path_factory.mktemp("prometheus")
    shipped = (deploy / "prometheus" / "prometheus.yml").read_text(encoding="utf-8")
    changed = shipped.replace("localhost:9464", f"127.0.0.1:{pages.port}").replace(": 15s", ": 1s")
    (folder / "prometheus.yml").write_text(changed, encoding="utf-8")
    (folder / "rules.yml").symlink_to(deploy / "prometheus" / "rules.yml")
    with running_prometheus(tool, folder) as prometheus:
        yield prometheus


def test_it_reads_the_metrics_in_the_format_that_it_prefers(prometheus: Prometheus) -> None:
    (up,) = prometheus.wait_for('up{job="longwatch"} == 1', 30)
    assert up["value"][1] == "1"
    (lag,) = prometheus.ask('longwatch_lag_records{topic="metrics", partition="0"}')
    assert lag["value"][1] == "12"
    (above,) = prometheus.ask('longwatch_score_count - ignoring(le) longwatch_score_bucket{le="1.0"}')
    assert above["value"][1] == "1"


def test_it_evaluates_the_shipped_rules(prometheus: Prometheus) -> None:
    (firing,) = prometheus.wait_for('ALERTS{alertname="LongwatchAnomaliesOpen", alertstate="firing"}', 30)
    assert firing["metric"]["group"] == "api"


def test_it_answers_every_query_of_the_dashboard(prometheus: Prometheus, deploy: Path) -> None:
    prometheus.wait_for("rate(longwatch_records_total[1m])", 30)
    dashboard = json.loads((deploy / "grafana" / "dashboard.json").read_text(encoding="utf-8"))
    unanswered = []
    for panel in dashboard["panels"]:
        for target in panel.get("targets", ()):
            query = re.sub(r"\$(job|instance|group)\b", ".+", target["expr"])
            query = query.replace("$__rate_interval", "1m").replace("$__range", "1m")
            if not prometheus.ask(query):
                unanswered.append(panel["title"])
    # Nothing was rejected, dropped, joined, seen twice, restored, changed, trained or delivered to others here.
    assert set(unanswered) <= {
        "Changes of alerts",
        "Channels missing",
        "Deliveries to receivers",
        "Records rejected, by reason",
        "Samples dropped, by reason",
        "Samples made of readings",
        "Time of the last training",
        "Topics read, and streams on two partitions",
        "Trainings",
    }


def test_it_reads_pages_behind_tls_with_the_password_or_the_token_and_nothing_without(
    deploy: Path, tool: ToolFinder, tmp_path: Path
) -> None:
    authority = Authority(tmp_path, "longwatch-ca")
    for secret in ("password", "token"):
        (tmp_path / f"longwatch-{secret}").write_text(f"a very long {secret}", encoding="utf-8")
    access = Access(
        cert_file=authority.issue("pages").both,
        username="prometheus",
        password_file=tmp_path / "longwatch-password",
        token_file=tmp_path / "longwatch-token",
    )
    pages = Pages(telemetry_of_some_work(), "127.0.0.1:0", 60.0, access)
    pages.start()
    shipped = (deploy / "prometheus" / "secured.yml").read_text(encoding="utf-8").replace(": 15s", ": 1s")
    shipped = shipped.replace("longwatch-1.example.net:9464", f"127.0.0.1:{pages.port}")
    config = yaml.safe_load(shipped.replace("/etc/prometheus", str(tmp_path)))
    (by_password,) = config["scrape_configs"]
    stranger = {key: value for key, value in by_password.items() if key != "basic_auth"} | {"job_name": "stranger"}
    credentials = {"type": "Bearer", "credentials_file": str(tmp_path / "longwatch-token")}
    by_token = stranger | {"job_name": "token", "authorization": credentials}
    config |= {"scrape_configs": [by_password, by_token, stranger], "rule_files": []}
    (tmp_path / "prometheus.yml").write_text(json.dumps(config), encoding="utf-8")
    try:
        with running_prometheus(tool, tmp_path) as prometheus:
            prometheus.wait_for("count(up) == 3", 30)
            prometheus.wait_for('longwatch_lag_records{job="longwatch"} == 12', 30)
            prometheus.wait_for('longwatch_lag_records{job="token"} == 12', 30)
            (refused,) = prometheus.wait_for('up{job="stranger"}', 30)
    finally:
        pages.close()
    assert refused["value"][1] == "0"
