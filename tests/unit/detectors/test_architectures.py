"""What sets one architecture apart from the others is what its source says."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from torch import Tensor

from detectors.architectures.bidirectional import BidirectionalAutoencoder
from detectors.architectures.contractive import ContractiveAutoencoder
from detectors.architectures.convolutional import ConvolutionalAutoencoder
from detectors.architectures.denoising import DenoisingAutoencoder
from detectors.architectures.family import Autoencoder, Sizes, Teaching
from detectors.architectures.plain import LSTMAutoencoder
from detectors.architectures.variational import POINTS, VariationalAutoencoder, _points, negative_log_likelihood
from detectors.autoencoder import with_weights
from detectors.fit import TrainingSeries, fit
from detectors.lstm import LSTMWeights, cell
from detectors.settings import ModelSettings, TrainingSettings

FEATURES, CHANNELS = 4, 1
MODEL = ModelSettings(hidden=5, window=4, bottleneck=3, kernel=3)
TRAINING = TrainingSettings(noise=0.5, contraction=2.0, divergence=1.0)
JUDGED = Teaching(TRAINING, None)


pytestmark = pytest.mark.usefixtures("one_thread")


def taught(seed: int = 1) -> Teaching:
    return Teaching(TRAINING, torch.Generator().manual_seed(seed))


def shaken(kind: type[Autoencoder], settings: ModelSettings = MODEL) -> Autoencoder:
    """Return a model in double precision whose every weight is in use."""
    torch.manual_seed(0)
    model = kind(Sizes(FEATURES, CHANNELS, settings)).double()
    generator = torch.Generator().manual_seed(4)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.6)
    return model


def log_probability(x: Tensor, centre: Tensor, log_spread: Tensor) -> Tensor:
    return torch.distributions.Normal(centre, log_spread.exp()).log_prob(x)  # type: ignore[no-any-return,no-untyped-call]


def drawn(*shape: int, seed: int = 2) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


# contractive


def next_hidden(at: tuple[Tensor, Tensor, LSTMWeights], x: Tensor) -> Tensor:
    return cell(x[None], *at)[0][0]


def test_the_contractive_penalty_is_the_jacobian_that_differentiation_gives() -> None:
    model = shaken(ContractiveAutoencoder)
    assert isinstance(model, ContractiveAutoencoder)
    inputs, state = drawn(6, 3, FEATURES), (torch.tanh(drawn(3, 5)), drawn(3, 5, seed=3))
    weights = LSTMWeights.of(model.encoder)
    summary, _ = model.encode(inputs, state)
    expected = torch.zeros(6, 3, dtype=torch.float64)
    h, c = state
    for step, x in enumerate(inputs):
        for row in range(3):
            at = h[row : row + 1], c[row : row + 1], weights
            jacobian = torch.autograd.functional.jacobian(partial(next_hidden, at), x[row])  # type: ignore[no-untyped-call]
            expected[step, row] = jacobian.square().sum()
        h, c = cell(x, h, c, weights)
    assert torch.allclose(model.squared_jacobians(inputs, state, summary), expected, rtol=1e-9)
    assert torch.allclose(model.penalty(inputs, state, summary, taught()), 2.0 * expected.mean())


def test_a_larger_contraction_teaches_a_calmer_state() -> None:
    values = np.sin(np.arange(600) / 5)[:, None] + 0.1 * np.random.default_rng(0).normal(size=(600, 1))
    inputs, targets = np.repeat(values, 4, axis=1).astype(np.float32), values.astype(np.float32)
    series = [TrainingSeries(inputs, targets, np.ones_like(targets, np.bool_))]
    model = replace(MODEL, architecture="contractive")
    jacobians = []
    for contraction in (0.0, 1.0):
        training = replace(TRAINING, contraction=contraction, epochs_max=4, lanes=4, chunk_samples=16)
        network = with_weights(fit(series, model=model, training=training, progress=lambda _: None).weights, model)
        assert isinstance(network, ContractiveAutoencoder)
        read, state = torch.from_numpy(inputs)[:, None], network.nothing(1)
        jacobians.append(network.squared_jacobians(read, state, network.encode(read, state)[0]).mean().item())
    assert jacobians[1] < 0.5 * jacobians[0]


# denoising


def test_denoising_reads_noise_in_training_and_nothing_but_the_stream_when_it_is_judged() -> None:
    model, inputs = shaken(DenoisingAutoencoder), drawn(50, 20, FEATURES)
    noise = model.disturbed(inputs, taught()) - inputs
    assert float(noise.std()) == pytest.approx(TRAINING.noise, rel=0.05)
    assert torch.equal(model.disturbed(inputs, taught()), model.disturbed(inputs, taught()))
    assert torch.equal(model.disturbed(inputs, JUDGED), inputs)


# variational


def test_the_fixed_codes_have_the_moments_of_the_normal_distribution() -> None:
    points = _points(POINTS - 1)
    assert torch.equal(points.mean(dim=0), torch.zeros(POINTS - 1))
    assert torch.equal(points.T @ points / POINTS, torch.eye(POINTS - 1))
    assert torch.equal(_points(40).square(), torch.ones(POINTS, 40))
    assert not _points(40).sum(dim=0).any()


def test_the_variational_loss_is_the_negative_evidence_lower_bound() -> None:
    model = shaken(VariationalAutoencoder)
    assert isinstance(model, VariationalAutoencoder)
    summary, window = drawn(6, 5), drawn(6, 4, CHANNELS, seed=5) * 0.1
    counted = torch.ones_like(window, dtype=torch.bool)
    loss, count = model.window_loss(summary, window, counted, taught(9))
    mean, log_spread = model._code(summary)
    code = mean + log_spread.exp() * torch.randn(mean.shape, generator=taught(9).chance, dtype=mean.dtype)
    centre, log_sigma = model._told(code)
    near = ((window - centre) / log_sigma.exp()).abs() <= 3.0  # where the density is the normal one itself
    likelihood = log_probability(window, centre, log_sigma)
    by_hand = negative_log_likelihood(window, centre, log_sigma, counted) + 0.5 * math.log(2 * math.pi)
    assert near.any()
    assert torch.allclose(by_hand[near], -likelihood[near])
    prior, posterior = torch.distributions.Normal(0.0, 1.0), torch.distributions.Normal(mean, log_spread.exp())
    divergence = torch.distributions.kl_divergence(posterior, prior).sum()
    expected = negative_log_likelihood(window, centre, log_sigma, counted).sum() + divergence
    assert torch.allclose(loss, expected)
    assert int(count) == window.numel()


def test_the_error_that_is_scored_is_the_signed_root_of_the_mean_negative_log_likelihood() -> None:
    model = shaken(VariationalAutoencoder)
    assert isinstance(model, VariationalAutoencoder)
    summary = drawn(3, 5)
    told = model.decode(summary)
    assert told.spread is not None
    mean, log_spread = model._code(summary)
    centres, spreads = zip(
        *(model._told(mean + log_spread.exp() * point) for point in _points(3).double()), strict=True
    )

    def surprise(x: Tensor) -> Tensor:
        each = [log_probability(x, one, log) for one, log in zip(centres, spreads, strict=True)]
        return -torch.stack(each).mean(dim=0)

    for apart in (-2.0, 0.3, 4.0):
        x = told.window + apart
        above = surprise(x) - surprise(told.window)  # the centre is where it is least
        assert torch.allclose(0.5 * ((x - told.window) / told.spread).square(), above, rtol=1e-6)


def test_values_that_do_not_count_reach_neither_bound_nor_gradient() -> None:
    model, summary = shaken(VariationalAutoencoder), drawn(2, 5).requires_grad_(True)
    window = torch.full((2, 4, CHANNELS), math.nan, dtype=torch.float64)
    loss, count = model.window_loss(summary, window, torch.zeros_like(window, dtype=torch.bool), taught())
    (gradient,) = torch.autograd.grad(loss, summary)
    assert (loss.item(), int(count), bool(gradient.any())) == (0.0, 0, False)


# what is seen


def reach(kind: type[Autoencoder], part: slice) -> int:
    """Return of how many samples back the summary's `part` still knows after 12."""
    model, inputs = shaken(kind), drawn(12, 1, FEATURES).requires_grad_(True)
    summary, _ = model.encode(inputs, model.nothing(1))
    (gradient,) = torch.autograd.grad(summary[-1, 0, part].sum(), inputs)
    return int((gradient.abs().sum(dim=(1, 2)) > 0).sum())


def test_the_backward_direction_sees_the_window_and_the_forward_one_the_whole_past() -> None:
    assert reach(BidirectionalAutoencoder, slice(5)) == 12
    assert reach(BidirectionalAutoencoder, slice(5, 10)) == MODEL.window


def test_a_filter_of_the_convolution_sees_so_many_samples() -> None:
    model, inputs = shaken(ConvolutionalAutoencoder), drawn(6, 1, FEATURES)
    _, (_, cell_and_recent) = model.encode(inputs, model.nothing(1))
    assert torch.equal(cell_and_recent[0, 5:], inputs[-2:, 0].flatten())  # the kernel without the newest


# forecasts of several samples


def test_a_longer_horizon_learns_the_samples_further_ahead() -> None:
    values = np.sin(np.arange(1500) / 4)[:, None].astype(np.float32)
    inputs = np.repeat(values, 4, axis=1)
    inputs[1:, 1] = np.diff(values[:, 0])
    series = [TrainingSeries(inputs, values, np.ones_like(values, np.bool_))]
    training = TrainingSettings(epochs_max=30, lanes=8, chunk_samples=32, learning_rate=0.01, patience_epochs=30)
    model = replace(MODEL, hidden=12, horizon=4)
    fitted = fit(series, model=model, training=training, progress=lambda _: None)
    assert fitted.report.forecast_loss < 0.1 * fitted.report.persistence_loss  # both over all four
    assert fitted.weights["ahead_out.bias"].shape == (4,)


def test_the_default_is_the_plain_lstm_that_tells_the_next_sample() -> None:
    assert (ModelSettings().architecture, ModelSettings().horizon) == ("lstm", 1)
    assert isinstance(shaken(LSTMAutoencoder), LSTMAutoencoder)
