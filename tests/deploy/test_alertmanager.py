"""The shipped route is accepted by Alertmanager's own tool, and leads where its comments say."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

ToolFinder = Callable[[str, str], str]
PACKAGE = "prometheus-alertmanager"


@pytest.fixture
def amtool(tool: ToolFinder) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Return a function that runs it."""
    program = tool("amtool", PACKAGE)

    def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run([program, *map(str, arguments)], capture_output=True, text=True, check=False)

    return run


def test_the_shipped_route_is_accepted_and_a_misspelt_one_is_not(
    amtool: Callable[..., subprocess.CompletedProcess[str]], deploy: Path, tmp_path: Path
) -> None:
    shipped = deploy / "alertmanager" / "alertmanager.yml"
    accepted = amtool("check-config", shipped)
    assert accepted.returncode == 0, accepted.stderr
    assert "2 inhibit rules" in accepted.stdout
    (tmp_path / "bad.yml").write_text(shipped.read_text("utf-8").replace("group_by", "group_buy"), encoding="utf-8")
    assert amtool("check-config", tmp_path / "bad.yml").returncode != 0


@pytest.mark.parametrize(
    ("labels", "receiver"),
    [
        (("alertname=LongwatchAnomaly", "severity=critical"), "duty"),
        (("alertname=LongwatchSilence", "severity=warning"), "chat"),
        (("alertname=Another", "severity=critical"), "chat"),
    ],
)
def test_an_alert_goes_where_its_severity_says(
    amtool: Callable[..., subprocess.CompletedProcess[str]], deploy: Path, labels: tuple[str, ...], receiver: str
) -> None:
    shipped = deploy / "alertmanager" / "alertmanager.yml"
    assert amtool("config", "routes", "test", f"--config.file={shipped}", *labels).stdout.strip() == receiver
