"""Alert events that no detector had to be run for, and a server that takes what a receiver would."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import Any, Self

from daemon.alert_events import AlertEvent, Change, Feature, Source, alert_id
from daemon.stream_keys import labels_of

START_MS = 1_700_000_000_000
STREAM = 'load{host="web-7"}'
FEATURES = [
    Feature("queue", 17.9, 7.27, 5.2, 9.34, 0.75, imputed=False, window=[7.0, 7.1]),
    Feature("busy", 38.6, 36.9, 31.7, 42.1, 0.25, imputed=False, window=[36.0, 36.5]),
]


def event(change: Change = "open", stream: str = STREAM, at_ms: int = START_MS, **over: Any) -> AlertEvent:  # noqa: ANN401
    """Return an event of the alert of `stream` that began at `at_ms`; a close comes a minute later."""
    found = AlertEvent(
        schema_version=1,
        alert_id=alert_id("web", stream, "anomaly", at_ms),
        change=change,
        rule="anomaly",
        reason="recovered" if change == "close" else "threshold",
        severity="warning",
        group="web",
        stream=stream,
        labels=labels_of(stream),
        started_at_ms=at_ms,
        detected_at_ms=at_ms,
        peak_at_ms=at_ms,
        ended_at_ms=at_ms + 60_000 if change == "close" else None,
        score=4.68922,
        max_score=4.68922,
        surprise={"model": 7.03},
        threshold={"kind": "static", "limit": 1.5},
        direction="up",
        features=FEATURES,
        model_id="",
        config_checksum="c0ffee",
        source=Source("metrics", 0, 17),
    )
    return replace(found, **over)


@dataclass
class Request:
    """What came in one POST."""

    path: str
    headers: Mapping[str, str]
    body: Any


@dataclass
class Server:
    """An HTTP server on this machine that keeps what is posted; `answer` says with which status and text."""

    answer: Callable[[Request], tuple[int, str]] = lambda _request: (200, "")
    wrapped: Callable[[Any], Any] = lambda socket: socket
    taken: list[Request] = field(default_factory=list)

    def __enter__(self) -> Self:
        told = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                request = Request(self.path, dict(self.headers), json.loads(body))
                status, text = told.answer(request)
                if status < http.HTTPStatus.MULTIPLE_CHOICES:
                    told.taken.append(request)
                self.send_response(status)
                if 300 <= status < 400:
                    self.send_header("Location", text)
                self.send_header("Content-Length", str(len(text.encode())))
                self.end_headers()
                self.wfile.write(text.encode())

            def log_message(self, *_about: object) -> None:
                """Say nothing."""

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.socket = self.wrapped(self._server.socket)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._server.server_address[1])

    @property
    def url(self) -> str:
        """Where it is reached."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def alerts(self) -> list[tuple[str, str]]:
        """Every alert that came, in order: its stream, and whether it fires or is over."""
        return [(each["labels"]["stream"], each["status"]) for one in self.taken for each in one.body["alerts"]]
