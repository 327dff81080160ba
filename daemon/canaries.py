"""Canaries: faults as they are known, put into copies of what streams really did, to see whether they are noticed."""

from __future__ import annotations

from typing import Final, Literal, get_args

import numpy as np
from numpy.typing import NDArray

F = NDArray[np.float64]

Kind = Literal["none", "spike", "level", "frozen", "variance"]
"""`none` is the stretch as it was: a stream that is noticed without a fault says nothing of one with it."""

KINDS: Final[tuple[Kind, ...]] = get_args(Kind)
LEAD_SAMPLES: Final = 16  # of a canary, before its fault begins
SAMPLES: Final = 64  # of a canary in all
SIZE: Final = 4.0  # of a spike and of a new level, in the stream's own spreads
NOISE: Final = 3.0  # the same of the noise: its standard deviation


def faulty(kind: Kind, values: F, spread: F) -> F:
    """Return a copy of `values` (SAMPLES, D) with a fault of this kind in all channels from LEAD_SAMPLES on.

    `spread` (D,) is the stream's usual one, in the values' unit. The noise is the same every time.
    """
    result = values.copy()
    fault = result[LEAD_SAMPLES:]
    match kind:
        case "none":
            pass
        case "spike":
            fault[0] += SIZE * spread
        case "level":
            fault += SIZE * spread
        case "frozen":
            fault[:] = result[LEAD_SAMPLES - 1]
        case "variance":
            rng = np.random.default_rng(0)
            fault += NOISE * spread * rng.standard_normal(fault.shape)
    return result


def faulty_counter(kind: Kind, values: F, spread: F, seconds: F) -> F:
    """Return the same for counters: the fault is put into the rates (per second), and they never fall.

    `seconds` (SAMPLES,) is the time since the sample before.
    """
    rate = np.diff(values, axis=0, prepend=values[:1]) / seconds[:, None]
    changed = np.maximum(faulty(kind, rate, spread), 0.0)
    result: F = values[0] + np.cumsum(changed * seconds[:, None], axis=0)
    return result
