"""Tables from files: CSV (also gzipped), JSON lines and Parquet, with a time, channels and perhaps a label."""

from __future__ import annotations

import csv
import gzip
import json
import math
import zlib
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from io import TextIOWrapper
from pathlib import Path
from typing import Any, TextIO

import numpy as np
from numpy.typing import NDArray

from daemon.errors import DaemonError
from daemon.formats.point import Malformed, time_ms

TIME, LABEL = "timestamp", "label"

Rows = Iterable[tuple[int, Sequence[Any]]]  # each with its line in the file


class TableError(DaemonError):
    """A file cannot be read as a table; the text says which line and what was expected."""


@dataclass(frozen=True, slots=True)
class Table:
    """A file's rows. `timestamps` are as they stand in the file; `values` is (T, D), NaN where empty."""

    channels: tuple[str, ...]
    timestamps: Sequence[str]
    times_ms: NDArray[np.int64]
    values: NDArray[np.float64]
    labels: NDArray[np.bool_] | None


def read(path: Path) -> Table:
    """Read a table by the ending of its name. Raises TableError."""
    name = path.name.removesuffix(".gz")
    try:
        if name.endswith(".parquet"):
            return _table(path, *_parquet(path))
        with _opened(path) as lines:
            if name.endswith((".jsonl", ".ndjson")):
                return _table(path, *_json_lines(path, lines))
            return _table(path, *_csv(path, lines))
    except (OSError, EOFError, zlib.error, UnicodeDecodeError, csv.Error) as error:
        raise TableError(f"{path}: cannot be read: {error}") from error


def _opened(path: Path) -> TextIO:
    if path.name.endswith(".gz"):
        return TextIOWrapper(gzip.open(path), encoding="utf-8-sig", newline="")
    return path.open(encoding="utf-8-sig", newline="")


def _csv(path: Path, lines: Iterable[str]) -> tuple[list[str], Rows]:
    rows = csv.reader(lines)
    header = next(rows, None)
    if header is None:
        raise TableError(f"{path}: empty, expected a header with a column {TIME!r}")
    return [name.strip() for name in header], ((rows.line_num, row) for row in rows if row)


def _json_lines(path: Path, lines: Iterable[str]) -> tuple[list[str], Rows]:
    objects: dict[int, Any] = {}
    for number, line in enumerate(lines, 1):
        if line.strip():
            try:
                objects[number] = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise TableError(f"{path}:{number}: not JSON: {error}") from error
            if not isinstance(objects[number], dict):
                raise TableError(f"{path}:{number}: expected an object with a {TIME!r}")
    names = list(dict.fromkeys(name for each in objects.values() for name in each))
    return names, ((number, [each.get(name) for name in names]) for number, each in objects.items())


def _parquet(path: Path) -> tuple[list[str], Rows]:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq  # an extra: only who reads Parquet needs it
    except ImportError as error:
        raise TableError(f"{path}: Parquet needs the extra: pip install 'longwatch[parquet]'") from error
    try:
        table = pq.read_table(path)
        columns = [column.to_pylist() for column in table.columns]
    except (OSError, ValueError, OverflowError, pa.ArrowException) as error:  # a date may be beyond Python's years
        raise TableError(f"{path}: not Parquet: {error}") from error
    return table.column_names, enumerate(zip(*columns, strict=True), 1)


def _table(path: Path, names: list[str], rows: Rows) -> Table:
    if TIME not in names:
        raise TableError(f"{path}: no column {TIME!r} among {', '.join(names)}")
    channels = tuple(name for name in names if name not in (TIME, LABEL))
    if not channels:
        raise TableError(f"{path}: no channel beside {TIME!r}")
    at = {name: place for place, name in enumerate(names)}
    stamps, times, values, labels = [], [], [], []
    for number, row in rows:
        where = f"{path}:{number}"
        if len(row) != len(names):
            raise TableError(f"{where}: {len(row)} columns, expected {len(names)}")
        stamps.append(str(row[at[TIME]]))
        times.append(_time(where, row[at[TIME]]))
        values.append([_number(where, name, row[at[name]]) for name in channels])
        if LABEL in at:
            labels.append(_number(where, LABEL, row[at[LABEL]]) > 0)
    found = np.array(labels, dtype=bool) if LABEL in at else None
    matrix = np.array(values, dtype=np.float64).reshape(len(times), len(channels))
    return Table(channels, stamps, np.array(times, dtype=np.int64), matrix, found)


def _time(where: str, cell: Any) -> int:
    if hasattr(cell, "isoformat"):
        cell = cell.isoformat()
    if isinstance(cell, str):
        with suppress(ValueError):  # a text that is no number is a date
            cell = float(cell) if "." in cell else int(cell)
    moment = time_ms(cell, "auto")
    if isinstance(moment, Malformed):
        raise TableError(f"{where}: {moment.detail}")
    return moment


def _number(where: str, name: str, cell: Any) -> float:
    if cell is None or cell == "":
        return float("nan")
    try:
        number = float(cell)
    except (TypeError, ValueError, OverflowError) as error:
        raise TableError(f"{where}: column {name!r}: expected a number, got {str(cell)[:40]!r}") from error
    return number if math.isfinite(number) else math.nan  # what cannot be a value is a missing one
