"""Names that say nothing, promises to do it later, and traces of one machine have no place in the tree."""

from __future__ import annotations

import re

import pytest

from tests.house import tree

NAMELESS = {"utils", "util", "helpers", "misc", "common", "stuff"}
# Written so that this file does not find itself.
LATER = re.compile(r"\b(?:TO[D]O|FIX[M]E|XX[X])\b")
ONE_MACHINE = re.compile(r"(?<![\w.])/(?:wor[k]|roo[t]|hom[e]/\w+|User[s]/\w+|tm[p]/w)/")
OUTSIDE = re.compile(r"(?<![\w/-])(?:\.\./)*share[d]/")
REGISTRY = re.compile(
    r"py[p]i\.org|python[h]osted|rep[o]1?\.maven|maven\.apach[e]\.org/maven|npm[j]s\.org|proxy\.golan[g]|crate[s]\.io"
    r"|de[b]\.debian|docker[.]io|ghcr[.]io|qua[y]\.io|--(?:extra-)?inde[x]-url|--trusted-hos[t]|--find-link[s]"
)


def lines_with(pattern: re.Pattern[str]) -> list[str]:
    return [
        f"{path}:{number} {line.strip()[:100]}"
        for path, text in tree.texts()
        for number, line in enumerate(text.splitlines(), 1)
        if pattern.search(line)
    ]


def test_no_file_or_folder_is_named_for_nothing() -> None:
    named = [path for path in tree.files() if NAMELESS & {part.split(".")[0] for part in path.split("/")}]
    assert not named, tree.listed(named, "name it for what it knows")


def test_nothing_is_left_for_later() -> None:
    found = lines_with(LATER)
    assert not found, tree.listed(found)


def test_no_path_of_one_machine_is_written_down() -> None:
    found = lines_with(ONE_MACHINE)
    assert not found, tree.listed(found)


def test_nothing_outside_the_checkout_is_referred_to() -> None:
    found = lines_with(OUTSIDE)
    assert not found, tree.listed(found)


def test_no_registry_is_named() -> None:
    found = lines_with(REGISTRY)
    assert not found, tree.listed(found, "whoever installs decides where from")


def test_only_the_two_packages_are_packages() -> None:
    stray = [path for path in tree.files() if path.endswith("__init__.py") and not path.startswith(tree.PRODUCT)]
    assert not stray, "config/, deploy/ and tests/ must not become importable names"


@pytest.mark.parametrize(
    ("pattern", "line"),
    [
        (LATER, "# TO" + "DO: later"),
        (ONE_MACHINE, "open('/ro" + "ot/x/y')"),
        (ONE_MACHINE, "cd /ho" + "me/me/longwatch"),
        (OUTSIDE, "see ../sha" + "red/page.md"),
        (REGISTRY, "https://py" + "pi.org/simple"),
        (REGISTRY, "pip install --ind" + "ex-url x"),
    ],
)
def test_a_bad_word_is_seen(pattern: re.Pattern[str], line: str) -> None:
    assert pattern.search(line)


@pytest.mark.parametrize(
    ("pattern", "line"),
    [(ONE_MACHINE, "cd /usr/share/x"), (ONE_MACHINE, "daemon/ro" + "ot/x"), (OUTSIDE, "what is shared / bounded")],
)
def test_a_good_word_passes(pattern: re.Pattern[str], line: str) -> None:
    assert not pattern.search(line)
