"""The workers' pages as one: what a daemon alone would show, for all of them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, quote

from daemon.access import Access
from daemon.metrics import Metrics
from daemon.serving import Page
from daemon.site import CLOSED, NO_SUCH_PAGE, Site
from daemon.workers.asking import ask
from daemon.workers.merging import merged, told
from daemon.workers.worker import Worker

if TYPE_CHECKING:
    from wsgiref.types import WSGIEnvironment

_TEXT_FORMAT = "text/plain; version=0.0.4; charset=utf-8"
_INDEX = b"""<!doctype html><html lang="en"><meta charset="utf-8"><title>Longwatch</title><h1>Longwatch</h1>
<ul><li><a href="/metrics">metrics</a><li><a href="/-/healthy">healthy</a><li><a href="/-/ready">ready</a>
<li><a href="/streams">streams</a></ul><p>Of all workers.
"""
_LISTED = 50  # streams, when a search does not say how many

Answers = Mapping[int, Page]


class WorkersSite(Site):
    """Asks every worker, with the words of whoever asks, and puts the answers together."""

    def __init__(self, workers: Sequence[Worker], access: Access) -> None:
        super().__init__(access)
        self._workers = workers
        self._together: Mapping[str, Callable[[Answers, str], Page]] = {
            "/metrics": lambda answers, _: self._metrics(answers),
            "/-/healthy": _condition,
            "/-/ready": _condition,
            "/streams": _found,
        }

    def answer(self, environ: WSGIEnvironment) -> Page:
        """Return one page for all workers."""
        path, query = environ["PATH_INFO"], environ.get("QUERY_STRING", "")
        if path == "/":
            return Page("200 OK", _INDEX, "text/html; charset=utf-8")
        is_stream = path.startswith("/streams/")
        if not (is_stream or path in self._together):
            return NO_SUCH_PAGE
        if path.startswith("/streams") and self.gate.is_open:
            return CLOSED
        ports = {each.number: each.port for each in self._workers}
        answers = ask(ports, _address(environ), environ.get("HTTP_AUTHORIZATION", ""))
        return _owner(answers) if is_stream else self._together[path](answers, query)

    def _metrics(self, answers: Answers) -> Page:
        pages = {worker: page.body.decode() for worker, page in answers.items() if _is_good(page)}
        up = told(Metrics.WORKER_UP.declared, {each.number: float(each.is_up) for each in self._workers})
        restarts = told(Metrics.WORKER_RESTARTS.declared, {each.number: each.restarts for each in self._workers})
        return Page("200 OK", merged(pages, up + restarts).encode(), _TEXT_FORMAT)


def _address(environ: WSGIEnvironment) -> str:
    """Return path and query to ask for again; WSGI gives the path unquoted, its bytes as Latin-1."""
    path, query = quote(environ["PATH_INFO"].encode("latin-1")), environ.get("QUERY_STRING", "")
    return f"{path}?{query}" if query else path


def _is_good(page: Page) -> bool:
    return page.status.startswith("200")


def _condition(answers: Answers, _query: str) -> Page:
    """Return 200 when every worker says so."""
    lines = "".join(f"worker {worker}: {page.body.decode(errors='replace')}" for worker, page in answers.items())
    good = all(_is_good(page) for page in answers.values())
    return Page("200 OK" if good else "503 Service Unavailable", lines.encode())


def _owner(answers: Answers) -> Page:
    """Return the answer of the worker that has the stream; when nobody has it, of whoever is in trouble."""
    by_rank = sorted(answers.values(), key=lambda page: (not _is_good(page), page.status.startswith("404")))
    return by_rank[0]


def _found(answers: Answers, query: str) -> Page:
    """Return what all workers found, the highest scores first; where one could not say, its answer."""
    bad = next((page for page in answers.values() if not _is_good(page)), None)
    if bad is not None:
        return bad
    found: dict[int, dict[str, Any]] = {worker: json.loads(page.body) for worker, page in answers.items()}
    streams = [{**stream, "worker": worker} for worker, each in found.items() for stream in each["streams"]]
    streams.sort(key=lambda stream: (-(stream["score"] or 0.0), stream["stream"]))
    sums = {name: sum(each[name] for each in found.values()) for name in ("matched", "searched")}
    listed = json.dumps({**sums, "streams": streams[: _limit(query)]}, ensure_ascii=False)
    return Page("200 OK", listed.encode() + b"\n", "application/json")


def _limit(query: str) -> int:
    """Return how many streams were asked for; the workers have checked it."""
    return int(parse_qs(query).get("limit", [str(_LISTED)])[-1])
