"""Longwatch itself: the very code of `longwatch backtest`, with many files side by side in one wave.

Each file is the backtest's own run, with its own slab, training and model; only the step takes all of them at once, as
the daemon does with many streams. A row's result does not depend on its neighbours, so every score is the backtest's to
the last bit (tests hold it to that).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, get_args, get_type_hints

import numpy as np
from numpy.typing import NDArray

from benchmarks.accuracy.corpora import Series
from benchmarks.accuracy.outcome import Outcome
from daemon import alerts
from daemon.alert_events import AlertEvent
from daemon.commands.backtest import BLOCK_ROWS, _Run
from daemon.config import GroupConfig
from daemon.engine import step
from daemon.types import TopicPartition
from detectors import adopt, channels, scoring, threshold
from detectors.settings import ModelSettings

COLUMN_OF_MODEL = channels.NAMES.index("model")


@dataclass(frozen=True, slots=True)
class Variant:
    """One way to run the product."""

    trained: bool = True  # otherwise the fixed random weights of the first hours go on
    architecture: str = ""  # other than the shipped one
    alone: bool = False  # nothing but the network's error, through the same tail and alarm logic


def architectures() -> tuple[str, ...]:
    """Return every architecture that the settings know, the shipped one first."""
    hint = get_type_hints(ModelSettings).get("architecture")
    if hint is None:
        return ("",)
    shipped = getattr(ModelSettings(), "architecture", "")
    return (shipped, *(name for name in get_args(hint) if name != shipped))


def group_for(group: GroupConfig, series: Series, variant: Variant, seed: int) -> GroupConfig:
    """Return the settings that run `variant` on `series`: the group's, with the file's channels and this seed."""
    training = group.training.model_copy(update={"seed": seed, "enabled": variant.trained})
    changed: dict[str, Any] = {"channels": series.table.channels, "training": training}
    if variant.architecture:
        changed["model"] = group.model.model_copy(update={"architecture": variant.architecture})
    return group.model_copy(update=changed)


def run(series: Sequence[Series], group: GroupConfig, variant: Variant, seed: int) -> Iterator[Outcome]:
    """Score `series`, all with the same channels, as the backtest would score each of them; yield in their order."""
    runs = [_Run(group_for(group, each, variant, seed), each.table, lambda _share, _text: None) for each in series]
    score = _alone if variant.alone else _together
    outcomes = [_Columns.empty(len(each.table.times_ms)) for each in series]
    if not variant.trained:
        score(runs, outcomes, [(0, len(each.table.times_ms)) for each in series])
    elif series[0].train_rows:
        for each, one in zip(series, runs, strict=True):
            one.train(each.train_rows)
        score(runs, outcomes, [(0, len(each.table.times_ms)) for each in series])
    else:
        first = group.training.min_samples
        score(runs, outcomes, [(0, min(first, len(each.table.times_ms))) for each in series])
        for each, one in zip(series, runs, strict=True):
            if first < len(each.table.times_ms):
                one.train(first)
        later = [i for i, each in enumerate(series) if first < len(each.table.times_ms)]
        ranges = [(first, len(series[i].table.times_ms)) for i in later]
        score([runs[i] for i in later], [outcomes[i] for i in later], ranges)
    yield from (columns.outcome() for columns in outcomes)


@dataclass(slots=True)
class _Columns:
    """An outcome under construction."""

    score: NDArray[np.float64]
    opened: NDArray[np.bool_]
    alarmed: NDArray[np.bool_]

    @classmethod
    def empty(cls, rows: int) -> _Columns:
        return cls(np.full(rows, np.nan), np.zeros(rows, dtype=bool), np.zeros(rows, dtype=bool))

    def outcome(self) -> Outcome:
        return Outcome(np.nan_to_num(self.score, nan=0.0), self.opened, self.alarmed)


class SideBySide:
    """Many networks as one: row i of whatever comes in belongs to network i."""

    def __init__(self, networks: Sequence[Any]) -> None:
        self._networks = networks

    def advance(self, *columns: NDArray[np.float32]) -> Any:  # noqa: ANN401  # whatever the networks give
        """Take one step of every network and put the results together; raises ValueError on another number of rows."""
        if any(len(column) != len(self._networks) for column in columns):
            raise ValueError(f"{len(columns[0])} rows for {len(self._networks)} networks")
        each = [network.advance(*(column[i : i + 1] for column in columns)) for i, network in enumerate(self._networks)]
        kind = type(each[0])
        return kind(**{name.name: np.concatenate([getattr(one, name.name) for one in each]) for name in fields(kind)})

    def rebuild(self, *columns: NDArray[Any]) -> Any:  # noqa: ANN401
        """Nobody moves to these networks: each run has moved to its own."""
        raise NotImplementedError


Ranges = Sequence[tuple[int, int]]


def _blocks(runs: Sequence[_Run], ranges: Ranges) -> Iterator[tuple[list[int], list[slice]]]:
    """Yield which runs have a next block, and its rows; within a block all go on to its end or to their own."""
    # a row without any value never reaches the network, so nobody may stand beside it
    gaps = [not np.isfinite(run._table.values).any(axis=1).all() for run in runs]
    for lonely in (i for i, gap in enumerate(gaps) if gap):
        yield from (([lonely], [rows]) for rows in _slices(*ranges[lonely]))
    many = [i for i, gap in enumerate(gaps) if not gap]
    at = {i: ranges[i][0] for i in many}
    while living := [i for i in many if at[i] < ranges[i][1]]:
        length = min(BLOCK_ROWS, *(ranges[i][1] - at[i] for i in living))
        yield living, [slice(at[i], at[i] + length) for i in living]
        at.update({i: at[i] + length for i in living})


def _slices(begin: int, end: int) -> Iterator[slice]:
    return (slice(start, min(start + BLOCK_ROWS, end)) for start in range(begin, end, BLOCK_ROWS))


def _joint(runs: Sequence[_Run]) -> Any:  # noqa: ANN401
    """Return one group whose network is that of every run, or theirs when they all have the same."""
    group = runs[0]._group
    if group.detector.network is None or all(run._trained_at is None for run in runs):
        return group
    network = SideBySide([run._group.detector.network for run in runs])
    return replace(group, detector=replace(group.detector, network=network))


def _together(runs: Sequence[_Run], outcomes: Sequence[_Columns], ranges: Ranges) -> None:
    """Move the runs through the engine's step, block by block."""
    for living, rows in _blocks(runs, ranges):
        parts = [
            replace(runs[i]._part(each), partition=TopicPartition("backtest", i))
            for i, each in zip(living, rows, strict=True)
        ]
        caused = step([(_joint([runs[i] for i in living]), parts)])
        for slab, delta in caused.deltas:
            slab.apply(delta)
        for i, each, scores in zip(living, rows, caused.scores, strict=True):
            outcomes[i].score[each] = scores.score
            _mark(outcomes[i], each, [event for event in caused.alerts if event.source.partition == i])


def _mark(columns: _Columns, rows: slice, events: Sequence[AlertEvent]) -> None:
    """Note where alerts opened in a block, and which of its rows lie under an open one."""
    alarmed = bool(columns.alarmed[rows.start - 1]) if rows.start else False
    columns.alarmed[rows] = alarmed
    for event in events:
        at = event.source.last_offset
        if event.rule != "silence" and at is not None and event.change != "update":
            columns.alarmed[at : rows.stop] = event.change == "open"
            columns.opened[at] |= event.change == "open"


def _alone(runs: Sequence[_Run], outcomes: Sequence[_Columns], ranges: Ranges) -> None:
    """Move the runs through the detector and the alerts' table, with the network's error as the whole surprise."""
    for living, slices in _blocks(runs, ranges):
        detector = _joint([runs[i] for i in living]).detector
        rows = np.concatenate([_row(runs[i]) for i in living])
        for at in zip(*(range(each.start, each.stop) for each in slices), strict=True):
            times_ms = np.array([runs[i]._times_ms[t] for i, t in zip(living, at, strict=True)])
            values = np.stack([runs[i]._table.values[t] for i, t in zip(living, at, strict=True)])
            shielded = alerts.protected(detector.settings.alert, rows)
            scored = scoring.score(detector, rows, times_ms, values, shielded)
            surprise = scored.decades[:, COLUMN_OF_MODEL]
            alone = threshold.score(detector.settings.threshold, rows, surprise)
            alone[np.isnan(scored.score)] = np.nan
            moved = alerts.advance(detector.settings.alert, rows, times_ms, alone, np.zeros(len(rows), dtype=bool))
            if moved.accepted.any():
                rows[moved.accepted] = adopt.accept_level(rows[moved.accepted])
            for n, (i, t) in enumerate(zip(living, at, strict=True)):
                outcomes[i].score[t] = alone[n]
                outcomes[i].opened[t] = moved.opened[n]
                outcomes[i].alarmed[t] = rows["alert_phase"][n] >= alerts.FIRING
        for n, i in enumerate(living):
            runs[i]._slab._rows[0] = rows[n]


def _row(run: _Run) -> NDArray[np.void]:
    rows = run._slab.take(np.arange(1))
    if rows["samples"][0] == 0:
        scoring.clear(rows)
    return rows
