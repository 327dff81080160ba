"""Learning beside the loop: a child process trains from the topic's own history and publishes what it learnt.

The loop never waits for it: the child is another process at low priority, and a thread listens to what it says.
"""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import msgspec

from daemon import events
from daemon.events import Cause, TrainingOutcome

RETRY_SECONDS = 60.0
RETRY_SECONDS_MAX = 3600.0  # what fails again and again is tried less and less often
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
    """When a group is trained: after `min_samples`, and then again as the rest says.

    A child that has not ended after `child_seconds_max` hangs and is killed.
    """

    min_samples: int
    repeat_seconds: float  # after a training; 0: not because of the time
    child_seconds_max: float = math.inf
    repeat_samples: int = 0  # since the model took over; 0: not because of their number
    apart_seconds: float = 0.0  # no training is due within so long of the last one, whatever happens


@dataclass(frozen=True, slots=True)
class Situation:
    """What speaks for a training of a group just now; all of it outlives a restart."""

    samples: int  # that the warmed-up streams have had
    samples_since: int = 0  # that all have had since the model took over
    age_seconds: float | None = None  # of the newest model, promoted or refused; None: there is none
    has_model: bool = False
    drifted: bool = False


def due(schedule: Schedule, at: Situation) -> Cause | None:
    """Return what makes a training due, None when it is not."""
    if at.samples < schedule.min_samples:
        return None
    age = math.inf if at.age_seconds is None else at.age_seconds
    if age < schedule.apart_seconds:
        return None
    if not at.has_model or (0 < schedule.repeat_seconds <= age) or (0 < schedule.repeat_samples <= at.samples_since):
        return "schedule"
    return "drift" if at.drifted else None


class Learning:
    """Starts training children when they are due, one at a time. Called by the loop between turns; never blocks."""

    def __init__(
        self,
        command: Callable[[str, Cause], list[str]],
        schedules: Mapping[str, Schedule],
        note: Callable[[events.Event], None],
    ) -> None:
        self._command, self._schedules, self._note = command, schedules, note
        self._child: subprocess.Popen[str] | None = None
        self._listener: threading.Thread | None = None
        self._tried_at: dict[str, float] = {}  # by group
        self._failures: dict[str, int] = {}  # by group, in a row
        self._deadline = math.inf

    def consider(self, group: str, at: Situation, now: float) -> bool:
        """Start a training of `group` if it is due at `now` (monotonic seconds); return whether one was started."""
        self._end_overdue(now)
        schedule = self._schedules.get(group)
        if schedule is None or self._busy():
            return False
        cause = due(schedule, at)
        # what has been tried may have left nothing behind, or nothing that has been read yet
        wait = max(self._retry_seconds(group), schedule.apart_seconds if at.has_model else 0.0)
        if cause is None or now - self._tried_at.get(group, -math.inf) < wait:
            return False
        self._tried_at[group] = now
        self._deadline = now + schedule.child_seconds_max
        self._start(group, cause)
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

    def _retry_seconds(self, group: str) -> float:
        doublings = min(max(self._failures.get(group, 0) - 1, 0), 16)
        return min(RETRY_SECONDS * 2.0**doublings, RETRY_SECONDS_MAX)

    def _end_overdue(self, now: float) -> None:
        """Kill a child that hangs, so that there can be another one; its end is told by who listens to it."""
        if now > self._deadline and self._child is not None and self._child.poll() is None:
            self._deadline = math.inf
            self._child.kill()

    def _start(self, group: str, cause: Cause) -> None:
        self._note(events.TrainingStarted(group, cause))
        # the child ends when its standard input does: a daemon that is killed leaves no orphan
        pipe = subprocess.PIPE
        try:
            self._child = subprocess.Popen(
                self._command(group, cause),
                stdout=pipe,
                stderr=subprocess.STDOUT,
                stdin=pipe,
                encoding="utf-8",
                errors="replace",
            )
        except OSError as error:
            self._finish(group, ChildReport("failed", f"cannot be started: {error}", 0.0))
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
            report = ChildReport("failed", f"{_ending(code)}: {' | '.join(last_words)}"[:500], 0.0)
        self._finish(group, report)

    def _finish(self, group: str, report: ChildReport) -> None:
        self._failures[group] = self._failures.get(group, 0) + 1 if report.outcome == "failed" else 0
        self._note(events.TrainingFinished(group, report.outcome, report.seconds, report.detail))


def _ending(code: int) -> str:
    """Return how a child ended that said nothing of it."""
    if code == -signal.SIGKILL:
        return f"exit code {code}, killed: out of memory, or it took too long"
    return f"exit code {code}"


def child_command(config_path: str) -> Callable[[str, Cause], list[str]]:
    """Return what starts a training of a group with the configuration at `config_path`."""
    program = [sys.executable, "-m", "daemon", "train", config_path]
    return lambda group, cause: [*program, "--group", group, "--child", "--cause", cause]


def become_child() -> None:
    """Give way to the loop in all things, also when memory runs out, and end when the daemon does."""
    os.nice(10)
    with suppress(OSError):  # Linux alone has it, and a sandbox may hide it
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")
    threading.Thread(target=_end_with_parent, name="parent", daemon=True).start()


def _end_with_parent() -> None:
    # not through the buffered stream: its lock would be held for ever, and the interpreter could not end
    while os.read(sys.stdin.fileno(), 1):
        pass
    os._exit(1)
