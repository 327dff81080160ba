"""The four public corpora, as they lie in a data directory; what is not there is left out.

NAB (`nab/data/GROUP/FILE.csv` and `nab/labels/combined_windows.json`), ASD and SMD (`asd/`, `smd/`: `NAME.csv.gz` with
a `manifest.json` that says how many rows are for training) and SKAB (`skab/FOLDER/N.csv`, separated by semicolons).
"""

from __future__ import annotations

import csv
import hashlib
import json
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from daemon.tables import Table, read

Mask = NDArray[np.bool_]
Spans = tuple[tuple[int, int], ...]

SKAB_TRAIN_ROWS: Final = 400
SKAB_FOLDERS: Final = ("valve1", "valve2", "other")
NAB_PROBATION_SHARE: Final = 0.15
NAB_PROBATION_ROWS_MAX: Final = 750


@dataclass(frozen=True, slots=True, eq=False)
class Series:
    """One file as one stream. Detectors see its values and times; only the scorers see its labels."""

    corpus: str
    name: str
    table: Table
    labels: Mask  # (T,)
    spans: Spans  # first and last row of each labelled stretch
    train_rows: int  # given to the backtest as its training part; 0: it learns on the way
    judged_from: int  # the first row that counts

    @property
    def fit_rows(self) -> int:
        """How many rows a detector that is fitted once may learn from."""
        return self.train_rows or self.judged_from

    @property
    def digest(self) -> str:
        """What the file holds, as a short text."""
        parts = (self.table.values.tobytes(), self.table.times_ms.tobytes(), repr((self.train_rows, self.judged_from)))
        return hashlib.sha256(b"".join(p if isinstance(p, bytes) else p.encode() for p in parts)).hexdigest()[:12]


def spans_of(labels: Mask) -> Spans:
    """Return the first and last row of every stretch of `labels` (T,)."""
    edges = np.flatnonzero(np.diff(np.r_[False, labels, False].astype(np.int8))).reshape(-1, 2)
    return tuple((int(begin), int(end) - 1) for begin, end in edges)


def nab(folder: Path) -> Iterator[Series]:
    """Yield the files of the Numenta Anomaly Benchmark."""
    windows = json.loads((folder / "labels" / "combined_windows.json").read_text("utf-8"))
    for name in sorted(windows):
        path = folder / "data" / name
        if path.exists():
            table = read(path)
            spans = _window_rows(name, table, windows[name])
            labels = np.zeros(len(table.times_ms), dtype=bool)
            for begin, end in spans:
                labels[begin : end + 1] = True
            yield Series("nab", name, table, labels, spans, 0, probation_rows(len(labels)))


def probation_rows(rows: int) -> int:
    """Return how many first rows of a NAB file are not judged."""
    return math.ceil(min(math.floor(NAB_PROBATION_SHARE * rows), NAB_PROBATION_ROWS_MAX))


def _window_rows(name: str, table: Table, windows: list[list[str]]) -> Spans:
    """Return the rows of the windows' edges; where a time stands twice, its first row counts."""
    row_of: dict[str, int] = {}
    for row, stamp in enumerate(table.timestamps):
        row_of.setdefault(_whole_seconds(stamp), row)
    try:
        return tuple((row_of[_whole_seconds(left)], row_of[_whole_seconds(right)]) for left, right in windows)
    except KeyError as error:
        raise ValueError(f"{name}: a window begins or ends at {error}, which is no row of the file") from error


def _whole_seconds(stamp: str) -> str:
    whole, _, fraction = stamp.strip().partition(".")
    return stamp.strip() if fraction.strip("0") else whole


def server_metrics(folder: Path) -> Iterator[Series]:
    """Yield the streams of ASD or SMD: a part to learn from, followed by the part that is judged."""
    manifest = json.loads((folder / "manifest.json").read_text("utf-8"))
    for name in sorted(manifest):
        table = read(folder / f"{name}.csv.gz")
        assert table.labels is not None, f"{folder}/{name}: no column of labels"
        labels, train_rows = table.labels, int(manifest[name]["train_rows"])
        yield Series(folder.name, name, table, labels, spans_of(labels), train_rows, train_rows)


def skab(folder: Path) -> Iterator[Series]:
    """Yield the labelled files of the Skoltech benchmark; the first 400 rows of each are for training."""
    for place in SKAB_FOLDERS:
        for path in sorted((folder / place).glob("*.csv"), key=lambda each: int(each.stem)):
            table = _skab_table(path)
            assert table.labels is not None
            spans = spans_of(table.labels)
            yield Series("skab", f"{place}/{path.stem}", table, table.labels, spans, SKAB_TRAIN_ROWS, SKAB_TRAIN_ROWS)


def _skab_table(path: Path) -> Table:
    with path.open(encoding="utf-8", newline="") as lines:
        header, *rows = list(csv.reader(lines, delimiter=";"))
    stamps = [row[0] for row in rows]
    times = np.array(stamps, dtype="datetime64[ms]").astype(np.int64)
    numbers = np.array([row[1:] for row in rows], dtype=np.float64)
    channels = tuple(name for name in header[1:] if name not in ("anomaly", "changepoint"))
    labels = numbers[:, header.index("anomaly") - 1] > 0
    return Table(channels, stamps, times, numbers[:, : len(channels)], labels)


LOADERS: Final[dict[str, Callable[[Path], Iterator[Series]]]] = {
    "nab": nab,
    "asd": server_metrics,
    "smd": server_metrics,
    "skab": skab,
}


def load(data: Path, only: tuple[str, ...] = ()) -> dict[str, list[Series]]:
    """Return the series of every corpus that is in `data`, of those that are named when some are.

    Raises FileNotFoundError when none is.
    """
    wanted = [name for name in LOADERS if (not only or name in only) and (data / name).is_dir()]
    if not wanted:
        raise FileNotFoundError(f"{data}: none of {', '.join(only or LOADERS)} is there")
    return {name: list(LOADERS[name](data / name)) for name in wanted}
