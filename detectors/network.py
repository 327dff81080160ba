"""The trained network as the detector runs it: numbers in, numbers out, nothing to learn.

A row's result is the same to the last bit whatever other rows are in the batch and wherever it stands, so scores do
not depend on how polls cut the stream. Two paddings do it: rows to a multiple of ROW_STEP, so that no element falls
into the remainder of a vectorised loop, and widths to a multiple of `lstm.WIDTH_STEP`. That holds on the processor; a
GPU's libraries choose their ways by the size of the batch, and rows are equal but for rounding there.

Shapes: n streams, F inputs, D channels, W window, K horizon; the state is as wide as `Network.widths`
says; all float32.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from detectors import autoregression, continual, own_weights
from detectors.architectures.family import Told
from detectors.artefact import Artefact
from detectors.autoencoder import Weights, with_weights
from detectors.columns import Rows
from detectors.device import CPU, found
from detectors.layers import TanhLinear
from detectors.lstm import FusedLSTM, LSTMWeights, padded, squash
from detectors.own_weights import Bases
from detectors.recurrent import FusedGRU, FusedRNN
from detectors.settings import DetectorSettings, ModelSettings

F4 = NDArray[np.float32]
Mask = NDArray[np.bool_]

ROW_STEP: Final = 32
BLOCK_ROWS: Final = 1024  # the intermediate results of so many rows stay in the processor's cache


@dataclass(frozen=True, slots=True)
class Advanced:
    """What one step of the network gives for n streams."""

    hidden: F4  # (n, widths.hidden)
    cell: F4  # (n, widths.cell)
    summary: F4  # (n, widths.summary), what the heads read
    reconstruction: F4  # (n, W, D), newest first; or that alone (n, 1, D)
    spread: F4 | None  # (n, D), how far off the newest reconstruction usually is; None where none is told
    ahead: F4  # (n, K, D), the next samples

    @property
    def forecast(self) -> F4:
        """The next sample (n, D)."""
        return self.ahead[:, 0]

    def first(self, n: int) -> Advanced:
        """Return what it gives for the first `n` streams."""
        return Advanced(
            hidden=self.hidden[:n],
            cell=self.cell[:n],
            summary=self.summary[:n],
            reconstruction=self.reconstruction[:n],
            spread=None if self.spread is None else self.spread[:n],
            ahead=self.ahead[:n],
        )

    def put(self, block: slice, moved: Advanced) -> None:
        """Take in what `moved` gives for the streams of a block; what is too much there is left out."""
        for field in fields(self):
            place = getattr(self, field.name)
            if place is not None:
                there = place[block]
                there[...] = getattr(moved, field.name)[: len(there)]


class PaddedLinear(nn.Module):
    """A linear layer, with its tanh if it has one, at a padded width."""

    weight: Tensor  # (K, N, padded)
    bias: Tensor  # (N, padded)

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__()
        self.width = layer.out_features
        self.tanh = isinstance(layer, TanhLinear)
        self.register_buffer("weight", padded(layer.weight.detach().t()))
        self.register_buffer("bias", padded(layer.bias.detach()))

    def forward(self, x: Tensor) -> Tensor:
        """Return the layer's result (B, N) for `x` (B, K)."""
        result = torch.addmm(self.bias, x, self.weight)
        if self.tanh:
            squash(result)  # over the padding too: whole rows are faster than cut ones
        return result[:, : self.width]


class Network:
    """A trained autoencoder, frozen; immutable, so it may be shared between threads."""

    def __init__(self, weights: Weights, *, model: ModelSettings, device: torch.device = CPU) -> None:
        """Build the network on a device; raises ValueError when `weights` do not fit `model`."""
        self._autoencoder = with_weights(weights, model).eval().requires_grad_(False)
        self.features, self.channels = self._autoencoder.features, self._autoencoder.channels
        self.widths, self.window, self.horizon = self._autoencoder.widths, model.window, model.horizon
        _freeze(self._autoencoder)
        self._device = device
        self._autoencoder.to(device)

    @classmethod
    def of(cls, weights: Weights, settings: DetectorSettings) -> Network:
        """Build the network of a detector where it should score: on the cpu where streams have weights of their own.

        Raises ValueError when `weights` do not fit `settings`, or the device is missing.
        """
        device = CPU if settings.scope == "stream" else found(settings.device)
        return cls(weights, model=settings.model, device=device)

    @classmethod
    def from_artefact(cls, artefact: Artefact) -> Network:
        """Build the network that an artefact holds."""
        return cls(artefact.weights, model=artefact.model)

    @property
    def encoder(self) -> nn.Module:
        """What reads the samples: a FusedLSTM where one layer of cells reads them as they are."""
        return self._autoencoder.reader()

    def advance(self, inputs: F4, hidden: F4, cell: F4, newest_of: Mask | None = None) -> Advanced:
        """Take one step: read `inputs` (n, F) with the carried `hidden` and `cell`; nothing passed is changed.

        With `newest_of` (n,) only the newest sample is told of the window (n, 1, D), and of these streams alone: it is
        NaN elsewhere. Every number passed must be finite; every other one returned is. Raises ValueError on other
        shapes.
        """
        n = len(inputs)
        self._check("inputs", inputs, (n, self.features))
        self._check("hidden", hidden, (n, self.widths.hidden))
        self._check("cell", cell, (n, self.widths.cell))
        with torch.inference_mode():
            if 0 < n <= BLOCK_ROWS:  # then nothing is to be joined
                return self._advance((inputs, hidden, cell), newest_of).first(n)
            result = self._room(n, self.window if newest_of is None else 1)
            for block in _blocks(n):
                some = None if newest_of is None else newest_of[block]
                moved = self._advance((inputs[block], hidden[block], cell[block]), some)
                result.put(block, moved)
        return result

    def _advance(self, rows: tuple[F4, F4, F4], newest_of: Mask | None) -> Advanced:
        """Take one step of at most BLOCK_ROWS streams, with their inputs, hidden and cell state."""
        x, hidden, cell = (self._placed(each) for each in rows)
        summary, (h, c) = self._autoencoder.encode(x[None], (hidden, cell))
        read = summary[0]
        told = self._autoencoder.decode(read) if newest_of is None else self._newest(read, newest_of)
        ahead = self._autoencoder.forecast(read, x[:, : self.channels])
        return Advanced(
            hidden=h.cpu().numpy(),
            cell=c.cpu().numpy(),
            summary=read.cpu().numpy(),
            reconstruction=told.window.cpu().numpy(),
            spread=None if told.spread is None else told.spread[:, 0].cpu().numpy(),
            ahead=ahead.cpu().numpy(),
        )

    def autoregress(self, window: F4) -> F4 | None:
        """Return the next sample (n, D) as the linear model tells it by the `window` (n, W, D) before it, newest first.

        None where the network has no linear model: of one channel, or of too many.
        """
        if not autoregression.speaks(self.channels, self.window):
            return None
        result, past = np.empty((len(window), self.channels), np.float32), window[:, : autoregression.LAGS]
        with torch.inference_mode():
            for block in _blocks(len(window)):
                told = self._autoencoder.autoregress(self._placed(np.ascontiguousarray(past[block])))
                assert told is not None
                _put(told, result[block])
        return result

    def _placed(self, rows: NDArray[Any]) -> Tensor:
        return _rows(rows).to(self._device)

    def _newest(self, read: Tensor, where: Mask) -> Told:
        """Return what `read` (B, R) tells of the newest sample, NaN but for the first rows, `where` (n,) holds."""
        if where.all():
            return self._autoencoder.decode(read, 1)
        window = read.new_full((len(read), 1, self.channels), torch.nan)
        spread = window.clone() if self._autoencoder.tells_spread else None
        at = np.flatnonzero(where)
        if len(at):
            told = self._autoencoder.decode(self._placed(read.cpu().numpy()[at]), 1)
            window[at] = told.window[: len(at)]
            if spread is not None and told.spread is not None:
                spread[at] = told.spread[: len(at)]
        return Told(window, spread)

    # with weights of a stream's own

    @cached_property
    def bases(self) -> Bases:
        """The group's part of what streams have of their own; raises ValueError when they cannot have any."""
        return Bases.of(self._autoencoder)

    def advance_own(self, inputs: F4, hidden: F4, cell: F4, change: F4) -> Advanced:
        """Take one step as `advance` does, each stream with the weights that its `change` (n, P) makes."""
        n, bases = len(inputs), self.bases
        self._check("change", change, (n, own_weights.count(bases.parts)))
        result = self._room(n, self.window)
        with torch.inference_mode():
            for block in _blocks(n):
                x, own = _rows(inputs[block]), own_weights.split(_rows(change[block]), bases.parts)
                h, c = bases.step(x, (_rows(hidden[block]), _rows(cell[block])), own)
                told, changes = bases.tell(h, own)
                ahead = x[:, None, : self.channels] + changes.reshape(len(h), self.horizon, -1)
                moved = Advanced(
                    hidden=h.numpy(),
                    cell=c.numpy(),
                    summary=h.numpy(),
                    reconstruction=told.reshape(len(h), self.window, -1).numpy(),
                    spread=None,
                    ahead=ahead.numpy(),
                )
                result.put(block, moved)
        return result

    def learn_own(self, rows: Rows, where: NDArray[np.bool_], settings: DetectorSettings) -> None:
        """Give the rows' streams, `where` (n,), the lesson that is due: their own weights change, in place."""
        continual.teach(self.bases, rows, where, settings)

    def _room(self, n: int, told: int) -> Advanced:
        return Advanced(
            hidden=np.empty((n, self.widths.hidden), np.float32),
            cell=np.empty((n, self.widths.cell), np.float32),
            summary=np.empty((n, self.widths.summary), np.float32),
            reconstruction=np.empty((n, told, self.channels), np.float32),
            spread=np.empty((n, self.channels), np.float32) if self._autoencoder.tells_spread else None,
            ahead=np.empty((n, self.horizon, self.channels), np.float32),
        )

    def rebuild(self, inputs: F4, valid: NDArray[np.bool_]) -> tuple[F4, F4]:
        """Return hidden and cell state after reading stored `inputs` (n, W, F) from nothing, oldest first.

        Where `valid` (n, W) is false the sample is skipped and the state stays. Equals so many calls of `advance` to
        the bit. Raises ValueError on other shapes.
        """
        n, length = valid.shape
        self._check("inputs", inputs, (n, length, self.features))
        hidden, cell = np.empty((n, self.widths.hidden), np.float32), np.empty((n, self.widths.cell), np.float32)
        with torch.inference_mode():
            for block in _blocks(n):
                h, c = self._rebuild_rows(self._placed(inputs[block]), self._placed(valid[block]))
                _put(h, hidden[block])
                _put(c, cell[block])
        return hidden, cell

    def _rebuild_rows(self, inputs: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
        h, c = self._autoencoder.nothing(len(inputs))
        for x, read in zip(inputs.unbind(1), valid.unbind(1), strict=True):  # (rows, F), (rows,)
            _, (next_h, next_c) = self._autoencoder.encode(x[None], (h, c))
            h, c = torch.where(read[:, None], next_h, h), torch.where(read[:, None], next_c, c)
        return h, c

    def _check(self, name: str, array: F4, shape: tuple[int, ...]) -> None:
        if array.shape != shape:
            raise ValueError(f"{name} has shape {array.shape}; this network takes {shape}")


def use_threads(count: int) -> None:
    """Keep torch to `count` threads in this process; with one, small products are fastest and rows equal to the bit."""
    torch.set_num_threads(count)


def _blocks(n: int) -> Iterator[slice]:
    return (slice(start, min(start + BLOCK_ROWS, n)) for start in range(0, n, BLOCK_ROWS))


def _rows(array: NDArray[Any]) -> Tensor:
    if len(array) % ROW_STEP == 0 and array.flags.c_contiguous and array.flags.writeable:
        return torch.from_numpy(array)
    filled = np.zeros((-(-len(array) // ROW_STEP) * ROW_STEP, *array.shape[1:]), array.dtype)
    filled[: len(array)] = array
    return torch.from_numpy(filled)


def _put(rows: Tensor, place: F4) -> None:
    place[...] = rows[: len(place)].cpu().numpy()


def _freeze(module: nn.Module) -> None:
    for name, part in module.named_children():
        if isinstance(part, nn.Linear):
            setattr(module, name, PaddedLinear(part))
        elif isinstance(part, nn.LSTM):
            setattr(module, name, FusedLSTM(LSTMWeights.of(part)))
        elif isinstance(part, nn.GRU):
            setattr(module, name, FusedGRU(part))
        elif isinstance(part, nn.RNN):
            setattr(module, name, FusedRNN(part))
        else:
            _freeze(part)
