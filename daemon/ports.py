"""The ports: all that the loop knows of Kafka. `daemon.kafka` is the real one, `daemon.memory` the other.

Both pass the same contract suite (tests/contract).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from daemon.types import Bounds, Outgoing, Polled, Record, TopicPartition, TopicSpec


class Membership(Protocol):
    """What proves to the broker which group generation a transaction belongs to; opaque to the loop."""


class Source(Protocol):
    """The group's share of the input. Reads committed records only; newly assigned partitions come paused."""

    def poll(self, records_max: int, wait_seconds: float) -> Polled:
        """Return what has arrived, at most `records_max` records, waiting at most `wait_seconds` for the first.

        A partition in which there is nothing at our position any more (deleted by retention, or the topic is another
        one by now) went and comes back: it is among those revoked and among those assigned.
        Raises BrokerUnavailable when no broker can be reached; whatever had arrived comes with a later poll then.
        """

    def resume_at(self, partition: TopicPartition, offset: int) -> None:
        """Deliver `partition` from `offset` on. Raises BrokerUnavailable when that cannot be done now."""

    def pause(self, partition: TopicPartition) -> None:
        """Stop delivering `partition`; what was fetched ahead is not delivered either."""

    def committed(self, partition: TopicPartition) -> int | None:
        """Return the group's committed offset, None when there is none; waits for open transactions."""

    def lag(self) -> Mapping[TopicPartition, int]:
        """Return, for each partition delivered, how many records of it have not been polled yet."""

    def membership(self) -> Membership:
        """Return the proof of membership that `Writer.commit` passes to the broker."""

    def read(self, topics: Sequence[str]) -> None:
        """Read these topics from now on; those that were read before must be among them."""

    def close(self) -> None:
        """Leave the group."""


class Writer(Protocol):
    """One transactional identity. One call is one transaction."""

    def open(self) -> None:
        """Take over the identity: fence older holders, end what they left open.

        Raises BrokerUnavailable; may be called again after it, and after TransactionFailed.
        """

    def commit(
        self,
        records: Sequence[Outgoing],
        offsets: Mapping[TopicPartition, int],
        membership: Membership,
    ) -> None:
        """Write all records and move the group's offsets, or do nothing.

        Raises TransactionFailed when it did not happen or nobody can say; the identity must then be opened again
        and everything the transaction touched be read back. Raises Fenced when another holder took the identity.
        """

    def close(self) -> None:
        """Let go of the identity without waiting."""


class Cursor(Protocol):
    """A reader of one partition outside the group: restore, replay, models, history. Reads committed only."""

    @property
    def position(self) -> int:
        """The offset after the last one passed, control records included."""

    def fetch(self, records_max: int, wait_seconds: float) -> Sequence[Record]:
        """Return the next records, none when nothing came within `wait_seconds`."""

    def close(self) -> None:
        """Release the connection."""


class Broker(Protocol):
    """The door to one Kafka cluster."""

    def topics(self) -> Sequence[str]:
        """Return the names of all topics that there are, as far as they may be seen. Raises BrokerUnavailable."""

    def partitions(self, topic: str) -> int | None:
        """Return how many partitions `topic` has, None when it does not exist."""

    def topic_id(self, topic: str) -> str | None:
        """Return what tells `topic` from any other that has ever had its name, None when it does not exist."""

    def ensure(self, spec: TopicSpec) -> None:
        """Create the topic, or check it, or let it grow. Raises TopicMismatch naming what differs and what to do."""

    def bounds(self, partition: TopicPartition) -> Bounds:
        """Return first offset and high watermark, open transactions included."""

    def cursor(self, partition: TopicPartition, start: int) -> Cursor:
        """Read `partition` from `start`, or from its first offset if that is later."""

    def source(self, topics: Sequence[str]) -> Source:
        """Join the group and read `topics`."""

    def writer(self, identity: str) -> Writer:
        """Return the transactional writer called `identity`, not yet opened."""

    def publish(self, records: Sequence[Outgoing]) -> None:
        """Write records outside any transaction and wait for all acknowledgements. Raises BrokerUnavailable."""

    def close(self) -> None:
        """Close every connection that this door opened."""
