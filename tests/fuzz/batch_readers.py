"""What reads the record batches that the client fetches: it must say what the library itself says."""

from __future__ import annotations

import gzip
import struct
import zlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
from kafka.errors import CorruptRecordError
from kafka.record.default_records import DefaultRecordBatch, DefaultRecordBatchBuilder
from kafka.record.memory_records import MemoryRecords
from kafka.record.util import decode_varint, encode_varint

from daemon.kafka import unpacking
from tests.fuzz.engine import ACCEPTED, Reader
from tests.fuzz.mutation import Shape

STAMP_MS = 1_700_000_000_000
CODECS = {"": 0, " of gzip": 1}
HEAD = DefaultRecordBatch.HEADER_STRUCT
LENGTH, ATTRIBUTES = 1, 5  # places in it
UNPACKED_BYTES_MAX = 1 << 20


def batch_readers() -> Iterator[Reader]:
    """Yield a reader for batches, bare and compressed."""
    for told, codec in CODECS.items():
        yield Reader(f"batch{told}", batch, [_batch(30, codec), _batch(3, codec)], shape=SIZED, weight=3.0)


def batch(value: bytes) -> str:
    """Unpack what was fetched; it comes out as the library itself reads it."""
    found, expected = _outcome(unpacking.unpacked, value), _outcome(_by_the_library, value)
    assert found == expected, f"{str(found)[:200]} where the library says {str(expected)[:200]}"
    return expected if isinstance(expected, str) else ACCEPTED if expected else "nothing in it"


def _by_the_library(made: Iterable[Any]) -> Iterator[tuple[Any, ...]]:
    """Yield the records of a batch as the library's own fetcher does."""
    for each in made:
        if not each.validate_crc():
            raise CorruptRecordError("crc")
        yield _plain(each)


def _outcome(read: Callable[[Any], Iterable[Any]], value: bytes) -> list[object] | str:
    """Return the records of all batches, or which error there was."""
    found: list[object] = []
    try:
        records = MemoryRecords(bytearray(value))
        for each in iter(records.next_batch, None):
            if each.magic < 2 or not each.is_control_batch:  # those are left out before
                found += [(*record[:4], list(record[4])) for record in read(each)]
    except CorruptRecordError:
        return "corrupt"
    except Exception as error:  # noqa: BLE001  # whatever the library raises, so do we
        return f"refused: {type(error).__name__}"
    return found


def _plain(record: Any) -> tuple[Any, ...]:  # noqa: ANN401  # the library ships no types
    """Return a record, its numbers as the broker counts them."""
    stamp = -1 if record.timestamp is None else record.timestamp
    offset, time_ms = (int(np.array(each % 2**64, np.uint64).astype(np.int64)) for each in (record.offset, stamp))
    return offset, time_ms, record.key, record.value, list(record.headers)


def _batch(count: int, codec: int) -> bytes:
    built = DefaultRecordBatchBuilder(2, codec, 0, -1, -1, -1, 1 << 20)
    for at in range(count):
        key, value = (b"k" * (at % 5) if at % 3 else None), (b"v" * (at * 7 % 200) if at % 4 else None)
        built.append(at, STAMP_MS + at, key, value, [("h", b"v")] if count < 24 else [])
    return bytes(built.build())


def _opened(data: bytes) -> object:
    """Return head and records of one batch, each by itself."""
    try:
        head, body, at, records = list(HEAD.unpack_from(data)), data[HEAD.size :], 0, []
        if head[ATTRIBUTES] & 7 == 1:
            body = zlib.decompressobj(31).decompress(body, UNPACKED_BYTES_MAX)
        while at < len(body):
            size, at = decode_varint(body, at)
            records.append(body[at : at + max(size, 1)])
            at += max(size, 1)
    except (struct.error, zlib.error) as error:
        raise ValueError(str(error)) from error
    return {"head": head, "records": records}


def _sized(tree: object) -> bytes:
    """Write a batch whose sizes fit, whatever else it says."""
    if not isinstance(tree, dict) or not all(isinstance(tree.get(each), list) for each in ("head", "records")):
        raise ValueError("not the parts of a batch")
    body, head = bytearray(), tree["head"]
    for each in tree["records"]:
        if not isinstance(each, bytes):
            raise ValueError("not a record")  # noqa: TRY004  # what a shape may raise
        encode_varint(len(each), body.append)
        body += each
    try:
        told = gzip.compress(body, 1, mtime=0) if head[ATTRIBUTES] & 7 == 1 else bytes(body)
        packed: bytes = HEAD.pack(*head[:LENGTH], len(told) + HEAD.size - 12, *head[LENGTH + 1 :])
    except struct.error as error:
        raise ValueError(str(error)) from error
    return packed + told


SIZED = Shape(_opened, _sized)
BATCH = _batch(30, 0)
