"""Lets librdkafka consume on a thread of its own, because a callback in there may have to wait for the next poll."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Final, Generic, TypeVar

T = TypeVar("T")

SPARE_SECONDS: Final = 5.0  # that consuming may take longer than it was told


class Waiting(Generic[T]):
    """One call of `consume` at a time; `hold` stops it from within, until the next one is asked for.

    One that takes `spare_seconds` more than it was told goes on, and what it brings is for the next one who asks.
    """

    def __init__(self, consume: Callable[[int, float], Sequence[T]], spare_seconds: float = SPARE_SECONDS) -> None:
        self._consume, self._spare_seconds = consume, spare_seconds
        self._asked: queue.SimpleQueue[tuple[int, float, Future[Sequence[T]]] | None] = queue.SimpleQueue()
        self._changed = threading.Condition()
        self._held = False
        self._told = False  # that it is held: what a callback holds back goes only after that
        self._closing = False
        self._result: Future[Sequence[T]] | None = None
        self._thread = threading.Thread(target=self._run, name="librdkafka", daemon=True)
        self._thread.start()

    def consume(self, records_max: int, wait_seconds: float) -> Sequence[T]:
        """Return what came; nothing while a callback holds. Raises what consuming raises."""
        with self._changed:
            if self._told:
                self._held = self._told = False
                self._changed.notify_all()
            if self._result is None:
                self._result = Future()
                self._result.add_done_callback(lambda _: self._notify())
                self._asked.put((records_max, wait_seconds, self._result))
            result = self._result
            self._changed.wait_for(lambda: result.done() or self._held, wait_seconds + self._spare_seconds)
            if not result.done():
                self._told = self._held
                return ()
            self._result = None
        return result.result()

    def hold(self) -> None:
        """Wait until somebody consumes again, or nobody will; called by a callback."""
        with self._changed:
            self._held = not self._closing
            self._changed.notify_all()
            self._changed.wait_for(lambda: not self._held)

    def close(self) -> None:
        """Let a callback that holds go on, and the thread end; wait for it a little."""
        with self._changed:
            self._closing, self._held = True, False
            self._changed.notify_all()
        self._asked.put(None)
        self._thread.join(SPARE_SECONDS)

    def _notify(self) -> None:
        with self._changed:
            self._changed.notify_all()

    def _run(self) -> None:
        while (asked := self._asked.get()) is not None:
            records_max, wait_seconds, result = asked
            try:
                result.set_result(self._consume(records_max, wait_seconds))
            except BaseException as error:  # noqa: BLE001  # it belongs to the thread that asked
                result.set_exception(error)
