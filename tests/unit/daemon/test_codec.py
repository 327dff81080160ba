"""What the daemon writes can be read back, number by number."""

from __future__ import annotations

import hashlib
import json
import math

import numpy as np
import pytest

from daemon import codec
from daemon.engine import Scores
from daemon.memory import MemoryRecord
from daemon.types import Rejected
from detectors.settings import Guard, StaticThreshold
from tests.conformance.feed import START_MS, Feed, Sent, series, settings_of, together, wave

NAN = math.nan


def scored(score: list[float]) -> Scores:
    feed = Feed(settings_of())
    sent = [Sent(0, f"s{i % 3}", START_MS + i, (1.0,)) for i in range(len(score))]
    (part,) = feed.parts(sent)
    return Scores(part, "g", np.array(score))


def test_alert_events_come_back_as_they_were() -> None:
    values = wave(150, 2)
    values[100:, 0] += 500.0
    quiet = series(wave(80, 2), "quiet")
    high = wave(150, 2)
    high[50:, 1] = 3000.0
    group = settings_of(2, guard=(("c1", Guard(max=2000.0)),), threshold=StaticThreshold(1.0))
    events = Feed(group).polls([together(series(values), series(high, "high"), quiet)]).events
    assert {event.rule for event in events} == {"anomaly", "guard", "silence"}
    for event in events:
        message = codec.alert("alerts", event)
        assert (message.topic, message.partition, message.key) == ("alerts", None, event.stream.encode())
        assert message.value is not None
        assert codec.decode_alert(message.value) == event
        json.loads(message.value, parse_constant=pytest.fail)  # no NaN, no Infinity


def test_scores_are_written_in_columns_of_one_partition() -> None:
    (message,) = codec.scores("scores", scored([0.5, NAN, 2.0, 0.25]), None)
    found = codec.decode_scores(message.value or b"")
    assert (message.key, message.partition) == (b"in/0", 0)
    assert (found.topic, found.partition, found.group) == ("in", 0, "g")
    assert [found.streams[place] for place in found.stream] == ["s0", "s1", "s2", "s0"]
    assert found.offset == [0, 1, 2, 3]
    assert found.time_ms == [START_MS + i for i in range(4)]
    assert found.score == [0.5, None, 2.0, 0.25]


@pytest.mark.parametrize(("floor", "offsets"), [(0.5, [0, 2]), (0.0, [0, 2, 3]), (9.0, None)])
def test_only_scores_from_the_floor_on_are_written(floor: float, offsets: list[int] | None) -> None:
    messages = list(codec.scores("scores", scored([0.5, NAN, 2.0, 0.25]), floor))
    assert [codec.decode_scores(each.value or b"").offset for each in messages] == (
        [] if offsets is None else [offsets]
    )


def test_many_scores_are_cut_into_records_of_bounded_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(codec, "SCORES_PER_RECORD_MAX", 4)
    found = [codec.decode_scores(each.value or b"") for each in codec.scores("scores", scored([1.0] * 10), None)]
    assert [each.offset for each in found] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]


def test_dead_letters_carry_origin_reason_and_the_beginning_of_the_record() -> None:
    records = [MemoryRecord(5, 99, b"k" * 2000, b"v" * 100, ()), MemoryRecord(6, -1, None, None, ())]
    rejected = [Rejected("in", 1, 5, "wrong_type", "täxt"), Rejected("in", 1, 6, "empty", "\ud800")]
    long, empty = codec.dead_letters("dead", rejected, records, 10)
    assert (long.topic, long.key, long.value) == ("dead", b"k" * 1024, b"v" * 10)
    assert dict(long.headers) == {
        "longwatch-reason": b"wrong_type",
        "longwatch-detail": "täxt".encode(),
        "longwatch-topic": b"in",
        "longwatch-partition": b"1",
        "longwatch-offset": b"5",
        "longwatch-timestamp": b"99",
        "longwatch-value-bytes": b"100",
        "longwatch-key-bytes": b"2000",
        "longwatch-sha256": hashlib.sha256(b"v" * 100).hexdigest().encode(),
    }
    assert (empty.value, empty.key) == (None, None)
    assert dict(empty.headers)["longwatch-detail"] == b"?"


@pytest.mark.parametrize(("key", "kept"), [(None, None), (b"", b""), (b"k", b"k"), ("ключ".encode(), "ключ".encode())])
def test_the_key_of_a_dead_letter_is_the_records_own(key: bytes | None, kept: bytes | None) -> None:
    (letter,) = codec.dead_letters(
        "dead", [Rejected("in", 1, 5, "empty", "")], [MemoryRecord(5, 99, key, b"v", ())], 10
    )
    assert (letter.key, letter.value) == (kept, b"v")
    assert "longwatch-sha256" not in dict(letter.headers)  # nothing was cut


def test_a_flood_of_new_streams_is_no_flood_of_dead_letters() -> None:
    records = [MemoryRecord(i, 99, b"k", b"v", ()) for i in range(500)]
    rejected = [Rejected("in", 1, i, "max_streams" if i % 5 else "undecodable", "") for i in range(500)]
    letters = list(codec.dead_letters("dead", rejected, records, 10))
    reasons = [dict(each.headers)["longwatch-reason"] for each in letters]
    assert reasons.count(b"max_streams") == codec.FULL_LETTERS_MAX
    assert reasons.count(b"undecodable") == 100


def test_long_names_of_streams_make_more_records_of_scores_not_larger_ones() -> None:
    feed = Feed(settings_of())
    names = [f"{i:04d}" + "\x01" * 4000 for i in range(60)]  # six bytes each in JSON
    sent = [Sent(0, names[i % 60], START_MS + i, (1.0,)) for i in range(240)]
    (part,) = feed.parts(sent)
    messages = list(codec.scores("scores", Scores(part, "g", np.arange(240.0)), None))
    assert max(len(each.value or b"") for each in messages) < 500_000
    found = [codec.decode_scores(each.value or b"") for each in messages]
    told = {
        (offset, one.streams[place], score)
        for one in found
        for offset, place, score in zip(one.offset, one.stream, one.score, strict=True)
    }
    assert told == {(i, names[i % 60], float(i)) for i in range(240)}
    assert sum(len(one.offset) for one in found) == 240
