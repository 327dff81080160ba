"""Series to measure on, made up."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from benchmarks.accuracy.corpora import Series, Spans
from daemon.tables import Table


def series(values: NDArray[np.float64], spans: Spans = (), *, corpus: str = "asd", train_rows: int = 0) -> Series:
    """Return `values` (T, D), a sample a minute, with `spans` labelled; without `train_rows`, 50 are not judged."""
    rows, width = values.shape
    labels = np.zeros(rows, dtype=bool)
    for begin, end in spans:
        labels[begin : end + 1] = True
    times_ms = 1_600_000_000_000 + 60_000 * np.arange(rows)
    channels = tuple(f"c{i}" for i in range(width))
    table = Table(channels, [str(each) for each in times_ms], times_ms, values, None)
    return Series(corpus, f"made/{rows}-{width}", table, labels, spans, train_rows, train_rows or 50)


def waves(rows: int, width: int, seed: int = 0) -> NDArray[np.float64]:
    """Return noisy waves (rows, width) with one jump near the end."""
    generator = np.random.default_rng(seed)
    values = np.sin(np.arange(rows)[:, None] / 9.0 + np.arange(width)) + generator.normal(0, 0.1, (rows, width))
    values[int(0.9 * rows) : int(0.9 * rows) + 8] += 12.0
    return values
