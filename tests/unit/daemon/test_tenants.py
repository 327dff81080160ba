"""A tenant has a share of a group's places, and what it makes too much of is nobody else's harm."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daemon import assembly
from daemon.config import loads
from daemon.memory import MemoryRecord
from daemon.state import PartitionState
from daemon.types import TopicPartition
from detectors.tenants import Tenants
from tests.unit.daemon.test_eviction import HERE, THREE, Partition, Sent, records, same, sends

LETTERS = "abcd"  # of streams that are the first tenant's


def tenant_of(key: str) -> str:
    return "few" if key[0] in LETTERS else "many"


TENANTS = Tenants(tenant_of, 2, {"many": 3})


def world(streams_max: int = 5, tenants: Tenants | None = TENANTS) -> Partition:
    return Partition(streams_max, 50, tenants)


def taken(sent: Sequence[Sent], at: Sequence[int] = (), made: Partition | None = None) -> Partition:
    found, given_records = made or world(), records(sent)
    for begin, end in pairwise([0, *sorted({each for each in at if 0 < each < len(sent)}), len(sent)]):
        found.poll(given_records[begin:end])
    return found


X: list[Sent] = [("x", 3, 1.0), ("y", 4, 1.0), ("z", 5, 1.0)]


@pytest.mark.parametrize(
    ("sent", "living", "refused"),
    [
        ([*THREE, *X], "abxyz", [2]),  # the third of a tenant that may have two, though the group has places
        ([*X, ("w", 6, 1.0), *THREE[:2]], "abxyz", [3]),  # one that makes too many shuts nobody out
        ([*THREE[:2], ("x", 60, 1.0), ("c", 61, 1.0)], "bcx", []),  # its own oldest gives way
        ([*THREE[:2], ("b", 60, 1.0), ("c", 61, 1.0)], "bc", []),
        ([("x", 0, 1.0), *THREE[:2], ("b", 40, 1.0), ("a", 41, 1.0), ("c", 60, 1.0)], "abx", [5]),  # not another's
        (
            [*THREE[:2], ("c", 52, 1.0), ("d", 52, 1.0), ("a", 52, 1.0)],
            "ad",
            [2],
        ),  # as in a full group, by the time before
    ],
)
@pytest.mark.parametrize("polls", ["one", "each"])
def test_each_tenant_has_its_share_and_only_its_own_streams_give_way(
    sent: list[Sent], living: str, refused: list[int], polls: str
) -> None:
    found = taken(sent, () if polls == "one" else range(len(sent)))
    assert ("".join(sorted(found.rows())), found.refused) == (living, refused)


def test_beyond_the_group_s_own_limit_shares_are_worth_nothing() -> None:
    found = taken([*THREE[:2], *X], made=world(streams_max=3))
    assert ("".join(sorted(found.rows())), found.refused) == ("abx", [3, 4])


def test_who_is_refused_is_told_with_the_tenant() -> None:
    made = world(streams_max=4)
    taken_in = made.intake.take(HERE, records([*THREE, *X]), made.state)
    assert [each.detail for each in taken_in.rejected] == [
        "the share of tenant 'few' in group all is full; the stream c is new",
        "group all is full; the stream z is new",
    ]
    assert {each.reason for each in taken_in.rejected} == {"max_streams"}


@settings(max_examples=25, deadline=None)
@given(sent=sends, at=st.lists(st.integers(1, 59), max_size=8), streams_max=st.integers(2, 5), rising=st.booleans())
def test_how_polls_cut_the_input_changes_nothing(
    sent: list[Sent], at: list[int], streams_max: int, rising: bool
) -> None:
    ordered = sorted(sent, key=lambda each: each[1]) if rising else sent
    whole = taken(ordered, made=world(streams_max))
    same(whole, taken(ordered, at, world(streams_max)))
    same(whole, taken(ordered, range(60), world(streams_max)))


@settings(max_examples=25, deadline=None)
@given(sent=sends, at=st.lists(st.integers(1, 59), min_size=1, max_size=8), written=st.integers(0, 8))
def test_a_replay_from_the_pages_comes_to_the_same(sent: list[Sent], at: list[int], written: int) -> None:
    cuts = [0, *sorted({each for each in at if each < len(sent)}), len(sent)]
    first, every = world(4), records(sent)
    first.write()
    for number, (begin, end) in enumerate(pairwise(cuts)):
        first.poll(every[begin:end], write=number == written)
    heir = world(4)
    heir.state = first.restored()
    if rest := every[heir.state.next_offset :]:
        heir.poll(rest)
    np.testing.assert_equal(heir.rows(), first.rows())
    more = [*records([(name, 500, 1.0) for name in "gfedcba"], len(sent))]
    first.refused, heir.refused = [], []
    for each in (first, heir):
        each.poll(more)
    assert heir.refused == first.refused


def test_a_smaller_share_drops_no_stream_that_is_there() -> None:
    first = taken([*THREE[:2], *X])
    first.write()
    tight = replace(TENANTS, overrides={})
    heir = world(tenants=tight)
    heir.layouts = {"all": replace(first.layouts["all"], tenants=tight)}
    first.layouts = heir.layouts
    heir.state = first.restored()
    assert "".join(sorted(heir.rows())) == "abxyz"
    heir.poll(records([("w", 20, 1.0), ("x", 21, 2.0)], 5))
    assert (heir.refused, float(heir.rows()["x"]["samples"])) == ([5], 2)


def test_a_flood_of_tenants_takes_no_more_room_than_their_streams() -> None:
    made = Partition(10, 5, Tenants(lambda key: key, 1))
    for turn in range(20):
        flood: list[Sent] = [(f"{turn}-{i}", 10 * turn, 1.0) for i in range(30)]
        made.poll(records(flood, 30 * turn))
    slab = made.state.slabs["all"]
    assert slab.shares is not None
    assert (len(slab), len(slab.shares._counts), len(slab.shares.full_until_ms)) == (10, 10, 0)
    assert len(slab.shares._at) <= len(slab.view()) <= 20


TEAMS = """
groups:
  - name: all
    rename: {squad: team}
    drop: [pod]
    tenants: {label: team, max_streams: 2, overrides: {payments: 3}}
"""


def of_team(number: int, labels: str) -> MemoryRecord:
    body = f'{{"timestamp": 1700000000, "name": "cpu", "value": 1, "labels": {labels}}}'
    return MemoryRecord(number, -1, b"k", body.encode(), ())


def test_a_tenant_is_the_value_of_a_label_by_its_new_name() -> None:
    config = loads(TEAMS, "teams.yaml", {})
    intake, state = assembly.intake(config), PartitionState.empty(assembly.layouts(config), 0)
    teams = ["a", "payments", 'x", y="']
    told = [f'{{"squad": {_quoted(team)}, "host": "{i}", "pod": "p"}}' for i in range(4) for team in teams]
    told += [f'{{"host": "{i}"}}' for i in range(4)]
    found = intake.take(TopicPartition("metrics", 0), [of_team(i, labels) for i, labels in enumerate(told)], state)
    slab = state.slabs["all"]
    assert slab.shares is not None
    assert slab.shares._counts == {"a": 2, "payments": 3, 'x", y="': 2, "": 2}
    assert [each.offset for each in found.rejected] == [6, 8, 9, 10, 11, 14, 15]


def _quoted(text: str) -> str:
    return '"' + text.replace('"', '\\"') + '"'
