"""Tells the service manager (systemd) that the daemon is ready, alive, reloading or stopping."""

from __future__ import annotations

import socket
from collections.abc import Mapping

PORT = "X_LONGWATCH_PORT"  # what a worker calls the port of its pages
_STATUS_CHARS_MAX = 200


class Notifier:
    """Send service notifications over one datagram socket; every call returns at once and never fails.

    Without a service manager (`address` None) nothing is sent. Times are monotonic seconds, given by the caller: the
    processing loop calls `beat`, so that a loop that hangs is a watchdog that starves.
    """

    def __init__(self, address: str | None, watchdog_seconds: float | None = None) -> None:
        self._address = _socket_address(address)
        self._beat_seconds = None if watchdog_seconds is None else watchdog_seconds / 3.0
        self._beaten: float | None = None
        self._status = ""
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) if self._address else None
        if self._socket is not None:
            self._socket.settimeout(0.0)

    @property
    def watchdog_seconds(self) -> float | None:
        """How long the service manager waits for a beat, None when it does not."""
        return None if self._beat_seconds is None else 3.0 * self._beat_seconds

    @classmethod
    def from_env(cls, env: Mapping[str, str], pid: int) -> Notifier:
        """Build from the variables that systemd sets; a watchdog meant for another process than `pid` is ignored."""
        ours = env.get("WATCHDOG_PID", str(pid)) == str(pid)
        microseconds = env.get("WATCHDOG_USEC", "")
        seconds = int(microseconds) / 1e6 if ours and microseconds.isdecimal() and int(microseconds) > 0 else None
        return cls(env.get("NOTIFY_SOCKET"), seconds)

    def ready(self, status: str) -> bool:
        """Say that start-up, or a reload, is complete; return whether the message was taken."""
        self._status = _one_line(status)
        return self._send(f"READY=1\nSTATUS={self._status}")

    def port(self, port: int) -> bool:
        """Say on which port the pages are: a supervisor of workers asks there."""
        return self._send(f"{PORT}={port}")

    def status(self, text: str) -> bool:
        """Show `text` in `systemctl status`; a text that is shown already is not sent again."""
        line = _one_line(text)
        if line == self._status or not self._send(f"STATUS={line}"):
            return False
        self._status = line
        return True

    def beat(self, now: float) -> bool:
        """Feed the watchdog when a third of its time has passed; return whether it was fed."""
        due = self._beat_seconds is not None and (self._beaten is None or now - self._beaten >= self._beat_seconds)
        if not due or not self._send("WATCHDOG=1"):
            return False
        self._beaten = now
        return True

    def reloading(self, now: float) -> bool:
        """Say that the configuration is being read again; `ready` ends it."""
        # systemd 253 and newer wait for both lines in one message; older ones ignore the second.
        return self._send(f"RELOADING=1\nMONOTONIC_USEC={round(now * 1e6)}")

    def stopping(self, status: str = "stopping") -> bool:
        """Say that the shutdown has begun."""
        self._status = _one_line(status)
        return self._send(f"STOPPING=1\nSTATUS={self._status}")

    def close(self) -> None:
        """Close the socket; later calls send nothing."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _send(self, message: str) -> bool:
        if self._socket is None or self._address is None:
            return False
        try:
            self._socket.sendto(message.encode(), self._address)
        except OSError:
            # A full or vanished socket must not stop the loop; a watchdog that is not fed is tried again next turn.
            return False
        return True


def _socket_address(address: str | None) -> str | None:
    """Return the address in the form the kernel wants, None for kinds that are not local sockets (vsock)."""
    if address is None or address[:1] not in {"/", "@"}:
        return None
    return "\0" + address[1:] if address.startswith("@") else address


def _one_line(text: str) -> str:
    return " ".join(text.split())[:_STATUS_CHARS_MAX]
