"""Daemons and brokers that are killed, suspended and moved leave what one daemon leaves that nobody disturbs."""

from __future__ import annotations

import os
import random
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from daemon.embedded import EmbeddedCluster
from tests.e2e import verdict
from tests.e2e.chaos import judge
from tests.e2e.chaos.driver import Injected
from tests.e2e.chaos.faults import Planned, schedule
from tests.e2e.chaos.judge import Left
from tests.e2e.chaos.trial import Outcome, Trial, conduct, fault_names
from tests.e2e.verdict import Change, Letter, Sample

pytestmark = [pytest.mark.broker, pytest.mark.slow, pytest.mark.timeout(400)]

TICKS_PER_SECOND = 6.0
FAULTS = 8
OTHER_FAULTS = 4
BROKER_KILLS = (
    Planned("SIGKILL of a broker, started again", settle=True, pause_seconds=0.0),
    Planned("all transactions get another coordinator", settle=True, pause_seconds=0.0),
    Planned("SIGKILL of a broker, started again", settle=True, pause_seconds=0.0),
)
CHANGE = Change("1", "g", "open", "anomaly", "r", "s", 1, 2, 0, 5)
LEFT = Left(
    scores=[(Sample(0, 5), 1.5), (Sample(0, 6), None)],
    changes=[CHANGE, CHANGE._replace(change="close", offset=6)],
    letters=[Letter(Sample(0, 7), "undecodable", b"x")],
    told_ms=[(0, 1000), (0, 2000), (0, 6000)],
)
INPUTS = [Sample(0, offset) for offset in (5, 6, 7)]


@pytest.fixture
def seed() -> int:
    """What the faults are drawn from; LONGWATCH_TEST_SEED repeats a run as far as a clock can be repeated."""
    drawn = int(os.environ.get("LONGWATCH_TEST_SEED") or random.SystemRandom().randrange(10**6))
    sys.stdout.write(f"LONGWATCH_TEST_SEED={drawn}\n")
    return drawn


@pytest.fixture
def cluster(request: pytest.FixtureRequest) -> Iterator[EmbeddedCluster]:
    """Brokers that only this test uses, because it kills them."""
    with EmbeddedCluster(request.param) as cluster:
        yield cluster


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")


def assert_right(outcome: Outcome, faults: int) -> None:
    findings = outcome.findings
    assert (findings.lost, findings.doubled, findings.differing) == ([], [], []), "\n".join(findings.said)
    assert outcome.crashes == []
    assert len(outcome.injected) == faults
    kinds = {each.change for each in outcome.expected.changes}
    assert {"open", "close"} <= kinds, "the input was too short to raise and close an alert"
    assert outcome.expected.letters


@pytest.mark.parametrize("cluster", [1], indirect=True)
def test_faults_of_all_kinds_on_one_broker_lose_and_double_and_change_nothing(
    cluster: EmbeddedCluster, seed: int, tmp_path: Path
) -> None:
    plan = schedule(seed, fault_names(1), FAULTS)
    assert_right(conduct(cluster, Trial(2, TICKS_PER_SECOND, plan, seed, tmp_path), say), FAULTS)


@pytest.mark.parametrize("cluster", [1], indirect=True)
def test_through_the_other_client_they_do_neither(cluster: EmbeddedCluster, seed: int, tmp_path: Path) -> None:
    plan = schedule(seed, fault_names(1), OTHER_FAULTS)
    trial = Trial(2, TICKS_PER_SECOND, plan, seed, tmp_path, client="librdkafka")
    assert_right(conduct(cluster, trial, say), OTHER_FAULTS)


@pytest.mark.parametrize("cluster", [3], indirect=True)
def test_brokers_that_are_killed_one_after_the_other_cost_no_score(
    cluster: EmbeddedCluster, seed: int, tmp_path: Path
) -> None:
    assert_right(conduct(cluster, Trial(2, TICKS_PER_SECOND, BROKER_KILLS, seed, tmp_path), say), len(BROKER_KILLS))


def test_the_judge_finds_nothing_wrong_with_the_same() -> None:
    found = judge.compare(LEFT, LEFT, INPUTS)
    assert (found.lost, found.doubled, found.differing) == ([], [], [])


@pytest.mark.parametrize(
    ("found", "lost", "doubled", "differing"),
    [
        (Left([], LEFT.changes, LEFT.letters, []), 2, 0, 0),
        (Left([*LEFT.scores, LEFT.scores[0]], LEFT.changes, LEFT.letters, []), 0, 1, 0),
        (Left([(Sample(0, 5), 1.51), LEFT.scores[1]], LEFT.changes, LEFT.letters, []), 0, 0, 1),
        (Left([LEFT.scores[0], (Sample(0, 6), 0.0)], LEFT.changes, LEFT.letters, []), 0, 0, 1),
        (Left([*LEFT.scores, (Sample(1, 1), 0.0)], LEFT.changes, LEFT.letters, []), 0, 0, 1),
        (Left(LEFT.scores, LEFT.changes, [], []), 1, 0, 0),
        (Left(LEFT.scores, LEFT.changes, [*LEFT.letters, *LEFT.letters], []), 0, 1, 0),
        # an alert's change and the order of its life are both looked at
        (Left(LEFT.scores, LEFT.changes[:1], LEFT.letters, []), 2, 0, 1),
        (Left(LEFT.scores, LEFT.changes[::-1], LEFT.letters, []), 1, 0, 1),
    ],
)
def test_the_judge_sees_what_is_lost_doubled_or_differs(found: Left, lost: int, doubled: int, differing: int) -> None:
    seen = judge.compare(LEFT, found, INPUTS)
    assert (len(seen.lost), len(seen.doubled), len(seen.differing)) == (lost, doubled, differing), seen.said


def test_the_judge_sees_a_record_that_neither_daemon_has_scored() -> None:
    assert judge.compare(LEFT, LEFT, [*INPUTS, Sample(0, 8)]).lost == [Sample(0, 8)]


def test_a_pause_counts_from_the_first_fault_within_it() -> None:
    injected = [Injected("a", 0.5), Injected("b", 3.0), Injected("c", 4.0)]
    assert judge.stillness(LEFT, injected) == {"a": [1.0], "b": [3.0], "c": [0.0]}


def test_what_is_wrong_is_told_of_the_fault_before_it_was_written() -> None:
    injected = [Injected("a", 1.0), Injected("b", 2.0)]
    times_ms = {Sample(0, 5): 500, Sample(0, 6): 1500, Sample(0, 7): 2500}
    assert judge.after_which(INPUTS, injected, times_ms) == {"before any": 1, "a": 1, "b": 1}


def test_a_schedule_is_the_same_for_the_same_seed_and_has_every_fault_as_often_as_any_other() -> None:
    names = fault_names(3)
    plan = schedule(7, names, 3 * len(names))
    assert plan == schedule(7, names, 3 * len(names))
    assert plan != schedule(8, names, 3 * len(names))
    assert {name: sum(each.fault == name for each in plan) for name in names} == dict.fromkeys(names, 3)


def test_none_is_no_score_and_a_score_is_not_none() -> None:
    assert verdict.close(None, None, 0.1)
    assert not verdict.close(None, 0.0, 0.1)
