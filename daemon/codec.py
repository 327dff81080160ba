"""The messages the daemon writes, as bytes: alert events, packed scores, dead letters."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from typing import TypeVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from daemon.alert_events import AlertEvent
from daemon.engine import Scores
from daemon.types import Outgoing, Record, Rejected

SCORES_PER_RECORD_MAX = 5000
STREAM_BYTES_PER_RECORD_MAX = 300_000  # of the streams' names in a record of scores: a broker takes 1 MB by default
KEY_BYTES_MAX = 1024  # of a dead letter's key
FULL_LETTERS_MAX = 100  # dead letters of the reason max_streams in a partition and turn
SCORE_SCHEMA_VERSION = 1

_json = msgspec.json.Encoder()

T = TypeVar("T")
Index = NDArray[np.intp]


class ScoreColumns(msgspec.Struct):
    """One record of the scores topic: the scores of one partition and turn, in columns.

    `stream[i]` is a place in `streams`; `offset[i]` is the input record that carried the sample. A score of null
    belongs to a stream that is warming up, or to a sample that came late or twice.
    """

    schema_version: int
    topic: str
    partition: int
    group: str
    streams: list[str]
    stream: list[int]
    offset: list[int]
    time_ms: list[int]
    score: list[float | None]


def alert(topic: str, event: AlertEvent) -> Outgoing:
    """Return an alert event as a message keyed by its stream, so that a stream's events stay in order."""
    return Outgoing(topic, None, event.stream.encode(), _json.encode(event))


def scores(topic: str, found: Scores, floor: float | None) -> Iterator[Outgoing]:
    """Yield the score messages of one part, at most SCORES_PER_RECORD_MAX samples each.

    With a `floor`, only scores at or above it are told; without one, every sample is.
    """
    keep = np.arange(len(found.score))
    if floor is not None:
        keep = np.flatnonzero(np.nan_to_num(found.score, nan=-1.0) >= floor)
    for start in range(0, len(keep), SCORES_PER_RECORD_MAX):
        for few in _few_names(found, keep[start : start + SCORES_PER_RECORD_MAX]):
            yield _score_message(topic, found, few)


def _few_names(found: Scores, keep: Index) -> Iterator[Index]:
    """Yield the samples in pieces whose streams' names, as JSON writes them, do not take too much room."""
    slots, keys = found.part.samples.slots[keep], found.part.slab.keys
    named, places = np.unique(slots, return_inverse=True)
    room = np.cumsum([len(_json.encode(keys[slot])) for slot in named])
    piece = (room // STREAM_BYTES_PER_RECORD_MAX)[places]
    for number in np.unique(piece):
        yield keep[piece == number]


def _score_message(topic: str, found: Scores, keep: Index) -> Outgoing:
    samples, partition = found.part.samples, found.part.partition
    slots, places = np.unique(samples.slots[keep], return_inverse=True)
    columns = ScoreColumns(
        schema_version=SCORE_SCHEMA_VERSION,
        topic=partition.topic,
        partition=partition.partition,
        group=found.group,
        streams=[found.part.slab.keys[slot] for slot in slots],
        stream=places.tolist(),
        offset=samples.offsets[keep].tolist(),
        time_ms=samples.times_ms[keep].tolist(),
        score=[None if np.isnan(score) else float(score) for score in found.score[keep]],
    )
    key = f"{partition.topic}/{partition.partition}".encode()
    return Outgoing(topic, partition.partition, key, _json.encode(columns))


def decode_scores(value: bytes) -> ScoreColumns:
    """Read a record of the scores topic. Raises msgspec.MsgspecError for anything else."""
    return _decoded(value, ScoreColumns)


def decode_alert(value: bytes) -> AlertEvent:
    """Read a record of the alerts topic. Raises msgspec.MsgspecError for anything else."""
    return _decoded(value, AlertEvent)


def _decoded(value: bytes, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(value, type=kind)
    except (UnicodeDecodeError, RecursionError) as error:  # which msgspec lets through as they are
        raise msgspec.DecodeError(str(error)) from error


def dead_letters(
    topic: str, rejected: Sequence[Rejected], records: Sequence[Record], value_bytes_max: int
) -> Iterator[Outgoing]:
    """Yield one message for each rejected record, its value cut to `value_bytes_max`, origin and reason in headers.

    Of the samples that find their group full only the first FULL_LETTERS_MAX are kept: a flood of new streams shall not
    become a flood of messages. What was cut is told by its length and its SHA-256.
    """
    by_offset = {record.offset: record for record in records}
    full = 0
    for reject in rejected:
        full += reject.reason == "max_streams"
        if reject.reason == "max_streams" and full > FULL_LETTERS_MAX:
            continue
        record = by_offset[reject.offset]
        value = record.value
        headers: tuple[tuple[str, bytes], ...] = (
            ("longwatch-reason", reject.reason.encode()),
            ("longwatch-detail", reject.detail.encode("utf-8", "replace")),
            ("longwatch-topic", reject.topic.encode()),
            ("longwatch-partition", str(reject.partition).encode()),
            ("longwatch-offset", str(reject.offset).encode()),
            ("longwatch-timestamp", str(record.timestamp).encode()),
            ("longwatch-value-bytes", str(len(value or b"")).encode()),
        )
        key, cut = record.key and record.key[:KEY_BYTES_MAX], value and value[:value_bytes_max]
        if (key, cut) != (record.key, value):
            whole = hashlib.sha256(value or b"").hexdigest().encode()
            headers = (
                *headers,
                ("longwatch-key-bytes", str(len(record.key or b"")).encode()),
                ("longwatch-sha256", whole),
            )
        yield Outgoing(topic, None, key, cut, headers)
