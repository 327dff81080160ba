"""One worker: a daemon in a process of its own, which tells its supervisor how it is as it would tell systemd."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from daemon.notify import PORT

FORGIVEN_SECONDS: Final = 60.0  # a life this long makes up for the failures before it
PAUSE_SECONDS: Final = 1.0  # after the first failure, doubled by each that follows
PAUSE_SECONDS_MAX: Final = 30.0
_DATAGRAM_BYTES = 4096
_OURS = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")


@dataclass(slots=True)
class _Life:
    """A process and what it has reported; times in monotonic seconds."""

    process: subprocess.Popen[bytes]
    began: float
    heard: float
    is_ready: bool = False
    port: int | None = None  # of its pages


class Worker:
    """A worker's process, again and again; every time given or asked for is in monotonic seconds.

    `folder` holds the socket on which it reports. With `watchdog_seconds` it must report as often, or it hangs.
    """

    def __init__(self, number: int, config_path: Path, folder: Path, watchdog_seconds: float | None) -> None:
        self.number = number
        self.restarts = 0
        self.again_at = 0.0  # when the next life may begin
        self._config_path, self._watchdog_seconds = config_path, watchdog_seconds
        self._failures = 0
        self._life: _Life | None = None
        self._address = folder / str(number)
        self._reports = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._reports.bind(str(self._address))
        self._reports.setblocking(False)

    @property
    def is_up(self) -> bool:
        """Whether its process runs."""
        return self._life is not None

    @property
    def is_ready(self) -> bool:
        """Whether it has said that it is ready."""
        return self._life is not None and self._life.is_ready

    @property
    def port(self) -> int | None:
        """The port of its pages, None before they are there."""
        return None if self._life is None else self._life.port

    def start(self, env: Mapping[str, str], now: float) -> None:
        """Begin a life. The worker ends when its standard input does: when this process has ended, however."""
        told = {name: value for name, value in env.items() if name not in _OURS}
        told["NOTIFY_SOCKET"] = str(self._address)
        if self._watchdog_seconds is not None:
            told["WATCHDOG_USEC"] = str(round(self._watchdog_seconds * 1e6))
        process = subprocess.Popen(
            [sys.executable, "-m", "daemon", "run", str(self._config_path), "--worker", str(self.number)],
            env=told,
            stdin=subprocess.PIPE,
            start_new_session=True,  # a terminal's Ctrl-C reaches the supervisor alone
        )
        self._life = _Life(process, now, now)

    def listen(self, now: float) -> None:
        """Take in what it has reported."""
        with suppress(BlockingIOError):
            while True:
                for line in self._reports.recv(_DATAGRAM_BYTES).decode(errors="replace").splitlines():
                    self._hear(line, now)

    def ended(self, now: float) -> int | None:
        """Return the exit code of a life that is over, once; None while it goes on, or between two lives."""
        life = self._life
        code = None if life is None else life.process.poll()
        if life is None or code is None:
            return None
        self._let_go()
        self._failures = 1 if now - life.began >= FORGIVEN_SECONDS else self._failures + 1
        self.again_at = now + min(PAUSE_SECONDS * 2.0 ** (self._failures - 1), PAUSE_SECONDS_MAX)
        return code

    def hangs(self, now: float) -> bool:
        """Return whether it should have reported by now; before it is ready nothing is asked of it."""
        life, limit = self._life, self._watchdog_seconds
        return life is not None and life.is_ready and limit is not None and now - life.heard > limit

    def stop(self) -> None:
        """Ask it to end."""
        if self._life is not None:
            self._life.process.terminate()

    def kill(self) -> None:
        """End it."""
        if self._life is not None:
            self._life.process.kill()

    def wait(self, seconds: float) -> int | None:
        """Return its exit code once it has ended, None if that takes longer than `seconds`."""
        if self._life is None:
            return 0
        try:
            code = self._life.process.wait(max(seconds, 0.0))
        except subprocess.TimeoutExpired:
            return None
        self._let_go()
        return code

    def close(self) -> None:
        """End it, if it has not ended, and close its socket."""
        self.kill()
        self.wait(PAUSE_SECONDS_MAX)
        self._reports.close()
        self._address.unlink(missing_ok=True)

    def _hear(self, line: str, now: float) -> None:
        life = self._life
        if life is None:
            return
        name, _, value = line.partition("=")
        life.heard = now
        life.is_ready = life.is_ready or (name == "READY" and value == "1")
        if name == PORT and value.isdecimal():
            life.port = int(value)

    def _let_go(self) -> None:
        life, self._life = self._life, None
        if life is not None and life.process.stdin is not None:
            life.process.stdin.close()
