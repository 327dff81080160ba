"""What is installed is what was resolved: every dependency is pinned, hashed, and in the list for a reason."""

from __future__ import annotations

import re
import tomllib

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.house import tree

PROJECT = tomllib.loads((tree.ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
PIN = re.compile(r"^([a-z0-9-]+)==(\S+)", re.MULTILINE)
LOCKS = ("run", "dev")


def lock(name: str) -> str:
    return (tree.ROOT / "requirements" / f"{name}.txt").read_text(encoding="utf-8")


def declared(name: str) -> list[Requirement]:
    """Return what pyproject.toml asks of the lock `name`; the project's own extras are followed."""
    texts = list(PROJECT["dependencies"])
    if name == "dev":
        texts += [text for extra in PROJECT["optional-dependencies"].values() for text in extra]
    return [each for each in map(Requirement, texts) if each.name != PROJECT["name"]]


@pytest.mark.parametrize("name", LOCKS)
def test_every_dependency_is_locked_within_its_range(name: str) -> None:
    pins = dict(PIN.findall(lock(name)))
    outside = [str(each) for each in declared(name) if not each.specifier.contains(pins[canonicalize_name(each.name)])]
    assert not outside, tree.listed(outside, "run `make lock`")


@pytest.mark.parametrize("name", LOCKS)
def test_every_pin_carries_hashes_and_nothing_else(name: str) -> None:
    text = lock(name)
    lines = [line for line in text.splitlines() if line]
    strange = [line for line in lines if not PIN.match(line) and not re.match(r"    --hash=sha256:[0-9a-f]{64}", line)]
    bare = [pin for pin in text.split("\n\n")[0].splitlines() if PIN.match(pin) and not pin.endswith("\\")]
    assert not strange, tree.listed(strange)
    assert not bare, tree.listed(bare)


def test_both_locks_agree() -> None:
    run, dev = (set(PIN.findall(lock(name))) for name in LOCKS)
    assert run <= dev, "run `make lock`"


def test_every_dependency_has_its_reason() -> None:
    reasons = (tree.ROOT / "docs/decisions/0007-dependencies.md").read_text(encoding="utf-8").lower()
    missing = [each.name for each in declared("dev") if f"| `{each.name.lower()}" not in reasons]
    assert not missing, tree.listed(missing, "add a row to docs/decisions/0007-dependencies.md")
