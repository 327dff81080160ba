"""YAML is read as version 1.2 says, and every value knows its line."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.config.document import Document, Value, dotted, parse


@pytest.mark.parametrize("text", ["on", "off", "yes", "no", "y", "N", "12:30", "1:30:00", "012", "1_000", "2026-03-01"])
def test_what_yaml_1_1_changes_stays_text(text: str) -> None:
    assert parse(f"key: {text}").value == {"key": text}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e3", 1000.0),
        ("-1.5E-2", -0.015),
        (".5", 0.5),
        ("5.", 5.0),
        ("0", 0),
        ("-7", -7),
        ("0x1F", 31),
        ("0o17", 15),
        ("true", True),
        ("False", False),
        ("null", None),
        ("~", None),
        ("", None),
        ("'1'", "1"),
        ("!!str 1", "1"),
        (".inf", float("inf")),
    ],
)
def test_a_plain_value_is_what_yaml_1_2_says(text: str, value: Value) -> None:
    parsed = parse(f"key: {text}").value
    assert parsed == {"key": value}
    assert isinstance(parsed, dict)
    assert type(parsed["key"]) is type(value)


def test_every_key_and_entry_has_its_line() -> None:
    document = parse("a:\n  - 1\n  - b: 2\n\nc: {d:\n  3}\n")
    assert document.line_of(("a", 0)) == 2
    assert document.line_of(("a", 1, "b")) == 3
    assert document.line_of(("c", "d")) == 5


def test_what_is_missing_has_the_line_of_what_is_around_it() -> None:
    assert parse("a: 1\nb:\n  c: 1\n").line_of(("b", "d", "e")) == 2


def test_of_two_equal_keys_the_first_one_counts() -> None:
    document = parse("a: 1\na: 2\n")
    assert document.value == {"a": 1}
    assert [problem.line for problem in document.problems] == [2]


def test_half_of_a_surrogate_pair_is_a_problem() -> None:
    assert [problem.path for problem in parse('a: "\\ud800"').problems] == [("a",)]


def test_an_escape_beyond_unicode_is_a_problem() -> None:
    assert parse('a: "\\UFFFFFFFF"').problems


def test_a_path_reads_as_an_operator_writes_it() -> None:
    assert dotted(("groups", 0, "model", "hidden")) == "groups[0].model.hidden"


@given(st.text(max_size=200))
def test_any_text_is_a_document_or_has_problems(text: str) -> None:
    document = parse(text)
    assert isinstance(document, Document)
    assert document.problems or isinstance(document.value, dict)
