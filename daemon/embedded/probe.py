"""Asks a Kafka broker over a bare socket whether it serves, without any client library."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from typing import BinaryIO

_METADATA, _VERSION = 3, 4
_NO_TOPICS = struct.pack(">i?", 0, False)
_REQUEST = struct.pack(">hhih", _METADATA, _VERSION, 1, -1) + _NO_TOPICS


def answers(host: str, port: int, wait_seconds: float = 1.0) -> bool:
    """Return whether the broker at `host:port` answers a metadata request and counts itself among the live ones."""
    try:
        with socket.create_connection((host, port), timeout=wait_seconds) as connection:
            connection.sendall(struct.pack(">i", len(_REQUEST)) + _REQUEST)
            with connection.makefile("rb") as stream:
                return port in _live(stream)
    except (OSError, struct.error):
        return False


def _live(stream: BinaryIO) -> Iterator[int]:
    """Yield the port of each broker that the answer lists."""
    (brokers,) = struct.unpack(">12xi", stream.read(16))  # after size, correlation and throttle time
    for _ in range(brokers):
        (name_bytes,) = struct.unpack(">4xh", stream.read(6))  # after the node's number
        stream.read(name_bytes)
        port, rack_bytes = struct.unpack(">ih", stream.read(6))
        stream.read(max(rack_bytes, 0))
        yield port
