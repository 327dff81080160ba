"""The plain LSTM autoencoder, taught to change its state as little as it can when the input changes a little.

Rifai et al., "Contractive auto-encoders: explicit invariance during feature extraction", ICML 2011: the penalty is the
squared Frobenius norm of the encoder's Jacobian, here of one step of the cell, the state before it given. Of

    f, i, o = sigmoid(a_f), sigmoid(a_i), sigmoid(a_o)    g = tanh(a_g)    c' = f c + i g    h' = o tanh(c')

with a_k = W_k x + U_k h + b_k, the chain rule gives dh'/dx = sum over k of diag(s_k) W_k, where

    s_f = q f (1 - f) c    s_i = q i (1 - i) g    s_g = q i (1 - g^2)    s_o = o (1 - o) tanh(c')
    q = o (1 - tanh(c')^2)

and a row's squared norm is the sum over k, l of s_k s_l (W_k W_l')_jj: exact, and no Jacobian is ever built.
"""

from __future__ import annotations

import torch
from torch import Tensor

from detectors.architectures.family import State, Teaching
from detectors.architectures.plain import LSTMAutoencoder
from detectors.lstm import LSTMWeights


class ContractiveAutoencoder(LSTMAutoencoder):
    """In training the mean squared norm of dh'/dx, times `training.contraction`, joins the loss."""

    def penalty(self, inputs: Tensor, state: State, summary: Tensor, teaching: Teaching) -> Tensor:
        """Return the weighted mean over all steps and streams."""
        return teaching.training.contraction * self.squared_jacobians(inputs, state, summary).mean()

    def squared_jacobians(self, inputs: Tensor, state: State, hidden: Tensor) -> Tensor:
        """Return the squared Frobenius norm of dh'/dx at every step (T, B), of a chunk read from `state`."""
        weights = LSTMWeights.of(self.encoder)
        xh = torch.cat((inputs, torch.cat((state[0][None], hidden[:-1]))), dim=2)  # (T, B, F + H)
        f, i, o = (torch.sigmoid(gate(xh)) for gate in (weights.forget, weights.insert, weights.output))
        g = torch.tanh(weights.candidate(xh))  # (T, B, H), each of the four
        cells = [state[1]]
        for forget, added in zip(f, i * g, strict=True):
            cells.append(forget * cells[-1] + added)
        before, shown = torch.stack(cells[:-1]), torch.tanh(torch.stack(cells[1:]))
        q = o * (1 - shown.square())
        slopes = (q * f * (1 - f) * before, q * i * (1 - i) * g, q * i * (1 - g.square()), o * (1 - o) * shown)
        s = torch.stack(slopes, dim=-1)  # (T, B, H, 4)
        return torch.einsum("tbhk,hkl,tbhl->tb", s, _products(weights, inputs.shape[2]), s)


def _products(weights: LSTMWeights, features: int) -> Tensor:
    """Return the inner products of the four gates' input weights into each cell (H, 4, 4)."""
    gates = (weights.forget, weights.insert, weights.candidate, weights.output)
    read = torch.stack([gate.weight[:features] for gate in gates])  # (4, F, H)
    return torch.einsum("kfh,lfh->hkl", read, read)
