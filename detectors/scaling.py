"""Causal scaling: raw values to units of the stream's own spread, using nothing but the past.

A channel that never falls (apart from resets) is recognised as a counter and becomes a rate per second. Mean and
deviation are followed all the time, but taken over as location and spread only now and then: at the powers of two of
the samples seen, later every few thousand. Between these a level that moves is seen to move, instead of being followed.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from detectors import epochs
from detectors.columns import Rows

F = NDArray[np.float64]
Mask = NDArray[np.bool_]

MOMENT_RATE_MIN = 1.0 / 8192.0  # forgetting: the moments remember about so many samples
CLIP_SPREADS = 10.0  # a single sample moves the moments as if it lay at most so far out
CLIP_FROM_SAMPLES = 20
EPOCH_SAMPLES_MAX = 4096  # location and spread are renewed at the powers of two, later every so many samples
FIRST_SPREAD_SHARE = 0.1  # of the location, while there are too few samples to tell
SPREAD_FLOOR_SHARE = 0.002  # of the location: what is smaller is no change worth a page
SPREAD_FLOOR = 1e-9
SCALED_MAX = 100.0  # bound for the network's sake; no squashing below it
ELAPSED_MAX = 1e9  # seconds
VALUE_MAX = 1e30  # a raw value beyond it counts as this much: no step or rate may overflow 32 bits
COUNTER_SAMPLES = 50  # increments seen before a channel may be called a counter
RESET_SHARE_MAX = 0.02
RESETS_FREE = 3.0  # so many more falls are forgiven to a channel that was taken for a counter
RISE_SHARE_MIN = 0.5

UNKNOWN = 0.0  # the row field `counter`: what a channel is, as far as it is known
RECOGNISED = 1.0  # a total by all that was seen, which becomes a rate until it proves to be none
COUNTER = 3.0  # told to be a total, whatever it looks like
DELTA = 2.0  # what was added since the last sample: it becomes a rate, too
GAUGE = -1.0  # told to be a level, whatever it looks like


def fields(channels: int) -> list[tuple[str, str, tuple[int, ...]]]:
    """Return the row fields of the scaling of `channels` channels."""
    return [
        ("raw_last", "f8", (channels,)),  # last raw value, NaN before the first
        *([("raw_seconds", "f4", (channels,))] if channels > 1 else []),  # by which it was older than the last sample
        ("location", "f8", (channels,)),  # in use, with the spread, since they were last renewed
        ("spread", "f8", (channels,)),
        ("mean", "f8", (channels,)),  # of all samples, the latest weighing a little more
        ("variance", "f8", (channels,)),
        ("observed", "f4", (channels,)),  # samples that mean and variance rest on
        ("rises", "f4", (channels,)),
        ("falls", "f4", (channels,)),
        ("steps", "f4", (channels,)),
        ("counter", "f4", (channels,)),  # one of the five above
        *([("scale_held", "f4", ())] if channels > 1 else []),  # location and spread stay until the next model
    ]


def clear(rows: Rows) -> None:
    """Set the scaling of fresh rows."""
    rows["raw_last"] = np.nan


def levels(rows: Rows, values: F, seconds: F) -> F:
    """Return what is scored of the raw `values` (n, D): the value itself, or a rate per second; NaN where unknown.

    `seconds` (n,) is the event time since the stream's previous sample. Counts rises and falls, and turns a channel
    into a counter once the evidence is there, unless it is told what it is, dropping the location learnt from the
    raw total.
    """
    values = np.minimum(np.maximum(values, -VALUE_MAX), VALUE_MAX)
    difference = values - rows["raw_last"]  # (n, D), NaN at the first sample and where a value is missing
    known = np.isfinite(difference)
    rows["rises"] += difference > 0
    rows["falls"] += difference < 0
    rows["steps"] += known
    _recognise_counters(rows, values)
    elapsed = _elapsed(rows, seconds)
    rows["raw_last"] = np.where(np.isfinite(values), values, rows["raw_last"])
    if values.shape[1] > 1:
        waited = np.minimum(rows["raw_seconds"] + seconds[:, None], ELAPSED_MAX)
        rows["raw_seconds"] = np.where(np.isfinite(values), 0.0, waited)
    if not (rows["counter"] > 0).any():
        return values
    # across a reset the increase is not known: part of it was lost with the old total
    increase = np.where(difference < 0, np.nan, difference)
    increase = np.where((rows["counter"] == DELTA) & known, values, increase)
    rate = increase / elapsed
    result: F = np.where(rows["counter"] > 0, rate, values)
    return result


def values_of(rows: Rows, level: F, seconds: F) -> F:
    """Return the raw values (n, D) that would be scored as `level` (n, D), `seconds` (n,) after the previous sample."""
    increase = np.maximum(level, 0.0) * _elapsed(rows, seconds)
    before = np.where(rows["counter"] == DELTA, 0.0, rows["raw_last"])
    result: F = np.where(rows["counter"] > 0, before + increase, level)
    return result


def _elapsed(rows: Rows, seconds: F) -> F:
    """Return the time (n, D) in which each channel's total has grown: it may have been missing in samples since then.

    What was added is told by the producer for its own last interval, however many of its samples were missed before.
    """
    since = np.maximum(seconds, 1e-3)[:, None]
    if rows["raw_last"].shape[1] == 1:
        return since
    return np.where(rows["counter"] == DELTA, since, since + rows["raw_seconds"])


def _recognise_counters(rows: Rows, values: F) -> None:
    """A channel is a counter when it hardly ever falls and mostly rises; one that falls too often after all is none."""
    steps = rows["steps"]
    judged, recognised = steps == COUNTER_SAMPLES, rows["counter"] == RECOGNISED
    if not (judged.any() or recognised.any()):
        return
    falls_max = RESET_SHARE_MAX * steps
    monotone = (rows["falls"] <= falls_max) & (rows["rises"] >= RISE_SHARE_MIN * steps) & (values >= 0)
    found = judged & monotone & (rows["counter"] == UNKNOWN)
    wrong = recognised & (rows["falls"] > falls_max + RESETS_FREE)
    if not (found | wrong).any():
        return
    rows["counter"] = np.where(wrong, UNKNOWN, np.where(found, RECOGNISED, rows["counter"]))
    for name in ("location", "spread", "mean", "variance", "observed"):
        rows[name] = np.where(found | wrong, 0.0, rows[name])


def scaled(rows: Rows, level: F) -> F:
    """Return `level` (n, D) in spreads from the location; NaN stays NaN."""
    z: F = (level - rows["location"]) / floored(rows)
    np.minimum(np.maximum(z, -SCALED_MAX, out=z), SCALED_MAX, out=z)
    return np.where(rows["observed"] > 0, z, level * 0.0)


def floored(rows: Rows) -> F:
    """Return the spread (n, D) that divides: never so small that a constant series' least step is a catastrophe."""
    result: F = np.maximum(rows["spread"], _least_spread(rows["location"]))
    return result


def learn(rows: Rows, level: F, learning: Mask) -> Mask:
    """Let the levels (n, D) enter mean and variance where `learning` (n,); return where (n, D) an epoch ends.

    There `renewed` has another location and spread to give, and whoever keeps scaled values must go over to them.
    """
    known = np.isfinite(level) & learning[:, None]
    rows["observed"] += known
    observed, mean, variance = rows["observed"], rows["mean"], rows["variance"]
    rate = np.where(known, np.maximum(1.0 / np.maximum(observed, 1.0), MOMENT_RATE_MIN), 0.0)
    reach = CLIP_SPREADS * np.maximum(np.sqrt(variance), _least_spread(mean))
    pull = np.where(known, level - mean, 0.0)
    pull = np.where(observed < CLIP_FROM_SAMPLES, pull, np.minimum(np.maximum(pull, -reach), reach))
    mean += rate * pull
    variance += rate * ((1.0 - rate) * pull * pull - variance)
    rows["mean"], rows["variance"] = mean, variance
    due = known & epochs.ends(observed, EPOCH_SAMPLES_MAX)
    return due & (rows["scale_held"] == 0)[:, None] if can_hold(rows) else due


def can_hold(rows: Rows) -> bool:
    """Return whether these rows' scale may be held: that of several channels, which a linear model reads together."""
    return "scale_held" in (rows.dtype.names or ())


def renewed(rows: Rows, due: Mask) -> tuple[F, F]:
    """Return location and spread (n, D) as they are from now on: renewed where `due` (n, D), else those in use."""
    few = rows["observed"] < 4
    spread = np.sqrt(rows["variance"])
    spread = np.where(few, np.maximum(spread, FIRST_SPREAD_SHARE * np.abs(rows["mean"])), spread)
    return np.where(due, rows["mean"], rows["location"]), np.where(due, spread, rows["spread"])


def _least_spread(location: F) -> F:
    return np.maximum(SPREAD_FLOOR_SHARE * np.abs(location), SPREAD_FLOOR)


def any_present(values: F) -> NDArray[np.bool_]:
    """Return which samples (n,) have a value at all."""
    found: NDArray[np.bool_] = np.isfinite(values[:, 0])
    for channel in range(1, values.shape[1]):
        found |= np.isfinite(values[:, channel])
    return found
