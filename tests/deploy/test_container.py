"""What can be said of the image without an engine to build it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest


@pytest.fixture
def steps(deploy: Path) -> list[tuple[str, str]]:
    """Return the instructions of the Containerfile, continuation lines joined."""
    text = (deploy / "container" / "Containerfile").read_text(encoding="utf-8").replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return [(name, rest.strip()) for name, _, rest in (line.partition(" ") for line in lines)]


def test_the_last_stage_takes_the_environment_only(steps: list[tuple[str, str]]) -> None:
    last = max(number for number, (name, _) in enumerate(steps) if name == "FROM")
    assert [rest for name, rest in steps[last:] if name in {"COPY", "ADD", "RUN"}] == [
        "--from=build /opt/longwatch /opt/longwatch"
    ]


def test_it_does_not_run_as_root(steps: list[tuple[str, str]]) -> None:
    assert [rest for name, rest in steps if name == "USER"] == ["65532:65532"]


def test_what_is_installed_is_pinned_by_hash(steps: list[tuple[str, str]]) -> None:
    installs = [rest for name, rest in steps if name == "RUN" and "pip install" in rest]
    assert len(installs) == 2
    assert "--require-hashes --no-deps -r /build/run.txt" in installs[0]
    assert "--no-deps --no-index" in installs[1]


def test_what_is_copied_is_in_the_build_context(steps: list[tuple[str, str]], deploy: Path) -> None:
    for name in ("Containerfile.containerignore", "Containerfile.dockerignore"):
        kept = [line[1:] for line in (deploy / "container" / name).read_text().splitlines() if line.startswith("!")]
        sources = [rest.split()[0] for step, rest in steps if step == "COPY" and not rest.startswith("--from")]
        assert {source.partition("/")[0] for source in sources} == set(kept)
    assert (deploy.parent / "requirements" / "run.txt").is_file()


def test_it_starts_the_daemon_on_the_mounted_configuration(steps: list[tuple[str, str]]) -> None:
    by_name = dict(steps)
    assert json.loads(by_name["ENTRYPOINT"]) + json.loads(by_name["CMD"]) == [
        "longwatch",
        "run",
        "/etc/longwatch/longwatch.yaml",
    ]


def test_no_file_names_a_host_that_serves_images_or_packages(deploy: Path) -> None:
    hosts = re.compile(r"\b(?:docker|quay|ghcr|gcr|pypi|mcr|pytorch|k8s|index)\.(?:io|com|org)\b")
    for path in deploy.rglob("*"):
        if path.is_file():
            found = set(hosts.findall(re.sub(r"[\w.-]*kubernetes\.io|[\w.-]+\.k8s\.io", "", path.read_text())))
            assert not found, (path, found)
