"""A stream's canonical name is written from its labels, and read back into them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from daemon.stream_keys import labels_of, stream_key

names = st.from_regex(r"[a-zA-Z_:][a-zA-Z0-9_:.\-]*", fullmatch=True)


@given(name=names, labels=st.dictionaries(names.filter(lambda each: each != "name"), st.text(), max_size=5))
def test_labels_come_back_from_the_name_whatever_their_values_hold(name: str, labels: dict[str, str]) -> None:
    assert labels_of(stream_key(name, labels)) == {"name": name, **labels}


def test_the_order_of_labels_does_not_make_another_stream() -> None:
    assert stream_key("cpu", {"b": "2", "a": "1"}) == stream_key("cpu", {"a": "1", "b": "2"}) == 'cpu{a="1",b="2"}'


def test_a_stream_without_name_and_labels_has_a_name_too() -> None:
    assert stream_key("", {}) == "{}"
    assert labels_of("{}") == {}
