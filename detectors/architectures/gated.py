"""One layer of gated recurrent units: an LSTM without a separate memory, with three quarters of its weights.

Cho et al., "Learning phrase representations using RNN encoder-decoder for statistical machine translation", EMNLP 2014.
"""

from __future__ import annotations

from torch import Tensor

from detectors.architectures.family import Autoencoder, Sizes, State, Widths
from detectors.recurrent import build_gru


class GRUAutoencoder(Autoencoder):
    """One layer; its hidden state is short-term and long-term memory in one."""

    @classmethod
    def widths_of(cls, sizes: Sizes) -> Widths:
        """Return the width of the hidden state; there is no other."""
        return Widths(sizes.settings.hidden, 0, sizes.settings.hidden)

    def build_encoder(self) -> None:
        """Add the layer."""
        self.encoder = build_gru(self.features, self.settings.hidden)

    def encode(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        """Read `inputs`; the hidden state is the summary."""
        hidden, h = self.encoder(inputs, state[0][None])
        return hidden, (h[0], state[1])
