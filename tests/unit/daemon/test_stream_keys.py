"""A stream's canonical name is written from its labels, and read back into them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from daemon.stream_keys import labels_of, stream_key

names = st.text(min_size=1) | st.from_regex(r"[a-zA-Z_:][a-zA-Z0-9_:.\-]*", fullmatch=True)
awkward = st.text('a="\\,{}\n', max_size=6)
label_names = names.filter(lambda each: each != "name") | awkward.filter(bool)


@given(name=names | awkward, labels=st.dictionaries(label_names, st.text() | awkward, max_size=5))
def test_name_and_labels_come_back_whatever_they_hold(name: str, labels: dict[str, str]) -> None:
    assert labels_of(stream_key(name, labels)) == {**({"name": name} if name else {}), **labels}


def test_no_label_can_pass_for_two_and_no_name_for_one_with_labels() -> None:
    keys = [
        stream_key("cpu", {"a": "1", "b": "2"}),
        stream_key("cpu", {'a="1",b': "2"}),
        stream_key("cpu", {"a": '1",b="2'}),
        stream_key('cpu{a="1",b="2"}', {}),
        stream_key("", {"a": "1", "b": "2"}),
        stream_key("{}", {}),
        stream_key("", {}),
    ]
    assert len(set(keys)) == len(keys)


def test_the_order_of_labels_does_not_make_another_stream() -> None:
    assert stream_key("cpu", {"b": "2", "a": "1"}) == stream_key("cpu", {"a": "1", "b": "2"}) == 'cpu{a="1",b="2"}'


def test_a_stream_without_name_and_labels_has_a_name_too() -> None:
    assert stream_key("", {}) == "{}"
    assert labels_of("{}") == {}
