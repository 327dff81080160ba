"""Feeds a reader damaged examples from a seed and counts what becomes of them; what should never happen escapes."""

from __future__ import annotations

import random
import re
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from tests.fuzz.mutation import Mutator, Shape

ACCEPTED = "accepted"
INPUTS_MIN = 30
ESCAPES_MAX = 20  # of one reader in one run; it stops there
SLOW_SECONDS = 2.0  # of the processor's time: no input of this size is worth more
_VARYING = re.compile(r"\d+|'[^']*'|\"[^\"]*\"|[^\x20-\x7e]+")


class Slow(AssertionError):
    """An input took longer than anything of its size should."""


@dataclass(frozen=True, slots=True)
class Reader:
    """Something that reads bytes from outside.

    `read` returns ACCEPTED or `reason: detail` for what it refuses as documented; whatever it raises is an escape.
    `examples` are accepted (all but the damaged ones that a reader brings along), `weight` is its share of a run.
    """

    name: str
    read: Callable[[bytes], str]
    examples: Sequence[bytes]
    tokens: Sequence[bytes] = ()
    shape: Shape | None = None
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class Escape:
    """An input that brought a reader to do what it must not."""

    reader: str
    seed: int
    number: int
    data: bytes
    error: Exception

    def __str__(self) -> str:
        shown = repr(self.data if len(self.data) <= 600 else self.data[:600] + b"...")
        kind = type(self.error).__name__
        return f"{self.reader}, seed {self.seed}, input {self.number}: {kind}: {str(self.error)[:300]}\n    {shown}"


@dataclass(slots=True)
class Tally:
    """What became of a reader's inputs."""

    reader: str
    outcomes: Counter[str] = field(default_factory=Counter)  # by reason
    escapes: list[Escape] = field(default_factory=list)
    seconds: float = 0.0
    slowest_seconds: float = 0.0

    @property
    def inputs(self) -> int:
        """How many inputs were read."""
        return self.outcomes.total() + len(self.escapes)


def fuzz(reader: Reader, seed: int, inputs: int, seconds_max: float = float("inf")) -> Tally:
    """Give `reader` so many damaged examples, the same for the same seed; stop early after `seconds_max`.

    At least INPUTS_MIN are given, however slow the machine is.
    """
    mutator = Mutator(random.Random(f"{seed}/{reader.name}"), reader.examples, reader.tokens, reader.shape)
    tally, seen = Tally(reader.name), set[str]()
    began = time.monotonic()
    for number in range(inputs):
        data = mutator.next()
        found = tried(reader, seed, number, data, tally)
        if isinstance(found, Escape):
            tally.escapes.append(found)
            if len(tally.escapes) >= ESCAPES_MAX:
                break
        elif found not in seen:  # cheap guidance: what was refused for a new reason is a good place to go on from
            seen.add(found)
            mutator.keep(data)
        if number >= INPUTS_MIN and time.monotonic() - began > seconds_max:
            break
    tally.seconds = time.monotonic() - began
    return tally


def tried(reader: Reader, seed: int, number: int, data: bytes, tally: Tally) -> str | Escape:
    """Read one input and count it; return the escape, or the outcome without what varies in it."""
    began = time.thread_time()
    try:
        outcome = reader.read(data)
    # which errors there are is the very question, and every one of them is reported
    except Exception as error:  # noqa: BLE001
        return Escape(reader.name, seed, number, data, error)
    took = time.thread_time() - began
    if took > SLOW_SECONDS:
        return Escape(reader.name, seed, number, data, Slow(f"{took:.1f} s for {len(data)} bytes"))
    tally.slowest_seconds = max(tally.slowest_seconds, took)
    tally.outcomes[outcome.partition(":")[0]] += 1
    return _VARYING.sub("", outcome)[:80]
