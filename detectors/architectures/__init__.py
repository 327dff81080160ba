"""The family of recurrent autoencoders, by the names that `model.architecture` takes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from detectors.architectures.bidirectional import BidirectionalAutoencoder
from detectors.architectures.contractive import ContractiveAutoencoder
from detectors.architectures.control import RNNAutoencoder
from detectors.architectures.convolutional import ConvolutionalAutoencoder
from detectors.architectures.denoising import DenoisingAutoencoder
from detectors.architectures.family import Autoencoder, Sizes, Widths
from detectors.architectures.gated import GRUAutoencoder
from detectors.architectures.plain import LSTMAutoencoder
from detectors.architectures.stacked import StackedAutoencoder
from detectors.architectures.variational import VariationalAutoencoder
from detectors.settings import Architecture, ModelSettings

__all__ = ["FAMILY", "widths_of"]

FAMILY: Final[Mapping[Architecture, type[Autoencoder]]] = {
    "lstm": LSTMAutoencoder,
    "stacked": StackedAutoencoder,
    "bidirectional": BidirectionalAutoencoder,
    "cnn": ConvolutionalAutoencoder,
    "variational": VariationalAutoencoder,
    "contractive": ContractiveAutoencoder,
    "denoising": DenoisingAutoencoder,
    "gru": GRUAutoencoder,
    "rnn": RNNAutoencoder,
}


def widths_of(settings: ModelSettings, *, features: int, channels: int) -> Widths:
    """Return what a stream carries under the architecture that the settings name; builds nothing."""
    return FAMILY[settings.architecture].widths_of(Sizes(features, channels, settings))
