"""Records that cannot be used are set aside and the loop goes on, unless it was told to stop at so many in a row."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from daemon import events
from daemon.errors import InputUnusable
from daemon.types import Outgoing
from tests.conformance.feed import START_MS
from tests.simulation.world import Process, World, finish

GOOD = json.dumps({"timestamp": START_MS, "name": "s", "value": 1.0}).encode()


def flooded(bad: int, limit: int) -> tuple[World, Process]:
    world = World()
    values = [GOOD, *[b"nonsense"] * bad, GOOD.replace(b'"s"', b'"t"')]
    world.publish([Outgoing("metrics", 0, b"k", value) for value in values])
    process = Process(world)
    process.loop._settings = replace(process.loop._settings, rejected_run_max=limit)
    return world, process


@pytest.mark.parametrize(("bad", "limit"), [(90, 0), (90, 91), (1, 2)])
def test_a_flood_of_bad_records_is_set_aside_and_the_loop_goes_on(bad: int, limit: int) -> None:
    world, process = flooded(bad, limit)
    finish(world, process)
    assert sum(world.dead_letters().values()) == bad
    assert len(world.scores()[0]) == 2


@pytest.mark.parametrize(("bad", "limit"), [(90, 90), (90, 10), (30, 26)])
def test_told_to_stop_at_so_many_in_a_row_it_ends_skips_nothing_and_ends_again_at_the_same_place(
    bad: int, limit: int
) -> None:
    world, process = flooded(bad, limit)
    with pytest.raises(InputUnusable, match=f"metrics/0: {limit} records in a row.*undecodable.*rejected_run_max"):
        finish(world, process)
    committed = world.behind()
    process.die()
    heir = Process(world)
    heir.loop._settings = process.loop._settings
    with pytest.raises(InputUnusable, match=f"{limit} records in a row"):
        finish(world, heir)
    assert world.behind() == committed > 0
    heir.die()
    finish(world, Process(world))  # told otherwise, it goes on where it stood
    assert sum(world.dead_letters().values()) == bad
    assert set(world.dead_letters().values()) == {1}


def test_what_no_group_wants_and_what_holds_no_value_is_told() -> None:
    world = World()
    empty = json.dumps({"timestamp": START_MS, "name": "s", "values": {"x": None, "y": None}}).encode()
    world.publish([Outgoing("metrics", 0, b"k", value) for value in (GOOD, empty, GOOD)])
    process = finish(world, Process(world))
    told = [event for event in process.events if isinstance(event, events.SamplesDropped)]
    assert {(event.reason, event.count) for event in told} == {("missing", 2), ("duplicate", 1)}
