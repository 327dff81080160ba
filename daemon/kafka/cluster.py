"""One Kafka cluster, and all that is asked of it or written to it outside a transaction."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from typing import Protocol, TypeVar

from daemon.errors import BrokerUnavailable
from daemon.kafka import client, topics
from daemon.kafka.connecting import release
from daemon.kafka.deadline import within
from daemon.kafka.failures import CLIENT_ERRORS, translated
from daemon.kafka.refusals import Right
from daemon.kafka.writer import drop, send_all
from daemon.ports import Writer
from daemon.types import Bounds, Outgoing, TopicPartition, TopicSpec

T = TypeVar("T")
_ASK_SECONDS = 15.0
_PUBLISH_SECONDS = 15.0
_CLOSE_SECONDS = 2.0


class _Closable(Protocol):
    """Something that reads until it is closed."""

    @property
    def closed(self) -> bool: ...
    def close(self) -> None: ...


Reader = TypeVar("Reader", bound=_Closable)


class Cluster:
    """What every door to a cluster has; its own methods may be called from any thread, each for itself.

    A connection is made when it is first needed, so that making a door cannot fail.
    """

    def __init__(self, settings: client.ConnectionSettings) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._admin: client.Admin | None = None
        self._watcher: client.Consumer | None = None
        self._publisher: client.Producer | None = None
        # Held until they are closed: one that its owner lost would go on reading, and reconnecting, for ever.
        self._readers: set[_Closable] = set()
        self._writers: list[Writer] = []

    def topics(self) -> Sequence[str]:
        """Return the names of all topics that there are, as far as they may be seen. Raises BrokerUnavailable."""
        with self._lock:
            return sorted(self._ask("asking for the topics", lambda admin: admin.list_topics()))

    def partitions(self, topic: str) -> int | None:
        """Return how many partitions `topic` has, None when it does not exist."""
        with self._lock:
            return self._ask(f"asking for topic {topic!r}", lambda admin: topics.partitions(admin, topic))

    def topic_id(self, topic: str) -> str | None:
        """Return what tells `topic` from any other that has ever had its name, None when it does not exist."""
        with self._lock:
            return self._ask(f"asking for topic {topic!r}", lambda admin: topics.topic_id(admin, topic))

    def ensure(self, spec: TopicSpec) -> None:
        """Create the topic, or check it, or let it grow. Raises TopicMismatch naming what differs and what to do."""
        replication = self._settings.replication
        with self._lock:
            self._ask(f"checking topic {spec.name!r}", lambda admin: topics.ensure(admin, spec, replication))

    def bounds(self, partition: TopicPartition) -> Bounds:
        """Return first offset and high watermark, open transactions included. Raises LookupError when unknown."""
        self._demand(partition)
        with self._lock:
            try:
                return self._measure(client.native(partition))
            except CLIENT_ERRORS as error:
                self._forget_watcher()
                raise translated(error, f"asking for the ends of {partition.topic}/{partition.partition}") from error

    def publish(self, records: Sequence[Outgoing]) -> None:
        """Write records outside any transaction and wait for all acknowledgements. Raises BrokerUnavailable.

        After an error some of the records may have been written.
        """
        with self._lock:
            try:
                if self._publisher is None:
                    self._publisher = client.producer(self._settings, None)
                send_all(self._publisher, records, _PUBLISH_SECONDS)
            except BaseException as error:
                self._forget_publisher()
                if isinstance(error, CLIENT_ERRORS):
                    tried = Right("Write", "topic", ", ".join(sorted({record.topic for record in records})))
                    raise translated(error, "publishing records", tried) from error
                raise

    def close(self) -> None:
        """Close every connection that this door opened."""
        with ExitStack() as each:  # one that fails stops no other
            each.callback(self._forget_all)
            for close in (*(one.close for one in self._readers), *(one.close for one in self._writers)):
                each.callback(close)

    def _adopt(self, reader: Reader) -> Reader:
        for each in list(self._readers):
            if each.closed:
                self._readers.discard(each)
        self._readers.add(reader)
        return reader

    def _demand(self, partition: TopicPartition) -> None:
        count = self.partitions(partition.topic)
        if count is None or not 0 <= partition.partition < count:
            where = f"{partition.topic}/{partition.partition}"
            raise LookupError(f"{where} does not exist: the topic has {count or 'no'} partitions")

    def _ask(self, doing: str, question: Callable[[client.Admin], T]) -> T:
        """Ask the admin client; one that was idle may hold a dead connection, so it is asked twice, anew."""
        for last in (self._admin is None, True):
            try:
                admin = self._admin = self._admin or client.admin(self._settings)
                return within(_ASK_SECONDS, functools.partial(question, admin))
            except CLIENT_ERRORS as error:
                self._forget_admin()
                ours = translated(error, doing)
                if last or not isinstance(ours, BrokerUnavailable):
                    raise ours from error
        raise AssertionError("the second round returns or raises")

    def _measure(self, partition: TopicPartition) -> Bounds:
        # A consumer that reads committed records takes the start of the oldest open transaction for the end.
        watcher = self._watcher = self._watcher or client.lone_consumer(self._settings, committed=False)
        first = watcher.beginning_offsets([partition], timeout_ms=_ASK_SECONDS * 1000)
        end = watcher.end_offsets([partition], timeout_ms=_ASK_SECONDS * 1000)
        return Bounds(first[partition], end[partition])

    def _forget_all(self) -> None:
        with self._lock:
            self._forget_admin()
            self._forget_watcher()
            self._forget_publisher()

    def _forget_admin(self) -> None:
        admin, self._admin = self._admin, None
        if admin is not None:
            with suppress(TimeoutError):  # it ends by itself, and nobody needs it any more
                within(_ASK_SECONDS, admin.close)

    def _forget_watcher(self) -> None:
        watcher, self._watcher = self._watcher, None
        if watcher is not None:
            with suppress(*CLIENT_ERRORS):
                release(watcher, _CLOSE_SECONDS)

    def _forget_publisher(self) -> None:
        publisher, self._publisher = self._publisher, None
        drop(publisher)
