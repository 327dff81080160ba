"""Each stream's heads learn what the shared state says of it, quickly, and stay sane for ever."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from detectors import readout
from detectors.slab import row_dtype

F4 = NDArray[np.float32]
HIDDEN = 6


def fresh(streams: int = 1, channels: int = 1) -> NDArray[np.void]:
    rows = np.zeros(streams, row_dtype(readout.fields(HIDDEN, channels)))
    readout.clear(rows)
    return rows


def take(rows: NDArray[np.void], hidden: F4, value: F4, expected: F4 | None, *, learning: bool = True) -> F4:
    """Take one sample through both heads; return the first head's error."""
    mask, none = np.full(len(rows), learning), np.zeros_like(value)
    if expected is not None:
        readout.learn_next(rows, value - expected, mask)
    return readout.learn_newest(rows, hidden, none, value, mask)


def run(rows: NDArray[np.void], hidden: F4, values: F4) -> tuple[F4, F4]:
    """Take a series (T, 1, D) read off states (T, 1, H); return the errors of both heads (T, D)."""
    newest, ahead = np.zeros(values.shape[::2], np.float32), np.zeros(values.shape[::2], np.float32)
    expected = None
    for i in range(len(values)):
        if expected is not None:
            ahead[i] = values[i, 0] - expected[0]
        newest[i] = take(rows, hidden[i], values[i], expected)[0]
        expected = readout.forecast(rows, hidden[i], np.zeros_like(values[i]))
    return newest, ahead


def states(samples: int, seed: int = 0) -> F4:
    return np.random.default_rng(seed).normal(0.0, 0.5, (samples, 1, HIDDEN)).astype(np.float32)


def test_both_heads_find_a_linear_law_of_the_state() -> None:
    hidden = states(600)
    law = np.linspace(-1.0, 1.0, HIDDEN, dtype=np.float32)
    values = (hidden @ law)[..., None] + np.float32(0.3)  # (T, 1, 1)
    newest, _ = run(fresh(), hidden, values)
    assert np.abs(newest[-100:]).max() < 0.03
    delayed = np.concatenate([values[:1], values[:-1]])  # what the state before said
    _, ahead = run(fresh(), hidden, delayed)
    assert np.abs(ahead[-100:]).max() < 0.03


def test_recursion_equals_least_squares_over_the_whole_past() -> None:
    samples = 80  # so few that nothing is clipped or forgotten to speak of
    hidden, rng = states(samples), np.random.default_rng(1)
    values = rng.normal(0.0, 1.0, (samples, 1, 1)).astype(np.float32)
    rows = fresh()
    run(rows, hidden, values)
    read = np.concatenate([hidden[:, 0], np.ones((samples, 1))], axis=1)
    forget = float(readout.MEMORY) ** np.arange(samples - 1, -1, -1.0)
    left = (read * forget[:, None]).T @ read + float(readout.MEMORY) ** samples * np.eye(HIDDEN + 1)
    direct = np.linalg.solve(left, (read * forget[:, None]).T @ values[:, 0])
    assert rows["readout_weight"][0, :, 0] == pytest.approx(direct, abs=2e-3)


def test_a_prior_is_corrected_and_not_replaced() -> None:
    rows = fresh()
    error = readout.learn_newest(
        rows, states(1)[0], np.full((1, 1), 5.0, np.float32), np.full((1, 1), 5.0, np.float32), np.ones(1, bool)
    )
    assert float(error[0, 0]) == 0.0
    assert not rows["readout_weight"].any()


def test_a_row_that_may_not_learn_stays_as_it_is() -> None:
    rows, hidden = fresh(), states(50)
    run(rows, hidden, hidden[:, :, :1])
    before = {name: rows[name].copy() for name in ("readout_weight", "readout_inverse", "readout_usual")}
    take(rows, hidden[0], np.full((1, 1), 9.0, np.float32), np.zeros((1, 1), np.float32), learning=False)
    for name, values in before.items():
        assert np.array_equal(rows[name], values), name


def test_a_missing_value_teaches_nothing_and_has_no_error() -> None:
    rows, hidden = fresh(), states(50)
    run(rows, hidden, hidden[:, :, :1])
    before = rows["readout_weight"].copy()
    error = take(rows, hidden[0], np.full((1, 1), np.nan, np.float32), np.zeros((1, 1), np.float32))
    assert np.isnan(error).all()
    assert np.array_equal(rows["readout_weight"], before)


def test_one_wild_error_hardly_moves_the_heads() -> None:
    hidden = states(400)
    rows = fresh()
    run(rows, hidden, hidden[:, :, :1])
    before = rows["readout_weight"].copy()
    take(rows, hidden[0], np.full((1, 1), 1e6, np.float32), np.zeros((1, 1), np.float32))
    assert np.abs(rows["readout_weight"] - before).max() < 0.1


def test_a_constant_input_never_lets_the_inverse_grow() -> None:
    rows = fresh()
    hidden, value = np.full((1, HIDDEN), 0.4, np.float32), np.full((1, 1), 1.0, np.float32)
    for _ in range(30_000):
        take(rows, hidden, value, value)
    inverse = rows["readout_inverse"][0].astype(np.float64)
    assert np.isfinite(inverse).all()
    assert np.trace(inverse) <= HIDDEN + 1 + 1e-3
    assert np.linalg.eigvalsh(0.5 * (inverse + inverse.T)).min() > -1e-5


def test_another_scale_is_taken_over() -> None:
    rows, hidden = fresh(), states(300)
    run(rows, hidden, hidden[:, :, :1])
    none = np.zeros((1, 1), np.float32)
    before = readout.forecast(rows, hidden[5], none)
    readout.rescale(rows, np.full((1, 1), 0.5))
    assert readout.forecast(rows, hidden[5], none) == pytest.approx(0.5 * before)
