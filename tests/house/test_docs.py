"""The documentation can be walked: every link arrives, every page is in the index, every target is real."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import PurePosixPath

import pytest

from tests.house import tree

FIRST_SCREEN_LINES = 40
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
FENCE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)


def read(path: str) -> str:
    return (tree.ROOT / path).read_text(encoding="utf-8")


def pages() -> list[str]:
    return [path for path in tree.files() if path.endswith(".md")]


def links(text: str) -> list[str]:
    """Return the targets of a page's links; code is not a page."""
    prose = re.sub(r"`[^`\n]*`", "", FENCE.sub("", text))
    return [target for target in LINK.findall(prose) if not re.match(r"[a-z]+:", target)]


def anchors(text: str) -> set[str]:
    """Return what `#...` may point at: the headings, in lower case, without punctuation, with hyphens."""
    headings = re.findall(r"^#+ (.*)$", FENCE.sub("", text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def dead(page: str, text: str) -> Iterator[str]:
    """Yield each link of `page` that does not arrive."""
    for target in links(text):
        path, _, anchor = target.partition("#")
        place = _resolved(PurePosixPath(page).parent / path) if path else page
        if not (tree.ROOT / place).exists():
            yield f"{page}: {target} is not there"
        elif anchor and anchor not in anchors(read(place) if path else text):
            yield f"{page}: {target} has no such heading"


def _resolved(path: PurePosixPath) -> str:
    parts: list[str] = []
    for part in path.parts:
        if part != "..":
            parts.append(part)
        elif parts:
            parts.pop()
    return "/".join(parts)


def commands(text: str) -> list[str]:
    """Return the shell commands that a page's fenced blocks show."""
    blocks = re.findall(r"^```(?:sh|bash|shell|console)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    lines = [line.strip() for block in blocks for line in block.splitlines()]
    prompted = [line for line in lines if line.startswith("$ ")]
    return prompted or [line for line in lines if line and not line.startswith("#")]


def test_every_link_arrives() -> None:
    faults = [fault for page in pages() for fault in dead(page, read(page))]
    assert not faults, tree.listed(faults)


def test_first_screen_of_the_readme_shows_two_commands() -> None:
    screen = "\n".join(read("README.md").splitlines()[:FIRST_SCREEN_LINES])
    assert len(commands(screen)) == 2


def test_every_make_target_that_a_page_names_exists() -> None:
    targets = set(re.findall(r"^([a-z]+):", read("Makefile"), re.MULTILINE))
    named = {target for page in pages() for target in re.findall(r"`make ([a-z]+)", read(page))}
    assert named
    assert named <= targets, tree.listed(named - targets)


def test_every_page_is_in_the_index() -> None:
    index = {_resolved(PurePosixPath("docs") / link.partition("#")[0]) for link in links(read("docs/README.md"))}
    written = {page for page in pages() if re.fullmatch(r"docs/[^/]+\.md", page)} - {"docs/README.md"}
    assert written <= index, tree.listed(written - index, "name it in docs/README.md")


def test_every_decision_is_numbered_and_listed() -> None:
    decisions = [PurePosixPath(page).name for page in pages() if re.match(r"docs/decisions/\d", page)]
    listed = links(read("docs/decisions/README.md"))
    wrong = [name for name in decisions if not read(f"docs/decisions/{name}").startswith(f"# {int(name[:4])}. ")]
    assert len({name[:4] for name in decisions}) == len(decisions)
    assert sorted(listed) == sorted(decisions)
    assert not wrong, "a decision begins with `# <number>. <what was decided>`"


def test_changelog_has_a_place_for_what_comes_next() -> None:
    assert read("CHANGELOG.md").count("\n## [Unreleased]\n") == 1


@pytest.mark.parametrize(
    ("text", "faults"),
    [
        ("[a](CONTRIBUTING.md)", 0),
        ("[a](no-such-page.md)", 1),
        ("[a](#here)\n\n# Here", 0),
        ("[a](#there)\n\n# Here", 1),
        ("`[a](no-such-page.md)`", 0),
        ("```\n[a](no-such-page.md)\n```", 0),
        ("[a](docs/../CONTRIBUTING.md)", 0),
    ],
)
def test_a_dead_link_is_seen(text: str, faults: int) -> None:
    assert len(list(dead("CONTRIBUTING.md", text))) == faults
