"""Affine layers that an autoencoder is made of; what they are named for decides how they start and how they freeze."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class TanhLinear(nn.Linear):
    """An affine map with a tanh behind it."""

    def forward(self, x: Tensor) -> Tensor:
        """Return tanh(x W' + b)."""
        return torch.tanh(super().forward(x))


class OutputLinear(nn.Linear):
    """An affine map whose result is a prediction; it starts at zero, so an untrained model predicts the usual level."""
