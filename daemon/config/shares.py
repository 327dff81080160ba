"""Finds tenants that no stream of their group can tell."""

from __future__ import annotations

from collections.abc import Iterator

from daemon.config.document import Path, Problem
from daemon.config.problems import Source, at
from daemon.recipe import NAME

_UNTOLD = "a label that tells the group's streams apart: this one is left out by {}"


def impossible_tenants(source: Source, path: Path) -> Iterator[Problem]:
    """Yield a problem where the streams of the group at `path` do not have the label that tells whose they are."""
    found = at(source.substituted.value, path)
    told = found.get("tenants") if isinstance(found, dict) else None
    if not isinstance(found, dict) or not isinstance(told, dict):
        return
    label, by, drop, join = told.get("label"), found.get("by"), found.get("drop"), found.get("join")
    left_out_by = {
        "by": isinstance(by, list) and len(by) > 0 and label not in by and label != NAME,
        "drop": isinstance(drop, list) and label in drop,
        "join.channel": isinstance(join, dict) and join.get("channel") == label,
    }
    for setting, is_left_out in left_out_by.items():
        if is_left_out:
            yield source.problem((*path, "tenants", "label"), _UNTOLD.format(setting))
