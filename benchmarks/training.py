"""Measures an epoch of training beside the usual way: one window for each sample, drawn by torch's DataLoader.

Both learn the same network (encoder, decoder of the window, forecast) from the same samples, on one thread.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

sys.path.insert(0, str(Path(__file__).parents[1]))  # so that it runs as a file, too

from benchmarks.rows import Plan, Row
from detectors.autoencoder import untrained
from detectors.fit import TrainingSeries, fit
from detectors.network import use_threads
from detectors.settings import ModelSettings, TrainingSettings

F4 = NDArray[np.float32]

SERIES = 20
FEATURES = 4
BATCH = 64
WINDOWS = 20_000  # by which the usual way is measured: a whole epoch takes as much for each


class Windows(Dataset[tuple[Tensor, Tensor]]):
    """The last W samples before each one, and that one."""

    def __init__(self, inputs: F4, window: int) -> None:
        self._inputs, self._window = torch.from_numpy(inputs), window

    def __len__(self) -> int:
        return min(len(self._inputs) - self._window, WINDOWS)

    def __getitem__(self, at: int) -> tuple[Tensor, Tensor]:
        return self._inputs[at : at + self._window], self._inputs[at + self._window, :1]


def ours(series: list[TrainingSeries], model: ModelSettings) -> float:
    """Return the seconds of a sample in one epoch, with the looks at the later data before and after it."""
    began = time.perf_counter()
    training = TrainingSettings(epochs_max=1, seconds_max=1e9)
    fit(series, model=model, training=training, progress=lambda _: None)
    return (time.perf_counter() - began) / sum(len(each.inputs) for each in series)


def usual(inputs: F4, model: ModelSettings) -> float:
    """Return the seconds of a sample where each is the end of a window that is read from nothing."""
    network = untrained(features=FEATURES, channels=1, settings=model, seed=0)
    optimiser = torch.optim.Adam(network.parameters(), lr=1e-3)
    data = Windows(inputs, model.window)
    began = time.perf_counter()
    for windows, following in DataLoader(data, batch_size=BATCH, shuffle=True):
        read = windows.transpose(0, 1)  # (W, B, F)
        summary, _ = network.encode(read, network.nothing(len(windows)))
        told = network.decode(summary[-1]).window
        ahead = network.forecast(summary[-1], windows[:, -1, :1])[:, 0]
        loss = torch.nn.functional.huber_loss(told, windows[:, :, :1].flip(1))
        loss = loss + torch.nn.functional.huber_loss(ahead, following)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    return (time.perf_counter() - began) / len(data)


def drawn(samples: int) -> list[TrainingSeries]:
    """Return so many samples of series that swing."""
    rng, count = np.random.default_rng(0), samples // SERIES
    found = []
    for number in range(SERIES):
        values = np.sin(np.arange(count) / (5.0 + number)) + rng.normal(0.0, 0.1, count)
        target = values.astype(np.float32)[:, None]
        found.append(TrainingSeries(np.repeat(target, FEATURES, axis=1), target, np.ones_like(target, dtype=bool)))
    return found


def of_training(plan: Plan) -> Iterator[Row]:
    """Yield how many more samples a second an epoch goes through than the usual way."""
    series, model = drawn(plan.training_samples), ModelSettings()
    values = [usual(series[0].inputs, model) / ours(series, model) for _ in range(plan.repeats)]
    name = f"samples a second of a training epoch on {plan.training_samples:,} samples over a loop of windows"
    yield Row(name, values, 10.0)


if __name__ == "__main__":
    use_threads(1)
    for row in of_training(Plan(3, 0, 0, None)):
        print(row.row, [round(each, 1) for each in row.values])
