"""When to stop: a signal says so, and a second one does not wait."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def stopped_by_signals(stop: threading.Event) -> Iterator[None]:
    """Let SIGTERM and SIGINT set `stop`; a second one ends the process at once."""

    def handle(number: int, _frame: object) -> None:
        if stop.is_set():
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        stop.set()

    before = {number: signal.signal(number, handle) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def stop_at_end_of(pipe: int, stop: threading.Event) -> None:
    """Set `stop` when the other end of `pipe` is closed, which happens too when whoever holds it is killed."""

    def wait() -> None:
        while os.read(pipe, 4096):  # not through Python's own file: its lock would be held when the process ends
            pass
        stop.set()

    threading.Thread(target=wait, name="parent", daemon=True).start()
