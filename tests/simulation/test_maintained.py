"""Windows of maintenance are in event time: whoever dies when, the same is told, and the rows are the same."""

from __future__ import annotations

import numpy as np
import pytest

from daemon.maintenance import Calendar, Once
from tests.conformance.feed import START_MS
from tests.simulation.world import PARTITIONS, Process, World, finish, records, rows

TICKS = 110
WINDOWS = Calendar(tuple(Once(START_MS + a * 10_000, START_MS + b * 10_000) for a, b in ((18, 30), (60, 78))))


def world_of(calendar: Calendar) -> World:
    world = World(calendar=calendar)
    world.publish(records(7, TICKS))
    return world


def ended(world: World, process: Process) -> Process:
    finish(world, process).loop.drain()
    return process


def opened(world: World) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    return np.array([each.detected_at_ms for each in world.alert_events() if each.change == "open"], dtype=np.int64)


@pytest.fixture(scope="module")
def undisturbed() -> World:
    """What one process that never dies makes of it."""
    world = world_of(WINDOWS)
    ended(world, Process(world))
    return world


def test_nothing_opens_in_a_window_and_without_one_something_would(undisturbed: World) -> None:
    plain = world_of(Calendar())
    ended(plain, Process(plain))
    assert WINDOWS.covers(opened(plain)).any()
    assert not WINDOWS.covers(opened(undisturbed)).any()
    assert len(opened(undisturbed))


@pytest.mark.parametrize("turns", [9, 16, 24, 31])
def test_a_death_before_in_or_after_a_window_changes_nothing(undisturbed: World, turns: int) -> None:
    world = world_of(WINDOWS)
    first = Process(world)
    for _ in range(turns):
        first.turn()
    first.die()
    ended(world, Process(world, "two"))
    assert world.scores() == undisturbed.scores()
    assert world.alerts() == undisturbed.alerts()
    for number in range(PARTITIONS):
        found, wanted = (rows(each.state(number)[0]) for each in (world, undisturbed))
        np.testing.assert_equal(found, wanted)
