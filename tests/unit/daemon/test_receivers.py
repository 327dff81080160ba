"""How notices are put into bodies, and what becomes of them where replicas do not answer or refuse them."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from daemon.alert_events import Change
from daemon.errors import NoticeRefused, ReceiverUnavailable
from daemon.notices import Notice, Wording, notice
from daemon.receivers import BACKOFF_SECONDS, BODY_NOTICES_MAX, Alertmanager, Webhook, bodies
from tests.told import START_MS, event

NOW = START_MS / 1000 + 3600.0


class Posts:
    """Takes bodies, except where a URL is down or refuses them."""

    def __init__(self) -> None:
        self.bodies: list[tuple[str, Any]] = []
        self.answers: dict[str, Exception] = {}

    def __call__(self, url: str, body: bytes) -> None:
        """Take one, or say why not."""
        self.bodies.append((url, json.loads(body)))
        for begin, error in self.answers.items():
            if url.startswith(begin):
                raise error


class Clock:
    """Stands where it is set."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> float:
        """Return the time that was set."""
        return self.now


@pytest.fixture
def posts() -> Posts:
    return Posts()


@pytest.fixture
def clock() -> Clock:
    return Clock()


def told(change: Change = "open", stream: str = "load", **over: int) -> Notice:
    return notice(event(change, stream, **over), Wording(pages_url="https://pages"))


Replicas = Callable[[], tuple[Alertmanager, list[str]]]


@pytest.fixture
def replicas(posts: Posts, clock: Clock) -> Replicas:
    def make() -> tuple[Alertmanager, list[str]]:
        failed: list[str] = []
        return Alertmanager(["http://one/", "http://two"], posts, 60.0, clock, failed.append), failed

    return make


def test_an_open_alert_lasts_until_four_reminders_were_missed(posts: Posts, replicas: Replicas) -> None:
    replicas()[0].tell([told()])
    url, (alert,) = posts.bodies[0]
    assert [each for each, _ in posts.bodies] == ["http://one/api/v2/alerts", "http://two/api/v2/alerts"]
    assert url == "http://one/api/v2/alerts"
    assert alert["startsAt"] == "2023-11-14T22:13:20.000Z"
    assert alert["endsAt"] == "2023-11-14T23:17:20.000Z"
    assert alert["labels"]["alertname"] == "LongwatchAnomaly"
    assert alert["generatorURL"] == "https://pages/streams/load/state?group=web"


def test_a_closed_alert_ends_when_it_did_and_never_in_the_future(
    posts: Posts, clock: Clock, replicas: Replicas
) -> None:
    receiver, _ = replicas()
    receiver.tell([told("close")])
    clock.now = START_MS / 1000 + 30  # the producer's clock is ahead of ours
    receiver.tell([told("close")])
    assert [body[0]["endsAt"] for _, body in posts.bodies[::2]] == [
        "2023-11-14T22:14:20.000Z",
        "2023-11-14T22:13:50.000Z",
    ]


def test_an_alert_that_begins_after_now_begins_now(posts: Posts, clock: Clock, replicas: Replicas) -> None:
    clock.now = START_MS / 1000 - 30
    replicas()[0].tell([told(), told("close", "other")])
    for alert in posts.bodies[0][1]:
        assert alert["startsAt"] == "2023-11-14T22:12:50.000Z" <= alert["endsAt"]


def test_one_replica_is_enough_and_one_that_is_away_keeps_nobody_waiting(
    posts: Posts, clock: Clock, replicas: Replicas
) -> None:
    receiver, failed = replicas()
    posts.answers["http://one"] = ReceiverUnavailable("one is away")
    receiver.tell([told()])
    assert failed == ["one is away"]
    posts.bodies.clear()
    receiver.tell([told()])
    assert [url for url, _ in posts.bodies] == ["http://two/api/v2/alerts"]
    clock.now += BACKOFF_SECONDS
    posts.answers.clear()
    posts.bodies.clear()
    receiver.tell([told()])
    receiver.tell([told()])
    assert len(posts.bodies) == 4


def test_when_the_last_one_fails_those_that_were_left_alone_are_tried_at_once(posts: Posts, replicas: Replicas) -> None:
    receiver, _ = replicas()
    posts.answers["http://one"] = ReceiverUnavailable("one is away")
    receiver.tell([told()])
    posts.answers = {"http://two": ReceiverUnavailable("two is away")}
    posts.bodies.clear()
    receiver.tell([told()])
    assert [url for url, _ in posts.bodies] == ["http://two/api/v2/alerts", "http://one/api/v2/alerts"]


def test_nobody_took_it(posts: Posts, replicas: Replicas) -> None:
    receiver, failed = replicas()
    posts.answers["http://"] = ReceiverUnavailable("away")
    with pytest.raises(ReceiverUnavailable, match="away"):
        receiver.tell([told()])
    assert failed == []  # who hears of the error notes it


def test_what_one_refuses_and_no_other_takes_is_refused(posts: Posts, replicas: Replicas) -> None:
    receiver, _ = replicas()
    posts.answers = {"http://one": ReceiverUnavailable("away"), "http://two": NoticeRefused("bad labels")}
    with pytest.raises(NoticeRefused, match="bad labels"):
        receiver.tell([told()])
    posts.answers = {"http://one": NoticeRefused("too old for this")}
    receiver.tell([told()])


def test_a_webhook_gets_what_alertmanager_would_send_it(posts: Posts) -> None:
    Webhook("pager", "http://hook/in", posts).tell([told(), told("close", "other")])
    ((url, body),) = posts.bodies
    assert url == "http://hook/in"
    assert {name: body[name] for name in ("version", "receiver", "status", "truncatedAlerts")} == {
        "version": "4",
        "receiver": "pager",
        "status": "firing",
        "truncatedAlerts": 0,
    }
    assert body["commonLabels"] == {"alertname": "LongwatchAnomaly", "severity": "warning", "group": "web"}
    assert [(each["status"], each["endsAt"]) for each in body["alerts"]] == [
        ("firing", "0001-01-01T00:00:00Z"),
        ("resolved", "2023-11-14T22:14:20.000Z"),
    ]


def test_a_webhook_is_told_that_all_is_over(posts: Posts) -> None:
    Webhook("pager", "http://hook/in", posts).tell([told("close")])
    assert posts.bodies[0][1]["status"] == "resolved"


def test_a_body_says_one_thing_of_each_alert_and_keeps_the_order() -> None:
    first, second = told(), told("close")
    assert bodies([first, told(stream="b"), second, told(stream="c")]) == [
        [first, told(stream="b")],
        [second, told(stream="c")],
    ]
    many = [told(stream=f"s{i}") for i in range(BODY_NOTICES_MAX + 1)]
    assert [len(each) for each in bodies(many)] == [BODY_NOTICES_MAX, 1]
    assert bodies([]) == []
