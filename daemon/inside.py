"""The inside of an LSTM cell as panels to look at, and as numbers that JSON can hold."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from daemon.plots import Heat, Line, Panel
from detectors.introspection import Gates

F = NDArray[np.float64]

_GATES = {"forget": "forget gate", "insert": "input gate", "output": "output gate"}


def gate_panels(x: F, gates: Gates) -> Sequence[Panel]:
    """Return the panels that show `gates` over an even `x` (T,): how open in the mean, then cell by cell."""
    memory = float(np.nanmax(np.abs(gates.cell), initial=0.1))
    return [
        Panel("how open the gates are: mean over the cells, and the middle 80 % of them", _openness(x, gates)),
        *(
            Panel(
                f"{title}, cell by cell: dark is shut (0), bright is open (1)",
                heat=_heat(x, getattr(gates, name), 0.0, 1.0),
            )
            for name, title in _GATES.items()
        ),
        Panel("candidate: blue -1, red 1", heat=_heat(x, gates.candidate, -1.0, 1.0)),
        Panel(
            f"cell state (what is remembered): blue -{memory:.2g}, red {memory:.2g}",
            heat=_heat(x, gates.cell, -memory, memory),
        ),
        Panel("hidden state (what is said): blue -1, red 1", heat=_heat(x, gates.hidden, -1.0, 1.0)),
    ]


def _openness(x: F, gates: Gates) -> list[Line]:
    lines = []
    for name, title in _GATES.items():
        array = getattr(gates, name).astype(np.float64)
        low, high = np.quantile(array, (0.1, 0.9), axis=1)
        lines.append(Line(title, x, array.mean(axis=1), low, high))
    return lines


def _heat(x: F, array: NDArray[np.float32], low: float, high: float) -> Heat:
    return Heat(x, array.T.astype(np.float64), low, high)


def without_nan(value: object) -> object:
    """Return numbers in nested lists with None in the place of what is none."""
    if isinstance(value, list):
        return [without_nan(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
