"""One file's past, gone through row by row with whatever model: what looking back and looking ahead have in common."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TextIO

import numpy as np
from numpy.typing import NDArray

from daemon import assembly
from daemon.commands.backtest import Run, group_of
from daemon.commands.made import made
from daemon.config import GroupConfig, defaults, load
from daemon.errors import ConfigError, DaemonError
from daemon.models import ready
from daemon.plots import PlotsMissing
from daemon.progress import Bar
from daemon.tables import TableError, read
from detectors import scaling
from detectors.ahead import next_sample
from detectors.artefact import Artefact, ArtefactError, loads, model_id
from detectors.introspection import NoGates
from detectors.network import use_threads
from detectors.train import TooLittleHistory

F = NDArray[np.float64]

EXIT_FAILED, EXIT_CONFIG = 1, 78


class BadChoice(DaemonError):
    """What the command line asks for cannot be had; the text says what can."""


@dataclass(frozen=True, slots=True)
class Choice:
    """Which file, and with which model it is gone through; without a choice as the daemon would: trained on the way."""

    source: Path
    config: Path | None = None
    model: Path | None = None  # an artefact that `longwatch train --output` wrote
    train_rows: int = 0
    day_zero: bool = False  # never trained


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """One row as the detector saw it, all (D,) but the score."""

    level: F  # what was scored: the value, or a counter's rate; NaN where missing
    expected: F
    margin: F  # three times the usual size of the forecast's error
    score: float  # NaN while warming


class Past:
    """A file on its way through the step, one row at a time. Raises ConfigError, TableError and ArtefactError."""

    def __init__(self, choice: Choice, bar: Bar) -> None:
        config = load(choice.config, os.environ) if choice.config else defaults()
        assembly.check_devices(config)
        use_threads(config.threads)
        table = read(choice.source)
        group = group_of(config, table)
        self.table = made(group, table)
        if not len(self.table.times_ms):
            raise TableError(f"{choice.source}: there are no rows")
        self.settings = group.detector()
        self._bar = bar
        self.run = Run(group, self.table, self._show)
        self._train_rows, self._trains_at = _training(choice, group, len(self))
        self.model = "day-zero weights, never trained"
        if choice.model is not None:
            self._take_up(choice.model)

    def __len__(self) -> int:
        return len(self.table.times_ms)

    @property
    def unlearnt_from(self) -> int:
        """The first row that the model at the end has not learnt from."""
        return self._train_rows

    def rows(self, before_row: Callable[[int], None] = lambda _row: None) -> Iterator[tuple[int, Seen]]:
        """Yield every row after it has been scored; `before_row` is called before, when its model is in place.

        Raises TooLittleHistory when the model cannot be trained.
        """
        for i in range(len(self)):
            self._train_when_due(i)
            before_row(i)
            before = self.run.row()
            level = self._level(before, i)
            expected, margin = next_sample(self.run.detector, before)
            self.run.score(i, i + 1)
            yield i, Seen(level, expected[0], margin[0], self.run.score_of(i))

    def _level(self, row: NDArray[np.void], i: int) -> F:
        seconds = np.maximum((self.run.times_ms[i : i + 1] - row["time_ms"]) / 1000.0, 1e-3)
        level: F = scaling.levels(row.copy(), self.table.values[i : i + 1], seconds)[0]
        return level

    def _train_when_due(self, rows_seen: int) -> None:
        if self._train_rows and rows_seen == self._trains_at:
            self.run.train(self._train_rows)
            self.model = f"trained on the first {self._train_rows} rows"

    def _take_up(self, path: Path) -> None:
        try:
            data = path.read_bytes()
        except OSError as error:
            raise ArtefactError(f"{path}: cannot be read: {error}") from error
        live = ready(_for_file(loads(data), self.settings.channels), model_id(data), self.settings)
        self.run.go_on_with(live.detector, live.calibration)
        self.model = f"model {live.detector.model_id}"

    def _show(self, share: float | None, text: str) -> None:
        self._bar.show("going through", share, text)


def _training(choice: Choice, group: GroupConfig, rows: int) -> tuple[int, int]:
    """Return on how many rows to train, 0 for never, and before which row."""
    if choice.model is not None or choice.day_zero:
        return 0, 0
    if choice.train_rows:
        return min(choice.train_rows, rows), 0
    first = group.training.min_samples
    return (first, first) if group.learning != "frozen" and first < rows else (0, 0)


def _for_file(artefact: Artefact, channels: tuple[str, ...]) -> Artefact:
    """Return the artefact as it fits a file: what was learnt of one channel by itself serves any single channel."""
    return replace(artefact, channels=channels) if len(artefact.channels) == len(channels) == 1 else artefact


def guarded(work: Callable[[], int], err: TextIO) -> int:
    """Return the exit code of `work`; what may be expected to go wrong is told in a line."""
    try:
        return work()
    except ConfigError as error:
        err.writelines(f"{problem}\n" for problem in error.problems)
        return EXIT_CONFIG
    except (DaemonError, ArtefactError, TooLittleHistory, NoGates, PlotsMissing, OSError) as error:
        err.write(f"{error}\n")
        return EXIT_FAILED
