"""Why an alert opened: its score computed again from what its event carries, and what it would have been otherwise.

Everything here comes from `detectors.scoring`, run over the row that the event holds. Nothing is estimated but what the
words of the errors mean.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from daemon import evidence
from daemon.alert_events import AlertEvent
from daemon.errors import EvidenceUnusable
from daemon.evidence import Told
from detectors import channels, replay, scaling, scoring, tail, threshold
from detectors.replay import Moment, ReplayError
from detectors.scoring import Detector, Scored

F = NDArray[np.float64]
Row = NDArray[np.void]

TOLERANCE: Final = 1e-6  # what rounding may differ by between machines, in parts of a score above 1
INSTEAD_MAX: Final = 16  # channels for which another score is computed, those that bear most of the error


@dataclass(frozen=True, slots=True)
class Voice:
    """What one error said: the decades of its improbability, and what they count for."""

    name: str
    decades: float  # the mean over the time scales
    weight: float
    scales: tuple[float, ...]  # the decades at each of `channels.SPANS`

    @property
    def surprise(self) -> float:
        """What it adds up to; the largest is the sample's surprise."""
        return self.decades * self.weight


@dataclass(frozen=True, slots=True)
class Channel:
    """One channel of the sample. All but `raw` are what was scored: the value, or a counter's rate per second."""

    name: str
    raw: float | None  # as it came; None: missing
    actual: float | None
    expected: float | None
    lower: float | None
    upper: float | None
    share: float
    step: float  # recent and usual size of a step
    step_usual: float
    repeats: float  # how often in a row the value has not changed, now and usually
    repeats_usual: float


@dataclass(frozen=True, slots=True)
class Instead:
    """The score that would have been, had these channels been as expected."""

    channels: tuple[str, ...]
    score: float | None


@dataclass(frozen=True, slots=True)
class Explanation:
    """A score's replay, and what it shows. A score of None is that of a stream that was warming up."""

    recorded: float | None
    replayed: float | None
    needed: float  # the score from which on an alert could open just then
    surprise: float
    limit: float | None  # the surprise at which the score is 1, where that can be said
    interval_ms: float  # usual time between two samples; 0: not known
    voices: tuple[Voice, ...]  # the loudest first
    channels: tuple[Channel, ...]
    instead: tuple[Instead, ...]  # each channel by itself, the one with the largest share first; then all

    @property
    def apart(self) -> float:
        """How far the replayed score is from the recorded one; infinite when only one of them is a number."""
        if self.recorded is None or self.replayed is None:
            return 0.0 if self.recorded is self.replayed else math.inf
        return abs(self.replayed - self.recorded)

    @property
    def same(self) -> bool:
        """Whether both are the same score, but for the rounding of another machine."""
        return self.apart <= TOLERANCE * max(1.0, self.recorded or 0.0)


def read(event: AlertEvent) -> Told:
    """Return what an event tells of its score's grounds. Raises EvidenceUnusable, saying what to do."""
    if event.rule == "silence":
        raise EvidenceUnusable("a silence has no score: it opened because no sample came")
    if event.change != "open":
        raise EvidenceUnusable(f"this is the alert's {event.change}: its grounds are in the event of its opening")
    if event.evidence is None:
        raise EvidenceUnusable("the event carries no evidence: outputs.alerts.evidence_bytes_max was 0")
    return evidence.opened(event.evidence)


def explained(event: AlertEvent, told: Told, detector: Detector) -> Explanation:
    """Return why the alert of an `open` event opened; `told` is what `read` made of it. Raises EvidenceUnusable."""
    found, after = _scored(detector, told.moment)
    return Explanation(
        recorded=event.score,
        replayed=_number(found.score[0]),
        needed=told.needed,
        surprise=float(found.surprise[0]),
        limit=_limit(told),
        interval_ms=float(told.moment.row["interval_ms"][0]),
        voices=tuple(sorted(_voices(told, found, after), key=lambda voice: -voice.surprise)),
        channels=tuple(_channel(told, found, after, d) for d in range(len(told.settings.channels))),
        instead=tuple(_instead(detector, told, found)),
    )


def _scored(detector: Detector, moment: Moment) -> tuple[Scored, Row]:
    try:
        return replay.scored(detector, moment)
    except ReplayError as error:
        raise EvidenceUnusable(f"the score cannot be computed again: {error}") from error


def _voices(told: Told, found: Scored, after: Row) -> list[Voice]:
    """Return what each error said, in the order of their names, and at which time scales.

    The one error of several channels goes by the name of its larger part; its time scales are those of the first.
    """
    width = len(told.settings.channels)
    weights = scoring.error_weights(width).tolist()
    every = tail.decades(told.moment.row["tail"], tail.placed(channels.averages(after))).reshape(-1, channels.SCALES)
    voices = []
    for i, (name, decades) in enumerate(zip(channels.NAMES, found.decades[0].tolist(), strict=True)):
        scales = every[0 if width > 1 and i < channels.SQUARED else i]
        voices.append(Voice(name, decades, weights[i], tuple((scales * (decades > 0.0)).tolist())))
    return voices


def _limit(told: Told) -> float | None:
    """Return the surprise at which the score is 1."""
    found = threshold.limit(told.settings.threshold, told.moment.row)
    return None if found is None else _number(found[0])


def _channel(told: Told, found: Scored, after: Row, d: int) -> Channel:
    expected, margin, before = found.expected[0, d], found.margin[0, d], told.moment.row
    return Channel(
        name=told.settings.channels[d],
        raw=_number(told.moment.values[d]),
        actual=_number(found.level[0, d]),
        expected=_number(expected),
        lower=_number(expected - margin),
        upper=_number(expected + margin),
        share=float(found.share[0, d]),
        step=float(after["step_now"][0, d]),
        step_usual=float(before["step_usual"][0, d]),
        repeats=float(after["repeats"][0, d]),
        repeats_usual=float(before["repeats_usual"][0, d]),
    )


def _instead(detector: Detector, told: Told, found: Scored) -> list[Instead]:
    """Return the scores of the same sample with channels as expected: each by itself, and all together."""
    row, names = told.moment.row.copy(), told.settings.channels
    seconds = np.maximum((told.moment.time_ms - row["time_ms"]) / 1000.0, 1e-3)
    wanted = scaling.values_of(row, found.expected, seconds)[0]  # (D,)
    present = [int(d) for d in np.argsort(-found.share[0], kind="stable") if np.isfinite(found.level[0, d])]
    choices = [[d] for d in present[:INSTEAD_MAX]]
    if len(present) > 1:
        choices.append(sorted(present))
    scores = []
    for chosen in choices:
        values = told.moment.values.copy()
        values[chosen] = wanted[chosen]
        other, _ = _scored(detector, replace(told.moment, values=values))
        scores.append(Instead(tuple(names[d] for d in chosen), _number(other.score[0])))
    return scores


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
