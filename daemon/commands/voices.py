"""How a training speaks while it runs: to a person, or to the daemon that started it."""

from __future__ import annotations

from typing import TextIO

import msgspec

from daemon.events import TrainingOutcome
from daemon.learning import ChildProgress, ChildReport
from daemon.progress import Bar
from detectors.fit import Progress

EXIT_OK, EXIT_FAILED = 0, 1


class Voice:
    """How a training speaks while it runs."""

    def read(self, records: int) -> None:
        """Say how many records of the partition at hand have been read."""

    def epoch(self, progress: Progress) -> None:
        """Say how the fit goes."""

    def end(self, outcome: TrainingOutcome, detail: str, seconds: float) -> int:
        """Say how it ended and return the exit code."""
        raise NotImplementedError


class Person(Voice):
    """Speaks to a person: a bar that moves, and a last line."""

    def __init__(self, err: TextIO) -> None:
        self._err, self._bar = err, Bar(err)

    def read(self, records: int) -> None:
        """Show how many records have been read."""
        self._bar.show("reading", None, f"{records} records")

    def epoch(self, progress: Progress) -> None:
        """Move the bar."""
        losses = f"loss {progress.loss:.4f}  later data {progress.validation_loss:.4f}"
        text = f"epoch {progress.epoch}/{progress.epochs_max}  {losses}"
        self._bar.show("training", progress.epoch / progress.epochs_max, text)

    def end(self, outcome: TrainingOutcome, detail: str, seconds: float) -> int:
        """Say how it ended and return the exit code."""
        self._bar.clear()
        self._err.write(f"{detail} ({seconds:.0f} s)\n" if outcome == "published" else f"{outcome}: {detail}\n")
        return EXIT_OK if outcome == "published" else EXIT_FAILED


class Child(Voice):
    """Speaks to the daemon that started it: one JSON message a line."""

    def __init__(self, out: TextIO) -> None:
        self._out = out

    def epoch(self, progress: Progress) -> None:
        """Say how far the fit is."""
        self._say(
            ChildProgress(
                progress.epoch, progress.epochs_max, progress.loss, progress.validation_loss, progress.seconds
            )
        )

    def end(self, outcome: TrainingOutcome, detail: str, seconds: float) -> int:
        """Say how it ended and return the exit code."""
        self._say(ChildReport(outcome, detail, seconds))
        return EXIT_OK if outcome == "published" else EXIT_FAILED

    def _say(self, message: ChildProgress | ChildReport) -> None:
        self._out.write(msgspec.json.encode(message).decode() + "\n")
        self._out.flush()
