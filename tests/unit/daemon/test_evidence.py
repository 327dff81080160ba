"""An opened alert carries what its score rests on: read back, it gives that very score; what was changed is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daemon import codec, evidence
from daemon.alert_events import AlertEvent
from daemon.errors import EvidenceUnusable
from daemon.evidence import Evidence
from detectors import replay
from detectors.settings import (
    AlertSettings,
    BudgetThreshold,
    DetectorSettings,
    Guard,
    QuantileThreshold,
    SigmaThreshold,
)
from tests.conformance.feed import Feed, cut, drawn, series, settings_of, together, wave

LIVELY = AlertSettings(hold_off_samples=5, close_after_samples=2, accept_after_samples=20)
ONE = settings_of(alert=LIVELY, warmup_samples=20)
TWO = settings_of(2, alert=LIVELY, warmup_samples=20)
KINDS: dict[str, tuple[DetectorSettings, bool]] = {
    "one channel": (ONE, True),
    "two channels": (TWO, True),
    "a shared readout": (replace(ONE, readout="shared"), True),
    "no network": (replace(TWO, readout="shared"), False),
    "another threshold": (replace(TWO, threshold=SigmaThreshold(3.0)), True),
    "a budget": (replace(ONE, threshold=BudgetThreshold(200.0)), True),
    "a guard": (replace(ONE, threshold=QuantileThreshold(0.99), guard=(("value", Guard(max=30.0)),)), True),
}


def fed(told: DetectorSettings, seed: int, *, learnt: bool = True, bytes_max: int | None = None) -> Feed:
    """Return streams with odd stretches after the step, in polls of any size."""
    rng, width = np.random.default_rng(seed), len(told.channels)
    feed = Feed(told, drawn(told) if learnt else None)
    if bytes_max is not None:
        feed.group = replace(feed.group, evidence_bytes_max=bytes_max)
    streams = []
    for number in range(3):
        values = wave(110, width, seed + number)
        for at in rng.integers(25, 110, 4):
            values[at : at + rng.integers(1, 6)] += rng.choice([-20.0, 6.0, 30.0])
        streams.append(series(values, f's{number}{{host="a"}}', number % 2))
    sent = together(*streams)
    return feed.polls(cut(sent, rng.integers(0, len(sent), 20).tolist()))


def openings(feed: Feed) -> list[AlertEvent]:
    return [each for each in feed.events if each.change == "open" and each.rule != "silence"]


def carried(event: AlertEvent) -> Evidence:
    """Return the evidence as it comes out of the alerts topic."""
    found = codec.decode_alert(codec.alert("alerts", event).value or b"").evidence
    assert found is not None
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_every_opened_alert_replays_to_exactly_its_score(kind: str) -> None:
    told, learnt = KINDS[kind]
    replayed = 0

    @settings(max_examples=2, deadline=None)
    @given(seed=st.integers(0, 100_000))
    def holds(seed: int) -> None:
        nonlocal replayed
        feed = fed(told, seed, learnt=learnt)
        for event in openings(feed):
            found = evidence.opened(carried(event))
            again, _ = replay.scored(feed.group.detector, found.moment)
            assert again.score[0] == event.score
            assert event.rule == "guard" or (event.score or 0.0) >= found.needed
            replayed += 1

    holds()
    assert replayed


@cache
def one_alert() -> AlertEvent:
    return openings(fed(TWO, 5))[0]


def test_only_an_opening_carries_evidence_and_nothing_else_changes_by_it() -> None:
    full, without = fed(TWO, 5), fed(TWO, 5, bytes_max=0)
    told = [each for each in full.events if each.evidence is not None]
    assert told == openings(full)
    assert len(full.events) > len(told)
    assert [replace(each, evidence=None) for each in full.events] == without.events


def test_the_settings_that_come_back_are_those_that_scored() -> None:
    guarded = replace(ONE, guard=(("value", Guard(max=30)),), threshold=SigmaThreshold(3))  # whole numbers, too
    found = evidence.opened(carried(openings(fed(guarded, 5))[0]))
    same = replace(guarded, training=found.settings.training, alert=found.settings.alert)
    assert found.settings == same


def test_where_it_takes_too_much_the_event_says_so_and_is_told_all_the_same() -> None:
    full, cut_short = fed(TWO, 5), fed(TWO, 5, bytes_max=200)
    assert cut_short.told() == full.told()
    found = carried(openings(cut_short)[0])
    assert found.row == ""
    assert len(msgspec.json.encode(found)) < 800
    with pytest.raises(EvidenceUnusable, match=r"the row takes 492 bytes, outputs\.alerts\.evidence_bytes_max is 200"):
        evidence.opened(found)


def test_an_event_from_before_there_was_evidence_is_read() -> None:
    told = json.loads(codec.alert("alerts", one_alert()).value or b"")
    del told["evidence"]
    assert codec.decode_alert(json.dumps(told).encode()) == replace(one_alert(), evidence=None)


def test_it_may_go_through_tools_that_write_numbers_their_own_way() -> None:
    told = json.loads(codec.alert("alerts", one_alert()).value or b"", parse_float=_whole)
    found = codec.decode_alert(json.dumps(told, indent=2).encode()).evidence
    assert found is not None
    assert isinstance(found.settings["gap_max_seconds"], int)
    assert evidence.opened(found).moment.time_ms == one_alert().detected_at_ms


def _whole(text: str) -> float:
    number = float(text)
    return int(number) if number.is_integer() else number


def _settings(found: Evidence, **changes: object) -> Evidence:
    return replace(found, settings={**found.settings, **changes})


CHANGES: dict[str, Callable[[Evidence], Evidence]] = {
    "time": lambda found: replace(found, time_ms=found.time_ms + 1),
    "value": lambda found: replace(found, values=[(found.values[0] or 0.0) + 1.0, *found.values[1:]]),
    "missing value": lambda found: replace(found, values=[None, *found.values[1:]]),
    "protected": lambda found: replace(found, protected=not found.protected),
    "needed": lambda found: replace(found, needed=found.needed + 0.5),
    "row": lambda found: replace(found, row=found.row[:50] + ("A" if found.row[50] != "A" else "B") + found.row[51:]),
    "row cut": lambda found: replace(found, row=found.row[:-4]),
    "settings": lambda found: _settings(found, warmup_samples=21),
    "writer": lambda found: replace(found, longwatch="9.9.9"),
    "checksum": lambda found: replace(found, crc=found.crc ^ 1),
}


@pytest.mark.parametrize("what", CHANGES)
def test_what_was_changed_on_the_way_is_refused(what: str) -> None:
    with pytest.raises(EvidenceUnusable, match="its checksum does not fit"):
        evidence.opened(CHANGES[what](carried(one_alert())))


WRITTEN: dict[str, tuple[Callable[[Evidence], Evidence], str]] = {
    "another version": (lambda found: replace(found, version=2), "version 2, .* use longwatch 0"),
    "another layout": (lambda found: replace(found, layout="0" * 16), "lie otherwise .* use longwatch 0"),
    "no row": (lambda found: replace(found, row=""), "left out"),
    "no text of bytes": (lambda found: replace(found, row="!!!!"), "cannot be used"),
    "another row": (lambda found: replace(found, row="AAAA"), "cannot be used"),
    "values of more channels": (lambda found: replace(found, values=[1.0, 2.0, 3.0]), "3 values and 2 channels"),
    "an unknown key": (lambda found: _settings(found, more=1), "settings cannot be read .* use longwatch 0"),
    "an unknown form": (
        lambda found: _settings(found, model={**found.settings["model"], "architecture": "oracle"}),
        "settings cannot be read",
    ),
    "too wide": (
        lambda found: _settings(found, model={**found.settings["model"], "hidden": 10**9}),
        "settings cannot be used .*hidden",
    ),
    "an unknown threshold": (lambda found: _settings(found, threshold={"kind": "oracle"}), "kind oracle"),
    "a threshold without its number": (lambda found: _settings(found, threshold={"kind": "sigma"}), "kind sigma"),
    "a number beyond all": (lambda found: replace(found, time_ms=2**80), "what no evidence does"),
}


@pytest.mark.parametrize("what", WRITTEN)
def test_what_somebody_else_wrote_is_refused_with_what_to_do(what: str) -> None:
    change, words = WRITTEN[what]

    def read() -> Any:  # noqa: ANN401  # it never comes back
        return evidence.opened(evidence.sealed(change(carried(one_alert()))))

    with pytest.raises(EvidenceUnusable, match=words):
        read()


def test_the_page_on_alerts_names_every_field_of_an_event() -> None:
    page = (Path(__file__).parents[3] / "docs" / "alerts.md").read_text(encoding="utf-8")
    named = {name for line in page.splitlines() if line.startswith("| `") for name in line.split("|")[1].split("`")}
    assert set(AlertEvent.__slots__) <= named


def test_an_infinite_value_is_told_as_the_number_that_it_is_scored_as() -> None:
    moment = evidence.opened(carried(one_alert())).moment
    detector = fed(TWO, 5).group.detector
    for odd in ([np.inf, 1.0], [-np.inf, np.nan]):
        endless = replace(moment, values=np.array(odd))
        found = evidence.opened(evidence.gathered(TWO, endless, 1.0, 9999)).moment
        assert np.isinf(found.values).sum() == 0
        assert [replay.scored(detector, each)[0].score[0] for each in (found, endless)] == [
            replay.scored(detector, endless)[0].score[0]
        ] * 2
