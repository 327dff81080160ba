"""A file goes through the very same step as live records, row by row, and its labels are never looked at."""

from __future__ import annotations

import csv
import gzip
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from daemon.commands.backtest import Backtest, backtest, group_of, judged, main, write
from daemon.config import GroupConfig, loads
from daemon.tables import Table, read
from detectors.dayzero import day_zero
from tests.conformance.feed import START_MS, Feed, series

CONFIG = """
groups:
  - name: all
    channels: [a, b]
    warmup_samples: 50
    model: {hidden: 4, window: 4, bottleneck: 2}
    training: {min_samples: 120, epochs_max: 2, lanes: 4}
    threshold: {kind: static, limit: 1.5}
"""
ROWS = 260


def table(rows: int = ROWS, *, labels: bool = True) -> Table:
    rng = np.random.default_rng(0)
    values = np.sin(np.arange(rows)[:, None] / 7 + [0, 1]) + rng.normal(0, 0.1, (rows, 2))
    values[220:230] += 30.0
    marked = (np.arange(rows) >= 220) & (np.arange(rows) < 230)
    times_ms = START_MS + 60_000 * np.arange(rows)
    return Table(("a", "b"), [str(each) for each in times_ms], times_ms, values, marked if labels else None)


def group(text: str = CONFIG) -> GroupConfig:
    return group_of(loads(text, "test", {}), table(1))


def unlearned() -> GroupConfig:
    return group(CONFIG.replace("    training:", "    learning: frozen\n    training:"))


@pytest.fixture(scope="module")
def found() -> Backtest:
    """The result of the whole file, trained on the way."""
    return backtest(group(), table(), 0)


def test_there_is_a_score_for_every_row_after_the_warm_up(found: Backtest) -> None:
    assert len(found.score) == len(found.opened) == ROWS
    assert np.array_equal(np.isnan(found.score), np.arange(ROWS) < 50)
    assert found.trained_at == 120


def test_the_jump_opens_an_alert_and_the_labels_say_it_was_right(found: Backtest) -> None:
    assert found.opened[220:230].any()
    told = judged(table(), found)
    assert told is not None
    assert (told.stretches, told.caught) == (1, 1)
    assert judged(table(labels=False), found) is None


def test_labels_never_change_a_score(found: Backtest) -> None:
    plain = table()
    for labels in (None, ~np.zeros(ROWS, bool), np.arange(ROWS) % 2 == 0):
        other = backtest(group(), replace(plain, labels=labels), 0)
        assert np.array_equal(other.score, found.score, equal_nan=True)
        assert np.array_equal(other.opened, found.opened)


def test_a_row_is_scored_from_the_rows_before_it_alone() -> None:
    whole = backtest(unlearned(), table(), 0)
    cut = table()
    part = replace(
        cut, timestamps=cut.timestamps[:200], times_ms=cut.times_ms[:200], values=cut.values[:200], labels=None
    )
    assert np.array_equal(backtest(unlearned(), part, 0).score, whole.score[:200], equal_nan=True)


def test_the_scores_are_those_of_the_daemons_own_step() -> None:
    scored = backtest(unlearned(), table(), 0)
    feed = Feed(unlearned().detector(), day_zero(unlearned().detector()).network)
    for sent, moment in zip(series(table().values), table().times_ms, strict=True):
        feed.poll([sent._replace(time_ms=int(moment))])
    assert np.array_equal(list(feed.scores.values()), scored.score, equal_nan=True)


def test_with_training_rows_the_model_scores_from_the_first_row_on() -> None:
    told: list[tuple[float | None, str]] = []
    found = backtest(group(), table(), 150, lambda share, text: told.append((share, text)))
    assert found.trained_at == 150
    assert np.isfinite(found.score[50:]).all()
    assert any("epoch 2 of 2" in text for _, text in told)
    assert told[-1][0] == 1.0


def test_a_clock_that_is_set_back_costs_no_row() -> None:
    times_ms = table().times_ms.copy()
    times_ms[100:] -= 30 * 60_000
    found = backtest(unlearned(), replace(table(), times_ms=times_ms), 0)
    assert np.isfinite(found.score[50:]).all()


def test_an_empty_file_gives_an_empty_result(tmp_path: Path) -> None:
    empty = table(0)
    found = backtest(unlearned(), empty, 0)
    write(tmp_path / "out.csv", empty, found)
    assert (tmp_path / "out.csv").read_text(encoding="utf-8") == "timestamp,score,alert\n"


def saved(folder: Path, name: str) -> Path:
    path, given = folder / name, table()
    assert given.labels is not None
    columns = {"timestamp": list(given.timestamps), "a": given.values[:, 0].tolist(), "b": given.values[:, 1].tolist()}
    columns["label"] = given.labels.astype(int).tolist()
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    text = "\n".join([",".join(columns), *(",".join(map(str, row.values())) for row in rows)]) + "\n"
    if name.endswith(".parquet"):
        pq.write_table(pa.table(columns), path)
    elif name.endswith(".jsonl"):
        path.write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    elif name.endswith(".gz"):
        path.write_bytes(gzip.compress(text.encode()))
    else:
        path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("name", ["t.csv", "t.csv.gz", "t.jsonl", "t.parquet"])
def test_from_file_to_file_there_is_a_row_for_every_row(
    tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str], found: Backtest
) -> None:
    config, out = tmp_path / "c.yaml", tmp_path / "out.csv"
    config.write_text(CONFIG, encoding="utf-8")
    source = saved(tmp_path, name)
    assert main(source, out, config, 0) == 0
    with out.open(encoding="utf-8", newline="") as lines:
        rows = list(csv.DictReader(lines))
    assert [row["timestamp"] for row in rows] == list(read(source).timestamps)
    assert [row["score"] == "" for row in rows] == [True] * 50 + [False] * (ROWS - 50)
    np.testing.assert_allclose([float(row["score"]) for row in rows[50:]], found.score[50:], rtol=1e-6)
    assert [row["alert"] for row in rows] == [str(int(each)) for each in found.opened]
    told = capsys.readouterr().out
    assert f"{ROWS} rows, {ROWS - 50} scored" in told
    assert "recall 1.000 (1 of 1)" in told
    assert "trained on the first 120 rows" in told


@pytest.mark.parametrize(
    ("text", "train_rows", "code", "why"),
    [
        ("timestamp,a\nx,1\n", 0, 1, "t.csv:2"),
        ("timestamp,a\n1,1\n2,2\n", 2, 1, "--train-rows 2"),
    ],
)
def test_what_cannot_be_scored_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, train_rows: int, code: int, why: str
) -> None:
    (tmp_path / "t.csv").write_text(text, encoding="utf-8")
    assert main(tmp_path / "t.csv", tmp_path / "out.csv", None, train_rows) == code
    assert why in capsys.readouterr().err
    assert not (tmp_path / "out.csv").exists()


def test_a_wrong_configuration_is_said_with_its_own_exit_code(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "c.yaml").write_text("grups: []\n", encoding="utf-8")
    assert main(saved(tmp_path, "t.csv"), tmp_path / "out.csv", tmp_path / "c.yaml", 0) == 78
    assert "grups" in capsys.readouterr().err


def test_a_guard_that_names_no_column_of_the_file_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "c.yaml").write_text("groups: [{name: g, guard: {value: {max: 5}}}]\n", encoding="utf-8")
    assert main(saved(tmp_path, "t.csv"), tmp_path / "out.csv", tmp_path / "c.yaml", 0) == 1
    assert "no column value; there are a, b" in capsys.readouterr().err


def test_a_disk_that_is_full_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("the kernel is not Linux: it has no /dev/full")
    (tmp_path / "t.csv").write_text("timestamp,a\n1,1\n2,2\n", encoding="utf-8")
    assert main(tmp_path / "t.csv", Path("/dev/full"), None, 0) == 1
    assert capsys.readouterr().err.endswith("/dev/full: cannot be written: [Errno 28] No space left on device\n")


def test_a_result_that_cannot_be_written_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "t.csv").write_text("timestamp,a\n1,1\n2,2\n", encoding="utf-8")
    assert main(tmp_path / "t.csv", tmp_path / "nowhere" / "out.csv", None, 0) == 1
    assert "nowhere" in capsys.readouterr().err
