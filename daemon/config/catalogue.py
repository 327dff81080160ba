"""Every key in one list: path, type, default, limits and meaning, as the reference and the messages name them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

from daemon.config.document import Path
from daemon.config.schema import Node, child, resolved, root, variants
from daemon.config.units import unit_of

_TYPES = {
    "string": "text",
    "integer": "whole number",
    "number": "number",
    "boolean": "true or false",
    "object": "section",
}


@dataclass(frozen=True, slots=True)
class Key:
    """One key of the configuration, in words."""

    path: str  # groups[].model.hidden
    type: str
    default: str | None  # as YAML; None when the key is required or a section
    unit: str | None
    allowed: str | None
    meaning: str
    is_section: bool


@cache
def keys() -> tuple[Key, ...]:
    """Return every key in the order in which an operator meets them."""
    return tuple(_below(root(), ""))


def node_at(path: Path) -> Node | None:
    """Return what the schema says of the value at `path`, None when there is no such key."""
    node: Node | None = root()
    for part in path:
        node = None if node is None else child(node, part)
    return node


def names_at(path: Path, kind: object = None) -> list[str]:
    """Return the keys that the section at `path` may have; `kind` chooses among a section's alternatives."""
    node = node_at(path)
    alternatives = [] if node is None else variants(node)
    chosen = [each for each in alternatives if _kind_of(each) == kind] or alternatives
    return list(dict.fromkeys(name for each in chosen for name in each.get("properties", {})))


def homes_of(name: str) -> list[str]:
    """Return the paths at which a key called `name` exists."""
    return [key.path for key in keys() if key.path.rpartition(".")[2] == name]


def type_of(node: Node) -> str:
    """Return the kind of value that `node` allows, in words."""
    words = list(dict.fromkeys(_type(each) for each in variants(node)))
    return " or ".join(words) + (" or null" if _is_nullable(node) else "")


def allowed_by(node: Node) -> str | None:
    """Return the limits of a value in words: its choices or its range."""
    first = variants(node)[0]
    if "enum" in first:
        return ", ".join(str(each) for each in first["enum"])
    bounds = (
        ("exclusiveMinimum", "above"),
        ("minimum", "at least"),
        ("exclusiveMaximum", "below"),
        ("maximum", "at most"),
    )
    return ", ".join(f"{words} {first[key]}" for key, words in bounds if key in first) or None


def _below(node: Node, path: str) -> Iterator[Key]:
    merged: dict[str, list[Node]] = {}
    for variant in variants(node):
        for name, each in variant.get("properties", {}).items():
            merged.setdefault(name, []).append(resolved(each))
    for name, alternatives in merged.items():
        yield from _key(f"{path}.{name}".removeprefix("."), alternatives)


def _key(path: str, alternatives: list[Node]) -> Iterator[Key]:
    node = alternatives[0]
    is_list = isinstance(node.get("items"), dict) and bool(child(node, 0))
    inner = child(node, 0) if is_list else node
    free = node.get("additionalProperties")
    inner_path = f"{path}[]" if is_list else path
    if isinstance(free, dict):
        inner, inner_path = resolved(free), f"{path}.<channel>"
    below = list(_below(inner, inner_path)) if inner is not None else []
    yield Key(
        path=path,
        type=type_of(node),
        default=_default(node),
        unit=unit_of(path.rpartition(".")[2]),
        allowed=_allowed(alternatives),
        meaning=_meaning(alternatives),
        is_section=bool(below),
    )
    yield from below


def _allowed(alternatives: list[Node]) -> str | None:
    constants = [str(each["const"]) for each in alternatives if "const" in each]
    return ", ".join(constants) if constants else allowed_by(alternatives[0])


def _meaning(alternatives: list[Node]) -> str:
    if len(alternatives) == 1:
        return str(alternatives[0].get("description", ""))
    return " ".join(f"`{each['const']}`: {each.get('description', '')}" for each in alternatives)


def _default(node: Node) -> str | None:
    if "default" not in node:
        return None
    value = node["default"]
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_scalar(each)}" for key, each in value.items()) + "}"
    return _scalar(value)


def _scalar(value: object) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return "[" + ", ".join(_scalar(each) for each in value) + "]"
    return f"{value:g}" if isinstance(value, float) else json.dumps(value)


def _type(node: Node) -> str:
    if node.get("writeOnly"):
        return "secret"
    if node.get("format") == "path":
        return "file"
    if "enum" in node or "const" in node:
        return "word"
    if node.get("type") == "array":
        inner = child(node, 0)
        return "list of " + ("values" if inner is None else f"{_type(inner)}s".replace("texts", "text"))
    return _TYPES[str(node.get("type", "object"))]


def _is_nullable(node: Node) -> bool:
    return any(each.get("type") == "null" for each in node.get("anyOf", []))


def _kind_of(node: Node) -> object:
    return node.get("properties", {}).get("kind", {}).get("const")
