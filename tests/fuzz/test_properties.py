"""Trees of any shape, made rather than damaged: the formats, the names of streams, the matchers, the tables."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from daemon.config.matchers import Matcher, parse_matcher
from daemon.stream_keys import labels_of, stream_key
from tests.fuzz import input_readers
from tests.fuzz.engine import Reader, Tally, tried
from tests.fuzz.readers import opened

EXAMPLES = 60
KEYS = st.sampled_from(["timestamp", "name", "labels", "tags", "value", "values", "fields", "metrics", "cpu", "label"])
LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.just(1_700_000_000)
TREES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS | st.text(max_size=3), inner, max_size=5),
    max_leaves=20,
)
NAMES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters='=,{}"\\'), min_size=1, max_size=8)
VALUES = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)

quietly = settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@pytest.fixture(scope="module")
def readers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mapping[str, Reader]]:
    """Return every reader by name."""
    with opened(tmp_path_factory.mktemp("properties")) as found:
        yield found


def escape_of(reader: Reader, data: bytes) -> str | None:
    found = tried(reader, 0, 0, data, Tally(reader.name))
    return None if isinstance(found, str) else str(found)


@pytest.mark.parametrize("name", [f"format {name}" for name in input_readers.formats()])
def test_any_tree_is_read_or_refused(readers: Mapping[str, Reader], name: str) -> None:
    @quietly
    @given(tree=TREES)
    def holds(tree: object) -> None:
        assert escape_of(readers[name], json.dumps(tree).encode()) is None

    holds()


@pytest.mark.parametrize("name", ["score", "alert", "evidence", "table JSON lines"])
def test_any_object_is_read_or_refused(readers: Mapping[str, Reader], name: str) -> None:
    told = json.loads(readers[name].examples[0].splitlines()[0])

    @quietly
    @given(changes=st.dictionaries(st.sampled_from(sorted(told)), TREES, max_size=3))
    def holds(changes: Mapping[str, object]) -> None:
        assert escape_of(readers[name], json.dumps({**told, **changes}).encode()) is None

    holds()


@quietly
@given(name=NAMES, labels=st.dictionaries(NAMES.filter(lambda name: name != "name"), VALUES, max_size=4))
def test_a_streams_name_gives_back_its_labels(name: str, labels: Mapping[str, str]) -> None:
    assert labels_of(stream_key(name, labels)) == {"name": name, **labels}


@quietly
@given(label=st.from_regex(r"[A-Za-z_][A-Za-z0-9_.]{0,8}", fullmatch=True), value=VALUES)
def test_a_matcher_that_is_written_reads_the_same(label: str, value: str) -> None:
    matcher = Matcher(label, "=", value)
    found = parse_matcher(str(matcher))
    assert found == matcher
    assert found.matches({label: value})
