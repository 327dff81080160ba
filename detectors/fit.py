"""Learn an autoencoder's weights from history: one loop, trained the way the detector runs.

Back-propagation through time is truncated to chunks, but the state is not: it is carried from chunk to chunk, as it is
carried from sample to sample in production. Only the earlier part of each series is trained on; the later part says
when to stop and which weights to keep. A training that was cut short goes on from its last checkpoint and ends with the
weights, to the bit, that it would have had.

Shapes: T samples of a chunk, L lanes, F inputs, D channels.
"""

from __future__ import annotations

import itertools
import math
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.utils import clip_grad_norm_

from detectors.architectures.family import Autoencoder, State, Teaching
from detectors.autoencoder import untrained, weights_of
from detectors.checkpoint import Checkpoint, CheckpointError, Facts, Saving, check
from detectors.lanes import Chunk, History, TrainingSeries, chunks, random_spans
from detectors.objective import DECODED_SHARE, Judged, Lesson, heads, judge
from detectors.progress import Progress
from detectors.settings import ModelSettings, TrainingSettings

__all__ = ["FitReport", "Fitted", "Progress", "TrainingSeries", "fit"]

UPDATES_MIN: Final = 16  # of an epoch: a short history is gone through several times
LAST_RATE: Final = 0.05  # of the learning rate, at the end of the cosine

Stopped = Literal["epochs", "patience", "seconds"]


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
    curves: tuple[Progress, ...] = ()  # all of it, epoch by epoch


@dataclass(frozen=True, slots=True, eq=False)
class Fitted:
    """Learnt weights by name, and how they came about."""

    weights: dict[str, NDArray[np.float32]]
    report: FitReport


class _Kept(NamedTuple):
    """The best weights so far."""

    epoch: int
    judged: Judged
    weights: dict[str, NDArray[np.float32]]


@dataclass(slots=True)
class _Course:
    """All that changes while a model is taught."""

    network: Autoencoder
    optimiser: torch.optim.Adam
    walk: Iterator[Chunk]
    order: torch.Generator  # of the walk, and of the positions that are told
    state: State
    best: _Kept
    epochs: list[Progress]
    updates: int = 0
    clipped: int = 0


def fit(
    series: Sequence[TrainingSeries] | History,
    *,
    model: ModelSettings,
    training: TrainingSettings,
    progress: Callable[[Progress], None],
    saving: Saving | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> Fitted:
    """Learn weights from `series`, and call `progress` after each epoch; go on from a checkpoint if `saving` has one.

    Takes `training.seconds_max` by `clock` at most, plus one look at the later data. The same series, settings and
    seed give the same weights to the bit on one machine's processor with one torch thread, unless time ran out. A
    `History` says on which device it is learnt. Raises ValueError when the series do not belong together or are too
    short, and CheckpointError for a checkpoint of something else.
    """
    started = clock()
    saving = saving or Saving()
    history = series if isinstance(series, History) else History.of(series)
    fingerprint = history.fingerprint() if saving != Saving() else ""
    course = _begun(history, model, training)
    if saving.start is not None:
        check(saving.start.facts, history=fingerprint, model=model, training=training)
        _go_on(course, saving.start)
    place = history.inputs.device
    updates = max(math.ceil(history.samples / (training.lanes * training.chunk_samples)), UPDATES_MIN)  # of an epoch
    before = course.epochs[-1].seconds if course.epochs else 0.0
    stopped = _why_stop(course, training, 0.0) if course.epochs else None

    while stopped is None:
        losses, norms = [], []
        for walked in itertools.islice(course.walk, updates):
            # forward
            chunk = walked.to(place)
            teaching = Teaching(training, _chance(training, course.updates))
            inputs, state = course.network.disturbed(history.inputs[chunk.rows], teaching), chunk.carry(course.state)
            summary, course.state = course.network.encode(inputs, state)  # (T, L, R)
            lesson = Lesson(chunk, inputs, summary, _told_at(len(summary), course.order).to(place))
            loss = heads(course.network, history, lesson, teaching).loss
            penalty = course.network.penalty(inputs, state, summary, teaching)

            # backward
            course.optimiser.zero_grad()
            (loss if penalty is None else loss + penalty).backward()  # type: ignore[no-untyped-call]
            norms.append(_clip(course.network, training))
            course.updates += 1
            course.optimiser.param_groups[0]["lr"] = _rate(training, course.updates / (updates * training.epochs_max))
            course.optimiser.step()
            losses.append(loss.item())
            if clock() - started >= training.seconds_max:
                break

        # judge
        judged = judge(course.network, history, training)
        epoch = len(course.epochs) + 1
        if judged.loss < course.best.judged.loss:
            course.best = _Kept(epoch, judged, weights_of(course.network))
        now = clock() - started
        course.clipped += sum(norm > training.gradient_norm_max for norm in norms)
        course.epochs.append(_progress(course, training, (losses, norms), judged.loss, before + now))
        progress(course.epochs[-1])
        if saving.keep is not None:
            saving.keep(_checkpoint(course, fingerprint, model, training))
        stopped = _why_stop(course, training, now)

    return Fitted(course.best.weights, _report(course, stopped, history.samples))


# the parts of the loop


def _begun(history: History, model: ModelSettings, training: TrainingSettings) -> _Course:
    features, channels = history.inputs.shape[1], history.targets.shape[1]
    order = torch.Generator().manual_seed(training.seed)
    network = untrained(features=features, channels=channels, settings=model, seed=training.seed)
    network.to(history.inputs.device)
    optimiser = torch.optim.Adam(network.parameters(), lr=training.learning_rate)
    spans = random_spans(history, lanes=training.lanes, burn_in=training.chunk_samples, generator=order)
    walk = chunks(spans, lanes=training.lanes, samples=training.chunk_samples, rows=len(history.inputs))
    best = _Kept(0, judge(network, history, training), weights_of(network))
    return _Course(network, optimiser, walk, order, network.nothing(training.lanes), best, [])


def _told_at(length: int, order: torch.Generator) -> Tensor:
    return torch.randperm(length, generator=order)[: -(-length // DECODED_SHARE)]


def _chance(training: TrainingSettings, update: int) -> torch.Generator:
    # one for each update: where a training goes on, its noise does too
    return torch.Generator().manual_seed((training.seed * 1_000_003 + update + 1) % 2**63)


def _clip(network: Autoencoder, training: TrainingSettings) -> float:
    # inputs are bounded and so is each step of Adam: a gradient that is not finite is a mistake in the model
    return float(clip_grad_norm_(network.parameters(), training.gradient_norm_max, error_if_nonfinite=True))


def _rate(training: TrainingSettings, done: float) -> float:
    falling = 0.5 * (1.0 + math.cos(math.pi * min(done, 1.0)))  # from 1 to 0
    return training.learning_rate * (LAST_RATE + (1.0 - LAST_RATE) * falling)


def _why_stop(course: _Course, training: TrainingSettings, seconds: float) -> Stopped | None:
    if seconds >= training.seconds_max:
        return "seconds"
    if len(course.epochs) >= training.epochs_max:
        return "epochs"
    return "patience" if len(course.epochs) - course.best.epoch >= training.patience_epochs else None


def _progress(
    course: _Course, training: TrainingSettings, gone: tuple[list[float], list[float]], later: float, seconds: float
) -> Progress:
    losses, norms = gone
    return Progress(
        epoch=len(course.epochs) + 1,
        epochs_max=training.epochs_max,
        loss=statistics.fmean(losses),
        validation_loss=later,
        gradient_norm=statistics.fmean(norms),
        seconds=seconds,
        clipped_share=sum(norm > training.gradient_norm_max for norm in norms) / len(norms),
        gradient_norm_max=max(norms),
        learning_rate=course.optimiser.param_groups[0]["lr"],
    )


def _report(course: _Course, stopped: Stopped, samples: int) -> FitReport:
    epochs = course.epochs
    return FitReport(
        epochs=len(epochs),
        epoch_best=course.best.epoch,
        stopped=stopped,
        losses=tuple(epoch.loss for epoch in epochs),
        validation_losses=tuple(epoch.validation_loss for epoch in epochs),
        gradient_norms=tuple(epoch.gradient_norm for epoch in epochs),
        clipped_share=course.clipped / course.updates,
        forecast_loss=course.best.judged.forecast,
        persistence_loss=course.best.judged.persistence,
        seconds=epochs[-1].seconds,
        samples=samples,
        curves=tuple(epochs),
    )


# there and back


def _checkpoint(course: _Course, history: str, model: ModelSettings, training: TrainingSettings) -> Checkpoint:
    best = course.best
    tensors = {f"weight/{name}": array for name, array in weights_of(course.network).items()}
    tensors |= {f"best/{name}": array for name, array in best.weights.items()}
    for name, parameter in course.network.named_parameters():
        moments = course.optimiser.state[parameter]
        tensors[f"mean/{name}"] = moments["exp_avg"].cpu().numpy().copy()
        tensors[f"square/{name}"] = moments["exp_avg_sq"].cpu().numpy().copy()
    hidden, cell = course.state
    tensors |= {"state/hidden": _copied(hidden), "state/cell": _copied(cell)}
    epochs = tuple(course.epochs)
    facts = Facts(history, model, training, epochs, best.epoch, best.judged, course.updates, course.clipped)
    return Checkpoint(facts, tensors)


def _copied(tensor: Tensor) -> NDArray[np.float32]:
    return tensor.detach().cpu().numpy().copy()


def _go_on(course: _Course, checkpoint: Checkpoint) -> None:
    """Put `course` where the checkpoint stands; the walk is gone through again, without looking at what it passes."""
    facts, tensors = checkpoint.facts, checkpoint.tensors
    _check_shapes(course, tensors)
    course.network.load_state_dict({name: torch.tensor(tensors[f"weight/{name}"]) for name in course.best.weights})
    course.best = _Kept(facts.best_epoch, facts.best, {name: tensors[f"best/{name}"] for name in course.best.weights})
    place = course.state[0].device
    course.state = torch.tensor(tensors["state/hidden"]).to(place), torch.tensor(tensors["state/cell"]).to(place)
    for name, parameter in course.network.named_parameters():
        course.optimiser.state[parameter] = {
            "step": torch.tensor(float(facts.updates)),
            "exp_avg": torch.tensor(tensors[f"mean/{name}"]).to(place),
            "exp_avg_sq": torch.tensor(tensors[f"square/{name}"]).to(place),
        }
    for chunk in itertools.islice(course.walk, facts.updates):
        _told_at(len(chunk.rows), course.order)
    course.epochs = list(facts.epochs)
    course.updates, course.clipped = facts.updates, facts.clipped


def _check_shapes(course: _Course, tensors: Mapping[str, NDArray[Any]]) -> None:
    expected = {
        f"{part}/{name}": array.shape
        for part in ("weight", "best", "mean", "square")
        for name, array in course.best.weights.items()
    }
    expected |= {"state/hidden": course.state[0].shape, "state/cell": course.state[1].shape}
    found = {name: array.shape for name, array in tensors.items()}
    finite = all(array.dtype == np.float32 and np.isfinite(array).all() for array in tensors.values())
    if found != expected or not finite:
        raise CheckpointError("checkpoint: its tensors do not fit its settings; start afresh, without a checkpoint")
