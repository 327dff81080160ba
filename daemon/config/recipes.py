"""Finds groups whose samples cannot be made as they say."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from daemon.config.document import Path, Problem
from daemon.config.problems import Source, at

_CHANNELS = "the channels that are scored, which {} needs"


def impossible_recipes(source: Source, path: Path) -> Iterator[Problem]:
    """Yield a problem for each setting of the group at `path` of which no sample can be made."""
    found = at(source.substituted.value, path)
    if not isinstance(found, dict):
        return
    derive, channels = found.get("derive"), found.get("channels")
    for key in ("join", "derive"):
        if found.get(key) and not channels:
            yield source.problem((*path, "channels"), _CHANNELS.format(key))
    if isinstance(derive, dict) and isinstance(channels, list):
        yield from _out_of_order(source, (*path, "derive"), derive)
        yield from _for_nothing(source, (*path, "derive"), derive, channels)


def _out_of_order(source: Source, path: Path, derive: Mapping[str, object]) -> Iterator[Problem]:
    """Yield those that are made of one which comes after them; of one's own name what was read is meant."""
    names = list(derive)
    for place, name in enumerate(names):
        later = [each for each in _made_of(derive[name]) if each in names[place + 1 :]]
        if later:
            text = f"found {name} before {later[0]}, expected it after that, of which it is made"
            yield Problem((*path, name), text, source.document.line_of((*path, name)))


def _for_nothing(
    source: Source, path: Path, derive: Mapping[str, object], channels: Sequence[object]
) -> Iterator[Problem]:
    for name in derive:
        others = [_made_of(each) for other, each in derive.items() if other != name]
        if name not in channels and not any(name in each for each in others):
            text = "found a channel that nobody needs, expected it among channels, or another that is made of it"
            yield Problem((*path, name), text, source.document.line_of((*path, name)))


def _made_of(told: object) -> list[str]:
    """Return the channels that one is made of, as far as it says so."""
    values = list(told.values()) if isinstance(told, dict) else []
    flat = [part for value in values for part in (value if isinstance(value, list) else [value])]
    return [each for each in flat if isinstance(each, str)]
