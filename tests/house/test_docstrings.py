"""Every public name says in one sentence what it is for."""

from __future__ import annotations

import ast
from collections.abc import Iterator

import pytest

from tests.house import tree

Documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


def public(source: tree.Source) -> Iterator[tuple[str, Documented]]:
    """Yield name and node of the module, its public classes and functions, and the public methods of those classes."""
    yield source.path, source.tree
    for node in source.tree.body:
        if isinstance(node, tree.Function | ast.ClassDef) and not node.name.startswith("_"):
            yield f"{source.path}:{node.lineno} {node.name}", node
            yield from _members(source, node)


def _members(source: tree.Source, owner: ast.stmt) -> Iterator[tuple[str, Documented]]:
    if isinstance(owner, ast.ClassDef):
        for node in owner.body:
            if isinstance(node, tree.Function) and not node.name.startswith("_") and not _declared(node):
                yield f"{source.path}:{node.lineno} {owner.name}.{node.name}", node


def _declared(function: tree.Function) -> bool:
    """Whether `function` is only declared: in a protocol, the class says what it stands for."""
    match function.body:
        case [ast.Expr(value=ast.Constant(value=value))]:
            return value is ...
        case _:
            return False


def fault(node: Documented) -> str | None:
    """Return what is wrong with the docstring of `node`, None when nothing is."""
    text = ast.get_docstring(node)
    if not text:
        return "has no docstring"
    first = text.split("\n\n")[0]
    if not first.rstrip().endswith((".", ":", "?")):
        return "does not begin with a sentence"
    return None


def test_every_public_name_has_a_docstring() -> None:
    faults = [
        f"{name} {wrong}"
        for source in tree.product()
        for name, node in public(source)
        if (wrong := fault(node)) is not None
    ]
    assert not faults, tree.listed(faults)


def test_every_module_begins_with_one_sentence() -> None:
    silent = [each.path for each in tree.sources() if each.lines and fault(each.tree) is not None]
    assert not silent, tree.listed(silent)


@pytest.mark.parametrize(
    ("text", "faults"),
    [
        ('"""Says it."""\ndef f():\n    """Return one."""', 0),
        ('"""Says it."""\ndef f(): ...', 1),
        ('"""Says it."""\ndef _f(): ...', 0),
        ('"""Says it."""\nclass C:\n    """Counts."""\n    def m(self): return 1', 1),
        ('"""Says it."""\nclass C(Protocol):\n    """Counts."""\n    def m(self): ...', 0),
        ("x = 1", 1),
        ('"""no sentence"""', 1),
    ],
)
def test_a_missing_sentence_is_seen(text: str, faults: int) -> None:
    found = [name for name, node in public(tree.source("daemon/sample.py", text)) if fault(node)]
    assert len(found) == faults
