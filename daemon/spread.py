"""Finds streams that lie on two partitions of a topic: their producer writes without a key, and each has but a part."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from daemon import events
from daemon.state import PartitionState
from daemon.types import TopicPartition

LOOKED_AT_MAX = 1000  # new streams of a group, partition and turn: it is enough to know, and takes no time


def spread(
    news: Mapping[TopicPartition, Mapping[str, Sequence[str]]], states: Mapping[TopicPartition, PartitionState]
) -> Iterator[events.StreamsSpread]:
    """Yield, for each group, how many of its new streams another of our partitions of their topic has already.

    `news` are the streams that came new in each partition, by group.
    """
    for partition, by_group in news.items():
        others = [state for place, state in states.items() if place.topic == partition.topic and place != partition]
        for group, keys in by_group.items():
            slabs = [state.slabs[group] for state in others]
            found = [key for key in keys[:LOOKED_AT_MAX] if any(slab.knows(key) for slab in slabs)]
            if found:
                yield events.StreamsSpread(partition.topic, group, len(found), found[0])


def newcomers(state: PartitionState) -> dict[str, list[str]]:
    """Return the streams, by group, that have a place but no row yet: they came new in this turn."""
    return {group: found for group, slab in state.slabs.items() if (found := slab.newcomers(LOOKED_AT_MAX))}


def every_stream(state: PartitionState) -> dict[str, list[str]]:
    """Return the first streams of each group: for a partition that was just restored, all of them are new."""
    return {group: slab.some_keys(LOOKED_AT_MAX) for group, slab in state.slabs.items()}
