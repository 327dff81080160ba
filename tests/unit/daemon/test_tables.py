"""Files of every kind become the same table; a bad cell is named by its line."""

from __future__ import annotations

import gzip
import json
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from daemon.tables import Table, TableError, read

T = 1_700_000_000
CSV = f"timestamp,a,b,label\n{T},1,2,0\n{T + 10},,4.5,1\n"
ROWS = [{"timestamp": T, "a": 1, "b": 2, "label": 0}, {"timestamp": T + 10, "a": None, "b": 4.5, "label": 1}]
LINES = "".join(json.dumps(row) + "\n" for row in ROWS)


def write(folder: Path, name: str) -> Path:
    path = folder / name
    text = LINES if ".jsonl" in name or ".ndjson" in name else CSV
    if name.endswith(".parquet"):
        pq.write_table(pa.Table.from_pylist(ROWS), path)
    elif name.endswith(".gz"):
        path.write_bytes(gzip.compress(text.encode()))
    else:
        path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("name", ["t.csv", "t.csv.gz", "t.jsonl", "t.ndjson", "t.jsonl.gz", "t.parquet"])
def test_every_kind_of_file_gives_the_same_table(tmp_path: Path, name: str) -> None:
    table = read(write(tmp_path, name))
    assert table.channels == ("a", "b")
    assert list(table.timestamps) == [str(T), str(T + 10)]
    assert table.times_ms.tolist() == [T * 1000, T * 1000 + 10_000]
    np.testing.assert_equal(table.values, [[1.0, 2.0], [np.nan, 4.5]])
    assert table.labels is not None
    assert table.labels.tolist() == [False, True]


def read_text(folder: Path, text: str, name: str = "t.csv") -> Table:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return read(path)


@pytest.mark.parametrize(
    ("stamp", "expected_ms"),
    [
        ("2023-11-14 22:13:20", T * 1000),
        ("2023-11-14T22:13:20.5+00:00", T * 1000 + 500),
        (f"{T}.25", T * 1000 + 250),
        (f"{T}000", T * 1000),
        ("7", 7000),
    ],
)
def test_time_stamps_stay_as_they_stand_and_are_understood(tmp_path: Path, stamp: str, expected_ms: int) -> None:
    table = read_text(tmp_path, f"timestamp,value\n{stamp},1\n")
    assert list(table.timestamps) == [stamp]
    assert table.times_ms.tolist() == [expected_ms]


def test_a_parquet_file_may_hold_dates(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    pq.write_table(pa.table({"timestamp": [datetime.fromtimestamp(T, UTC)], "v": [True]}), path)
    table = read(path)
    assert table.times_ms.tolist() == [T * 1000]
    assert table.values.tolist() == [[1.0]]


def test_numbers_that_are_not_finite_are_missing(tmp_path: Path) -> None:
    table = read_text(tmp_path, "timestamp,v\n1,nan\n2,inf\n3,-Infinity\n4,1e308\n")
    np.testing.assert_equal(table.values[:, 0], [np.nan, np.nan, np.nan, 1e308])


def test_a_file_without_labels_has_none_and_one_without_rows_is_empty(tmp_path: Path) -> None:
    table = read_text(tmp_path, "timestamp,v\n")
    assert table.labels is None
    assert table.values.shape == (0, 1)


def test_a_byte_order_mark_and_empty_lines_are_passed_over(tmp_path: Path) -> None:
    table = read_text(tmp_path, "\ufefftimestamp, v\n\n1,5\n\n")
    assert table.channels == ("v",)
    assert table.values.tolist() == [[5.0]]


@pytest.mark.parametrize(
    ("text", "name", "why"),
    [
        ("", "t.csv", "empty"),
        ("time,v\n1,2\n", "t.csv", "no column 'timestamp'"),
        ("timestamp,label\n1,0\n", "t.csv", "no channel"),
        ("timestamp,v\n1,2\n2,x\n", "t.csv", "t.csv:3: column 'v': expected a number, got 'x'"),
        ("timestamp,v\n1\n", "t.csv", "t.csv:2: 1 columns, expected 2"),
        ("timestamp,v\nyesterday,1\n", "t.csv", "t.csv:2: time stamp"),
        ('{"timestamp":1,"v":1}\nnonsense\n', "t.jsonl", "t.jsonl:2: not JSON"),
        ("[1]\n", "t.jsonl", "t.jsonl:1: expected an object"),
        ('{"timestamp":"x","v":1}\n', "t.jsonl", "t.jsonl:1: time stamp"),
        ('{"timestamp":1,"v":{}}\n', "t.jsonl", "t.jsonl:1: column 'v'"),
        ("no parquet", "t.parquet", "not Parquet"),
        ("no gzip", "t.csv.gz", "cannot be read"),
    ],
)
def test_a_bad_file_is_told_by_its_line(tmp_path: Path, text: str, name: str, why: str) -> None:
    with pytest.raises(TableError) as told:
        read_text(tmp_path, text, name)
    assert why in str(told.value)


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", gzip.compress(CSV.encode())[:-12]], ids=["no text", "cut"])
def test_bytes_that_are_no_text_or_end_early_are_told(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / ("t.csv.gz" if content[:1] == b"\x1f" else "t.csv")
    path.write_bytes(content)
    with pytest.raises(TableError, match="cannot be read"):
        read(path)


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(TableError, match="cannot be read"):
        read(tmp_path / "absent.csv")
