"""Asks a Kafka broker over a bare socket whether it serves, without any client library."""

from __future__ import annotations

import socket
import struct

_METADATA, _VERSION = 3, 4
_NO_TOPICS = struct.pack(">i?", 0, False)
_REQUEST = struct.pack(">hhih", _METADATA, _VERSION, 1, -1) + _NO_TOPICS


def answers(host: str, port: int, wait_seconds: float = 1.0) -> bool:
    """Return whether the broker at `host:port` answers a metadata request and counts itself among the live ones."""
    try:
        with socket.create_connection((host, port), timeout=wait_seconds) as connection:
            connection.sendall(struct.pack(">i", len(_REQUEST)) + _REQUEST)
            with connection.makefile("rb") as stream:
                brokers: int = struct.unpack(">iiii", stream.read(16))[3]  # after size, correlation and throttle time
    except (OSError, struct.error):
        return False
    return brokers > 0
