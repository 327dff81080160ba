"""Which topics are read: those that are named, and whatever matches a pattern and is not one of our own."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

PATTERN: Final = "^"  # what a pattern begins with, and no topic's name does
INTERNAL: Final = "__"  # what the names of Kafka's own topics begin with


@dataclass(frozen=True, slots=True)
class Wanted:
    """Topics by name, patterns of the whole name, and the names of those that we write, which no pattern matches."""

    named: tuple[str, ...]
    patterns: tuple[str, ...] = ()
    ours: frozenset[str] = frozenset()

    @classmethod
    def of(cls, told: Iterable[str], ours: Iterable[str] = ()) -> Wanted:
        """Return what is wanted of names and patterns as they stand in the configuration."""
        every = tuple(told)
        patterns = tuple(each for each in every if each.startswith(PATTERN))
        return cls(tuple(each for each in every if each not in patterns), patterns, frozenset(ours))

    def matches(self, topic: str) -> bool:
        """Return whether a topic is named, or matches a pattern."""
        if topic in self.named:
            return True
        is_open = topic not in self.ours and not topic.startswith(INTERNAL)
        return is_open and any(re.fullmatch(pattern, topic) for pattern in self.patterns)

    def among(self, there: Iterable[str]) -> tuple[str, ...]:
        """Return the topics to read where those `there` are all: the named ones first, then what matches, sorted."""
        found = sorted(each for each in there if each not in self.named and self.matches(each))
        return (*self.named, *found)


def merged(wanted: Wanted, before: Sequence[str], now: Sequence[str]) -> tuple[str, ...]:
    """Return all topics that were or are to be read, in the order of `Wanted.among`; one that is gone may come back."""
    return wanted.among({*before, *now})
