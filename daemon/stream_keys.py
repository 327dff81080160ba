"""A stream's canonical name, `cpu{host="a",mode="user"}`: written from its labels, and read back into them.

What would be taken for punctuation is escaped: two streams never share a name.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

_NAME: Final = re.compile(r"((?:[^\\{]|\\.)*)\{?(.*)", re.DOTALL)
_LABEL: Final = re.compile(r'(?:^|,)((?:[^"\\=,{]|\\.)+)="((?:[^"\\]|\\.)*)"', re.DOTALL)
_ESCAPED: Final = re.compile(r"\\(.)", re.DOTALL)
_PUNCTUATION: Final = re.compile(r'[\\"=,{]')


def stream_key(name: str, labels: Mapping[str, str]) -> str:
    """Return the canonical name of the stream `name` with `labels`, which stand sorted."""
    inner = ",".join(f'{_word(label)}="{_escaped(value)}"' for label, value in sorted(labels.items()))
    bare = name.replace("\\", "\\\\").replace("{", "\\{")
    return f"{bare}{{{inner}}}" if inner else bare or "{}"


def labels_of(key: str) -> dict[str, str]:
    """Return the labels that stand in a canonical name; the part before them is the label `name`."""
    found = _NAME.match(key)
    assert found is not None  # it may match nothing at all
    labels = {"name": _plain(found[1])} if found[1] else {}
    return labels | {_plain(label): _plain(value) for label, value in _LABEL.findall(found[2])}


def label_of(label: str, key: str) -> str:
    """Return one label of those that stand in a canonical name; nothing where it has none of that name."""
    return labels_of(key).get(label, "")


def _word(label: str) -> str:
    return _PUNCTUATION.sub(r"\\\g<0>", label).replace("\n", "\\n")


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _plain(text: str) -> str:
    return _ESCAPED.sub(lambda escape: "\n" if escape[1] == "n" else escape[1], text)
