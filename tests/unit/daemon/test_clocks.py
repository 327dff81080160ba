"""Clocks may be set and loops may hang: health is judged by time that passes, and is told while nothing moves."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest

from daemon import events
from daemon.http import Pages
from daemon.memory import Operation
from daemon.telemetry import Telemetry
from tests.simulation.world import Process, World, finish, records

WALL = 1_800_000_000.0


class Quiet:
    """A log that keeps nothing."""

    def debug(self, event: str, /, **fields: object) -> None:
        """Keep nothing."""

    info = warning = error = exception = debug


class Clocks:
    """A wall clock and one that only goes forward, both where the test puts them."""

    def __init__(self) -> None:
        self.wall, self.passed = WALL, 50.0
        self.telemetry = Telemetry(lambda: self.wall, Quiet(), "", lambda: self.passed)


@pytest.mark.parametrize("jump", [-86_400.0, -1.0, 0.0, 1.0, 86_400.0])
def test_a_wall_clock_that_is_set_makes_no_loop_ill_and_hides_none_that_hangs(jump: float) -> None:
    clocks = Clocks()
    clocks.telemetry.progress(clocks.wall)
    clocks.wall += jump
    clocks.passed += 59.0
    assert clocks.telemetry.health(60.0).ok
    clocks.passed += 2.0
    assert not clocks.telemetry.health(60.0).ok
    clocks.telemetry.progress(clocks.wall)
    assert clocks.telemetry.health(60.0).ok


@contextmanager
def served(telemetry: Telemetry) -> Iterator[Pages]:
    pages = Pages(telemetry, "127.0.0.1:0", 60.0)
    pages.start()
    try:
        yield pages
    finally:
        pages.close()


def got(pages: Pages, path: str) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", pages.port, timeout=10)
    connection.request("GET", path)
    response = connection.getresponse()
    body = response.read()
    connection.close()
    return response.status, body


def test_while_a_turn_hangs_the_metrics_can_be_read_and_the_health_says_so() -> None:
    clocks, world = Clocks(), World()
    hangs, goes_on = threading.Event(), threading.Event()

    def hang(operation: Operation) -> None:
        if operation == "commit" and world.clock > 2000.0 and not goes_on.is_set():
            hangs.set()
            goes_on.wait(60)

    process = Process(world, "one", hang)
    process.loop._around = replace(
        process.loop._around,
        note=clocks.telemetry.note,
        after_turn=lambda _now: clocks.telemetry.progress(clocks.wall),
    )
    world.publish(records(5, 5))
    finish(world, process)
    with served(clocks.telemetry) as pages:
        assert got(pages, "/-/healthy")[0] == 200
        world.publish(records(5, 5, 5))
        world.clock = 2001.0
        turning = threading.Thread(target=process.turn)
        turning.start()
        assert hangs.wait(30)
        clocks.passed += 61.0
        status, body = got(pages, "/-/healthy")
        assert (status, body) == (503, b"the loop made no progress for 61.0 s, the limit is 60 s\n")
        status, body = got(pages, "/metrics")
        assert status == 200
        assert b"longwatch_records_total" in body
        goes_on.set()
        turning.join(30)
        assert got(pages, "/-/healthy")[0] == 200
    finish(world, process)
    assert set(world.scores()[1].values()) == {1}


@pytest.mark.parametrize("operation", ["begin", "send", "offsets", "commit", "after_commit"])
def test_told_to_stop_in_the_middle_of_a_transaction_the_turn_is_committed_and_drained(operation: Operation) -> None:
    world = World()

    def told(at: Operation) -> None:
        if at == operation and process.partitions.states and world.scores()[0]:
            process.loop._stop.set()  # as the handler of SIGTERM does

    process = Process(world, "one", told)
    process.loop._around = replace(process.loop._around, after_turn=lambda _now: process.read_models())
    world.publish(records(5, 20))
    process.loop.run()
    assert not world.cluster.group("longwatch").members
    assert set(world.scores()[1].values()) == {1}
    assert not [event for event in process.events if isinstance(event, events.TurnFailed)]
    heir = finish(world, Process(world, "two"))
    assert {event.replayed_records for event in heir.events if isinstance(event, events.PartitionRestored)} == {0}
    found, times = world.scores()
    assert set(times.values()) == {1}
    assert len(found) == sum(each.value != b"nonsense" for each in records(5, 20))
