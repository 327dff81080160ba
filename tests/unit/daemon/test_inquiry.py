"""Whoever asks gets copies, at the end of a turn, in time or not at all; the loop does its share and no more."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import pytest

from daemon import events, inquiry
from daemon.alert_events import Group
from daemon.engine import layout
from daemon.inquiry import KEYS_A_TURN, WAITING_MAX, Found, Inquiries, NoAnswer, Search, State
from daemon.partitions import Partitions
from daemon.state import PartitionState
from daemon.types import TopicPartition
from detectors.scoring import Detector
from detectors.slab import Delta, Slab, no_slots
from tests.simulation.world import GROUP, SETTINGS, Process, World, finish, records

PATIENCE_SECONDS = 30.0


@pytest.fixture(scope="module")
def partitions() -> Partitions:
    """Three partitions that have scored sixty ticks of nine streams."""
    world = World()
    world.publish(records(5, 60))
    return finish(world, Process(world)).partitions


@dataclass
class Desk:
    """Inquiries, what they noted, and somebody who asks from another thread."""

    noted: list[events.Event] = field(default_factory=list)
    inquiries: Inquiries = field(init=False)

    def __post_init__(self) -> None:
        self.inquiries = Inquiries(self.noted.append)

    def asked(self, ask: Callable[[], object], answer: Callable[[], None]) -> object:
        """Return what `ask` gives while `answer` is called again and again, as a loop that turns does."""
        given: list[object] = []

        def asking() -> None:
            try:
                given.append(ask())
            except Exception as error:  # noqa: BLE001  # it is what the test looks at
                given.append(error)

        asker = threading.Thread(target=asking)
        asker.start()
        while asker.is_alive():
            answer()
            asker.join(0.001)
        return given[0]

    def search(self, search: Search, partitions: Partitions) -> Found:
        """Return what a search finds."""
        found = self.asked(
            lambda: self.inquiries.search(search, PATIENCE_SECONDS), lambda: self.inquiries.answer(partitions)
        )
        assert isinstance(found, Found)
        return found

    def state(self, stream: str, partitions: Partitions, group: str | None = None) -> State | None:
        """Return a stream's state."""
        found = self.asked(
            lambda: self.inquiries.state(stream, group, PATIENCE_SECONDS), lambda: self.inquiries.answer(partitions)
        )
        assert found is None or isinstance(found, State)
        return found


def test_a_search_finds_every_stream_the_highest_scores_first(partitions: Partitions) -> None:
    desk = Desk()
    found = desk.search(Search(), partitions)
    assert (found.matched, found.searched) == (9, 9)
    assert {each.stream for each in found.streams} == {f"s{number}" for number in range(9)}
    scores = [each.score for each in found.streams]
    assert scores == sorted(scores, key=lambda score: -(score or 0.0))
    assert desk.noted == [events.Inquired("answered")]


def test_a_search_is_narrowed_by_words_group_and_limit(partitions: Partitions) -> None:
    desk = Desk()
    assert [each.stream for each in desk.search(Search(match="S7"), partitions).streams] == ["s7"]
    assert desk.search(Search(match="s 7 3"), partitions).matched == 0
    assert desk.search(Search(group="other"), partitions) == Found((), 0, 0)
    few = desk.search(Search(limit=2), partitions)
    assert (len(few.streams), few.matched) == (2, 9)
    assert few.streams == desk.search(Search(), partitions).streams[:2]


def test_a_streams_state_is_a_copy_of_its_row(partitions: Partitions) -> None:
    state = Desk().state("s3", partitions)
    assert state is not None
    slab = partitions.states[TopicPartition("metrics", 0)].slabs[GROUP]
    slot = slab.find("s3")
    assert slot is not None
    assert state.row[0].tobytes() == slab.view()[slot].tobytes()
    assert not np.shares_memory(state.row, slab.view())
    assert (state.stream.group, state.stream.topic, state.stream.partition) == (GROUP, "metrics", 0)
    assert state.stream.samples == int(state.row["samples"][0])
    assert state.stream.score == float(state.row["score"][0])


def test_a_stream_that_is_not_here_is_not_found(partitions: Partitions) -> None:
    assert Desk().state("s99", partitions) is None
    assert Desk().state("s3", partitions, group="other") is None


def test_a_loop_that_does_not_turn_answers_nobody_and_keeps_nobody() -> None:
    desk = Desk()
    with pytest.raises(NoAnswer, match=r"did not answer within 0\.01 s"):
        desk.inquiries.search(Search(), 0.01)
    assert desk.noted == [events.Inquired("late")]
    for _ in range(WAITING_MAX):
        with pytest.raises(NoAnswer, match="did not answer"):
            desk.inquiries.state("s", None, 0.0)


def test_only_so_many_may_wait() -> None:
    desk, ready = Desk(), threading.Barrier(WAITING_MAX + 1)

    def ask() -> None:
        ready.wait()
        desk.inquiries.state("s", None, PATIENCE_SECONDS)

    askers = [threading.Thread(target=ask) for _ in range(WAITING_MAX)]
    for asker in askers:
        asker.start()
    ready.wait()
    while len(desk.inquiries._waiting) < WAITING_MAX:
        askers[0].join(0.001)
    with pytest.raises(NoAnswer, match=f"{WAITING_MAX} questions are waiting"):
        desk.inquiries.search(Search(), PATIENCE_SECONDS)
    desk.inquiries.answer(Many(1))  # type: ignore[arg-type]  # all that is asked of partitions
    for asker in askers:
        asker.join()
    assert desk.noted.count(events.Inquired("refused")) == 1
    assert desk.noted.count(events.Inquired("answered")) == WAITING_MAX


class Many:
    """One slab of many streams."""

    def __init__(self, count: int) -> None:
        self.slab = Slab(layout(SETTINGS), count, 64)
        slots = np.array([self.slab.slot(f"stream-{number}") for number in range(count)], dtype=np.intp)
        rows = np.zeros(count, layout(SETTINGS))
        rows["samples"], rows["score"] = 500, np.arange(count) / count
        self.slab.apply(Delta(slots, rows))
        self.states = {TopicPartition("metrics", 0): PartitionState({GROUP: self.slab})}

    def group_of(self, _partition: TopicPartition, name: str) -> Group:
        """Return the group without a network."""
        return Group(name, Detector(SETTINGS))


def test_a_large_fleet_is_searched_over_several_turns() -> None:
    many = Many(2 * KEYS_A_TURN + 5)
    working = inquiry._searching(Search(match="stream-7"), many)  # type: ignore[arg-type]
    assert [next(working) for _ in range(3)] == [KEYS_A_TURN, KEYS_A_TURN, 5]
    with pytest.raises(StopIteration) as done:
        next(working)
    found = done.value.value
    assert isinstance(found, Found)
    assert found.searched == 2 * KEYS_A_TURN + 5
    assert found.streams[0].stream == "stream-7999"


def test_a_slab_that_goes_while_it_is_searched_ends_the_search_and_not_the_loop() -> None:
    many = Many(KEYS_A_TURN + 5)
    working = inquiry._searching(Search(), many)  # type: ignore[arg-type]
    assert next(working) == KEYS_A_TURN
    many.states.clear()
    with pytest.raises(StopIteration) as done:
        next(working)
    assert done.value.value == Found((), KEYS_A_TURN, KEYS_A_TURN)


def test_streams_without_a_row_or_a_place_are_not_listed() -> None:
    many, desk = Many(3), Desk()
    many.slab.apply(Delta(no_slots(), many.slab.take(no_slots()), np.array([1])))
    assert {each.stream for each in desk.search(Search(), many).streams} == {"stream-0", "stream-2"}  # type: ignore[arg-type]


def test_a_question_that_fails_is_told_to_who_asked_and_the_loop_goes_on(partitions: Partitions) -> None:
    class Broken(Many):
        def group_of(self, _partition: TopicPartition, name: str) -> Group:
            raise RuntimeError(name)

    desk, broken = Desk(), Broken(1)
    failed = desk.asked(
        lambda: desk.inquiries.state("stream-0", None, PATIENCE_SECONDS),
        lambda: desk.inquiries.answer(broken),  # type: ignore[arg-type]
    )
    assert isinstance(failed, RuntimeError)
    assert desk.state("s3", partitions) is not None
