"""A stream's canonical name, `cpu{host="a",mode="user"}`: written from its labels, and read back into them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

_LABEL: Final = re.compile(r'([^=,{]+)="((?:[^"\\]|\\.)*)"', re.DOTALL)
_ESCAPED: Final = re.compile(r"\\(.)", re.DOTALL)


def stream_key(name: str, labels: Mapping[str, str]) -> str:
    """Return the canonical name of the stream `name` with `labels`, which stand sorted."""
    inner = ",".join(f'{label}="{_escaped(value)}"' for label, value in sorted(labels.items()))
    return f"{name}{{{inner}}}" if inner else name or "{}"


def labels_of(key: str) -> dict[str, str]:
    """Return the labels that stand in a canonical name; the part before them is the label `name`."""
    name, brace, inner = key.partition("{")
    labels = {"name": name} if name else {}
    if brace:
        labels |= {label: _ESCAPED.sub(_plain, value) for label, value in _LABEL.findall(inner)}
    return labels


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _plain(escape: re.Match[str]) -> str:
    return "\n" if escape[1] == "n" else escape[1]
