"""What the alerts topic carries: one event when an alert opens, worsens or closes, and everything that explains it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from daemon import silence
from daemon.evidence import Evidence
from daemon.maintenance import NO_WINDOWS, Calendar
from daemon.stream_keys import labels_of
from daemon.types import TopicPartition
from detectors import scaling
from detectors.channels import NAMES
from detectors.scoring import Detector, Scored

Rule = Literal["anomaly", "guard", "silence"]
Change = Literal["open", "update", "close"]
Reason = Literal["threshold", "guard", "silence", "worsening", "recovered", "accepted", "returned", "evicted"]
Direction = Literal["up", "down", "none"]

SCHEMA_VERSION = 1


@dataclass(frozen=True, slots=True)
class Group:
    """A group as the step needs it: its name, its detector, and the words its alerts carry."""

    name: str
    detector: Detector
    severity: str = "warning"
    config_checksum: str = ""
    evidence_bytes_max: int = 0  # of what an opened alert's score rests on; 0: it is not told
    calendar: Calendar = NO_WINDOWS  # of its maintenance


@dataclass(frozen=True, slots=True)
class Sighting:
    """Where the sample that caused an event came from."""

    stream: str
    partition: TopicPartition
    offset: int
    time_ms: int


@dataclass(frozen=True, slots=True)
class Feature:
    """One channel's part in an alert, in raw units; a counter's values are rates per second."""

    name: str
    actual: float | None
    expected: float | None
    lower: float | None
    upper: float | None
    share: float  # of the error; the shares of an alert sum to 1
    imputed: bool  # the channel was missing in this sample
    window: list[float]  # the last values, oldest first


@dataclass(frozen=True, slots=True)
class Source:
    """The input that an event rests on; a silence rests on the absence of one."""

    topic: str
    partition: int
    last_offset: int | None


@dataclass(frozen=True, slots=True)
class AlertEvent:
    """One change of one alert. `score` is the sample's, `max_score` the highest since it opened; 1.0 is the limit."""

    schema_version: int
    alert_id: str
    change: Change
    rule: Rule
    reason: Reason
    severity: str
    group: str
    stream: str
    labels: dict[str, str]  # the stream's, with the metric's name as `name`
    started_at_ms: int
    detected_at_ms: int
    peak_at_ms: int
    ended_at_ms: int | None
    score: float | None
    max_score: float | None
    surprise: dict[str, float]  # decades of improbability, by error
    threshold: dict[str, float | str]
    direction: Direction
    features: list[Feature]
    model_id: str
    config_checksum: str
    source: Source
    evidence: Evidence | None = None  # of an anomaly's or a guard's opening, if it is told
    features_missing: list[str] = field(default_factory=list)  # the channels that the sample did not have
    quality: float | None = None  # the share of the channels that it had; None: it rests on no sample


@dataclass(frozen=True, slots=True)
class Observed:
    """One row of a wave, taken out for its alert event."""

    scored: Scored
    row: NDArray[np.void]  # (1,)
    at: int
    accepted: bool
    evidence: Evidence | None = None


def alert_id(group: str, stream: str, rule: Rule, started_at_ms: int) -> str:
    """Return the alert's id: the same after any replay, because no floating-point number enters it."""
    text = "\x1f".join((group, stream, rule, str(started_at_ms)))
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def anomaly_event(group: Group, seen: Sighting, change: Change, observed: Observed) -> AlertEvent:
    """Return the event of an alert that a score or a guard rail changed."""
    row, scored, at = observed.row, observed.scored, observed.at
    rule: Rule = "guard" if row["alert_guard"][0] else "anomaly"
    started = int(row["alert_started_ms"][0])
    score = float(scored.score[at])
    features = _features(group, observed)
    missing = [feature.name for feature in features if feature.imputed]
    return AlertEvent(
        schema_version=SCHEMA_VERSION,
        alert_id=alert_id(group.name, seen.stream, rule, started),
        change=change,
        rule=rule,
        reason=_reason(change, rule, accepted=observed.accepted),
        severity=group.severity,
        group=group.name,
        stream=seen.stream,
        labels=labels_of(seen.stream),
        started_at_ms=started,
        detected_at_ms=seen.time_ms,
        peak_at_ms=int(row["alert_peak_ms"][0]),
        ended_at_ms=seen.time_ms if change == "close" else None,
        score=_number(score),
        max_score=_number(row["alert_max"][0]),
        surprise={name: float(scored.decades[at, i]) for i, name in enumerate(NAMES)},
        threshold=_threshold(group),
        direction=_direction(scored, at),
        features=features,
        model_id=group.detector.model_id,
        config_checksum=group.config_checksum,
        source=Source(seen.partition.topic, seen.partition.partition, seen.offset),
        evidence=observed.evidence,
        features_missing=missing,
        quality=1.0 - len(missing) / len(features),
    )


def evicted_event(group: Group, seen: Sighting, row: NDArray[np.void]) -> AlertEvent:
    """Return the close of an alert whose stream gave way to another; it rests on no sample of the stream's own."""
    rule: Rule = "guard" if row["alert_guard"] else "anomaly"
    started = int(row["alert_started_ms"])
    return AlertEvent(
        schema_version=SCHEMA_VERSION,
        alert_id=alert_id(group.name, seen.stream, rule, started),
        change="close",
        rule=rule,
        reason="evicted",
        severity=group.severity,
        group=group.name,
        stream=seen.stream,
        labels=labels_of(seen.stream),
        started_at_ms=started,
        detected_at_ms=seen.time_ms,
        peak_at_ms=int(row["alert_peak_ms"]),
        ended_at_ms=seen.time_ms,
        score=None,
        max_score=_number(float(row["alert_max"])),
        surprise={},
        threshold=_threshold(group),
        direction="none",
        features=[],
        model_id=group.detector.model_id,
        config_checksum=group.config_checksum,
        source=Source(seen.partition.topic, seen.partition.partition, seen.offset),
    )


def silence_event(
    group: Group,
    stream: str,
    partition: TopicPartition,
    row: NDArray[np.void],
    seen: Sighting | None,
    ended: Reason = "returned",
) -> AlertEvent:
    """Return the event of a stream that fell silent, or, given the sample that `ended` it, is no longer so.

    Nothing in it depends on which poll noticed: the silence starts at the stream's last sample.
    """
    started = int(row["time_ms"])
    policy = group.detector.settings.alert
    patience = silence.patience_ms(policy, row.reshape(1))
    noticed = group.calendar.patience_ends_ms(np.array([row["seen_ms"]], np.int64), patience)
    return AlertEvent(
        schema_version=SCHEMA_VERSION,
        alert_id=alert_id(group.name, stream, "silence", started),
        change="close" if seen else "open",
        rule="silence",
        reason=ended if seen else "silence",
        severity=group.severity,
        group=group.name,
        stream=stream,
        labels=labels_of(stream),
        started_at_ms=started,
        detected_at_ms=seen.time_ms if seen else int(noticed[0]),
        peak_at_ms=started,
        ended_at_ms=seen.time_ms if seen else None,
        score=None,
        max_score=None,
        surprise={},
        threshold={
            "kind": "silence",
            "intervals": policy.silence_intervals,
            "pauses": policy.silence_pauses,
            "patience_seconds": float(patience[0]) / 1000.0,
        },
        direction="none",
        features=[],
        model_id=group.detector.model_id,
        config_checksum=group.config_checksum,
        source=Source(partition.topic, partition.partition, seen.offset if seen else None),
    )


def _reason(change: Change, rule: Rule, *, accepted: bool) -> Reason:
    match change:
        case "open":
            return "guard" if rule == "guard" else "threshold"
        case "update":
            return "worsening"
        case "close":
            return "accepted" if accepted else "recovered"


def _threshold(group: Group) -> dict[str, float | str]:
    threshold = group.detector.settings.threshold
    return {name: getattr(threshold, name) for name in threshold.__slots__}


def _direction(scored: Scored, at: int) -> Direction:
    """Return whether the channel that bears most of the error lies above or below what was expected."""
    channel = int(scored.share[at].argmax())
    apart = float(scored.level[at, channel] - scored.expected[at, channel])
    if not np.isfinite(apart) or apart == 0:
        return "none"
    return "up" if apart > 0 else "down"


def _features(group: Group, observed: Observed) -> list[Feature]:
    scored, at, row = observed.scored, observed.at, observed.row
    spread, location = scaling.floored(row)[0], row["location"][0]
    filled = int(row["window_filled"][0])
    window = row["window"][0, :filled][::-1] * spread + location  # (filled, D), oldest first
    return [
        Feature(
            name=name,
            actual=_number(scored.level[at, d]),
            expected=_number(scored.expected[at, d]),
            lower=_number(scored.expected[at, d] - scored.margin[at, d]),
            upper=_number(scored.expected[at, d] + scored.margin[at, d]),
            share=float(scored.share[at, d]),
            imputed=not np.isfinite(scored.level[at, d]),
            window=[float(value) for value in window[:, d]],
        )
        for d, name in enumerate(group.detector.settings.channels)
    ]


def _number(value: float) -> float | None:
    """Return a number that JSON can hold, None where there is none."""
    return float(value) if np.isfinite(value) else None
