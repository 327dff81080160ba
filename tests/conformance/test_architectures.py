"""Every architecture keeps every promise of the family: a new one is held to them by standing in the registry."""

from __future__ import annotations

from dataclasses import replace
from typing import get_args

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from detectors import checkpoint, scoring
from detectors.architectures import FAMILY, widths_of
from detectors.architectures.family import Autoencoder, State, Teaching
from detectors.artefact import Artefact, Lineage, dumps, loads
from detectors.autoencoder import untrained, weight_shapes, weights_of, with_weights
from detectors.checkpoint import Saving
from detectors.fit import Fitted, TrainingSeries, fit
from detectors.lstm import LSTMWeights, unroll
from detectors.network import ROW_STEP, Advanced, Network
from detectors.progress import Progress
from detectors.recurrent import gru_cell, rnn_cell
from detectors.settings import Architecture, Decoder, DetectorSettings, ModelSettings, TrainingSettings
from detectors.slab import row_dtype

F4 = NDArray[np.float32]
FEATURES, CHANNELS = 6, 2
TINY = ModelSettings(hidden=3, window=3, bottleneck=2, layers=2, kernel=2, horizon=2)
TRAINING = TrainingSettings(noise=0.3, contraction=0.5, divergence=0.7)


@pytest.fixture(params=get_args(Architecture))
def settings(request: pytest.FixtureRequest) -> ModelSettings:
    """One architecture after the other."""
    return replace(TINY, architecture=request.param)


pytestmark = pytest.mark.usefixtures("one_thread")


def drawn(settings: ModelSettings, spread: float = 0.5) -> dict[str, F4]:
    """Return random weights: every output depends on every input, which untrained weights do not give."""
    rng = np.random.default_rng(7)
    shapes = weight_shapes(features=FEATURES, channels=CHANNELS, settings=settings)
    return {name: rng.normal(0.0, spread, shape).astype(np.float32) for name, shape in shapes.items()}


def model_of(settings: ModelSettings) -> Autoencoder:
    """Return a model in double precision with random weights, ready to train."""
    model = with_weights(drawn(settings), settings).double()
    for parameter in model.parameters():
        parameter.requires_grad_(True)
    return model


def stream(samples: int, streams: int = 3, scale: float = 1.0) -> F4:
    """Return the inputs (T, n, F) of some streams."""
    values = np.random.default_rng(5).normal(0.0, scale, (samples, streams, FEATURES))
    return values.astype(np.float32)


def nothing(network: Network, streams: int) -> tuple[F4, F4]:
    widths = network.widths
    return np.zeros((streams, widths.hidden), np.float32), np.zeros((streams, widths.cell), np.float32)


def walk(network: Network, inputs: F4) -> list[Advanced]:
    """Read `inputs` (T, n, F) sample by sample from nothing."""
    (hidden, cell), moved = nothing(network, inputs.shape[1]), []
    for sample in inputs:
        moved.append(network.advance(sample, hidden, cell))
        hidden, cell = moved[-1].hidden, moved[-1].cell
    return moved


def arrays(moved: Advanced) -> tuple[F4, ...]:
    spread = () if moved.spread is None else (moved.spread,)
    return moved.hidden, moved.cell, moved.summary, moved.reconstruction, moved.ahead, *spread


def equal(one: Advanced, other: Advanced) -> bool:
    return all(np.array_equal(mine, theirs) for mine, theirs in zip(arrays(one), arrays(other), strict=True))


def rows_of(moved: Advanced, rows: NDArray[np.intp]) -> tuple[F4, ...]:
    return tuple(array[rows] for array in arrays(moved))


# what a stream carries


def test_the_registry_holds_every_name_that_the_settings_take() -> None:
    assert set(FAMILY) == set(get_args(Architecture))


def test_the_state_is_as_wide_as_the_architecture_says_and_so_is_the_row(settings: ModelSettings) -> None:
    network = Network(drawn(settings), model=settings)
    assert network.widths == widths_of(settings, features=FEATURES, channels=CHANNELS)
    moved = walk(network, stream(4))[-1]
    assert moved.hidden.shape == (3, network.widths.hidden)
    assert moved.cell.shape == (3, network.widths.cell)
    assert moved.summary.shape == (3, network.widths.summary)
    assert moved.reconstruction.shape == (3, 3, CHANNELS)
    assert moved.ahead.shape == (3, 2, CHANNELS)
    assert np.array_equal(moved.forecast, moved.ahead[:, 0])
    layout = row_dtype(scoring.fields(DetectorSettings(channels=("a", "b"), model=settings)))
    assert layout["hidden"].shape == (network.widths.hidden,)
    assert layout["cell"].shape == (network.widths.cell,)


@pytest.mark.parametrize("scale", [1.0, 1e4, 1e30])
def test_every_number_stays_finite_under_extreme_input(settings: ModelSettings, scale: float) -> None:
    inputs = np.sign(stream(200, scale=1.0)) * np.float32(scale)
    for moved in walk(Network(drawn(settings, spread=2.0), model=settings), inputs)[::20]:
        assert all(np.isfinite(array).all() for array in (moved.hidden, moved.cell, moved.reconstruction))
        assert moved.spread is None or (np.isfinite(moved.spread).all() and (moved.spread > 0).all())


# the same bits, however the streams come


def test_who_stands_beside_a_stream_and_where_changes_no_bit(settings: ModelSettings) -> None:
    network, inputs = Network(drawn(settings), model=settings), stream(6, 2 * ROW_STEP + 3)
    rng = np.random.default_rng(1)
    whole = walk(network, inputs)
    for count in (1, 2, ROW_STEP + 1, inputs.shape[1]):
        rows = rng.permutation(inputs.shape[1])[:count]
        for one, other in zip(whole, walk(network, inputs[:, rows]), strict=True):
            assert all(np.array_equal(*pair) for pair in zip(rows_of(one, rows), arrays(other), strict=True))


def test_a_stream_goes_on_from_what_it_carries_and_from_nothing_else(settings: ModelSettings) -> None:
    network, inputs = Network(drawn(settings), model=settings), stream(9)
    whole = walk(network, inputs)
    again = network.advance(inputs[-1], whole[-2].hidden.copy(), whole[-2].cell.copy())
    assert equal(again, whole[-1])


def test_how_a_history_is_cut_into_chunks_changes_nothing(settings: ModelSettings) -> None:
    model, inputs = model_of(settings), torch.from_numpy(stream(11)).double()
    whole, last = model.encode(inputs, model.nothing(3))
    told, state = [], model.nothing(3)
    for part in inputs.tensor_split((1, 5, 6)):
        summary, state = model.encode(part, state)
        told.append(summary)
    assert torch.allclose(torch.cat(told), whole, atol=1e-12)
    assert all(torch.allclose(*pair, atol=1e-12) for pair in zip(state, last, strict=True))


def test_no_summary_depends_on_what_comes_later(settings: ModelSettings) -> None:
    model, inputs = model_of(settings), torch.from_numpy(stream(9)).double()
    later = inputs.clone()
    later[6:] += 5.0
    before, after = (model.encode(each, model.nothing(3))[0] for each in (inputs, later))
    assert torch.equal(before[:6], after[:6])
    assert not torch.allclose(before[6:], after[6:])


def test_scoring_computes_what_training_trains(settings: ModelSettings) -> None:
    network, inputs = Network(drawn(settings), model=settings), stream(8)
    model, moved = model_of(settings), walk(network, inputs)
    with torch.no_grad():
        summary, state = model.encode(torch.from_numpy(inputs).double(), model.nothing(3))
        newest = torch.from_numpy(inputs[-1, :, :CHANNELS]).double()
        told = model.decode(summary[-1])
        expected = [*state, summary[-1], told.window, model.forecast(summary[-1], newest)]
        if told.spread is not None:
            expected.append(told.spread[:, 0])
    for mine, theirs in zip(arrays(moved[-1]), expected, strict=True):
        assert np.allclose(mine, theirs.numpy(), atol=1e-4)


def test_rebuilding_from_a_stored_window_is_so_many_steps_to_the_bit(settings: ModelSettings) -> None:
    network, inputs = Network(drawn(settings), model=settings), stream(5)
    valid = np.array([[True] * 5, [False, False, True, True, True], [False] * 5])
    hidden, cell = network.rebuild(inputs.transpose(1, 0, 2).copy(), valid)
    for row, begin in ((0, 0), (1, 2)):
        last = walk(network, inputs[begin:, row : row + 1])[-1]
        assert np.array_equal(hidden[row], last.hidden[0])
        assert np.array_equal(cell[row], last.cell[0])
    assert not hidden[2].any()
    assert not cell[2].any()


# there and back


def test_an_artefact_brings_back_the_same_network(settings: ModelSettings) -> None:
    lineage = Lineage("g", 9, {}, 0, 0, (), {})
    names = ("a", "b")
    data = dumps(Artefact(settings, names, drawn(settings), {}, lineage))
    assert loads(data).model == settings
    network, inputs = Network.from_artefact(loads(data)), stream(6)
    assert equal(walk(network, inputs)[-1], walk(Network(drawn(settings), model=settings), inputs)[-1])
    assert dumps(loads(data)) == data


def test_fresh_weights_depend_on_the_seed_alone_and_expect_no_change(settings: ModelSettings) -> None:
    first, again = (untrained(features=FEATURES, channels=CHANNELS, settings=settings, seed=3) for _ in range(2))
    assert all(np.array_equal(weights_of(first)[name], weights_of(again)[name]) for name in weights_of(first))
    network, inputs = Network(weights_of(first), model=settings), stream(5)
    moved = walk(network, inputs)[-1]
    assert not moved.reconstruction.any()
    assert np.array_equal(moved.ahead, np.repeat(inputs[-1, :, None, :CHANNELS], 2, axis=1))


# the equations and their gradients


class ByEquations(nn.Module):
    """Cells that are stepped by their equations, with the weights and the calls of torch's."""

    def __init__(self, cells: nn.LSTM | nn.GRU | nn.RNN) -> None:
        super().__init__()
        self.cells = cells

    def forward(self, inputs: Tensor, state: Tensor | State) -> tuple[Tensor, Tensor | State]:
        """Take one step for each of `inputs`."""
        if isinstance(self.cells, nn.LSTM):
            hidden, h, c = unroll(inputs, state[0][0], state[1][0], LSTMWeights.of(self.cells))
            return hidden, (h[None], c[None])
        assert isinstance(state, Tensor)
        h, told = state[0], []
        for x in inputs:
            h = gru_cell(x, h, self.cells) if isinstance(self.cells, nn.GRU) else rnn_cell(x, h, self.cells)
            told.append(h)
        return torch.stack(told), h[None]


def by_equations(module: nn.Module) -> int:
    """Exchange all cells in `module` for their equations; return how many there were."""
    count = 0
    for name, part in module.named_children():
        if isinstance(part, nn.LSTM | nn.GRU | nn.RNN):
            setattr(module, name, ByEquations(part))
            count += 1
        else:
            count += by_equations(part)
    return count


def told_by(model: Autoencoder) -> Tensor:
    """Return one number that depends on every summary, the last state, the window and the forecast."""
    inputs = torch.from_numpy(stream(7)).double()
    summary, state = model.encode(inputs, model.nothing(3))
    told = model.decode(summary.flatten(0, 1)).window, model.forecast(summary[-1], inputs[-1, :, :CHANNELS])
    weighed = [(part.square().flatten() * torch.arange(1, part.numel() + 1)).sum() for part in (*told, *state)]
    return torch.stack(weighed).sum()


@pytest.mark.parametrize("decoder", ["mlp", "lstm"])
def test_outputs_and_gradients_are_those_of_the_cells_by_their_equations(
    settings: ModelSettings, decoder: Decoder
) -> None:
    chosen = replace(settings, decoder=decoder)
    fast, slow = model_of(chosen), model_of(chosen)
    leaves = list(fast.parameters()), list(slow.parameters())
    assert by_equations(slow) >= 1
    mine, theirs = told_by(fast), told_by(slow)
    assert torch.allclose(mine, theirs, rtol=1e-9)
    gradients = [
        torch.autograd.grad(told, part, allow_unused=True) for told, part in zip((mine, theirs), leaves, strict=True)
    ]
    seen = 0
    for one, other in zip(*gradients, strict=True):
        assert (one is None) == (other is None)
        if one is not None and other is not None:
            assert torch.allclose(one, other, rtol=1e-7, atol=1e-9)
            seen += bool(one.any())
    assert seen >= len(leaves[0]) - 2  # all but what a mean code does not use


def test_the_gradient_of_the_loss_is_the_slope_of_the_loss(settings: ModelSettings) -> None:
    model, inputs = model_of(settings), torch.from_numpy(stream(4, 2)).double()
    window = torch.from_numpy(np.random.default_rng(2).normal(size=(4, 3, CHANNELS)))
    counted = torch.ones_like(window, dtype=torch.bool)
    counted[1, 2] = False
    whole, names = _Loss(model), [name for name, _ in model.named_parameters()]

    def loss(*weights: Tensor) -> Tensor:
        named = {f"model.{name}": weight for name, weight in zip(names, weights, strict=True)}
        told: Tensor = torch.func.functional_call(whole, named, (inputs, window, counted))
        return told

    leaves = tuple(parameter.detach().clone().requires_grad_(True) for parameter in model.parameters())
    assert torch.autograd.gradcheck(loss, leaves, atol=1e-6)


class _Loss(nn.Module):
    """All that training makes small, in one call."""

    def __init__(self, model: Autoencoder) -> None:
        super().__init__()
        self.model = model

    def forward(self, inputs: Tensor, window: Tensor, counted: Tensor) -> Tensor:
        """Return the loss of one chunk of two streams."""
        teaching, model = Teaching(TRAINING, torch.Generator().manual_seed(1)), self.model
        read, state = model.disturbed(inputs, teaching), model.nothing(2)
        summary, _ = model.encode(read, state)
        loss, _ = model.window_loss(summary[2:].flatten(0, 1), window, counted, teaching)
        ahead = model.forecast(summary.flatten(0, 1), read.flatten(0, 1)[:, :CHANNELS]).square().sum()
        penalty = model.penalty(read, state, summary, teaching)
        return loss + ahead if penalty is None else loss + ahead + penalty


# training that was cut short


def taught(settings: ModelSettings, epochs: int, saving: Saving | None = None) -> Fitted:
    """Teach for so many of the two epochs of which the schedule knows."""
    values = np.sin(np.arange(300) / 5)[:, None].astype(np.float32)
    inputs = np.concatenate([values, stream(300, 1)[:, 0, :5]], axis=1)
    series = [TrainingSeries(inputs, values, np.ones_like(values, np.bool_))]
    training = TrainingSettings(epochs_max=2, lanes=4, chunk_samples=8)
    told = iter(range(epochs))

    def enough(_: Progress) -> None:
        if next(told, None) is None:
            raise Interrupted

    return fit(series, model=settings, training=training, progress=enough, saving=saving, clock=lambda: 0.0)


class Interrupted(Exception):
    """What ends a training in the middle."""


def test_a_training_that_was_cut_short_ends_with_the_weights_that_it_would_have_had(settings: ModelSettings) -> None:
    kept: list[bytes] = []
    whole = taught(settings, 2)
    with pytest.raises(Interrupted):
        taught(settings, 1, Saving(keep=lambda reached: kept.append(checkpoint.dumps(reached))))
    resumed = taught(settings, 1, Saving(start=checkpoint.loads(kept[-1])))
    assert len(kept) == 1
    assert all(np.array_equal(whole.weights[name], resumed.weights[name]) for name in whole.weights)
    assert resumed.report == whole.report
