"""Longwatch itself: the very code of `longwatch backtest`, with many files side by side in one wave.

Each file is the backtest's own run, with its own slab, training and model; only the step takes all of them at once, as
the daemon does with many streams. A row's result does not depend on its neighbours, so every score is the backtest's to
the last bit (tests hold it to that).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Final, get_args, get_type_hints

import numpy as np
from numpy.typing import NDArray

from benchmarks.accuracy.corpora import Series
from benchmarks.accuracy.outcome import Outcome
from daemon.alert_events import AlertEvent, Group
from daemon.commands.backtest import BLOCK_ROWS, Run
from daemon.config import GroupConfig
from daemon.engine import step
from daemon.samples import Part
from daemon.types import TopicPartition
from detectors import ahead, channels, scoring
from detectors.columns import Rows
from detectors.network import Network
from detectors.scoring import Detector
from detectors.settings import DetectorSettings, ModelSettings, Scope
from detectors.slab import Delta
from detectors.train import SERIES_SAMPLES_MIN, train

STREAM: Final = np.arange(1)  # the slot of the one stream in a run's slab


@dataclass(frozen=True, slots=True)
class Variant:
    """One way to run the product."""

    trained: bool = True  # otherwise the fixed random weights of the first hours go on
    architecture: str = ""  # other than the shipped one
    scope: Scope = "group"  # whose the weights are; with "stream" they are learnt continually
    pooled: bool = False  # one model is trained on all files with the same channels, as on the streams of one group
    alone: bool = False  # nothing but the forecasts' errors, through the tail that the others go through


def architectures() -> tuple[str, ...]:
    """Return every architecture that the settings know, the shipped one first."""
    hint = get_type_hints(ModelSettings).get("architecture")
    if hint is None:
        return ("",)
    shipped = getattr(ModelSettings(), "architecture", "")
    return (shipped, *(name for name in get_args(hint) if name != shipped))


def group_for(group: GroupConfig, series: Series, variant: Variant, seed: int) -> GroupConfig:
    """Return the settings that run `variant` on `series`: the group's, with the file's channels and this seed."""
    training = group.training.model_copy(update={"seed": seed})
    changed: dict[str, Any] = {"channels": series.table.channels, "training": training}
    if variant.architecture:
        changed["model"] = group.model.model_copy(update={"architecture": variant.architecture})
    if variant.scope == "stream":
        changed |= {"model": group.model.model_copy(update={"scope": "stream"}), "learning": "continual"}
    return group.model_copy(update=changed)


def run(series: Sequence[Series], group: GroupConfig, variant: Variant, seed: int) -> Iterator[Outcome]:
    """Score `series`, all with the same channels, as the backtest would score each of them; yield in their order."""
    files = [_File.of(each, group_for(group, each, variant, seed)) for each in series]
    _walk(files, group, variant, _together)
    yield from (file.outcome() for file in files)


def forecast_errors(
    series: Sequence[Series], group: GroupConfig, variant: Variant, seed: int
) -> list[NDArray[np.float64]]:
    """Return how far off the network's forecasts are, one (T,) for each of `series`: nothing else of the product."""
    files = [_File.of(each, group_for(group, each, variant, seed)) for each in series]
    _walk(files, group, variant, _measure)
    return [np.nan_to_num(file.score, nan=0.0) for file in files]


def _walk(files: Sequence[_File], group: GroupConfig, variant: Variant, move: Move) -> None:
    """Move all files to their ends, and train them where the backtest would."""
    for share in _shares(files):
        if not variant.trained:
            move(share, None)
            continue
        # with a training part a file is trained before its first row is scored, as the backtest does it
        first = max(group.training.min_samples, 1)
        for rows in sorted({file.series.train_rows or first for file in share}):
            move([file for file in share if (file.series.train_rows or first) == rows], rows)
        if variant.pooled:
            _train_together(share, first)
        for file in share if not variant.pooled else ():
            file.train(file.series.train_rows or first)
        move([file for file in share if file.at < file.rows], None)


def _train_together(files: Sequence[_File], first: int) -> None:
    """Train one network on the first rows of all files, and let those that are not at their ends go on with it."""
    settings = files[0].run.detector.settings
    histories = [file.run.history(file.series.train_rows or first) for file in files]
    training = replace(settings.training, min_samples=SERIES_SAMPLES_MIN)
    learnt = train(replace(settings, training=training), histories, lambda _progress: None)
    detector = Detector(settings, Network(learnt.fitted.weights, model=settings.model), "pooled")
    for file in files:
        if file.at < file.rows:
            file.run.go_on_with(detector, learnt.calibration)


@dataclass(slots=True)
class _File:
    """One file, its run, and its outcome as far as it has come."""

    series: Series
    run: Run
    score: NDArray[np.float64]
    opened: NDArray[np.bool_]
    alarmed: NDArray[np.bool_]
    at: int = 0  # the next row to be scored
    trained: bool = False

    @classmethod
    def of(cls, series: Series, group: GroupConfig) -> _File:
        """Return a file of which nothing has been scored."""
        rows = len(series.labels)
        nothing = np.zeros(rows, dtype=bool)
        run = Run(group, series.table, lambda _share, _text: None)
        return cls(series, run, np.full(rows, np.nan), nothing, nothing.copy())

    @property
    def rows(self) -> int:
        """How many there are."""
        return len(self.score)

    @property
    def group(self) -> Group:
        """The group with what scores from now on."""
        return self.run._group

    def train(self, rows: int) -> None:
        """Learn from the first `rows`, unless there are none after them."""
        if self.at < self.rows:
            self.run.train(rows)
            self.trained = True

    def part(self, rows: int) -> Part:
        """Return the next so many rows, which are then behind."""
        begin, self.at = self.at, self.at + rows
        return self.run._part(slice(begin, self.at))

    def outcome(self) -> Outcome:
        """Return what has been found."""
        return Outcome(np.nan_to_num(self.score, nan=0.0), self.opened, self.alarmed)


Move = Callable[[Sequence[_File], "int | None"], None]
"""What takes files up to a row, or to their ends."""


class SideBySide:
    """Many networks as one: row i of whatever comes in belongs to network i."""

    def __init__(self, networks: Sequence[Any]) -> None:
        self._networks = networks

    def advance(self, *columns: NDArray[Any]) -> Any:  # noqa: ANN401  # whatever the networks give
        """Take one step of every network and put the results together; raises ValueError on another number of rows."""
        if any(len(column) != len(self._networks) for column in columns):
            raise ValueError(f"{len(columns[0])} rows for {len(self._networks)} networks")
        return _of_all([network.advance(*(column[i : i + 1] for column in columns)) for i, network in self._numbered()])

    def advance_own(self, *columns: NDArray[np.float32]) -> Any:  # noqa: ANN401  # as above
        """Take one step of every network, each stream with weights of its own, and put the results together."""
        each = [network.advance_own(*(column[i : i + 1] for column in columns)) for i, network in self._numbered()]
        return _of_all(each)

    def learn_own(self, rows: Rows, where: NDArray[np.bool_], settings: DetectorSettings) -> None:
        """Give the streams `where` a lesson is due that lesson, each by its own network."""
        for i, network in self._numbered():
            if where[i]:
                network.learn_own(rows, np.arange(len(where)) == i, settings)

    def _numbered(self) -> Iterator[tuple[int, Any]]:
        return enumerate(self._networks)

    def autoregress(self, window: NDArray[np.float32]) -> NDArray[np.float32] | None:
        """Return what every network's linear model says."""
        each = [network.autoregress(window[i : i + 1]) for i, network in self._numbered()]
        return None if each[0] is None else np.concatenate(each)

    def rebuild(self, *columns: NDArray[Any]) -> Any:  # noqa: ANN401
        """Nobody moves to these networks: each run has moved to its own."""
        raise NotImplementedError


def _of_all(each: Sequence[Any]) -> Any:  # noqa: ANN401  # whatever the networks give
    names = [name.name for name in fields(each[0])]
    return type(each[0])(**{name: _joined([getattr(one, name) for one in each]) for name in names})


def _joined(columns: Sequence[Any]) -> Any:  # noqa: ANN401
    return None if columns[0] is None else np.concatenate(columns)


def _shares(files: Sequence[_File]) -> Iterator[list[_File]]:
    """Yield files that may stand side by side: one with a row that holds no value stands alone.

    Such a row never reaches the network, and those beside it would be taken for its own.
    """
    whole = [file for file in files if np.isfinite(file.series.table.values).any(axis=1).all()]
    if whole:
        yield whole
    yield from ([file] for file in files if file not in whole)


def _joint(files: Sequence[_File]) -> Group:
    """Return one group whose network is that of every file, or theirs when they all have the same."""
    group = files[0].group
    if group.detector.network is None or not files[0].trained:
        return group
    network: Any = SideBySide([file.group.detector.network for file in files])
    return replace(group, detector=replace(group.detector, network=network))


def _blocks(files: Sequence[_File], end: int | None) -> Iterator[tuple[list[_File], list[Part]]]:
    """Yield the files that have rows before `end`, and their next block of rows, equally long for all."""
    ends = [file.rows if end is None else min(end, file.rows) for file in files]
    while living := [(file, stop) for file, stop in zip(files, ends, strict=True) if file.at < stop]:
        length = min(BLOCK_ROWS, *(stop - file.at for file, stop in living))
        yield [file for file, _ in living], [file.part(length) for file, _ in living]


def _together(files: Sequence[_File], end: int | None) -> None:
    """Move the files through the engine's step, block by block."""
    for living, parts in _blocks(files, end):
        told_apart = [replace(part, partition=TopicPartition("file", i)) for i, part in enumerate(parts)]
        caused = step([(_joint(living), told_apart)])
        for slab, delta in caused.deltas:
            slab.apply(delta)
        for i, (file, part, scores) in enumerate(zip(living, parts, caused.scores, strict=True)):
            file.score[part.samples.offsets] = scores.score
            _mark(file, part, [event for event in caused.alerts if event.source.partition == i])


def _mark(file: _File, part: Part, events: Sequence[AlertEvent]) -> None:
    """Note where alerts opened in a block, and which of its rows lie under an open one."""
    begin, end = int(part.samples.offsets[0]), int(part.samples.offsets[-1]) + 1
    file.alarmed[begin:end] = begin > 0 and file.alarmed[begin - 1]
    for event in events:
        at = event.source.last_offset
        if event.rule != "silence" and at is not None and event.change != "update":
            file.alarmed[at:end] = event.change == "open"
            file.opened[at] |= event.change == "open"


def _measure(files: Sequence[_File], end: int | None) -> None:
    """Move the files through the detector, and keep how far off its forecasts were instead of scores."""
    for living, parts in _blocks(files, end):
        detector = _joint(living).detector
        rows = np.concatenate([_row(part) for part in parts])
        times_ms = np.stack([part.samples.times_ms for part in parts])  # (n, T)
        values = np.stack([part.samples.values for part in parts])  # (n, T, D)
        open_to_learn = np.zeros(len(rows), dtype=bool)
        for column in range(times_ms.shape[1]):
            expected, margin = ahead.next_sample(detector, rows)
            scored = scoring.score(detector, rows, times_ms[:, column], values[:, column], open_to_learn)
            error = _forecast_error(scored.level - expected, margin)
            error[rows["model_samples"] <= channels.MEASURED_SAMPLES] = 1.0  # as large as usual, which is not known yet
            for file, part, one in zip(living, parts, error, strict=True):
                file.score[part.samples.offsets[column]] = one
        for i, part in enumerate(parts):
            part.slab.apply(Delta(STREAM, rows[i : i + 1]))


def _forecast_error(missed: NDArray[np.float64], margin: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return how far off (n,) the forecasts were, in usual errors: for several channels, the mean of the squares.

    `missed` (n, D) is by how much, `margin` (n, D) by how much at most usually.
    """
    away = np.nan_to_num(3.0 * missed / margin)
    square = np.minimum(away**2, channels.SQUARE_MAX).mean(axis=1)
    result: NDArray[np.float64] = np.sqrt(square) if away.shape[1] == 1 else square
    return result


def _row(part: Part) -> NDArray[np.void]:
    rows = part.slab.take(STREAM)
    if rows["samples"][0] == 0:
        scoring.clear(rows)
    return rows
