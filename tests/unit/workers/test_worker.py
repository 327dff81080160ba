"""A worker is started again after its failures, each time a little later, and is believed what it reports."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from daemon.workers.worker import FORGIVEN_SECONDS, PAUSE_SECONDS, PAUSE_SECONDS_MAX, Worker

EXIT_CONFIG = 78
WAIT_SECONDS = 60.0


@pytest.fixture
def worker(tmp_path: Path) -> Iterator[Worker]:
    """A worker with settings that it cannot work with: its lives are short."""
    config = tmp_path / "longwatch.yaml"
    config.write_text("nonsense: true\n")
    made = Worker(3, config, tmp_path, watchdog_seconds=10.0)
    yield made
    made.close()
    assert not (tmp_path / "3").exists()


def one_life(worker: Worker, now: float, length: float) -> float:
    """Let it live and return how long it has to pause after that."""
    worker.start(os.environ, now)
    assert worker.is_up
    pause = threading.Event()
    for _ in range(int(WAIT_SECONDS / 0.02)):
        code = worker.ended(now + length)
        if code is not None:
            assert code == EXIT_CONFIG
            assert worker.port is None
            assert worker.ended(now + length) is None  # it is told once
            return worker.again_at - (now + length)
        pause.wait(0.02)
    raise AssertionError(f"it has not ended within {WAIT_SECONDS:g} s")


def test_each_failure_doubles_the_pause_and_a_long_life_is_forgiven(worker: Worker) -> None:
    assert one_life(worker, 100.0, 1.0) == PAUSE_SECONDS
    assert one_life(worker, 200.0, 1.0) == 2.0 * PAUSE_SECONDS
    assert one_life(worker, 300.0, FORGIVEN_SECONDS) == PAUSE_SECONDS
    worker._failures = 50
    assert one_life(worker, 400.0, 1.0) == PAUSE_SECONDS_MAX


def test_it_is_ready_when_it_says_so_and_hangs_when_it_says_nothing_any_more(worker: Worker, tmp_path: Path) -> None:
    worker.start(os.environ, 100.0)
    assert not worker.hangs(1000.0)  # it may take its time to get ready
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as reporting:
        reporting.connect(str(tmp_path / "3"))
        reporting.send(b"X_LONGWATCH_PORT=4711")
        reporting.send(b"READY=1\nSTATUS=restoring")
        worker.listen(100.0)
        assert (worker.port, worker.is_ready) == (4711, True)
        reporting.send(b"WATCHDOG=1")
        worker.listen(105.0)
    assert not worker.hangs(115.0)
    assert worker.hangs(115.1)
    assert worker.wait(WAIT_SECONDS) == EXIT_CONFIG
    assert (worker.port, worker.is_ready) == (None, False)
