"""What a callback holds back goes only after somebody was told that it is held."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from daemon.kafka.librdkafka.waiting import Waiting

WAIT_SECONDS = 20.0


class Library:
    """Stands for the client library: consuming calls back where a test wants it to, once the gate is open."""

    def __init__(self) -> None:
        self.calls_back, self.gate, self.went_on = threading.Event(), threading.Event(), threading.Event()
        self.gate.set()
        self.waiting = Waiting(self.consume, spare_seconds=0.0)

    def consume(self, records_max: int, _wait_seconds: float) -> list[int]:
        self.gate.wait(WAIT_SECONDS)
        if self.calls_back.is_set():
            self.calls_back.clear()
            self.waiting.hold()
            self.went_on.set()
        return list(range(records_max))

    def polled(self) -> list[int]:
        return list(self.waiting.consume(2, WAIT_SECONDS))


@pytest.fixture
def library() -> Iterator[Library]:
    made = Library()
    yield made
    made.waiting.close()
    assert not any(each.name == "librdkafka" for each in threading.enumerate())


def test_what_is_consumed_is_returned(library: Library) -> None:
    assert library.polled() == [0, 1]
    assert library.polled() == [0, 1]


def test_a_callback_waits_for_the_poll_after_the_one_that_was_told(library: Library) -> None:
    library.calls_back.set()
    assert library.polled() == []
    assert not library.went_on.is_set()
    assert library.polled() == [0, 1]
    assert library.went_on.is_set()


def test_a_callback_that_came_when_nobody_waited_any_more_is_told_before_it_goes_on(library: Library) -> None:
    library.calls_back.set()
    library.gate.clear()
    assert library.waiting.consume(2, 0.0) == ()  # it gave up before the library called back
    library.gate.set()
    assert library.polled() == []
    assert not library.went_on.is_set()
    assert library.polled() == [0, 1]


def test_closing_lets_a_callback_go_on(library: Library) -> None:
    library.calls_back.set()
    assert library.polled() == []
    library.waiting.close()
    assert library.went_on.wait(WAIT_SECONDS)


def test_what_consuming_raises_is_raised_to_whoever_polls() -> None:
    def broken(_records_max: int, _wait_seconds: float) -> list[object]:
        raise RuntimeError("no broker")

    waits = Waiting(broken)
    with pytest.raises(RuntimeError, match="no broker"):
        waits.consume(1, WAIT_SECONDS)
    waits.close()
