"""Epochs of a stream's life: what is learnt all the time is taken over only at their ends.

They end at the powers of two of the samples seen, so a young stream changes its mind often and an old one seldom; from
some length on they are all equally long, so it never stops doing so.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.bool_]


def ends(samples: NDArray[np.floating[Any]], samples_max: int) -> Mask:
    """Return where the last of so many `samples` ended an epoch; none is longer than `samples_max`, a power of two."""
    count = samples.astype(np.int64)
    is_power = (count & (count - 1)) == 0
    result: Mask = (count > 0) & np.where(count < samples_max, is_power, (count & (samples_max - 1)) == 0)
    return result
