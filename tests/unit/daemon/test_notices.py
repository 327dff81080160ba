"""What a receiver is told: labels that stay the same while an alert does, and words that say what happened."""

from __future__ import annotations

from dataclasses import replace
from urllib.parse import unquote_to_bytes, urlsplit

import pytest

from daemon.inquiry import Inquiries
from daemon.notices import VALUE_CHARS_MAX, Wording, fingerprint, moment, notice
from daemon.stream_keys import labels_of, stream_key
from daemon.stream_pages import StreamPages, _stream_of
from tests.told import FEATURES, START_MS, STREAM, event


def test_an_open_alert_says_what_came_what_was_expected_and_how_to_ask_on() -> None:
    told = notice(event(), Wording(pages_url="https://pages"))
    assert dict(told.labels) == {
        "alertname": "LongwatchAnomaly",
        "severity": "warning",
        "group": "web",
        "stream": STREAM,
        "name": "load",
        "host": "web-7",
    }
    assert told.annotations == {
        "summary": 'load{host="web-7"}: queue is 17.9, expected 7.27 (5.2 to 9.34)',
        "description": "Score 4.68922, highest 4.68922; 1.0 is the limit. busy: 38.6, expected 36.9 (31.7 to 42.1), "
        "25% of the error.",
        "alert_id": event().alert_id,
        "score": "4.68922",
        "max_score": "4.68922",
        "direction": "up",
        "explain": f"longwatch explain {event().alert_id[:8]}",
    }
    assert (told.starts_ms, told.ends_ms) == (START_MS, None)
    assert told.link == "https://pages/streams/load%7Bhost%3D%22web-7%22%7D/state?group=web"


@pytest.mark.parametrize("stream", [STREAM, 'load{path="/a b?c#d%2F"}', "wéb/state"])
def test_the_link_leads_to_the_page_of_the_stream(stream: str) -> None:
    asked = urlsplit(notice(event(stream=stream, labels=labels_of(stream)), Wording(pages_url="https://pages")).link)
    path = unquote_to_bytes(asked.path).decode("latin-1")  # as WSGI gives it
    inquiries = Inquiries(lambda _event: None)
    page = StreamPages(inquiries, answer_seconds=0.0).answer(path, asked.query)
    assert page.status == "503 Service Unavailable"  # it is a page, and nobody is there to answer
    assert _stream_of(path) == stream


def test_what_changes_while_an_alert_is_open_is_no_label() -> None:
    worse = event("update", score=9.0, max_score=9.0, detected_at_ms=START_MS + 5, features=FEATURES[1:])
    over = event("close", score=0.1)
    again = event(at_ms=START_MS + 10**6)
    assert len({notice(each, Wording()).labels for each in (event(), worse, over, again)}) == 1


def test_a_closed_alert_says_why_and_when() -> None:
    told = notice(event("close"), Wording())
    assert told.annotations["summary"] == f"{STREAM}: over (recovered)"
    assert told.ends_ms == START_MS + 60_000


def test_a_silence_and_a_guard_rail_are_alerts_of_other_names() -> None:
    silent = event(
        rule="silence", reason="silence", score=None, max_score=None, features=[], threshold={"patience_seconds": 90.0}
    )
    told = notice(silent, Wording())
    assert dict(told.labels)["alertname"] == "LongwatchSilence"
    assert told.annotations["summary"] == f"{STREAM}: no samples since 2023-11-14T22:13:20.000Z"
    assert told.annotations["description"].endswith("it counts as silent after 90.0 s.")
    assert "score" not in told.annotations
    guarded = notice(event(rule="guard", reason="guard"), Wording())
    assert (
        guarded.annotations["summary"] == f"{STREAM}: queue is beyond its guard rail, 17.9, expected 7.27 (5.2 to 9.34)"
    )


def test_labels_have_names_that_every_receiver_takes_and_none_of_ours_is_taken() -> None:
    stream = stream_key("load", {"k8s.pod/name": "a", "7up": "b", "severity": "high", "team": "theirs", "": "c"})
    told = dict(notice(event(stream=stream, labels=labels_of(stream)), Wording(labels={"team": "ours"})).labels)
    assert told["k8s_pod_name"] == "a"
    assert told["_7up"] == "b"
    assert (told["severity"], told["exported_severity"]) == ("warning", "high")
    assert (told["team"], told["exported_team"]) == ("ours", "theirs")
    assert all(name and value for name, value in told.items())


def test_values_that_are_too_long_are_cut_and_streams_are_still_told_apart() -> None:
    one, other = (stream_key("load", {"path": "x" * 2000 + end}) for end in "ab")
    labels = [dict(notice(event(stream=each, labels=labels_of(each)), Wording()).labels) for each in (one, other)]
    assert all(len(value) <= VALUE_CHARS_MAX for each in labels for value in each.values())
    assert labels[0]["stream"] != labels[1]["stream"]


def test_the_operator_has_the_last_word_in_annotations() -> None:
    told = notice(event(), Wording(annotations={"runbook_url": "https://runbooks/load", "summary": "look at it"}))
    assert told.annotations["runbook_url"] == "https://runbooks/load"
    assert told.annotations["summary"] == "look at it"


def test_a_channel_that_was_missing_or_not_expected_yet_is_told_as_such() -> None:
    blank = replace(FEATURES[0], actual=None, expected=None, lower=None, upper=None)
    assert (
        notice(event(features=[blank]), Wording())
        .annotations["summary"]
        .endswith("queue is missing, expected nothing yet ( to )")
    )


@pytest.mark.parametrize(
    ("time_ms", "written"),
    [
        (START_MS, "2023-11-14T22:13:20.000Z"),
        (1, "1970-01-01T00:00:00.001Z"),
        (-5, "1970-01-01T00:00:00.000Z"),
        (2**62, "9999-12-31T23:59:59.000Z"),
    ],
)
def test_a_moment_has_milliseconds_and_its_zone_whatever_the_time(time_ms: int, written: str) -> None:
    assert moment(time_ms) == written


def test_the_fingerprint_of_no_labels_is_where_the_checksum_begins() -> None:
    assert fingerprint(()) == "cbf29ce484222325"
