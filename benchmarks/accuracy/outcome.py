"""What a detector makes of one file, in columns."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, eq=False)
class Outcome:
    """A score for every row (0 while warming), the rows at which an alert opened, and those under an open alert."""

    score: NDArray[np.float64]
    opened: NDArray[np.bool_]
    alarmed: NDArray[np.bool_]
