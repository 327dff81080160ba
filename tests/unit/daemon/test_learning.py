"""A training child is started when it is due, listened to, and whatever it does, the daemon hears how it ended."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from queue import Queue

import pytest

from daemon import events
from daemon.events import Cause
from daemon.learning import RETRY_SECONDS, Learning, Schedule, Situation, child_command, due

REPORT = json.dumps({"kind": "report", "outcome": "published", "detail": "model m", "seconds": 2.5})
PROGRESS = json.dumps(
    {"kind": "progress", "epoch": 3, "epochs_max": 9, "loss": 0.5, "validation_loss": 0.25, "seconds": 1.0}
)
ONCE = {"g": Schedule(100, 0.0)}


class Heard:
    """The events, in the order in which they were noted."""

    def __init__(self) -> None:
        self._queue: Queue[events.Event] = Queue()

    def __call__(self, event: events.Event) -> None:
        """Note an event."""
        self._queue.put(event)

    def until_finished(self) -> list[events.Event]:
        """Return all events up to the end of a training."""
        found = [self._queue.get(timeout=30)]
        while not isinstance(found[-1], events.TrainingFinished):
            found.append(self._queue.get(timeout=30))
        return found


@contextmanager
def learning(script: str, schedules: dict[str, Schedule] | None = None) -> Iterator[tuple[Learning, Heard]]:
    heard = Heard()
    made = Learning(
        lambda group, _cause: [sys.executable, "-c", script, group], ONCE if schedules is None else schedules, heard
    )
    try:
        yield made, heard
    finally:
        made.close()


def outcome(script: str) -> events.TrainingFinished:
    with learning(script) as (made, heard):
        assert made.consider("g", Situation(100), 0.0)
        started, *_, finished = heard.until_finished()
    assert started == events.TrainingStarted("g")
    assert isinstance(finished, events.TrainingFinished)
    return finished


def test_what_a_child_says_is_passed_on_and_its_report_is_how_it_ended() -> None:
    with learning(f"print('''{PROGRESS}'''); print('''{REPORT}''')") as (made, heard):
        made.consider("g", Situation(100), 0.0)
        found = heard.until_finished()
    assert found == [
        events.TrainingStarted("g"),
        events.TrainingProgressed("g", 3, 9, 0.25),
        events.TrainingFinished("g", "published", 2.5, "model m"),
    ]


def test_a_child_that_dies_is_told_with_its_last_words() -> None:
    finished = outcome("print('about to'); raise SystemExit('out of luck')")
    assert (finished.outcome, finished.group) == ("failed", "g")
    assert finished.detail == "exit code 1: about to | out of luck"


def test_a_child_that_is_killed_is_told() -> None:
    detail = outcome("import os, signal; os.kill(os.getpid(), signal.SIGKILL)").detail
    assert detail.startswith("exit code -9, killed: out of memory, or it took too long")


def test_a_child_that_hangs_is_killed_and_another_one_is_started_later() -> None:
    hangs = f"import signal; print('''{PROGRESS}''', flush=True); signal.pause()"
    with learning(hangs, {"g": Schedule(100, 0.0, child_seconds_max=900.0)}) as (made, heard):
        assert made.consider("g", Situation(100), 0.0)
        assert isinstance(heard._queue.get(timeout=30), events.TrainingStarted)
        assert isinstance(heard._queue.get(timeout=30), events.TrainingProgressed)
        assert not made.consider("g", Situation(100), 899.0)
        made.consider("other", Situation(0, has_model=True), 901.0)  # whoever is considered
        finished = heard.until_finished()[-1]
        assert isinstance(finished, events.TrainingFinished)
        assert (finished.outcome, "took too long" in finished.detail) == ("failed", True)
        assert made._listener is not None
        made._listener.join(10)
        assert made.consider("g", Situation(100), 962.0)


def test_what_fails_again_and_again_is_tried_less_and_less_often_but_at_least_hourly() -> None:
    heard = Heard()
    made = Learning(lambda _group, _cause: ["/nowhere/at/all"], ONCE, heard)
    starts = [now for now in range(0, 40_000, 20) if made.consider("g", Situation(100), float(now))]
    waits = [later - earlier for earlier, later in pairwise(starts)]
    assert waits[:6] == [60, 120, 240, 480, 960, 1920]
    assert set(waits[6:]) == {3600}
    made._failures["g"] = 0  # as after one that is published, or has too little history
    assert made.consider("g", Situation(100), starts[-1] + 60.0)


def test_when_memory_runs_out_the_child_goes_first() -> None:
    script = "import daemon.learning as it; it.become_child(); print(open('/proc/self/oom_score_adj').read())"
    if not Path("/proc/self/oom_score_adj").exists():
        pytest.skip("the kernel is not Linux: it has no /proc/self/oom_score_adj")
    with subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        assert child.stdout.readline().strip() == b"1000"


def test_a_child_that_says_nothing_is_told() -> None:
    assert outcome("pass").detail == "exit code 0: "


@pytest.mark.parametrize(
    "script",
    [
        "import sys; sys.stdout.buffer.write(b'\\xff\\xfe\\n\\x00\\n')",
        "print('{}'); print('[1]'); print('{\"kind\": \"report\"}'); print('{\"kind\": \"other\"}')",
        "print('x' * 100_000)",
    ],
)
def test_garbage_is_no_report_and_stops_nobody_from_listening(script: str) -> None:
    assert outcome(script).outcome == "failed"
    assert outcome(f"{script}\nprint('''{REPORT}''')").outcome == "published"


def test_a_command_that_cannot_be_started_is_told_and_does_not_stop_the_daemon() -> None:
    heard = Heard()
    made = Learning(lambda _group, _cause: ["/nowhere/at/all"], ONCE, heard)
    assert made.consider("g", Situation(100), 0.0)
    finished = heard.until_finished()[-1]
    assert isinstance(finished, events.TrainingFinished)
    assert finished.outcome == "failed"
    assert "nowhere" in finished.detail
    made.close()


def test_one_child_at_a_time_and_closing_ends_it() -> None:
    waits = "import sys; print('here', flush=True); sys.stdin.read()"
    with learning(waits, {"g": Schedule(1, 0.0), "h": Schedule(1, 0.0)}) as (made, heard):
        assert made.consider("g", Situation(10), 0.0)
        assert not made.consider("h", Situation(10), 1e6)
        child = made._child
        assert child is not None
        made.close()
        assert child.poll() is not None
        assert isinstance(heard.until_finished()[-1], events.TrainingFinished)
        assert made.consider("h", Situation(10), 2e6)


def test_a_child_that_will_not_end_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("daemon.learning.STOP_SECONDS", 0.2)
    deaf = f"import signal; signal.signal(15, signal.SIG_IGN); print('''{PROGRESS}''', flush=True)\nsignal.pause()"
    with learning(deaf) as (made, heard):
        made.consider("g", Situation(100), 0.0)
        assert isinstance(heard._queue.get(timeout=30), events.TrainingStarted)
        assert isinstance(heard._queue.get(timeout=30), events.TrainingProgressed)  # from now on it is deaf
        child = made._child
        made.close()
        assert child is not None
        assert child.wait(10) == -9


HOUR = 3600.0
DAILY = Schedule(100, 24 * HOUR, repeat_samples=5000, apart_seconds=HOUR)


@pytest.mark.parametrize(
    ("schedule", "at", "cause"),
    [
        (DAILY, Situation(99), None),
        (DAILY, Situation(100), "schedule"),
        (DAILY, Situation(100, age_seconds=HOUR - 1), None),  # a first candidate was refused
        (DAILY, Situation(100, age_seconds=HOUR), "schedule"),
        (DAILY, Situation(100, 0, 23 * HOUR, has_model=True), None),
        (DAILY, Situation(100, 0, 24 * HOUR, has_model=True), "schedule"),
        (DAILY, Situation(100, 4999, 2 * HOUR, has_model=True), None),
        (DAILY, Situation(100, 5000, 2 * HOUR, has_model=True), "schedule"),
        (DAILY, Situation(100, 0, 2 * HOUR, has_model=True, drifted=True), "drift"),
        (DAILY, Situation(100, 5000, HOUR / 2, has_model=True, drifted=True), None),  # the last one is too near
        (Schedule(100, 0.0), Situation(100, 10**9, 10**9, has_model=True), None),  # once, and not again
        (Schedule(100, 0.0), Situation(100, 0, 1.0, has_model=True, drifted=True), "drift"),
    ],
)
def test_a_training_is_due_by_samples_by_time_and_by_drift_but_never_too_soon(
    schedule: Schedule, at: Situation, cause: Cause | None
) -> None:
    assert due(schedule, at) == cause


def test_what_ended_without_a_model_is_tried_again_no_sooner_than_a_training_may_be() -> None:
    with learning(f"print('''{REPORT}''')", {"g": DAILY}) as (made, heard):
        found = []
        for now in (0.0, RETRY_SECONDS / 2, RETRY_SECONDS + 1, HOUR - 1, HOUR + RETRY_SECONDS + 1):
            at = Situation(100, 0, None, has_model=now > HOUR / 2, drifted=True)  # nothing new is ever read
            if made.consider("g", at, now):
                found.append(now)
                heard.until_finished()
                assert made._listener is not None
                made._listener.join(10)
    assert found == [0.0, RETRY_SECONDS + 1, HOUR + RETRY_SECONDS + 1]


def test_a_child_is_told_what_made_its_training_due() -> None:
    with learning("pass", {"g": DAILY}) as (made, heard):
        assert made.consider("g", Situation(100, 0, 2 * HOUR, has_model=True, drifted=True), 0.0)
        assert heard.until_finished()[0] == events.TrainingStarted("g", "drift")


def test_a_group_without_a_schedule_is_never_trained() -> None:
    with learning("", {}) as (made, _):
        assert not made.consider("g", Situation(10**9), 0.0)


def test_the_daemons_own_child_is_the_same_program_with_the_same_configuration() -> None:
    command = child_command("/etc/x.yaml")("g", "drift")
    program = [sys.executable, "-m", "daemon", "train", "/etc/x.yaml"]
    assert command == [*program, "--group", "g", "--child", "--cause", "drift"]


def test_a_child_ends_when_its_parent_does() -> None:
    script = "import signal, daemon.learning as it; it.become_child(); print('up', flush=True); signal.pause()"
    with subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        assert child.stdin is not None
        assert child.stdout.readline() == b"up\n"
        child.stdin.close()
        assert child.wait(30) == 1
