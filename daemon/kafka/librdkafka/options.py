"""The connection settings in librdkafka's words."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from confluent_kafka import KafkaError

from daemon.kafka.client import ConnectionSettings, Security

Options = dict[str, object]

_FETCH_BYTES_MAX: Final = 50 * 1024 * 1024
_PARTITION_FETCH_BYTES_MAX: Final = 4 * 1024 * 1024
_QUEUED_KBYTES_MAX: Final = 65_536  # of records that were fetched ahead
_WAITING_KBYTES_MAX: Final = 1_048_576  # of records of one transaction on their way
_DELIVERY_MS_MAX: Final = 10_000  # until a record that no broker takes fails its transaction
_TOKEN_CHARACTERS_MAX: Final = 64 * 1024
_TOKEN_SECONDS: Final = 300.0  # after which a token's file is read again, at the latest


def common(settings: ConnectionSettings, on_error: Callable[[KafkaError], None]) -> Options:
    """Return what every client needs; `on_error` is told of trouble that no call reports."""
    return {
        "bootstrap.servers": ",".join(settings.bootstrap_servers),
        "client.id": settings.client_id,
        "reconnect.backoff.max.ms": 1000,
        "allow.auto.create.topics": False,
        "error_cb": on_error,
        "logger": logging.getLogger("kafka.librdkafka"),
        **_security(settings.security),
    }


def consumer(settings: ConnectionSettings, on_error: Callable[[KafkaError], None]) -> Options:
    """Return what a consumer of committed records needs, in a group or not; it never commits by itself."""
    return common(settings, on_error) | {
        "group.id": settings.group_id,
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        "isolation.level": "read_committed",
        # What to do when nothing is left at our position is decided by a restore, not by the library.
        "auto.offset.reset": "error",
        # How far we are where nothing but control records are left.
        "enable.partition.eof": True,
        "check.crcs": True,
        "fetch.max.bytes": _FETCH_BYTES_MAX,
        "fetch.message.max.bytes": _PARTITION_FETCH_BYTES_MAX,
        "queued.max.messages.kbytes": _QUEUED_KBYTES_MAX,
        "fetch.wait.max.ms": 100,
        "topic.metadata.refresh.interval.ms": int(settings.metadata_seconds * 1000),
    }


def member(settings: ConnectionSettings, on_error: Callable[[KafkaError], None]) -> Options:
    """Return what a member of the group needs."""
    session_ms = int(settings.session_timeout_seconds * 1000)
    options = consumer(settings, on_error) | {
        "session.timeout.ms": session_ms,
        "heartbeat.interval.ms": min(1000, session_ms // 3),
        "partition.assignment.strategy": "cooperative-sticky",
    }
    return options if settings.instance_id is None else options | {"group.instance.id": settings.instance_id}


def producer(settings: ConnectionSettings, identity: str, on_error: Callable[[KafkaError], None]) -> Options:
    """Return what a transactional producer needs."""
    transaction_ms = int(settings.transaction_timeout_seconds * 1000)
    return common(settings, on_error) | {
        "transactional.id": identity,
        "transaction.timeout.ms": transaction_ms,
        # The library refuses to be built with a record that may outlast its transaction.
        "delivery.timeout.ms": min(_DELIVERY_MS_MAX, transaction_ms),
        "linger.ms": 5,
        "batch.size": 256 * 1024,
        "message.max.bytes": settings.record_bytes_max,
        "queue.buffering.max.kbytes": _WAITING_KBYTES_MAX,
        "queue.buffering.max.messages": 1_000_000,
        "compression.type": "lz4",
        # As every other client does: a stream's alerts stay in their partition, whoever writes them.
        "partitioner": "murmur2_random",
    }


def _security(security: Security) -> Options:
    options: Options = {"security.protocol": security.protocol}
    if security.protocol in {"SSL", "SASL_SSL"}:
        options["ssl.endpoint.identification.algorithm"] = "https" if security.check_hostname else "none"
        files = {
            "ssl.ca.location": security.ca_file,
            "ssl.certificate.location": security.cert_file,
            "ssl.key.location": security.key_file or security.cert_file,
        }
        options |= {name: str(path) for name, path in files.items() if path is not None}
        if security.key_password is not None:
            options["ssl.key.password"] = security.key_password
    if security.protocol in {"SASL_PLAINTEXT", "SASL_SSL"} and security.sasl_mechanism is not None:
        options["sasl.mechanism"] = security.sasl_mechanism
        if security.token_file is not None:
            options["oauth_cb"] = _reading(security.token_file)
        else:
            options |= {"sasl.username": security.username, "sasl.password": security.password}
    return options


def _reading(path: Path) -> Callable[[str], tuple[str, float]]:
    """Return what gives the library a token, and until when; it is read anew each time, for it may be another."""

    def token(_config: str) -> tuple[str, float]:
        with path.open(encoding="utf-8") as file:
            return file.read(_TOKEN_CHARACTERS_MAX).strip(), time.time() + _TOKEN_SECONDS

    return token
