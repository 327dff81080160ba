"""The checkout as the house rules see it: every file that belongs to it, and the Python among them, parsed once."""

from __future__ import annotations

import ast
import functools
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PRODUCT = ("daemon", "detectors")
LEFT_BY_TOOLS = {".git", ".venv", "build", "dist", "__pycache__"}
Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True, slots=True)
class Source:
    """One Python file: `path` from the root with slashes, its lines, its syntax tree."""

    path: str
    lines: tuple[str, ...]
    tree: ast.Module

    @property
    def product(self) -> bool:
        """Whether it ships to users."""
        return self.path.startswith(tuple(f"{package}/" for package in PRODUCT))


@functools.cache
def files() -> tuple[str, ...]:
    """Return every file of the checkout, from the root with slashes, without what tools leave behind."""
    return tuple(sorted(_walk()))


def _walk() -> Iterator[str]:
    for folder, folders, names in os.walk(ROOT):
        folders[:] = [name for name in folders if not _left_by_tools(name)]
        for name in names:
            yield (Path(folder) / name).relative_to(ROOT).as_posix()


def _left_by_tools(folder: str) -> bool:
    return folder in LEFT_BY_TOOLS or folder.endswith((".egg-info", "_cache")) or folder == ".hypothesis"


@functools.cache
def sources() -> tuple[Source, ...]:
    """Return every Python file of the checkout."""
    return tuple(source(path, (ROOT / path).read_text(encoding="utf-8")) for path in files() if path.endswith(".py"))


def product() -> tuple[Source, ...]:
    """Return the Python files that ship to users."""
    return tuple(each for each in sources() if each.product)


def source(path: str, text: str) -> Source:
    """Return `text` as if it stood at `path`."""
    return Source(path, tuple(text.splitlines()), ast.parse(text, path))


def functions(source: Source) -> Iterator[Function]:
    """Yield every function and method, nested ones too."""
    for node in ast.walk(source.tree):
        if isinstance(node, Function):
            yield node


def code_lines(function: Function) -> int:
    """Return how long a function is, in lines, from `def` to its end and without its docstring."""
    first = function.body[0]
    docstring = 0
    if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str):
        docstring = (first.end_lineno or first.lineno) - first.lineno + 1
    return (function.end_lineno or function.lineno) - function.lineno + 1 - docstring


def parameters(function: Function) -> int:
    """Return how many things a caller may pass, `self` and `cls` not counted."""
    named = [*function.args.posonlyargs, *function.args.args]
    bound = bool(named) and named[0].arg in {"self", "cls"}
    return len(named) - bound + len(function.args.kwonlyargs)


def listed(faults: Iterable[str], advice: str = "") -> str:
    """Return the message of a house rule that is broken: each place on its line, and what to do."""
    return "\n".join([advice, *faults])


def texts() -> Iterator[tuple[str, str]]:
    """Yield path and text of every text file of the checkout."""
    for path in files():
        try:
            yield path, (ROOT / path).read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
