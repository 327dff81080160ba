"""The phases that a person sees while broker and daemon run."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from daemon.demo.child import DaemonChild, DemoFailed, read_page
from daemon.demo.follow import Follower
from daemon.demo.judge import Alert, Docket, Finding
from daemon.demo.scenario import TRAINING_SECONDS_MAX, Scenario
from daemon.demo.screen import Progress, Screen
from daemon.ports import Broker

HISTORY_CHUNKS: Final = 28
SETUP_SECONDS_MAX: Final = 90.0
READ_SECONDS_MAX: Final = 240.0
LEARN_SECONDS_MAX: Final = TRAINING_SECONDS_MAX + 75.0
DRAIN_SECONDS_MAX: Final = 180.0
TELLING: Final = ("longwatch_samples_total", "longwatch_training_running", "longwatch_training_runs_total")
TICK_SECONDS: Final = 0.25
LISTEN_SECONDS: Final = 0.02


class Show:
    """The phases while broker and daemon run."""

    def __init__(
        self, scenario: Scenario, screen: Screen, broker: Broker, child: DaemonChild, follower: Follower, port: int
    ) -> None:
        self._scenario, self._screen, self._broker = scenario, screen, broker
        self._child, self._follower, self._port = child, follower, port
        self._docket = Docket(scenario.labels)
        self._pause = threading.Event()  # never set: its wait is a sleep that a signal ends
        self.alerts: list[Alert] = []

    def setup(self) -> None:
        """Wait until the daemon owns every partition. Raises DemoFailed when it does not get there in time."""
        words = "the daemon joins its group and takes its partitions"
        self._screen.progress(Progress("setup", None, words))
        if not self._until(SETUP_SECONDS_MAX, lambda page, _: page.get("longwatch_ready", 0.0) > 0):
            raise self._late("the daemon was not ready", SETUP_SECONDS_MAX)
        self._screen.settle()

    def history(self) -> None:
        """Send the history as fast as the broker takes it."""
        steps = self._scenario.history_steps
        for chunk in range(HISTORY_CHUNKS):
            begin, end = steps * chunk // HISTORY_CHUNKS, steps * (chunk + 1) // HISTORY_CHUNKS
            self._broker.publish(self._scenario.records(begin, end))
            self._child.check()
            share = (chunk + 1) / HISTORY_CHUNKS
            self._screen.progress(Progress("history", share, "sending quiet days to learn from"))
        self._screen.settle()

    def learning(self) -> None:
        """Wait until the daemon has read the history, trained on it, and scores with the model.

        Raises DemoFailed when it does not get there in time.
        """
        samples = self._scenario.samples(0, self._scenario.history_steps)
        if not self._until(READ_SECONDS_MAX, lambda page, _: self._has_read(page, samples)):
            raise self._late("the daemon has not read the history", READ_SECONDS_MAX)
        self._screen.settle()
        if not self._until(LEARN_SECONDS_MAX, self._has_learnt):
            raise self._late("no model", LEARN_SECONDS_MAX)
        self._screen.settle()
        self.heard(self._follower.read(LISTEN_SECONDS))
        quiet = sum(alert.change == "open" for alert in self.alerts)
        self._screen.say(f"the model is live; alerts during the history, before there was a model: {quiet}\n")

    def _has_read(self, page: Mapping[str, float], samples: int) -> bool:
        read = page.get("longwatch_samples_total", 0.0)
        words = f"the daemon has read {read:,.0f} of {samples:,} samples"
        self._screen.progress(Progress("reading", read / samples, words))
        trained = "longwatch_model_info" in page or page.get("longwatch_training_running", 0.0) > 0
        return read >= samples or trained

    def _has_learnt(self, page: Mapping[str, float], seconds: float) -> bool:
        if "longwatch_model_info" in page:
            self._screen.progress(Progress("training", 1.0, f"the model is there after {seconds:.0f} s"))
            return True
        words = f"an LSTM autoencoder learns in a child process, {seconds:.0f} s of at most {TRAINING_SECONDS_MAX} s"
        self._screen.progress(Progress("training", min(seconds / TRAINING_SECONDS_MAX, 0.99), words))
        return False

    def live(self, seconds: float) -> None:
        """Send the live part, spread over `seconds`, and show what comes out."""
        first, steps = self._scenario.history_steps, self._scenario.steps
        began, sent = time.monotonic(), first
        while sent < steps:
            share = min((time.monotonic() - began) / seconds, 1.0)
            due = first + math.ceil((steps - first) * share)
            self._broker.publish(self._scenario.records(sent, due))
            sent = due
            self._tick(Progress("live", share, f"day {self._day(sent):.1f} of {self._day(steps):.0f}"))
        if not self._until(DRAIN_SECONDS_MAX, lambda page, _: self._has_drained(page)):
            self._screen.say("the daemon was too slow to read everything: some faults may be missed for that reason")

    def _tick(self, progress: Progress) -> None:
        self._child.check()
        self._screen.progress(progress)
        self.heard(self._follower.read(LISTEN_SECONDS))
        self._pause.wait(TICK_SECONDS)

    def _day(self, step: int) -> float:
        return (step - self._scenario.history_steps) / self._scenario.fleet.day_steps

    def _has_drained(self, page: Mapping[str, float]) -> bool:
        missing = self._scenario.samples(0, self._scenario.steps) - page.get("longwatch_samples_total", 0.0)
        self._screen.progress(Progress("live", 1.0, f"the daemon has {max(missing, 0):,.0f} samples left to read"))
        self.heard(self._follower.read(LISTEN_SECONDS))
        return missing <= 0

    def heard(self, alerts: Sequence[Alert]) -> None:
        """Remember alerts; show those of the live part that opened or closed."""
        self.alerts += alerts
        begin = self._scenario.observed.start_ms
        for alert in sorted(alerts, key=lambda one: one.detected_at_ms):
            if alert.change != "update" and alert.detected_at_ms >= begin:
                self._screen.alert(alert, self._judged(alert))

    def _judged(self, alert: Alert) -> Finding | None:
        return self._docket.judge(alert) if alert.change == "open" else None

    def _until(self, seconds_max: float, done: Callable[[Mapping[str, float], float], bool]) -> bool:
        """Ask `done(metrics, seconds so far)` again and again; return whether it was in time."""
        began = time.monotonic()
        while not done(read_page(self._port), time.monotonic() - began):
            self._child.check()
            if time.monotonic() - began > seconds_max:
                return False
            self._pause.wait(TICK_SECONDS)
        return True

    def _late(self, what: str, seconds_max: float) -> DemoFailed:
        page = read_page(self._port)
        facts = ", ".join(f"{name} {page.get(name, 0.0):g}" for name in TELLING)
        return DemoFailed(
            f"{what} within {seconds_max:.0f} s ({facts}); the end of the daemon's log:\n{self._child.tail()}"
        )
