"""Makes the client library's objects; one that cannot be made leaves a reason behind, and nothing else."""

from __future__ import annotations

import logging
import socket
import ssl
from collections.abc import Callable, Mapping
from typing import Any, cast

from kafka.errors import KafkaTimeoutError
from kafka.net.compat import KafkaNetClient
from kafka.net.inet import KafkaNetSocket

from daemon.kafka.failures import meaning


class TidySocket(KafkaNetSocket):  # type: ignore[misc]  # the library ships no types
    """Connects straight, and closes the socket when that fails, which the library forgets; chosen by its scheme."""

    SCHEMES = ("direct",)

    async def sock_connect(self, net: object, sock: socket.socket, address: object, **more: object) -> socket.socket:
        """Connect `sock` to `address`."""
        try:
            return cast("socket.socket", await super().sock_connect(net, sock, address, **more))
        except BaseException:
            sock.close()
            raise


class TidySSLSocket(ssl.SSLSocket):
    """Closes itself when the handshake fails, which the library forgets."""

    def do_handshake(self, block: bool = False) -> None:  # noqa: FBT001, FBT002  # the standard library's signature
        """Go on with the handshake."""
        try:
            super().do_handshake(block)
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            raise
        except BaseException:
            self.close()
            raise


class _Reason(logging.Handler):
    """Remembers why connections failed: the library says it to its log only, and raises that time is up."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.error: Exception | None = None

    def emit(self, record: logging.LogRecord) -> None:
        arguments = record.args if isinstance(record.args, tuple) else ()
        for error in arguments:
            # The last one tells, but not that time is up, and a refusal tells more than the cut connections around it.
            if isinstance(error, Exception) and not isinstance(error, KafkaTimeoutError) and not self._is_refusal():
                self.error = error

    def instead_of(self, late: KafkaTimeoutError, *, password: bool) -> Exception:
        """Return what to raise when time is up; `password` says whether one was offered."""
        if self.error is None or self._is_refusal():
            error: Exception = late if self.error is None else self.error
            return error
        hint = "; it may also be that name or password were refused" if password else ""
        told: Exception = KafkaTimeoutError(f"{self.error}{hint}")
        return told

    def _is_refusal(self) -> bool:
        return self.error is not None and meaning(type(self.error)) == "settings"


def built(kind: Callable[..., object], options: Mapping[str, object]) -> object:
    """Return a client of class `kind`; when it cannot be made, end its thread and sockets and raise the reason."""
    connections: list[Any] = []

    def connect(**more: object) -> object:
        connections.append(KafkaNetClient(**more))
        return connections[-1]

    logger, reason = logging.getLogger("kafka.net.manager"), _Reason()
    logger.addHandler(reason)
    try:
        return kind(**options, kafka_client=connect)
    except BaseException as error:
        for connection in connections:
            connection.close()
        if isinstance(error, KafkaTimeoutError):
            raise reason.instead_of(error, password="sasl_mechanism" in options) from error
        raise
    finally:
        logger.removeHandler(reason)
