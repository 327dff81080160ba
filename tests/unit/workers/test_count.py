"""`auto` is what this process may use of the machine, a container's share included."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from daemon.workers import count

CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@pytest.mark.parametrize(
    ("quota", "workers"),
    [
        ("max 100000\n", CORES),
        ("100000 100000\n", 1),
        ("50000 100000\n", 1),
        ("99900000 100000\n", CORES),
        ("?", CORES),
    ],
)
def test_auto_heeds_cores_and_share(quota: str, workers: int, tmp_path: Path) -> None:
    file = tmp_path / "cpu.max"
    file.write_text(quota)
    assert count("auto", file) == workers


def test_without_a_limit_auto_is_one_for_each_core_and_a_number_is_taken_as_it_is(tmp_path: Path) -> None:
    assert count("auto", tmp_path / "none") == CORES
    assert count(7, tmp_path / "none") == 7
