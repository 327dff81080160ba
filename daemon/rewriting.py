"""What the first stage of a repartitioned input writes for records whose turn has come: a value, not yet written."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from daemon import codec
from daemon.formats.packed import Reading, packed
from daemon.homes import Moved
from daemon.types import Outgoing, Rejected, TopicPartition

Due = Sequence[tuple[TopicPartition, Moved]]
"""Records in the order in which they go on, each with where it comes from."""


@dataclass(frozen=True, slots=True)
class Rewritten:
    """All that one transaction holds, and what is told of it once it is committed."""

    outgoing: Sequence[Outgoing]
    offsets: Mapping[TopicPartition, int]
    readings: int
    rejected: Sequence[Rejected]
    unselected: Mapping[str, int]  # by topic, points that nobody takes


def rewritten(due: Due, topic: str, dead_letters_topic: str, dead_letter_bytes_max: int) -> Rewritten:
    """Return what is written to `topic`, reading by reading to its home, and to the dead letters."""
    by_home: dict[int, list[Reading]] = {}
    rejected, letters = list[Rejected](), list[Outgoing]()
    unselected = Counter[str]()
    for partition, moved in due:
        for home, reading in moved.readings:
            by_home.setdefault(home, []).append(reading)
        if moved.unselected:
            unselected[partition.topic] += moved.unselected
        if moved.problem is not None and moved.record is not None:
            rejected.append(Rejected(*partition, moved.offset, *moved.problem))
            letters += codec.dead_letters(dead_letters_topic, rejected[-1:], [moved.record], dead_letter_bytes_max)
    anew = [Outgoing(topic, home, None, value) for home, each in by_home.items() for value in packed(each)]
    return Rewritten(
        outgoing=[*anew, *letters],
        offsets={partition: moved.offset + 1 for partition, moved in due},
        readings=sum(map(len, by_home.values())),
        rejected=rejected,
        unselected=unselected,
    )
