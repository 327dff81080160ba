"""Whoever chooses a model, every member follows between two turns, and what dies on the way changes no score."""

from __future__ import annotations

import pytest

from daemon import events
from detectors.artefact import model_id
from tests.simulation.reference import Swaps, undisturbed
from tests.simulation.verdict import told_as_expected
from tests.simulation.world import PARTITIONS, Process, World, artefact, finish, records


def scoring_with(members: list[Process]) -> set[str]:
    return {model for each in members for state in each.partitions.states.values() for model in state.models.values()}


def settled(world: World, members: list[Process]) -> None:
    for _ in range(40):
        for each in members:
            each.turn()
        if not world.behind() and sum(len(each.partitions.states) for each in members) == PARTITIONS:
            return
    raise AssertionError("the members do not come to rest")


def test_all_members_go_back_to_an_older_model_with_their_next_turn() -> None:
    world = World()
    members = [Process(world, "first"), Process(world, "second")]
    for seed in (1, 2):
        world.publish_model(seed)
        world.publish(records(seed, 15, 15 * seed))
        settled(world, members)
    assert scoring_with(members) == {model_id(artefact(2))}
    assert world.go_back_to(1)
    for each in members:
        each.turn()
    assert scoring_with(members) == {model_id(artefact(1))}
    for each in members:
        told = [event.model_id for event in each.of(events.ModelSwapped) if isinstance(event, events.ModelSwapped)]
        assert told == [model_id(artefact(1)), model_id(artefact(2)), model_id(artefact(1))]
    stored = [world.state(number)[0].models for number in range(PARTITIONS)]
    assert stored == [{"all": model_id(artefact(1))}] * PARTITIONS


@pytest.mark.parametrize("dies_after", [0, 1])
def test_a_death_around_a_rollback_changes_no_score(dies_after: int) -> None:
    world = World()
    process = Process(world, "one")
    for seed in (1, 2):
        world.publish_model(seed)
        world.publish(records(7, 20, 20 * seed))
        finish(world, process)
    world.publish(records(7, 20, 60))
    assert world.go_back_to(1)
    for _ in range(dies_after):
        process.turn()
    process.die()
    finish(world, Process(world, "two"))
    swaps = Swaps(world)
    swaps.follow()
    assert {each[-1].model_id for each in swaps.found} == {model_id(artefact(1))}
    verdict = told_as_expected(world, undisturbed(world, swaps.found))
    assert not verdict.faults, verdict
