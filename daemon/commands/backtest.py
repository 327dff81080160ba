"""`longwatch backtest`: a file through the very same step as the daemon's, every row scored in its turn."""

from __future__ import annotations

import csv
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from daemon import assembly, covered
from daemon.alert_events import AlertEvent
from daemon.commands.made import made, told
from daemon.config import Config, GroupConfig, defaults, load
from daemon.engine import layout, step
from daemon.errors import ConfigError
from daemon.progress import Bar
from daemon.samples import Part, Samples
from daemon.tables import Table, TableError, read
from daemon.types import TopicPartition
from detectors import scoring
from detectors.adopt import Calibration, adopt
from detectors.dayzero import day_zero
from detectors.evaluate import Evaluation, evaluate
from detectors.fit import Progress
from detectors.network import Network, use_threads
from detectors.scoring import Detector
from detectors.scoring import Network as AnyNetwork
from detectors.settings import DetectorSettings
from detectors.slab import Delta, Slab
from detectors.train import SERIES_SAMPLES_MIN, StreamHistory, TooLittleHistory, train

BLOCK_ROWS = 512
PARTITION = TopicPartition("backtest", 0)
STREAM = np.zeros(1, dtype=np.intp)  # the slot of the one stream there is


@dataclass(frozen=True, slots=True)
class Backtest:
    """What a file gave: a score for every row (NaN while warming), and the alerts."""

    score: NDArray[np.float64]
    alerts: Sequence[AlertEvent]
    opened: NDArray[np.bool_]  # the rows at which an alert opened
    trained_at: int | None  # the row from which a trained model scored


def group_of(config: Config, table: Table) -> GroupConfig:
    """Return the group that scores the file: the first of the configuration, with the file's channels and all windows.

    Where it makes its samples of others, the channels are its own. Raises TableError when the file has no column for a
    guard of the group.
    """
    if config.groups[0].recipe() is not None:
        return config.maintained(config.groups[0])
    missing = [name for name in config.groups[0].guard if name not in table.channels]
    if missing:
        raise TableError(f"guard: no column {', '.join(missing)}; there are {', '.join(table.channels)}")
    return config.maintained(config.groups[0]).model_copy(update={"channels": table.channels})


def backtest(
    group: GroupConfig,
    table: Table,
    train_rows: int,
    progress: Callable[[float | None, str], None] = lambda _share, _text: None,
) -> Backtest:
    """Score `table` row by row as one stream.

    The stream warms up as in the daemon, and the model is trained once `train_rows` rows have been seen, or else
    `training.min_samples`.
    """
    run = Run(group, table, progress)
    rows = len(table.times_ms)
    first = train_rows or (group.training.min_samples if group.learning != "frozen" else rows)
    run.score(0, first)
    if first < rows or train_rows:
        run.train(first)
        run.score(first, rows)
    return run.result()


class Run:
    """One stream in one slab, moved through the engine in blocks of rows."""

    def __init__(self, group: GroupConfig, table: Table, progress: Callable[[float | None, str], None]) -> None:
        self._settings: DetectorSettings = group.detector()
        self._group = assembly.group(group, day_zero(self._settings))
        self._table, self._progress = table, progress
        self.times_ms = _strictly_rising(table.times_ms)
        self._slab, self._told = Slab(layout(self._settings), 1, 1), told(group)
        self._slab.slot(group.name, {"counter": self._told.tolist()})
        self._score = np.full(len(table.times_ms), np.nan)
        self._alerts: list[AlertEvent] = []
        self._trained_at: int | None = None

    def score(self, begin: int, end: int) -> None:
        """Take the rows from `begin` to before `end` through the step."""
        for start in range(begin, min(end, len(self._score)), BLOCK_ROWS):
            rows = slice(start, min(start + BLOCK_ROWS, end, len(self._score)))
            caused = step([(self._group, [self._part(rows)])])
            for slab, delta in caused.deltas:
                slab.apply(delta)
            self._score[rows] = caused.scores[0].score
            self._alerts.extend(caused.alerts)
            self._progress(rows.stop / len(self._score), f"row {rows.stop} of {len(self._score)}")

    def train(self, rows: int) -> None:
        """Learn from the first `rows` rows and go on with what was learnt."""
        training = replace(self._settings.training, min_samples=min(rows, SERIES_SAMPLES_MIN))
        trained = train(replace(self._settings, training=training), [self.history(rows)], self._tell)
        network = Network.of(trained.fitted.weights, self._settings)
        self.go_on_with(Detector(self._settings, network, "backtest"), trained.calibration)
        self._trained_at = rows

    def history(self, rows: int) -> StreamHistory:
        """Return the first `rows` rows as there is to learn from them."""
        history = StreamHistory(self.times_ms[:rows], self._table.values[:rows], self._told)
        return covered.by_windows(history, self._group.calendar)

    def go_on_with(self, detector: Detector, calibration: Calibration) -> None:
        """Move the stream to another model, as the daemon does at a turn boundary."""
        self._slab.apply(Delta(STREAM, adopt(detector, self._slab.take(STREAM), calibration)))
        self._group = replace(self._group, detector=detector)

    @property
    def detector(self) -> Detector:
        """What scores from now on."""
        return self._group.detector

    def watch(self, network: AnyNetwork) -> None:
        """Let `network`, which gives what the present one gives, take its place."""
        self._group = replace(self._group, detector=replace(self.detector, network=network))

    def score_of(self, row: int) -> float:
        """Return the score of a row that has been scored, NaN while warming."""
        return float(self._score[row])

    def row(self) -> NDArray[np.void]:
        """Return a copy of what is remembered of the stream, (1,)."""
        row = self._slab.take(STREAM)
        if row["samples"][0] == 0:
            scoring.clear(row)
        return row

    def result(self) -> Backtest:
        """Return what has been found."""
        opened = np.zeros(len(self._score), dtype=bool)
        for event in self._alerts:
            if event.change == "open" and event.rule != "silence" and event.source.last_offset is not None:
                opened[event.source.last_offset] = True
        return Backtest(self._score, self._alerts, opened, self._trained_at)

    def _part(self, rows: slice) -> Part:
        times_ms = self.times_ms[rows]
        samples = Samples(
            slots=np.zeros(len(times_ms), dtype=np.intp),
            offsets=np.arange(rows.start, rows.stop),
            times_ms=times_ms,
            values=self._table.values[rows],
            # one stream by itself: nothing else moves the watermark, so no silence is ever seen
            watermark_ms=np.zeros(len(times_ms), dtype=np.int64),
        )
        return Part(PARTITION, self._slab, samples, 0)

    def _tell(self, progress: Progress) -> None:
        self._progress(
            None, f"training, epoch {progress.epoch} of {progress.epochs_max}, loss {progress.validation_loss:.4f}"
        )


def _strictly_rising(times_ms: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the times with each at least a millisecond after the one before.

    The rows of a file are samples in order, also where its clock was set back; the daemon would drop such samples.
    """
    steps = np.arange(len(times_ms))
    return np.maximum.accumulate(times_ms - steps) + steps


def write(path: Path, table: Table, result: Backtest) -> None:
    """Write `timestamp,score,alert`, one row for each row of the file; an empty score while warming."""
    with path.open("w", encoding="utf-8", newline="") as out:
        rows = csv.writer(out, lineterminator="\n")
        rows.writerow(("timestamp", "score", "alert"))
        rows.writerows(_rows(table, result))


def _rows(table: Table, result: Backtest) -> Iterator[tuple[str, str, int]]:
    for stamp, score, opened in zip(table.timestamps, result.score, result.opened, strict=True):
        yield stamp, "" if np.isnan(score) else f"{score:.9g}", int(opened)


def judged(table: Table, result: Backtest) -> Evaluation | None:
    """Return precision, recall and delay against the file's labels; None without labels."""
    return None if table.labels is None else evaluate(table.labels, result.opened, table.times_ms)


def main(source: Path, output: Path, config_path: Path | None, train_rows: int) -> int:
    """Score a file and write the result beside it; print what the labels say. Returns the exit code."""
    try:
        config = load(config_path, os.environ) if config_path else defaults()
        assembly.check_devices(config)
        table = read(source)
        group = group_of(config, table)
        table = made(group, table)
    except ConfigError as error:
        sys.stderr.writelines(f"{problem}\n" for problem in error.problems)
        return 78
    except TableError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    use_threads(config.threads)
    bar = Bar(sys.stderr)
    try:
        result = backtest(group, table, train_rows, lambda share, text: bar.show("backtest", share, text))
        bar.clear()
        write(output, table, result)
    except TooLittleHistory as error:
        sys.stderr.write(f"{source}: --train-rows {train_rows}: {error}\n")
        return 1
    except OSError as error:
        sys.stderr.write(f"{output}: cannot be written: {error}\n")
        return 1
    sys.stdout.writelines(f"{line}\n" for line in _summary(output, table, result))
    return 0


def _summary(output: Path, table: Table, result: Backtest) -> Iterator[str]:
    scored = int(np.isfinite(result.score).sum())
    trained = "no model was trained" if result.trained_at is None else f"trained on the first {result.trained_at} rows"
    yield f"{output}: {len(result.score)} rows, {scored} scored, {int(result.opened.sum())} alerts; {trained}"
    found = judged(table, result)
    if found is not None:
        yield f"precision {found.precision:.3f}  recall {found.recall:.3f} ({found.caught} of {found.stretches})"
        yield f"delay {found.delay_seconds:.0f} s (median)"
