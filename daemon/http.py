"""The pages that probes and Prometheus read: /metrics, /-/healthy and /-/ready."""

from __future__ import annotations

import logging
import socket
import socketserver
import sys
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from io import BufferedReader, RawIOBase
from typing import TYPE_CHECKING, Any
from wsgiref.simple_server import ServerHandler, WSGIRequestHandler

from prometheus_client import make_wsgi_app
from prometheus_client.exposition import ThreadingWSGIServer

from daemon.telemetry import Condition, Telemetry

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

    from _typeshed import OptExcInfo
    from typing_extensions import Buffer

_REQUEST_BYTES_MAX = 16_384
_CONNECTIONS_MAX = 32
_CONNECTION_SECONDS_MAX = 10.0
_TICK_SECONDS = 0.25
_TEXT = "text/plain; charset=utf-8"
_INDEX = b"""<!doctype html><html lang="en"><meta charset="utf-8"><title>Longwatch</title><h1>Longwatch</h1>
<ul><li><a href="/metrics">metrics</a><li><a href="/-/healthy">healthy</a><li><a href="/-/ready">ready</a></ul>
"""

_Connection = socket.socket | tuple[bytes, socket.socket]

_log = logging.getLogger("longwatch.http")


class Pages:
    """Serve the pages from a thread of their own, from `start` to `close`.

    `listen` is `host:port`; port 0 lets the system choose, and `port` tells which one it was. An IPv6 address stands in
    brackets. The loop counts as healthy when it made progress within `healthy_seconds`. A connection that takes longer
    than `connection_seconds_max`, as a whole, is ended.
    """

    def __init__(
        self,
        telemetry: Telemetry,
        listen: str,
        healthy_seconds: float,
        connection_seconds_max: float = _CONNECTION_SECONDS_MAX,
    ) -> None:
        self._listen = listen
        self._connection_seconds_max = connection_seconds_max
        self._app = _App(telemetry, healthy_seconds)
        self._server: _Server | None = None
        self._thread: threading.Thread | None = None

    @property
    def port(self) -> int:
        """The port that is served; only between `start` and `close`."""
        assert self._server is not None, "the pages are not being served"
        return self._server.server_port

    def start(self) -> None:
        """Listen and serve. Raises OSError, naming the setting, when the address cannot be used."""
        try:
            self._server = _Server(self._listen, self._connection_seconds_max)
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
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
        self._server = self._thread = None


@dataclass(frozen=True, slots=True)
class _Page:
    """One answer."""

    status: str
    body: bytes
    kind: str = _TEXT


class _App:
    """Route a request to its page; every path that is not a page is a 404, so a mistyped probe is seen."""

    def __init__(self, telemetry: Telemetry, healthy_seconds: float) -> None:
        self._metrics: WSGIApplication = make_wsgi_app(telemetry.registry)
        self._pages: dict[str, Callable[[], _Page]] = {
            "/": lambda: _Page("200 OK", _INDEX, "text/html; charset=utf-8"),
            "/-/healthy": lambda: _condition(telemetry.health(healthy_seconds)),
            "/-/ready": lambda: _condition(telemetry.readiness()),
        }

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        method, path = environ["REQUEST_METHOD"], environ["PATH_INFO"]
        if method not in {"GET", "HEAD"}:
            page = _Page("405 Method Not Allowed", b"only GET and HEAD\n")
            return _answer(page, method, start_response, [("Allow", "GET, HEAD")])
        if path == "/metrics":
            return self._scrape(environ, start_response)
        make = self._pages.get(path)
        page = _Page("404 Not Found", b"no such page; / lists them\n") if make is None else make()
        return _answer(page, method, start_response)

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


def _condition(condition: Condition) -> _Page:
    return _Page("200 OK" if condition.ok else "503 Service Unavailable", f"{condition.reason}\n".encode())


def _answer(
    page: _Page, method: str, start_response: StartResponse, more: Iterable[tuple[str, str]] = ()
) -> list[bytes]:
    headers = [
        ("Content-Type", page.kind),
        ("Content-Length", str(len(page.body))),
        ("Cache-Control", "no-store"),
        ("X-Content-Type-Options", "nosniff"),
        *more,
    ]
    start_response(page.status, headers)
    return [b"" if method == "HEAD" else page.body]


class _Capped(RawIOBase):
    """The bytes of a connection, up to a limit; what comes after it is never read."""

    def __init__(self, connection: socket.socket) -> None:
        super().__init__()
        self._connection = connection
        self.left = _REQUEST_BYTES_MAX

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Buffer, /) -> int:
        space = memoryview(buffer)[: self.left]
        read = self._connection.recv_into(space) if self.left else 0
        self.left -= read
        return read


class _Exchange(ServerHandler):
    """One request given to the app. The process's environment, which may hold secrets, stays out of it."""

    server_software = "longwatch"
    os_environ: dict[str, str] = {}  # noqa: RUF012 - never written; the base class copies it

    def log_exception(self, exc_info: OptExcInfo) -> None:
        if isinstance(exc_info[1], OSError):
            _log.debug("a client went away or was too slow")
        else:
            _log.error("a page failed", exc_info=exc_info)


class _Handler(WSGIRequestHandler):
    """Read one small request and answer it, or say why not."""

    timeout = _CONNECTION_SECONDS_MAX
    server_version = "longwatch"
    sys_version = ""

    def setup(self) -> None:
        super().setup()
        self._capped = _Capped(self.connection)
        self.rfile = BufferedReader(self._capped)

    def handle(self) -> None:
        self.raw_requestline = self.rfile.readline()
        if not self.parse_request():
            return
        if not self._capped.left:
            self.send_error(431)
            return
        exchange = _Exchange(self.rfile, self.wfile, sys.stderr, self.get_environ(), multithread=True)  # type: ignore[arg-type]
        exchange.request_handler = self  # type: ignore[attr-defined]
        exchange.run(self.server.get_app())  # type: ignore[attr-defined]

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class names it
        """Say nothing: a line per scrape helps nobody."""


class _Server(ThreadingWSGIServer):
    """A thread a connection, no more than a few of them, none for longer than a few seconds."""

    request_queue_size = _CONNECTIONS_MAX

    def __init__(self, listen: str, seconds_max: float) -> None:
        host, _, port = listen.rpartition(":")
        info = socket.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        self.address_family = info[0]
        self._began: dict[socket.socket, float] = {}
        self._seconds_max = seconds_max
        super().__init__(info[4][:2], _Handler)  # type: ignore[arg-type]

    def server_bind(self) -> None:
        # The base class would look the host's name up, which can take many seconds where DNS does not answer.
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = self.server_address[:2]  # type: ignore[assignment]
        self.setup_environ()

    def verify_request(self, _request: object, _client: object) -> bool:
        return len(self._began) < _CONNECTIONS_MAX

    def process_request(self, request: _Connection, client_address: Any) -> None:  # noqa: ANN401
        assert isinstance(request, socket.socket)
        self._began[request] = time.monotonic()
        super().process_request(request, client_address)

    def service_actions(self) -> None:
        """End connections that drag on; a timeout for each read alone would let a client drip for ever."""
        limit = time.monotonic() - self._seconds_max
        for request, began in list(self._began.items()):
            if began < limit:
                with suppress(OSError):
                    request.shutdown(socket.SHUT_RDWR)

    def shutdown_request(self, request: _Connection) -> None:
        super().shutdown_request(request)
        assert isinstance(request, socket.socket)
        self._began.pop(request, None)

    def handle_error(self, _request: object, _client: object) -> None:
        _log.debug("a connection failed", exc_info=True)
