"""Batches come out of the quick way as the library itself reads them; what it refuses is refused."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from random import Random
from typing import Any, Protocol

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kafka.errors import CorruptRecordError
from kafka.record.default_records import DefaultRecordBatch, DefaultRecordBatchBuilder
from kafka.record.legacy_records import LegacyRecordBatch, LegacyRecordBatchBuilder

from daemon.kafka import unpacking

SIZES = (0, 1, 30, 62, 63, 64, 65, 127, 128, 8000, 8190, 8191, 8192, 70_000)
Read = list[tuple[object, ...]]


class Batch(Protocol):
    """One of the library's batches."""

    def __iter__(self) -> Iterator[Any]: ...


def batch(seed: int, count: int, codec: int = 0, odd: float = 0.0) -> bytearray:
    """Return a batch of so many records; a share of them is odd in one way or another."""
    rng = Random(seed)
    built = DefaultRecordBatchBuilder(2, codec, 0, -1, -1, -1, 1 << 24)
    sizes = rng.sample(SIZES, rng.randrange(1, 5))
    offset = 0
    for _ in range(count):
        offset += rng.choice((1, 1, 1, 70, 9000)) if rng.random() < odd else 1
        stamp = 1_700_000_000_000 + rng.choice((0, 5, 100, 10_000, -7, 10**9, -(10**11)))
        key = rng.choice((None, b"", b"k" * rng.choice(SIZES[:9]))) if rng.random() < 0.5 else None
        value = None if rng.random() < odd else rng.randbytes(rng.choice(sizes))
        headers = [("h", b"v"), ("n", None)] if rng.random() < odd / 10 else []
        built.append(offset, stamp, key, value, headers)
    return bytearray(built.build())


def of_the_library(made: Batch) -> Read:
    return [(each.offset, each.timestamp, each.key, each.value, list(each.headers)) for each in made]


def ours(made: Batch) -> Read:
    return [(*each[:4], list(each.headers)) for each in unpacking.unpacked(made)]


def outcome(read: Callable[[Batch], Read], made: Batch) -> Read | str:
    try:
        return read(made)
    except CorruptRecordError:
        return "corrupt"


@given(seed=st.integers(0, 2**32), count=st.integers(1, 120), odd=st.sampled_from((0.0, 0.1)))
def test_records_are_those_that_the_library_reads(seed: int, count: int, odd: float) -> None:
    made = batch(seed, count, odd=odd)
    assert ours(DefaultRecordBatch(made)) == of_the_library(DefaultRecordBatch(made))


@pytest.mark.parametrize("codec", [1, 3], ids=["gzip", "lz4"])
def test_compressed_batches_are_read(codec: int) -> None:
    made = batch(1, 60, codec)
    assert ours(DefaultRecordBatch(made)) == of_the_library(DefaultRecordBatch(made))


def test_the_broker_s_own_time_is_that_of_all_records() -> None:
    made = batch(1, 60)
    made[DefaultRecordBatch.ATTRIBUTES_OFFSET + 1] |= DefaultRecordBatch.TIMESTAMP_TYPE_MASK
    found = ours(DefaultRecordBatch(made))
    assert found == of_the_library(DefaultRecordBatch(made))
    assert {each[1] for each in found} == {DefaultRecordBatch(made).max_timestamp}


@given(seed=st.integers(0, 2**32), changes=st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), max_size=3))
def test_damaged_batches_come_out_as_the_library_says(seed: int, changes: Sequence[tuple[float, int]]) -> None:
    made = batch(seed, 40, odd=0.02)
    head = DefaultRecordBatch.HEADER_STRUCT.size
    for where, byte in changes:
        made[head + int(where * (len(made) - head - 1))] = byte
    assert outcome(ours, DefaultRecordBatch(made)) == outcome(of_the_library, DefaultRecordBatch(made))


def test_what_old_brokers_wrote_is_read() -> None:
    oldest = LegacyRecordBatchBuilder(0, 0, 1 << 20)
    oldest.append(7, None, b"k", b"v")
    assert ours(LegacyRecordBatch(bytearray(oldest.build()), 0)) == [(7, -1, b"k", b"v", [])]  # without a time
    built = LegacyRecordBatchBuilder(1, 0, 1 << 20)
    built.append(7, 1_700_000_000_000, b"k", b"v")
    made = bytearray(built.build())
    assert ours(LegacyRecordBatch(made, 1)) == [(7, 1_700_000_000_000, b"k", b"v", [])]
    made[-1] ^= 1
    assert outcome(ours, LegacyRecordBatch(made, 1)) == "corrupt"


def test_most_batches_are_read_at_once() -> None:
    assert unpacking._at_once(DefaultRecordBatch(batch(1, 60))) is not None
