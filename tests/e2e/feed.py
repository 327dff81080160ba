"""A known data set: twelve streams that swing through their days, with spikes, new levels, a silence and repeats."""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np

from daemon.types import Outgoing

PARTITIONS = 3
STREAMS = 12
TICKS = 1500
START_MS = 1_700_000_000_000
INTERVAL_MS = 10_000
DAY_TICKS = 120
# stream: (first tick, ticks, how much is added)
SPIKES = {0: (400, 2, 15.0), 3: (620, 1, -18.0), 5: (900, 3, 14.0), 7: (1110, 2, 20.0), 10: (1300, 1, 16.0)}
LEVELS = {1: (500, 60, 12.0), 4: (700, 500, 14.0), 6: (560, 30, 13.0), 8: (820, 40, -12.0), 9: (1000, 25, 12.0)}
SILENT = {11: (760, 90)}
REPEATED_EVERY = 97


def name(stream: int) -> str:
    """Return what a stream is called."""
    return f"load_{stream:02d}"


def values(stream: int, ticks: int = TICKS, *, faults: bool = True) -> list[float]:
    """Return a stream's values; the same for every call."""
    at, rng = np.arange(ticks), np.random.default_rng(1000 + stream)
    found = 20.0 + stream + 3.0 * np.sin(at * 2 * np.pi / DAY_TICKS + stream) + rng.normal(0.0, 0.4, ticks)
    if faults:
        for first, length, more in (each[stream] for each in (SPIKES, LEVELS) if stream in each):
            found[first : first + length] += more
    return [round(float(value), 4) for value in found]


def ticks(topic: str) -> list[list[Outgoing]]:
    """Return the records of every tick, one for each stream that is heard in it."""
    series = [values(stream) for stream in range(STREAMS)]
    return [[record(topic, stream, tick, series[stream][tick]) for stream in _heard(tick)] for tick in range(TICKS)]


def _heard(tick: int) -> Sequence[int]:
    silent = {stream for stream, (first, length) in SILENT.items() if first <= tick < first + length}
    heard = [stream for stream in range(STREAMS) if stream not in silent]
    return [*heard, 2] if tick % REPEATED_EVERY == REPEATED_EVERY - 1 else heard


def plain(topic: str, first: int, count: int, streams: int = PARTITIONS) -> list[Outgoing]:
    """Return the records of `count` ticks from `first` on, of the first streams and without faults."""
    series = [values(stream, first + count, faults=False) for stream in range(streams)]
    return [
        record(topic, stream, tick, series[stream][tick])
        for tick in range(first, first + count)
        for stream in range(streams)
    ]


def record(topic: str, stream: int, tick: int, value: float) -> Outgoing:
    """Return one sample as the record that carries it."""
    told = {"timestamp": START_MS + tick * INTERVAL_MS, "name": name(stream), "value": value}
    return Outgoing(topic, stream % PARTITIONS, name(stream).encode(), json.dumps(told).encode())
