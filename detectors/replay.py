"""One sample's score, computed once more: what of a row it rests on, as bytes; and the same code over it again.

A row holds more than the score of the next sample reads: much of it is only learnt from that sample, for those after
it. What is not read is packed as zeros, which take next to no room.
"""

from __future__ import annotations

import hashlib
import zlib
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from detectors import autoregression, continual, readout, scoring
from detectors.scoring import Detector, Scored
from detectors.settings import DetectorSettings
from detectors.slab import row_dtype

F = NDArray[np.float64]
Row = NDArray[np.void]

PACKING: Final = 2  # counts up when the same row is packed in another way
LAYOUTS_MAX: Final = 256  # remembered: many alerts may open at once, each of a group's
ROW_BYTES_MAX: Final = 16_000_000
LEARNT_ONLY: Final = ("mean", "variance", "shielded", *readout.LEARNT_ONLY, *continual.LEARNT_ONLY)
"""What is moved by a sample and has no part in its score; the usual interval has none either, but tells what once in so
many samples means."""


class ReplayError(ValueError):
    """Bytes are no row, or no row that a stream ever had; the text says why."""


@dataclass(frozen=True, slots=True, eq=False)
class Moment:
    """A stream as it was just before a sample, and the sample."""

    row: Row  # (1,)
    time_ms: int
    values: F  # (D,) raw, NaN where missing
    protected: bool  # by an open alert: nothing was learnt


@lru_cache(LAYOUTS_MAX)
def layout(settings: DetectorSettings) -> str:
    """Return what tells whether bytes were packed from rows that lie as they do here."""
    return hashlib.sha256(f"{PACKING}{_dtype(settings).descr}".encode()).hexdigest()[:16]


def packed(settings: DetectorSettings, row: Row) -> bytes:
    """Return what the score of the next sample reads of `row` (1,), which may have more fields than a detector's."""
    kept = np.zeros(1, _dtype(settings))  # also what lies between the fields is zero
    for name in kept.dtype.names or ():
        if name not in LEARNT_ONLY:
            kept[name] = row[name]
    read = autoregression.LAGS if autoregression.speaks(len(settings.channels), settings.model.window) else 1
    kept["window"][:, read:] = 0.0
    readout.forget_unread(kept)
    return zlib.compress(kept.tobytes())


def unpacked(settings: DetectorSettings, data: bytes) -> Row:
    """Return the row (1,) that `packed` made `data` of; raises ReplayError for anything else."""
    dtype = _dtype(settings)
    if not 0 < dtype.itemsize <= ROW_BYTES_MAX:
        raise ReplayError(f"a row of these settings would have {dtype.itemsize} bytes, at most {ROW_BYTES_MAX}")
    reader = zlib.decompressobj()
    try:
        plain = reader.decompress(data, dtype.itemsize + 1)
    except zlib.error as error:
        raise ReplayError(f"the row cannot be read: {error}") from error
    if len(plain) != dtype.itemsize or not reader.eof or reader.unused_data:
        raise ReplayError(f"the row is not one of {dtype.itemsize} bytes, as these settings ask for")
    row = np.frombuffer(plain, dtype).copy()
    for name in dtype.names or ():
        if name != "raw_last" and not np.isfinite(row[name]).all():
            raise ReplayError(f"the row's {name} holds something that is no finite number")
    return row


def scored(detector: Detector, moment: Moment) -> tuple[Scored, Row]:
    """Return what `scoring.score` says of the sample, and the row (1,) that it leaves behind; the moment stays.

    Of that row only what the score reads means anything. Raises ReplayError when no stream can have been like that.
    """
    row = moment.row.copy()
    protected = np.array([moment.protected])
    try:
        times_ms = np.array([moment.time_ms], dtype=np.int64)
        with np.errstate(all="ignore"):  # what is learnt here has no past, and nobody reads it
            found = scoring.score(detector, row, times_ms, moment.values[None], protected)
    except (ValueError, IndexError, OverflowError) as error:
        raise ReplayError(f"the row or the sample is none that a stream ever had: {error}") from error
    return found, row


@lru_cache(LAYOUTS_MAX)
def _dtype(settings: DetectorSettings) -> np.dtype[np.void]:
    try:
        return row_dtype(scoring.fields(settings))
    except (ValueError, OverflowError) as error:
        raise ReplayError(f"these settings make no row: {error}") from error
