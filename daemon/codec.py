"""The messages the daemon writes, as bytes: alert events, packed scores, dead letters."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec
import numpy as np

from daemon.alert_events import AlertEvent
from daemon.engine import Scores
from daemon.types import Outgoing, Record, Rejected

SCORES_PER_RECORD_MAX = 5000
SCORE_SCHEMA_VERSION = 1

_json = msgspec.json.Encoder()


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
        yield _score_message(topic, found, keep[start : start + SCORES_PER_RECORD_MAX])


def _score_message(topic: str, found: Scores, keep: np.ndarray[tuple[int], np.dtype[np.intp]]) -> Outgoing:
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
    return msgspec.json.decode(value, type=ScoreColumns)


def decode_alert(value: bytes) -> AlertEvent:
    """Read a record of the alerts topic. Raises msgspec.MsgspecError for anything else."""
    return msgspec.json.decode(value, type=AlertEvent)


def dead_letters(
    topic: str, rejected: Sequence[Rejected], records: Sequence[Record], value_bytes_max: int
) -> Iterator[Outgoing]:
    """Yield one message for each rejected record, its value cut to `value_bytes_max`, origin and reason in headers."""
    by_offset = {record.offset: record for record in records}
    for reject in rejected:
        record = by_offset[reject.offset]
        value = record.value
        headers = (
            ("longwatch-reason", reject.reason.encode()),
            ("longwatch-detail", reject.detail.encode("utf-8", "replace")),
            ("longwatch-topic", reject.topic.encode()),
            ("longwatch-partition", str(reject.partition).encode()),
            ("longwatch-offset", str(reject.offset).encode()),
            ("longwatch-timestamp", str(record.timestamp).encode()),
            ("longwatch-value-bytes", str(len(value or b"")).encode()),
        )
        yield Outgoing(topic, None, (record.key or b"")[:1024], value and value[:value_bytes_max], headers)
