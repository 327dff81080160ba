"""Many pages of metrics as one: every series carries the number of the worker that it comes from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from daemon.declared import Declared


@dataclass(slots=True)
class _Family:
    """The lines of one metric, on every page."""

    head: list[str] = field(default_factory=list)
    samples: list[str] = field(default_factory=list)


def merged(pages: Mapping[int, str], own: str = "") -> str:
    """Return the pages of metrics (Prometheus' text format) by worker as one, and `own`, which has no worker."""
    families: dict[str, _Family] = {}
    for worker, text in pages.items():
        _take(families, text, f'worker="{worker}"')
    _take(families, own, "")
    lines = [line for each in families.values() for line in (*each.head, *each.samples)]
    return "".join(f"{line}\n" for line in lines)


def told(declared: Declared, values: Mapping[int, float]) -> str:
    """Return a metric of the workers themselves in the text format, with its value by worker."""
    head = f"# HELP {declared.name} {declared.help}\n# TYPE {declared.name} {declared.kind}\n"
    return head + "".join(f'{declared.name}{{worker="{worker}"}} {value:g}\n' for worker, value in values.items())


def _take(families: dict[str, _Family], text: str, label: str) -> None:
    family = _Family()
    for line in text.splitlines():
        if line.startswith(("# HELP ", "# TYPE ")):
            family = families.setdefault(line.split(" ", 3)[2], _Family())
            if line not in family.head:
                family.head.append(line)
        elif line and not line.startswith("#"):
            family.samples.append(_labelled(line, label))


def _labelled(sample: str, label: str) -> str:
    """Return a line of a page with one more label; in a metric's name stands neither a space nor a brace."""
    if not label:
        return sample
    end = min(place for place in (sample.find("{"), sample.find(" ")) if place >= 0)
    if sample[end] == " ":
        return f"{sample[:end]}{{{label}}}{sample[end:]}"
    return f"{sample[:end]}{{{label},{sample[end + 1 :]}"
