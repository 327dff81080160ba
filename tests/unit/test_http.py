"""The pages answer what a probe and a scrape need, and nothing else can be had from them."""

from __future__ import annotations

import gzip
import http.client
import select
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import NoReturn

import pytest
from prometheus_client.registry import Collector

from daemon.events import Readiness
from daemon.http import Pages
from daemon.telemetry import Telemetry


class Quiet:
    """A log that keeps nothing."""

    def debug(self, event: str, /, **fields: object) -> None:
        """Keep nothing."""

    info = warning = error = exception = debug


class Served:
    """The pages of a telemetry whose clock the test holds."""

    def __init__(self, connection_seconds_max: float) -> None:
        self.now = 1_800_000_000.0
        self.telemetry = Telemetry(lambda: self.now, Quiet())
        self.pages = Pages(self.telemetry, "127.0.0.1:0", 60.0, connection_seconds_max=connection_seconds_max)
        self.pages.start()

    def get(self, path: str, method: str = "GET", **headers: str) -> tuple[int, bytes, http.client.HTTPMessage]:
        """Return status, body and headers of one answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.pages.port, timeout=10)
        connection.request(method, path, headers=headers)
        response = connection.getresponse()
        body = response.read()
        connection.close()
        return response.status, body, response.headers

    @contextmanager
    def connected(self) -> Iterator[socket.socket]:
        """Return a bare connection."""
        with socket.create_connection(("127.0.0.1", self.pages.port), timeout=10) as connection:
            yield connection


@pytest.fixture
def served() -> Iterator[Served]:
    one = Served(connection_seconds_max=10.0)
    yield one
    one.pages.close()


def test_the_metrics_page_is_what_prometheus_reads(served: Served) -> None:
    status, body, headers = served.get("/metrics")
    assert status == 200
    assert b"\nlongwatch_ready 0.0\n" in body
    assert headers["Content-Type"].startswith("text/plain; version=")
    assert int(headers["Content-Length"]) == len(body)


def test_the_metrics_page_can_be_compressed_and_narrowed(served: Served) -> None:
    _, body, headers = served.get("/metrics?name[]=longwatch_ready", **{"Accept-Encoding": "gzip"})
    assert headers["Content-Encoding"] == "gzip"
    lines = [line for line in gzip.decompress(body).splitlines() if not line.startswith(b"#")]
    assert lines == [b"longwatch_ready 0.0"]


def test_healthy_follows_the_progress_of_the_loop(served: Served) -> None:
    assert served.get("/-/healthy")[0] == 200
    served.now += 61
    status, body, _ = served.get("/-/healthy")
    assert status == 503
    assert body == b"the loop made no progress for 61.0 s, the limit is 60 s\n"
    served.telemetry.progress(served.now)
    assert served.get("/-/healthy")[0] == 200


def test_ready_follows_the_restoring_of_partitions(served: Served) -> None:
    assert served.get("/-/ready")[0] == 503
    served.telemetry.note(Readiness(ready=False, partitions_assigned=2, partitions_restoring=1))
    assert served.get("/-/ready")[1] == b"1 of 2 partitions are restoring\n"
    served.telemetry.note(Readiness(ready=True, partitions_assigned=2, partitions_restoring=0))
    assert served.get("/-/ready")[0] == 200


@pytest.mark.parametrize("path", ["/", "/metrics", "/-/healthy"])
def test_head_answers_as_get_does_without_the_body(served: Served, path: str) -> None:
    status, body, headers = served.get(path, "HEAD")
    assert (status, body) == (200, b"")
    assert int(headers["Content-Length"]) > 0


@pytest.mark.parametrize("path", ["/metric", "/metrics/", "/-/healthz", "/../metrics", "/favicon.ico"])
def test_any_other_path_is_not_found(served: Served, path: str) -> None:
    assert served.get(path)[0] == 404


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "PATCH"])
def test_any_other_method_is_refused(served: Served, method: str) -> None:
    status, _, headers = served.get("/metrics", method)
    assert status == 405
    assert headers["Allow"] == "GET, HEAD"


def test_the_index_names_the_pages(served: Served) -> None:
    status, body, headers = served.get("/")
    assert status == 200
    assert b'href="/-/ready"' in body
    assert headers["X-Content-Type-Options"] == "nosniff"


def test_a_request_that_is_too_large_is_refused(served: Served) -> None:
    head = b"GET / HTTP/1.1\r\nX-Filler: "
    with served.connected() as connection:
        connection.sendall(head + b"a" * (16_384 - len(head)))
        assert connection.recv(100).startswith(b"HTTP/1.0 431 ")


def test_a_client_that_drips_is_cut_off() -> None:
    served = Served(connection_seconds_max=0.3)
    with served.connected() as connection:
        connection.sendall(b"GET / HT")
        begun = time.monotonic()
        assert connection.recv(100) == b""
        assert time.monotonic() - begun < 5
    served.pages.close()


def test_idle_connections_do_not_grow_without_bound_and_the_oldest_make_room(served: Served) -> None:
    idle = [socket.create_connection(("127.0.0.1", served.pages.port), timeout=10) for _ in range(40)]
    # The server takes connections in order, so once the eighth is closed, all are decided.
    with suppress(ConnectionResetError):
        assert idle[7].recv(1) == b""
    ended, _, _ = select.select(idle, [], [], 0)
    for one in idle:
        one.close()
    assert set(ended) == set(idle[:8])


def test_slow_clients_never_keep_a_scrape_waiting(served: Served) -> None:
    slow = [socket.create_connection(("127.0.0.1", served.pages.port), timeout=10) for _ in range(100)]
    for one in slow:
        with suppress(OSError):  # ended already, for a younger one
            one.sendall(b"GET /metrics HTTP/1.1\r\nX-Slow: ")
    begun = time.monotonic()
    for _ in range(10):
        assert served.get("/metrics")[0] == 200
    assert time.monotonic() - begun < 5  # each of them may stay ten seconds
    for one in slow:
        one.close()


def test_a_body_is_not_read(served: Served) -> None:
    with served.connected() as connection:
        connection.sendall(b"POST /metrics HTTP/1.1\r\nContent-Length: 1000000000\r\n\r\n")
        assert connection.recv(100).startswith(b"HTTP/1.0 405 ")


def test_headers_without_end_are_refused(served: Served) -> None:
    with served.connected() as connection:
        connection.sendall(b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 200 + b"\r\n")
        assert connection.recv(100).startswith(b"HTTP/1.0 431 ")


def test_closing_ends_what_is_open_and_leaves_no_thread(served: Served) -> None:
    before = threading.active_count()
    with served.connected() as connection:
        connection.sendall(b"GET /")
        served.get("/-/healthy")  # taken in order: the slow one has its thread by now
        served.pages.close()
        with suppress(ConnectionResetError):
            assert connection.recv(1) == b""
    assert threading.active_count() < before


class _Failing(Collector):
    def collect(self) -> NoReturn:
        raise RuntimeError("broken")


def test_a_page_that_fails_is_a_500_and_the_server_goes_on(served: Served) -> None:
    served.telemetry.registry.register(_Failing())
    pages = Pages(served.telemetry, "127.0.0.1:0", 60.0)
    pages.start()
    connection = http.client.HTTPConnection("127.0.0.1", pages.port, timeout=10)
    connection.request("GET", "/metrics")
    assert connection.getresponse().status == 500
    connection.close()
    connection.request("GET", "/-/healthy")
    assert connection.getresponse().status == 200
    connection.close()
    pages.close()


def test_a_port_in_use_is_named_with_its_setting(served: Served) -> None:
    second = Pages(served.telemetry, f"127.0.0.1:{served.pages.port}", 60.0)
    with pytest.raises(OSError, match=r"server\.listen: cannot listen on 127\.0\.0\.1:\d+"):
        second.start()
    second.close()


def test_closing_twice_does_nothing(served: Served) -> None:
    served.pages.close()
    served.pages.close()
