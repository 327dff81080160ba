"""Learn an autoencoder's weights from history: one loop, trained the way the detector runs.

Back-propagation through time is truncated to chunks, but the state is not: it is carried from chunk to chunk, as it is
carried from sample to sample in production. Only the earlier part of each series is trained on; the later part says
when to stop and which weights to keep.

Shapes: T samples of a chunk, L lanes, F inputs, D channels, H hidden width.
"""

from __future__ import annotations

import itertools
import math
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.utils import clip_grad_norm_

from detectors.autoencoder import LSTMAutoencoder, State, masked_huber, untrained, weights_of
from detectors.lanes import Chunk, History, TrainingSeries, chunks, later_spans, random_spans
from detectors.settings import ModelSettings, TrainingSettings

__all__ = ["FitReport", "Fitted", "Progress", "TrainingSeries", "fit"]

UPDATES_MIN: Final = 16  # of an epoch: a short history is gone through several times
DECODED_SHARE: Final = 4  # the window is told at every fourth position only: neighbours teach nearly the same
LAST_RATE: Final = 0.05  # of the learning rate, at the end of the cosine

Stopped = Literal["epochs", "patience", "seconds"]


@dataclass(frozen=True, slots=True)
class Progress:
    """How far training has come, after each epoch."""

    epoch: int
    epochs_max: int
    loss: float  # on the earlier data: Huber loss of window and forecast together, scaled units
    validation_loss: float  # the same on the later data
    gradient_norm: float  # mean over the epoch, before clipping
    seconds: float


@dataclass(frozen=True, slots=True)
class FitReport:
    """What happened in training."""

    epochs: int
    epoch_best: int  # whose weights were kept; 0 for the untrained ones
    stopped: Stopped
    losses: tuple[float, ...]  # one an epoch
    validation_losses: tuple[float, ...]
    gradient_norms: tuple[float, ...]
    clipped_share: float  # of the updates
    forecast_loss: float  # of the kept weights on the later data, Huber
    persistence_loss: float  # there, of saying that the next sample equals the last
    seconds: float
    samples: int  # trained on


@dataclass(frozen=True, slots=True, eq=False)
class Fitted:
    """Learnt weights by name, and how they came about."""

    weights: dict[str, NDArray[np.float32]]
    report: FitReport


class _Heads(NamedTuple):
    """Sums of the Huber losses of both heads, and over how many numbers."""

    window: Tensor
    window_count: Tensor
    ahead: Tensor
    ahead_count: Tensor

    @property
    def loss(self) -> Tensor:
        return self.window / self.window_count.clamp(min=1) + self.ahead / self.ahead_count.clamp(min=1)


class _Judged(NamedTuple):
    """Mean losses on the later data."""

    loss: float
    forecast: float
    persistence: float


class _Kept(NamedTuple):
    """The best weights so far."""

    epoch: int
    judged: _Judged
    weights: dict[str, NDArray[np.float32]]


def fit(
    series: Sequence[TrainingSeries],
    *,
    model: ModelSettings,
    training: TrainingSettings,
    progress: Callable[[Progress], None],
    clock: Callable[[], float] = time.monotonic,
) -> Fitted:
    """Learn weights from `series`, and call `progress` after each epoch.

    Takes `training.seconds_max` by `clock` at most, plus one look at the later data. The same series, settings and
    seed give the same weights to the bit on one machine with one torch thread, unless time ran out. Raises ValueError
    when the series do not belong together or are too short.
    """
    started = clock()
    history = History.of(series)
    generator = torch.Generator().manual_seed(training.seed)
    network = _network(history, model, training)
    optimiser = torch.optim.Adam(network.parameters(), lr=training.learning_rate)
    updates = max(math.ceil(history.samples / (training.lanes * training.chunk_samples)), UPDATES_MIN)  # of an epoch
    walk = _endless_walk(history, training, generator)
    state = _nothing(training, model)
    best = _Kept(0, _judge(network, history, model, training), weights_of(network))
    epochs: list[Progress] = []
    norms: list[float] = []
    stopped: Stopped | None = None

    while stopped is None:
        losses = []
        for chunk in itertools.islice(walk, updates):
            # forward
            hidden, state = network.encode(history.inputs[chunk.rows], chunk.carry(state))  # (T, L, H)
            told_at = torch.randperm(len(hidden), generator=generator)[: -(-len(hidden) // DECODED_SHARE)]
            loss = _heads(network, history, chunk, hidden, told_at).loss

            # backward
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            norms.append(_clip(network, training))
            optimiser.param_groups[0]["lr"] = _rate(training, len(norms) / (updates * training.epochs_max))
            optimiser.step()
            losses.append(loss.item())
            if clock() - started >= training.seconds_max:
                break

        # judge
        judged = _judge(network, history, model, training)
        epoch = len(epochs) + 1
        if judged.loss < best.judged.loss:
            best = _Kept(epoch, judged, weights_of(network))
        now = clock() - started
        norm = statistics.fmean(norms[-len(losses) :])
        epochs.append(Progress(epoch, training.epochs_max, statistics.fmean(losses), judged.loss, norm, now))
        progress(epochs[-1])
        stopped = _why_stop(epochs[-1], best.epoch, training)

    return Fitted(best.weights, _report(epochs, best, norms, stopped, (training.gradient_norm_max, history.samples)))


# the parts of the loop


def _network(history: History, model: ModelSettings, training: TrainingSettings) -> LSTMAutoencoder:
    features, channels = history.inputs.shape[1], history.targets.shape[1]
    return untrained(features=features, channels=channels, settings=model, seed=training.seed)


def _endless_walk(history: History, training: TrainingSettings, generator: torch.Generator) -> Iterator[Chunk]:
    spans = random_spans(history, lanes=training.lanes, burn_in=training.chunk_samples, generator=generator)
    return chunks(spans, lanes=training.lanes, samples=training.chunk_samples, rows=len(history.inputs))


def _nothing(training: TrainingSettings, model: ModelSettings) -> State:
    return torch.zeros(training.lanes, model.hidden), torch.zeros(training.lanes, model.hidden)


def _heads(network: LSTMAutoencoder, history: History, chunk: Chunk, hidden: Tensor, told_at: Tensor) -> _Heads:
    window, window_counted = history.windows(chunk, told_at, network.window)  # (P * L, W, D)
    following, following_counted = history.following(chunk)  # (T * L, D)
    told = network.decode(hidden[told_at].flatten(0, 1))
    newest = history.inputs[chunk.rows].flatten(0, 1)[:, : network.channels]  # (T * L, D)
    expected = network.forecast(hidden.flatten(0, 1), newest)
    return _Heads(*masked_huber(told, window, window_counted), *masked_huber(expected, following, following_counted))


@torch.no_grad()
def _judge(network: LSTMAutoencoder, history: History, model: ModelSettings, training: TrainingSettings) -> _Judged:
    spans = later_spans(history, lanes=training.lanes)
    walk = chunks(spans, lanes=training.lanes, samples=training.chunk_samples, rows=len(history.inputs))
    told_at = torch.arange(0, training.chunk_samples, DECODED_SHARE)
    state = _nothing(training, model)
    heads, repeats = [], []
    for chunk in walk:
        hidden, state = network.encode(history.inputs[chunk.rows], chunk.carry(state))
        heads.append(_heads(network, history, chunk, hidden, told_at))
        repeats.append(history.repetition(chunk))
    total = _Heads(*(torch.stack(part).sum() for part in zip(*heads, strict=True)))
    repeated, count = (torch.stack(part).sum() for part in zip(*repeats, strict=True))
    forecast = total.ahead / total.ahead_count.clamp(min=1)
    return _Judged(float(total.loss), float(forecast), float(repeated / count.clamp(min=1)))


def _clip(network: LSTMAutoencoder, training: TrainingSettings) -> float:
    # inputs are bounded and so is each step of Adam: a gradient that is not finite is a mistake in the model
    return float(clip_grad_norm_(network.parameters(), training.gradient_norm_max, error_if_nonfinite=True))


def _rate(training: TrainingSettings, done: float) -> float:
    falling = 0.5 * (1.0 + math.cos(math.pi * min(done, 1.0)))  # from 1 to 0
    return training.learning_rate * (LAST_RATE + (1.0 - LAST_RATE) * falling)


def _why_stop(now: Progress, epoch_best: int, training: TrainingSettings) -> Stopped | None:
    if now.seconds >= training.seconds_max:
        return "seconds"
    if now.epoch >= now.epochs_max:
        return "epochs"
    return "patience" if now.epoch - epoch_best >= training.patience_epochs else None


def _report(
    epochs: Sequence[Progress], best: _Kept, norms: Sequence[float], stopped: Stopped, limits: tuple[float, int]
) -> FitReport:
    gradient_norm_max, samples = limits
    return FitReport(
        epochs=len(epochs),
        epoch_best=best.epoch,
        stopped=stopped,
        losses=tuple(epoch.loss for epoch in epochs),
        validation_losses=tuple(epoch.validation_loss for epoch in epochs),
        gradient_norms=tuple(epoch.gradient_norm for epoch in epochs),
        clipped_share=sum(norm > gradient_norm_max for norm in norms) / len(norms),
        forecast_loss=best.judged.forecast,
        persistence_loss=best.judged.persistence,
        seconds=epochs[-1].seconds,
        samples=samples,
    )
