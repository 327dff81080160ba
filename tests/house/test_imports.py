"""Who may import whom: the contracts of pyproject.toml hold, and each of them breaks when it is broken."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.house import tree

LINT_IMPORTS = Path(sys.executable).with_name("lint-imports")


def lint(folder: Path, *contracts: str) -> subprocess.CompletedProcess[str]:
    """Run the contracts (all of them, when none is named) on the tree in `folder`."""
    named = [option for contract in contracts for option in ("--contract", contract)]
    return subprocess.run(
        [LINT_IMPORTS, "--no-cache", "--no-logo", *named],
        cwd=folder,
        env=os.environ | {"NO_COLOR": "1", "COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """Return a copy of the product that a test may spoil."""
    for package in tree.PRODUCT:
        shutil.copytree(tree.ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(tree.ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def test_every_contract_is_kept() -> None:
    result = lint(tree.ROOT)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize(
    ("contract", "module", "line"),
    [
        ("library", "detectors/settings.py", "import daemon.types"),
        ("layers", "daemon/types.py", "import daemon.engine"),
        ("layers", "daemon/loop.py", "import daemon.kafka"),
        ("layers", "daemon/unheard_of.py", ""),
        ("core", "daemon/engine.py", "import time"),
        ("core", "daemon/state.py", "import threading"),
        ("core", "detectors/scoring.py", "from urllib import request"),
        ("kafka", "daemon/loop.py", "import kafka"),
        ("yaml", "daemon/app.py", "import yaml"),
        ("yaml", "daemon/engine.py", "from pydantic import BaseModel"),
        ("prometheus", "daemon/loop.py", "import prometheus_client"),
        ("structlog", "daemon/loop.py", "import structlog"),
        ("torch", "daemon/engine.py", "import torch"),
        ("decoders", "daemon/intake.py", "import cramjam"),
        ("jars", "daemon/demo/run.py", "import jgo"),
        ("parquet", "daemon/history.py", "import pyarrow"),
        ("plots", "daemon/history.py", "import matplotlib"),
    ],
)
def test_a_planted_violation_breaks_its_contract(copy: Path, contract: str, module: str, line: str) -> None:
    with (copy / module).open("a", encoding="utf-8") as file:
        file.write(f"\n{line}\n")
    result = lint(copy, contract)
    assert result.returncode == 1
    assert "BROKEN" in result.stdout or Path(module).stem in result.stdout, result.stdout + result.stderr
