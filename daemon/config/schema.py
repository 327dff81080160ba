"""The settings as a JSON Schema, for editors that check and complete YAML, and for our own questions about a key."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

from daemon.config.model import Config

Node = dict[str, Any]
"""A piece of JSON Schema."""

_DIALECT = "http://json-schema.org/draft-07/schema#"  # the newest that YAML language servers know


def schema() -> Node:
    """Return the JSON Schema (draft 7) of a configuration file; the caller may keep and change it."""
    generated = Config.model_json_schema()
    definitions = {name: _tidied(node) for name, node in generated.pop("$defs").items()}
    top = _tidied(generated) | {"title": "Longwatch configuration", "description": "Settings of the longwatch daemon."}
    return {"$schema": _DIALECT, **top, "definitions": definitions}


def schema_text() -> str:
    """Return the schema as the file that ships."""
    return json.dumps(schema(), indent=2) + "\n"


def _tidied(node: Any) -> Any:
    if isinstance(node, list):
        return [_tidied(each) for each in node]
    if not isinstance(node, dict):
        return node.replace("#/$defs/", "#/definitions/") if isinstance(node, str) else node
    kept = {key: _tidied(value) for key, value in node.items() if not _is_noise(key, value, node)}
    if isinstance(kept.get("description"), str):
        kept["description"] = " ".join(kept["description"].split())
    return kept


def _is_noise(key: str, value: object, node: Node) -> bool:
    # `title` repeats the key; a section's default repeats its keys' defaults; `discriminator` is not JSON Schema's.
    is_section = "$ref" in node or (isinstance(value, list) and any(isinstance(each, dict) for each in value))
    return (
        (key == "title" and isinstance(value, str))
        or key == "discriminator"
        or (key == "default" and (is_section or value == {}))
    )


@cache
def _shared() -> Node:
    return schema()


def root() -> Node:
    """Return the schema's top, shared: do not change it."""
    return _shared()


def resolved(node: Node) -> Node:
    """Return `node` with its reference followed; what stands beside the reference wins."""
    reference = node.get("$ref")
    if reference is None:
        return node
    target: Node = root()["definitions"][str(reference).rpartition("/")[2]]
    return target | {key: value for key, value in node.items() if key != "$ref"}


def variants(node: Node) -> list[Node]:
    """Return the alternatives that `node` allows, without null; a node without alternatives is its own only one."""
    node = resolved(node)
    alternatives = node.get("oneOf") or node.get("anyOf")
    if alternatives is None:
        return [node]
    return [resolved(each) for each in alternatives if each.get("type") != "null"]


def child(node: Node, part: str | int) -> Node | None:
    """Return what the schema says of the key or list position `part` below `node`, None when it knows nothing."""
    for variant in variants(node):
        if isinstance(part, int):
            found = variant.get("items")
        else:
            found = variant.get("properties", {}).get(part) or variant.get("additionalProperties")
        if isinstance(found, dict):
            return resolved(found)
    return None
