"""Questions about streams, from any thread, answered by the loop at the end of a turn: only there do rows stand still.

The loop gives away copies, never a row, and does only so much for it at the end of each turn; who asks waits, but not
for ever. While the loop is stuck nobody gets an answer, and nobody is kept from being told so.
"""

from __future__ import annotations

import heapq
import threading
from collections import deque
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from daemon import events
from daemon.alert_events import Group
from daemon.alerts import FIRING
from daemon.partitions import Partitions
from daemon.types import TopicPartition
from detectors.slab import FREE, Slab

WAITING_MAX: Final = 8
KEYS_A_TURN: Final = 20_000  # looked at for all questions together: some milliseconds
LISTED_MAX: Final = 1000

Place = tuple[TopicPartition, str]
"""A partition and a group: where a slab is."""

Working = Generator[int, None, object]
"""Work in slices, each of which says how many keys it looked at, up to the answer."""


class NoAnswer(Exception):
    """The loop was not asked, or did not answer in time; the text says which."""


@dataclass(frozen=True, slots=True)
class Search:
    """Which streams are asked for: the highest scores among those in whose name every word of `match` stands."""

    match: str = ""
    group: str | None = None  # None: any
    limit: int = 50


@dataclass(frozen=True, slots=True)
class Stream:
    """How one stream stands."""

    stream: str
    group: str
    topic: str
    partition: int
    time_ms: int  # of its last sample
    samples: int
    score: float | None  # None while warming
    alert: bool  # an anomaly's or a guard's is open
    silent: bool


@dataclass(frozen=True, slots=True)
class Found:
    """What a search gave; `matched` of the `searched` streams did."""

    streams: tuple[Stream, ...]
    matched: int
    searched: int


@dataclass(frozen=True, slots=True, eq=False)
class State:
    """A copy of all that is remembered of one stream."""

    stream: Stream
    group: Group
    row: NDArray[np.void]  # (1,)


class _Asked:
    """One question on its way."""

    def __init__(self, work: Callable[[Partitions], Working]) -> None:
        self.work = work
        self.working: Working | None = None
        self.answer: object = None
        self.done = threading.Event()


class Inquiries:
    """Where questions wait for the end of a turn. `answer` is the loop's; any thread may call the others."""

    def __init__(self, note: Callable[[events.Event], None]) -> None:
        self._note = note
        self._lock = threading.Lock()
        self._waiting: deque[_Asked] = deque()

    def search(self, search: Search, seconds: float) -> Found:
        """Return what `search` finds among the streams of this member. Raises NoAnswer."""
        found = self._ask(lambda partitions: _searching(search, partitions), seconds)
        assert isinstance(found, Found)
        return found

    def state(self, stream: str, group: str | None, seconds: float) -> State | None:
        """Return a stream's state, None when this member has no such stream. Raises NoAnswer."""
        found = self._ask(lambda partitions: _finding(stream, group, partitions), seconds)
        assert found is None or isinstance(found, State)
        return found

    def answer(self, partitions: Partitions) -> None:
        """Work on what was asked, the oldest first, as long as this turn allows."""
        left = KEYS_A_TURN
        while left > 0 and (asked := self._oldest()) is not None:
            asked.working = asked.working or asked.work(partitions)
            try:
                left -= next(asked.working)
            except StopIteration as done:
                self._done(asked, done.value)
            except Exception as error:  # noqa: BLE001  # a question is nobody's reason to stop turning
                self._done(asked, error)

    def _done(self, asked: _Asked, answer: object) -> None:
        asked.answer = answer
        self._forget(asked)
        asked.done.set()

    def _ask(self, work: Callable[[Partitions], Working], seconds: float) -> object:
        asked = _Asked(work)
        with self._lock:
            full = len(self._waiting) >= WAITING_MAX
            if not full:
                self._waiting.append(asked)
        if full:
            self._note(events.Inquired("refused"))
            raise NoAnswer(f"{WAITING_MAX} questions are waiting already; ask again later")
        answered = asked.done.wait(seconds)
        self._forget(asked)
        self._note(events.Inquired("answered" if answered else "late"))
        if not answered:
            raise NoAnswer(f"the loop did not answer within {seconds:g} s; /-/healthy says whether it turns")
        if isinstance(asked.answer, Exception):
            raise asked.answer
        return asked.answer

    def _oldest(self) -> _Asked | None:
        with self._lock:
            return self._waiting[0] if self._waiting else None

    def _forget(self, asked: _Asked) -> None:
        with self._lock:
            if asked in self._waiting:
                self._waiting.remove(asked)


def _finding(stream: str, group: str | None, partitions: Partitions) -> Working:
    """Look one stream up; of several of that name the first by partition and group."""
    for place in _places(group, partitions):
        found = _looked_up(stream, place, partitions)
        if found is not None:
            return found
        yield 1
    return None


def _looked_up(stream: str, place: Place, partitions: Partitions) -> State | None:
    slab = _slab(place, partitions)
    slot = None if slab is None else slab.find(stream)
    if slab is None or slot is None:
        return None
    row, owner = slab.take(np.array([slot])), partitions.group_of(*place)
    return State(_stream(stream, place[0], owner, row[0]), owner, row)


def _searching(search: Search, partitions: Partitions) -> Working:
    """Go through all streams, slab by slab; between two slices slabs may come, go and grow."""
    words = search.match.casefold().split()
    best: list[tuple[float, str, Place]] = []
    matched = searched = 0
    for place in _places(search.group, partitions):
        start = 0
        while (slab := _slab(place, partitions)) is not None and start < len(slab.keys):
            keys = slab.keys[start : start + KEYS_A_TURN]
            slots = start + np.flatnonzero(_fitting(keys, words))
            slots = slots[slab.view()["samples"][slots] > 0]
            matched, searched = matched + len(slots), searched + len(keys) - keys.count(FREE)
            highest = _highest(slab, slots, search.limit)
            best = heapq.nsmallest(search.limit, [*best, *((-score, key, place) for score, key in highest)])
            start += len(keys)
            yield len(keys)
    found = (_looked_up(key, place, partitions) for _, key, place in best)
    return Found(tuple(state.stream for state in found if state is not None), matched, searched)


def _places(group: str | None, partitions: Partitions) -> list[Place]:
    places = [(partition, name) for partition, state in partitions.states.items() for name in state.slabs]
    return sorted(place for place in places if group in (None, place[1]))


def _slab(place: Place, partitions: Partitions) -> Slab | None:
    state = partitions.states.get(place[0])
    return None if state is None else state.slabs.get(place[1])


def _fitting(keys: list[str], words: list[str]) -> list[bool]:
    """Return of each key whether every word stands in it, whatever the case; a free slot's fits nothing."""
    fitting = [key != FREE for key in keys]
    if words:
        folded = [key.casefold() for key in keys]
        for word in words:
            fitting = [fits and word in key for fits, key in zip(fitting, folded, strict=True)]
    return fitting


def _highest(slab: Slab, slots: NDArray[np.intp], count: int) -> list[tuple[float, str]]:
    """Return score and name of the streams with the highest scores among `slots`."""
    score = slab.view()["score"][slots]
    chosen = np.argsort(-score, kind="stable")[:count]
    return [(float(score[each]), slab.keys[slots[each]]) for each in chosen]


def _stream(key: str, partition: TopicPartition, group: Group, row: np.void) -> Stream:
    warming = row["samples"] <= group.detector.settings.warmup_samples
    return Stream(
        stream=key,
        group=group.name,
        topic=partition.topic,
        partition=partition.partition,
        time_ms=int(row["time_ms"]),
        samples=int(row["samples"]),
        score=None if warming else float(row["score"]),
        alert=bool(row["alert_phase"] >= FIRING),
        silent=bool(row["silent"]),
    )
