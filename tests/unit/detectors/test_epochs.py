"""Epochs end at the powers of two, and later at regular times."""

from __future__ import annotations

import numpy as np

from detectors import epochs


def test_epochs_end_at_powers_of_two_and_then_every_so_many_samples() -> None:
    samples = np.arange(0.0, 41.0)
    ends = np.flatnonzero(epochs.ends(samples, 8)).tolist()
    assert ends == [1, 2, 4, 8, 16, 24, 32, 40]


def test_counts_of_any_shape_are_judged_one_by_one() -> None:
    found = epochs.ends(np.array([[3.0, 4.0], [64.0, 96.0]]), 32)
    assert found.tolist() == [[False, True], [True, True]]
