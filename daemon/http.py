"""The pages: /metrics, /-/healthy and /-/ready for probes and Prometheus, /streams for people who look closer."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from prometheus_client import make_wsgi_app

from daemon.access import Access
from daemon.inquiry import Inquiries
from daemon.serving import CONNECTION_SECONDS_MAX, Page
from daemon.site import CLOSED, NO_SUCH_PAGE, Served, Site
from daemon.stream_pages import StreamPages
from daemon.telemetry import Condition, Telemetry

if TYPE_CHECKING:
    from wsgiref.types import WSGIApplication, WSGIEnvironment

_INDEX = b"""<!doctype html><html lang="en"><meta charset="utf-8"><title>Longwatch</title><h1>Longwatch</h1>
<ul><li><a href="/metrics">metrics</a><li><a href="/-/healthy">healthy</a><li><a href="/-/ready">ready</a>
<li><a href="/streams">streams</a></ul>
"""


class Pages(Served):
    """The daemon's pages, served from `start` to `close` at `listen`.

    The loop counts as healthy when it made progress within `healthy_seconds`. `access` says who may read. With
    `inquiries` there are pages of streams, for those who say who they are.
    """

    def __init__(
        self,
        telemetry: Telemetry,
        listen: str,
        healthy_seconds: float,
        access: Access = Access(),  # noqa: B008 - frozen
        connection_seconds_max: float = CONNECTION_SECONDS_MAX,
        inquiries: Inquiries | None = None,
    ) -> None:
        app = _App(telemetry, healthy_seconds, access, inquiries)
        super().__init__(app, listen, access, connection_seconds_max)


class _App(Site):
    """Route a request to its page; every path that is not a page is a 404, so a mistyped probe is seen."""

    def __init__(
        self, telemetry: Telemetry, healthy_seconds: float, access: Access, inquiries: Inquiries | None
    ) -> None:
        super().__init__(access)
        self._streams = None if inquiries is None else StreamPages(inquiries)
        self._metrics: WSGIApplication = make_wsgi_app(telemetry.registry)
        self._pages: dict[str, Callable[[], Page]] = {
            "/": lambda: Page("200 OK", _INDEX, "text/html; charset=utf-8"),
            "/-/healthy": lambda: _condition(telemetry.health(healthy_seconds)),
            "/-/ready": lambda: _condition(telemetry.readiness()),
        }

    def answer(self, environ: WSGIEnvironment) -> Page:
        path = environ["PATH_INFO"]
        if path == "/metrics":
            return self._scrape(environ)
        make = self._pages.get(path)
        if make is not None:
            return make()
        if self._streams is not None and (path == "/streams" or path.startswith("/streams/")):
            return CLOSED if self.gate.is_open else self._streams.answer(path, environ.get("QUERY_STRING", ""))
        return NO_SUCH_PAGE

    def _scrape(self, environ: WSGIEnvironment) -> Page:
        # The client library answers GET only.
        answered = _Answered()
        body = b"".join(self._metrics({**environ, "REQUEST_METHOD": "GET"}, answered))
        headers = dict(answered.headers)
        return Page(answered.status, body, headers.pop("Content-Type"), tuple(headers.items()))


class _Answered:
    """Keeps the head of an answer until its body is known."""

    def __init__(self) -> None:
        self.status = ""
        self.headers: list[tuple[str, str]] = []

    def __call__(
        self, status: str, headers: list[tuple[str, str]], _error: object = None, /
    ) -> Callable[[bytes], object]:
        self.status, self.headers = status, headers
        return lambda _: None


def _condition(condition: Condition) -> Page:
    return Page("200 OK" if condition.ok else "503 Service Unavailable", f"{condition.reason}\n".encode())
