"""Writes docs/metrics.md from the table of metrics."""

from __future__ import annotations

from daemon.declared import Declared
from daemon.metrics import Metrics


def reference() -> str:
    """Return the page that explains every metric, in Markdown (docs/metrics.md)."""
    return _PREFACE + "".join(_row(one.declared) for one in Metrics)


_PREFACE = """\
# Metrics

Generated from the table in `daemon/metrics.py`; a test keeps this page fresh. The daemon serves them on `/metrics`,
together with `process_*` (CPU, memory, open files, start time). No metric has a label per stream, so the number of
series does not grow with the number of streams.

| metric | kind | labels | what it means, and what to do |
|---|---|---|---|
"""


def _row(declared: Declared) -> str:
    labels = ", ".join(f"`{label}`" for label in declared.labels)
    return f"| `{declared.name}` | {declared.kind} | {labels} | {declared.help} |\n"
