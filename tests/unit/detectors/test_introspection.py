"""What is shown of a cell is what its equations say, ends where the fused step ends, and changes nothing."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from detectors import scoring
from detectors.dayzero import day_zero
from detectors.introspection import Gates, NoGates, Witness, _Arrays, cell_of, joined, opened, window_seen
from detectors.lstm import FusedLSTM, LSTMWeights, build_lstm
from detectors.scoring import Advanced, Detector
from detectors.settings import DetectorSettings
from detectors.slab import row_dtype
from tests.conformance.feed import INTERVAL_MS, START_MS, drawn, settings_of, wave

F4 = NDArray[np.float32]
Row = NDArray[np.void]
SHIPPED = day_zero(DetectorSettings())
DRAWN = Detector(settings_of(2), drawn(settings_of(2)), "m")


def lived(detector: Detector, samples: int, row: Row | None = None, first: int = 0) -> tuple[Row, list[float]]:
    """Return the row of a stream that the detector has scored for a while, and its scores."""
    width = len(detector.settings.channels)
    if row is None:
        row = np.zeros(1, row_dtype(scoring.fields(detector.settings)))
        scoring.clear(row)
    values, scores = wave(first + samples, width, seed=3), []
    for i in range(first, first + samples):
        times_ms = np.array([START_MS + i * INTERVAL_MS])
        scores.append(float(scoring.score(detector, row, times_ms, values[i : i + 1], np.zeros(1, bool)).score[0]))
    return row, scores


@pytest.fixture(scope="module")
def watched() -> tuple[Row, Gates]:
    """A stream whose last 90 samples were witnessed."""
    row, _ = lived(SHIPPED, 150)
    assert SHIPPED.network is not None
    witness = Witness(SHIPPED.network)
    lived(Detector(SHIPPED.settings, witness), 90, row, first=150)
    return row, witness.gates()


def test_the_fused_form_gives_its_equations_back_to_the_bit() -> None:
    weights = LSTMWeights.of(build_lstm(3, 5))
    again = FusedLSTM(weights).equations()
    for name in ("forget", "insert", "candidate", "output"):
        before, after = getattr(weights, name), getattr(again, name)
        assert np.array_equal(before.weight.detach(), after.weight.detach()), name
        assert np.array_equal(before.bias.detach(), after.bias.detach()), name


def test_the_equations_end_where_the_step_ends(watched: tuple[Row, Gates]) -> None:
    row, gates = watched
    assert gates.cell.shape == (90, 16)
    assert np.allclose(gates.hidden[-1], row["hidden"][0], atol=1e-6)
    assert np.allclose(gates.cell[-1], row["cell"][0], atol=1e-6)


def test_what_is_shown_fits_together_as_the_paper_says(watched: tuple[Row, Gates]) -> None:
    _, gates = watched
    remembered = gates.forget[1:] * gates.cell[:-1] + gates.insert[1:] * gates.candidate[1:]
    assert np.allclose(gates.cell[1:], remembered, atol=1e-5)
    assert np.allclose(gates.hidden, gates.output * np.tanh(gates.cell), atol=1e-5)
    for name in ("forget", "insert", "output"):
        assert ((getattr(gates, name) > 0) & (getattr(gates, name) < 1)).all(), name


def test_a_witness_changes_no_score() -> None:
    assert DRAWN.network is not None
    begun, _ = lived(DRAWN, 80)
    _, plain = lived(DRAWN, 20, begun.copy(), first=80)
    _, seen = lived(Detector(DRAWN.settings, Witness(DRAWN.network)), 20, begun, first=80)
    assert plain == seen


@pytest.mark.parametrize("detector", [SHIPPED, DRAWN], ids=["shipped", "drawn"])
def test_a_stored_window_is_shown_up_to_the_state_that_the_stream_carries(detector: Detector) -> None:
    row, _ = lived(detector, 200)
    seen = window_seen(detector, row, 100)
    assert len(seen.gates.cell) == detector.settings.model.window
    assert seen.gap < 0.05
    assert (
        seen.gap == np.abs(np.r_[seen.gates.hidden[-1] - row["hidden"][0], seen.gates.cell[-1] - row["cell"][0]]).max()
    )
    assert np.array_equal(np.diff(seen.times_ms), np.full(len(seen.times_ms) - 1, INTERVAL_MS))
    assert seen.times_ms[-1] == row["time_ms"][0]


def test_the_state_before_the_window_is_sought_because_nothing_would_be_further_off() -> None:
    row, _ = lived(DRAWN, 200)
    weights = cell_of(DRAWN.network)
    seen = window_seen(DRAWN, row, 2)
    blank = np.zeros(5, np.float32)
    inputs = scoring.inputs(np.zeros((2, 2)), np.zeros((2, 2)), np.zeros(2, np.int64))
    unsought = opened(weights, inputs, blank, blank)
    assert len(seen.gates.cell) == 2
    assert seen.gap < 0.1 * np.abs(unsought.cell[-1] - row["cell"][0]).max()


def test_the_slope_by_which_it_is_sought_is_that_of_the_equations() -> None:
    arrays, rng = _Arrays.of(cell_of(DRAWN.network)), np.random.default_rng(1)
    inputs = rng.normal(size=(6, 6)).astype(np.float32)
    begin, small = rng.normal(size=10), 1e-6 * np.eye(10)
    _, slope = arrays.read(inputs, begin)
    measured = [(arrays.read(inputs, begin + each)[0] - arrays.read(inputs, begin - each)[0]) / 2e-6 for each in small]
    assert np.allclose(slope, np.transpose(measured), atol=1e-7)


def test_a_stream_without_a_sample_has_an_empty_window() -> None:
    row = np.zeros(1, row_dtype(scoring.fields(SHIPPED.settings)))
    seen = window_seen(SHIPPED, row, 100)
    assert (seen.gates.forget.shape, seen.times_ms.shape, seen.gap) == ((0, 16), (0,), 0.0)


def test_rows_that_were_not_read_have_no_gates(watched: tuple[Row, Gates]) -> None:
    gates = joined([watched[1]], np.r_[False, np.ones(90, bool), False])
    assert np.isnan(gates.forget[[0, -1]]).all()
    assert np.array_equal(gates.cell[1:-1], watched[1].cell)


class Plain:
    """A network without any cell."""

    def advance(self, inputs: F4, hidden: F4, cell: F4, newest_of: NDArray[np.bool_] | None = None) -> Advanced:
        """Take no step."""
        raise NotImplementedError

    def autoregress(self, window: F4) -> F4 | None:
        """Expect nothing."""
        raise NotImplementedError

    def rebuild(self, inputs: F4, valid: NDArray[np.bool_]) -> tuple[F4, F4]:
        """Rebuild nothing."""
        raise NotImplementedError


def test_what_has_no_lstm_is_named_instead_of_shown() -> None:
    with pytest.raises(NoGates, match="no network yet"):
        cell_of(None)
    with pytest.raises(NoGates, match="Plain has no LSTM gates"):
        Witness(Plain())
