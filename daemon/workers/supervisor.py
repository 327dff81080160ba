"""Starts the workers, starts again what ends or hangs, and stops them all together."""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from daemon.access import Access
from daemon.logs import Log
from daemon.notify import Notifier
from daemon.site import Served
from daemon.stopping import stopped_by_signals
from daemon.workers.pages import WorkersSite
from daemon.workers.worker import Worker

EXIT_OK, EXIT_CONFIG, EXIT_SHUTDOWN_LATE = 0, 78, 75
TICK_SECONDS: Final = 0.25
SPARE_SECONDS: Final = 5.0  # after a worker's own deadline for stopping, until it is killed


@dataclass(frozen=True, slots=True)
class Plan:
    """What the supervisor is told to do."""

    workers: int
    config_path: Path
    listen: str | None  # of the pages of all workers
    access: Access
    shutdown_seconds: float


def supervise(plan: Plan, env: Mapping[str, str], pid: int, log: Log) -> int:
    """Run the workers until SIGTERM or SIGINT and return the exit code; 78 as soon as one of them ends with it."""
    stop, notifier = threading.Event(), Notifier.from_env(env, pid)
    with ExitStack() as stack:
        stack.enter_context(stopped_by_signals(stop))
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="longwatch-")))
        workers = [Worker(i, plan.config_path, folder, notifier.watchdog_seconds) for i in range(plan.workers)]
        for worker in workers:
            stack.callback(worker.close)
        if plan.listen is not None:
            pages = Served(WorkersSite(workers, plan.access), plan.listen, plan.access)
            pages.start()
            stack.callback(pages.close)
            log.info("listening", port=pages.port, workers=plan.workers)
        watching = _Watching(workers, env, notifier, log)
        while not stop.wait(TICK_SECONDS):
            if watching.tick(time.monotonic()) == EXIT_CONFIG:
                break
        has_given_up = not stop.is_set()
        notifier.stopping("stopping")
        codes = _stopped(workers, time.monotonic() + plan.shutdown_seconds + SPARE_SECONDS, log)
        return EXIT_CONFIG if has_given_up else max(codes)


class _Watching:
    """Looks after the workers, tick by tick."""

    def __init__(self, workers: Sequence[Worker], env: Mapping[str, str], notifier: Notifier, log: Log) -> None:
        self._workers, self._env, self._notifier, self._log = workers, env, notifier, log
        self._is_ready = False

    def tick(self, now: float) -> int:
        """Do what is to be done now; return the exit code of a worker that cannot go on, 0 when there is none."""
        for worker in self._workers:
            worker.listen(now)
            if worker.hangs(now):
                self._log.error("worker_hangs", worker=worker.number)
                worker.kill()
            code = worker.ended(now)
            if code == EXIT_CONFIG:
                return code
            if code is not None:
                worker.restarts += 1
                self._log.error("worker_ended", worker=worker.number, code=code, again_seconds=worker.again_at - now)
            if not worker.is_up and now >= worker.again_at:
                worker.start(self._env, now)
        self._report(now)
        return EXIT_OK

    def _report(self, now: float) -> None:
        """Tell the service manager: ready once all are, alive as long as they are looked after."""
        if not self._is_ready and all(worker.is_ready for worker in self._workers):
            self._is_ready = self._notifier.ready(f"{len(self._workers)} workers")
        self._notifier.beat(now)


def _stopped(workers: Sequence[Worker], deadline: float, log: Log) -> list[int]:
    """Let all workers end, those that are late by force, and return their exit codes."""
    for worker in workers:
        worker.stop()
    codes = []
    for worker in workers:
        code = worker.wait(deadline - time.monotonic())
        if code is None:
            log.error("worker_killed", worker=worker.number)
            worker.kill()
            worker.wait(SPARE_SECONDS)
        codes.append(EXIT_SHUTDOWN_LATE if code is None else max(code, 0))
    return codes
