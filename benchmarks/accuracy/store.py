"""Outcomes that are kept between runs: one file for each detector, seed, series, setting and state of the code.

So are their measures, for each corpus.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.accuracy.corpora import Series
from benchmarks.accuracy.measures import Columns
from benchmarks.accuracy.outcome import Outcome


@dataclass(frozen=True, slots=True)
class Key:
    """What an outcome depends on."""

    detector: str
    seed: int
    settings: str
    code: str


class Store:
    """A folder of outcomes."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def path(self, key: Key, series: Series) -> Path:
        """Return where the outcome of `series` is or would be."""
        told = hashlib.sha256(f"{key.settings}\n{key.code}\n{series.digest}".encode()).hexdigest()[:16]
        name = re.sub(r"[^\w-]+", "_", series.name)
        return self._folder / f"{key.detector}-{key.seed}" / f"{series.corpus}-{name}-{told}.npz"

    def has(self, key: Key, series: Series) -> bool:
        """Return whether the outcome of `series` is known."""
        return self.path(key, series).exists()

    def put(self, key: Key, series: Series, outcome: Outcome) -> None:
        """Keep an outcome; whoever reads meanwhile sees all of it or nothing."""
        path = self.path(key, series)
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_suffix(".part")
        with unfinished.open("wb") as out:
            np.savez_compressed(out, score=outcome.score, opened=outcome.opened, alarmed=outcome.alarmed)
        unfinished.replace(path)

    def get(self, key: Key, series: Series) -> Outcome:
        """Return the outcome of `series`."""
        with np.load(self.path(key, series)) as held:
            return Outcome(held["score"], held["opened"], held["alarmed"])

    def columns(self, key: Key, series: Sequence[Series], scorers: str, measure: Callable[[], Columns]) -> Columns:
        """Return the measures of one corpus, measured now if the same outcomes never were by the same `scorers`."""
        told = "\n".join([scorers, *(self.path(key, each).name for each in series)])
        path = self._folder / "measures" / f"{key.detector}-{key.seed}-{hashlib.sha256(told.encode()).hexdigest()[:16]}"
        if path.exists():
            return Columns({name: [(a, b) for a, b in pairs] for name, pairs in json.loads(path.read_bytes()).items()})
        found = measure()
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_suffix(".part")
        unfinished.write_text(json.dumps(found.pairs), "utf-8")
        unfinished.replace(path)
        return found
