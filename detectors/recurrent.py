"""Two relatives of the LSTM cell, each once by its equations, once as torch trains it, once as it scores.

Elman, "Finding structure in time", 1990, for the plain recurrent unit; Cho et al., "Learning phrase representations
using RNN encoder-decoder", 2014, for the gated one, in the form that torch has (the reset gate acts on U h + b).

Shapes: B streams side by side, F inputs, H units, T steps in time.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from detectors.lstm import padded

# by their equations; the weights are torch's: wx (k H, F), wh (k H, H), biases (k H,)


def rnn_cell(x: Tensor, h: Tensor, rnn: nn.RNN) -> Tensor:
    """Take one step with the inputs `x` (B, F) and return the next hidden state (B, H)."""
    wx, wh, bias_x, bias_h = rnn.all_weights[0]
    return torch.tanh(x @ wx.t() + bias_x + h @ wh.t() + bias_h)


def gru_cell(x: Tensor, h: Tensor, gru: nn.GRU) -> Tensor:
    """Take one step with the inputs `x` (B, F) and return the next hidden state (B, H)."""
    wx, wh, bias_x, bias_h = gru.all_weights[0]
    reset_x, update_x, candidate_x = (x @ wx.t() + bias_x).chunk(3, dim=1)
    reset_h, update_h, candidate_h = (h @ wh.t() + bias_h).chunk(3, dim=1)
    r = torch.sigmoid(reset_x + reset_h)  # how much of the old state the candidate sees
    z = torch.sigmoid(update_x + update_h)  # how much of the old state stays
    candidate = torch.tanh(candidate_x + r * candidate_h)
    return (1 - z) * candidate + z * h


# the forms that train


def build_rnn(inputs: int, hidden: int) -> nn.RNN:
    """Return torch's one-layer recurrent network of tanh units."""
    return nn.RNN(inputs, hidden)


def build_gru(inputs: int, hidden: int) -> nn.GRU:
    """Return torch's one-layer network of gated recurrent units."""
    return nn.GRU(inputs, hidden)


@torch.no_grad()
def initialise_recurrent(cells: nn.RNN | nn.GRU, generator: torch.Generator) -> None:
    """Draw fresh weights as those of an LSTM are drawn: the largest eigenvalue is near 0.8. Biases are 0."""
    wx, wh, bias_x, bias_h = cells.all_weights[0]
    wx.normal_(0.0, math.sqrt(1.0 / (cells.input_size + cells.hidden_size)), generator=generator)
    wh.normal_(0.0, math.sqrt(0.64 / cells.hidden_size), generator=generator)
    bias_x.zero_()
    bias_h.zero_()


# the forms that score


class _Fused(nn.Module):
    """Cells whose step is one matrix product; take calls as torch's do."""

    weight: Tensor
    bias: Tensor

    def step(self, xh: Tensor, h: Tensor) -> Tensor:
        """Take one step from inputs and hidden state side by side (B, F + H) and return the hidden state (B, H)."""
        raise NotImplementedError

    def forward(self, inputs: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """Take one step for each of `inputs` (T, B, F) from `state` (1, B, H); return (T, B, H) and the state."""
        h, hidden = state[0], []
        for x in inputs:
            h = self.step(torch.cat((x, h), dim=1), h)
            hidden.append(h)
        return torch.stack(hidden) if len(hidden) > 1 else h[None], h[None]


class FusedRNN(_Fused):
    """Tanh units as one matrix product."""

    def __init__(self, rnn: nn.RNN) -> None:
        super().__init__()
        wx, wh, bias_x, bias_h = rnn.all_weights[0]
        self.hidden_size = rnn.hidden_size
        self.register_buffer("weight", padded(torch.cat((wx, wh), dim=1).t()))  # (F + H, H, padded)
        self.register_buffer("bias", padded(bias_x + bias_h))

    def step(self, xh: Tensor, h: Tensor) -> Tensor:  # noqa: ARG002  # the state is in `xh`
        """Take one step."""
        return torch.addmm(self.bias, xh, self.weight).tanh()[:, : self.hidden_size]


class FusedGRU(_Fused):
    """Gated units as one matrix product, in which the candidate's two halves stay apart."""

    def __init__(self, gru: nn.GRU) -> None:
        super().__init__()
        wx, wh, bias_x, bias_h = gru.all_weights[0]
        size = self.hidden_size = gru.hidden_size
        of_x = torch.cat((wx, torch.zeros(size, wx.shape[1])))  # (4 H, F): reset, update, candidate of x and of h
        of_h = torch.cat((wh[: 2 * size], torch.zeros(size, size), wh[2 * size :]))
        biases = (bias_x + bias_h)[: 2 * size], bias_x[2 * size :], bias_h[2 * size :]
        self.register_buffer("weight", padded(torch.cat((of_x, of_h), dim=1).t()))  # (F + H, 4 H, padded)
        self.register_buffer("bias", padded(torch.cat(biases)))

    def step(self, xh: Tensor, h: Tensor) -> Tensor:
        """Take one step."""
        told = torch.addmm(self.bias, xh, self.weight)[:, : 4 * self.hidden_size]
        reset, update, of_x, of_h = told.chunk(4, dim=1)  # each (B, H)
        r, z = reset.sigmoid(), update.sigmoid()
        candidate = torch.tanh(of_x + r * of_h)
        return torch.lerp(candidate, h, z)
