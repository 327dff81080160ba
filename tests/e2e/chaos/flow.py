"""The producer: writes tick after tick at its own pace, whatever happens to brokers and daemons."""

from __future__ import annotations

import threading
import time
from types import TracebackType
from typing import Self

from daemon.errors import DaemonError
from daemon.kafka import ConnectionSettings, KafkaBroker
from tests.e2e.chaos.tape import Tape

RETRY_SECONDS = 0.1


class Flow:
    """Writes a tape from a thread of its own; a tick that the broker did not acknowledge is written once more.

    What was written in spite of an error stands in the input twice, as any producer without transactions may leave it.
    """

    def __init__(self, bootstrap: tuple[str, ...], tape: Tape, ticks_per_second: float) -> None:
        self._broker = KafkaBroker(ConnectionSettings(bootstrap, connect_timeout_seconds=3.0))
        self._tape, self._interval = tape, 1.0 / ticks_per_second
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="flow")
        self.ticks = 0
        self.repeated = 0
        self.error: BaseException | None = None

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """Write no more; harmless when called twice."""
        self._stop.set()
        self._thread.join()
        self._broker.close()

    def _run(self) -> None:
        try:
            while not self._stop.is_set():
                began = time.monotonic()
                self._write(self.ticks)
                self.ticks += 1
                self._stop.wait(began + self._interval - time.monotonic())
        # told by whoever drives: a thread has nobody to raise it to
        except BaseException as error:  # noqa: BLE001
            self.error = error

    def _write(self, tick: int) -> None:
        records = self._tape.tick(tick)
        while True:
            try:
                return self._broker.publish(records)
            except DaemonError:
                if self._stop.is_set():
                    return None
                self.repeated += 1
                self._stop.wait(RETRY_SECONDS)
