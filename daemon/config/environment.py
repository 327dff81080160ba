"""Puts environment variables into text values: `${NAME}`, `${NAME:-default}`, and `$${` for a literal `${`."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from daemon.config.document import Document, Path, Problem, Value

_REFERENCE = re.compile(r"\$\$\{|\$\{(?:(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?::-(?P<default>[^}]*))?\})?")


@dataclass(slots=True)
class Substituted:
    """A document's value with the variables put in."""

    value: Value = None
    touched: set[Path] = field(default_factory=set)  # what came out of the environment: it is never shown
    problems: list[Problem] = field(default_factory=list)


def substitute(document: Document, env: Mapping[str, str]) -> Substituted:
    """Return the document's value with every reference replaced; what cannot be replaced is a problem.

    What comes in stays text and is not read as YAML: a variable can add neither keys nor types.
    """
    result = Substituted()
    result.value = _walk(document.value, (), env, result)
    result.problems = [Problem(each.path, each.text, document.line_of(each.path)) for each in result.problems]
    return result


def _walk(value: Value, path: Path, env: Mapping[str, str], result: Substituted) -> Value:
    if isinstance(value, dict):
        return {key: _walk(each, (*path, key), env, result) for key, each in value.items()}
    if isinstance(value, list):
        return [_walk(each, (*path, index), env, result) for index, each in enumerate(value)]
    if isinstance(value, str) and "${" in value:
        return _text(value, path, env, result)
    return value


def _text(text: str, path: Path, env: Mapping[str, str], result: Substituted) -> str:
    result.touched.add(path)
    wrong = list(_wrong(text, env))
    result.problems += [Problem(path, each) for each in wrong]
    return text if wrong else _REFERENCE.sub(lambda found: _replacement(found, env), text)


def _wrong(text: str, env: Mapping[str, str]) -> Iterator[str]:
    for found in _REFERENCE.finditer(text):
        name = found["name"]
        if found[0] == "${":
            yield "found an unfinished ${, expected ${NAME} or ${NAME:-default} ($${ stands for a literal ${)"
        elif name is not None and name not in env and found["default"] is None:
            yield f"found ${{{name}}} but the variable {name} is not set, expected it in the environment or a default"
        elif name is not None and not env.get(name, "").isascii() and not _is_text(env[name]):
            yield f"found bytes in the variable {name} that are not UTF-8, expected text"


def _replacement(found: re.Match[str], env: Mapping[str, str]) -> str:
    if found["name"] is None:
        return "${"
    default = found["default"]
    # As in a shell, ":-" also stands in for a variable that is set but empty.
    return env[found["name"]] if default is None else env.get(found["name"]) or default


def _is_text(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
