"""Makes and ends the client library's objects; one that cannot be made leaves a reason behind, and nothing else."""

from __future__ import annotations

import logging
import socket
import ssl
from collections.abc import Callable, Mapping
from typing import Any, cast

from kafka import KafkaProducer
from kafka.errors import KafkaConnectionError, KafkaTimeoutError
from kafka.net.compat import KafkaNetClient
from kafka.net.inet import KafkaNetSocket

from daemon.kafka.deadline import within
from daemon.kafka.failures import meaning
from daemon.kafka.refusals import refusal


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
    """Closes itself when the handshake fails, which the library forgets; lets the last words before the end be read.

    The library reads until nothing is left, and when it meets the end there, it throws away what came before: the
    broker's word on why it refuses a login, for one.
    """

    _is_read = False

    def do_handshake(self, block: bool = False) -> None:  # noqa: FBT001, FBT002  # the standard library's signature
        """Go on with the handshake."""
        try:
            super().do_handshake(block)
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            raise
        except BaseException:
            self.close()
            raise

    def recv(self, buflen: int = 1024, flags: int = 0) -> bytes:
        """Return what came; b"" at the end, but not in the same breath as the bytes before it."""
        was_read, self._is_read = self._is_read, False
        data = super().recv(buflen, flags)
        if not data and was_read:
            raise ssl.SSLWantReadError("the end is told at the next reading")
        self._is_read = bool(data)
        return data


class BoundedProducer(KafkaProducer):  # type: ignore[misc]  # the library ships no types
    """Waits for the coordinator no longer than it is told to.

    The library's own calls wait for ever, even after their producer was closed: made on a thread that somebody gave up
    waiting for, each would keep that thread, and the producer with all it holds.
    """

    def send_offsets_within(self, seconds: float, offsets: Mapping[Any, object], group: object) -> None:
        """Make `offsets` of `group` a part of the transaction. Raises KafkaTimeoutError."""
        self._await(self._transaction_manager.send_offsets_to_transaction(offsets, group), seconds)

    def commit_within(self, seconds: float) -> None:
        """Commit the transaction. Raises KafkaTimeoutError; then nobody knows whether it will be committed."""
        self._await(self._transaction_manager.begin_commit(), seconds)

    def _await(self, result: Any, seconds: float) -> None:
        self._sender.wakeup()
        if not result.wait(timeout_ms=max(seconds, 0.0) * 1000):
            raise KafkaTimeoutError(f"the transaction's coordinator did not answer within {seconds:.3g} s")


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
        cut = isinstance(self.error, KafkaConnectionError) and "socket disconnected" in str(self.error)
        hint = "; it may also be that name or password were refused" if password and cut else ""
        told: Exception = KafkaTimeoutError(f"{self.error}{hint}")
        return told

    def _is_refusal(self) -> bool:
        if self.error is None:
            return False
        refused = refusal(self.error, str(self.error))
        return meaning(type(self.error)) == "settings" or (refused is not None and refused.is_final)


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


def release(consumer: Any, wait_seconds: float) -> None:
    """Close `consumer`, which takes twice `wait_seconds` at most; its thread and sockets end even if that fails."""

    def close() -> None:
        try:
            consumer.close(autocommit=False, timeout_ms=wait_seconds * 1000)
        finally:
            # What the library's close() left undone when it failed half-way; nothing, when it did not.
            consumer._client.close()  # noqa: SLF001  # no public way in 3.0

    within(wait_seconds * 2, close)
