"""What a real Alertmanager makes of our notices, and that its webhook and ours say the same."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from daemon import receivers
from daemon.alert_events import Change
from daemon.config import loads
from daemon.deliveries import reached
from daemon.errors import NoticeRefused, ReceiverUnavailable
from daemon.notices import Notice, Wording, fingerprint, moment, notice
from daemon.posting import Login, Poster
from daemon.stream_keys import labels_of, stream_key
from tests.e2e.process import until
from tests.receivers.alertmanager import Alertmanager, free_port
from tests.told import Server, event

STREAM = stream_key("load", {"host": "wéb-7", "7up": 'q"uote', "severity": "high"})
REMIND_SECONDS = 60.0


@pytest.fixture(scope="module")
def hook() -> Iterator[Server]:
    with Server() as server:
        yield server


@pytest.fixture(scope="module")
def real(hook: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Alertmanager]:
    with Alertmanager(tmp_path_factory.mktemp("alertmanager"), hook.url) as running:
        yield running


def sender(*urls: str, remind_seconds: float = REMIND_SECONDS) -> receivers.Alertmanager:
    return receivers.Alertmanager(urls, Poster(Login(), 5.0).post, remind_seconds, time.time, lambda _why: None)


def told(change: Change = "open", stream: str = STREAM, at_ms: int | None = None, **over: float) -> Notice:
    began = int(time.time() * 1000) - 120_000
    return notice(
        event(change, stream, began if at_ms is None else at_ms, labels=labels_of(stream), **over),
        Wording(annotations={"runbook_url": "https://runbooks/load"}, pages_url="https://pages"),
    )


def firing(real: Alertmanager, stream: str) -> list[dict[str, Any]]:
    return [each for each in real.alerts() if each["labels"]["stream"] == stream]


def test_an_alert_fires_under_the_fingerprint_that_we_say_and_is_resolved(real: Alertmanager, hook: Server) -> None:
    opened = told()
    sender(real.url).tell([opened])
    (found,) = firing(real, STREAM)
    assert found["labels"] == dict(opened.labels)
    assert found["annotations"] == opened.annotations
    assert found["fingerprint"] == fingerprint(opened.labels)
    assert found["startsAt"] == moment(opened.starts_ms)
    assert found["generatorURL"] == opened.link
    until(lambda: (STREAM, "firing") in hook.alerts, "its webhook was told")
    sender(real.url).tell([told("close", at_ms=opened.starts_ms)])
    assert firing(real, STREAM) == []
    until(lambda: (STREAM, "resolved") in hook.alerts, "its webhook was told of the end")


def test_our_webhook_says_what_its_webhook_says(real: Alertmanager, hook: Server) -> None:
    stream = "compared"
    opened = told(stream=stream)
    sender(real.url).tell([opened])
    until(lambda: (stream, "firing") in hook.alerts, "its webhook was told")
    theirs = next(one.body for one in hook.taken if one.body["alerts"][0]["labels"]["stream"] == stream)
    with Server() as ours:
        receivers.Webhook("test", ours.url, Poster(Login(), 5.0).post).tell([opened])
    body = ours.taken[0].body
    assert body.keys() == theirs.keys()
    for name in body.keys() - {"alerts", "groupKey", "groupLabels", "externalURL"}:
        assert body[name] == theirs[name], name
    (alert,), (expected,) = body["alerts"], theirs["alerts"]
    assert alert.keys() == expected.keys()
    for name in alert.keys() - {"endsAt"}:
        assert alert[name] == expected[name], name
    assert (alert["endsAt"], expected["endsAt"]) == ("0001-01-01T00:00:00Z", "0001-01-01T00:00:00Z")


def test_an_update_and_a_reminder_are_the_same_alert(real: Alertmanager) -> None:
    stream = "reminded"
    opened = told(stream=stream)
    sender(real.url).tell([opened])
    until_then = firing(real, stream)[0]["endsAt"]
    worse = told("update", stream, at_ms=opened.starts_ms, score=9.0, max_score=9.0)
    sender(real.url, remind_seconds=2 * REMIND_SECONDS).tell([worse])
    (found,) = firing(real, stream)
    assert found["annotations"]["score"] == "9"
    assert found["startsAt"] == moment(opened.starts_ms)
    assert found["endsAt"] > until_then


def test_an_alert_of_which_it_is_not_reminded_is_over(real: Alertmanager, hook: Server) -> None:
    stream = "forgotten"
    sender(real.url, remind_seconds=0.1).tell([told(stream=stream)])
    until(lambda: firing(real, stream) == [], "it is over after four reminders that did not come")


def test_it_takes_times_that_no_clock_has(real: Alertmanager) -> None:
    far = told("open", "early", at_ms=-5), told("open", "late", at_ms=2**60), told("close", "ended", at_ms=2**60)
    sender(real.url).tell(far)
    assert len(firing(real, "early")) == len(firing(real, "late")) == 1


def test_a_body_at_fault_is_refused_by_it(real: Alertmanager) -> None:
    with pytest.raises(NoticeRefused, match="400"):
        Poster(Login(), 5.0).post(f"{real.url}/api/v2/alerts", b'[{"labels": {}}]')


def test_the_check_of_a_configuration_says_who_answers_and_tells_nobody_of_an_alert(real: Alertmanager) -> None:
    nobody, before = f"http://127.0.0.1:{free_port()}", len(real.alerts())
    told = {
        "outputs": {
            "receivers": [
                {"name": "duty", "alertmanager": [real.url, nobody]},
                {"name": "chat", "webhook": "http://chat/in"},
            ]
        }
    }
    here, away, chat = reached(loads(json.dumps(told), "longwatch.yaml", {}))
    assert here == f"duty: {real.url} answers"
    assert away.startswith(f"duty: does not take alerts now, {nobody}: ")
    assert chat.startswith("chat: a webhook is not asked")
    assert len(real.alerts()) == before


def test_one_replica_of_two_is_enough(real: Alertmanager) -> None:
    nobody = f"http://127.0.0.1:{free_port()}"
    sender(nobody, real.url).tell([told(stream="half")])
    assert len(firing(real, "half")) == 1
    with pytest.raises(ReceiverUnavailable):
        sender(nobody).tell([told(stream="half")])


def test_a_replica_that_comes_later_is_told_by_the_next_reminder(
    real: Alertmanager, hook: Server, tmp_path: Path
) -> None:
    late = Alertmanager(tmp_path, hook.url)
    clock = [time.time()]
    both = receivers.Alertmanager(
        [late.url, real.url], Poster(Login(), 5.0).post, REMIND_SECONDS, lambda: clock[0], lambda _why: None
    )
    opened = told(stream="later")
    both.tell([opened])
    with late:
        both.tell([opened])
        assert late.alerts() == []  # left alone, because it had not answered
        clock[0] += receivers.BACKOFF_SECONDS
        both.tell([opened])
        assert [each["labels"]["stream"] for each in late.alerts()] == ["later"]
