"""What training makes small: the loss of telling the window and of telling what comes next, on one chunk or on all.

Shapes: T samples of a chunk, L lanes, P told positions, R summary, K horizon, D channels.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import torch
from torch import Tensor

from detectors.architectures.family import Autoencoder, Teaching, masked_huber
from detectors.lanes import Chunk, History, chunks, later_spans
from detectors.settings import TrainingSettings

DECODED_SHARE: Final = 4  # the window is told at every fourth position only: neighbours teach nearly the same


class Lesson(NamedTuple):
    """A chunk as the network read it."""

    chunk: Chunk
    inputs: Tensor  # (T, L, F)
    summary: Tensor  # (T, L, R)
    told_at: Tensor  # (P,)


class Heads(NamedTuple):
    """Sums of the losses of both heads, and over how many numbers."""

    window: Tensor
    window_count: Tensor
    ahead: Tensor
    ahead_count: Tensor

    @property
    def loss(self) -> Tensor:
        """The sum of both means."""
        return self.window / self.window_count.clamp(min=1) + self.ahead / self.ahead_count.clamp(min=1)


class Judged(NamedTuple):
    """Mean losses on the later data."""

    loss: float
    forecast: float
    persistence: float


def heads(network: Autoencoder, history: History, lesson: Lesson, teaching: Teaching) -> Heads:
    """Return the losses of what the network makes of a chunk."""
    chunk, inputs, summary, told_at = lesson
    window, window_counted = history.windows(chunk, told_at, network.window)  # (P * L, W, D)
    following, following_counted = history.following(chunk, network.horizon)  # (T * L, K, D)
    told = network.window_loss(summary[told_at].flatten(0, 1), window, window_counted, teaching)
    newest = inputs.flatten(0, 1)[:, : network.channels]  # (T * L, D)
    expected = network.forecast(summary.flatten(0, 1), newest)
    return Heads(*told, *masked_huber(expected, following, following_counted))


@torch.no_grad()
def judge(network: Autoencoder, history: History, training: TrainingSettings) -> Judged:
    """Return the losses on the later data, where nothing is left to chance and nothing is penalised."""
    spans = later_spans(history, lanes=training.lanes)
    walk = chunks(spans, lanes=training.lanes, samples=training.chunk_samples, rows=len(history.inputs))
    told_at = torch.arange(0, training.chunk_samples, DECODED_SHARE, device=history.inputs.device)
    state, teaching = network.nothing(training.lanes), Teaching(training, None)
    told, repeats = [], []
    for chunk in (each.to(history.inputs.device) for each in walk):
        inputs = history.inputs[chunk.rows]
        summary, state = network.encode(inputs, chunk.carry(state))
        told.append(heads(network, history, Lesson(chunk, inputs, summary, told_at), teaching))
        repeats.append(history.repetition(chunk, network.horizon))
    total = Heads(*(torch.stack(part).sum() for part in zip(*told, strict=True)))
    repeated, count = (torch.stack(part).sum() for part in zip(*repeats, strict=True))
    forecast = total.ahead / total.ahead_count.clamp(min=1)
    return Judged(float(total.loss), float(forecast), float(repeated / count.clamp(min=1)))
