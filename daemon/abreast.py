"""Keeps partitions abreast: what was read of several, each in its own order, is passed on in the order of its times.

Of the partitions' next items the one with the smallest time goes first, as when sorted lists are merged. Nothing goes
on while a partition of which more is there has nothing to offer: what comes from it may have to go first. So partitions
that are read at different speeds, as after a pause, do not run away from each other.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from collections.abc import Set as AbstractSet
from typing import Generic, NamedTuple, Protocol, TypeVar

import numpy as np

from daemon.types import TopicPartition


class Timed(Protocol):
    """Something with a place in time, and a weight in memory."""

    @property
    def at_ms(self) -> int: ...
    @property
    def weight_bytes(self) -> int: ...


class Most(NamedTuple):
    """How much is taken at once; one item in any case."""

    items: int
    bytes: int


T = TypeVar("T", bound=Timed)


class Abreast(Generic[T]):
    """What was read of each partition and has not been passed on."""

    def __init__(self) -> None:
        self._held: dict[TopicPartition, list[T]] = {}

    def __len__(self) -> int:
        return sum(map(len, self._held.values()))

    def hold(self, partition: TopicPartition, items: Iterable[T]) -> None:
        """Take in what was read next of a partition."""
        self._held.setdefault(partition, []).extend(items)

    def forget(self, partition: TopicPartition) -> None:
        """Drop what is held of a partition."""
        self._held.pop(partition, None)

    def count(self, partition: TopicPartition) -> int:
        """Return how many items of a partition are held."""
        return len(self._held.get(partition, ()))

    def weight_bytes(self, partition: TopicPartition) -> int:
        """Return how much is held of a partition."""
        return sum(each.weight_bytes for each in self._held.get(partition, ()))

    def take(
        self, partitions: AbstractSet[TopicPartition], ended: AbstractSet[TopicPartition], most: Most
    ) -> list[tuple[TopicPartition, T]]:
        """Take out what may go on, in order, at most so much; of those `ended` nothing more is there at present."""
        if any(not self.count(each) for each in partitions - ended):
            return []
        order = sorted(each for each in partitions if self.count(each))
        if not order:
            return []
        # the greatest time so far: an item that is older than those before it goes right after them
        times_ms = [np.maximum.accumulate([each.at_ms for each in self._held[tp]]) for tp in order]
        last_ms = [column[-1] for tp, column in zip(order, times_ms, strict=True) if tp not in ended]
        counts = [
            len(column) if not last_ms else int(np.searchsorted(column, min(last_ms), side="right"))
            for column in times_ms
        ]
        every = np.concatenate([column[:count] for column, count in zip(times_ms, counts, strict=True)])
        owners = np.repeat(np.arange(len(order)), counts)
        sequence = owners[np.argsort(every, kind="stable")[: most.items]].tolist()
        return self._taken(order, sequence, most.bytes)

    def _taken(
        self, order: Sequence[TopicPartition], sequence: Sequence[int], bytes_max: int
    ) -> list[tuple[TopicPartition, T]]:
        """Take out the next item of one partition after the other, as `sequence` says by their places in `order`."""
        nexts, counts = [iter(self._held[tp]) for tp in order], [0] * len(order)
        found: list[tuple[TopicPartition, T]] = []
        for owner in sequence:
            item = next(nexts[owner])
            bytes_max -= item.weight_bytes
            if bytes_max < 0 and found:
                break
            found.append((order[owner], item))
            counts[owner] += 1
        for tp, count in zip(order, counts, strict=True):
            del self._held[tp][:count]
        return found


class Patience:
    """Counts for how long partitions gave nothing, by the time that was spent on asking them."""

    def __init__(self, seconds_max: float) -> None:
        self._seconds_max = seconds_max
        self._waited: dict[TopicPartition, float] = {}

    def lost_with(self, awaited: AbstractSet[TopicPartition], seconds: float) -> set[TopicPartition]:
        """Return those that are still awaited, after so many seconds more, for which it has been too long by now."""
        self._waited = {partition: self._waited.get(partition, 0.0) + seconds for partition in awaited}
        return {partition for partition, waited in self._waited.items() if waited >= self._seconds_max}
