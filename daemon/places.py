"""Where the points of one partition go: by what stays the same of a point, its group and the slots of its streams.

Nothing is known here that could not be found anew: it spares looking at names and labels, point by point.
"""

from __future__ import annotations

from array import array
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

Index = NDArray[np.intp]

NOWHERE: Final = -1  # a point that is not known or that nobody takes; a channel that a point has no number for
_GROUP, _FIRST, _STREAMS, _FIELDS, _UNSELECTED = range(5)  # the columns of `_points`


@dataclass(frozen=True, slots=True)
class Place:
    """Where one point goes: its group, and of each stream there the slot and which numbers of the point it takes."""

    group: str = ""  # none: nobody takes it
    slots: Sequence[int] = ()
    picks: Sequence[Sequence[int]] = ()  # of each stream, one for each channel
    fields: int = 1  # how many numbers the point has
    unselected: int = 0  # for how many points that nobody takes it counts


@dataclass(frozen=True, slots=True)
class Found:
    """Samples of one group, by the points that they are made of; columns of length n."""

    group: str
    point: Index
    slots: Index
    numbers: Index  # (n, D), where the values stand among the numbers, NOWHERE where one is missing


class _Streams:
    """The streams of one group, side by side as the points name them."""

    def __init__(self, channels: int) -> None:
        self.channels = channels
        self.slots, self.picks, self.owners = array("q"), array("q"), array("q")


class Places:
    """What is known of one partition's points."""

    def __init__(self) -> None:
        self._numbers: dict[Hashable, int] = {}
        self._keys: list[Hashable] = []  # by number, those that were forgotten, too
        self._points = array("q")
        self._groups: dict[str, _Streams] = {}

    def __len__(self) -> int:
        return len(self._keys)

    @property
    def known(self) -> Mapping[Hashable, int]:
        """The numbers under which points are known, by their keys; it changes with every one that is learnt."""
        return self._numbers

    def learn(self, key: Hashable, place: Place, points_max: int) -> None:
        """Remember where a point goes; before there are more than `points_max`, all are forgotten."""
        if len(self._keys) >= points_max:
            self.clear()
        number, group, first = len(self._keys), NOWHERE, 0
        if place.slots:
            streams = self._groups.setdefault(place.group, _Streams(len(place.picks[0])))
            group, first = list(self._groups).index(place.group), len(streams.slots)
            streams.slots.extend(place.slots)
            streams.owners.extend([number] * len(place.slots))
            for picks in place.picks:
                streams.picks.extend(picks)
        self._points.extend((group, first, len(place.slots), place.fields, place.unselected))
        self._keys.append(key)
        self._numbers[key] = number

    def forget(self, group: str, slot: int) -> None:
        """Forget the points of the stream at `slot`, which is given to another one."""
        streams = self._groups.get(group)
        if streams is not None:
            for at in np.flatnonzero(np.frombuffer(streams.slots, np.int64) == slot).tolist():
                self._numbers.pop(self._keys[streams.owners[at]], None)

    def clear(self) -> None:
        """Forget everything."""
        self._numbers.clear()
        self._groups.clear()
        self._keys, self._points = [], array("q")

    def samples(self, points: Index, first_number: int) -> tuple[int, list[Found]]:
        """Return how many of the points (n,), which are known, nobody takes, and the samples of the others by group.

        The points' numbers stand one after the other from `first_number` on.
        """
        if not len(points):
            return 0, []
        known = np.frombuffer(self._points, np.int64).reshape(-1, 5).take(points, axis=0)
        begins = first_number + np.cumsum(known[:, _FIELDS]) - known[:, _FIELDS]
        groups = known[:, _GROUP]
        found = [
            self._of_group(name, np.flatnonzero(groups == group), known, begins)
            for group, name in enumerate(self._groups)
        ]
        return int(known[:, _UNSELECTED].sum()), [each for each in found if len(each.point)]

    def _of_group(self, name: str, at: Index, known: NDArray[np.int64], begins: NDArray[np.int64]) -> Found:
        streams = self._groups[name]
        counts = known[at, _STREAMS]
        point = np.repeat(at, counts)
        within = np.arange(len(point)) - np.repeat(np.cumsum(counts) - counts, counts)
        stream = known[point, _FIRST] + within
        picks = np.frombuffer(streams.picks, np.int64).reshape(-1, streams.channels).take(stream, axis=0)
        numbers = np.where(picks == NOWHERE, NOWHERE, picks + begins[point][:, None])
        return Found(name, point, np.frombuffer(streams.slots, np.int64).take(stream), numbers)
