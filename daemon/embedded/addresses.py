"""Where embedded brokers listen: this machine only, on ports that nobody else holds."""

from __future__ import annotations

import random
import socket

from daemon.errors import BrokerUnavailable

HOST = "127.0.0.1"
"""The only address that an embedded broker listens on."""

# Below the range from which the kernel takes ports for outgoing connections, so that none is lost before a restart.
_PORTS = range(20000, 32000)
_TRIES = 100


def free_ports(count: int) -> list[int]:
    """Return so many different ports that nobody listens on now. Raises BrokerUnavailable when there are too few."""
    found = [port for port in random.sample(_PORTS, _TRIES) if is_free(port)][:count]
    if len(found) < count:
        raise BrokerUnavailable(f"no {count} free ports between {_PORTS.start} and {_PORTS.stop} on {HOST}")
    return found


def is_free(port: int) -> bool:
    """Return whether nobody listens on `port`."""
    with socket.socket() as probe:
        # As the broker does: connections of an earlier one that are still being buried do not count.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
        return True
