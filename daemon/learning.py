"""Learning beside the loop: a child process trains from the topic's own history and publishes what it learnt.

The loop never waits for it: the child is another process at low priority, and a thread listens to what it says.
"""

from __future__ import annotations

import math
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import msgspec

from daemon import events
from daemon.events import TrainingOutcome

RETRY_SECONDS = 60.0
STOP_SECONDS = 5.0
LAST_WORDS_MAX = 5


class ChildReport(msgspec.Struct, tag_field="kind", tag="report"):
    """What the training child says last."""

    outcome: TrainingOutcome
    detail: str
    seconds: float


class ChildProgress(msgspec.Struct, tag_field="kind", tag="progress"):
    """What the training child says after each epoch."""

    epoch: int
    epochs_max: int
    loss: float
    validation_loss: float
    seconds: float


_decoder = msgspec.json.Decoder(ChildReport | ChildProgress)


@dataclass(frozen=True, slots=True)
class Schedule:
    """When a group is trained: after `min_samples`, and again `repeat_seconds` after a training (0: never)."""

    min_samples: int
    repeat_seconds: float


class Learning:
    """Starts training children when they are due, one at a time. Called by the loop between turns; never blocks."""

    def __init__(
        self,
        command: Callable[[str], list[str]],
        schedules: Mapping[str, Schedule],
        note: Callable[[events.Event], None],
    ) -> None:
        self._command, self._schedules, self._note = command, schedules, note
        self._child: subprocess.Popen[str] | None = None
        self._listener: threading.Thread | None = None
        self._waits_since: dict[tuple[str, bool], float] = {}

    def consider(self, group: str, samples: int, *, has_model: bool, now: float) -> bool:
        """Start a training of `group` if it is due at `now` (monotonic seconds); return whether one was started."""
        schedule = self._schedules.get(group)
        if schedule is None or samples < schedule.min_samples or self._busy():
            return False
        # the wait for the next training is counted from when a model was first seen, or from the last attempt
        waits_since = self._waits_since.setdefault((group, has_model), now if has_model else -math.inf)
        wait = schedule.repeat_seconds if has_model else RETRY_SECONDS
        if (has_model and wait <= 0) or now - waits_since < wait:
            return False
        self._waits_since[group, has_model] = now
        self._start(group)
        return True

    def close(self) -> None:
        """End a training that is running; what it has learnt is lost, what it has published stays."""
        child = self._child
        if child is not None and child.poll() is None:
            child.terminate()
            try:
                child.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                child.kill()
        if self._listener is not None:
            self._listener.join(STOP_SECONDS)

    def _busy(self) -> bool:
        return self._listener is not None and self._listener.is_alive()

    def _start(self, group: str) -> None:
        self._note(events.TrainingStarted(group))
        # the child ends when its standard input does: a daemon that is killed leaves no orphan
        pipe = subprocess.PIPE
        try:
            self._child = subprocess.Popen(
                self._command(group),
                stdout=pipe,
                stderr=subprocess.STDOUT,
                stdin=pipe,
                encoding="utf-8",
                errors="replace",
            )
        except OSError as error:
            self._note(events.TrainingFinished(group, "failed", 0.0, f"cannot be started: {error}"))
            return
        self._listener = threading.Thread(target=self._listen, args=(group, self._child), name="learning", daemon=True)
        self._listener.start()

    def _listen(self, group: str, child: subprocess.Popen[str]) -> None:
        """Pass on what the child says; whatever is not a message is kept for the case that it dies."""
        last_words: list[str] = []
        report: ChildReport | None = None
        assert child.stdout is not None
        with child:
            for line in child.stdout:
                try:
                    said = _decoder.decode(line)
                except msgspec.MsgspecError:
                    last_words = [*last_words, line.strip()][-LAST_WORDS_MAX:]
                    continue
                if isinstance(said, ChildReport):
                    report = said
                else:
                    self._note(events.TrainingProgressed(group, said.epoch, said.epochs_max, said.validation_loss))
            code = child.wait()
        if report is None:
            report = ChildReport("failed", f"exit code {code}: {' | '.join(last_words)}"[:500], 0.0)
        self._note(events.TrainingFinished(group, report.outcome, report.seconds, report.detail))


def child_command(config_path: str) -> Callable[[str], list[str]]:
    """Return what starts a training of a group with the configuration at `config_path`."""
    return lambda group: [sys.executable, "-m", "daemon", "train", config_path, "--group", group, "--child"]


def become_child() -> None:
    """Give way to the loop, and end when the daemon does."""
    os.nice(10)
    threading.Thread(target=_end_with_parent, name="parent", daemon=True).start()


def _end_with_parent() -> None:
    # not through the buffered stream: its lock would be held for ever, and the interpreter could not end
    while os.read(sys.stdin.fileno(), 1):
        pass
    os._exit(1)
