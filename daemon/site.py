"""A small site: who may read it, which methods it answers, and the thread that serves it."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from daemon.access import Access, Certificate, Gate
from daemon.serving import CONNECTION_SECONDS_MAX, Page, Server

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

PROBES: Final = frozenset({"/-/healthy", "/-/ready"})
NO_SUCH_PAGE: Final = Page("404 Not Found", b"no such page; / lists them\n")
CLOSED: Final = Page(
    "403 Forbidden",
    b"pages of streams hold labels and values: they are there once server.token_file or server.password_file is set\n",
)
_TICK_SECONDS = 0.25
_SAFE = (
    ("Cache-Control", "no-store"),
    ("X-Content-Type-Options", "nosniff"),
    ("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; img-src data:"),
)


class Site(ABC):
    """A WSGI application that answers GET and HEAD, to those whom `access` lets in."""

    def __init__(self, access: Access) -> None:
        self.gate = Gate(access)
        self._open = PROBES if access.probes_open else frozenset[str]()

    @abstractmethod
    def answer(self, environ: WSGIEnvironment) -> Page:
        """Return the page that was asked for."""

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer one request."""
        method, path = environ["REQUEST_METHOD"], environ["PATH_INFO"]
        if method not in {"GET", "HEAD"}:
            page = Page("405 Method Not Allowed", b"only GET and HEAD\n", headers=(("Allow", "GET, HEAD"),))
        elif self.gate.is_open or path in self._open or self.gate.admits(environ.get("HTTP_AUTHORIZATION", "")):
            page = self.answer(environ)
        else:
            why = b"this page asks for the password or the token of server.* in the settings\n"
            page = Page("401 Unauthorized", why, headers=tuple(self.gate.challenges()))
        length = ("Content-Length", str(len(page.body)))
        start_response(page.status, [("Content-Type", page.kind), length, *_SAFE, *page.headers])
        return [b"" if method == "HEAD" else page.body]


class Served:
    """Serve an application from a thread of its own, from `start` to `close`.

    `listen` is `host:port`; port 0 lets the system choose, and `port` tells which one it was. An IPv6 address stands in
    brackets. A connection that takes longer than `connection_seconds_max`, as a whole, is ended.
    """

    def __init__(
        self,
        app: WSGIApplication,
        listen: str,
        access: Access,
        connection_seconds_max: float = CONNECTION_SECONDS_MAX,
    ) -> None:
        self._app, self._listen, self._access = app, listen, access
        self._connection_seconds_max = connection_seconds_max
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
