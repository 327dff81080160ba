"""The threads of the deliveries: each goes on through trouble, and what ends one is told to the loop."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import cast

import pytest

from daemon import deliveries as module
from daemon import events
from daemon.config import loads
from daemon.deliveries import Deliveries, deliveries
from daemon.delivery import Delivery
from daemon.errors import BrokerUnavailable, ConfigError, Fenced

WAIT_SECONDS = 10.0


class Turning:
    """A delivery that does what `turn` says, and knows when it was closed."""

    def __init__(self, turn: Callable[[int], None], closed: Callable[[], None] = lambda: None) -> None:
        self._turn, self._closed = turn, closed
        self.turns, self.is_closed = 0, threading.Event()

    def turn(self) -> None:
        """Take one."""
        self.turns += 1
        self._turn(self.turns)

    def close(self) -> None:
        """Leave."""
        self.is_closed.set()
        self._closed()


class Threads:
    """Deliveries of made-up receivers."""

    def __init__(self, *turning: Turning) -> None:
        self.noted: list[events.Event] = []
        self.stop = threading.Event()
        made = [cast("Callable[[], Delivery]", lambda each=each: each) for each in turning]
        self.all = Deliveries(made, self.noted.append, self.stop)


def until(turns: int, reached: threading.Event) -> Callable[[int], None]:
    def turn(number: int) -> None:
        if number >= turns:
            reached.set()
            threading.Event().wait(0.001)

    return turn


def test_every_receiver_turns_until_all_are_told_to_stop() -> None:
    reached = threading.Event(), threading.Event()
    turning = [Turning(until(3, each)) for each in reached]
    threads = Threads(*turning)
    threads.all.start()
    assert all(each.wait(WAIT_SECONDS) for each in reached)
    threads.all.close()
    assert all(each.is_closed.is_set() for each in turning)
    threads.all.check()


def test_a_broker_that_is_away_ends_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RETRY_SECONDS", 0.001)
    reached = threading.Event()

    def turn(number: int) -> None:
        if number < 3:
            raise BrokerUnavailable("away")
        until(3, reached)(number)

    def closed() -> None:
        raise BrokerUnavailable("still away")

    threads = Threads(Turning(turn, closed))
    threads.all.start()
    assert reached.wait(WAIT_SECONDS)
    threads.all.close()
    threads.all.check()
    assert threads.noted == [events.BrokerLost(each) for each in ("away", "away", "still away")]


@pytest.mark.parametrize("error", [Fenced("another one"), ZeroDivisionError("a mistake")])
def test_what_ends_a_receiver_is_raised_in_the_loop(error: Exception) -> None:
    def turn(_number: int) -> None:
        raise error

    threads = Threads(Turning(turn))
    threads.all.start()
    threads.all.close()
    with pytest.raises(type(error)):
        threads.all.check()


def test_what_was_never_started_is_closed_at_once() -> None:
    Threads(Turning(lambda _number: None)).all.close()


def test_a_file_that_cannot_be_used_is_a_problem_at_the_start(tmp_path: Path) -> None:
    (tmp_path / "no.pem").write_text("no certificate", encoding="utf-8")
    told = f"outputs: {{receivers: [{{name: a, webhook: 'http://b', ca_file: {tmp_path}/no.pem}}]}}"
    with pytest.raises(ConfigError, match=r"outputs\.receivers: cannot use"):
        deliveries(loads(told, "x.yaml", {}), lambda _event: None, threading.Event())
