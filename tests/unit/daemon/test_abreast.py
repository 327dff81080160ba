"""Several partitions are passed on in the order of their times, whatever comes of which of them first."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from daemon.abreast import Abreast, Most
from daemon.types import TopicPartition

ONE, TWO, THREE = (TopicPartition("metrics", number) for number in range(3))
EVERY = frozenset((ONE, TWO, THREE))


@dataclass(frozen=True)
class Item:
    at_ms: int
    number: int = 0
    weight_bytes: int = 10


def held(**by_name: list[int]) -> Abreast[Item]:
    abreast: Abreast[Item] = Abreast()
    for name, times_ms in by_name.items():
        abreast.hold({"one": ONE, "two": TWO, "three": THREE}[name], [Item(each) for each in times_ms])
    return abreast


def taken(abreast: Abreast[Item], ended: frozenset[TopicPartition], items_max: int = 1000) -> list[int]:
    return [item.at_ms for _, item in abreast.take(EVERY, ended, Most(items_max, 10**6))]


def test_what_is_there_is_passed_on_in_the_order_of_its_times() -> None:
    assert taken(held(one=[1, 4, 7], two=[2, 5], three=[3, 6]), EVERY) == [1, 2, 3, 4, 5, 6, 7]


def test_nothing_goes_on_while_a_partition_of_which_more_is_there_has_nothing_to_offer() -> None:
    abreast = held(one=[1, 4], two=[2])
    assert taken(abreast, EVERY - {THREE}) == []
    abreast.hold(THREE, [Item(3)])
    assert taken(abreast, EVERY) == [1, 2, 3, 4]


def test_of_a_partition_that_goes_on_nothing_later_is_passed_by_than_its_last() -> None:
    abreast = held(one=[1, 4, 9], two=[2, 5], three=[3, 6])
    assert taken(abreast, EVERY - {TWO}) == [1, 2, 3, 4, 5]
    assert abreast.count(TWO) == 0
    assert taken(abreast, EVERY) == [6, 9]


def test_an_item_that_is_older_than_one_before_it_goes_right_after_that() -> None:
    assert taken(held(one=[5, 1, 6], two=[4, 5], three=[]), EVERY) == [4, 5, 1, 5, 6]


def test_more_than_is_asked_for_waits() -> None:
    abreast = held(one=[1, 3], two=[2, 4])
    assert taken(abreast, EVERY, 3) == [1, 2, 3]
    assert (len(abreast), abreast.weight_bytes(TWO)) == (1, 10)
    abreast.forget(TWO)
    assert taken(abreast, EVERY) == []


def test_what_is_taken_at_once_is_bounded_in_bytes_too_and_one_item_is_taken_in_any_case() -> None:
    abreast = held(one=[1, 3], two=[2, 4])
    assert [item.at_ms for _, item in abreast.take(EVERY, EVERY, Most(9, 29))] == [1, 2]
    assert [item.at_ms for _, item in abreast.take(EVERY, EVERY, Most(9, 1))] == [3]


@given(
    st.lists(st.tuples(st.sampled_from(sorted(EVERY)), st.integers(0, 50)), max_size=40),
    st.lists(st.integers(1, 9), min_size=1, max_size=9),
)
def test_each_partitions_own_order_stays_and_the_cut_makes_no_difference(
    made: list[tuple[TopicPartition, int]], cuts: list[int]
) -> None:
    made = sorted(made, key=lambda each: each[1])
    own = {tp: [Item(at_ms, number) for number, (owner, at_ms) in enumerate(made) if owner == tp] for tp in EVERY}
    left, abreast, found = {tp: list(items) for tp, items in own.items()}, Abreast[Item](), list[Item]()
    turn = 0
    while any(left.values()) or len(abreast):
        tp = sorted(EVERY)[turn % 3]  # one partition after the other is read, a few items at a time
        some = cuts[turn % len(cuts)]
        abreast.hold(tp, left[tp][:some])
        left[tp] = left[tp][some:]
        ended = frozenset(each for each in EVERY if not left[each])
        found += [item for _, item in abreast.take(EVERY, ended, Most(some, 10**6))]
        turn += 1
    assert [item.at_ms for item in found] == [at_ms for _, at_ms in made]
    assert all([item for item in found if item in set(items)] == items for items in own.values())
