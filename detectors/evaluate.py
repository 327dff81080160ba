"""How good alerts are against labels: which labelled stretches were caught, how late, and what was false."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Counts over one file. An alert is true when its row is labelled; every labelled stretch counts once."""

    stretches: int
    caught: int
    alerts: int
    alerts_true: int
    delays_seconds: tuple[float, ...]  # of the caught stretches, from their first row to their first alert

    @property
    def recall(self) -> float:
        """Share of the labelled stretches that were caught; NaN without any."""
        return self.caught / self.stretches if self.stretches else float("nan")

    @property
    def precision(self) -> float:
        """Share of the alerts that were true; NaN without any."""
        return self.alerts_true / self.alerts if self.alerts else float("nan")

    @property
    def delay_seconds(self) -> float:
        """Median delay of the caught stretches; NaN without any."""
        return float(np.median(self.delays_seconds)) if self.delays_seconds else float("nan")


def evaluate(labels: Mask, opened: Mask, times_ms: NDArray[np.int64]) -> Evaluation:
    """Compare the rows at which alerts `opened` (T,) with the `labels` (T,); no point adjustment."""
    edges = np.flatnonzero(np.diff(np.r_[False, labels, False].astype(np.int8)))
    stretches = edges.reshape(-1, 2)  # first row, row after the last
    delays = []
    for begin, end in stretches:
        hits = np.flatnonzero(opened[begin:end])
        if len(hits):
            delays.append(float(times_ms[begin + hits[0]] - times_ms[begin]) / 1000.0)
    return Evaluation(len(stretches), len(delays), int(opened.sum()), int((opened & labels).sum()), tuple(delays))
