"""The production loop on readings that are joined: whatever dies, wherever, it tells what an undisturbed one tells."""

from __future__ import annotations

import json
import random
import threading
from dataclasses import replace
from functools import cache

import pytest

from daemon.alert_events import Group
from daemon.derived import Derivation, Derived
from daemon.engine import layout
from daemon.formats import JsonFormat
from daemon.intake import Intake, Limits
from daemon.joining import Join
from daemon.labelling import Labelling, Labels
from daemon.loop import Loop
from daemon.memory import Operation
from daemon.partitions import Watched
from daemon.recipe import NAME, Recipe
from daemon.restore import RestoreSettings
from daemon.state import GroupLayout
from daemon.types import Outgoing
from detectors.scoring import Detector
from detectors.settings import Guard
from tests.conformance.feed import START_MS
from tests.simulation import world as worlds
from tests.simulation.world import GROUP, PARTITIONS, Process, ProcessDiedError, Selection, World, finish

READS, CHANNELS = ("busy", "total", "rtt"), ("share", "grown", "rtt")
MAKES = (Derived("share", "ratio", ("busy", "total")), Derived("grown", "rate", ("total",)))
RECIPE = Recipe(READS, CHANNELS, NAME, Join(len(READS), 10_000, 12_000), Derivation(READS, MAKES, CHANNELS))
SETTINGS = replace(worlds.SETTINGS, channels=CHANNELS, guard=(("rtt", Guard(max=50.0)),))
LAYOUTS = {GROUP: GroupLayout(layout(SETTINGS, RECIPE.fields()), 1000)}
TICKS, SEEDS, DEATHS_MIN = 70, 5, 5


class Joining(Process):
    """A daemon whose one group joins its channels."""

    def __init__(self, world: World, faults: worlds.Hook = lambda _operation: None) -> None:
        super().__init__(world, faults=faults)
        told = replace(worlds._settings(), layouts=LAYOUTS)
        self.loop = Loop(told, self._surroundings(), threading.Event())

    def _watched(self) -> Watched:
        before = super()._watched()
        keys = Labels(groups={GROUP: Labelling(by=("host",))})
        chosen = [Selection(channels=CHANNELS)]
        self._intake = Intake(JsonFormat(), chosen, Limits(), labels=keys, recipes={GROUP: RECIPE})
        groups = {GROUP: Group(GROUP, Detector(SETTINGS))}
        restore = RestoreSettings("state", LAYOUTS, worlds.RESTORE_SECONDS)
        return replace(before, intake=self._intake, groups=groups, restore=restore)


def readings(seed: int) -> list[Outgoing]:
    """Return readings of some hosts, each by itself: jumps, gaps, late and repeated ones, and channels that miss."""
    rng, found = random.Random(seed), []
    for tick in range(TICKS):
        for host in range(5):
            silent = host == 3 and 30 <= tick < 44
            rtt = 80.0 if tick % 30 in (27, 28, 29) else 2.0 + rng.gauss(0, 0.1)
            values = {"busy": 5.0 + rng.gauss(0, 0.2), "total": 10.0 * tick, "rtt": rtt}
            for number, (name, value) in enumerate(values.items()):
                if silent or rng.random() < 0.08:
                    continue
                at_ms = START_MS + tick * 10_000 + 900 * number - (11_000 if rng.random() < 0.05 else 0)
                body = {"timestamp": at_ms, "name": name, "labels": {"host": f"h{host}"}, "value": value}
                found.append(Outgoing("metrics", host % PARTITIONS, b"k", json.dumps(body).encode()))
    return found


@cache
def undisturbed(seed: int) -> World:
    world = World()
    world.publish(readings(seed))
    finish(world, Joining(world))
    return world


def disturbed(seed: int) -> tuple[World, int]:
    """Return a world in which processes die at any of their operations, and how many did."""
    world, rng, deaths = World(), random.Random(1000 + seed), 0
    world.publish(readings(seed))

    def die(_operation: Operation) -> None:
        if rng.random() < 0.03:
            raise ProcessDiedError

    while world.behind():
        process: Joining | None = None
        try:
            process = Joining(world, die)
            finish(world, process)
        except ProcessDiedError:
            deaths += 1
            if process is not None:
                process.die()
    return world, deaths


@pytest.mark.parametrize("seed", range(SEEDS))
def test_every_joined_sample_is_scored_once_and_every_alert_told_once_whatever_dies(seed: int) -> None:
    calm, (world, deaths) = undisturbed(seed), disturbed(seed)
    assert deaths >= DEATHS_MIN
    (expected, _), (scores, times) = calm.scores(), world.scores()
    assert set(times.values()) == {1}
    assert scores.keys() == expected.keys()
    assert len(expected) > 4 * TICKS
    assert scores == pytest.approx(expected, abs=1e-9)
    assert world.alerts() == calm.alerts()
    assert sum(change == "open" for *_, change in calm.alerts()) >= 8
