"""The unit is accepted by systemd, is tightly confined, and fits the configuration that is shipped with it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from daemon.config import Config, load

ToolFinder = Callable[[str, str], str]


@pytest.fixture
def unit(deploy: Path) -> str:
    return (deploy / "systemd" / "longwatch.service").read_text(encoding="utf-8")


@pytest.fixture
def installed(unit: str, tmp_path: Path) -> Path:
    """Write a copy of the unit whose program exists on this machine."""
    path = tmp_path / "longwatch.service"
    path.write_text(unit.replace("/opt/longwatch/bin/longwatch", sys.executable), encoding="utf-8")
    return path


@pytest.fixture
def config(deploy: Path, tmp_path: Path) -> Config:
    (tmp_path / "kafka-password").write_text("secret\n", encoding="utf-8")
    return load(deploy / "systemd" / "longwatch.yaml", {"CREDENTIALS_DIRECTORY": str(tmp_path)})


def settings(unit: str, key: str) -> list[str]:
    return [line.partition("=")[2] for line in unit.splitlines() if line.startswith(f"{key}=")]


def seconds(unit: str, key: str) -> float:
    (value,) = settings(unit, key)
    return float(value)


def test_systemd_has_nothing_to_say_about_the_unit(installed: Path, tool: ToolFinder) -> None:
    analyze = tool("systemd-analyze", "systemd")
    done = subprocess.run([analyze, "verify", "--man=no", str(installed)], capture_output=True, text=True, check=False)
    # An unknown key is a warning with exit status 0, so what was said counts too.
    assert (done.returncode, done.stderr) == (0, "")


def test_the_check_itself_would_see_a_misspelt_key(installed: Path, tool: ToolFinder) -> None:
    installed.write_text(installed.read_text(encoding="utf-8").replace("ProtectSystem=", "ProtectSystm="))
    analyze = tool("systemd-analyze", "systemd")
    done = subprocess.run([analyze, "verify", "--man=no", str(installed)], capture_output=True, text=True, check=False)
    assert "ProtectSystm" in done.stderr


def test_the_unit_is_confined(installed: Path, tool: ToolFinder) -> None:
    command = [tool("systemd-analyze", "systemd"), "security", "--offline=true", "--threshold=20", str(installed)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-500:]


@pytest.mark.parametrize("key", ["MemoryDenyWriteExecute", "ProcSubset"])
def test_what_torch_does_not_survive_is_not_set(unit: str, key: str) -> None:
    assert settings(unit, key) == []


def test_system_calls_that_threads_need_are_allowed(unit: str) -> None:
    assert settings(unit, "SystemCallFilter") == ["@system-service", "~@privileged"]


def test_the_configuration_is_checked_before_the_start(unit: str) -> None:
    (before,), (start,) = settings(unit, "ExecStartPre"), settings(unit, "ExecStart")
    assert before.split()[1:] == ["check-config", "/etc/longwatch/longwatch.yaml"]
    assert start.split()[1:] == ["run", "/etc/longwatch/longwatch.yaml"]


def test_a_wrong_configuration_is_not_tried_again(unit: str) -> None:
    assert settings(unit, "RestartPreventExitStatus") == ["78"]
    assert settings(unit, "StartLimitBurst") == ["5"]
    # Five starts, each after RestartSec, fall into the interval, or the limit would never be reached.
    assert seconds(unit, "StartLimitIntervalSec") > 5 * (seconds(unit, "RestartSec") + 60)


def test_systemd_waits_longer_than_the_daemon_may_take(unit: str, config: Config) -> None:
    assert seconds(unit, "TimeoutStartSec") > config.state.restore_seconds_max
    assert seconds(unit, "TimeoutStopSec") > config.shutdown_seconds
    # Fed at a third of its time by a loop that one transaction may hold up.
    assert seconds(unit, "WatchdogSec") * 2 / 3 > config.kafka.transaction_timeout_seconds + config.input.poll_seconds


def test_the_password_comes_from_the_credential_that_the_unit_loads(unit: str, config: Config, deploy: Path) -> None:
    (credential,) = settings(unit, "LoadCredential")
    name = credential.partition(":")[0]
    text = (deploy / "systemd" / "longwatch.yaml").read_text(encoding="utf-8")
    assert f"password_file: ${{CREDENTIALS_DIRECTORY}}/{name}\n" in text
    assert config.kafka.security.protocol == "SASL_SSL"
    assert config.outputs.replication == 3


def test_the_shipped_configuration_passes_the_check_before_the_start(unit: str, deploy: Path, tmp_path: Path) -> None:
    (tmp_path / "kafka-password").write_text("secret\n", encoding="utf-8")
    (before,) = settings(unit, "ExecStartPre")
    arguments = [word.replace("/etc/longwatch", str(deploy / "systemd")) for word in before.split()[1:]]
    command = [sys.executable, "-m", "daemon", *arguments]
    env = os.environ | {"CREDENTIALS_DIRECTORY": str(tmp_path)}
    done = subprocess.run(command, cwd=deploy.parent, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
