"""One layer of LSTM cells, read by all heads: the default.

Hochreiter and Schmidhuber, "Long Short-Term Memory", Neural Computation 9(8), 1997; as an autoencoder with the state
carried on, after Malhotra et al., "LSTM-based Encoder-Decoder for Multi-sensor Anomaly Detection", 2016.
"""

from __future__ import annotations

from torch import Tensor, nn

from detectors.architectures.family import Autoencoder, State
from detectors.lstm import build_lstm


class LSTMAutoencoder(Autoencoder):
    """The plain LSTM autoencoder."""

    def build_encoder(self) -> None:
        """Add the layer."""
        self.encoder = build_lstm(self.features, self.settings.hidden)

    def encode(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        """Read `inputs`; the hidden state is the summary."""
        hidden, (h, c) = self.encoder(inputs, (state[0][None], state[1][None]))
        return hidden, (h[0], c[0])

    def reader(self) -> nn.Module:
        """Return the layer."""
        return self.encoder
