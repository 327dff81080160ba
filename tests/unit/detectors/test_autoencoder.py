"""The autoencoder has the shapes, first weights and loss that it promises."""

from __future__ import annotations

from dataclasses import replace
from typing import get_args

import numpy as np
import pytest
import torch
from torch import nn

from detectors.architectures.family import Autoencoder, masked_huber
from detectors.autoencoder import sizes_of, untrained, weight_shapes, weights_of, with_weights
from detectors.lstm import LSTMWeights, unroll
from detectors.settings import Decoder, ModelSettings

MODEL = ModelSettings(hidden=12, window=5, bottleneck=3)
DECODERS = get_args(Decoder)


def shaken(settings: ModelSettings, *, features: int = 4, channels: int = 2) -> Autoencoder:
    """Return a model whose every weight is in use, the output layers too."""
    model = untrained(features=features, channels=channels, settings=settings, seed=3)
    generator = torch.Generator().manual_seed(4)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=0.1)
    return model


@pytest.mark.parametrize("decoder", DECODERS)
def test_every_decoder_tells_a_window_of_every_channel(decoder: Decoder) -> None:
    model = shaken(replace(MODEL, decoder=decoder))
    hidden, state = model.encode(torch.randn(7, 6, 4), (torch.zeros(6, 12), torch.zeros(6, 12)))
    assert hidden.shape == (7, 6, 12)
    assert torch.equal(state[0], hidden[-1])
    assert model.decode(hidden[-1]).window.shape == (6, 5, 2)
    assert model.forecast(hidden[-1], torch.zeros(6, 2)).shape == (6, 1, 2)


def test_the_encoder_reads_on_where_it_stopped() -> None:
    model = shaken(MODEL)
    inputs, nothing = torch.randn(9, 3, 4), (torch.zeros(3, 12), torch.zeros(3, 12))
    whole, _ = model.encode(inputs, nothing)
    first, state = model.encode(inputs[:4], nothing)
    second, _ = model.encode(inputs[4:], state)
    assert torch.allclose(torch.cat((first, second)), whole, atol=1e-6)


def test_the_encoder_is_the_cell_by_its_equations() -> None:
    model = shaken(MODEL)
    inputs, h, c = torch.randn(9, 3, 4), torch.randn(3, 12), torch.randn(3, 12)
    assert isinstance(model.encoder, nn.LSTM)
    told, _, last_c = unroll(inputs, h, c, LSTMWeights.of(model.encoder))
    hidden, state = model.encode(inputs, (h, c))
    assert torch.allclose(hidden, told, atol=1e-5)
    assert torch.allclose(state[1], last_c, atol=1e-5)


@pytest.mark.parametrize("decoder", DECODERS)
def test_all_that_the_decoder_knows_went_through_the_code(decoder: Decoder) -> None:
    model = shaken(replace(MODEL, decoder=decoder))
    hidden = torch.randn(1, 12)
    blind = torch.linalg.svd(model.code.weight)[2][-1]  # a direction that the code does not see
    assert torch.allclose(model.decode(hidden).window, model.decode(hidden + 5.0 * blind).window, atol=1e-4)
    newest = torch.zeros(1, 2)
    assert not torch.allclose(model.forecast(hidden, newest), model.forecast(hidden + 5.0 * blind, newest), atol=1e-2)


@pytest.mark.parametrize("decoder", DECODERS)
def test_an_untrained_model_tells_the_usual_level_and_forecasts_no_change(decoder: Decoder) -> None:
    model = untrained(features=4, channels=2, settings=replace(MODEL, decoder=decoder), seed=0)
    hidden = torch.randn(6, 12)
    assert not model.decode(hidden).window.any()
    newest = torch.randn(6, 2)
    assert torch.equal(model.forecast(hidden, newest)[:, 0], newest)


def test_fresh_weights_depend_on_the_seed_alone_and_leave_global_randomness_alone() -> None:
    before = torch.get_rng_state()
    first = weights_of(untrained(features=4, channels=2, settings=MODEL, seed=5))
    assert torch.equal(torch.get_rng_state(), before)
    torch.rand(3)
    again = weights_of(untrained(features=4, channels=2, settings=MODEL, seed=5))
    other = weights_of(untrained(features=4, channels=2, settings=MODEL, seed=6))
    assert all(np.array_equal(first[name], again[name]) for name in first)
    assert not np.array_equal(first["encoder.weight_hh_l0"], other["encoder.weight_hh_l0"])


@pytest.mark.parametrize("decoder", DECODERS)
def test_weights_taken_out_and_put_back_make_the_same_model(decoder: Decoder) -> None:
    settings = replace(MODEL, decoder=decoder)
    model = shaken(settings)
    weights = weights_of(model)
    assert sizes_of(weights, settings) == (4, 2)
    assert {name: array.shape for name, array in weights.items()} == weight_shapes(
        features=4, channels=2, settings=settings
    )
    hidden = torch.randn(6, 12)
    assert torch.equal(with_weights(weights, settings).decode(hidden).window, model.decode(hidden).window)


def test_taken_weights_are_a_copy() -> None:
    model = shaken(MODEL)
    weights = weights_of(model)
    weights["ahead_out.bias"][...] = 7.0
    assert not (model.ahead_out.bias == 7.0).any()


def test_weights_of_another_shape_are_refused_by_name() -> None:
    weights = weights_of(shaken(MODEL))
    with pytest.raises(ValueError, match=r"code.weight is \(3, 12\) and should be \(4, 12\)"):
        with_weights(weights, replace(MODEL, bottleneck=4))
    with pytest.raises(ValueError, match="not the weights of an autoencoder of architecture lstm"):
        with_weights({"w": np.zeros(3, np.float32)}, MODEL)


def test_the_loss_is_square_below_one_and_straight_above() -> None:
    total, count = masked_huber(torch.tensor([0.5, 3.0]), torch.zeros(2), torch.tensor([True, True]))
    assert total.item() == pytest.approx(0.5 * 0.25 + (3.0 - 0.5))
    assert int(count) == 2


def test_what_is_not_counted_reaches_neither_loss_nor_gradient() -> None:
    predicted = torch.tensor([1.0, 2.0, 3.0], requires_grad=True)
    counted = torch.tensor([True, False, False])
    total, count = masked_huber(predicted, torch.tensor([0.5, torch.nan, 1e30]), counted)
    (gradient,) = torch.autograd.grad(total, predicted)
    assert total.item() == pytest.approx(0.125)
    assert int(count) == 1
    assert gradient.tolist() == [0.5, 0.0, 0.0]


def test_a_model_reads_at_least_the_values_of_its_channels() -> None:
    with pytest.raises(ValueError, match="1 inputs cannot begin with the values of 2 channels"):
        untrained(features=1, channels=2, settings=MODEL, seed=0)
