"""Asks the workers' own pages, side by side, and waits for none of them longer than it may."""

from __future__ import annotations

import http.client
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from daemon.serving import Page

HOST: Final = "127.0.0.1"
ASK_SECONDS: Final = 6.0  # a little more than a worker takes to say that its loop does not answer
ANSWER_BYTES_MAX: Final = 32 * 1024 * 1024


def ask(ports: Mapping[int, int | None], path: str, authorization: str) -> dict[int, Page]:
    """Return each worker's answer for `path`, query included; one that has no port or does not answer is a 503."""
    with ThreadPoolExecutor(max_workers=max(len(ports), 1)) as pool:
        asked = {worker: pool.submit(_one, port, path, authorization) for worker, port in ports.items()}
        return {worker: each.result() for worker, each in asked.items()}


def _one(port: int | None, path: str, authorization: str) -> Page:
    if port is None:
        return Page("503 Service Unavailable", b"the worker is starting\n")
    connection = http.client.HTTPConnection(HOST, port, timeout=ASK_SECONDS)
    try:
        connection.request("GET", path, headers={"Authorization": authorization} if authorization else {})
        response = connection.getresponse()
        body = response.read(ANSWER_BYTES_MAX)
        kind = response.getheader("Content-Type") or "text/plain; charset=utf-8"
        return Page(f"{response.status} {response.reason}", body, kind)
    except (OSError, http.client.HTTPException) as error:
        return Page("503 Service Unavailable", f"the worker does not answer: {type(error).__name__}\n".encode())
    finally:
        connection.close()
