"""Layers of LSTM cells on top of each other: the upper ones see what the lower ones made of the input.

Schmidhuber, "Learning complex, extended sequences using the principle of history compression", Neural Computation
4(2), 1992; Graves, Mohamed and Hinton, "Speech recognition with deep recurrent neural networks", ICASSP 2013.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from detectors.architectures.family import Autoencoder, Sizes, State, Widths
from detectors.lstm import build_lstm


class StackedAutoencoder(Autoencoder):
    """`layers` layers; each has a hidden and a cell state of its own, and the heads read the uppermost."""

    first_weight = "encoder.0.weight_ih_l0"

    @classmethod
    def widths_of(cls, sizes: Sizes) -> Widths:
        """Return the widths of all layers' states together."""
        every = sizes.settings.layers * sizes.settings.hidden
        return Widths(every, every, sizes.settings.hidden)

    def build_encoder(self) -> None:
        """Add the layers, the lowest first."""
        hidden = self.settings.hidden
        widths = [self.features] + [hidden] * (self.settings.layers - 1)
        self.encoder = nn.ModuleList(build_lstm(width, hidden) for width in widths)

    def encode(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        """Read `inputs` with the lowest layer, and with each other what the one below it says."""
        hidden, cell = (part.chunk(self.settings.layers, dim=1) for part in state)
        told, last_h, last_c = inputs, [], []
        for layer, h, c in zip(self.encoder, hidden, cell, strict=True):
            told, (next_h, next_c) = layer(told, (h[None], c[None]))
            last_h.append(next_h[0])
            last_c.append(next_c[0])
        return told, (torch.cat(last_h, dim=1), torch.cat(last_c, dim=1))
