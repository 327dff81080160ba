"""Error channels: the different ways in which a sample can fail to be what its stream used to be.

The network gives three (the newest sample's reconstruction, the whole window's, the forecast); plain arithmetic gives
four more, which also answer while no model exists: the distance from the long-run level, from a local average, a
change of the usual step size, and a value that repeats itself more often than it used to.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from detectors import scaling

F = NDArray[np.float64]
Row = NDArray[np.void]

NAMES: Final = ("newest", "window", "forecast", "level", "local", "spread", "repeat")
FAMILIES: Final = {"model": slice(0, 3), "baseline": slice(3, 5), "spread": slice(5, 7)}
PER_CHANNEL: Final = 5  # the first five are errors of single channels, in scaled units
ALPHAS: Final = np.array([1.0, 0.22, 0.06, 0.02])  # time scales of the smoothing: about 1, 8, 32 and 100 samples
SCALES: Final = len(ALPHAS)
UNITS: Final = len(NAMES) * SCALES

LOCAL_ALPHA: Final = 0.1
STEP_ALPHA: Final = 1.0 / 24.0
REPEATS_FREE: Final = 3.0  # so many repetitions in a row are a coincidence
STEP_NONE: Final = 1e-6  # scaled units; a smaller step is a repetition
STEP_FLOOR: Final = 0.005  # scaled units; below it a step counts as none
SCALE_RATE_MIN: Final = 1.0 / 8000.0
SCALE_FLOOR: Final = 0.005
SQUARE_MAX: Final = 1e4


def fields(channels: int) -> list[tuple[str, str, tuple[int, ...]]]:
    """Return the row fields of the error channels of a stream of `channels` channels."""
    return [
        ("error_mean", "f4", (PER_CHANNEL, channels)),
        ("error_variance", "f4", (PER_CHANNEL, channels)),
        ("smooth", "f4", (UNITS,)),
        ("local", "f4", (channels,)),  # short exponential average of the scaled value
        ("step_now", "f4", (channels,)),  # recent and usual size of a step, in units of the value itself
        ("step_usual", "f4", (channels,)),
        ("repeats", "f4", (channels,)),  # how often in a row the value has not changed, now and usually
        ("repeats_usual", "f4", (channels,)),
    ]


def per_channel(rows: Row, z: F, predicted: F, reconstruction: F | None) -> F:
    """Return the errors (n, PER_CHANNEL, D) of the scaled sample `z` (n, D); NaN where the channel is missing.

    `predicted` (n, D) is what the network expected before it saw the sample, `reconstruction` (n, W, D) what it makes
    of the window that ends with it, newest first; None without a network.
    """
    errors = np.zeros((len(rows), PER_CHANNEL, z.shape[1]))
    if reconstruction is not None:
        apart = np.abs(reconstruction - rows["window"])  # (n, W, D)
        errors[:, 0] = apart[:, 0]
        errors[:, 1] = apart.mean(axis=1)
        errors[:, 2] = np.abs(z - predicted)
    errors[:, 3] = np.abs(z)
    errors[:, 4] = np.abs(z - rows["local"])
    result: F = np.where(np.isfinite(z)[:, None, :], errors, np.nan)
    return result


def squares(rows: Row, errors: F) -> F:
    """Return the squared errors (n, PER_CHANNEL, D), standardised by their own mean and deviation; 0 where missing.

    A deviation counts at least a tenth of the median over the channels: a channel that is never wrong must not shout.
    """
    deviation = np.sqrt(rows["error_variance"].astype(np.float64))
    usual = np.median(deviation, axis=2, keepdims=True)
    standard = (errors - rows["error_mean"]) / np.maximum(deviation, np.maximum(0.1 * usual, SCALE_FLOOR))
    square: F = np.nan_to_num(np.minimum(standard * standard, SQUARE_MAX))
    return square


def combined(rows: Row, square: F, present: F) -> F:
    """Return one error for each name (n, K): the root of the mean square over the channels that are present."""
    count = np.maximum(present.sum(axis=1), 1.0)[:, None]
    error = np.sqrt(square.sum(axis=2) / count)  # (n, PER_CHANNEL)
    least = STEP_FLOOR * scaling.floored(rows)
    change = np.abs(np.log((rows["step_now"] + least) / (rows["step_usual"] + least)))  # (n, D)
    run = np.maximum(rows["repeats"] - REPEATS_FREE, 0.0)
    stuck = np.log((1.0 + run) / (1.0 + rows["repeats_usual"]))  # (n, D)
    return np.concatenate([error, change.max(axis=1)[:, None], np.maximum(stuck.max(axis=1), 0.0)[:, None]], axis=1)


def smoothed(rows: Row, error: F) -> F:
    """Move the exponential averages of the errors (n, K) at every time scale and return them, (n, K * SCALES)."""
    wide = np.repeat(error, SCALES, axis=1)  # (n, K * SCALES)
    rows["smooth"] += np.tile(ALPHAS, len(NAMES)) * (wide - rows["smooth"])
    result: F = rows["smooth"].astype(np.float64)
    return result


def margin(rows: Row, error: int) -> F:
    """Return how far off (n, D) the value usually is at most: mean plus three deviations of the named error."""
    deviation = np.sqrt(rows["error_variance"][:, error].astype(np.float64))
    result: F = np.maximum(rows["error_mean"][:, error] + 3.0 * deviation, SCALE_FLOOR)
    return result


def follow(rows: Row, z: F, difference: F) -> None:
    """Move the local average and the recent step size; they follow whatever comes, also under an alert."""
    rows["local"] += np.nan_to_num(LOCAL_ALPHA * (z - rows["local"]))
    step = np.abs(difference) * scaling.floored(rows)
    rows["step_now"] += np.nan_to_num(STEP_ALPHA * (step - rows["step_now"]))
    same = np.abs(difference) < STEP_NONE
    rows["repeats"] = np.where(np.isfinite(difference), np.where(same, rows["repeats"] + 1.0, 0.0), rows["repeats"])


def learn(rows: Row, errors: F, difference: F, seen: F, weight: F) -> None:
    """Let the errors (n, PER_CHANNEL, D) and steps (n, D) enter their running means by `weight` (n,).

    `seen` (n, PER_CHANNEL) counts each error's samples before this one.
    """
    rate = np.maximum(2.0 / (seen + 2.0), SCALE_RATE_MIN) * weight[:, None]  # (n, PER_CHANNEL)
    mean, variance = rows["error_mean"], rows["error_variance"]
    pull = errors - mean
    # a single wild error must not move the statistics: its pull is bounded once they are known
    bound = np.where(seen[:, :, None] < 30, np.inf, 6.0 * np.sqrt(variance) + 5.0 * SCALE_FLOOR)
    pull = np.nan_to_num(np.clip(pull, -bound, bound))
    each = rate[:, :, None] * np.isfinite(errors)
    mean += each * pull
    variance += each * ((1.0 - each) * pull * pull - variance)
    spread = scaling.floored(rows)
    step = np.minimum(np.abs(difference) * spread, 8.0 * np.maximum(rows["step_usual"], 10 * STEP_FLOOR * spread))
    rows["step_usual"] += np.nan_to_num(rate[:, -1:] * (step - rows["step_usual"]))
    rows["repeats_usual"] += rate[:, -1:] * (rows["repeats"] - rows["repeats_usual"])
