"""What a member owns, brought up to what its client library has told, in order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from daemon.types import TopicPartition

Partitions = frozenset[TopicPartition]
Kind = Literal["came", "left", "lost"]
Note = tuple[Kind, Partitions]


@dataclass(frozen=True, slots=True)
class Settled:
    """What is owned now, what came and went since the last time, and what of that may still be written."""

    owned: Partitions
    came: Partitions
    went: Partitions
    leaving: Partitions


def settle(owned: Partitions, stranded: Partitions, notes: Sequence[Note]) -> Settled:
    """Return what `notes` make of what was `owned`.

    A partition in which we are `stranded`, or that left and came back, both went and came. Once anything was lost,
    nothing that leaves may be written: somebody else may have it already.
    """
    now, went, leaving, lost = owned, stranded & owned, Partitions(), False
    for kind, partitions in notes:
        now = now | partitions if kind == "came" else now - partitions
        went = went if kind == "came" else went | partitions
        leaving = leaving | partitions if kind == "left" else leaving
        lost = lost or kind == "lost"
    gone = owned & went
    return Settled(now, now - (owned - went), gone, Partitions() if lost else (leaving & owned) - now)
