"""Who is told of alerts over HTTP: Alertmanagers and webhooks. Each takes a few notices at a time, or says why not."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Protocol

import msgspec

from daemon.errors import NoticeRefused, ReceiverUnavailable
from daemon.notices import Notice, fingerprint, moment
from daemon.types import Labels

Post = Callable[[str, bytes], None]
"""Posts a JSON body to a URL. Raises ReceiverUnavailable, and NoticeRefused when the body itself is at fault."""

REMINDERS_UNTIL_OVER: Final = 4  # an alert that nobody repeats for so long is over to an Alertmanager
BODY_NOTICES_MAX: Final = 100
BACKOFF_SECONDS: Final = 30.0  # a replica that failed is left alone for so long while another one answers
OPEN_END: Final = "0001-01-01T00:00:00Z"  # how a webhook is told that an alert has not ended
WEBHOOK_VERSION: Final = "4"  # of Alertmanager's own webhook, whose shape ours has


class Receiver(Protocol):
    """Where notices go."""

    @property
    def remind_seconds(self) -> float | None:
        """How often open alerts are told again, None for a receiver that remembers them by itself."""

    def tell(self, notices: Sequence[Notice]) -> None:
        """Tell `notices`, none of which has the labels of another.

        Raises ReceiverUnavailable when nobody took them and it has to be tried again, NoticeRefused when one of them
        can never be taken; others may have been, by then.
        """


class Alertmanager:
    """All replicas of one Alertmanager: each is told, because between them nobody passes alerts on; one is enough.

    Alerts are told again every `remind_seconds`, or they would be over after four times that. `now` returns seconds
    since 1970, `failed` is told of a replica that did not answer while another one did.
    """

    def __init__(
        self,
        urls: Sequence[str],
        post: Post,
        remind_seconds: float,
        now: Callable[[], float],
        failed: Callable[[str], None],
    ) -> None:
        self.remind_seconds: float | None = remind_seconds
        self._urls = [f"{url.rstrip('/')}/api/v2/alerts" for url in urls]
        self._post, self._now, self._failed = post, now, failed
        self._again: dict[str, float] = {}  # when a replica that failed is tried again

    def tell(self, notices: Sequence[Notice]) -> None:
        """Tell every replica; see `Receiver.tell`."""
        now = self._now()
        body = msgspec.json.encode([self._alert(each, now) for each in notices])
        said = {url: self._told(url, body) for url in self._urls if not self._is_left_alone(url, now)}
        if all(isinstance(each, ReceiverUnavailable) for each in said.values()):  # then nobody is left alone
            said |= {url: self._told(url, body) for url in self._urls if url not in said}
        if None in said.values():
            self._leave_alone(said, now)
        else:
            errors = [each for each in said.values() if each is not None]
            raise next((each for each in errors if isinstance(each, NoticeRefused)), errors[0])

    def _is_left_alone(self, url: str, now: float) -> bool:
        return 0.0 < self._again.get(url, now) - now <= BACKOFF_SECONDS  # farther ahead only after a clock was set

    def _leave_alone(self, said: Mapping[str, ReceiverUnavailable | NoticeRefused | None], now: float) -> None:
        """Leave replicas that failed alone for a while, so that they keep nobody waiting; tell what they said."""
        for url, error in said.items():
            self._again.pop(url, None)
            if isinstance(error, ReceiverUnavailable):
                self._again[url] = now + BACKOFF_SECONDS
            if error is not None:
                self._failed(str(error))

    def _told(self, url: str, body: bytes) -> ReceiverUnavailable | NoticeRefused | None:
        try:
            self._post(url, body)
        except (ReceiverUnavailable, NoticeRefused) as error:
            return error
        return None

    def _alert(self, notice: Notice, now: float) -> dict[str, Any]:
        now_ms = int(now * 1000)
        assert self.remind_seconds is not None
        until_ms = now_ms + int(REMINDERS_UNTIL_OVER * self.remind_seconds * 1000)
        ends_ms = until_ms if notice.ends_ms is None else min(notice.ends_ms, now_ms)  # a later end would keep it open
        found = {
            "labels": dict(notice.labels),
            "annotations": dict(notice.annotations),
            "startsAt": moment(min(notice.starts_ms, ends_ms, now_ms)),
            "endsAt": moment(ends_ms),
        }
        return found | ({"generatorURL": notice.link} if notice.link else {})


class Webhook:
    """One URL that takes what Alertmanager's own webhook sends. It is told of each change once, in order."""

    remind_seconds: float | None = None

    def __init__(self, name: str, url: str, post: Post) -> None:
        self._name, self._url, self._post = name, url, post

    def tell(self, notices: Sequence[Notice]) -> None:
        """Post the notices in one body; see `Receiver.tell`."""
        self._post(self._url, msgspec.json.encode(self._body(notices)))

    def _body(self, notices: Sequence[Notice]) -> Mapping[str, Any]:
        status = {each.alert_id: "firing" if each.ends_ms is None else "resolved" for each in notices}
        return {
            "version": WEBHOOK_VERSION,
            "receiver": self._name,
            "status": "firing" if "firing" in status.values() else "resolved",
            "groupKey": f"longwatch/{self._name}",
            "groupLabels": {},
            "commonLabels": _common([dict(each.labels) for each in notices]),
            "commonAnnotations": _common([each.annotations for each in notices]),
            "externalURL": "",
            "truncatedAlerts": 0,
            "alerts": [
                {
                    "status": status[each.alert_id],
                    "labels": dict(each.labels),
                    "annotations": dict(each.annotations),
                    "startsAt": moment(each.starts_ms),
                    "endsAt": OPEN_END if each.ends_ms is None else moment(each.ends_ms),
                    "generatorURL": each.link,
                    "fingerprint": fingerprint(each.labels),
                }
                for each in notices
            ],
        }


def bodies(notices: Sequence[Notice]) -> list[list[Notice]]:
    """Return the notices in order, cut so that no body is too large or says two things of one alert."""
    found: list[list[Notice]] = []
    held: set[Labels] = set()
    for each in notices:
        if not found or each.labels in held or len(found[-1]) == BODY_NOTICES_MAX:
            found.append([])
            held.clear()
        found[-1].append(each)
        held.add(each.labels)
    return found


def _common(every: Sequence[Mapping[str, str]]) -> dict[str, str]:
    pairs = [set(each.items()) for each in every]
    return dict(sorted(set.intersection(*pairs))) if pairs else {}
