"""What is measured of the outcomes on each corpus: ratios of sums over files, so that files can be drawn anew."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from benchmarks.accuracy import ranges, windows
from benchmarks.accuracy.corpora import Series
from benchmarks.accuracy.outcome import Outcome
from benchmarks.accuracy.pipeline import replayed
from benchmarks.accuracy.windows import Detections, Profile
from detectors.settings import AlertSettings

F = NDArray[np.float64]

LEVELS: Final = 2.0 ** (np.arange(-10, 21) / 8.0)  # of the alert, from 0.42 to 5.7 times the shipped one


@dataclass(frozen=True, slots=True)
class Measure:
    """Numerators and denominators, (S, N): one for each seed and file. Its value is their sums' ratio."""

    above: F
    below: F

    @property
    def values(self) -> F:
        """The value for each seed, (S,)."""
        with np.errstate(invalid="ignore", divide="ignore"):
            result: F = self.above.sum(axis=1) / self.below.sum(axis=1)
        return result

    @property
    def median(self) -> float:
        """The median over the seeds."""
        return float(np.median(self.values))


Pairs = list[tuple[float, float]]
"""Numerator and denominator of each file."""


@dataclass(frozen=True, slots=True)
class Columns:
    """What is measured of one seed's outcomes on one corpus: pairs by the measure's name."""

    pairs: dict[str, Pairs] = field(default_factory=dict)

    def add(self, name: str, of_files: Sequence[tuple[float, float]]) -> None:
        """Take in a measure; a pair that is not a number counts for nothing."""
        self.pairs[name] = [
            (float(above), float(below)) if np.isfinite((above, below)).all() else (0.0, 0.0)
            for above, below in of_files
        ]


def measured(alert: AlertSettings, series: Sequence[Series], outcomes: Sequence[Outcome]) -> Columns:
    """Return every measure of a corpus, from one detector's outcomes with one seed."""
    columns = Columns()
    if series[0].corpus == "nab":
        _windows(columns, alert, series, outcomes)
    else:
        _ranges(columns, series, outcomes)
        _segments(columns, series, outcomes)
    return columns


def over_seeds(seeds: Sequence[Columns]) -> dict[str, Measure]:
    """Return the measures of all seeds together, by name."""
    arrays = {name: np.array([columns.pairs[name] for columns in seeds]) for name in seeds[0].pairs}
    return {name: Measure(array[..., 0], array[..., 1]) for name, array in arrays.items()}


# NAB


def _windows(columns: Columns, alert: AlertSettings, series: Sequence[Series], outcomes: Sequence[Outcome]) -> None:
    shipped = [windows.detections(each, outcome.opened) for each, outcome in zip(series, outcomes, strict=True)]
    at_level = replayed(alert, [outcome.score for outcome in outcomes], LEVELS)
    swept = [
        [windows.detections(each, opened[level]) for each, opened in zip(series, at_level, strict=True)]
        for level in range(len(LEVELS))
    ]
    for name, profile in windows.PROFILES.items():
        best = int(np.argmax([windows.score(found, profile) for found in swept]))
        columns.add(name, [_normalised(found, profile) for found in shipped])
        columns.add(f"{name} swept", [_normalised(found, profile) for found in swept[best]])
        columns.add(f"{name} level", [(float(LEVELS[best]), 1.0)] * len(series))
    columns.add("windows hit", [(found.hit, found.windows) for found in shipped])
    days = [(len(each.labels) - each.judged_from) / ranges.DAY_SAMPLES for each in series]
    columns.add("false/1440", [(found.false_rows, day) for found, day in zip(shipped, days, strict=True)])


def _normalised(found: Detections, profile: Profile) -> tuple[float, float]:
    """Return what a file adds to the score above that of silence, in per cent, and what it would add at best."""
    gained = found.gain + profile.missed * found.hit - profile.false * found.false
    return 100.0 * gained, found.windows * (1.0 + profile.missed)


# ASD, SMD, SKAB


def _ranges(columns: Columns, series: Sequence[Series], outcomes: Sequence[Outcome]) -> None:
    volumes, above, alarmed, wrong, missed = [], [], [], [], []
    for each, outcome in zip(series, outcomes, strict=True):
        rows = slice(each.judged_from, None)
        labels, score = each.labels[rows], outcome.score[rows]
        best = ranges.best_f1(labels, score)
        volumes.append((ranges.vus_pr(labels, score), 1.0))
        above.append((ranges.f1(labels, score >= 1.0), best))
        alarmed.append((ranges.f1(labels, outcome.alarmed[rows]), best))
        wrong.append((100.0 * float((~labels & (score >= 1.0)).sum()), float((~labels).sum())))
        missed.append((100.0 * float((labels & ~(score >= 1.0)).sum()), float(labels.sum())))
    columns.add("VUS-PR", volumes)
    columns.add("best F1", [(best, 1.0) for _, best in above])
    columns.add("F1/best score>=1", above)
    columns.add("F1/best alert", alarmed)
    columns.add("FAR", wrong)
    columns.add("MAR", missed)
    columns.add("F1", _pooled_f1(series, outcomes, lambda outcome: outcome.score >= 1.0))
    columns.add("F1 alert", _pooled_f1(series, outcomes, lambda outcome: outcome.alarmed))


def _pooled_f1(
    series: Sequence[Series], outcomes: Sequence[Outcome], flagged: Callable[[Outcome], NDArray[np.bool_]]
) -> list[tuple[float, float]]:
    """Return the terms of an F1 over the rows of all files together."""
    pairs = []
    for each, outcome in zip(series, outcomes, strict=True):
        labels, flags = each.labels[each.judged_from :], flagged(outcome)[each.judged_from :]
        pairs.append((2.0 * float((labels & flags).sum()), float(labels.sum() + flags.sum())))
    return pairs


def _segments(columns: Columns, series: Sequence[Series], outcomes: Sequence[Outcome]) -> None:
    days = [(len(each.labels) - each.judged_from) / ranges.DAY_SAMPLES for each in series]
    found = [
        ranges.events(each.labels[each.judged_from :], outcome.alarmed[each.judged_from :])
        for each, outcome in zip(series, outcomes, strict=True)
    ]
    fresh = [
        ranges.events(each.labels[each.judged_from :], outcome.opened[each.judged_from :])
        for each, outcome in zip(series, outcomes, strict=True)
    ]
    columns.add("recall", [(one.caught, one.stretches) for one in found])
    columns.add("recall opened", [(one.caught, one.stretches) for one in fresh])
    false = [(one.false_segments, day) for one, day in zip(found, days, strict=True)]
    columns.add("false/1440", false)
    columns.add("worst false/1440", _only_worst(false))


def _only_worst(pairs: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return the pair of the file with the highest ratio; the others count for nothing."""
    worst = max(range(len(pairs)), key=lambda i: pairs[i][0] / pairs[i][1])
    return [pair if i == worst else (0.0, 0.0) for i, pair in enumerate(pairs)]
