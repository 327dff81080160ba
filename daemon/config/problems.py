"""Says what is wrong with a setting in an operator's words: what was found, and what was expected."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from pydantic import ValidationError

from daemon.config.catalogue import allowed_by, homes_of, names_at, node_at, type_of
from daemon.config.document import Document, Path, Problem, Value, dotted
from daemon.config.environment import Substituted
from daemon.config.schema import Node, variants
from daemon.config.secret import SHOWN
from daemon.config.units import unit_of, without_unit

EXPLAINED_MAX = 200
_SHOWN_MAX = 60
_OPEN_KEYS = re.compile(r"protocol|sasl_mechanism|check_hostname|username|\w+_file")
_NUMBER = re.compile(r"[-+]?[0-9_]+(?:\.[0-9]*)?(?:[eE][-+]?[0-9]+)?")


class Missing:
    """Stands for a value that the file does not have."""


MISSING = Missing()
Found = Value | Missing


@dataclass(frozen=True, slots=True)
class Source:
    """What the file says, before and after the variables were put in."""

    document: Document
    substituted: Substituted

    def raw(self, path: Path) -> Found:
        """Return what stands in the file at `path`, as it stands there."""
        return at(self.document.value, path)

    def problem(self, path: Path, wanted: str) -> Problem:
        """Return the problem that something else than `wanted` stands at `path`; secrets are not shown."""
        text = f"found {self.shown(path)}, expected {wanted}"
        return Problem(path, text, self.document.line_of(path))

    def shown(self, path: Path) -> str:
        """Return what stands at `path` in words."""
        found = self.raw(path)
        is_open = path[:2] != ("kafka", "security") or _OPEN_KEYS.fullmatch(str(path[-1]))
        return described(found) if is_open or isinstance(found, dict | list | Missing) else SHOWN


def at(value: Found, path: Path) -> Found:
    """Return what stands at `path` in `value`, or MISSING."""
    for part in path:
        if isinstance(value, dict) and isinstance(part, str):
            value = value.get(part, MISSING)
        elif isinstance(value, list) and isinstance(part, int) and part < len(value):
            value = value[part]
        else:
            return MISSING
    return value


def described(found: Found) -> str:
    """Return a found value in words, shortened."""
    if found is None or isinstance(found, Missing):
        return "nothing"
    if isinstance(found, dict):
        return "a section"
    if isinstance(found, list):
        return "a list" if found else "an empty list"
    if isinstance(found, str):
        return _quoted(found)
    return json.dumps(found).replace("Infinity", ".inf").replace("NaN", ".nan")


def _quoted(text: str) -> str:
    text = re.sub(r"//[^/@\s]*@", f"//{SHOWN}@", text)  # a login in an address
    shown = text if len(text) <= _SHOWN_MAX else f"{text[:_SHOWN_MAX]}..."
    # Matchers hold double quotes; in single ones they stay readable.
    return f"'{shown}'" if '"' in shown and "'" not in shown and shown.isprintable() else json.dumps(shown)


def explain(error: ValidationError, source: Source) -> Iterator[Problem]:
    """Yield one problem for each place that the model refuses."""
    seen: set[Path] = {problem.path for problem in source.substituted.problems} | source.document.unread
    for detail in error.errors(include_url=False, include_input=False)[:EXPLAINED_MAX]:
        path = _place(detail["loc"], detail["type"], source.substituted.value)
        if path not in seen and not (detail["type"] == "too_short" and source.raw(path)):
            # A list whose entries are all wrong counts as too short: its entries' own problems say it better.
            seen.add(path)
            yield _problem(detail["type"], detail.get("ctx", {}), path, source)


def _place(loc: tuple[int | str, ...], kind: str, value: Found) -> Path:
    # The model's own path also names the alternatives of a union; the file knows nothing of those.
    path: list[str | int] = []
    for index, part in enumerate(loc):
        below = at(value, (part,))
        if not isinstance(below, Missing):
            path.append(part)
            value = below
        elif index == len(loc) - 1 and isinstance(value, dict):
            path.append(part)
    return (*path, "kind") if kind.startswith("union_tag") else tuple(path)


def _problem(kind: str, context: dict[str, Any], path: Path, source: Source) -> Problem:
    if kind == "extra_forbidden":
        # Its value is not shown: it may be a password under a misspelt key.
        known = _known_key(path, at(source.substituted.value, (*path[:-1], "kind")))
        return Problem(path, f"found an unknown key, expected {known}", source.document.line_of(path))
    return source.problem(path, _wanted(kind, context, path, source))


def _wanted(kind: str, context: dict[str, Any], path: Path, source: Source) -> str:
    if kind == "expected":
        return str(context["expected"])
    node = node_at(path) or {}
    if kind == "too_short":
        return "at least one entry"
    if kind in {"too_long", "string_too_short"}:
        return f"at most {context['max_length']} entries" if kind == "too_long" else "text that is not empty"
    return _phrase(path, node) + _hint(path, node, source)


def _known_key(path: Path, kind: object) -> str:
    key = str(path[-1])[:_SHOWN_MAX]
    if key == "<<":
        return "no merge key (an alias can stand for a whole section)"
    names = names_at(path[:-1], kind)
    near = get_close_matches(key, names, n=1) or [name for name in names if _stem(name) == _stem(key)]
    here = re.sub(r"\[[0-9]+\]", "[]", dotted(path[:-1]))
    homes = [home for home in homes_of(key) if home.rpartition(".")[0] != here]
    if near:
        return " or ".join(near[:3])
    if homes:
        return f"it at {' or '.join(homes[:3])}"
    return f"one of {', '.join(names)}"


def _stem(key: str) -> str:
    return key.partition("_")[0]


def _phrase(path: Path, node: Node) -> str:
    allowed, words = allowed_by(node), type_of(node)
    constants = [str(each["const"]) for each in _siblings(path) if "const" in each]
    if constants or words.startswith("word"):
        return f"one of {', '.join(constants) or allowed}"
    unit = unit_of(str(path[-1])) if path and words in {"number", "whole number"} else None
    measured = f"a {words} of {unit}" if unit else _ARTICLES.get(words, words)
    return f"{measured}, {allowed}" if allowed else measured


_ARTICLES = {
    "number": "a number",
    "number or null": "a number or null",
    "whole number": "a whole number",
    "section": "a section of keys and values",
    "list of text": "a list of text",
    "list of sections": "a list of sections",
    "secret or null": "text",
    "file or null": "the name of a file",
}


def _siblings(path: Path) -> list[Node]:
    parent = node_at(path[:-1]) if path and path[-1] == "kind" else None
    return [] if parent is None else [each.get("properties", {}).get("kind", {}) for each in variants(parent)]


def _hint(path: Path, node: Node, source: Source) -> str:
    found, words = source.raw(path), type_of(node)
    if isinstance(found, str):
        if path in source.substituted.touched and "text" not in words:
            return " (what ${...} gives is always text)"
        if "number" in words:
            return _number_hint(found, unit_of(str(path[-1])))
        if "true" in words and found.lower() in {"yes", "no", "on", "off"}:
            return " (yes, no, on and off are text)"
    if isinstance(found, bool | int | float) and ("text" in words or "secret" in words):
        return " (in quotes)" if "secret" in words else f' (in quotes: "{described(found)}")'
    return ""


def _number_hint(text: str, unit: str | None) -> str:
    if unit is not None and (plain := without_unit(text, unit)) is not None:
        return f" (without a unit: {plain})"
    if unit is not None and re.fullmatch(r"[0-9.]+\s*[A-Za-zµ%]+", text):
        return " (without a unit)"
    if _NUMBER.fullmatch(text):
        is_plain = "_" not in text and not re.match(r"[-+]?0[0-9]", text)
        return " (without quotes)" if is_plain else " (without leading zeros and underscores)"
    return ""
