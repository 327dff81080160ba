"""Weights of a stream's own: the group's network with what the stream has changed in it.

A row keeps the change, not the weights. No change is the group's own network, to the bit: a new stream needs no copy of
it, and one whose change is given up has it again at once. The group's part of each product is one product for all
streams, the change's part a small one for each, all of them in one batched call.

Of one channel the whole network is own. Of several it is what the score depends on: the cell and the forecast.

Shapes: n streams, B of them in a padded block, F inputs, H memory cells, D channels, W window, K horizon, P weights.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple, Protocol, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from detectors.architectures.family import Autoencoder
from detectors.columns import Rows
from detectors.lstm import FusedLSTM, Gate, LSTMWeights, squash
from detectors.settings import ModelSettings

F4 = NDArray[np.float32]

FIELD: Final = "own_change"
CELL: Final = "cell"


class Part(NamedTuple):
    """One affine map that is own: `inputs` and 1 side by side, times a matrix (inputs + 1, outputs)."""

    name: str  # of the layer in the autoencoder
    inputs: int
    outputs: int

    @property
    def numbers(self) -> int:
        """How many weights it has."""
        return (self.inputs + 1) * self.outputs


def parts_of(model: ModelSettings, *, features: int, channels: int) -> tuple[Part, ...]:
    """Return the maps that a stream of `channels` channels has of its own, in the order in which a row keeps them."""
    hidden, told = model.hidden, model.window * channels
    ahead = Part("ahead", hidden, hidden), Part("ahead_out", hidden, model.horizon * channels)
    first = Part(CELL, features + hidden, 4 * hidden), *ahead
    if channels > 1:
        return first
    code = Part("code", hidden, model.bottleneck)
    if model.decoder == "linear":
        return *first, code, Part("decoder.out", model.bottleneck, told)
    return *first, code, Part("decoder.wide", model.bottleneck, hidden), Part("decoder.out", hidden, told)


def count(parts: Sequence[Part]) -> int:
    """Return how many weights (P) these maps have together."""
    return sum(part.numbers for part in parts)


def split(flat: Tensor, parts: Sequence[Part]) -> dict[str, Tensor]:
    """Return views (n, inputs + 1, outputs) of `flat` (n, P), by the maps' names."""
    pieces: Sequence[Tensor] = torch.split(flat, [part.numbers for part in parts], dim=1)
    return {part.name: piece.view(-1, part.inputs + 1, part.outputs) for part, piece in zip(parts, pieces, strict=True)}


def have_own(rows: Rows) -> bool:
    """Return whether the rows' streams have weights of their own."""
    return FIELD in (rows.dtype.names or ())


class Bases(NamedTuple):
    """The group's weights as the own ones change them."""

    parts: tuple[Part, ...]
    cell: FusedLSTM
    layers: Mapping[str, nn.Module]  # all parts but the cell: frozen linear layers
    window: Mapping[str, nn.Module]  # those that tell the window, one after the other, own or not
    factor: Tensor  # (4 H,) of the gates in the fused form: the candidate, the last, counts twice

    @classmethod
    def of(cls, frozen: Autoencoder) -> Bases:
        """Return the weights of a frozen autoencoder; raises ValueError for one whose streams cannot have their own."""
        cell = frozen.reader()
        if frozen.settings.architecture != "lstm" or not isinstance(cell, FusedLSTM):
            raise ValueError(f"architecture {frozen.settings.architecture}: streams have own weights with lstm only")
        parts = parts_of(frozen.settings, features=frozen.features, channels=frozen.channels)
        layers = {part.name: frozen.get_submodule(part.name) for part in parts if part.name != CELL}
        told = ("code", *(f"decoder.{name}" for name, _ in frozen.decoder.named_children()))
        window = {name: frozen.get_submodule(name) for name in told}
        hidden = cell.hidden_size
        return cls(parts, cell, layers, window, torch.cat((torch.ones(3 * hidden), torch.full((hidden,), 2.0))))

    def map(self, name: str, x: Tensor, own: Mapping[str, Tensor]) -> Tensor:
        """Return what the layer `name` makes of `x` (B, I), with each stream's change: (B, O)."""
        layer = cast("_Frozen", self.layers[name])
        result = torch.addmm(layer.bias, x, layer.weight)
        result[:, : layer.width] += _added(x, own[name])
        if layer.tanh:
            squash(result)
        return result[:, : layer.width]

    def step(self, x: Tensor, state: tuple[Tensor, Tensor], own: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Take one step of the cell with `x` (B, F) from `state`, and return `h`, `c`, each (B, H)."""
        xh = torch.cat((x, state[0]), dim=1)
        before = torch.addmm(self.cell.bias, xh, self.cell.weight)  # (B, 4 H, padded)
        before[:, : len(self.factor)] += _added(xh, own[CELL]) * self.factor
        return self.cell.opened(before, state[1])

    def tell(self, hidden: Tensor, own: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Return the window (B, W * D) and the changes ahead (B, K * D) that `hidden` (B, H) tells."""
        told = hidden
        for name, layer in self.window.items():
            told = self.map(name, told, own) if name in own else layer(told)
        return told, self.map("ahead_out", self.map("ahead", hidden, own), own)

    def equations(self, change: Tensor) -> LSTMWeights:
        """Return the four affine maps of the cell of one stream, whose own weights are the `change` (1, P)."""
        own = split(change, self.parts)[CELL][0].chunk(4, dim=1)  # forget, insert, output, candidate
        group = self.cell.equations()
        gates = (group.forget, group.insert, group.output, group.candidate)
        forget, insert, output, candidate = (
            Gate(gate.weight + more[:-1], gate.bias + more[-1]) for gate, more in zip(gates, own, strict=True)
        )
        return LSTMWeights(forget, insert, candidate, output)

    def matrix(self, part: Part) -> Tensor:
        """Return the group's weights of one map, (inputs + 1, outputs), without padding; the cell's as it is fused."""
        layer = self.cell if part.name == CELL else self.layers[part.name]
        weight, bias = cast("Tensor", layer.weight), cast("Tensor", layer.bias)
        return torch.cat((weight, bias[None]))[:, : part.outputs]


class _Frozen(Protocol):
    weight: Tensor
    bias: Tensor
    width: int
    tanh: bool


def with_one(x: Tensor) -> Tensor:
    """Return `x` (..., I) with a 1 behind it (..., I + 1)."""
    return torch.cat((x, x.new_ones(*x.shape[:-1], 1)), dim=-1)


def _added(x: Tensor, change: Tensor) -> Tensor:
    return torch.bmm(with_one(x)[:, None], change)[:, 0]
