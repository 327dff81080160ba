"""Unpacks the record batches that the library fetched, several times as fast as it does so itself.

What is left out (aborted transactions, control records) and what is refused is the library's own choice.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import repeat
from typing import Any, NamedTuple, cast

import numpy as np
from kafka.consumer.fetcher import Fetcher
from kafka.errors import CorruptRecordError
from numpy.typing import NDArray

_MAGIC = 2  # of the batches that brokers have written since version 0.11
_READ_COMMITTED = 1
_FEW_RECORDS = 24  # in a batch; then the calls for arrays cost more than they spare
_LOW_BITS = 0x7F  # of a byte of a number; the highest one says that there are more
_TWO_BYTES = 0x3FFF
_HALF = 2**63
_NO_TIME = -1

Index = NDArray[np.intp]


class Unpacked(NamedTuple):
    """One record."""

    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes]]


def unpack_quickly(consumer: object) -> None:
    """Let `consumer` give out `Unpacked` records in the place of its own."""
    cast("Any", consumer)._fetcher.PartitionRecords = _Fetched  # noqa: SLF001  # no public way in 3.0


class _Fetched(Fetcher.PartitionRecords):  # type: ignore[misc]  # the library ships no types
    """What was fetched of one partition; the library asks it for records until there are none."""

    def _unpack_records(self, tp: object, records: Any, *_deserializers: object) -> Iterator[Unpacked]:  # noqa: ARG002
        newest = None
        for newest in iter(records.next_batch, None):
            if self.check_crcs and not newest.validate_crc():
                where = f"{self.topic_partition} at offset {newest.base_offset}"
                raise CorruptRecordError(f"Record batch for partition {where} failed crc check")
            if newest.magic == _MAGIC:
                self.leader_epoch = newest.leader_epoch
                if self._is_left_out(newest):
                    self.next_fetch_offset = newest.next_offset
                    continue
            self.bytes_read += newest.size_in_bytes
            for record in unpacked(newest):
                self.records_read += 1
                self.next_fetch_offset = record.offset + 1
                yield record
        if newest is not None and newest.magic == _MAGIC:
            # a batch keeps its last offset when the cleaner takes its last record: the next fetch begins behind it
            self.next_fetch_offset = newest.next_offset
        self.drain()

    def _is_left_out(self, batch: Any) -> bool:
        """Return whether a batch holds nothing for us; note the transactions that begin to be aborted or are done."""
        if self.isolation_level == _READ_COMMITTED and batch.has_producer_id():
            self._consume_aborted_transactions_up_to(batch.last_offset)
            if self._contains_abort_marker(batch):
                self.aborted_producer_ids.discard(batch.producer_id)
            elif self._is_batch_aborted(batch):
                return True
        return bool(batch.is_control_batch)


def unpacked(batch: Any) -> Iterable[Unpacked]:
    """Return the records of one of the library's batches. Raises CorruptRecordError, also later."""
    if batch.magic == _MAGIC and batch.records_count >= _FEW_RECORDS:
        found = _at_once(batch)
        if found is not None:
            return found
    return _one_by_one(batch)


def _one_by_one(batch: Any) -> Iterator[Unpacked]:
    """Yield the records as the library reads them."""
    for each in batch:
        if not each.validate_crc():
            raise CorruptRecordError(f"Record at offset {each.offset} failed crc check")
        yield Unpacked(_of_64_bits(each.offset), _time_ms(each.timestamp), each.key, each.value, each.headers)


def _time_ms(stamp: int | None) -> int:
    """Return a record's own time; the oldest records have none."""
    return _NO_TIME if stamp is None else _of_64_bits(stamp)


def _of_64_bits(number: int) -> int:
    """Return a sum as the broker counts it, and arrays do; the library's knows no bound."""
    return (number + _HALF) % (2 * _HALF) - _HALF


def _at_once(batch: Any) -> Iterable[Unpacked] | None:
    """Return the records of a batch; None when there is more to it than records without headers."""
    batch._maybe_uncompress()  # noqa: SLF001  # no public way in 3.0
    data = bytes(memoryview(batch._buffer)[batch._pos :])  # noqa: SLF001
    try:
        starts, ends = _bounds(data, batch.records_count)
        later_ms, at = _varints(data, starts + 1)
        further, at = _varints(data, at)
        keys, at = _pieces(data, at)
        values, at = _pieces(data, at)
        headers = np.frombuffer(data, np.uint8)[at]
    except (IndexError, ValueError, OverflowError):
        return None
    every = np.frombuffer(data, np.uint8)
    negative = every[np.append(0, ends[:-1])] & 1  # the lowest bit of a record's size is its sign
    if negative.any() or headers.any() or (at + 1 != ends).any() or ends[-1] != len(data):
        return None
    if (every[starts] > _LOW_BITS).any():  # attributes
        return None
    stamps = later_ms * 0 + batch.max_timestamp if batch.timestamp_type else later_ms + batch.first_timestamp
    offsets = further + batch.base_offset
    fields = zip(offsets.tolist(), stamps.tolist(), keys, values, repeat(()), strict=False)
    return map(tuple.__new__, repeat(Unpacked), fields)


def _bounds(data: bytes, count: int) -> tuple[Index, Index]:
    """Return where each record begins, behind its size, and where it ends."""
    at, starts, ends = 0, [], []
    for _ in range(count):
        size = data[at]
        at += 1
        if size > _LOW_BITS:  # nearly all that is left has a second byte, and no third
            size = size & _LOW_BITS | data[at] << 7
            at += 1
            if size > _TWO_BYTES:
                size, at = _long(data, at - 2)
        starts.append(at)
        at += size >> 1
        ends.append(at)
    return np.array(starts, np.intp), np.array(ends, np.intp)


def _long(data: bytes, at: int) -> tuple[int, int]:
    """Return the bits of a number of any length, and where the next one begins."""
    found, shift = 0, 0
    while data[at] > _LOW_BITS:
        found |= (data[at] & _LOW_BITS) << shift
        at, shift = at + 1, shift + 7
    return found | data[at] << shift, at + 1


def _varints(data: bytes, at: Index) -> tuple[NDArray[np.int64], Index]:
    """Return the number that stands at each place (n,), and the places behind them. Raises IndexError, ValueError."""
    every = np.frombuffer(data, np.uint8)
    byte = every[at].astype(np.int64)
    found, at = byte & _LOW_BITS, at + 1
    for shift in range(7, 64, 7):
        more = byte > _LOW_BITS
        if not more.any():
            return found >> 1 ^ -(found & 1), at
        byte = np.where(more, every[np.where(more, at, 0)], 0).astype(np.int64)
        found |= (byte & _LOW_BITS) << shift
        at = at + more
    raise ValueError("a number without an end")


def _pieces(data: bytes, at: Index) -> tuple[list[bytes | None], Index]:
    """Return the bytes, or None, that stand at each place (n,) behind their size, and the places behind them."""
    sizes, begins = _varints(data, at)
    ends = begins + np.maximum(sizes, 0)
    if (sizes < 0).all():
        return [None] * len(sizes), ends
    bounds = zip(begins.tolist(), ends.tolist(), strict=True)
    found: list[bytes | None] = [data[begin:end] for begin, end in bounds]
    for missing in np.flatnonzero(sizes < 0).tolist():
        found[missing] = None
    return found, ends
