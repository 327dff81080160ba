"""Causal robust scaling: raw values to units of the stream's own spread, using nothing but the past.

A channel that never falls (apart from resets) is recognised as a counter and becomes a rate per second. Location and
spread are clipped running means: expanding at first, forgetting slowly later, so that a service that runs for months
follows a world that changes.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

F = NDArray[np.float64]
Row = NDArray[np.void]

FORGET_RATE = 1.0 / 4000.0
CLIP_SPREADS = 4.0  # a single sample moves location and spread as if it lay at most so far out
SPREAD_FLOOR_SHARE = 0.002  # of the location: what is smaller is no change worth a page
SPREAD_FLOOR = 1e-9
SCALED_MAX = 100.0  # bound for the network's sake; no squashing below it
VALUE_MAX = 1e30  # a raw value beyond it counts as this much: no step or rate may overflow 32 bits
COUNTER_SAMPLES = 50  # increments seen before a channel may be called a counter
RESET_SHARE_MAX = 0.02
RISE_SHARE_MIN = 0.5


def fields(channels: int) -> list[tuple[str, str, tuple[int, ...]]]:
    """Return the row fields of the scaling of `channels` channels."""
    return [
        ("raw_last", "f8", (channels,)),  # last raw value, NaN before the first
        ("location", "f8", (channels,)),
        ("spread", "f8", (channels,)),
        ("observed", "f4", (channels,)),  # samples that location and spread rest on
        ("rises", "f4", (channels,)),
        ("falls", "f4", (channels,)),
        ("steps", "f4", (channels,)),
        ("counter", "f4", (channels,)),  # 1 where the channel is a counter
    ]


def clear(rows: Row) -> None:
    """Set the scaling of fresh rows."""
    rows["raw_last"] = np.nan


def levels(rows: Row, values: F, seconds: F) -> F:
    """Return what is scored of the raw `values` (n, D): the value itself, or a counter's rate; NaN where unknown.

    `seconds` (n,) is the event time since the stream's previous sample. Counts rises and falls, and turns a channel
    into a counter once the evidence is there, dropping the location learnt from the raw total.
    """
    values = np.clip(values, -VALUE_MAX, VALUE_MAX)
    difference = values - rows["raw_last"]  # (n, D), NaN at the first sample and where a value is missing
    known = np.isfinite(difference)
    rows["rises"] += known & (difference > 0)
    rows["falls"] += known & (difference < 0)
    rows["steps"] += known
    _recognise_counters(rows, values)
    rows["raw_last"] = np.where(np.isfinite(values), values, rows["raw_last"])
    if not rows["counter"].any():
        return values
    # across a reset the increase is not known: part of it was lost with the old total
    increase = np.where(difference < 0, np.nan, difference)
    rate = increase / np.maximum(seconds, 1e-3)[:, None]
    result: F = np.where(rows["counter"] > 0, rate, values)
    return result


def _recognise_counters(rows: Row, values: F) -> None:
    """A channel is a counter when it hardly ever falls, mostly rises, and falls only to near zero."""
    due = rows["steps"] == COUNTER_SAMPLES
    if not due.any():
        return
    monotone = (rows["falls"] <= RESET_SHARE_MAX * rows["steps"]) & (rows["rises"] >= RISE_SHARE_MIN * rows["steps"])
    found = due & monotone & (rows["counter"] == 0) & (values >= 0)
    rows["counter"] = np.where(found, 1.0, rows["counter"])
    for name in ("location", "spread", "observed"):
        rows[name] = np.where(found, 0.0, rows[name])


def scaled(rows: Row, level: F) -> F:
    """Return `level` (n, D) in spreads from the location; NaN stays NaN."""
    z: F = np.clip((level - rows["location"]) / floored(rows), -SCALED_MAX, SCALED_MAX)
    return np.where(rows["observed"] > 0, z, level * 0.0)


def floored(rows: Row) -> F:
    """Return the spread (n, D) that divides: never so small that a constant series' least step is a catastrophe."""
    floor = np.maximum(SPREAD_FLOOR_SHARE * np.abs(rows["location"]), SPREAD_FLOOR)
    result: F = np.maximum(rows["spread"], floor)
    return result


def learn(rows: Row, level: F, weight: F) -> None:
    """Let the levels (n, D) enter location and spread, each row by its `weight` (n,), 0 to 1."""
    known = np.isfinite(level) & (weight > 0)[:, None]
    if not known.any():
        return
    rows["observed"] += known
    rate = np.where(known, np.maximum(2.0 / (rows["observed"] + 1.0), FORGET_RATE) * weight[:, None], 0.0)
    value = np.where(known, level, rows["location"])
    reach = np.where(rows["observed"] < 20, np.inf, CLIP_SPREADS * 1.5 * floored(rows))
    pull = np.clip(value - rows["location"], -reach, reach)
    rows["location"] += rate * pull
    # 1.25 times the mean absolute deviation is the standard deviation of a Gaussian; the first sample deviates from
    # nothing: its whole level would count as spread, and be felt for thousands of samples
    deviation = np.where(rows["observed"] > 1, 1.25 * np.abs(pull), 0.0)
    rows["spread"] += rate * (deviation - rows["spread"])
