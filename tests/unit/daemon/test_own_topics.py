"""What the daemon writes fits into its topics, whatever the input holds; a topic with less room stops the start."""

from __future__ import annotations

import numpy as np
import pytest

from daemon import assembly, codec
from daemon.assembly import LETTER_HEAD_BYTES_MAX, OUTPUT_BYTES_MAX
from daemon.config import loads
from daemon.engine import Scores
from daemon.errors import TopicMismatch
from daemon.memory import MemoryBroker, MemoryCluster, MemoryRecord
from daemon.routing import STREAM_CHARS_MAX
from daemon.stream_keys import stream_key
from daemon.types import Outgoing, Rejected, TopicPartition, TopicSpec
from detectors.settings import Guard
from tests.conformance.feed import START_MS, Feed, Sent, settings_of


def room(message: Outgoing) -> int:
    headers = sum(len(name) + len(value) for name, value in message.headers)
    return len(message.key or b"") + len(message.value or b"") + headers + 200


def cluster() -> MemoryCluster:
    made = MemoryCluster(idle=lambda _seconds: None)
    made.ensure(TopicSpec("metrics", 2, compacted=False))
    return made


@pytest.mark.parametrize(
    ("topic", "bytes_max"),
    [("longwatch-alerts", 999_999), ("longwatch-scores", 999_999), ("longwatch-dead-letters", 2_000_000)],
)
def test_a_topic_without_room_for_what_is_written_to_it_stops_the_start(topic: str, bytes_max: int) -> None:
    config = loads("outputs: {dead_letters: {value_bytes_max: 2000000}}", "x.yaml", {})
    held = cluster()
    held.ensure(TopicSpec(topic, 2, compacted=False, config={"max.message.bytes": str(bytes_max)}))
    with pytest.raises(TopicMismatch, match=topic):
        assembly.prepare_topics(config, MemoryBroker(held))
    assembly.prepare_topics(config, MemoryBroker(cluster()))


def test_the_largest_dead_letter_fits_its_topic() -> None:
    record = MemoryRecord(2**40, 2**60, b"k" * 10**6, b"v" * 10**6, ())
    rejected = [Rejected("t" * 249, 10**6, 2**40, "undecodable", "\N{THERMOMETER}" * 1000)]
    (letter,) = codec.dead_letters("dead", rejected, [record], 500_000)
    assert room(letter) <= 500_000 + LETTER_HEAD_BYTES_MAX


def test_the_largest_alert_and_the_largest_record_of_scores_fit_their_topics() -> None:
    names = [stream_key("\x01" * 1000, {"a": f"{i:04d}" + "\x01" * (STREAM_CHARS_MAX - 1020)}) for i in range(300)]
    assert max(map(len, names)) <= STREAM_CHARS_MAX
    feed = Feed(settings_of(8, guard=(("c0", Guard(max=0.0)),)))
    sent = [Sent(0, names[i % 300], START_MS + i, (1.0,) * 8) for i in range(6000)]
    caused = feed.poll(sent)
    assert len(caused.alerts) == 300
    assert max(room(codec.alert("alerts", each)) for each in caused.alerts) <= OUTPUT_BYTES_MAX
    (scores,) = caused.scores
    worst = Scores(scores.part, "g" * 200, np.full(6000, 1.234567890123456e-300))
    assert max(room(each) for each in codec.scores("scores", worst, None)) <= OUTPUT_BYTES_MAX
    assert TopicPartition("in", 0) == scores.part.partition


def test_the_topic_between_the_stages_is_as_wide_as_the_input_was_and_the_state_as_that() -> None:
    config, held = loads("input: {repartition: true}", "x.yaml", {}), cluster()
    broker = MemoryBroker(held)
    assembly.prepare_topics(config, broker)
    held.grow("metrics", 4)
    assembly.prepare_topics(config, broker)
    names = ("longwatch-input", "longwatch-state", "longwatch-scores", "longwatch-dead-letters")
    assert [broker.partitions(name) for name in names] == [2, 2, 2, 2]
    wide = cluster()
    wide.ensure(TopicSpec("longwatch-input", 6, compacted=False, config={"max.message.bytes": "16000000"}))
    assembly.prepare_topics(config, MemoryBroker(wide))
    assert wide.partitions("longwatch-state") == 6
