"""The nouns: what flows between the ports, the engine and the loop."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, Protocol

Labels = tuple[tuple[str, str], ...]
"""Canonical labels of a stream: name and value pairs, sorted by name."""


class TopicPartition(NamedTuple):
    """One partition of one topic."""

    topic: str
    partition: int


class Record(Protocol):
    """One Kafka message as it was read; the client's own record fits without being copied."""

    @property
    def offset(self) -> int: ...
    @property
    def timestamp(self) -> int: ...  # milliseconds since 1970, -1 when the producer gave none
    @property
    def key(self) -> bytes | None: ...
    @property
    def value(self) -> bytes | None: ...
    @property
    def headers(self) -> Sequence[tuple[str, bytes]]: ...


class Outgoing(NamedTuple):
    """One message to be written; `partition` None lets the client choose by key."""

    topic: str
    partition: int | None
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...] = ()


@dataclass(frozen=True, slots=True)
class Polled:
    """What one poll brought: records by partition, and which partitions came and went since the last one.

    `leaving` are those of `revoked` that nobody else is given before the next poll: they may still be written.
    """

    records: Mapping[TopicPartition, Sequence[Record]]
    assigned: frozenset[TopicPartition] = frozenset()
    revoked: frozenset[TopicPartition] = frozenset()
    leaving: frozenset[TopicPartition] = frozenset()


class Bounds(NamedTuple):
    """The first offset a partition still holds, and the one after its last (the high watermark)."""

    first: int
    end: int


@dataclass(frozen=True, slots=True)
class TopicSpec:
    """A topic as the daemon needs it: it is created so, or checked against this.

    One that is `growable` is given the partitions that it lacks: its records name theirs, so that none moves.
    """

    name: str
    partitions: int
    compacted: bool
    config: Mapping[str, str] = field(default_factory=dict)
    growable: bool = False


RejectReason = Literal[
    "undecodable", "missing_field", "wrong_type", "not_finite", "bad_timestamp", "oversized", "max_streams", "empty"
]
"""Why a record goes to the dead-letter topic; the closed list is the label of a metric."""

DropReason = Literal["late", "duplicate", "missing", "not_finite", "unmeasured"]
"""Why a sample or a reading is counted and left out, although its record was well formed."""


class Rejected(NamedTuple):
    """A record that cannot be used, as a value: where it came from, which reason, and the detail for a person."""

    topic: str
    partition: int
    offset: int
    reason: RejectReason
    detail: str
