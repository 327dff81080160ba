"""The daemon's process is started, watched and ended, whatever it does; its page is read, whatever it says."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import psutil
import pytest

from daemon.demo.child import DaemonChild, DemoFailed, free_port, read_page, sums

POLITE = (
    "import signal, sys; signal.signal(signal.SIGTERM, lambda *_: sys.exit(7)); print('up', flush=True); signal.pause()"
)
STUBBORN = (
    "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True)\nwhile True: signal.pause()"
)
PARENT = """
import subprocess, sys
print(subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"]).pid, flush=True)
import signal; signal.pause()
"""
OWNER = """
import sys
from pathlib import Path
from daemon.demo.child import DaemonChild
log, folder = map(Path, sys.argv[1:])
with DaemonChild([sys.executable, "-c", "import signal; signal.pause()"], log, folder) as child:
    print(child.pid, flush=True)
    sys.stdin.read()
"""


def python(program: str) -> list[str]:
    return [sys.executable, "-c", program]


def said(log: Path, text: str) -> None:
    """Wait until the child has said `text`."""
    pause = threading.Event()
    for _ in range(1000):
        if log.exists() and text in log.read_text():
            return
        pause.wait(0.02)
    raise AssertionError(f"the child never said {text!r}")


def gone(pid: int) -> bool:
    """Wait until the process has ended; a zombie has."""
    try:
        psutil.Process(pid).wait(10)
    except psutil.NoSuchProcess:
        return True
    except psutil.TimeoutExpired:
        return bool(psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
    return True


def test_a_polite_daemon_ends_with_its_own_code(tmp_path: Path) -> None:
    with DaemonChild(python(POLITE), tmp_path / "log") as child:
        said(tmp_path / "log", "up")
        child.check()
        assert child.stop() == 7
        assert child.stop() is None


def test_a_stubborn_daemon_is_ended_by_force(tmp_path: Path) -> None:
    with DaemonChild(python(STUBBORN), tmp_path / "log") as child:
        said(tmp_path / "log", "up")
        assert child.stop(seconds_max=0.2) == -signal.SIGKILL


def test_after_an_error_nobody_waits_long_for_the_daemon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("daemon.demo.child.HURRY_SECONDS", 0.1)
    child = DaemonChild(python(STUBBORN), tmp_path / "log")
    with pytest.raises(DemoFailed, match="on purpose"):
        fails_when_up(child, tmp_path / "log")
    assert child.pid is None


def fails_when_up(child: DaemonChild, log: Path) -> None:
    with child:
        said(log, "up")
        raise DemoFailed("on purpose")


def test_what_the_daemon_started_goes_with_it(tmp_path: Path) -> None:
    with DaemonChild(python(PARENT), tmp_path / "log") as child:
        said(tmp_path / "log", "\n")
        grandchild = int((tmp_path / "log").read_text())
        child.stop()
    assert gone(grandchild)


def test_a_daemon_that_died_is_noticed_with_its_last_words(tmp_path: Path) -> None:
    child = DaemonChild(python("import sys; print('alas'); sys.exit(3)"), tmp_path / "log")
    with child, pytest.raises(DemoFailed, match=r"(?s)ended with code 3.*alas"):
        checked_until_it_ends(child)


def checked_until_it_ends(child: DaemonChild) -> None:
    pause = threading.Event()
    for _ in range(1000):
        child.check()
        pause.wait(0.01)


def test_an_error_in_the_body_ends_the_daemon_too(tmp_path: Path) -> None:
    child = DaemonChild(python(POLITE), tmp_path / "log")
    with pytest.raises(DemoFailed, match="on purpose"), child:
        pid = child.pid
        raise DemoFailed("on purpose")
    assert pid is not None
    assert gone(pid)


def test_when_the_parent_is_killed_the_daemon_and_its_folder_go(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    owner = subprocess.Popen(
        [*python(OWNER), str(tmp_path / "log"), str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert owner.stdout is not None
    assert owner.stdin is not None
    pid = int(owner.stdout.readline())
    os.kill(owner.pid, signal.SIGKILL)
    owner.communicate()
    assert gone(pid)
    pause = threading.Event()
    for _ in range(500):
        if not folder.exists():
            break
        pause.wait(0.02)
    assert not folder.exists()


def test_a_command_that_does_not_exist_leaves_nothing_running(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), DaemonChild([str(tmp_path / "none")], tmp_path / "log"):
        raise AssertionError("it cannot have started")


def test_metrics_are_summed_over_their_labels() -> None:
    page = """\
# HELP a_total Text with {braces} 3
# TYPE a_total counter
a_total{topic="x",partition="0"} 1.0
a_total{topic="y \\" }",partition="1"} 2.5e+01
b 7.0
c_info{v="1"} NaN
"""
    found = sums(page)
    assert (found["a_total"], found["b"]) == (26.0, 7.0)
    assert set(found) == {"a_total", "b", "c_info"}


class Page(BaseHTTPRequestHandler):
    """Says one metric, or an error below /broken."""

    status = 200

    def do_GET(self) -> None:
        self.send_response(self.status)
        self.end_headers()
        self.wfile.write(b"a 1.0\n")

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Say nothing."""


class Broken(Page):
    """Says that something is wrong."""

    status = 500


@pytest.fixture(params=[Page, Broken])
def server(request: pytest.FixtureRequest) -> Iterator[HTTPServer]:
    """Serve a page from a thread."""
    with HTTPServer(("127.0.0.1", 0), request.param) as serving:
        thread = threading.Thread(target=serving.serve_forever, args=(0.01,))
        thread.start()
        yield serving
        serving.shutdown()
        thread.join()


def test_a_page_is_read_when_it_is_well(server: HTTPServer) -> None:
    well = server.RequestHandlerClass is Page
    assert dict(read_page(server.server_port)) == ({"a": 1.0} if well else {})


def test_no_page_is_no_metrics() -> None:
    assert not read_page(free_port())
