"""Errors: the different ways in which a sample can fail to be what its stream used to be.

The network gives two (what it makes of the newest sample, what it expected of it); plain arithmetic gives three more,
which also answer while no model exists: the distance from the usual level, a change of the usual step size, and a
value that repeats itself more often than it used to.

Of one channel, the network's error and the distance from the level are judged apart, each by its own past. Of several,
there are two forecasts, one of the network and one that is linear and stands still; their errors, taken together, and
the distance are mean squares in units of their usual ones, and the larger is judged as one error: judged apart, the one
with the lighter tail would be believed as often as the other.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray

from detectors import scaling
from detectors.columns import Rows

F = NDArray[np.float64]
Mask = NDArray[np.bool_]
Recent = Mapping[str, NDArray[np.float32]]

NAMES: Final = ("model", "level", "spread", "repeat")
SQUARED: Final = 2  # the first so many are sums of squares when there is more than one channel
HEADS: Final = 3  # of the network: the newest sample, the forecast, and of several channels the linear forecast
AHEAD: Final = 1
LINEAR: Final = 2
LEVEL_SHARE: Final = 1.0 / 3.0  # of several channels: being far from the level is less news than coming unexpected
LINEAR_SAMPLES: Final = 4096  # of a trained model, after which the linear forecast's usual squares stand still
LINEAR_SHARE: Final = 2.0 / 3.0  # of the linear forecast in what both forecasts make of a sample ...
UNHELD_SHARE: Final = 0.5  # ... and while it only repeats the last one, or its stream's scale still moves
LINEAR_RANGE: Final = 4.0  # a stream's own usual squares are believed within so many times those of the training
LINEAR_RATE_MIN: Final = 1.0 / 8192.0  # of those before any training
ALPHAS: Final = np.array([1.0, 0.22, 0.06, 0.03])  # time scales of the smoothing ...
SPANS: Final = (1, 8, 32, 64)  # ... in about so many samples
SCALES: Final = len(ALPHAS)
UNITS: Final = len(NAMES) * SCALES
_RATES: Final = np.tile(np.where(ALPHAS < 1.0, 2.0 * ALPHAS, 1.0), len(NAMES))  # of each average of the two

LOCAL_ALPHA: Final = 0.1
STEP_ALPHA: Final = 1.0 / 24.0
REPEATS_FREE: Final = 3.0  # so many repetitions in a row are a coincidence
STEP_NONE: Final = 1e-6  # scaled units; a smaller step is a repetition
STEP_FLOOR: Final = 0.005  # scaled units; below it a step counts as none
USUAL_RATE_MIN: Final = 1.0 / 8000.0

MEASURED_SAMPLES: Final = 10  # of a network, before its errors are measured by their usual squares
SQUARE_RATE_MIN: Final = 1.0 / 32768.0
SQUARE_FLOOR: Final = 1e-3  # scaled units, squared; an error that never was is no reason to shout later
SQUARE_SHARE_MIN: Final = 0.01  # of the median over the channels
SQUARE_MAX: Final = 1e4
COVARIANCE_RATE_MIN: Final = 1.0 / 32768.0
RIDGE: Final = 0.05  # of the mean variance
JOINT_CHANNELS_MAX: Final = 64  # with more, channels count as independent: a row would be all covariance


def fields(channels: int) -> list[tuple[str, str, tuple[int, ...]]]:
    """Return the row fields of the errors of a stream of `channels` channels."""
    return [
        ("error_square", "f4", (channels,)),  # usual square of the forecast's errors
        *(_of_linear(channels) if channels > 1 else []),
        *([("covariance", "f4", (channels, channels))] if _is_joint(channels) else []),
        ("smooth", "f4", (2, UNITS)),  # two exponential averages in a row, at each time scale
        ("local", "f4", (channels,)),  # short exponential average of the scaled value
        ("step_now", "f4", (channels,)),  # recent and usual size of a step, in units of the value itself
        ("step_usual", "f4", (channels,)),
        ("repeats", "f4", (channels,)),  # how often in a row the value has not changed, now and usually
        ("repeats_usual", "f4", (channels,)),
    ]


def _of_linear(channels: int) -> list[tuple[str, str, tuple[int, ...]]]:
    return [
        ("error_samples", "f4", ()),  # that the usual squares rest on
        ("linear_square", "f4", (channels,)),  # the same of the linear forecast
        ("linear_samples", "f4", ()),
        ("linear_share", "f4", (channels,)),  # of the squares of steps that the linear forecast left in its training
    ]


def recent(rows: Rows, where: Mask) -> Recent:
    """Return copies of what the rows `where` (n,) remember of their latest errors and steps, for `put_back`."""
    return {name: rows[name][where] for name in ("smooth", "step_now")}


def put_back(rows: Rows, where: Mask, before: Recent) -> None:
    """Let the rows `where` (n,) have the same latest errors and steps as `before`: those since then are passed over."""
    for name, values in before.items():
        column = rows[name]
        column[where] = values
        rows[name] = column


def of_network(channels: int) -> slice:
    """Return which of the UNITS judge the network alone, and so mean nothing to another network."""
    return slice(0, SCALES if channels == 1 else 0)


def clear(rows: Rows) -> None:
    """Set what does not begin at 0 in fresh rows."""
    if _has_linear(rows):
        rows["linear_share"] = 1.0  # an untrained linear forecast repeats the last sample: its errors are the steps
    if _is_joint(rows["local"].shape[1]):
        rows["covariance"] = np.eye(rows["covariance"].shape[1], dtype=np.float32)


def model_parts(rows: Rows, errors: F) -> tuple[F, Mask]:
    """Return each channel's part (n, D) in the network's error, from `errors` (n, HEADS, D), NaN where missing.

    One channel's errors count as they are, in the mean, or the forecast's alone where nothing else was told. Of
    several, those of the forecasts are squared and measured by their usual squares, or the loudest would be all that is
    heard; what was said of the newest sample tells nothing more. The weighted geometric mean of both forecasts' errors
    is what counts: one that both see counts for more than one that a single forecast makes by itself. Returned, too, is
    where (n,) the linear one's is the larger.
    """
    if errors.shape[2] == 1:
        size = known(np.abs(errors))
        single: F = (size[:, 0] + size[:, AHEAD]) / np.where(np.isnan(errors[:, 0]), 1.0, 2.0)
        return single, np.zeros(len(single), dtype=bool)
    ahead = _in_usual_squares(rows["error_square"], errors[:, AHEAD])
    linear = _in_usual_squares(rows["linear_square"], errors[:, LINEAR])
    of_ahead, of_linear = ahead.sum(axis=1), linear.sum(axis=1)  # (n,)
    weight = np.where(rows["scale_held"] > 0, LINEAR_SHARE, UNHELD_SHARE)  # (n,)
    both = of_linear**weight * of_ahead ** (1.0 - weight)
    shares = (weight / np.maximum(of_linear, 1e-12))[:, None] * linear  # (n, D)
    shares += ((1.0 - weight) / np.maximum(of_ahead, 1e-12))[:, None] * ahead
    whole = _is_whole(errors)
    larger: Mask = of_linear > of_ahead
    return np.where(whole[:, None], both[:, None] * shares, ahead), larger & whole


def _is_whole(errors: F) -> Mask:
    """Return where (n,) the linear forecast counts: it has read no channel that was missing, which is only guessed.

    Nor is there any where the channels are too many, or without a network.
    """
    result: Mask = np.all(np.isfinite(errors[:, LINEAR]), axis=1)
    return result


def _in_usual_squares(usual: NDArray[np.float32], error: F) -> F:
    """Return the squares of errors (n, D), each in units of its `usual` one (n, D)."""
    square = usual.astype(np.float64)
    least = np.maximum(SQUARE_SHARE_MIN * np.median(square, axis=1, keepdims=True), SQUARE_FLOOR)
    return np.minimum(known(error**2 / np.maximum(square, least)), SQUARE_MAX)


def level_parts(rows: Rows, z: F) -> F:
    """Return each channel's part (n, D) in the distance of the scaled sample `z` (n, D) from the usual level.

    Of several channels it is a share of Hotelling's T-squared: what moves together usually may do so.
    """
    there = known(z)
    if z.shape[1] == 1:
        return np.abs(there, out=there)
    if not _is_joint(z.shape[1]):
        return LEVEL_SHARE * there**2
    covariance = rows["covariance"].astype(np.float64)
    mean = np.trace(covariance, axis1=1, axis2=2) / z.shape[1]
    ridge = np.maximum(RIDGE * mean, SQUARE_FLOOR)[:, None, None] * np.eye(z.shape[1])
    covariance += ridge
    result: F = np.maximum(there * np.linalg.solve(covariance, there[..., None])[..., 0], 0.0)
    return LEVEL_SHARE * result


def combined(rows: Rows, model: F, level: F, present: Mask) -> F:
    """Return one error for each name (n, K), from the channels' parts and the row's steps and repetitions."""
    least = STEP_FLOOR * scaling.floored(rows)
    change = np.abs(np.log((rows["step_now"] + least) / (rows["step_usual"] + least)))  # (n, D)
    run = np.maximum(rows["repeats"] - REPEATS_FREE, 0.0)
    stuck = np.log((1.0 + run) / (1.0 + rows["repeats_usual"]))  # (n, D)
    result = np.empty((len(rows), len(NAMES)))
    if model.shape[1] == 1:
        result[:, :1], result[:, 1:2], result[:, 2:3], result[:, 3:] = model, level, change, np.maximum(stuck, 0.0)
        return result
    count = np.maximum(present.sum(axis=1), 1)
    result[:, 0] = np.maximum(model.sum(axis=1), level.sum(axis=1)) / count
    result[:, 1] = 0.0
    result[:, 2], result[:, 3] = change.max(axis=1), np.maximum(stuck.max(axis=1), 0.0)
    return result


def smoothed(rows: Rows, error: F, seen: F) -> F:
    """Move the averages of the errors (n, K) at every time scale and return them as `averages` does.

    Two exponential averages in a row come near the plain mean of the last few samples, without keeping them. They begin
    as the mean of the samples `seen` (n,) so far: from nothing they would climb, and look like an error that grows.
    """
    rate = np.maximum(_RATES, 1.0 / (seen[:, None].astype(np.float64) + 1.0)).astype(np.float32)  # (n, UNITS)
    smooth = rows["smooth"]
    first, second = smooth[:, 0], smooth[:, 1]
    moved = np.repeat(error.astype(np.float32), SCALES, axis=1)
    moved -= first
    moved *= rate
    first += moved
    np.subtract(first, second, out=moved)
    moved *= rate
    second += moved
    rows["smooth"] = smooth
    return averages(rows)


def averages(rows: Rows) -> F:
    """Return the errors' averages at every time scale (n, UNITS), in the scaled units in which the tails count them."""
    result = rows["smooth"][:, 1].astype(np.float64)
    if rows["local"].shape[1] > 1:
        squares = slice(0, SQUARED * SCALES)
        result[:, squares] = np.sqrt(result[:, squares])
    return result


def squares(rows: Rows) -> tuple[str, ...]:
    """Return the names of the fields with the usual squares of the forecasts' errors."""
    return ("error_square", "linear_square", "linear_share") if _has_linear(rows) else ("error_square",)


def forget_network(rows: Rows) -> None:
    """Forget how large the errors of the rows' network used to be."""
    rows["error_square"] = 0.0
    if _has_linear(rows):
        rows["error_samples"] = 0.0


def begin_squares(rows: Rows, found: Mapping[str, NDArray[np.float32]], untold: Mask, weight: float) -> None:
    """Let rows (n,) that got another network go by the usual squares `found` in training, which weigh so many samples.

    Those of several channels that are not `untold` (n,) keep what they know of the network's own errors.
    """
    if not _has_linear(rows):
        rows["error_square"] = found["error_square"]
        return
    rows["error_square"][untold] = found["error_square"]
    rows["error_samples"][untold] = weight
    before = np.where(rows["linear_share"] > 0.0, rows["linear_share"], 1.0)
    own = rows["linear_square"] * found["linear_share"] / before
    least, most = found["linear_square"] / LINEAR_RANGE, found["linear_square"] * LINEAR_RANGE
    rows["linear_square"] = np.clip(own, least, most)
    rows["linear_share"] = found["linear_share"]


def _has_linear(rows: Rows) -> bool:
    return "linear_square" in (rows.dtype.names or ())


def margin(rows: Rows, *, trained: bool, of_linear: Mask | None = None) -> F:
    """Return how far off (n, D) the expectation usually is at most: three times its usual error.

    The expectation is the network's, or the linear one where `of_linear` (n,) says so.
    """
    if not trained:
        return np.full(rows["local"].shape, 3.0)
    square = rows["error_square"].astype(np.float64)
    if of_linear is not None and of_linear.any():
        square = np.where(of_linear[:, None], rows["linear_square"], square)
    result: F = np.maximum(3.0 * np.sqrt(square), 3.0 * STEP_FLOOR)
    return result


def follow(rows: Rows, z: F, difference: F) -> None:
    """Move the local average and the recent step size; they follow whatever comes, also under an alert."""
    there, size = np.isfinite(z), np.abs(difference)
    rows["local"] += np.where(there, LOCAL_ALPHA * (z - rows["local"]), 0.0)
    step = size * scaling.floored(rows)
    there = np.isfinite(difference)
    rows["step_now"] += np.where(there, STEP_ALPHA * (step - rows["step_now"]), 0.0)
    repeats = rows["repeats"]
    rows["repeats"] = np.where(there, np.where(size < STEP_NONE, repeats + 1.0, 0.0), repeats)


def learn_model(rows: Rows, errors: F, seen: F, learning: Mask) -> None:
    """Let the network's errors (n, HEADS, D) enter their usual squares; `seen` (n,) counts those before.

    The first few, of a state without a past, are forgotten at once.
    """
    if errors.shape[2] > 1:
        seen = rows["error_samples"].astype(np.float64)
        rows["error_samples"] += 1
        before = rows["linear_samples"].astype(np.float64)
        least = np.where(rows["scale_held"] == 0, LINEAR_RATE_MIN, 0.0)
        slow = np.maximum(np.where(before < LINEAR_SAMPLES, 1.0 / (before + 1.0), 0.0), least)
        slow *= learning & _is_whole(errors)
        rows["linear_square"] += known(slow[:, None] * (errors[:, LINEAR] ** 2 - rows["linear_square"]))
        rows["linear_samples"] += 1
    rate = np.maximum(2.0 / (np.maximum(seen - MEASURED_SAMPLES, 0.0) + 2.0), SQUARE_RATE_MIN) * learning
    rows["error_square"] += known(rate[:, None] * (errors[:, AHEAD] ** 2 - rows["error_square"]))


def learn(rows: Rows, z: F, difference: F, seen: F, learning: Mask) -> None:
    """Let the sample `z` and its steps (n, D) enter what is usual, where `learning` (n,); `seen` (n,) counts before."""
    rate = (np.maximum(2.0 / (seen + 2.0), USUAL_RATE_MIN) * learning)[:, None]
    spread, usual = scaling.floored(rows), rows["step_usual"]
    step = np.minimum(np.abs(difference) * spread, 8.0 * np.maximum(usual, 10 * STEP_FLOOR * spread))
    rows["step_usual"] += known(rate * (step - usual))
    rows["repeats_usual"] += rate * (rows["repeats"] - rows["repeats_usual"])
    if _is_joint(z.shape[1]):
        there = known(z)
        slow = np.maximum(1.0 / (seen + 2.0), COVARIANCE_RATE_MIN) * learning
        rows["covariance"] += slow[:, None, None] * (there[:, :, None] * there[:, None, :] - rows["covariance"])


def rescale(rows: Rows, ratio: F, shift: F) -> None:
    """Go over to values that are `ratio` (n, D) times the old ones plus `shift` (n, D).

    The covariance stays: it is that of samples each measured by the spread of its time.
    """
    rows["local"] = rows["local"] * ratio + shift
    rows["error_square"] *= ratio**2
    if ratio.shape[1] > 1:
        rows["linear_square"] *= ratio**2


def known(values: F) -> F:
    """Return `values`, 0 where they are NaN."""
    result: F = np.where(np.isnan(values), 0.0, values)
    return result


def _is_joint(channels: int) -> bool:
    return 1 < channels <= JOINT_CHANNELS_MAX
