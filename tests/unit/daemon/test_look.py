"""Looking at a file shows what the daemon's own step saw of it, and changes nothing."""

from __future__ import annotations

import csv
import io
import json
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest

from daemon.commands.backtest import backtest, group_of
from daemon.commands.look import LookArguments, Stretch, columns, look, looked, pictured, saved
from daemon.commands.past import Choice, Past
from daemon.config import load
from daemon.progress import Bar
from daemon.tables import read

CONFIG = """
groups:
  - name: all
    warmup_samples: 30
    model: {hidden: 4, window: 4, bottleneck: 2}
    training: {min_samples: 120, epochs_max: 1, lanes: 4}
"""
ROWS = 170
START_S = 1_700_000_000


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with settings and a file of two channels, one row of which is empty."""
    folder = tmp_path_factory.mktemp("look")
    (folder / "config.yaml").write_text(CONFIG, encoding="utf-8")
    rng = np.random.default_rng(0)
    values = 10.0 + np.sin(np.arange(ROWS)[:, None] / 7 + [0, 1]) + rng.normal(0, 0.1, (ROWS, 2))
    rows = [f"{START_S + 60 * i},{a:.6f},{b:.6f}" for i, (a, b) in enumerate(values)]
    rows[150] = f"{START_S + 60 * 150},,"
    (folder / "two.csv").write_text("\n".join(["timestamp,a,b", *rows, ""]), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def seen(folder: Path) -> tuple[Past, Stretch]:
    """The end of the file; the model changes within it."""
    gone = Past(Choice(folder / "two.csv", folder / "config.yaml"), Bar(io.StringIO()))
    return gone, looked(gone, (100, ROWS))


def test_the_scores_are_those_of_the_backtest(folder: Path, seen: tuple[Past, Stretch]) -> None:
    table = read(folder / "two.csv")
    found = backtest(group_of(load(folder / "config.yaml", {}), table), table, 0)
    assert np.array_equal(seen[1].score, found.score[100:], equal_nan=True)
    assert np.array_equal(seen[1].opened, found.opened[100:])
    assert seen[0].model == "trained on the first 120 rows"


def test_the_cell_shown_last_is_the_one_that_goes_on(seen: tuple[Past, Stretch]) -> None:
    row = seen[0].run.row()
    assert np.allclose(seen[1].gates.hidden[-1], row["hidden"][0], atol=1e-6)
    assert np.allclose(seen[1].gates.cell[-1], row["cell"][0], atol=1e-6)


def test_an_empty_row_has_no_score_and_no_gates(seen: tuple[Past, Stretch]) -> None:
    empty = np.arange(100, ROWS) == 150
    assert np.array_equal(np.isnan(seen[1].gates.forget).any(axis=1), empty)
    assert np.array_equal(np.isnan(seen[1].level).all(axis=1), empty)


def test_what_is_expected_and_how_far_off_it_may_be_is_near_what_came(seen: tuple[Past, Stretch]) -> None:
    apart = np.abs(seen[1].level - seen[1].expected)
    assert np.nanmean(apart) < 0.5
    assert np.nanmean(apart <= seen[1].margin) > 0.8


def test_the_picture_shows_values_scores_and_every_part_of_the_cell(seen: tuple[Past, Stretch]) -> None:
    picture = pictured(*seen, "two.csv")
    texts = " ".join(element.text or "" for element in ET.fromstring(picture).iter() if element.tag.endswith("text"))
    for part in ("two.csv", "score", "forget gate", "input gate", "output gate", "candidate", "cell state", "hidden"):
        assert part in texts


def test_the_numbers_are_the_same_in_every_kind_of_file(
    folder: Path, seen: tuple[Past, Stretch], capsys: pytest.CaptureFixture[str]
) -> None:
    expected = columns(*seen)
    choice = Choice(folder / "two.csv", folder / "config.yaml")
    assert look(LookArguments(choice, "100:", output=folder / "out.npz")) == 0
    assert "trained on the first 120 rows" in capsys.readouterr().out
    for kind in ("json", "csv"):
        saved(folder / f"out.{kind}", seen[0].settings.channels, expected)
    stored = np.load(folder / "out.npz")
    told = json.loads((folder / "out.json").read_text(encoding="utf-8"))
    for name, array in expected.items():
        assert np.array_equal(stored[name], array, equal_nan=array.dtype.kind == "f"), name
        assert np.allclose(np.array(told[name], dtype=np.float64), array.astype(np.float64), equal_nan=True), name
    with (folder / "out.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["cell:3"] or "nan") for row in rows] == pytest.approx(
        expected["cell"][:, 3].tolist(), nan_ok=True
    )
    assert rows[50]["level:a"] == rows[50]["forget:0"] == ""


@pytest.mark.parametrize(
    ("rows", "output", "why"),
    [
        (None, None, "nothing to write"),
        ("5:3", "out.npz", "expected FIRST:END within 0:170"),
        ("a:b", "out.npz", "expected FIRST:END within 0:170"),
        ("0:10", "out.xlsx", "the name must end in .npz, .json, .csv"),
    ],
)
def test_what_cannot_be_had_is_said(
    folder: Path, capsys: pytest.CaptureFixture[str], rows: str | None, output: str | None, why: str
) -> None:
    chosen = LookArguments(
        Choice(folder / "two.csv", folder / "config.yaml", day_zero=True),
        rows,
        output=None if output is None else folder / output,
    )
    assert look(chosen) == 1
    assert why in capsys.readouterr().err


def test_a_detector_without_a_network_is_named(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shared = folder / "shared.yaml"
    shared.write_text(CONFIG + "    readout: shared\n", encoding="utf-8")
    choice = Choice(folder / "two.csv", shared, day_zero=True)
    assert look(LookArguments(choice, "0:10", output=folder / "out.npz")) == 1
    assert "no network yet" in capsys.readouterr().err
