"""When a stream counts as silent: after many of its usual intervals, and after more than its usual pauses.

Some streams come in bursts, or only while somebody works: their intervals say little of how long they are away. So each
row also knows the longest of its stream's usual pauses. One that is within the patience is usual at once. One that is
longer, which is told as a silence, teaches nothing yet; only when there is a second such, the shorter of the two is
usual from then on. Both fade, so that a stream that pauses no more is soon missed again.

All of it goes by the partition's own event time, sample by sample: no cut of the input changes anything. Where the
whole partition stood still, that time jumps when it goes on, though nobody was missed: so others must have sent, in
records, what they send in some of the stream's usual intervals.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from daemon.maintenance import NO_WINDOWS, Calendar
from detectors.columns import Rows
from detectors.settings import AlertSettings

I8 = NDArray[np.int64]
Mask = NDArray[np.bool_]

FOREVER_MS: Final = 2**62
DAY_MS: Final = 86_400_000
FADING_DAYS: Final = 28  # in which a pause counts half; what comes weekly stays, at 5/6 of its length
OTHERS_INTERVALS: Final = 3  # whose records must have come meanwhile: after a halt each may come last that came first
OFFSETS: Final = 2**32 - 1  # of a record, what is kept of its offset
RATE_MIN: Final = 0.02  # at which the usual distance follows
LEFT: Final = 0.5 ** (
    np.arange(40 * FADING_DAYS) / FADING_DAYS
)  # of a pause, after so many days; a millisecond of 35 years

FIELDS: Final[list[tuple[str, str, tuple[int, ...]]]] = [
    ("pause_ms", "f4", ()),  # the longest usual one
    ("pause_once_ms", "f4", ()),  # the longest beyond the patience: usual once there are two
    ("heard_offset", "u4", ()),  # of the record that it was last heard in: the lower half
    ("interval_records", "f4", ()),  # usual number of the partition's records from one of its samples to the next
]
FADING: Final = ("pause_ms", "pause_once_ms")


@dataclass(frozen=True, slots=True)
class Until:
    """How far a partition has come, or had come before each of n samples."""

    watermark_ms: I8 | int
    offset: I8 | int  # of the next record


def silent_rows(
    settings: AlertSettings,
    rows: Rows,
    until: Until,
    samples_min: int,
    calendar: Calendar = NO_WINDOWS,
) -> Mask:
    """Return the rows (n,) that have been away for longer than their patience while their partition went on.

    It is counted on their partition's clock, not on their own: a stream whose clock runs behind is not silent.
    """
    if settings.silence_intervals <= 0:
        return np.zeros(len(rows), dtype=bool)
    known = (rows["samples"] >= samples_min) & (rows["interval_ms"] > 0)
    overdue: Mask = known & (rows["seen_ms"] + patience_ms(settings, rows) < until.watermark_ms)
    if overdue.any():
        overdue &= _went_on(rows, until.offset)
    if calendar:
        at = np.flatnonzero(overdue & (rows["silent"] == 0))
        ends_ms = calendar.patience_ends_ms(rows["seen_ms"][at], patience_ms(settings, rows)[at])
        overdue[at] = ends_ms < np.broadcast_to(until.watermark_ms, overdue.shape)[at]
    return overdue


def _went_on(rows: Rows, offset: I8 | int) -> Mask:
    """Return for which rows (n,) others have sent enough since to say that the partition went on without them."""
    result: Mask = _records(rows, offset) > OTHERS_INTERVALS * np.maximum(rows["interval_records"], 1.0)
    return result


def _records(rows: Rows, offset: I8 | int) -> I8:
    """Return how many of the partition's records (n,) came since the rows were last heard."""
    result: I8 = (offset - rows["heard_offset"].astype(np.int64)) & OFFSETS
    return result


def quiet_until_ms(settings: AlertSettings, rows: Rows, samples_min: int, among: Mask) -> int:
    """Return the watermark up to which none of the rows `among` (n,) falls silent that is not so already.

    A window of maintenance lets a stream be silent for longer, never for less.
    """
    judged = among & (rows["samples"] >= samples_min) & (rows["interval_ms"] > 0) & (rows["silent"] == 0)
    if settings.silence_intervals <= 0 or not judged.any():
        return FOREVER_MS
    return int((rows["seen_ms"] + patience_ms(settings, rows))[judged].min())


def patience_ms(settings: AlertSettings, rows: Rows) -> I8:
    """Return for how long (n,) each row's stream may be away."""
    intervals = settings.silence_intervals * rows["interval_ms"].astype(np.float64)
    pauses = settings.silence_pauses * rows["pause_ms"].astype(np.float64)
    result: I8 = np.maximum(intervals, pauses).astype(np.int64)
    return result


def learn(
    settings: AlertSettings, rows: Rows, heard: Until, calendar: Calendar = NO_WINDOWS, maintained: Mask | None = None
) -> None:
    """Let the rows know for how long they were away until now, `heard`, and note that they were heard.

    What a window of maintenance covers is no pause: neither one that ends in it, `maintained` (n,), nor one that
    would have been told but for it. Nor is it one when the whole partition stood still.
    """
    seen_ms, before_ms = np.asarray(heard.watermark_ms), rows["seen_ms"].copy()
    went_on = _went_on(rows, heard.offset)
    _note(rows, seen_ms, heard.offset)
    away_ms = np.where((rows["interval_ms"] > 0) & went_on, seen_ms - before_ms, 0)
    patience = patience_ms(settings, rows)
    _fade(rows, (seen_ms // DAY_MS - before_ms // DAY_MS) * (rows["samples"] > 0))
    longer = away_ms > rows["pause_ms"]
    if maintained is not None:
        longer &= ~maintained
    if not longer.any():
        return
    beyond = longer & (away_ms > patience)
    rows["pause_ms"] = np.where(longer & ~beyond, away_ms, rows["pause_ms"])
    if beyond.any():
        _take_long(rows, away_ms, _unexcused(calendar, before_ms, patience, beyond))


def _note(rows: Rows, seen_ms: I8, offset: I8 | int) -> None:
    """Note when and where the rows were heard, and learn of it how far apart in records that usually is."""
    usual, samples = rows["interval_records"], rows["samples"]
    records = _records(rows, offset)
    bounded = np.where(usual > 0, np.minimum(records, OTHERS_INTERVALS * usual), records)
    rate = np.maximum(1.0 / np.maximum(samples, 1.0), RATE_MIN)
    rows["interval_records"] = np.where(samples > 0, usual + rate * (bounded - usual), 0.0)
    rows["seen_ms"], rows["heard_offset"] = seen_ms, np.asarray(offset) & OFFSETS


def _fade(rows: Rows, days: I8) -> None:
    """Let pauses fade with each day that has begun since the stream was last seen."""
    if days.any():
        left = LEFT[np.minimum(days, len(LEFT) - 1)]
        for name in FADING:
            rows[name] = rows[name] * left


def _unexcused(calendar: Calendar, before_ms: I8, patience: I8, beyond: Mask) -> Mask:
    """Return which of the pauses `beyond` (n,) all patience no window of maintenance allowed."""
    if not calendar:
        return beyond
    result = beyond.copy()
    result[beyond] = calendar.patience_ends_ms(before_ms[beyond], patience[beyond]) == (before_ms + patience)[beyond]
    return result


def _take_long(rows: Rows, away_ms: I8, beyond: Mask) -> None:
    """Take in pauses that were longer than the patience: of the two longest the shorter one is usual."""
    once = rows["pause_once_ms"].copy()
    usual = np.maximum(rows["pause_ms"], np.minimum(once, away_ms))
    rows["pause_ms"] = np.where(beyond, usual, rows["pause_ms"])
    rows["pause_once_ms"] = np.where(beyond, np.maximum(once, away_ms), once)
