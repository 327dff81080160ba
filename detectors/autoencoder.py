"""The LSTM autoencoder: an encoder that remembers a stream, a decoder that retells its window, and a forecast.

After Malhotra et al., "LSTM-based Encoder-Decoder for Multi-sensor Anomaly Detection", 2016: the decoder tells the
window in reverse order, newest sample first, because the newest is what the encoder's state holds best.

Shapes: T steps, B streams side by side, F inputs, D channels, H hidden width, Z width of the code, W window.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from detectors.lstm import build_lstm, initialise_lstm
from detectors.settings import Decoder, ModelSettings

State = tuple[Tensor, Tensor]
"""Hidden and cell state, each (B, H)."""

Weights = Mapping[str, NDArray[np.float32]]
"""All weights of an autoencoder by their names."""


class TanhLinear(nn.Linear):
    """An affine map with a tanh behind it."""

    def forward(self, x: Tensor) -> Tensor:
        """Return tanh(x W' + b)."""
        return torch.tanh(super().forward(x))


class OutputLinear(nn.Linear):
    """An affine map whose result is a prediction; it starts at zero, so an untrained model predicts the usual level."""


# decoders: code (B, Z) -> the last W samples, newest first (B, W, D)


class LinearDecoder(nn.Module):
    """Retell the window by one affine map."""

    def __init__(self, channels: int, settings: ModelSettings) -> None:
        super().__init__()
        self.shape = (settings.window, channels)
        self.out = OutputLinear(settings.bottleneck, settings.window * channels)

    def forward(self, code: Tensor) -> Tensor:
        """Return the window (B, W, D) told by `code` (B, Z)."""
        told: Tensor = self.out(code)  # (B, W * D)
        return told.view(-1, *self.shape)


class MLPDecoder(nn.Module):
    """Retell the window through one hidden layer: as accurate as an LSTM decoder, at a third of its cost."""

    def __init__(self, channels: int, settings: ModelSettings) -> None:
        super().__init__()
        self.shape = (settings.window, channels)
        self.wide = TanhLinear(settings.bottleneck, settings.hidden)
        self.out = OutputLinear(settings.hidden, settings.window * channels)

    def forward(self, code: Tensor) -> Tensor:
        """Return the window (B, W, D) told by `code` (B, Z)."""
        told: Tensor = self.out(self.wide(code))  # (B, W * D)
        return told.view(-1, *self.shape)


class LSTMDecoder(nn.Module):
    """Retell the window sample by sample, going back in time, with the code as the input of every step."""

    def __init__(self, channels: int, settings: ModelSettings) -> None:
        super().__init__()
        self.window, self.hidden = settings.window, settings.hidden
        self.lstm = build_lstm(settings.bottleneck, settings.hidden)
        self.out = OutputLinear(settings.hidden, channels)

    def forward(self, code: Tensor) -> Tensor:
        """Return the window (B, W, D) told by `code` (B, Z)."""
        nothing = code.new_zeros(1, len(code), self.hidden)
        hidden, _ = self.lstm(code.expand(self.window, -1, -1), (nothing, nothing))  # (W, B, H)
        told: Tensor = self.out(hidden.flatten(0, 1))  # (W * B, D)
        return told.view(self.window, len(code), -1).transpose(0, 1)


def build_decoder(channels: int, settings: ModelSettings) -> LinearDecoder | MLPDecoder | LSTMDecoder:
    """Return the decoder that the settings name."""
    kinds: dict[Decoder, type[LinearDecoder | MLPDecoder | LSTMDecoder]]
    kinds = {"linear": LinearDecoder, "mlp": MLPDecoder, "lstm": LSTMDecoder}
    return kinds[settings.decoder](channels, settings)


# the model


class LSTMAutoencoder(nn.Module):
    """Encoder, decoder and forecast; the weights are shared by a group, the state belongs to a stream."""

    def __init__(self, *, features: int, channels: int, settings: ModelSettings) -> None:
        """Build the model for `features` inputs and `channels` outputs; `untrained` gives it its first weights.

        The first inputs are the channels' own newest values: the forecast starts from them. Raises ValueError when
        there are fewer inputs than channels.
        """
        super().__init__()
        if features < channels:
            raise ValueError(f"{features} inputs cannot begin with the values of {channels} channels")
        hidden = settings.hidden
        self.window, self.channels = settings.window, channels
        self.encoder = build_lstm(features, hidden)
        self.code = TanhLinear(hidden, settings.bottleneck)
        self.decoder = build_decoder(channels, settings)
        self.ahead = TanhLinear(hidden, hidden)
        self.ahead_out = OutputLinear(hidden, channels)

    def encode(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        """Read `inputs` (T, B, F) one after the other; return the hidden state after each (T, B, H), and the last."""
        hidden, (h, c) = self.encoder(inputs, (state[0][None], state[1][None]))
        return hidden, (h[0], c[0])

    def decode(self, hidden: Tensor) -> Tensor:
        """Return the last W samples as `hidden` (B, H) remembers them, newest first (B, W, D)."""
        return self.decoder(self.code(hidden))  # type: ignore[no-any-return]

    def forecast(self, hidden: Tensor, newest: Tensor) -> Tensor:
        """Return the next sample (B, D) as `hidden` (B, H) expects it: the `newest` (B, D) and a learnt change.

        Untrained it repeats the newest sample, the best plain forecast of most metrics.
        """
        return newest + self.ahead_out(self.ahead(hidden))  # type: ignore[no-any-return]


def masked_huber(predicted: Tensor, actual: Tensor, counted: Tensor) -> tuple[Tensor, Tensor]:
    """Return the sum of the Huber(1) losses where `counted` holds, and how many those are; all of one shape.

    What is not counted (missing values, warm-up steps) may be anything, NaN too: it reaches neither loss nor gradient.
    """
    actual = torch.where(counted, actual, predicted.detach())
    return nn.functional.huber_loss(predicted, actual, reduction="sum", delta=1.0), counted.sum()


# first weights, and weights from elsewhere


def untrained(*, features: int, channels: int, settings: ModelSettings, seed: int) -> LSTMAutoencoder:
    """Return a model with fresh weights that depend on `seed` and the sizes only; global randomness stays untouched."""
    model = _hollow(features, channels, settings).to_empty(device="cpu")
    generator = torch.Generator().manual_seed(seed)
    for part in model.modules():
        if isinstance(part, nn.LSTM):
            initialise_lstm(part, generator)
        elif isinstance(part, nn.Linear):
            _initialise_linear(part, generator)
    return model


def weights_of(model: LSTMAutoencoder) -> dict[str, NDArray[np.float32]]:
    """Return a copy of the model's weights by name."""
    return {name: tensor.detach().numpy().copy() for name, tensor in model.state_dict().items()}


def with_weights(weights: Weights, settings: ModelSettings) -> LSTMAutoencoder:
    """Return the model that has these weights; features and channels are read off them.

    Raises ValueError naming the weights that are missing, too many, or of another shape than `settings` ask for.
    """
    features, channels = sizes_of(weights)
    expected = weight_shapes(features=features, channels=channels, settings=settings)
    found = {name: array.shape for name, array in weights.items()}
    if wrong := sorted(name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name)):
        told = "; ".join(f"{name} is {found.get(name)} and should be {expected.get(name)}" for name in wrong)
        raise ValueError(f"these weights do not fit the model settings: {told}")
    model = _hollow(features, channels, settings)
    tensors = {name: torch.tensor(array, dtype=torch.float32) for name, array in weights.items()}
    model.load_state_dict(tensors, assign=True)
    return model


def sizes_of(weights: Weights) -> tuple[int, int]:
    """Return how many features and channels the model with these weights has; raises ValueError when it cannot tell."""
    reading, telling = weights.get("encoder.weight_ih_l0"), weights.get("ahead_out.bias")
    if reading is None or telling is None or reading.ndim != 2 or telling.ndim != 1:
        raise ValueError(f"these are not the weights of an LSTM autoencoder: they are called {sorted(weights)[:8]}")
    return reading.shape[1], telling.shape[0]


def weight_shapes(*, features: int, channels: int, settings: ModelSettings) -> dict[str, tuple[int, ...]]:
    """Return the shape of every weight by name; allocates nothing."""
    return {name: tuple(tensor.shape) for name, tensor in _hollow(features, channels, settings).state_dict().items()}


def _hollow(features: int, channels: int, settings: ModelSettings) -> LSTMAutoencoder:
    # torch's constructors draw from the global generator; on the meta device there is nothing to draw
    with torch.device("meta"):
        return LSTMAutoencoder(features=features, channels=channels, settings=settings)


@torch.no_grad()
def _initialise_linear(layer: nn.Linear, generator: torch.Generator) -> None:
    layer.bias.zero_()
    if isinstance(layer, OutputLinear):
        layer.weight.zero_()
    else:
        layer.weight.normal_(0.0, math.sqrt(1.0 / layer.in_features), generator=generator)
