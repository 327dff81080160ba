"""Autoencoders with fresh weights, and with weights from elsewhere, checked against the settings.

What an autoencoder computes stands in `detectors/architectures/`, one file for each architecture.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from detectors.architectures import FAMILY
from detectors.architectures.family import Autoencoder, Sizes
from detectors.layers import OutputLinear
from detectors.lstm import initialise_lstm
from detectors.recurrent import initialise_recurrent
from detectors.settings import ModelSettings

Weights = Mapping[str, NDArray[np.float32]]
"""All weights of an autoencoder by their names."""


def untrained(*, features: int, channels: int, settings: ModelSettings, seed: int) -> Autoencoder:
    """Return a model with fresh weights that depend on `seed` and the sizes only; global randomness stays untouched."""
    model = _hollow(features, channels, settings).to_empty(device="cpu")
    generator = torch.Generator().manual_seed(seed)
    for part in model.modules():
        if isinstance(part, nn.LSTM):
            initialise_lstm(part, generator)
        elif isinstance(part, nn.RNN | nn.GRU):
            initialise_recurrent(part, generator)
        elif isinstance(part, nn.Linear):
            _initialise_linear(part, generator)
    return model


def weights_of(model: Autoencoder) -> dict[str, NDArray[np.float32]]:
    """Return a copy of the model's weights by name."""
    return {name: tensor.detach().cpu().numpy().copy() for name, tensor in model.state_dict().items()}


def with_weights(weights: Weights, settings: ModelSettings) -> Autoencoder:
    """Return the model that has these weights; features and channels are read off them.

    Raises ValueError naming the weights that are missing, too many, or of another shape than `settings` ask for.
    """
    features, channels = sizes_of(weights, settings)
    expected = weight_shapes(features=features, channels=channels, settings=settings)
    found = {name: array.shape for name, array in weights.items()}
    if wrong := sorted(name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name)):
        told = "; ".join(f"{name} is {found.get(name)} and should be {expected.get(name)}" for name in wrong)
        raise ValueError(f"these weights do not fit the model settings: {told}")
    model = _hollow(features, channels, settings)
    tensors = {name: torch.tensor(array, dtype=torch.float32) for name, array in weights.items()}
    model.load_state_dict(tensors, assign=True)
    return model


def sizes_of(weights: Weights, settings: ModelSettings) -> tuple[int, int]:
    """Return how many features and channels the model with these weights has; raises ValueError when it cannot tell."""
    architecture = FAMILY[settings.architecture]
    reading, telling = weights.get(architecture.first_weight), weights.get("ahead_out.bias")
    if reading is None or telling is None or reading.ndim != 2 or telling.ndim != 1:
        raise ValueError(
            f"these are not the weights of an autoencoder of architecture {settings.architecture}: "
            f"they are called {sorted(weights)[:8]}"
        )
    return architecture.features_of(reading.shape, settings), telling.shape[0] // settings.horizon


def weight_shapes(*, features: int, channels: int, settings: ModelSettings) -> dict[str, tuple[int, ...]]:
    """Return the shape of every weight by name; allocates nothing."""
    return {name: tuple(tensor.shape) for name, tensor in _hollow(features, channels, settings).state_dict().items()}


def _hollow(features: int, channels: int, settings: ModelSettings) -> Autoencoder:
    # torch's constructors draw from the global generator; on the meta device there is nothing to draw
    with torch.device("meta"):
        return FAMILY[settings.architecture](Sizes(features, channels, settings))


@torch.no_grad()
def _initialise_linear(layer: nn.Linear, generator: torch.Generator) -> None:
    layer.bias.zero_()
    if isinstance(layer, OutputLinear):
        layer.weight.zero_()
    else:
        layer.weight.normal_(0.0, math.sqrt(1.0 / layer.in_features), generator=generator)
