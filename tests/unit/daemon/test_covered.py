"""What was under an alert is not learnt, unless it was accepted; what was not is learnt whole."""

from __future__ import annotations

import numpy as np
import pytest

from daemon import codec, covered
from daemon.alert_events import AlertEvent
from daemon.memory import MemoryBroker, MemoryCluster
from daemon.types import Outgoing, TopicSpec
from detectors.train import StreamHistory
from tests.conformance.feed import INTERVAL_MS, START_MS, Feed, series, settings_of, wave

SAMPLES, SPIKE = 300, slice(200, 206)
GROUP = "g"


@pytest.fixture(scope="module")
def told() -> list[AlertEvent]:
    """The events of an alert that opened and recovered, as the step tells them."""
    values = wave(SAMPLES)
    values[SPIKE] += 30.0
    feed = Feed(settings_of())
    feed.poll(series(values))
    assert feed.events[0].change == "open"
    assert feed.events[-1].reason == "recovered"
    return feed.events


def spans(events: list[AlertEvent], *others: bytes | None, group: str = GROUP) -> dict[str, list[covered.Span]]:
    cluster = MemoryCluster(idle=lambda _seconds: None)
    cluster.ensure(TopicSpec("alerts", 2, compacted=False))
    for value in others:
        cluster.publish(Outgoing("alerts", 0, b"k", value))
    for each in events:
        cluster.publish(codec.alert("alerts", each))
    return {stream: list(each) for stream, each in covered.by_alerts(MemoryBroker(cluster), "alerts", group).items()}


def history() -> StreamHistory:
    return StreamHistory(START_MS + INTERVAL_MS * np.arange(SAMPLES), np.ones((SAMPLES, 1)))


def test_an_alert_covers_what_lies_between_its_first_and_its_last_sample(told: list[AlertEvent]) -> None:
    found = spans(told, b"nonsense", None)
    assert found == {told[0].stream: [(told[0].started_at_ms, told[-1].ended_at_ms)]}
    learnt = covered.without(history(), found[told[0].stream])
    gone = np.isnan(learnt.values[:, 0])
    assert gone[SPIKE].all()
    assert SPIKE.stop - SPIKE.start <= gone.sum() < 60
    assert np.array_equal(learnt.times_ms, history().times_ms)


def test_an_alert_that_is_still_open_covers_all_since(told: list[AlertEvent]) -> None:
    opened = told[:1]
    learnt = covered.without(history(), spans(opened)[opened[0].stream])
    assert np.flatnonzero(np.isnan(learnt.values[:, 0])).tolist() == list(range(SPIKE.start, SAMPLES))


def test_an_alert_that_was_accepted_is_released(told: list[AlertEvent]) -> None:
    accepted = AlertEvent(**{**{name: getattr(told[-1], name) for name in AlertEvent.__slots__}, "reason": "accepted"})
    assert spans([*told[:-1], accepted]) == {}


def test_silences_and_other_groups_cover_nothing(told: list[AlertEvent]) -> None:
    silence = AlertEvent(**{**{name: getattr(told[0], name) for name in AlertEvent.__slots__}, "rule": "silence"})
    assert spans([silence]) == {}
    assert spans(told, group="other") == {}


def test_without_alerts_nothing_is_covered_and_nothing_is_copied() -> None:
    assert covered.by_alerts(MemoryBroker(MemoryCluster()), "no-such-topic", GROUP) == {}
    given = history()
    assert covered.without(given, ()) is given
