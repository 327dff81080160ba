"""The plain recurrent network: the control that shows what the gates of an LSTM are for.

Elman, "Finding structure in time", Cognitive Science 14(2), 1990. It has no cell state: all that it remembers goes
through the same squashing at every step, so its gradients vanish or explode over time (Hochreiter 1991; Bengio,
Simard and Frasconi 1994). See `benchmarks/long_memory.py`.
"""

from __future__ import annotations

from torch import Tensor

from detectors.architectures.family import Autoencoder, Sizes, State, Widths
from detectors.recurrent import build_rnn


class RNNAutoencoder(Autoencoder):
    """One layer of units h' = tanh(W x + U h + b)."""

    @classmethod
    def widths_of(cls, sizes: Sizes) -> Widths:
        """Return the width of the hidden state; there is no other."""
        return Widths(sizes.settings.hidden, 0, sizes.settings.hidden)

    def build_encoder(self) -> None:
        """Add the layer."""
        self.encoder = build_rnn(self.features, self.settings.hidden)

    def encode(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        """Read `inputs`; the hidden state is the summary."""
        hidden, h = self.encoder(inputs, state[0][None])
        return hidden, (h[0], state[1])
