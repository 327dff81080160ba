"""Puts a deadline on calls of the client library that would otherwise wait for ever."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

T = TypeVar("T")


def within(seconds: float, call: Callable[[], T]) -> T:
    """Return what `call` returns, or raise what it raises; TimeoutError when that takes longer than `seconds`.

    A call that is late goes on in its daemon thread, so what it works on must be thrown away.
    """
    result: Future[T] = Future()

    def run() -> None:
        try:
            result.set_result(call())
        # Whatever it is, it belongs to the caller's thread.
        except BaseException as error:  # noqa: BLE001
            result.set_exception(error)

    threading.Thread(target=run, daemon=True, name="kafka-deadline").start()
    return result.result(max(seconds, 0.0))
