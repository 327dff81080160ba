"""A causal convolution in front of the LSTM: filters for the shape of the last few samples, memory behind them.

LeCun et al., "Gradient-based learning applied to document recognition", 1998, for the filters; Sainath et al.,
"Convolutional, long short-term memory, fully connected deep neural networks", ICASSP 2015, and Kim and Cho, "Web
traffic anomaly detection using C-LSTM neural networks", Expert Systems with Applications 106, 2018, for the two.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from detectors.architectures.family import Autoencoder, Sizes, State, Widths, with_recent
from detectors.layers import TanhLinear
from detectors.lstm import build_lstm
from detectors.settings import ModelSettings


class ConvolutionalAutoencoder(Autoencoder):
    """The LSTM reads `hidden` filters over the last `kernel` samples; behind the cell state those are carried."""

    first_weight = "filters.weight"  # (H, kernel * F)

    @classmethod
    def widths_of(cls, sizes: Sizes) -> Widths:
        """Return the widths of one layer of cells and of the inputs before the newest."""
        recent = (sizes.settings.kernel - 1) * sizes.features
        return Widths(sizes.settings.hidden, sizes.settings.hidden + recent, sizes.settings.hidden)

    @classmethod
    def features_of(cls, shape: Sequence[int], settings: ModelSettings) -> int:
        """Return how many inputs the filters read of each sample."""
        return shape[1] // settings.kernel

    def build_encoder(self) -> None:
        """Add filters and cells."""
        self.filters = TanhLinear(self.settings.kernel * self.features, self.settings.hidden)
        self.encoder = build_lstm(self.settings.hidden, self.settings.hidden)

    def encode(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        """Read what the filters make of `inputs` and of those before them."""
        cell, recent = state[1].tensor_split((self.settings.hidden,), dim=1)
        patches, recent = with_recent(recent, inputs, self.settings.kernel)  # (T, B, kernel, F)
        filtered = self.filters(patches.flatten(2).flatten(0, 1)).view(*inputs.shape[:2], -1)  # (T, B, H)
        hidden, (h, c) = self.encoder(filtered, (state[0][None], cell[None]))
        return hidden, (h[0], torch.cat((c[0], recent), dim=1))
