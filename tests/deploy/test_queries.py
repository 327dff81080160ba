"""Every PromQL expression that is shipped, in rules and dashboard, can be parsed and asks for what exists."""

from __future__ import annotations

import itertools
import json
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from daemon.declared import Declared
from daemon.metrics import Metrics

ToolFinder = Callable[[str, str], str]
Panel = dict[str, Any]

TARGET_LABELS = {"job", "instance"}
FOREIGN = {"up": set[str](), "process_start_time_seconds": set[str](), "process_cpu_seconds_total": set[str]()} | {
    "process_resident_memory_bytes": set[str]()
}
NAME = re.compile(r"(?<![\w:$\"])(?:longwatch|process)[_:][a-zA-Z0-9_:]+|\bup\b")
SELECTOR = re.compile(r"([a-zA-Z_:][a-zA-Z0-9_:]*)\{([^}]*)\}")


@pytest.fixture(scope="module")
def dashboard(deploy: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((deploy / "grafana" / "dashboard.json").read_text(encoding="utf-8"))
    return content


@pytest.fixture(scope="module")
def rules(deploy: Path) -> list[dict[str, Any]]:
    content = yaml.safe_load((deploy / "prometheus" / "rules.yml").read_text(encoding="utf-8"))
    return [rule for group in content["groups"] for rule in group["rules"]]


@pytest.fixture(scope="module")
def known(rules: list[dict[str, Any]]) -> dict[str, set[str]]:
    """Return every series that exists, with the labels that it may be selected by."""
    recorded = {rule["record"]: {"group"} for rule in rules if "record" in rule}
    return FOREIGN | recorded | dict(itertools.chain.from_iterable(series(one.declared) for one in Metrics))


@pytest.fixture(scope="module")
def queries(dashboard: dict[str, Any], rules: list[dict[str, Any]]) -> list[str]:
    shown = [target["expr"] for panel in panels(dashboard) for target in panel["targets"]]
    marked = [one["expr"] for one in dashboard["annotations"]["list"] if "expr" in one]
    return [filled_in(one) for one in [*shown, *marked, *(rule["expr"] for rule in rules)]]


def series(declared: Declared) -> Iterator[tuple[str, set[str]]]:
    labels = set(declared.labels)
    if declared.kind == "histogram":
        yield f"{declared.name}_bucket", {*labels, "le"}
        yield f"{declared.name}_count", labels
        yield f"{declared.name}_sum", labels
    else:
        yield declared.name, labels


def panels(dashboard: dict[str, Any]) -> list[Panel]:
    return [panel for panel in dashboard["panels"] if panel["type"] != "row"]


def filled_in(query: str) -> str:
    """Put values where Grafana would."""
    return re.sub(r"\$(job|instance|group)\b", ".+", query).replace("$__rate_interval", "5m").replace("$__range", "1h")


def test_prometheus_can_parse_every_query(queries: list[str], tool: ToolFinder, tmp_path: Path) -> None:
    named = [{"record": f"query:{number}", "expr": query} for number, query in enumerate(queries)]
    path = tmp_path / "queries.yml"
    path.write_text(json.dumps({"groups": [{"name": "queries", "rules": named}]}), encoding="utf-8")
    command = [tool("promtool", "prometheus"), "check", "rules", "--lint=none", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert len(queries) > 50


def test_no_query_asks_for_a_metric_that_does_not_exist(queries: list[str], known: dict[str, set[str]]) -> None:
    for query in queries:
        names = set(NAME.findall(re.sub(r'"[^"]*"', "", query)))
        assert names, query
        assert names <= set(known), query


def test_no_query_selects_by_a_label_that_the_metric_does_not_have(
    queries: list[str], known: dict[str, set[str]]
) -> None:
    for query in queries:
        for name, matchers in SELECTOR.findall(query):
            used = set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", matchers))
            assert used <= known[name] | TARGET_LABELS, query


def test_every_metric_but_a_few_can_be_seen_on_the_dashboard(dashboard: dict[str, Any]) -> None:
    shown = " ".join(target["expr"] for panel in panels(dashboard) for target in panel["targets"])
    unseen = {metric.declared.name for metric in Metrics if metric.declared.name not in shown}
    assert unseen == {
        "longwatch_alerts_withheld_total",
        "longwatch_config_info",
        "longwatch_inquiries_total",
        "longwatch_log_lines_suppressed_total",
        "longwatch_maintenance_active",
        "longwatch_model_trained_samples",
        "longwatch_models_refused_total",
        "longwatch_repartitioned_readings_total",
        "longwatch_repartitioned_records_total",
        "longwatch_repartitioning",
        "longwatch_restored_records_total",
        "longwatch_state_discarded_total",
        "longwatch_state_flush_timestamp_seconds",
        "longwatch_state_pages_written_total",
        "longwatch_transactions_total",
        "longwatch_turn_records_max",
        "longwatch_worker_restarts_total",
        "longwatch_worker_up",
    }


def test_the_dashboard_has_a_row_for_each_question(dashboard: dict[str, Any]) -> None:
    rows = [panel["title"] for panel in dashboard["panels"] if panel["type"] == "row"]
    assert rows == [
        "Health",
        "Throughput",
        "Lag",
        "Scores and alerts",
        "Streams",
        "State and restore",
        "Models and training",
        "Process",
    ]


def test_every_panel_says_what_it_shows_and_in_which_unit(dashboard: dict[str, Any]) -> None:
    for panel in panels(dashboard):
        assert panel["description"].endswith("."), panel["title"]
        if panel["type"] in {"timeseries", "stat"}:
            assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]


def test_panels_have_their_own_ids_and_do_not_overlap(dashboard: dict[str, Any]) -> None:
    everything = dashboard["panels"]
    assert len({panel["id"] for panel in everything}) == len(everything)
    taken: set[tuple[int, int]] = set()
    for panel in everything:
        at = panel["gridPos"]
        columns, lines = range(at["x"], at["x"] + at["w"]), range(at["y"], at["y"] + at["h"])
        cells = set(itertools.product(columns, lines))
        assert max(columns) < 24, panel["title"]
        assert not cells & taken, panel["title"]
        taken |= cells


def test_the_dashboard_works_with_any_data_source(dashboard: dict[str, Any]) -> None:
    used = {target["datasource"]["uid"] for panel in panels(dashboard) for target in panel["targets"]}
    used |= {panel["datasource"]["uid"] for panel in panels(dashboard)}
    assert used == {"${datasource}"}
    variables = {variable["name"] for variable in dashboard["templating"]["list"]}
    assert variables == {"datasource", "job", "instance", "group"}


def test_targets_of_a_panel_have_their_own_letters(dashboard: dict[str, Any]) -> None:
    for panel in panels(dashboard):
        letters = [target["refId"] for target in panel["targets"]]
        assert len(set(letters)) == len(letters) > 0, panel["title"]
