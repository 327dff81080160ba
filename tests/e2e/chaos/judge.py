"""Compares what a disturbed group left in Kafka with what one undisturbed daemon leaves that reads the same input."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from daemon.kafka import KafkaBroker
from daemon.types import Record
from tests.e2e import verdict
from tests.e2e.chaos.driver import Injected
from tests.e2e.chaos.stand import Place, prepare
from tests.e2e.chaos.tape import PARTITIONS
from tests.e2e.process import Daemon, Follower, offsets_committed
from tests.e2e.verdict import Change, Letter, Sample, Score

TOLERANCE = 1e-6
CALM_RECORDS_MAX = 2000
CALM_SECONDS = 600.0


@dataclass(frozen=True, slots=True)
class Left:
    """What a group left: scores as often as they stand there, alert changes as told, dead letters."""

    scores: Sequence[tuple[Sample, Score]]
    changes: Sequence[Change]
    letters: Sequence[Letter]
    told_ms: Sequence[tuple[int, int]]  # of each record of scores, its partition and when it was written


@dataclass(frozen=True, slots=True)
class Findings:
    """In what a disturbed group differs; each is the place of a sample in the input, None where there is none."""

    lost: Sequence[Sample | None]
    doubled: Sequence[Sample | None]
    differing: Sequence[Sample | None]
    said: Sequence[str]  # for a person: the first of scores, changes, dead letters, and lives of alerts


def read(broker: KafkaBroker, place: Place) -> Left:
    """Return what the group at `place` left, committed records only."""
    scores, alerts, letters = (_all(broker, topic) for topic in place.outputs)
    told = [(sample.partition, record.timestamp) for record in scores for sample, _ in [*verdict.told([record])][:1]]
    return Left(list(verdict.told(scores)), verdict.plain_changes(alerts), verdict.letters(letters), told)


def calm(place: Place, folder: Path, prefix: str, ends: Sequence[int]) -> Left:
    """Let one daemon that nobody disturbs read the same input with the same model; return what it left."""
    own = Place(place.bootstrap, place.copies, place.shared, prefix, "kafka-python")
    prepare(own)
    with (
        closing(KafkaBroker(own.connection())) as broker,
        Daemon(folder, own.settings(None, CALM_RECORDS_MAX)) as daemon,
    ):

        def committed() -> bool:
            return offsets_committed(broker, own.input) == list(ends)

        daemon.until(committed, "the undisturbed daemon has read all", CALM_SECONDS)
        assert daemon.stop() == 0
        return read(broker, own)


def input_times_ms(broker: KafkaBroker, place: Place) -> Mapping[Sample, int]:
    """Return when each record of the input was written."""
    return {
        Sample(number, record.offset): record.timestamp
        for number, records in enumerate(_by_partition(broker, place.input))
        for record in records
    }


def compare(expected: Left, found: Left, inputs: Iterable[Sample]) -> Findings:
    """Return what was lost, doubled or differs, `expected` being what the undisturbed daemon left."""
    lost, doubled, differing = _scores(expected, found)
    lost += sorted(set(inputs) - {place for place, _ in expected.scores} - {each.place for each in expected.letters})
    said = [f"scores {lost[:3]} lost, {doubled[:3]} doubled, {differing[:3]} differ"]
    for one, other in ((expected.changes, found.changes), (expected.letters, found.letters), _lives(expected, found)):
        gone, twice, foreign = verdict.compare(one, other)
        lost += map(_place, gone)
        doubled += map(_place, twice)
        differing += map(_place, foreign)
        said.append(f"{gone[:2]} lost, {twice[:2]} doubled, {foreign[:2]} nobody expected")
    return Findings(lost, doubled, differing, said)


def stillness(left: Left, injected: Sequence[Injected]) -> Mapping[str, Sequence[float]]:
    """Return, for each fault and each time it was done, for how many seconds some partition then got no score at most.

    A pause belongs to the first fault within it and counts from there, or to the last fault before it.
    """
    begins = [each.at for each in injected]
    longest = [0.0] * len(injected)
    for first, second in _pauses(left):
        after = bisect_right(begins, first)
        if after < len(begins) and begins[after] < second:
            longest[after] = max(longest[after], second - begins[after])
        elif after > 0:
            longest[after - 1] = max(longest[after - 1], second - first)
    found = defaultdict(list)
    for each, seconds in zip(injected, longest, strict=True):
        found[each.fault].append(seconds)
    return found


def after_which(
    places: Iterable[Sample | None], injected: Sequence[Injected], times_ms: Mapping[Sample, int]
) -> Counter[str]:
    """Return how many of `places` were written to the input after each fault and before the next."""
    begins = [each.at * 1000 for each in injected]
    found: Counter[str] = Counter()
    for place in places:
        written = times_ms.get(place, 0) if place is not None else 0
        number = bisect_right(begins, written) - 1
        found[injected[number].fault if number >= 0 else "before any"] += 1
    return found


def _scores(expected: Left, found: Left) -> tuple[list[Sample | None], list[Sample | None], list[Sample | None]]:
    wanted, got = dict(expected.scores), dict(found.scores)
    times = Counter(sample for sample, _ in found.scores)
    lost: list[Sample | None] = [each for each in wanted if each not in got]
    doubled: list[Sample | None] = [each for each, count in times.items() if count > 1]
    doubled += [each for each, count in Counter(sample for sample, _ in expected.scores).items() if count > 1]
    differing: list[Sample | None] = [each for each in got if each not in wanted]
    differing += [each for each in got if each in wanted and not verdict.close(wanted[each], got[each], TOLERANCE)]
    return lost, doubled, differing


def _lives(expected: Left, found: Left) -> tuple[list[tuple[str, ...]], list[tuple[str, ...]]]:
    """Return the order of changes in the life of each alert."""
    return _life(expected.changes), _life(found.changes)


def _life(changes: Sequence[Change]) -> list[tuple[str, ...]]:
    lives: defaultdict[str, list[str]] = defaultdict(list)
    for each in changes:
        lives[each.alert_id].append(each.change)
    return [(alert_id, *life) for alert_id, life in lives.items()]


def _place(what: object) -> Sample | None:
    match what:
        case Letter(place=place):
            return place
        case Change(partition=partition, offset=int(offset)):
            return Sample(partition, offset)
        case _:
            return None


def _pauses(left: Left) -> Iterable[tuple[float, float]]:
    for partition in range(PARTITIONS):
        times = sorted(each / 1000 for number, each in left.told_ms if number == partition)
        yield from pairwise(times)


def _all(broker: KafkaBroker, topic: str) -> list[Record]:
    return [record for records in _by_partition(broker, topic) for record in records]


def _by_partition(broker: KafkaBroker, topic: str) -> list[list[Record]]:
    with closing(Follower(broker, topic)) as follower:
        return follower.rest()
