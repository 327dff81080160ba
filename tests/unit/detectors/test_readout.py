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
    return readout.learn_newest(rows, readout.reading(hidden, value), none, value, mask)


def run(rows: NDArray[np.void], hidden: F4, values: F4) -> tuple[F4, F4]:
    """Take a series (T, 1, D) read off states (T, 1, H); return the errors of both heads (T, D)."""
    newest, ahead = np.zeros(values.shape[::2], np.float32), np.zeros(values.shape[::2], np.float32)
    expected = None
    for i in range(len(values)):
        if expected is not None:
            ahead[i] = values[i, 0] - expected[0]
        newest[i] = take(rows, hidden[i], values[i], expected)[0]
        expected = readout.forecast(rows, readout.reading(hidden[i], values[i]), np.zeros_like(values[i]))
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
    assert rows["readout_weight"][0, :, readout.NEWEST] == pytest.approx(direct, abs=2e-3)


def test_a_prior_is_corrected_and_not_replaced() -> None:
    rows = fresh()
    five = np.full((1, 1), 5.0, np.float32)
    error = readout.learn_newest(rows, readout.reading(states(1)[0], five), five, five, np.ones(1, bool))
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
    read = readout.reading(hidden[5], none)
    before = readout.forecast(rows, read, none)
    readout.rescale(rows, np.full((1, 1), 0.5), np.zeros((1, 1)))
    assert readout.forecast(rows, read, none) == pytest.approx(0.5 * before)


def walk(samples: int, channels: int, seed: int = 0) -> F4:
    """Return values (T, 1, D) in which each channel follows the one before it of the sample before."""
    rng = np.random.default_rng(seed)
    values = rng.normal(0.0, 1.0, (samples, 1, channels))
    for i in range(1, samples):
        values[i, 0, 1:] = 0.9 * values[i - 1, 0, :-1] + 0.1 * values[i, 0, 1:]
    return values.astype(np.float32)


def test_several_channels_are_forecast_from_each_other() -> None:
    values, hidden = walk(900, 3), states(900)
    _, ahead = run(fresh(channels=3), hidden, values)
    assert np.abs(ahead[-200:, 0]).mean() > 0.5  # nothing says what the first will be
    assert np.abs(ahead[-200:, 1:]).mean() < 0.15


def test_heads_go_on_in_another_scale_of_what_they_read() -> None:
    values, hidden = walk(900, 3), states(900)
    rows, ratio, shift = fresh(channels=3), np.array([[0.8, 1.5, 1.0]]), np.array([[0.5, -0.3, 0.0]])
    run(rows, hidden[:600], values[:600])
    moved = rows.copy()
    readout.rescale(moved, ratio, shift)
    # persistence is the prior that moves with the scale
    told = readout.forecast(rows, readout.reading(hidden[600], values[600]), values[600])
    other = (values[600] * ratio + shift).astype(np.float32)
    again = readout.forecast(moved, readout.reading(hidden[600], other), other)
    assert again == pytest.approx(told * ratio + shift, abs=1e-3)


def test_a_channel_that_wakes_up_is_read_as_if_for_the_first_time() -> None:
    rows = fresh(channels=3)
    run(rows, states(600), walk(600, 3))
    readout.rescale(rows, np.array([[1e-5, 1.0, 1.0]]), np.array([[90.0, 0.0, 0.0]]))
    inverse = rows["readout_inverse"][0]
    assert inverse[HIDDEN].tolist() == np.eye(HIDDEN + 4)[HIDDEN].tolist()
    assert not rows["readout_weight"][0, HIDDEN].any()
    assert np.linalg.eigvalsh(inverse.astype(np.float64)).min() > -1e-5
