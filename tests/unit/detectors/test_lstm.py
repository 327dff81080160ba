"""The fast forms of the LSTM compute the equations, and their gradients too."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from detectors.lstm import FORGET_BIAS, WIDTH_STEP, FusedLSTM, LSTMWeights, build_lstm, initialise_lstm, padded, unroll

TOLERANCE = 1e-5

sizes = st.tuples(
    st.integers(1, 12),  # T
    st.integers(1, 9),  # B
    st.integers(1, 7),  # F
    st.integers(1, 24),  # H
    st.integers(0, 2**31),  # seed
)


def drawn(inputs: int, hidden: int, seed: int) -> tuple[nn.LSTM, torch.Generator]:
    """Return an LSTM with weights that depend on the seed only, with both biases in use."""
    generator = torch.Generator().manual_seed(seed)
    lstm = build_lstm(inputs, hidden)
    with torch.no_grad():
        for parameter in lstm.parameters():
            parameter.normal_(0.0, 0.4, generator=generator)
    return lstm, generator


def close(a: Tensor, b: Tensor) -> bool:
    return torch.allclose(a, b, rtol=TOLERANCE, atol=TOLERANCE)


@settings(max_examples=60, deadline=None)
@given(sizes)
def test_the_training_lstm_computes_the_equations_and_their_gradients(size: tuple[int, int, int, int, int]) -> None:
    steps, streams, inputs, hidden, seed = size
    lstm, generator = drawn(inputs, hidden, seed)
    x = torch.randn(steps, streams, inputs, generator=generator, requires_grad=True)
    h, c = torch.randn(2, streams, hidden, generator=generator).requires_grad_().unbind()
    asked = torch.randn(steps, streams, hidden, generator=generator)  # makes every output count differently
    leaves = [x, *lstm.parameters()]

    told, last_h, last_c = unroll(x, h, c, LSTMWeights.of(lstm))
    by_equations = torch.autograd.grad((told * asked).sum() + last_c.sum(), leaves, retain_graph=True)
    fast, (fast_h, fast_c) = lstm(x, (h[None], c[None]))
    by_torch = torch.autograd.grad((fast * asked).sum() + fast_c.sum(), leaves)

    assert close(told, fast)
    assert close(last_h, fast_h[0])
    assert close(last_c, fast_c[0])
    for mine, torchs in zip(by_equations, by_torch, strict=True):
        scale = mine.abs().max().item() + 1.0
        assert close(mine / scale, torchs / scale)


@settings(max_examples=60, deadline=None)
@given(sizes)
def test_the_scoring_lstm_computes_the_equations_and_their_gradients(size: tuple[int, int, int, int, int]) -> None:
    steps, streams, inputs, hidden, seed = size
    lstm, generator = drawn(inputs, hidden, seed)
    x = torch.randn(steps, streams, inputs, generator=generator, requires_grad=True)
    h, c = torch.randn(2, streams, hidden, generator=generator).unbind()
    leaves = [x, *lstm.parameters()]

    told, last_h, last_c = unroll(x, h, c, LSTMWeights.of(lstm))
    fused, (fused_h, fused_c) = FusedLSTM(LSTMWeights.of(lstm))(x, (h[None], c[None]))

    assert close(told, fused)
    assert close(last_h, fused_h[0])
    assert close(last_c, fused_c[0])
    by_equations = torch.autograd.grad(told.square().sum(), leaves)
    by_fused = torch.autograd.grad(fused.square().sum(), leaves)
    for mine, fuseds in zip(by_equations, by_fused, strict=True):
        scale = mine.abs().max().item() + 1.0
        assert close(mine / scale, fuseds / scale)


def test_a_fresh_lstm_remembers_because_one_of_two_forget_biases_is_one() -> None:
    lstm = build_lstm(3, 5)
    initialise_lstm(lstm, torch.Generator().manual_seed(1))
    gates = LSTMWeights.of(lstm)
    assert torch.equal(gates.forget.bias, torch.full((5,), FORGET_BIAS))
    for gate in (gates.insert, gates.candidate, gates.output):
        assert not gate.bias.any()


def test_fresh_weights_have_the_documented_spread() -> None:
    lstm = build_lstm(28, 100)
    initialise_lstm(lstm, torch.Generator().manual_seed(2))
    wx, wh, _, _ = lstm.all_weights[0]
    assert abs(wx.std().item() - (1 / 128) ** 0.5) < 2e-3
    assert abs(wh.std().item() - (0.64 / 100) ** 0.5) < 2e-3


def test_forgetting_nothing_keeps_the_cell_state_for_a_thousand_steps() -> None:
    lstm = build_lstm(1, 2)
    with torch.no_grad():
        for parameter in lstm.parameters():
            parameter.zero_()
        lstm.all_weights[0][2][2:4] = 30.0  # the forget gate's bias: f = 1, and nothing new enters (candidate = 0)
        c = torch.tensor([[0.25, -3.0]])
        _, _, last = unroll(torch.zeros(1000, 1, 1), torch.zeros(1, 2), c, LSTMWeights.of(lstm))
    assert torch.equal(last, c)


@given(st.integers(1, 70))
def test_padding_adds_zero_columns_and_nothing_else(width: int) -> None:
    matrix = torch.ones(2, width)
    wide = padded(matrix)
    assert wide.shape[1] % WIDTH_STEP == 0
    assert 0 <= wide.shape[1] - width < WIDTH_STEP
    assert torch.equal(wide[:, :width], matrix)
    assert not wide[:, width:].any()
