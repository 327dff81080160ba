"""Matchers mean what they mean in Prometheus."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.config.matchers import Matcher, MatcherError, parse_matcher


@pytest.mark.parametrize(
    ("text", "labels", "matches"),
    [
        ('job="api"', {"job": "api"}, True),
        ('job="api"', {"job": "apis"}, False),
        ('job="api"', {}, False),
        ('job=""', {}, True),
        ('job!="api"', {}, True),
        ('job!="api"', {"job": "api"}, False),
        ('host=~"web-.*"', {"host": "web-1"}, True),
        ('host=~"web"', {"host": "web-1"}, False),
        ('host=~"web|db"', {"host": "dbx"}, False),
        ('host=~"a.b"', {"host": "a\nb"}, True),
        ('host!~"web-.*"', {"host": "web-1"}, False),
        ('host!~"web-.*"', {}, True),
        (r'host=~"a\.b"', {"host": "axb"}, False),
        (r'host=~"a\\.b"', {"host": "a.b"}, True),
        (r'host="a\"b"', {"host": 'a"b'}, True),
        ("host='a'", {"host": "a"}, True),
        (' host = "a" ', {"host": "a"}, True),
        ('k8s.pod-name/id="a"', {"k8s.pod-name/id": "a"}, True),
        ('"größe"="1"', {"größe": "1"}, True),
    ],
)
def test_a_matcher_means_what_it_means_in_prometheus(text: str, labels: dict[str, str], *, matches: bool) -> None:
    assert parse_matcher(text).matches(labels) is matches


@pytest.mark.parametrize("text", ["", "job", "job=api", 'job=="api"', '="api"', 'job="api', 'a="b",c="d"', '1a="b"'])
def test_what_is_no_matcher_says_how_one_looks(text: str) -> None:
    with pytest.raises(MatcherError, match="one matcher such as"):
        parse_matcher(text)


@pytest.mark.parametrize("pattern", ["(", "[a", "*", "(?<a>b)", "a{2,1}", "[[a]]"])
def test_a_pattern_that_cannot_be_read_is_refused(pattern: str) -> None:
    with pytest.raises(MatcherError, match="regular expression"):
        parse_matcher(f'host=~"{pattern}"')


def test_a_matcher_of_endless_length_is_refused() -> None:
    with pytest.raises(MatcherError, match="at most 1000 characters"):
        parse_matcher(f'host="{"a" * 1000}"')


@given(st.from_regex(r"[a-z_][a-z0-9_.-]{0,9}", fullmatch=True), st.sampled_from(["=", "!="]), st.text(max_size=40))
def test_a_written_matcher_reads_as_itself(label: str, operator: str, value: str) -> None:
    matcher = Matcher(label, "=" if operator == "=" else "!=", value)
    assert parse_matcher(str(matcher)) == matcher


@given(st.text(max_size=60))
def test_any_text_is_a_matcher_or_refused(text: str) -> None:
    with suppress(MatcherError):
        assert isinstance(parse_matcher(text).matches({"a": text}), bool)
