"""A lesson's loss and gradient, written out for many streams, are those that differentiation finds for each of them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from detectors.architectures.family import Autoencoder
from detectors.autoencoder import with_weights
from detectors.lesson import Lesson, lesson
from detectors.lstm import LSTMWeights, unroll
from detectors.network import Network
from detectors.objective import DECODED_SHARE
from detectors.own_weights import CELL, count, split
from detectors.settings import ModelSettings
from tests.conformance.feed import drawn, settings_of, weights

STREAMS, LENGTH = 3, 12
MODELS = {
    "mlp": ModelSettings(hidden=5, window=4, bottleneck=3),
    "linear": ModelSettings(hidden=5, window=4, bottleneck=3, decoder="linear"),
    "three-ahead": ModelSettings(hidden=4, window=6, bottleneck=2, horizon=3),
}


def given(network: Network, *, has_readout: bool = False) -> Lesson:
    """Return what three streams have read, some of which does not count."""
    generator = torch.Generator().manual_seed(1)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator)

    counts = (torch.rand((STREAMS, LENGTH, network.channels), generator=generator) > 0.2).float()
    hidden, channels = network.widths.hidden, network.channels
    state = normal(STREAMS, hidden), normal(STREAMS, hidden)
    width = hidden + 1 + (channels if channels > 1 else 0)
    heads = [0.3 * normal(STREAMS, width, channels) for _ in range(2 if channels == 1 else 1)]
    return Lesson(normal(STREAMS, LENGTH, network.features), counts, *state, heads if has_readout else ())


def reference(model: Autoencoder, read: Lesson, stream: int) -> Tensor:
    """Return one stream's loss, by the cell's equations and torch's own Huber."""
    inputs, counts = read.inputs[stream], read.counts[stream] > 0
    assert isinstance(model.encoder, nn.LSTM)
    state = read.hidden[stream][None], read.cell[stream][None]
    hidden = unroll(inputs[:, None], *state, LSTMWeights.of(model.encoder))[0][:, 0]
    values = inputs[:, : model.channels]
    told, expected = model.decode(hidden).window, model.forecast(hidden, values)
    if read.heads:  # a stream's own readout corrects the first of the next samples, and the newest of the window
        sample = [values] if model.channels > 1 else []
        said = torch.cat((hidden, *sample, values.new_ones(LENGTH, 1)), dim=1)
        corrections = [said @ head[stream] for head in read.heads]
        expected = torch.cat(((expected[:, 0] + corrections[0])[:, None], expected[:, 1:]), dim=1)
        if model.channels == 1:
            told = torch.cat(((told[:, 0] + corrections[1])[:, None], told[:, 1:]), dim=1)
    ahead = [
        (expected[t, k], values[t + 1 + k], counts[t + 1 + k])
        for t in range(LENGTH)
        for k in range(model.horizon)
        if t + 1 + k < LENGTH
    ]
    window = [
        (told[t, w], values[t - w], counts[t - w])
        for t in range(0, LENGTH, DECODED_SHARE)
        for w in range(model.window)
        if t - w >= 0
    ]
    return mean(ahead) + mean(window) if model.channels == 1 else mean(ahead)


def mean(pairs: list[tuple[Tensor, Tensor, Tensor]]) -> Tensor:
    told, actual, counts = (torch.stack(each) for each in zip(*pairs, strict=True))
    return nn.functional.huber_loss(told[counts], actual[counts])


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("has_readout", [False, True])
def test_loss_and_gradient_are_those_of_the_reference_cell(name: str, channels: int, *, has_readout: bool) -> None:
    settings = settings_of(channels, model=MODELS[name])
    base, network = weights(settings), drawn(settings)
    parts = network.bases.parts
    change = 0.2 * torch.randn((STREAMS, count(parts)), generator=torch.Generator().manual_seed(2))
    read = given(network, has_readout=has_readout)
    found = lesson(network.bases, change, read, settings.model)
    for stream in range(STREAMS):
        model = changed(base, settings.model, split(change, parts), stream)
        loss = reference(model, read, stream)
        loss.backward()  # type: ignore[no-untyped-call]
        assert float(found.loss[stream]) == pytest.approx(float(loss.detach()), rel=1e-5)
        for part, own in split(found.gradient, parts).items():
            torch.testing.assert_close(own[stream], gradient(model, part), rtol=1e-4, atol=1e-6)


def changed(base: dict[str, np.ndarray], settings: ModelSettings, own: dict[str, Tensor], stream: int) -> Autoencoder:
    """Return the autoencoder that one stream goes by: `base` with its change put into torch's own layout."""
    moved = {name: torch.tensor(array) for name, array in base.items()}
    for part, change in own.items():
        matrix = change[stream].t()
        if part == CELL:
            forget, insert, output, candidate = matrix.chunk(4)
            stacked, read = torch.cat((insert, forget, candidate, output)), moved["encoder.weight_ih_l0"].shape[1]
            moved["encoder.weight_ih_l0"] += stacked[:, :read]
            moved["encoder.weight_hh_l0"] += stacked[:, read:-1]
            moved["encoder.bias_ih_l0"] += stacked[:, -1]
        else:
            moved[f"{part}.weight"] += matrix[:, :-1]
            moved[f"{part}.bias"] += matrix[:, -1]
    return with_weights({name: tensor.numpy() for name, tensor in moved.items()}, settings).requires_grad_()


def gradient(model: Autoencoder, part: str) -> Tensor:
    """Return the gradient of a part in the layout of the own weights, (inputs + 1, outputs)."""
    if part != CELL:
        layer = model.get_submodule(part)
        return joined(layer.weight.grad, layer.bias.grad)
    encoder = model.encoder
    assert isinstance(encoder, nn.LSTM)
    both = torch.cat((some(encoder.weight_ih_l0.grad), some(encoder.weight_hh_l0.grad)), dim=1)
    insert, forget, candidate, output = joined(both, encoder.bias_ih_l0.grad).chunk(4, dim=1)
    return torch.cat((forget, insert, output, candidate), dim=1)


def joined(weight: object, bias: object) -> Tensor:
    return torch.cat((some(weight).t(), some(bias)[None]))


def some(found: object) -> Tensor:
    assert isinstance(found, Tensor)
    return found


def test_nothing_that_counts_gives_no_gradient() -> None:
    network = drawn(settings_of(model=MODELS["mlp"]))
    read = given(network)._replace(counts=torch.zeros(STREAMS, LENGTH, 1))
    change = torch.zeros(STREAMS, count(network.bases.parts))
    found = lesson(network.bases, change, read, MODELS["mlp"])
    assert not found.loss.any()
    assert not found.gradient.any()
