"""Calls that are not made in this house, and what is called instead."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass

from tests.house import tree

TALKS_TO_A_PERSON = ("daemon/cli.py", "daemon/commands/", "daemon/demo/", "benchmarks/")
CORE = (
    "detectors/",
    "daemon/engine.py",
    "daemon/alerts.py",
    "daemon/codec.py",
    "daemon/state.py",
    "daemon/types.py",
    "daemon/events.py",
    "daemon/formats/",
)
PRODUCT = ("daemon/", "detectors/")
EVERYWHERE = ("",)


@dataclass(frozen=True, slots=True)
class Ban:
    """A banned call by its full name (a final dot: everything below it), what to call instead, and where it holds."""

    name: str
    instead: str
    where: tuple[str, ...] = EVERYWHERE
    but_for: tuple[str, ...] = ()

    def hits(self, path: str, name: str) -> bool:
        """Whether calling or importing `name` at `path` is what this bans."""
        same = name == self.name or (self.name.endswith(".") and f"{name}.".startswith(self.name))
        return same and path.startswith(self.where) and not (self.but_for and path.startswith(self.but_for))


BANS = (
    Ban("print", "emit an event, or return text to daemon.cli", PRODUCT, TALKS_TO_A_PERSON),
    Ban("eval", "parse it"),
    Ban("exec", "call it"),
    Ban("pickle.", "safetensors for arrays, msgspec for records"),
    Ban("marshal.", "safetensors for arrays, msgspec for records"),
    Ban("shelve.", "safetensors for arrays, msgspec for records"),
    Ban("torch.load", "safetensors.torch.load: an artefact must not run code"),
    Ban("torch.save", "safetensors.torch.save: an artefact must not run code"),
    Ban("yaml.load", "daemon.config, which refuses duplicate keys and tags"),
    Ban("os.system", "subprocess.run with a list"),
    Ban("time.sleep", "threading.Event.wait(timeout), which a stop can end"),
    Ban("unittest.mock.", "daemon.memory or a small object of your own"),
    Ban("mock.", "daemon.memory or a small object of your own"),
    Ban("datetime.datetime.utcnow", "datetime.now(tz=UTC)"),
    Ban("datetime.datetime.now", "take the time as an argument", CORE),
    Ban("time.", "take the time as an argument", CORE, ("detectors/fit.py",)),  # its argument `clock` has a default
    Ban("random.", "take a seeded numpy Generator as an argument", CORE),
    Ban("numpy.random.seed", "take a seeded numpy Generator as an argument"),
    Ban("torch.manual_seed", "take a seeded torch.Generator as an argument", PRODUCT),
    Ban("threading.", "the core is called; it does not run", CORE),
    Ban("os.getenv", "a setting in daemon.config", PRODUCT),
)


def called(source: tree.Source) -> Iterator[tuple[int, str]]:
    """Yield line and full name of everything that is called or imported, whatever it was renamed to."""
    names = dict(_imported(source.tree))
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Call):
            name = _dotted(node.func)
            head, dot, rest = name.partition(".")
            yield node.lineno, names.get(head, head) + dot + rest
        elif isinstance(node, ast.Import | ast.ImportFrom):
            for name in dict(_imported(node)).values():
                yield node.lineno, name


def _imported(tree_: ast.AST) -> Iterator[tuple[str, str]]:
    for node in ast.walk(tree_):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield (alias.asname, alias.name) if alias.asname else (alias.name.split(".")[0],) * 2
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                yield alias.asname or alias.name, f"{node.module}.{alias.name}"


def _dotted(node: ast.expr) -> str:
    match node:
        case ast.Name(id=name):
            return name
        case ast.Attribute(value=value, attr=name):
            return f"{_dotted(value)}.{name}"
        case _:
            return "?"  # the result of another call: its name is not known here


def broken(source: tree.Source) -> Iterator[str]:
    """Yield, for each banned call of `source`, where it is and what to call instead."""
    for line, name in called(source):
        for ban in BANS:
            if ban.hits(source.path, name):
                yield f"{source.path}:{line} {name}: instead, {ban.instead}"
