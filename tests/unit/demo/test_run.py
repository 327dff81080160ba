"""The demonstration leaves nothing behind, however it ends."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

import psutil
import pytest

from daemon.demo import run as demo
from daemon.demo.run import Options
from daemon.errors import BrokerUnavailable


class Unavailable:
    """Stands in for a broker that does not start."""

    def __init__(self, *_args: object, **_settings: object) -> None:
        """Take whatever a broker takes."""

    def __enter__(self) -> None:
        raise BrokerUnavailable("no Java here")

    def __exit__(self, *_error: object) -> None:
        """Do nothing: it never started."""


def test_a_broker_that_does_not_start_is_told_in_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "EmbeddedBroker", Unavailable)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    before = signal.getsignal(signal.SIGTERM)
    out = io.StringIO()
    assert demo.run(Options(), out) == 1
    assert "the demonstration failed: no Java here" in out.getvalue()
    assert not list(tmp_path.iterdir())
    assert signal.getsignal(signal.SIGTERM) is before


def test_keep_leaves_the_folder_and_says_where(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "EmbeddedBroker", Unavailable)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    out = io.StringIO()
    assert demo.run(Options(keep=True), out) == 1
    (kept,) = tmp_path.iterdir()
    assert f"kept: {kept}" in out.getvalue()


def family(pid: int) -> Sequence[psutil.Process]:
    return psutil.Process(pid).children(recursive=True)


def until(running: subprocess.Popen[str], words: str) -> None:
    assert running.stdout is not None
    for line in running.stdout:
        if words in line:
            return
    raise AssertionError(f"it ended without saying {words!r}")


@pytest.mark.broker
@pytest.mark.slow
@pytest.mark.parametrize(
    ("how", "code", "when"),
    [
        (signal.SIGINT, 130, "history "),
        (signal.SIGTERM, 143, "made-up fleet"),
        (signal.SIGKILL, -signal.SIGKILL, "history "),
    ],
)
def test_an_interrupted_demonstration_leaves_no_process_and_no_file(
    tmp_path: Path, how: signal.Signals, code: int, when: str
) -> None:
    running = subprocess.Popen(
        [sys.executable, "-m", "daemon", "demo"],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    )
    until(running, when)
    started = family(running.pid)
    assert any("run" in process.cmdline() for process in started)
    running.send_signal(how)
    rest, _ = running.communicate(timeout=90)
    assert running.returncode == code
    _, alive = psutil.wait_procs(started, timeout=30)
    assert not [process for process in alive if process.status() != psutil.STATUS_ZOMBIE]
    pause = threading.Event()
    for _ in range(500):
        if not list(tmp_path.iterdir()):
            break
        pause.wait(0.02)
    assert not list(tmp_path.iterdir())
    assert how == signal.SIGKILL or "everything that was started has been stopped" in rest
