"""The pages: /metrics, /-/healthy and /-/ready for probes and Prometheus, /streams for people who look closer."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from prometheus_client import make_wsgi_app

from daemon.access import Access, Certificate, Gate
from daemon.inquiry import Inquiries
from daemon.serving import CONNECTION_SECONDS_MAX, Page, Server
from daemon.stream_pages import StreamPages
from daemon.telemetry import Condition, Telemetry

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

_TICK_SECONDS = 0.25
_PROBES = frozenset({"/-/healthy", "/-/ready"})
_INDEX = b"""<!doctype html><html lang="en"><meta charset="utf-8"><title>Longwatch</title><h1>Longwatch</h1>
<ul><li><a href="/metrics">metrics</a><li><a href="/-/healthy">healthy</a><li><a href="/-/ready">ready</a>
<li><a href="/streams">streams</a></ul>
"""
_CLOSED = Page(
    "403 Forbidden",
    b"pages of streams hold labels and values: they are there once server.token_file or server.password_file is set\n",
)


class Pages:
    """Serve the pages from a thread of their own, from `start` to `close`.

    `listen` is `host:port`; port 0 lets the system choose, and `port` tells which one it was. An IPv6 address stands in
    brackets. The loop counts as healthy when it made progress within `healthy_seconds`. `access` says who may read. A
    connection that takes longer than `connection_seconds_max`, as a whole, is ended. With `inquiries` there are pages
    of streams, for those who say who they are.
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
        self._listen = listen
        self._access = access
        self._connection_seconds_max = connection_seconds_max
        self._app = _App(telemetry, healthy_seconds, access, inquiries)
        self._server: Server | None = None
        self._thread: threading.Thread | None = None

    @property
    def port(self) -> int:
        """The port that is served; only between `start` and `close`."""
        assert self._server is not None, "the pages are not being served"
        return self._server.server_port

    def start(self) -> None:
        """Listen and serve. Raises OSError or ConfigError naming the setting that cannot be used."""
        cert_file = self._access.cert_file
        certificate = None if cert_file is None else Certificate(cert_file, self._access.key_file)
        try:
            self._server = Server(self._listen, self._connection_seconds_max, certificate)
        except OSError as failed:
            hint = "another process may use the port; set server.listen to another one, or to null for no pages"
            why = f"server.listen: cannot listen on {self._listen}: {failed.strerror}; {hint}"
            raise OSError(failed.errno, why) from failed
        self._server.set_app(self._app)
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(_TICK_SECONDS,), name="pages", daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        """Stop serving; calling it twice, or without `start`, does nothing."""
        if self._server is None or self._thread is None:
            return
        self._server.stop()
        self._thread.join()
        self._server = self._thread = None


class _App:
    """Route a request to its page; every path that is not a page is a 404, so a mistyped probe is seen."""

    def __init__(
        self, telemetry: Telemetry, healthy_seconds: float, access: Access, inquiries: Inquiries | None
    ) -> None:
        self._gate = Gate(access)
        self._streams = None if inquiries is None else StreamPages(inquiries)
        self._open = _PROBES if access.probes_open else frozenset[str]()
        self._metrics: WSGIApplication = make_wsgi_app(telemetry.registry)
        self._pages: dict[str, Callable[[], Page]] = {
            "/": lambda: Page("200 OK", _INDEX, "text/html; charset=utf-8"),
            "/-/healthy": lambda: _condition(telemetry.health(healthy_seconds)),
            "/-/ready": lambda: _condition(telemetry.readiness()),
        }

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        method, path = environ["REQUEST_METHOD"], environ["PATH_INFO"]
        if method not in {"GET", "HEAD"}:
            page = Page("405 Method Not Allowed", b"only GET and HEAD\n")
            return _answer(page, method, start_response, [("Allow", "GET, HEAD")])
        if not (self._gate.is_open or path in self._open or self._gate.admits(environ.get("HTTP_AUTHORIZATION", ""))):
            page = Page(
                "401 Unauthorized", b"this page asks for the password or the token of server.* in the settings\n"
            )
            return _answer(page, method, start_response, self._gate.challenges())
        if path == "/metrics":
            return self._scrape(environ, start_response)
        return _answer(self._page(path, environ.get("QUERY_STRING", "")), method, start_response)

    def _page(self, path: str, query: str) -> Page:
        make = self._pages.get(path)
        if make is not None:
            return make()
        if self._streams is not None and (path == "/streams" or path.startswith("/streams/")):
            return _CLOSED if self._gate.is_open else self._streams.answer(path, query)
        return Page("404 Not Found", b"no such page; / lists them\n")

    def _scrape(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        # The client library answers GET only.
        answered = _Answered()
        body = b"".join(self._metrics({**environ, "REQUEST_METHOD": "GET"}, answered))
        start_response(answered.status, [*answered.headers, ("Content-Length", str(len(body)))])
        return [b"" if environ["REQUEST_METHOD"] == "HEAD" else body]


class _Answered:
    """Keeps the head of an answer until the length of its body is known."""

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


def _answer(
    page: Page, method: str, start_response: StartResponse, more: Iterable[tuple[str, str]] = ()
) -> list[bytes]:
    headers = [
        ("Content-Type", page.kind),
        ("Content-Length", str(len(page.body))),
        ("Cache-Control", "no-store"),
        ("X-Content-Type-Options", "nosniff"),
        ("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; img-src data:"),
        *more,
    ]
    start_response(page.status, headers)
    return [b"" if method == "HEAD" else page.body]
