"""Error channels: the different ways in which a sample can fail to be what its stream used to be.

The network gives three (the newest sample's reconstruction, the whole window's, the forecast); plain arithmetic gives
three more, which also answer while no model exists: the distance from the long-run level, from a local average, and
a change of the usual step size (a frozen value has none).
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

F = NDArray[np.float64]
Row = NDArray[np.void]

NAMES: Final = ("newest", "window", "forecast", "level", "local", "spread")
FAMILIES: Final = {"model": slice(0, 3), "baseline": slice(3, 5), "spread": slice(5, 6)}
PER_CHANNEL: Final = 5  # the first five are errors of single channels, in scaled units
ALPHAS: Final = np.array([1.0, 0.22, 0.06, 0.02])  # time scales of the smoothing: about 1, 8, 32 and 100 samples
SCALES: Final = len(ALPHAS)
UNITS: Final = len(NAMES) * SCALES

LOCAL_ALPHA: Final = 0.1
STEP_ALPHA: Final = 1.0 / 24.0
STEP_FLOOR: Final = 0.02  # scaled units; below it a step counts as none
SCALE_RATE_MIN: Final = 1.0 / 2000.0
SCALE_FLOOR: Final = 0.02
SQUARE_MAX: Final = 1e4


def fields(channels: int) -> list[tuple[str, str, tuple[int, ...]]]:
    """Return the row fields of the error channels of a stream of `channels` channels."""
    return [
        ("error_scale", "f4", (PER_CHANNEL, channels)),  # running mean of each error
        ("smooth", "f4", (UNITS,)),
        ("local", "f4", (channels,)),  # short exponential average of the scaled value
        ("step_now", "f4", (channels,)),  # recent and usual size of a step
        ("step_usual", "f4", (channels,)),
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
    """Return the squared errors in units of each one's own running mean, bounded; 0 where missing."""
    ratio = errors / np.maximum(rows["error_scale"], SCALE_FLOOR)
    square: F = np.nan_to_num(np.minimum(ratio * ratio, SQUARE_MAX))  # (n, PER_CHANNEL, D)
    return square


def combined(rows: Row, square: F, present: F) -> F:
    """Return one error for each name (n, K): the root of the mean square over the channels that are present."""
    count = np.maximum(present.sum(axis=1), 1.0)[:, None]
    error = np.sqrt(square.sum(axis=2) / count)  # (n, PER_CHANNEL)
    change = np.abs(np.log((rows["step_now"] + STEP_FLOOR) / (rows["step_usual"] + STEP_FLOOR)))  # (n, D)
    return np.concatenate([error, change.max(axis=1)[:, None]], axis=1)


def smoothed(rows: Row, error: F) -> F:
    """Move the exponential averages of the errors (n, K) at every time scale and return them, (n, K * SCALES)."""
    wide = np.repeat(error, SCALES, axis=1)  # (n, K * SCALES)
    rows["smooth"] += np.tile(ALPHAS, len(NAMES)) * (wide - rows["smooth"])
    result: F = rows["smooth"].astype(np.float64)
    return result


def follow(rows: Row, z: F, difference: F) -> None:
    """Move the local average and the recent step size; they follow whatever comes, also under an alert."""
    rows["local"] += np.nan_to_num(LOCAL_ALPHA * (z - rows["local"]))
    rows["step_now"] += np.nan_to_num(STEP_ALPHA * (np.abs(difference) - rows["step_now"]))


def learn(rows: Row, errors: F, difference: F, seen: F, mask: NDArray[np.bool_]) -> None:
    """Let the errors (n, PER_CHANNEL, D) and steps (n, D) of the rows in `mask` enter their running means.

    `seen` (n, PER_CHANNEL) counts each error's samples before this one.
    """
    rate = np.maximum(1.0 / (seen + 1.0), SCALE_RATE_MIN) * mask[:, None]  # (n, PER_CHANNEL)
    bounded = np.minimum(errors, 8.0 * np.maximum(rows["error_scale"], 10 * SCALE_FLOOR))
    rows["error_scale"] += np.nan_to_num(rate[:, :, None] * (bounded - rows["error_scale"]))
    step = np.minimum(np.abs(difference), 8.0 * np.maximum(rows["step_usual"], 10 * STEP_FLOOR))
    rows["step_usual"] += np.nan_to_num(rate[:, -1:] * (step - rows["step_usual"]))
