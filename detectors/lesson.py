"""One lesson for many streams at once: how wrong their networks were on the samples they have kept, and the gradient.

Truncated back-propagation through time with the state that was carried into the first sample, written out for weights
that differ from stream to stream: each product is one batched call, each step in time one for all streams. The loss is
that of training (`objective.py`): Huber on the forecast and on the window, each the mean over what counts.

Shapes: n streams, T samples, F inputs, H memory cells, D channels, W window, K horizon, Q told positions, P weights.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from detectors.objective import DECODED_SHARE
from detectors.own_weights import CELL, Bases, split, with_one
from detectors.readout import NEWEST, NEXT, SAMPLE_MAX
from detectors.settings import ModelSettings


class Lesson(NamedTuple):
    """What streams have read since their last lesson."""

    inputs: Tensor  # (n, T, F), beginning with the values of the D channels
    counts: Tensor  # (n, T, D) 1 where a value is known and may teach, else 0
    hidden: Tensor  # (n, H) before the first sample
    cell: Tensor  # (n, H)
    heads: Sequence[
        Tensor
    ] = ()  # (n, R, D) each, of a stream's own readout: the next sample, the newest; R as it reads


class Taught(NamedTuple):
    """What a lesson says."""

    loss: Tensor  # (n,)
    gradient: Tensor  # (n, P) of the loss over the own weights


class _Kept(NamedTuple):
    """What the cell went through, each (n, T, H): needed again on the way back."""

    hidden: Tensor  # after each sample
    gates: Tensor  # (n, T, 4 H) forget, insert, output, and the candidate between 0 and 1
    before: Tensor  # the cell state before each sample
    shown: Tensor  # tanh of the cell state after it


def lesson(bases: Bases, change: Tensor, given: Lesson, model: ModelSettings) -> Taught:
    """Return loss and gradient of each stream's network, the group's `bases` with its `change` (n, P)."""
    weights = {
        part.name: bases.matrix(part) + (own * bases.factor if part.name == CELL else own)
        for part, own in zip(bases.parts, split(change, bases.parts).values(), strict=True)
    }
    kept = _read(weights[CELL], given)
    loss, gradients = _forecast(weights, kept.hidden, given, model.horizon)
    hidden = gradients.pop("")
    if "code" in weights:
        told, more = _window(weights, kept.hidden, given, model.window)
        hidden[:, ::DECODED_SHARE] += more.pop("")
        loss, gradients = loss + told, gradients | more
    gradients[CELL] = _back_through_time(weights[CELL], given, kept, hidden) * bases.factor
    return Taught(loss, torch.cat([gradients[part.name].flatten(1) for part in bases.parts], dim=1))


def _read(weight: Tensor, given: Lesson) -> _Kept:
    """Read the samples one after the other; `weight` (n, F + H + 1, 4 H) is in the fused form."""
    inputs, h, c = given.inputs, given.hidden, given.cell
    features = inputs.shape[2]
    own = weight[:, features:-1]
    reading = torch.baddbmm(weight[:, -1:], inputs, weight[:, :features])  # (n, T, 4 H)
    kept: list[tuple[Tensor, ...]] = []
    for at in reading.unbind(1):
        gates = torch.baddbmm(at[:, None], h[:, None], own)[:, 0].sigmoid()  # (n, 4 H)
        f, i, o, g = gates.chunk(4, dim=1)
        before, c = c, f * c + i * (2.0 * g - 1.0)
        shown = c.tanh()
        h = o * shown
        kept.append((h, gates, before, shown))
    return _Kept(*(torch.stack(each, dim=1) for each in zip(*kept, strict=True)))


def _back_through_time(weight: Tensor, given: Lesson, kept: _Kept, hidden: Tensor) -> Tensor:
    """Return the gradient over the cell's weights, from that over every hidden state (n, T, H)."""
    features = given.inputs.shape[2]
    own = weight[:, features:-1].transpose(1, 2)  # (n, 4 H, H)
    from_h, from_c = torch.zeros_like(given.hidden), torch.zeros_like(given.cell)
    f, i, o, g = kept.gates.chunk(4, dim=2)  # each (n, T, H)
    slope = kept.gates * (1.0 - kept.gates)
    through = o * (1.0 - kept.shown * kept.shown)
    new = 2.0 * g - 1.0
    found = []
    for t in reversed(range(hidden.shape[1])):
        from_h = from_h + hidden[:, t]
        from_c = from_c + from_h * through[:, t]
        parts = (from_c * kept.before[:, t], from_c * new[:, t], from_h * kept.shown[:, t], 2.0 * from_c * i[:, t])
        over = torch.cat(parts, dim=1) * slope[:, t]  # (n, 4 H), before the gates are squashed
        found.append(over)
        from_h, from_c = torch.bmm(over[:, None], own)[:, 0], from_c * f[:, t]
    over = torch.stack(found[::-1], dim=1)
    last = torch.cat((given.hidden[:, None], kept.hidden[:, :-1]), dim=1)
    read = with_one(torch.cat((given.inputs, last), dim=2))  # (n, T, F + H + 1)
    return torch.bmm(read.transpose(1, 2), over)


def _forecast(
    weights: dict[str, Tensor], hidden: Tensor, given: Lesson, horizon: int
) -> tuple[Tensor, dict[str, Tensor]]:
    """Return the loss (n,) of telling the next samples, and gradients by name, that over `hidden` under no name."""
    streams, length, channels = given.counts.shape
    values = given.inputs[:, :, :channels]
    at = torch.arange(length)[:, None] + torch.arange(1, horizon + 1)  # (T, K)
    counts = given.counts[:, at.clamp(max=length - 1)] * (at < length)[None, :, :, None]  # (n, T, K, D)
    layers = [("ahead", True), ("ahead_out", False)]
    results = [hidden, *_forward(weights, layers, hidden)]
    told = values[:, :, None] + results[-1].view(streams, length, horizon, channels)
    heard = _heard(given, NEXT, hidden, values)
    told[:, :, 0] += heard
    loss, slope = _huber(told - values[:, at.clamp(max=length - 1)], counts)
    return loss, _with_head(given, NEXT, slope[:, :, 0], dict(_backward(weights, layers, results, slope.flatten(2))))


def _window(weights: dict[str, Tensor], hidden: Tensor, given: Lesson, window: int) -> tuple[Tensor, dict[str, Tensor]]:
    """Return the loss (n,) of telling the last samples, newest first, and gradients as `_forecast` does.

    They are told at every DECODED_SHARE-th position; of them counts what lies in the lesson.
    """
    streams, length, channels = given.counts.shape
    at = torch.arange(0, length, DECODED_SHARE)
    back = at[:, None] - torch.arange(window)  # (Q, W)
    counts = given.counts[:, back.clamp(min=0)] * (back >= 0)[None, :, :, None]  # (n, Q, W, D)
    wide = [("decoder.wide", True)] if "decoder.wide" in weights else []
    layers = [("code", True), *wide, ("decoder.out", False)]
    summary = hidden[:, at]
    results = [summary, *_forward(weights, layers, summary)]
    values = given.inputs[:, :, :channels]
    told = results[-1].view(streams, len(at), window, channels)
    told[:, :, 0] += _heard(given, NEWEST, summary, values[:, at])
    loss, slope = _huber(told - values[:, back.clamp(min=0)], counts)
    return loss, _with_head(given, NEWEST, slope[:, :, 0], dict(_backward(weights, layers, results, slope.flatten(2))))


def _heard(given: Lesson, head: int, hidden: Tensor, values: Tensor) -> Tensor:
    """Return what a stream's own readout adds (n, Q, D) on `hidden` (n, Q, H) and `values` (n, Q, D)."""
    if head >= len(given.heads):
        return torch.zeros_like(values)
    weight = given.heads[head]
    read = hidden
    if weight.shape[1] > hidden.shape[2] + 1:
        read = torch.cat((hidden, values.clamp(-float(SAMPLE_MAX), float(SAMPLE_MAX))), dim=2)
    return torch.baddbmm(weight[:, -1:], read, weight[:, :-1])


def _with_head(given: Lesson, head: int, slope: Tensor, gradients: dict[str, Tensor]) -> dict[str, Tensor]:
    """Add to what goes back into the hidden state what comes through a stream's own readout."""
    if head < len(given.heads):
        own = given.heads[head][:, : given.hidden.shape[1]]
        gradients[""] = gradients[""] + torch.bmm(slope, own.transpose(1, 2))
    return gradients


Layers = Sequence[tuple[str, bool]]
"""Maps one after the other, by name, and whether a tanh is behind each."""


def _forward(weights: dict[str, Tensor], layers: Layers, x: Tensor) -> Iterator[Tensor]:
    for name, squashed in layers:
        weight = weights[name]
        x = torch.baddbmm(weight[:, -1:], x, weight[:, :-1])
        x = x.tanh() if squashed else x
        yield x


def _backward(
    weights: dict[str, Tensor], layers: Layers, results: Sequence[Tensor], slope: Tensor
) -> Iterator[tuple[str, Tensor]]:
    """Yield each map's gradient, and at last, under no name, that over what the first one read."""
    for (name, squashed), read, result in zip(layers[::-1], results[-2::-1], results[:0:-1], strict=True):
        slope = slope * (1.0 - result * result) if squashed else slope
        yield name, torch.bmm(with_one(read).transpose(1, 2), slope)
        slope = torch.bmm(slope, weights[name][:, :-1].transpose(1, 2))
    yield "", slope


def _huber(error: Tensor, counts: Tensor) -> tuple[Tensor, Tensor]:
    """Return each stream's mean Huber(1) loss (n,) where `counts`, and its slope over every error."""
    share = counts / counts.flatten(1).sum(dim=1).clamp(min=1.0).view(-1, *[1] * (counts.dim() - 1))
    slope = error.clamp(-1.0, 1.0)
    size = slope.abs()
    loss = size * (error.abs() - 0.5 * size)
    return (loss * share).flatten(1).sum(dim=1), slope * share
