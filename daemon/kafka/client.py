"""How to reach the cluster, and the one place where the untyped client library is turned into typed objects."""

from __future__ import annotations

import ssl
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol, cast

import kafka
from kafka.admin import KafkaAdminClient
from kafka.consumer.subscription_state import ConsumerRebalanceListener
from kafka.coordinator.assignors.cooperative_sticky import CooperativeStickyAssignor
from kafka.errors import KafkaError
from kafka.net.sasl.oauth import AbstractTokenProvider
from kafka.structs import OffsetAndMetadata

from daemon.errors import ConfigError
from daemon.kafka.connecting import BoundedProducer, TidySocket, TidySSLSocket, built
from daemon.kafka.joining import keep_assignments
from daemon.ports import Membership
from daemon.types import Record, TopicPartition

SecurityProtocol = Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"]
SaslMechanism = Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER"]

_FETCH_BYTES_MAX = 50 * 1024 * 1024
_PARTITION_FETCH_BYTES_MAX = 4 * 1024 * 1024
_BATCH_BYTES = 256 * 1024
_PATIENCE_SECONDS = 1.0
_TOKEN_CHARACTERS_MAX = 64 * 1024


@dataclass(frozen=True, slots=True)
class Security:
    """How to prove who we are and to check who the broker is; secrets never show in its repr."""

    protocol: SecurityProtocol = "PLAINTEXT"
    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None
    key_password: str | None = field(default=None, repr=False)
    check_hostname: bool = True
    sasl_mechanism: SaslMechanism | None = None
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    token_file: Path | None = None


@dataclass(frozen=True, slots=True)
class ConnectionSettings:
    """Where the cluster is and how this member appears to it; times in seconds."""

    bootstrap_servers: tuple[str, ...]
    group_id: str = "longwatch"
    client_id: str = "longwatch"
    instance_id: str | None = None
    replication: int = 1
    session_timeout_seconds: float = 45.0
    transaction_timeout_seconds: float = 30.0
    connect_timeout_seconds: float = 10.0
    metadata_seconds: float = 60.0  # between two looks at which partitions the topics have
    record_bytes_max: int = 4_000_000
    security: Security = field(default_factory=Security)


class Consumer(Protocol):
    """The part of the library's consumer that is used here; its partitions must come from `native`."""

    def poll(self, timeout_ms: float, max_records: int) -> Mapping[TopicPartition, Sequence[Record]]: ...
    def subscribe(self, topics: Sequence[str], listener: object) -> None: ...
    def assign(self, partitions: Sequence[TopicPartition]) -> None: ...
    def assignment(self) -> set[TopicPartition]: ...
    def seek(self, partition: TopicPartition, offset: int) -> None: ...
    def pause(self, *partitions: TopicPartition) -> None: ...
    def resume(self, *partitions: TopicPartition) -> None: ...
    def position(self, partition: TopicPartition, timeout_ms: float) -> int | None: ...
    def highwater(self, partition: TopicPartition) -> int | None: ...
    def committed(self, partition: TopicPartition, *, timeout_ms: float) -> int | None: ...
    def group_metadata(self) -> GroupMetadata: ...
    def beginning_offsets(
        self, partitions: Sequence[TopicPartition], timeout_ms: float
    ) -> Mapping[TopicPartition, int]: ...
    def end_offsets(self, partitions: Sequence[TopicPartition], timeout_ms: float) -> Mapping[TopicPartition, int]: ...
    def close(self, *, autocommit: bool, timeout_ms: float) -> None: ...


class GroupMetadata(Membership, Protocol):
    """The library's proof of membership in a group's generation."""

    @property
    def generation_id(self) -> int: ...
    @property
    def state(self) -> str: ...


class Sent(Protocol):
    """A record on its way."""

    def get(self, timeout: float) -> object: ...


class Producer(Protocol):
    """The part of the library's producer that is used here."""

    def init_transactions(self) -> None: ...
    def begin_transaction(self) -> None: ...
    def send(
        self,
        topic: str,
        *,
        value: bytes | None,
        key: bytes | None,
        headers: list[tuple[str, bytes]],
        partition: int | None,
    ) -> Sent: ...
    def flush(self, timeout: float) -> None: ...
    def send_offsets_within(
        self, seconds: float, offsets: Mapping[TopicPartition, object], group: Membership
    ) -> None: ...
    def commit_within(self, seconds: float) -> None: ...
    def close(self, timeout: float) -> None: ...


class Admin(Protocol):
    """The part of the library's admin client that is used here."""

    def list_topics(self) -> Sequence[str]: ...
    def describe_topics(self, topics: Sequence[str]) -> Sequence[Mapping[str, Any]]: ...
    def describe_configs(
        self, config_resources: Sequence[object], *, config_filter: str
    ) -> Mapping[str, Mapping[str, Mapping[str, Mapping[str, Any]]]]: ...
    def create_topics(self, new_topics: Mapping[str, Mapping[str, object]], *, wait_for_metadata: bool) -> object: ...
    def create_partitions(self, topic_partitions: Mapping[str, int]) -> object: ...
    def close(self) -> None: ...


class RebalanceListener(ConsumerRebalanceListener):  # type: ignore[misc]  # the library ships no types
    """What the library calls, on its network thread, when partitions come and go."""

    def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        """Take note of partitions that came."""
        raise NotImplementedError

    def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        """Take note of partitions that went."""
        raise NotImplementedError

    def on_partitions_lost(self, lost: Iterable[TopicPartition]) -> None:
        """Take note of partitions that went without asking."""
        self.on_partitions_revoked(lost)


class _TokenFile(AbstractTokenProvider):  # type: ignore[misc]  # the library ships no types
    """Reads the token anew for each connection, so that a rotated one is picked up."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path

    def token(self) -> str:
        try:
            with self._path.open(encoding="utf-8") as file:
                return file.read(_TOKEN_CHARACTERS_MAX).strip()
        except OSError as error:
            why = f"kafka.security.token_file: cannot read {self._path}: {error.strerror}; it is read at each login"
            raise OSError(error.errno, why) from error


def native(partition: TopicPartition) -> TopicPartition:
    """Return `partition` as the library's own class, which it insists on; both are equal as tuples."""
    return cast("TopicPartition", kafka.TopicPartition(*partition))


def forget_fetched(consumer: Consumer, partition: TopicPartition) -> None:
    """Drop what the library fetched of a paused `partition` and set aside.

    It takes such records up again only while another place of its is None, and after a drain that is an empty object
    instead: the partition would be neither delivered nor fetched again, for ever.
    """
    fetcher = cast("Any", consumer)._fetcher  # noqa: SLF001  # no public way in 3.0
    fetcher._paused_partition_records.pop(partition, None)  # noqa: SLF001
    fetcher._paused_completed_fetches.pop(partition, None)  # noqa: SLF001


def forget_answer(consumer: Consumer, partition: TopicPartition) -> None:
    """Drop what the library was told of the committed offset of `partition` by a poll that did not wait for it.

    It gives that answer, however old it is, to whoever asks next.
    """
    cast("Any", consumer)._coordinator._offset_fetch_futures.pop(frozenset([partition]), None)  # noqa: SLF001


def topic_id(consumer: Consumer, topic: str) -> object | None:
    """Return what `consumer` knows as the id of `topic`, None when it knows no such topic at the moment."""
    found = cast("Any", consumer)._client._manager.cluster.topic_id(topic)  # noqa: SLF001  # no public way in 3.0
    return found if found is not None and found.int else None  # while a topic is missing, its id is all zeros


def await_topics(consumer: Consumer) -> None:
    """Wait until `consumer` has looked at the cluster again, if it means to: then `topic_id` is newer than its records.

    It fetches by the name of a topic, so what it hears of a topic that was deleted and created again may come before
    it learns of the new id. Waits a second at most: while no broker answers, nothing is fetched either.
    """
    bare = cast("Any", consumer)
    manager = bare._client._manager  # noqa: SLF001  # no public way in 3.0
    if manager.cluster.need_update:
        with suppress(KafkaError):
            bare._net.run(manager.wait_for, manager.cluster.request_update(), _PATIENCE_SECONDS * 1000)  # noqa: SLF001


def native_offset(offset: int) -> object:
    """Return `offset` as the library wants it in a transaction."""
    return OffsetAndMetadata(offset, "", -1)


def group_consumer(settings: ConnectionSettings) -> Consumer:
    """Return a consumer that joins the group, reads committed records and never commits by itself."""
    session_ms = int(settings.session_timeout_seconds * 1000)
    consumer = _consumer(
        settings,
        group_id=settings.group_id,
        group_instance_id=settings.instance_id,
        isolation_level="read_committed",
        session_timeout_ms=session_ms,
        heartbeat_interval_ms=min(1000, session_ms // 3),
        # An instance: the library drops the cooperative protocol for a class.
        partition_assignment_strategy=[CooperativeStickyAssignor()],
        # What to do when nothing is left at our position is decided by a restore, not by the library.
        auto_offset_reset="none",
    )
    keep_assignments(consumer)
    return consumer


def lone_consumer(settings: ConnectionSettings, *, committed: bool) -> Consumer:
    """Return a consumer outside any group, which sees only committed records or everything."""
    isolation = "read_committed" if committed else "read_uncommitted"
    return _consumer(settings, isolation_level=isolation, auto_offset_reset="none")


def producer(settings: ConnectionSettings, identity: str | None) -> Producer:
    """Return a transactional producer, or a plain one when `identity` is None."""
    options = {
        "transactional_id": identity,
        "transaction_timeout_ms": int(settings.transaction_timeout_seconds * 1000),
        "max_block_ms": int(settings.connect_timeout_seconds * 1000),
        "delivery_timeout_ms": 10_000,
        "linger_ms": 5,
        "batch_size": _BATCH_BYTES,
        "max_request_size": settings.record_bytes_max,
        "compression_type": "lz4",
        "allow_auto_create_topics": False,
        "metrics_enabled": False,
        # With the library's 100 ms, every second transaction in a row would wait that long for the one before.
        "retry_backoff_ms": 10,
    }
    return cast("Producer", built(BoundedProducer, _common(settings) | options))


def admin(settings: ConnectionSettings) -> Admin:
    """Return a client for questions about topics."""
    return cast("Admin", built(KafkaAdminClient, _common(settings)))


class Contact:
    """Knows since when no broker has been connected; the library itself waits in silence then."""

    def __init__(self, consumer: Consumer) -> None:
        self._consumer = consumer
        self._last = time.monotonic()

    def is_lost(self) -> bool:
        """Return whether no broker has been connected for more than a second: less is a connection in the making."""
        connections = cast("Any", self._consumer)._client._manager._conns  # noqa: SLF001  # no public way in 3.0
        if any(connection.connected for connection in list(connections.values())):
            self._last = time.monotonic()
        return time.monotonic() - self._last > _PATIENCE_SECONDS


def _consumer(settings: ConnectionSettings, **more: object) -> Consumer:
    options = {
        "enable_auto_commit": False,
        "allow_auto_create_topics": False,
        "fetch_max_bytes": _FETCH_BYTES_MAX,
        "max_partition_fetch_bytes": _PARTITION_FETCH_BYTES_MAX,
        "metadata_max_age_ms": int(settings.metadata_seconds * 1000),
        "metrics_enabled": False,
    }
    return cast("Consumer", built(kafka.KafkaConsumer, _common(settings) | options | more))


def _common(settings: ConnectionSettings) -> dict[str, object]:
    return {
        "bootstrap_servers": list(settings.bootstrap_servers),
        "client_id": settings.client_id,
        "bootstrap_timeout_ms": int(settings.connect_timeout_seconds * 1000),
        "request_timeout_ms": 5000,
        "reconnect_backoff_max_ms": 1000,
        "proxy_url": f"{TidySocket.SCHEMES[0]}://",
        **_security(settings.security),
    }


def _security(security: Security) -> dict[str, object]:
    options: dict[str, object] = {"security_protocol": security.protocol}
    if security.protocol in {"SSL", "SASL_SSL"}:
        options["ssl_context"] = _ssl_context(security)
    if security.protocol in {"SASL_PLAINTEXT", "SASL_SSL"}:
        options |= {
            "sasl_mechanism": security.sasl_mechanism,
            "sasl_plain_username": security.username,
            "sasl_plain_password": security.password,
        }
        if security.token_file is not None:
            options["sasl_oauth_token_provider"] = _TokenFile(security.token_file)
    return options


def _ssl_context(security: Security) -> ssl.SSLContext:
    """Build the context here, so that a wrong file is named before any connection is tried."""
    try:
        context = ssl.create_default_context(cafile=security.ca_file)
        context.sslsocket_class = TidySSLSocket
        context.check_hostname = security.check_hostname
        if security.cert_file is not None:
            # Without any password, OpenSSL would ask for that of an encrypted key on a terminal, and wait.
            context.load_cert_chain(security.cert_file, security.key_file, security.key_password or "")
    except (OSError, ValueError) as error:
        files = [str(path) for path in (security.ca_file, security.cert_file, security.key_file) if path is not None]
        raise ConfigError([f"kafka.security: cannot use {', '.join(files)}: {error}"]) from error
    return context
