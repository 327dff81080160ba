"""What this house does not call, catch or share, it does not call, catch or share anywhere."""

from __future__ import annotations

import ast

import pytest

from tests.house import calls, tree

BROAD = {"Exception", "BaseException"}


def broad(handler: ast.ExceptHandler) -> bool:
    """Whether `handler` catches what nobody has thought of."""
    if handler.type is None:
        return True
    kinds = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
    return any(isinstance(kind, ast.Name) and kind.id in BROAD for kind in kinds)


def justified(source: tree.Source, handler: ast.ExceptHandler) -> bool:
    """Whether `handler` raises again, or a comment beside it says why it does not."""
    raises = any(isinstance(node, ast.Raise) for node in ast.walk(handler))
    around = source.lines[handler.lineno - 2 : handler.body[0].lineno]
    return raises or any("#" in line.replace("# noqa", "") for line in around)


def swallowed(source: tree.Source) -> list[str]:
    """Return the places of `source` where an unknown error disappears without a reason."""
    return [
        f"{source.path}:{node.lineno}"
        for node in ast.walk(source.tree)
        if isinstance(node, ast.ExceptHandler) and broad(node) and not justified(source, node)
    ]


def test_no_banned_call_is_made() -> None:
    found = [place for source in tree.sources() for place in calls.broken(source)]
    assert not found, tree.listed(found)


def test_no_unknown_error_disappears_without_a_reason() -> None:
    found = [place for source in tree.sources() for place in swallowed(source)]
    assert not found, tree.listed(found, "name the error, raise it again, or say beside it why it ends here")


def test_no_function_changes_a_global() -> None:
    found = [
        f"{source.path}:{node.lineno}"
        for source in tree.sources()
        for node in ast.walk(source.tree)
        if isinstance(node, ast.Global)
    ]
    assert not found, tree.listed(found, "pass it in, and return what became of it")


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("daemon/loop.py", "print(1)"),
        ("daemon/engine.py", "from time import monotonic as m\nm()"),
        ("detectors/fit.py", "import random"),
        ("detectors/fit.py", "import datetime as d\nd.datetime.now()"),
        ("tests/unit/test_a.py", "from unittest import mock"),
        ("tests/unit/test_a.py", "import time\ntime.sleep(1)"),
        ("daemon/models.py", "import torch as t\nt.load('x')"),
        ("daemon/models.py", "from pickle import loads"),
    ],
)
def test_a_banned_call_is_seen_under_any_name(path: str, text: str) -> None:
    assert list(calls.broken(tree.source(path, text)))


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("daemon/cli.py", "print(1)"),
        ("daemon/loop.py", "import time\ntime.monotonic()"),
        ("daemon/engine.py", "x.time()"),
        ("detectors/fit.py", "import numpy as np\nnp.random.default_rng(0)"),
    ],
)
def test_what_is_allowed_is_not_seen(path: str, text: str) -> None:
    assert not list(calls.broken(tree.source(path, text)))


@pytest.mark.parametrize(
    ("handler", "found"),
    [
        ("except Exception:\n    pass", True),
        ("except:\n    pass", True),
        ("except (OSError, BaseException):\n    pass", True),
        ("except Exception:  # noqa: BLE001\n    pass", True),
        ("except Exception:\n    raise ValueError from None", False),
        ("except Exception:  # a sink must never end the loop\n    pass", False),
        ("except OSError:\n    pass", False),
    ],
)
def test_a_swallowed_error_is_seen(handler: str, found: bool) -> None:
    assert bool(swallowed(tree.source("sample.py", f"try:\n    f()\n{handler}"))) == found
