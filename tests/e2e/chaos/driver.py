"""Carries out a schedule of faults, several at a time, and waits for the scores to catch up where it says so."""

from __future__ import annotations

import math
import random
import signal
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from daemon.errors import BrokerUnavailable
from daemon.kafka import KafkaBroker
from daemon.types import Record
from tests.e2e import verdict
from tests.e2e.chaos.faults import FAULTS, Planned, Steps, possible
from tests.e2e.chaos.flow import Flow
from tests.e2e.chaos.stand import Member, Stand, input_ends
from tests.e2e.chaos.tape import PARTITIONS
from tests.e2e.process import Follower, offsets_committed

SETTLE_SECONDS = 180.0
LOOK_SECONDS = 0.05


class Stuck(AssertionError):
    """The scores did not go on although every fault was over."""


@dataclass(frozen=True, slots=True)
class Injected:
    """A fault that was done, and when it began (seconds since 1970)."""

    fault: str
    at: float


@dataclass(slots=True)
class _UnderWay:
    steps: Steps
    next_at: float


class Driver:
    """Does faults to a stand while the flow goes on; use it from one thread."""

    def __init__(self, stand: Stand, flow: Flow, seed: int, say: Callable[[str], None]) -> None:
        self._stand, self._flow, self._say = stand, flow, say
        self._rng = random.Random(seed)
        self._pause = threading.Event()
        self._running: list[_UnderWay] = []
        self._broker = KafkaBroker(stand.place.connection())
        self._follower = Follower(self._broker, stand.place.outputs[0])
        self._scored = [-1] * PARTITIONS
        self.injected: list[Injected] = []

    def close(self) -> None:
        """Let go of the connections."""
        self._follower.close()
        self._broker.close()

    def run(self, plan: Sequence[Planned], seconds_max: float = math.inf) -> None:
        """Do what was planned, as far as `seconds_max` allow, and wait until all is well. Raises Stuck if it is not."""
        self.settle()
        over = time.monotonic() + seconds_max
        for number, planned in enumerate(plan, 1):
            if time.monotonic() > over:
                break
            self._until(partial(possible, self._stand, planned.fault), f"{planned.fault} is possible")
            began = time.monotonic()
            self.injected.append(Injected(planned.fault, time.time()))
            self._running.append(_UnderWay(FAULTS[planned.fault](self._stand, self._rng), 0.0))
            self._until(partial(_is_past, began + planned.pause_seconds), "time passes")
            if planned.settle:
                self.settle()
            self._say(f"{number:4} {planned.fault}: {time.monotonic() - began:.1f} s, settled: {planned.settle}")
        self.settle()

    def settle(self) -> None:
        """Wait until no fault is under way and all that the input held then is scored."""
        self._until(lambda: not self._running, "every fault is over")
        ends: list[int] = []

        def told() -> bool:
            ends[:] = input_ends(self._broker, self._stand.place) or []
            return bool(ends)

        self._until(told, "the input's ends are told")
        # the last record may be one that nobody can read, but others follow
        self._until(lambda: all(self._scored[each] >= ends[each] - 1 for each in range(PARTITIONS)), "all is scored")

    def finish(self) -> list[int]:
        """Stop the flow, wait until the group has committed all of it, end the daemons; return the input's ends."""
        self._flow.stop()
        ends = input_ends(self._broker, self._stand.place)
        assert ends is not None, "no broker answers although all faults are over"
        place = self._stand.place
        self._until(lambda: offsets_committed(self._broker, place.input) == ends, f"{ends} are committed")
        for member in self._stand.bases:
            member.wanted = False
            member.send(signal.SIGTERM)
            self._until(partial(_has_ended, member), "the daemons end")
            self._stand.note_end(member)
        return ends

    def _until(self, done: Callable[[], bool], what: str) -> None:
        give_up = time.monotonic() + SETTLE_SECONDS
        while not done():
            self._step()
            if time.monotonic() > give_up:
                tails = "\n\n".join(f"{each.config.parent.name}:\n{each.tail()}" for each in self._stand.members)
                raise Stuck(f"waited {SETTLE_SECONDS:g} s in vain: {what}; scored {self._scored}\n{tails}")

    def _step(self) -> None:
        """Do what is due of the faults under way, start again what has ended, and look at the scores."""
        if self._flow.error is not None:
            raise self._flow.error
        for each in list(self._running):
            if each.next_at <= time.monotonic():
                try:
                    each.next_at = next(each.steps) + time.monotonic()
                except StopIteration:
                    self._running.remove(each)
        self._stand.supervise()
        for sample, _ in verdict.told(self._came()):
            self._scored[sample.partition] = max(self._scored[sample.partition], sample.offset)
        self._pause.wait(LOOK_SECONDS)

    def _came(self) -> Sequence[Record]:
        try:
            return self._follower.advance()
        except BrokerUnavailable:
            return ()
        finally:
            self._follower.records.clear()


def _is_past(moment: float) -> bool:
    return time.monotonic() > moment


def _has_ended(member: Member) -> bool:
    return member.code is not None
