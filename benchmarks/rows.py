"""What a line of the table of speed and scale is, and how much is measured for it."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is measured."""

    repeats: int
    streams: int  # of the rows about scale and memory
    daemon_streams: int
    bootstrap: str | None
    training_samples: int = 1_000_000
    environment: Path = Path("build/peers")  # of the packages that are compared with


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table; `values` are those of the repetitions."""

    row: str
    values: Sequence[float]
    goal: float
    is_limit: bool = False  # the goal is a most, not a least

    @property
    def value(self) -> float:
        """The median."""
        return statistics.median(self.values)

    @property
    def is_met(self) -> bool:
        """Whether the goal was reached."""
        return self.value <= self.goal if self.is_limit else self.value >= self.goal
