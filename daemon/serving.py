"""Answers small HTTP requests on a few threads; whoever is slow is ended, and never stands in anyone's way."""

from __future__ import annotations

import logging
import socket
import socketserver
import ssl
import sys
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from io import BufferedReader, RawIOBase
from typing import TYPE_CHECKING, Any
from wsgiref.simple_server import ServerHandler, WSGIRequestHandler, WSGIServer

from daemon.access import Certificate

if TYPE_CHECKING:
    from _typeshed import OptExcInfo
    from typing_extensions import Buffer

CONNECTION_SECONDS_MAX = 10.0
CONNECTIONS_MAX = 32
REQUEST_BYTES_MAX = 16_384

_Connection = socket.socket | tuple[bytes, socket.socket]

_log = logging.getLogger("longwatch.http")


@dataclass(frozen=True, slots=True)
class Page:
    """One answer."""

    status: str
    body: bytes
    kind: str = "text/plain; charset=utf-8"
    headers: tuple[tuple[str, str], ...] = ()  # more than those that every page has


class Server(socketserver.ThreadingMixIn, WSGIServer):
    """A thread a connection, and a few dozen of them at most: a new one ends the oldest, which is a slow one.

    `listen` is host:port. With a `certificate` every connection is TLS. A connection that takes longer than
    `seconds_max`, as a whole, is ended. Raises OSError when the address cannot be used.
    """

    request_queue_size = 128  # a burst must not fill it: a client that is turned away tries again after a second
    daemon_threads = False  # so that closing waits for them, once it has ended what they wait for

    def __init__(self, listen: str, seconds_max: float, certificate: Certificate | None) -> None:
        host, _, port = listen.rpartition(":")
        info = socket.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        self.address_family = info[0]
        self._certificate = certificate
        self._open = _Open(seconds_max)
        super().__init__(info[4][:2], _Handler)  # type: ignore[arg-type]

    def server_bind(self) -> None:
        """Listen, and ask no name service about it."""
        # The base class would look the host's name up, which can take many seconds where DNS does not answer.
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = self.server_address[:2]  # type: ignore[assignment]
        self.setup_environ()

    def get_request(self) -> tuple[socket.socket, Any]:
        """Return the next connection, under TLS when there is a certificate; nothing is read from it here."""
        connection, address = super().get_request()
        if self._certificate is None:
            return connection, address
        try:
            return self._certificate.guarding(connection), address
        except BaseException:
            connection.close()
            raise

    def verify_request(self, _request: object, _client: object) -> bool:
        """Return whether there is room for one more, having made some."""
        return self._open.has_room()

    def process_request(self, request: _Connection, client_address: Any) -> None:  # noqa: ANN401
        """Give the connection a thread, and its time."""
        assert isinstance(request, socket.socket)
        self._open.add(request)
        super().process_request(request, client_address)

    def service_actions(self) -> None:
        """End what has had its time; the loop calls this at each tick."""
        self._open.end_late()

    def shutdown_request(self, request: _Connection) -> None:
        """Close a connection."""
        assert isinstance(request, socket.socket)
        self._open.remove(request)
        super().shutdown_request(request)

    def stop(self) -> None:
        """End every connection, and return when `serve_forever` has come back and no thread of ours is left."""
        with suppress(OSError):  # it wakes the loop, which would else notice at its next tick
            self.socket.shutdown(socket.SHUT_RDWR)
        self.shutdown()
        self.server_close()

    def server_close(self) -> None:
        """End every connection, and wait for the threads."""
        self._open.end_all()
        super().server_close()

    def handle_error(self, _request: object, _client: object) -> None:
        """Tell of a broken connection where only those who look for it see it."""
        _log.debug("a connection failed", exc_info=True)


class _Open:
    """The connections that are open, oldest first, and since when."""

    def __init__(self, seconds_max: float) -> None:
        self._seconds_max = seconds_max
        self._lock = threading.Lock()
        self._began: dict[socket.socket, float] = {}
        self._ended: set[socket.socket] = set()

    def has_room(self) -> bool:
        """Make room for one more by ending the oldest; False only while those that were ended are still going away."""
        with self._lock:
            if len(self._began) - len(self._ended) >= CONNECTIONS_MAX:
                self._end(next(one for one in self._began if one not in self._ended))
            return len(self._began) < 2 * CONNECTIONS_MAX

    def add(self, connection: socket.socket) -> None:
        with self._lock:
            self._began[connection] = time.monotonic()

    def remove(self, connection: socket.socket) -> None:
        with self._lock:
            self._began.pop(connection, None)
            self._ended.discard(connection)

    def end_late(self) -> None:
        """End those that drag on; a timeout for each read alone would let a client drip for ever."""
        limit = time.monotonic() - self._seconds_max
        with self._lock:
            for connection, began in self._began.items():
                if began < limit:
                    self._end(connection)

    def end_all(self) -> None:
        with self._lock:
            for connection in self._began:
                self._end(connection)

    def _end(self, connection: socket.socket) -> None:
        self._ended.add(connection)
        with suppress(OSError):
            # Not a TLS socket's own way, which forgets its keys first: another thread may be writing.
            socket.socket.shutdown(connection, socket.SHUT_RDWR)


class _Capped(RawIOBase):
    """The bytes of a connection, up to a limit; what comes after it is never read."""

    def __init__(self, connection: socket.socket) -> None:
        super().__init__()
        self._connection = connection
        self.left = REQUEST_BYTES_MAX

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

    timeout = CONNECTION_SECONDS_MAX
    server_version = "longwatch"
    sys_version = ""

    def setup(self) -> None:
        super().setup()
        if isinstance(self.connection, ssl.SSLSocket):
            self.connection.do_handshake()
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
