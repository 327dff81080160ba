"""A line for the log, before anybody knows whether there is room for it."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

DETAIL_CHARS_MAX: Final = 300


@dataclass(frozen=True, slots=True)
class Line:
    """One line for the log. `scarce` names what may be said once a minute only; `weight` is how much it stands for."""

    level: Literal["debug", "info", "warning"]
    event: str
    fields: Mapping[str, object] = field(default_factory=dict)
    scarce: Hashable = None
    weight: int = 1


def short(text: str, chars_max: int = DETAIL_CHARS_MAX) -> str:
    """Return `text`, or its beginning where it is longer than `chars_max`."""
    return text if len(text) <= chars_max else text[: chars_max - 1] + "…"
