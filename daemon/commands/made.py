"""A file's rows as the samples that are made of them: joined and derived as the daemon would."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from daemon.config import GroupConfig
from daemon.engine import layout
from daemon.samples import Part, Samples
from daemon.tables import Table, TableError
from daemon.types import TopicPartition
from detectors import scaling
from detectors.slab import Slab

CODES: Final = {"auto": scaling.UNKNOWN, "gauge": scaling.GAUGE, "counter": scaling.COUNTER, "delta": scaling.DELTA}
PARTITION = TopicPartition("file", 0)


def made(group: GroupConfig, table: Table) -> Table:
    """Return the table of samples that the group makes of a file's rows; the table itself where it makes none.

    A row is a reading of the channels that it has. A joined sample is labelled when a row of its time is. Raises
    TableError when the file has no column for something that is read.
    """
    recipe = group.recipe()
    if recipe is None:
        return table
    missing = [name for name in recipe.reads if name not in table.channels]
    if missing:
        raise TableError(f"no column {', '.join(missing)}; there are {', '.join(table.channels)}")
    values = table.values[:, [table.channels.index(name) for name in recipe.reads]]
    rows = np.flatnonzero(~np.isnan(values).all(axis=1))
    part, _ = recipe.made(_part(layout(group.detector(), recipe.fields()), table.times_ms[rows], values[rows]), {})
    times_ms, labels = part.samples.times_ms, table.labels
    if recipe.join is None:
        stamps = [table.timestamps[at] for at in rows.tolist()]
        return Table(recipe.channels, stamps, times_ms, part.samples.values, None if labels is None else labels[rows])
    stamps = [str(each) for each in times_ms.tolist()]
    marked = None if labels is None else _labels(labels, table.times_ms, times_ms)
    return Table(recipe.channels, stamps, times_ms, part.samples.values, marked)


def told(group: GroupConfig) -> NDArray[np.float32]:
    """Return what the group's channels are told to be (the row field `counter`, (D,)); 0 where nobody says."""
    recipe, channels = group.recipe(), group.detector().channels
    made_of = recipe.derivation.is_made if recipe and recipe.derivation else (False,) * len(channels)
    return np.array([scaling.GAUGE if each else CODES[group.values] for each in made_of], dtype=np.float32)


def _part(dtype: np.dtype[np.void], times_ms: NDArray[np.int64], values: NDArray[np.float64]) -> Part:
    slab, count = Slab(dtype, 1, 1), len(times_ms)
    slab.slot("file")
    # one stream by itself: nothing else moves the watermark
    nothing = np.zeros(count, dtype=np.int64)
    return Part(PARTITION, slab, Samples(nothing.astype(np.intp), np.arange(count), times_ms, values, nothing), 0)


def _labels(labels: NDArray[np.bool_], row_ms: NDArray[np.int64], times_ms: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return which joined samples are labelled: those with a labelled row between their time and the next one's."""
    marked_ms = np.sort(row_ms[labels])
    first = np.searchsorted(marked_ms, times_ms)
    found: NDArray[np.bool_] = np.r_[first[1:], len(marked_ms)] > first
    return found if len(times_ms) else np.zeros(0, dtype=bool)
