"""docs/demo.md says what the code does."""

from __future__ import annotations

from pathlib import Path

import pytest

from daemon.demo.faults import MAGNITUDES, SENSIBLE
from daemon.demo.judge import GRACE_MS, HOUR_MS, RECOVERY_MS

PAGE = (Path(__file__).parents[3] / "docs" / "demo.md").read_text(encoding="utf-8")
ROWS = {
    cells[0]: cells for line in PAGE.splitlines() if (cells := [cell.strip() for cell in line.strip("|").split("|")])
}


@pytest.mark.parametrize("series", list(SENSIBLE))
def test_each_series_faults_are_written_down(series: str) -> None:
    (row,) = [line for line in PAGE.splitlines() if line.startswith(f"| {series} |") and line.count("|") == 3]
    assert row == f"| {series} | {', '.join(next(kinds for name, kinds in SENSIBLE.items() if name == series))} |"


@pytest.mark.parametrize("kind", list(MAGNITUDES))
def test_each_faults_length_and_size_are_written_down(kind: str) -> None:
    magnitude = next(one for name, one in MAGNITUDES.items() if name == kind)
    _, _, length, size = ROWS[kind]
    assert length in {_hours(*magnitude.hours), _minutes(*magnitude.hours)}
    assert size.startswith(f"{magnitude.size[0]:g} to {magnitude.size[1]:g} " if magnitude.unit else "")
    assert magnitude.unit in size


def _hours(low: float, high: float) -> str:
    return f"{low:g} h" if low == high else f"{low:g} to {high:g} h"


def _minutes(low: float, high: float) -> str:
    """Return the length in whole samples of five minutes."""
    return f"{round(low * 12) * 5} to {round(high * 12) * 5} min"


def test_grace_and_recovery_are_written_down() -> None:
    assert f"its end plus {GRACE_MS // HOUR_MS} h" in PAGE
    by_hours = {hours: [kind for kind, ms in RECOVERY_MS.items() if ms == hours * HOUR_MS] for hours in (24, 12)}
    assert sum(map(len, by_hours.values())) == len(RECOVERY_MS)
    assert " ".join(PAGE.split()).count(
        "up to 24 h after the end of a level_shift, drift or period and 12 h after a frozen, variance or silence"
    )
    assert by_hours == {24: ["level_shift", "drift", "period"], 12: ["frozen", "variance", "silence"]}
