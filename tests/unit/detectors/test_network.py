"""The frozen network scores a row alike to the bit in every batch, and like the model that was trained."""

from __future__ import annotations

from dataclasses import replace
from typing import get_args

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from detectors.autoencoder import untrained, weight_shapes, with_weights
from detectors.network import BLOCK_ROWS, Advanced, Network, use_threads
from detectors.settings import Architecture, Decoder, ModelSettings

F4 = NDArray[np.float32]
DECODERS = get_args(Decoder)
SMALL = ModelSettings(hidden=12, window=5, bottleneck=3)

models = st.builds(
    ModelSettings,
    hidden=st.integers(1, 40),
    window=st.integers(1, 20),
    bottleneck=st.integers(1, 18),
    decoder=st.sampled_from(DECODERS),
    architecture=st.sampled_from(get_args(Architecture)),
    layers=st.integers(1, 3),
    kernel=st.integers(1, 4),
    horizon=st.integers(1, 3),
)


pytestmark = pytest.mark.usefixtures("one_thread")


def drawn(model: ModelSettings, *, features: int = 4, channels: int = 1, spread: float = 0.4) -> Network:
    rng = np.random.default_rng(7)
    shapes = weight_shapes(features=features, channels=channels, settings=model)
    weights = {name: rng.normal(0.0, spread, shape).astype(np.float32) for name, shape in shapes.items()}
    return Network(weights, model=model)


def stored(network: Network, rows: int, seed: int = 0) -> tuple[F4, F4, F4]:
    """Return inputs, hidden and cell states of so many streams."""
    rng = np.random.default_rng(seed)
    widths = (network.features, network.widths.hidden, network.widths.cell)
    inputs, hidden, cell = (rng.normal(0.0, 1.5, (rows, width)).astype(np.float32) for width in widths)
    return inputs, np.tanh(hidden), cell


def arrays(result: Advanced) -> tuple[F4, ...]:
    spread = () if result.spread is None else (result.spread,)
    return result.hidden, result.cell, result.summary, result.reconstruction, result.ahead, *spread


def assert_rows_alone_equal(network: Network, batch: tuple[F4, F4, F4], rows: NDArray[np.intp]) -> None:
    whole = network.advance(*batch)
    inputs, hidden, cell = (array[rows] for array in batch)
    part = network.advance(inputs, hidden, cell)
    for one, other in zip(arrays(whole), arrays(part), strict=True):
        assert np.array_equal(one[rows], other)


@settings(max_examples=60, deadline=None)
@given(model=models, beside=st.integers(0, 6), channels=st.integers(1, 5), seed=st.integers(0, 2**31))
def test_a_row_scores_alike_to_the_bit_in_every_batch(
    model: ModelSettings, beside: int, channels: int, seed: int
) -> None:
    network = drawn(model, features=channels + beside, channels=channels)
    rng = np.random.default_rng(seed)
    batch = stored(network, int(rng.integers(1, 400)), seed)
    rows = rng.permutation(len(batch[0]))[: rng.integers(1, len(batch[0]) + 1)]
    assert_rows_alone_equal(network, batch, rows)


@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize("channels", [1, 19])
def test_the_shipped_sizes_score_alike_to_the_bit_in_every_batch(decoder: Decoder, channels: int) -> None:
    network = drawn(ModelSettings(decoder=decoder), features=2 * channels + 2, channels=channels)
    rng = np.random.default_rng(1)
    batch = stored(network, 2 * BLOCK_ROWS + 77)
    for count in (1, 2, 31, 33, 500, BLOCK_ROWS, BLOCK_ROWS + 1, len(batch[0])):
        assert_rows_alone_equal(network, batch, rng.permutation(len(batch[0]))[:count])


@settings(max_examples=30, deadline=None)
@given(model=models, rows=st.integers(1, 80))
def test_rebuilding_a_window_is_so_many_steps_to_the_bit(model: ModelSettings, rows: int) -> None:
    network = drawn(model)
    rng = np.random.default_rng(rows)
    inputs = rng.normal(size=(rows, model.window, 4)).astype(np.float32)
    valid = rng.random((rows, model.window)) < 0.7
    hidden = np.zeros((rows, network.widths.hidden), np.float32)
    cell = np.zeros((rows, network.widths.cell), np.float32)
    for step in range(model.window):
        read = np.flatnonzero(valid[:, step])
        moved = network.advance(inputs[read, step], hidden[read], cell[read])
        hidden[read], cell[read] = moved.hidden, moved.cell
    rebuilt_hidden, rebuilt_cell = network.rebuild(inputs, valid)
    assert np.array_equal(rebuilt_hidden, hidden)
    assert np.array_equal(rebuilt_cell, cell)


@pytest.mark.parametrize("decoder", DECODERS)
def test_the_frozen_network_computes_what_the_trained_model_does(decoder: Decoder) -> None:
    model = replace(SMALL, decoder=decoder)
    rng = np.random.default_rng(3)
    shapes = weight_shapes(features=4, channels=2, settings=model)
    weights = {name: rng.normal(0.0, 0.4, shape).astype(np.float32) for name, shape in shapes.items()}
    network, trained = Network(weights, model=model), with_weights(weights, model)
    inputs, hidden, cell = stored(network, 50)
    with torch.no_grad():
        told, state = trained.encode(torch.tensor(inputs)[None], (torch.tensor(hidden), torch.tensor(cell)))
        ahead = trained.forecast(told[0], torch.tensor(inputs)[:, :2])
        expected = (told[0], state[1], told[0], trained.decode(told[0]).window, ahead)
    for mine, theirs in zip(arrays(network.advance(inputs, hidden, cell)), expected, strict=True):
        assert mine.dtype == np.float32
        assert np.allclose(mine, theirs.numpy(), atol=1e-5)


@settings(max_examples=40, deadline=None)
@given(model=models, seed=st.integers(0, 2**31))
def test_results_are_finite_under_extreme_input(model: ModelSettings, seed: int) -> None:
    network = drawn(model, spread=3.0)
    rng = np.random.default_rng(seed)
    inputs = rng.choice(np.array([-1e4, -1.0, 0.0, 1e-30, 1e4], np.float32), (300, 40, 4))
    nothing = np.zeros((40, network.widths.hidden), np.float32), np.zeros((40, network.widths.cell), np.float32)
    moved = network.advance(inputs[0], *nothing)
    for sample in inputs[1:]:
        moved = network.advance(sample, moved.hidden, moved.cell)
    assert all(np.isfinite(array).all() for array in arrays(moved))
    assert np.abs(moved.hidden).max() <= 1.0


def test_what_is_passed_stays_as_it_was_and_may_be_a_view_of_a_wider_matrix() -> None:
    network = drawn(SMALL)
    batch = stored(network, 40)
    slab = np.concatenate(batch, axis=1)
    before = slab.copy()
    views = slab[:, :4], slab[:, 4:16], slab[:, 16:]
    assert not views[1].flags["C_CONTIGUOUS"]
    by_view = network.advance(*views)
    assert np.array_equal(slab, before)
    for one, other in zip(arrays(by_view), arrays(network.advance(*batch)), strict=True):
        assert np.array_equal(one, other)


def test_no_streams_give_empty_results() -> None:
    network = drawn(SMALL)
    result = network.advance(*stored(network, 0))
    assert [array.shape for array in arrays(result)] == [(0, 12), (0, 12), (0, 12), (0, 5, 1), (0, 1, 1)]
    hidden, _ = network.rebuild(np.zeros((0, 5, 4), np.float32), np.zeros((0, 5), np.bool_))
    assert hidden.shape == (0, 12)


def test_other_shapes_are_refused_with_both_named() -> None:
    network = drawn(SMALL)
    inputs, hidden, cell = stored(network, 3)
    with pytest.raises(ValueError, match=r"inputs has shape \(3, 3\); this network takes \(3, 4\)"):
        network.advance(inputs[:, :3], hidden, cell)
    with pytest.raises(ValueError, match=r"cell has shape \(2, 12\); this network takes \(3, 12\)"):
        network.advance(inputs, hidden, cell[:2])
    with pytest.raises(ValueError, match=r"inputs has shape \(3, 4\); this network takes \(3, 5, 4\)"):
        network.rebuild(inputs, np.ones((3, 5), np.bool_))


def test_one_thread_is_one_thread() -> None:
    use_threads(1)
    assert torch.get_num_threads() == 1


def test_a_network_needs_no_gradient() -> None:
    model = untrained(features=4, channels=1, settings=SMALL, seed=0)
    weights = {name: tensor.numpy() for name, tensor in model.state_dict().items()}
    network = Network(weights, model=SMALL)
    assert not any(parameter.requires_grad for parameter in network._autoencoder.parameters())


@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize("architecture", ["lstm", "bidirectional", "variational"])
def test_the_newest_sample_alone_is_told_as_in_the_whole_window_and_only_where_it_is_wanted(
    architecture: Architecture, decoder: Decoder
) -> None:
    network = drawn(replace(SMALL, architecture=architecture, decoder=decoder))
    batch, rows = stored(network, BLOCK_ROWS + 70), BLOCK_ROWS + 70
    whole = network.advance(*batch)
    for where in (np.ones(rows, dtype=bool), np.arange(rows) % 3 == 1, np.zeros(rows, dtype=bool)):
        moved = network.advance(*batch, where)
        assert moved.reconstruction.shape == (rows, 1, 1)
        assert np.array_equal(moved.reconstruction[where, 0], whole.reconstruction[where, 0])
        assert np.isnan(moved.reconstruction[~where]).all()
        assert np.array_equal(moved.hidden, whole.hidden)
        assert np.array_equal(moved.ahead, whole.ahead)
        if moved.spread is not None and whole.spread is not None:
            assert np.array_equal(moved.spread[where], whole.spread[where])
