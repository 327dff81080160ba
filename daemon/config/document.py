"""Reads YAML text into plain values and remembers on which line each of them stands.

YAML 1.2's core schema, not PyYAML's 1.1: `on`, `off`, `yes`, `no`, `12:30`, `2026-01-01` and `012` are text, `1e3` is a
number. Duplicate keys, tags, merge keys and anything large or deep enough to hurt are problems, never surprises.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

Path = tuple[str | int, ...]
"""Where a value stands: keys and list positions from the top."""

Value = None | bool | int | float | str | list["Value"] | dict[str, "Value"]
"""All that a configuration can hold."""

BYTES_MAX = 1024 * 1024
VALUES_MAX = 50_000  # counted after aliases are followed, so that an alias bomb stops here
DEPTH_MAX = 24  # the deepest setting stands at 5
DIGITS_MAX = 40
_KEY_SHOWN_MAX = 60

_NUMBER_START = list("-+.0123456789")


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong, where it is, and what was expected instead."""

    path: Path
    text: str
    line: int | None = None

    def render(self, origin: str) -> str:
        """Return `file:line: path: text`, leaving out what is not known."""
        place = origin if self.line is None else f"{origin}:{self.line}"
        return ": ".join(part for part in (place, _on_one_line(dotted(self.path)), _on_one_line(self.text)) if part)


@dataclass(slots=True)
class Document:
    """A parsed file: its value, the line of every path in it, and what was wrong with it."""

    value: Value = None
    lines: dict[Path, int] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    unread: set[Path] = field(default_factory=set)  # where nothing stands because it could not be read

    def line_of(self, path: Path) -> int | None:
        """Return the line of `path`, or of the nearest thing around it."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path)


def dotted(path: Path) -> str:
    """Return a path as a person writes it: `groups[0].model.hidden`."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{_key_text(part)}" for part in path)
    return text.removeprefix(".")


def parse(text: str) -> Document:
    """Return what `text` says; its `problems` are empty only if every part of it could be read."""
    document = Document()
    try:
        node = _Loader(text).get_single_node()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = None if mark is None else mark.line + 1
        document.problems.append(Problem((), f"found text that is not YAML: {_without_quotes(error)}", line))
    except yaml.YAMLError:
        line = 1 + text.count("\n", 0, _first_unprintable(text))
        document.problems.append(
            Problem((), "found a character that YAML does not allow, expected printable text", line)
        )
    except (ValueError, OverflowError):
        document.problems.append(Problem((), "found an escape that is no character, expected \\U0010FFFF at most"))
    else:
        _Builder(document).build_root(node)
    return document


class _Loader(yaml.SafeLoader):
    """PyYAML's reader with YAML 1.2's idea of what a plain scalar means."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012 - PyYAML's own attribute
    depth = 0
    nodes = 0

    def compose_node(self, parent: Node | None, index: int) -> Node | None:
        self.depth += 1
        self.nodes += 1
        if self.depth > DEPTH_MAX or self.nodes > 2 * VALUES_MAX:  # keys are nodes too
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
            why = f"too much of it, at most {VALUES_MAX} values and {DEPTH_MAX} levels are read"
            raise yaml.composer.ComposerError(None, None, why, mark)
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node


def _implicit(tag: str, pattern: str, first: list[str]) -> None:
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{tag}", re.compile(rf"^(?:{pattern})$"), first)


_implicit("null", r"~|null|Null|NULL|", ["~", "n", "N", ""])
_implicit("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF"))
_implicit("int", r"[-+]?(?:0|[1-9][0-9]*)|0o[0-7]+|0x[0-9a-fA-F]+", _NUMBER_START)
_implicit("float", r"[-+]?(?:\.[0-9]+|(?:0|[1-9][0-9]*)(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?", _NUMBER_START)
_implicit("float", r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)", _NUMBER_START)


class _Builder:
    """Turns YAML's nodes into values, collecting problems on the way."""

    def __init__(self, document: Document) -> None:
        self.document = document
        self.values = 0
        self.is_too_large = False

    def build_root(self, node: Node | None) -> None:
        if node is None or (isinstance(node, ScalarNode) and node.tag.endswith(":null")):
            self.problem((), "found no settings, expected at least one; {} stands for the defaults", 1)
        elif not isinstance(node, MappingNode):
            self.problem((), "found no keys, expected sections such as kafka: and groups:", _line(node))
        else:
            value = self.build(node, ())
            if not self.is_too_large:
                self.document.value = value

    def build(self, node: Node, path: Path) -> Value:
        self.values += 1
        self.document.lines.setdefault(path, _line(node))
        if self.is_too_large or self.values > VALUES_MAX or len(path) > DEPTH_MAX:
            self.too_large(path)
            return None
        if isinstance(node, ScalarNode):
            return self.scalar(node, path)
        if isinstance(node, SequenceNode) and node.tag.endswith(":seq"):
            return [self.build(item, (*path, index)) for index, item in enumerate(node.value)]
        if isinstance(node, MappingNode) and node.tag.endswith(":map"):
            return self.mapping(node, path)
        return self.refuse(node, path, "a YAML tag")

    def mapping(self, node: MappingNode, path: Path) -> Value:
        built: dict[str, Value] = {}
        for key, key_line, value in self.keys(node, path):
            here = (*path, key)
            if key in built:
                first = self.document.lines[here]
                self.problem(here, f"found the key a second time (first on line {first}), expected it once", key_line)
            else:
                self.document.lines[here] = key_line
                built[key] = self.build(value, here)
        return built

    def keys(self, node: MappingNode, path: Path) -> Iterator[tuple[str, int, Node]]:
        for key, value in node.value:
            if key.tag != "tag:yaml.org,2002:str" or not isinstance(key, ScalarNode):
                self.problem(path, "found a key that is not text, expected a name (in quotes if need be)", _line(key))
            elif _has_surrogate(key.value):
                self.problem(path, "found a key with half of a surrogate pair, expected text", _line(key))
            else:
                yield key.value, _line(key), value

    def scalar(self, node: ScalarNode, path: Path) -> Value:
        read = _SCALARS.get(node.tag)
        try:
            return self.refuse(node, path, "a YAML tag") if read is None else read(node.value)
        except ValueError as error:
            return self.refuse(node, path, str(error))

    def refuse(self, node: Node, path: Path, found: str) -> Value:
        self.document.unread.add(path)
        self.problem(path, f"found {found}, expected a plain value", _line(node))
        return None

    def too_large(self, path: Path) -> None:
        if not self.is_too_large:
            wanted = f"at most {VALUES_MAX} values and {DEPTH_MAX} levels once aliases are followed"
            self.problem(path[:1], f"found too many values, expected {wanted}")
        self.is_too_large = True

    def problem(self, path: Path, text: str, line: int | None = None) -> None:
        at = self.document.line_of(path) if line is None else line
        self.document.problems.append(Problem(path, text, at))


def _null(_text: str) -> Value:
    return None


def _bool(text: str) -> Value:
    return {"true": True, "false": False}[text.lower()] if text.lower() in {"true", "false"} else text


def _int(text: str) -> Value:
    if len(text) > DIGITS_MAX:
        raise ValueError(f"a number of more than {DIGITS_MAX} digits")
    try:
        return int(text, 0)
    except ValueError:
        raise ValueError("what is no whole number") from None


def _float(text: str) -> Value:
    try:
        return float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))
    except ValueError:
        raise ValueError("what is no number") from None


def _str(text: str) -> Value:
    if _has_surrogate(text):
        raise ValueError("half of a surrogate pair")
    return text


_SCALARS = {
    "tag:yaml.org,2002:null": _null,
    "tag:yaml.org,2002:bool": _bool,
    "tag:yaml.org,2002:int": _int,
    "tag:yaml.org,2002:float": _float,
    "tag:yaml.org,2002:str": _str,
}


def _line(node: Node) -> int:
    return int(node.start_mark.line) + 1


def _has_surrogate(text: str) -> bool:
    return any("\ud800" <= character <= "\udfff" for character in text)


def _key_text(key: str) -> str:
    return key if len(key) <= _KEY_SHOWN_MAX else f"{key[:_KEY_SHOWN_MAX]}..."


def _on_one_line(text: str) -> str:
    return "".join(each if each.isprintable() else ascii(each)[1:-1] for each in text)


def _without_quotes(error: yaml.MarkedYAMLError) -> str:
    # What stands in quotes may be a piece of a password (`password: *abc`): only single characters and tokens stay.
    parts = (part for part in (error.context, error.problem) if part)
    return re.sub(r"'(?P<quoted>[^']*)'|\"[^\"]*\"", _if_harmless, ", ".join(parts))


def _if_harmless(found: re.Match[str]) -> str:
    quoted = found["quoted"] or ""
    is_harmless = len(quoted) == 1 or quoted.startswith("<") or re.fullmatch(r"\\.", quoted)
    return found[0] if is_harmless else "(...)"


def _first_unprintable(text: str) -> int:
    found = yaml.reader.Reader.NON_PRINTABLE.search(text)
    return 0 if found is None else found.start()
