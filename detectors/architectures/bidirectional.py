"""Two LSTMs in opposite directions: one reads on for ever, one reads the stored window back from the newest sample.

Schuster and Paliwal, "Bidirectional recurrent neural networks", IEEE Transactions on Signal Processing 45(11), 1997;
Graves and Schmidhuber, "Framewise phoneme classification with bidirectional LSTM", Neural Networks 18, 2005. A stream
has no end from which to read back, so the backward pass begins at the newest sample and ends `window` samples before:
nothing later than the newest is ever read.
"""

from __future__ import annotations

import torch
from torch import Tensor

from detectors.architectures.family import Autoencoder, Sizes, State, Widths, with_recent
from detectors.lstm import build_lstm


class BidirectionalAutoencoder(Autoencoder):
    """The heads read what both directions say last; behind the cell state the window's values are carried."""

    @classmethod
    def widths_of(cls, sizes: Sizes) -> Widths:
        """Return the widths of the forward state, of the values before the newest, and of both directions."""
        recent = (sizes.settings.window - 1) * sizes.channels
        return Widths(sizes.settings.hidden, sizes.settings.hidden + recent, 2 * sizes.settings.hidden)

    def build_encoder(self) -> None:
        """Add both directions; the backward one reads the channels' values alone."""
        self.encoder = build_lstm(self.features, self.settings.hidden)
        self.backward_encoder = build_lstm(self.channels, self.settings.hidden)

    def encode(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        """Read `inputs` forward, and at each of them its window backward from nothing."""
        hidden, (cell, recent) = self.settings.hidden, state[1].tensor_split((self.settings.hidden,), dim=1)
        forward, (h, c) = self.encoder(inputs, (state[0][None], cell[None]))
        windows, recent = with_recent(recent, inputs[..., : self.channels], self.window)  # (T, B, W, D)
        newest_first = windows.flatten(0, 1).flip(1).transpose(0, 1)  # (W, T * B, D)
        nothing = inputs.new_zeros(1, newest_first.shape[1], hidden)
        _, (back, _) = self.backward_encoder(newest_first, (nothing, nothing))
        summary = torch.cat((forward, back.view(*forward.shape)), dim=2)
        return summary, (h[0], torch.cat((c[0], recent), dim=1))
