"""The daemon as a process of its own, and its metrics page."""

from __future__ import annotations

import http.client
import os
import re
import signal
import socket
import subprocess
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Final, Self

HOST: Final = "127.0.0.1"
STOP_SECONDS: Final = 40.0  # longer than the daemon's own shutdown_seconds
HURRY_SECONDS: Final = 5.0  # after a Ctrl-C or an error there is nothing left to show
TAIL_LINES: Final = 30
PAGE_SECONDS: Final = 3.0
_SAMPLE = re.compile(r"^([A-Za-z_:][\w:]*)(?:\{.*\})? (\S+)$", re.MULTILINE)
# Reading ends when the parent closes the pipe or dies, however it dies.
_WATCHDOG = 'read -r line; kill -s KILL -- "-$1" 2>/dev/null; if [ -n "$2" ]; then rm -rf -- "$2"; fi'


class DemoFailed(Exception):
    """The demonstration cannot go on; the text says why and where to look."""


class DaemonChild:
    """A daemon in a child process that never outlives its parent.

    Its own process group keeps a terminal's Ctrl-C away from it: it is told to stop by SIGTERM, as by a supervisor.
    `leftover` is a folder to remove should the parent die without cleaning up.
    """

    def __init__(self, command: Sequence[str], log: Path, leftover: Path | None = None) -> None:
        self._command = command
        self._log = log
        self._leftover = leftover
        self._process: subprocess.Popen[bytes] | None = None
        self._watchdog: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """Return the daemon's process id, None while it does not run."""
        return self._process.pid if self._process else None

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self.stop(HURRY_SECONDS)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop(STOP_SECONDS if error is None else HURRY_SECONDS)

    def _start(self) -> None:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        arguments = [str(self._process.pid), "" if self._leftover is None else str(self._leftover)]
        self._watchdog = subprocess.Popen(
            ["/bin/sh", "-c", _WATCHDOG, "longwatch-watchdog", *arguments],
            stdin=subprocess.PIPE,
            start_new_session=True,
        )

    def check(self) -> None:
        """Raise DemoFailed, with the end of its log, if the daemon has ended."""
        if self._process is not None and self._process.poll() is not None:
            raise DemoFailed(f"the daemon ended with code {self._process.returncode}:\n{self.tail()}")

    def stop(self, seconds_max: float = STOP_SECONDS) -> int | None:
        """Ask the daemon to stop, by force after `seconds_max`, and return its exit code; None when it did not run."""
        process, self._process = self._process, None
        watchdog, self._watchdog = self._watchdog, None
        if process is None:
            return None
        if process.poll() is None:
            process.terminate()
            with suppress(subprocess.TimeoutExpired):
                process.wait(seconds_max)
        # What it started (a training) is in its group and must not stay either. The group keeps its number while
        # anybody is in it; when nobody is, the daemon itself, not yet waited for, does.
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        if watchdog is not None:
            watchdog.kill()
            watchdog.communicate()
        return process.wait()

    def tail(self) -> str:
        """Return the last lines of the daemon's log."""
        with suppress(OSError):
            lines = self._log.read_text(encoding="utf-8", errors="replace").splitlines()
            return "\n".join(lines[-TAIL_LINES:]) or f"(nothing in {self._log})"
        return "(no log)"


def free_port() -> int:
    """Return a port of this machine that nobody listens on."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


def read_page(port: int) -> Mapping[str, float]:
    """Return the metrics page's samples, summed over their labels; nothing while no page answers."""
    connection = http.client.HTTPConnection(HOST, port, timeout=PAGE_SECONDS)
    try:
        connection.request("GET", "/metrics")
        response = connection.getresponse()
        return sums(response.read().decode()) if response.status == http.client.OK else {}
    except (OSError, http.client.HTTPException):
        return {}
    finally:
        connection.close()


def sums(page: str) -> Mapping[str, float]:
    """Return each metric of a page in Prometheus' text format, summed over its labels."""
    total: defaultdict[str, float] = defaultdict(float)
    for name, value in _SAMPLE.findall(page):
        total[name] += float(value)
    return total
