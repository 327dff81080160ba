"""The life of an alert, as a table: quiet, pending, firing, clearing.

Each sample gives its stream a signal: LOW below the closing level, HELD between, HIGH at or above the opening level
(1.0, raised by recent alerts: habituation). The table says what the phase becomes; counters say when a pending alert
opens and a clearing one closes. No second anomaly opens within the hold-off. A guard rail is HIGH whatever else holds,
also while the stream is warming up. The phases live in the stream's row, so they move with offsets and scores.

In a window of maintenance an alert that would open is withheld, and an open one neither worsens nor is accepted.

                LOW        HELD       HIGH
    QUIET       QUIET      QUIET      PENDING
    PENDING     QUIET      QUIET      PENDING    -> FIRING after open_after_samples: the alert opens
    FIRING      CLEARING   FIRING     FIRING
    CLEARING    CLEARING   FIRING     FIRING     -> QUIET after close_after_samples: the alert closes
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from detectors.columns import Rows
from detectors.settings import AlertSettings, DetectorSettings

F = NDArray[np.float64]
Mask = NDArray[np.bool_]

QUIET, PENDING, FIRING, CLEARING = range(4)
LOW, HELD, HIGH = range(3)
SETTLING_SAMPLES_MAX: Final = 100
TABLE: Final = np.array(
    [
        [QUIET, QUIET, PENDING],
        [QUIET, QUIET, PENDING],
        [CLEARING, FIRING, FIRING],
        [CLEARING, FIRING, FIRING],
    ],
    dtype=np.int8,
)

FIELDS: Final[list[tuple[str, str, tuple[int, ...]]]] = [
    ("seen_ms", "i8", ()),  # its partition's newest event time when the stream was last heard
    ("alert_started_ms", "i8", ()),  # event time of the first sample of the open alert
    ("alert_peak_ms", "i8", ()),
    ("alert_max", "f4", ()),
    ("alert_told", "f4", ()),  # the score that the last event of this alert carried
    ("alert_samples", "f4", ()),  # samples since it opened
    ("alert_run", "f4", ()),  # consecutive samples in the pending or the clearing phase
    ("alert_since", "f4", ()),  # samples since the last anomaly opened; 0 = never
    ("alert_recent", "f4", ()),  # habituation: recent anomalies, halving with time
    ("score", "f4", ()),  # of the last sample; 0 while warming
    ("alert_phase", "i1", ()),
    ("alert_guard", "i1", ()),  # the open alert is a guard rail's
    ("silent", "i1", ()),
    ("alert_withheld", "i1", ()),  # a window of maintenance keeps an alert from being open
    ("settling", "i1", ()),  # so many more samples are held as a window's are: its last ones are in what is remembered
    ("alert_spare", "i1", (3,)),
]


@dataclass(frozen=True, slots=True)
class Moved:
    """Which rows of a wave opened, worsened, closed, were accepted or kept from opening; masks of shape (n,)."""

    opened: Mask
    updated: Mask
    closed: Mask
    accepted: Mask
    withheld: int = 0  # how many alerts began not to open


def beyond_guard(settings: DetectorSettings, values: F) -> Mask:
    """Return which samples (n,) have a channel beyond its guard rail; a missing value is beyond none."""
    beyond = np.zeros(len(values), dtype=bool)
    for channel, guard in settings.guard:
        column = values[:, settings.channels.index(channel)]
        if guard.min is not None:
            beyond |= column < guard.min
        if guard.max is not None:
            beyond |= column > guard.max
    return beyond


def protected(settings: AlertSettings, rows: Rows) -> Mask:
    """Return the rows (n,) whose open alert keeps them from learning."""
    firing = rows["alert_phase"] >= FIRING
    result: Mask = firing & (rows["alert_samples"] < settings.accept_after_samples)
    return result


def settle(rows: Rows, maintained: Mask, samples: int) -> Mask:
    """Return the rows (n,) that a window of maintenance holds: those it covers, and for so many `samples` after it."""
    left = rows["settling"].copy()
    rows["settling"] = np.where(maintained, min(samples, SETTLING_SAMPLES_MAX), np.maximum(left - 1, 0))
    held: Mask = maintained | (left > 0)
    rows["alert_withheld"] *= held
    return held


def advance(
    settings: AlertSettings,
    rows: Rows,
    times_ms: NDArray[np.int64],
    scores: F,
    guarded: Mask,
    held: Mask | None = None,
) -> Moved:
    """Take one sample's score for each row through the table, moving the rows in place.

    `scores` (n,) are NaN while a stream is warming; `guarded` (n,) are the rows beyond a guard rail, `held` (n,) those
    that must not open an alert; None: none of them.
    """
    known = np.where(np.isnan(scores), 0.0, scores)
    rows["score"] = known
    phase = np.clip(rows["alert_phase"], QUIET, CLEARING)  # whatever a page of somebody else's says
    signals = _signals(settings, rows, known, guarded)
    after = TABLE[phase, signals]
    entered = after != phase
    run = np.where(entered, 1.0, rows["alert_run"] + 1.0)
    due = (after == PENDING) & ((run >= settings.open_after_samples) | guarded)
    opened = due if held is None else due & ~held
    started = (after == PENDING) & (phase != PENDING)
    rows["alert_started_ms"] = np.where(started, times_ms, rows["alert_started_ms"])
    persists = rows["alert_samples"] + 1 >= settings.accept_after_samples
    accepted = (after >= FIRING) & persists & (rows["alert_guard"] == 0)
    if held is not None:
        accepted &= ~held
    closed = ((after == CLEARING) & (run >= settings.close_after_samples)) | accepted
    rows["alert_phase"] = np.where(opened, FIRING, np.where(closed | (due & ~opened), QUIET, after))
    rows["alert_run"] = run
    _count(settings, rows, opened, opened & ~guarded)
    rows["alert_since"] = np.where(accepted, 1.0, rows["alert_since"])  # what was accepted is not told again at once
    withheld = 0
    if held is not None:
        withheld = _withhold(rows, due, signals != LOW, held)
        known = np.where(held, 0.0, known)
    updated = _follow_peak(settings, rows, times_ms, known, opened, guarded)
    return Moved(opened, updated & ~opened & ~closed, closed, accepted, withheld)


def _withhold(rows: Rows, due: Mask, lasts: Mask, held: Mask) -> int:
    """Note in which rows an alert is withheld, and return in how many of them that begins now.

    What a window covers is no part of an open alert's age either.
    """
    rows["alert_samples"] -= held
    before = rows["alert_withheld"] > 0
    now = held & (due | (before & lasts))
    rows["alert_withheld"] = now
    return int((now & ~before).sum())


def needed(settings: AlertSettings, rows: Rows) -> F:
    """Return the scores (n,) from which on the rows' next sample may open an alert: 1, and what habituation adds."""
    result: F = 1.0 + np.minimum(settings.habituation * rows["alert_recent"], settings.habituation_max)
    return result


def _signals(settings: AlertSettings, rows: Rows, scores: F, guarded: Mask) -> NDArray[np.int8]:
    level = needed(settings, rows)
    held_off = (rows["alert_since"] > 0) & (rows["alert_since"] < settings.hold_off_samples)
    high = (scores >= level) & ~held_off
    signal = np.where(scores < settings.close_below, LOW, np.where(high, HIGH, HELD))
    return np.where(guarded, HIGH, signal).astype(np.int8)


def _count(settings: AlertSettings, rows: Rows, opened: Mask, anomaly: Mask) -> None:
    """Move the counters of hold-off, habituation and age by one sample."""
    decay = 0.5 ** (1.0 / settings.habituation_half_life_samples)
    rows["alert_recent"] = rows["alert_recent"] * decay + anomaly
    since = rows["alert_since"]
    rows["alert_since"] = np.where(anomaly, 1.0, np.where(since > 0, since + 1.0, 0.0))
    rows["alert_samples"] = np.where(opened, 0.0, rows["alert_samples"] + 1.0)


def _follow_peak(
    settings: AlertSettings, rows: Rows, times_ms: NDArray[np.int64], scores: F, opened: Mask, guarded: Mask
) -> Mask:
    """Keep peak and highest score of the open alerts; return the rows that worsened enough to be told again."""
    higher = opened | (scores > rows["alert_max"])
    rows["alert_max"] = np.where(higher, scores, rows["alert_max"])
    rows["alert_peak_ms"] = np.where(higher, times_ms, rows["alert_peak_ms"])
    rows["alert_guard"] = np.where(opened, guarded, rows["alert_guard"])
    firing = rows["alert_phase"] >= FIRING
    worse: Mask = firing & (rows["alert_max"] >= settings.worsening * np.maximum(rows["alert_told"], 1.0))
    rows["alert_told"] = np.where(opened | worse, rows["alert_max"], rows["alert_told"])
    return worse
