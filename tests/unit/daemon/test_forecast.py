"""A forecast says what comes next, how sure that is by what was measured, and what it rests on."""

from __future__ import annotations

import csv
import io
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest

from daemon.commands.forecast import Forecast, ForecastArguments, _origins, forecast, forecast_of, pictured
from daemon.commands.past import Choice, Past
from daemon.commands.train import TrainArguments, train
from daemon.progress import Bar
from detectors.ahead import ahead

CONFIG = """
groups:
  - name: all
    channels: [a, b]
    warmup_samples: 30
    model: {hidden: 4, window: 4, bottleneck: 2}
    training: {min_samples: 120, epochs_max: 1, lanes: 4}
"""
ROWS, STEPS = 260, 6
START_S = 1_700_000_000


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with settings and a file in which one channel swings and the other is noise."""
    folder = tmp_path_factory.mktemp("forecast")
    (folder / "config.yaml").write_text(CONFIG, encoding="utf-8")
    rng = np.random.default_rng(0)
    values = np.stack([10.0 + np.sin(np.arange(ROWS) / 7), rng.normal(0, 1, ROWS)], axis=1)
    rows = [f"{START_S + 60 * i},{a:.6f},{b:.6f}" for i, (a, b) in enumerate(values)]
    (folder / "two.csv").write_text("\n".join(["timestamp,a,b", *rows, ""]), encoding="utf-8")
    return folder


def choice(folder: Path, *, train_rows: int = 0, day_zero: bool = False) -> Choice:
    return Choice(folder / "two.csv", folder / "config.yaml", None, train_rows, day_zero)


@pytest.fixture(scope="module")
def found(folder: Path) -> tuple[Past, Forecast]:
    """The forecast of the whole file with day-zero weights."""
    past = Past(choice(folder, day_zero=True), Bar(io.StringIO()))
    return past, forecast_of(past, STEPS, 0.9)


def test_the_forecast_is_the_detectors_after_the_last_row(found: tuple[Past, Forecast]) -> None:
    past, told = found
    assert np.array_equal(told.level, ahead(past.run.detector, past.run.row(), STEPS)[0])
    assert told.times_ms.tolist() == [1000 * (START_S + 60 * (ROWS + step)) for step in range(STEPS)]


def test_forecasts_of_the_past_use_nothing_of_what_came_after(folder: Path, found: tuple[Past, Forecast]) -> None:
    lines = (folder / "two.csv").read_text(encoding="utf-8").splitlines()
    (folder / "cut.csv").write_text("\n".join([*lines[: 1 + 200], ""]), encoding="utf-8")
    cut = Past(Choice(folder / "cut.csv", folder / "config.yaml", day_zero=True), Bar(io.StringIO()))
    at = int(np.flatnonzero(found[1].made_at == 199)[0])
    assert np.allclose(forecast_of(cut, STEPS, 0.9).level, found[1].made[at], rtol=1e-5)


def test_a_swing_is_told_more_surely_than_noise_and_better_than_by_its_last_value(found: tuple[Past, Forecast]) -> None:
    measured = found[1].bounds
    width = measured.upper - measured.lower
    assert (width[:, 0] < width[:, 1]).all()
    assert (measured.error[:, 0] < measured.naive_error[:, 0]).all()
    assert measured.held.min() > 0.6
    assert measured.forecasts == ROWS - STEPS - 30


@pytest.mark.parametrize(
    ("train_rows", "first", "learnt"), [(150, 150, False), (ROWS, 30, True), (ROWS - 20, 30, True)]
)
def test_bounds_rest_on_rows_that_the_model_has_not_learnt_from_while_there_are_enough(
    folder: Path, train_rows: int, first: int, learnt: bool
) -> None:
    rows, told = _origins(Past(choice(folder, train_rows=train_rows), Bar(io.StringIO())), STEPS)
    assert (min(rows), max(rows), told) == (first, ROWS - 1 - STEPS, learnt)


def test_a_person_reads_a_table_and_a_program_a_file(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked = ForecastArguments(
        choice(folder, day_zero=True), STEPS, 0.8, ("b",), folder / "next.svg", folder / "next.csv"
    )
    assert forecast(asked) == 0
    told = capsys.readouterr().out
    assert "day-zero weights, never trained" in told
    assert "bounds for 80 %, from 224 forecasts" in told
    assert len([line for line in told.splitlines() if line.strip()[:1].isdigit() and "2023-11-" in line]) == STEPS
    with (folder / "next.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["step"], row["channel"]) for row in rows[:3]] == [("1", "a"), ("1", "b"), ("2", "a")]
    assert all(float(row["lower"]) < float(row["upper"]) for row in rows)
    ET.parse(folder / "next.svg")


def test_the_picture_shows_past_future_and_what_had_been_expected(found: tuple[Past, Forecast]) -> None:
    texts = {element.text for element in ET.fromstring(pictured(*found, [0], "t")).iter()}
    assert {"a", "seen", "expected, with its bounds", "what had been expected up to 6 samples before"} <= texts
    assert "b" not in texts


def test_a_model_that_was_trained_before_forecasts_too(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = TrainArguments(folder / "config.yaml", files=(folder / "two.csv",), output=folder / "model")
    assert train(files, {}, io.StringIO(), io.StringIO()) == 0
    chosen = Choice(folder / "two.csv", folder / "config.yaml", folder / "model")
    assert forecast(ForecastArguments(chosen, 2)) == 0
    assert "rows; model " in capsys.readouterr().out
    (folder / "other.yaml").write_text(CONFIG.replace("hidden: 4", "hidden: 5"), encoding="utf-8")
    assert forecast(ForecastArguments(Choice(folder / "two.csv", folder / "other.yaml", folder / "model"), 2)) == 1
    assert "train the group again" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("steps", "coverage", "channel", "why"),
    [
        (0, 0.9, "a", "expected --steps from 1"),
        (3, 1.0, "a", "--coverage between 0 and 1"),
        (3, 0.9, "c", "--channel c: there are a, b"),
        (250, 0.9, "a", "260 rows are too few"),
    ],
)
def test_what_cannot_be_had_is_said(
    folder: Path, capsys: pytest.CaptureFixture[str], steps: int, coverage: float, channel: str, why: str
) -> None:
    assert forecast(ForecastArguments(choice(folder, day_zero=True), steps, coverage, (channel,))) == 1
    assert why in capsys.readouterr().err
