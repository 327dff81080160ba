"""Each stream's own linear readout of the shared hidden state, learnt in closed form from the first sample on.

Of one channel, two heads read [hidden; 1]: what the newest sample should look like, and what the next one will. Of
several channels one head reads [hidden; sample; 1] and says the next sample: an autoregression over all channels, with
the memory that it lacks. The heads correct a prior, the group's own decoder once it is trained. They learn by recursive
least squares with forgetting (Plackett 1950); errors are bounded before they teach, and the trace of the inverse
covariance is, without which a constant input would let it grow beyond all bounds. Learning needs no back-propagation,
and the shared weights never change by it.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from detectors.columns import Rows

F = NDArray[np.float64]
F4 = NDArray[np.float32]
Mask = NDArray[np.bool_]

MEMORY: Final = np.float32(0.9998)  # forgetting: about 5,000 samples are remembered
CLIP_ERRORS: Final = 4.0  # an error teaches as if it were at most so many usual ones
CLIP_LEAST: Final = 0.05  # scaled units; a stream that was constant so far may still learn
FREE_SAMPLES: Final = 100.0  # the first errors are taken as they are
USUAL_RATE: Final = 0.02
SAMPLE_MAX: Final = np.float32(8.0)  # scaled units; what is read of a sample, or one outlier would be most of the past
RESCALE_MAX: Final = 2.0  # a channel whose scale changes more ...
SHIFT_MAX: Final = 2.0  # ... or whose location does, in scaled units, is read as if for the first time
FORECAST_MAX: Final = np.float32(100.0)  # scaled units; nothing larger is ever seen
NEXT: Final = 0
NEWEST: Final = 1
CHANNELS_MAX: Final = 64  # with more, the sample itself is not read: a row would be all covariance
LEARNT_ONLY: Final = ("readout_inverse", "readout_gain", "readout_usual", "readout_samples")  # no part in what is said


def fields(hidden: int, channels: int) -> list[tuple[str, str, tuple[int, ...]]]:
    """Return the row fields of the heads of a stream of `channels` channels over `hidden` numbers."""
    width = hidden + 1 + (channels if reads_sample(channels) else 0)
    heads = 2 if channels == 1 else 1
    return [
        ("readout_inverse", "f4", (width, width)),  # of the covariance of what is read
        ("readout_weight", "f4", (width, heads, channels)),  # the heads: next, and of one channel newest
        ("readout_gain", "f4", (width,)),  # of the last sample, with which the next one's error teaches
        ("readout_usual", "f4", (heads, channels)),  # running mean of the absolute errors
        ("readout_samples", "f4", ()),
    ]


def clear(rows: Rows) -> None:
    """Let the rows' heads, if they have any, begin anew: they say what their prior says, and learn fast."""
    if not _own(rows):
        return
    rows["readout_weight"] = rows["readout_gain"] = rows["readout_usual"] = rows["readout_samples"] = 0.0
    rows["readout_inverse"] = np.eye(rows["readout_inverse"].shape[1], dtype=np.float32)


def outlives_swap(rows: Rows) -> bool:
    """Return whether the rows have heads that go on with another network: those that correct the sample itself."""
    return _own(rows) and reads_sample(rows["readout_usual"].shape[2])


def swap(rows: Rows) -> None:
    """Let the rows' heads go on with another network: what they know of its hidden state is void, and begins anew.

    Of several channels what they know of the samples stays: it corrects no network's forecast but the sample itself.
    """
    if not outlives_swap(rows):
        clear(rows)
        return
    hidden = rows["readout_gain"].shape[1] - 1 - rows["readout_usual"].shape[2]
    rows["readout_weight"][:, :hidden] = 0.0
    rows["readout_gain"][:, :hidden] = 0.0
    inverse = rows["readout_inverse"]
    inverse[:, :hidden] = inverse[:, :, :hidden] = 0.0
    inverse[:, :hidden, :hidden] = np.eye(hidden, dtype=np.float32)
    rows["readout_inverse"] = inverse


def forget_unread(rows: Rows) -> None:
    """Clear those of the rows' heads that have no part in the score of the next sample: all but the newest's."""
    if _own(rows):
        rows["readout_weight"][:, :, NEXT] = 0.0


def learn_next(rows: Rows, error: F4, learning: Mask) -> None:
    """Let the error (n, D) of the last sample's forecast teach, where `learning` (n,)."""
    _teach(rows, NEXT, rows["readout_gain"], error, learning)


def learn_newest(rows: Rows, read: F4, prior: F4, value: F4, learning: Mask) -> F4:
    """Return the error (n, D) on `value` (n, D), NaN where that is, of what was said of the newest sample.

    `read` (n, R) is what `reading` made of the sample, `prior` (n, D) what the head corrects; of several channels no
    head says anything, and the prior's error is returned. The head learns where `learning` (n,), and so does the
    inverse covariance, for both heads.
    """
    towards = (rows["readout_inverse"] @ read[:, :, None])[:, :, 0]  # (n, R)
    strength = MEMORY + np.einsum("ni,ni->n", read, towards)  # (n,)
    sound = strength >= MEMORY  # else rounding has eaten it up, and it begins anew
    gain = towards * (sound / np.where(sound, strength, 1.0))[:, None]
    error: F4 = value - prior
    weight = rows["readout_weight"]
    if weight.shape[2] > NEWEST:
        error -= np.einsum("ni,nid->nd", read, weight[:, :, NEWEST])
        _teach(rows, NEWEST, gain, error, learning)
    _narrow(rows, gain, towards, sound, learning)
    rows["readout_gain"] = gain * learning[:, None]
    rows["readout_samples"] += learning
    return error


def _narrow(rows: Rows, gain: F4, towards: F4, sound: Mask, learning: Mask) -> None:
    """Take what was read into the inverse covariance, in place: it is most of what a row holds, and of the work."""
    inverse = rows["readout_inverse"]
    still = np.flatnonzero(~learning)
    kept = inverse[still]
    # torch, because it goes over the matrices once, without a product to be stored in between
    torch.from_numpy(inverse).addcmul_(_tensor(gain)[:, :, None], _tensor(towards)[:, None, :], value=-1.0)
    trace = np.einsum("nii->n", inverse)
    grown = np.minimum(np.maximum(inverse.shape[1] / np.maximum(trace, 1e-12), 1.0), 1.0 / MEMORY)
    inverse *= grown.astype(np.float32)[:, None, None]
    if not sound.all():
        inverse[~sound] = np.eye(inverse.shape[1], dtype=np.float32)
    inverse[still] = kept
    rows["readout_inverse"] = inverse


def forecast(rows: Rows, read: F4, prior: F4) -> F4:
    """Return what is expected of the next sample (n, D), from what was `read` (n, R) of the newest one."""
    result: F4 = prior + np.einsum("ni,nid->nd", read, rows["readout_weight"][:, :, NEXT])
    np.maximum(result, -FORECAST_MAX, out=result)
    return np.minimum(result, FORECAST_MAX, out=result)


def reading(hidden: F4, sample: F4) -> F4:
    """Return what the heads read (n, R): the `hidden` state (n, H) after the `sample` (n, D), maybe that, and 1."""
    width, channels = hidden.shape[1], sample.shape[1] if reads_sample(sample.shape[1]) else 0
    read = np.ones((len(hidden), width + channels + 1), np.float32)
    read[:, :width] = hidden
    if channels:
        read[:, width:-1] = np.minimum(np.maximum(sample, -SAMPLE_MAX), SAMPLE_MAX)
    return read


def heads(rows: Rows) -> list[F4]:
    """Return the weights of the rows' heads, each (n, R, D): of the next sample, and of one channel the newest."""
    if not _own(rows):
        return []
    weight = rows["readout_weight"]  # (n, R, heads, D)
    return [weight[:, :, head] for head in range(weight.shape[2])]


def rescale(rows: Rows, ratio: F, shift: F) -> None:
    """Go over to values that are `ratio` (n, D) times the old ones plus `shift` (n, D)."""
    if not _own(rows):
        return
    rows["readout_weight"] *= ratio[:, None, None, :]
    rows["readout_usual"] *= ratio[:, None, :]
    if reads_sample(ratio.shape[1]):
        _change_reading(rows, ratio, shift)


def reads_sample(channels: int) -> bool:
    """Return whether the head of streams of so many channels reads the newest sample, which it corrects then."""
    return 1 < channels <= CHANNELS_MAX


def _change_reading(rows: Rows, ratio: F, shift: F) -> None:
    """Let the heads go on with a sample read in another scale; what changes much is read as if for the first time."""
    moderate = (np.abs(np.log(ratio)) < np.log(RESCALE_MAX)) & (np.abs(shift) < SHIFT_MAX)  # (n, D)
    width = rows["readout_gain"].shape[1]
    back = np.broadcast_to(np.eye(width), (len(rows), width, width)).copy()  # from the new reading to the old one
    along = np.arange(width - 1 - ratio.shape[1], width - 1)  # where the sample stands
    back[:, along, along] = np.where(moderate, 1.0 / ratio, 0.0)
    back[:, along, -1] = np.where(moderate, -shift / ratio, 0.0)
    turned = back.transpose(0, 2, 1)  # (n, R, R)
    rows["readout_weight"] = np.einsum("nij,njhd->nihd", turned, rows["readout_weight"])
    rows["readout_gain"] = np.einsum("nij,nj->ni", turned, rows["readout_gain"])
    inverse = turned @ rows["readout_inverse"] @ back
    inverse[:, along, along] += ~moderate
    rows["readout_inverse"] = inverse


def _tensor(array: F4) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array))


def _own(rows: Rows) -> bool:
    """Return whether the rows have heads of their own."""
    return "readout_inverse" in (rows.dtype.names or ())


def _teach(rows: Rows, head: int, gain: F4, error: F4, learning: Mask) -> None:
    weight, every_usual, samples = rows["readout_weight"], rows["readout_usual"], rows["readout_samples"]
    usual = every_usual[:, head]  # (n, D)
    free = (samples < FREE_SAMPLES)[:, None]
    is_known = np.isfinite(error)
    known = np.where(is_known, error, np.float32(0.0))
    bound = np.where(free, np.inf, CLIP_ERRORS * usual + CLIP_LEAST)
    bounded = np.minimum(np.maximum(known, -bound), bound)
    taught = (bounded * learning[:, None]).astype(np.float32)
    weight[:, :, head] += gain[:, :, None] * taught[:, None, :]
    rate = np.where(free, 1.0 / (samples + 1.0)[:, None], USUAL_RATE) * learning[:, None]
    usual += rate * is_known * (np.abs(bounded) - usual)
    rows["readout_weight"], rows["readout_usual"] = weight, every_usual
