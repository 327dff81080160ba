"""The table of metrics and its page."""

from __future__ import annotations

from pathlib import Path

from daemon.metrics_page import reference


def test_the_page_of_metrics_is_fresh() -> None:
    page = Path(__file__).parents[2] / "docs" / "metrics.md"
    assert page.read_text(encoding="utf-8") == reference(), "run `make docs`"
