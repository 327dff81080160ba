"""An endless, known data set: streams that swing through their days, with faults of their own every few minutes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from daemon.types import Outgoing

PARTITIONS = 6
STREAMS = 18
EPOCH_TICKS = 240
BAD_EVERY_TICKS = 37
START_MS = 1_700_000_000_000
INTERVAL_MS = 10_000
DAY_TICKS = 120


class Planted(NamedTuple):
    """A fault of one stream in one epoch: the ticks from `first` on for `length`, and what is added to them."""

    first: int
    length: int
    more: float | None  # None: the stream is silent


def name(stream: int) -> str:
    """Return what a stream is called."""
    return f"load_{stream:02d}"


def planted(seed: int, stream: int, epoch: int) -> Planted:
    """Return the fault of a stream in an epoch: a spike, a new level, or silence."""
    rng = np.random.default_rng((seed, stream, epoch))
    first, sign = int(rng.integers(80, 150)), float(rng.choice((-1.0, 1.0)))
    match int(rng.integers(5)):
        case 0:
            return Planted(first, 80, None)
        case 1 | 2:
            return Planted(first, int(rng.integers(1, 4)), sign * float(rng.uniform(13, 20)))
        case _:
            return Planted(first, int(rng.integers(10, 60)), sign * float(rng.uniform(11, 15)))


class Tape:
    """Tells the records of each tick; for one seed always the same."""

    def __init__(self, topic: str, seed: int) -> None:
        self._topic, self._seed = topic, seed
        self._epoch = -1
        self._values: Sequence[Sequence[float | None]] = ()

    def tick(self, number: int) -> list[Outgoing]:
        """Return one record for each stream that is heard in a tick, and now and then one that nobody can read."""
        epoch, at = divmod(number, EPOCH_TICKS)
        if epoch != self._epoch:
            self._epoch, self._values = epoch, [self._series(stream, epoch) for stream in range(STREAMS)]
        told = [
            self._record(stream, number, value)
            for stream, series in enumerate(self._values)
            if (value := series[at]) is not None
        ]
        if number % BAD_EVERY_TICKS == BAD_EVERY_TICKS - 1:
            told.append(Outgoing(self._topic, number % PARTITIONS, b"bad", b'{"timestamp": 17'))
        return told

    def _series(self, stream: int, epoch: int) -> list[float | None]:
        rng = np.random.default_rng((self._seed, stream, epoch, 1))
        at = np.arange(epoch * EPOCH_TICKS, (epoch + 1) * EPOCH_TICKS)
        swing = 3.0 * np.sin(at * 2 * np.pi / DAY_TICKS + stream)
        found = [round(float(each), 4) for each in 20.0 + stream + swing + rng.normal(0.0, 0.4, EPOCH_TICKS)]
        fault = planted(self._seed, stream, epoch)
        inside = range(fault.first, fault.first + fault.length)
        if fault.more is None:
            return [None if place in inside else value for place, value in enumerate(found)]
        return [value + fault.more if place in inside else value for place, value in enumerate(found)]

    def _record(self, stream: int, number: int, value: float) -> Outgoing:
        told = {"timestamp": START_MS + number * INTERVAL_MS, "name": name(stream), "value": value}
        return Outgoing(self._topic, stream % PARTITIONS, name(stream).encode(), json.dumps(told).encode())
