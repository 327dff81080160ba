"""The LSTM cell: once by its equations, for reading and checking, and once fused, for speed.

Hochreiter and Schmidhuber, "Long Short-Term Memory", Neural Computation 9(8), 1997.
Gers, Schmidhuber and Cummins, "Learning to Forget: Continual Prediction with LSTM", Neural Computation 12(10), 2000.

Shapes: B streams side by side, F inputs, H memory cells, T steps in time.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

FORGET_BIAS: Final = 1.0
WIDTH_STEP: Final = 16
"""Products are padded to a multiple of this many columns; see `padded`."""


# the cell by its equations


class Gate(NamedTuple):
    """One affine map from the input and the hidden state to the H memory cells."""

    weight: Tensor  # (F + H, H)
    bias: Tensor  # (H,)

    def __call__(self, xh: Tensor) -> Tensor:
        """Return the gate's pre-activation (B, H) for inputs and hidden state side by side (B, F + H)."""
        return xh @ self.weight + self.bias


@dataclass(frozen=True, slots=True)
class LSTMWeights:
    """The four affine maps of an LSTM cell."""

    forget: Gate
    insert: Gate
    candidate: Gate
    output: Gate

    @classmethod
    def of(cls, lstm: nn.LSTM) -> LSTMWeights:
        """Return the weights of a one-layer `torch.nn.LSTM`, still connected to its gradients.

        torch stacks the gates as insert, forget, candidate, output, keeps input and hidden weights apart, and has two
        biases where the equations have one.
        """
        wx, wh, bias_x, bias_h = lstm.all_weights[0]  # (4 H, F), (4 H, H), (4 H,), (4 H,)
        weights = torch.cat((wx, wh), dim=1).t().chunk(4, dim=1)  # 4 x (F + H, H)
        biases = (bias_x + bias_h).chunk(4)  # 4 x (H,)
        insert, forget, candidate, output = map(Gate, weights, biases)
        return cls(forget, insert, candidate, output)


def cell(x: Tensor, h: Tensor, c: Tensor, weights: LSTMWeights) -> tuple[Tensor, Tensor]:
    """Take one step with the inputs `x` (B, F) and return the next hidden and cell state, each (B, H).

    `h` is the short-term memory: what the cell says now. `c` is the long-term memory: what it carries on. The only
    way from one cell state to the next is a product with `f` and a sum, so what is remembered fades only when `f` says.
    """
    xh = torch.cat((x, h), dim=1)  # (B, F + H)
    f = torch.sigmoid(weights.forget(xh))  # (B, H): how much of the old memory stays
    i = torch.sigmoid(weights.insert(xh))  # (B, H): how much of the new enters
    candidate = torch.tanh(weights.candidate(xh))  # (B, H): what is new
    c = f * c + i * candidate  # (B, H)
    o = torch.sigmoid(weights.output(xh))  # (B, H): how much of the memory shows
    h = o * torch.tanh(c)  # (B, H)
    return h, c


def unroll(inputs: Tensor, h: Tensor, c: Tensor, weights: LSTMWeights) -> tuple[Tensor, Tensor, Tensor]:
    """Take one step for each of the T `inputs` (T, B, F); return every hidden state (T, B, H) and the last `h`, `c`."""
    hidden = []
    for x in inputs:
        h, c = cell(x, h, c, weights)
        hidden.append(h)
    return torch.stack(hidden), h, c


# the form that trains


def build_lstm(inputs: int, hidden: int) -> nn.LSTM:
    """Return torch's one-layer LSTM, which trains several times faster than the equations step by step."""
    return nn.LSTM(inputs, hidden)


@torch.no_grad()
def initialise_lstm(lstm: nn.LSTM, generator: torch.Generator) -> None:
    """Draw fresh weights: inputs N(0, 1/(F+H)), hidden N(0, 0.64/H), biases 0 but the forget gate's, which is 1.

    The hidden weights' largest eigenvalue is then near 0.8, so the untrained state neither dies nor explodes, and with
    its bias the forget gate starts at 0.73: memory lasts from the first step of training on. The second of torch's two
    biases stays 0, or the sum would be 2.
    """
    size = lstm.hidden_size
    wx, wh, bias_x, bias_h = lstm.all_weights[0]
    wx.normal_(0.0, math.sqrt(1.0 / (lstm.input_size + size)), generator=generator)
    wh.normal_(0.0, math.sqrt(0.64 / size), generator=generator)
    bias_x.zero_()
    bias_h.zero_()
    bias_x[size : 2 * size] = FORGET_BIAS


# the form that scores


def padded(matrix: Tensor) -> Tensor:
    """Return `matrix` (..., N) with zero columns up to the next multiple of WIDTH_STEP.

    Matrix libraries switch to other kernels for odd widths, and some of those sum a row in an order that depends on
    where in the batch it stands. At full widths every row is summed alike; tests/unit/detectors/test_network.py holds
    this to the bit.
    """
    return nn.functional.pad(matrix, (0, -matrix.shape[-1] % WIDTH_STEP)).contiguous()


def squash(x: Tensor) -> Tensor:
    """Let `x` become tanh(x) in place and return it."""
    if x.requires_grad or x.device.type != "cpu":
        return x.tanh_()
    there = x.numpy()
    np.tanh(there, out=there)  # several times as fast as torch's
    return x


class FusedLSTM(nn.Module):
    """The cell as one matrix product and one sigmoid; takes calls as `torch.nn.LSTM` does."""

    weight: Tensor  # (F + H, 4 H, padded)
    bias: Tensor  # (4 H, padded)

    def __init__(self, weights: LSTMWeights) -> None:
        """Stack the gates; the candidate counts double because tanh(a) = 2 sigmoid(2 a) - 1."""
        super().__init__()
        gates = (weights.forget, weights.insert, weights.output)
        self.hidden_size = len(weights.forget.bias)
        stacked = torch.cat([*(gate.weight for gate in gates), 2.0 * weights.candidate.weight], dim=1)
        biases = torch.cat([*(gate.bias for gate in gates), 2.0 * weights.candidate.bias])
        self.register_buffer("weight", padded(stacked))
        self.register_buffer("bias", padded(biases))

    def equations(self) -> LSTMWeights:
        """Return the four affine maps that this form was made of, to the bit."""
        weights = self.weight[:, : 4 * self.hidden_size].cpu().chunk(4, dim=1)
        biases = self.bias[: 4 * self.hidden_size].cpu().chunk(4)
        forget, insert, output, doubled = map(Gate, weights, biases)
        return LSTMWeights(forget, insert, Gate(0.5 * doubled.weight, 0.5 * doubled.bias), output)

    def step(self, xh: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        """Take one step from inputs and hidden state side by side (B, F + H) and return `h`, `c`, each (B, H)."""
        return self.opened(torch.addmm(self.bias, xh, self.weight), c)

    def opened(self, before: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        """Return `h`, `c`, each (B, H), of gates that are given before they are squashed (B, 4 H, padded), in place."""
        gates = before.sigmoid_()
        f, i, o, doubled = gates[:, : 4 * self.hidden_size].chunk(4, dim=1)  # each (B, H)
        c = torch.addcmul(f * c, i, 2.0 * doubled - 1.0)
        return o * squash(c.clone()), c

    def forward(self, inputs: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Take one step for each of `inputs` (T, B, F) from `state` 2 x (1, B, H); return (T, B, H) and the state."""
        h, c = state[0][0], state[1][0]
        hidden = []
        for x in inputs:
            h, c = self.step(torch.cat((x, h), dim=1), c)
            hidden.append(h)
        return torch.stack(hidden) if len(hidden) > 1 else h[None], (h[None], c[None])
