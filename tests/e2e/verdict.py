"""Judges a run by what it left in Kafka, with nothing of the daemon's own code."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import NamedTuple

from daemon.types import Record

Score = float | None


class Sample(NamedTuple):
    """Where a score's sample stands in the input."""

    partition: int
    offset: int


class Change(NamedTuple):
    """What an alert event says that must not depend on how often the daemon died."""

    alert_id: str
    group: str
    change: str
    rule: str
    reason: str
    stream: str
    started_at_ms: int
    detected_at_ms: int
    partition: int
    offset: int | None


class Letter(NamedTuple):
    """A record that was kept aside."""

    place: Sample
    reason: str
    value: bytes | None


def told(records: Iterable[Record]) -> Iterable[tuple[Sample, Score]]:
    """Yield each score that the topic's records hold."""
    for record in records:
        columns = json.loads(record.value or b"")
        for offset, score in zip(columns["offset"], columns["score"], strict=True):
            yield Sample(columns["partition"], offset), score


def scores(records: Sequence[Record]) -> Mapping[Sample, Score]:
    """Return the score of every sample. Fails when one was scored twice."""
    twice = [sample for sample, times in Counter(sample for sample, _ in told(records)).items() if times > 1]
    assert not twice, f"{len(twice)} samples were scored more than once: {twice[:5]}"
    return dict(told(records))


def changes(records: Iterable[Record]) -> list[Change]:
    """Return what happened to the alerts. Fails when one was opened or closed twice, or closed before it was open."""
    found = plain_changes(records)
    for ends in ("open", "close"):
        twice = {each for each, times in Counter(e.alert_id for e in found if e.change == ends).items() if times > 1}
        assert not twice, f"alerts with a second {ends}: {[each for each in found if each.alert_id in twice]}"
    for alert in {each.alert_id for each in found}:
        life = [each.change for each in found if each.alert_id == alert]
        assert life[0] == "open", f"alert {alert}: {life}"
        assert "close" not in life[:-1], f"alert {alert}: {life}"
    return sorted(found, key=str)


def letters(records: Iterable[Record]) -> list[Letter]:
    """Return which records were kept aside, and why."""
    found = []
    for record in records:
        headers = {name: value.decode() for name, value in record.headers}
        place = Sample(int(headers["longwatch-partition"]), int(headers["longwatch-offset"]))
        found.append(Letter(place, headers["longwatch-reason"], record.value))
    return found


def plain_changes(records: Iterable[Record]) -> list[Change]:
    """Return what happened to the alerts, in the order in which it was told; whatever it is."""
    return [_change(json.loads(record.value or b"")) for record in records]


def compare(
    expected: Iterable[Hashable], found: Iterable[Hashable]
) -> tuple[list[Hashable], list[Hashable], list[Hashable]]:
    """Return what of `expected` was lost, what was found more often than expected, and what nobody expected."""
    wanted, got = Counter(expected), Counter(found)
    lost, more = wanted - got, got - wanted
    return list(lost), [each for each in more if each in wanted], [each for each in more if each not in wanted]


def _change(event: dict[str, object]) -> Change:
    source = event["source"]
    assert isinstance(source, dict)
    plain = {name: event[name] for name in Change._fields if name not in ("partition", "offset")}
    return Change(**plain, partition=source["partition"], offset=source["last_offset"])  # type: ignore[arg-type]


def assert_same(one: Mapping[Sample, Score], other: Mapping[Sample, Score], tolerance: float) -> None:
    """Fail unless both hold the same samples with the same scores, within `tolerance` of each other."""
    assert one.keys() == other.keys()
    apart = {each: (one[each], other[each]) for each in one if not close(one[each], other[each], tolerance)}
    assert not apart, f"{len(apart)} scores differ: {dict(list(apart.items())[:5])}"


def close(one: Score, other: Score, tolerance: float) -> bool:
    """Return whether two scores are the same within `tolerance`; none is only like none."""
    if one is None or other is None:
        return one is other
    return math.isclose(one, other, rel_tol=tolerance, abs_tol=tolerance)
