"""The plain LSTM autoencoder, taught to tell the clean window after having read a noisy one.

Vincent et al., "Extracting and composing robust features with denoising autoencoders", ICML 2008.
"""

from __future__ import annotations

import torch
from torch import Tensor

from detectors.architectures.family import Teaching
from detectors.architectures.plain import LSTMAutoencoder


class DenoisingAutoencoder(LSTMAutoencoder):
    """In training Gaussian noise is added to what is read, never to what is to be told."""

    def disturbed(self, inputs: Tensor, teaching: Teaching) -> Tensor:
        """Return `inputs` with noise of `training.noise` scaled units."""
        if teaching.chance is None:
            return inputs
        noise = torch.randn(inputs.shape, generator=teaching.chance, dtype=inputs.dtype).to(inputs.device)
        return inputs + teaching.training.noise * noise
