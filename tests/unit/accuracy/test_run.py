"""From a directory of corpora to tables and a page; a second run only does what is new."""

from __future__ import annotations

import gzip
import json
import re
from pathlib import Path

import numpy as np
import pytest

from benchmarks.accuracy import corpora
from benchmarks.accuracy.__main__ import main
from benchmarks.accuracy.bootstrap import difference
from benchmarks.accuracy.catalogue import catalogue, code_checksums
from benchmarks.accuracy.measures import Measure
from benchmarks.accuracy.page import thinned
from benchmarks.accuracy.work import Plan, pieces
from daemon.config import defaults
from tests.unit.accuracy.made import waves

ROWS = 260


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small directory with all four corpora in their own forms."""
    root = tmp_path_factory.mktemp("data")
    _nab(root / "nab")
    _server(root / "asd", 3)
    _server(root / "smd", 2)
    _skab(root / "skab" / "valve1")
    return root


def stamp(row: int) -> str:
    return f"2020-01-01 {row // 60:02}:{row % 60:02}:00"


def _nab(folder: Path) -> None:
    (folder / "data" / "real").mkdir(parents=True)
    (folder / "labels").mkdir()
    rows = [f"{stamp(i)},{value:.4f}" for i, (value,) in enumerate(waves(ROWS, 1))]
    (folder / "data" / "real" / "a.csv").write_text("\n".join(["timestamp,value", *rows]), "utf-8")
    windows = {"real/a.csv": [[f"{stamp(230)}.000000", f"{stamp(240)}.000000"]], "real/gone.csv": []}
    (folder / "labels" / "combined_windows.json").write_text(json.dumps(windows), "utf-8")


def _server(folder: Path, width: int) -> None:
    folder.mkdir()
    for name in ("one", "two"):
        values = waves(ROWS, width, len(name))
        head = ",".join(["timestamp", *(f"c{i}" for i in range(width)), "label"])
        rows = [
            ",".join([str(1_600_000_000 + 60 * i), *(f"{v:.4f}" for v in row), "" if i < 100 else str(int(i >= 234))])
            for i, row in enumerate(values)
        ]
        (folder / f"{name}.csv.gz").write_bytes(gzip.compress("\n".join([head, *rows]).encode()))
    told = {name: {"train_rows": 100, "rows": ROWS, "channels": width} for name in ("one", "two")}
    (folder / "manifest.json").write_text(json.dumps(told), "utf-8")


def _skab(folder: Path) -> None:
    folder.mkdir(parents=True)
    rows = [
        f"2020-03-09 10:{i // 60:02}:{i % 60:02};{a:.4f};{b:.4f};{float(i > 480)};0.0"
        for i, (a, b) in enumerate(waves(520, 2))
    ]
    (folder / "0.csv").write_text("\n".join(["datetime;P;T;anomaly;changepoint", *rows]), "utf-8")


def test_all_four_forms_are_read_and_what_is_not_there_is_left_out(data: Path) -> None:
    found = corpora.load(data)
    assert {name: len(series) for name, series in found.items()} == {"nab": 1, "asd": 2, "smd": 2, "skab": 1}
    (nab,), (skab,) = found["nab"], found["skab"]
    assert (nab.spans, nab.judged_from, nab.train_rows) == (((230, 240),), 39, 0)
    assert (skab.spans, skab.judged_from, skab.table.channels) == (((481, 519),), 400, ("P", "T"))
    assert found["asd"][0].spans == ((234, 259),)
    assert list(corpora.load(data, ("smd", "skab"))) == ["smd", "skab"]
    with pytest.raises(FileNotFoundError, match="none of nab"):
        corpora.load(data / "nab", ("nab",))


def test_a_run_gives_tables_and_a_page_with_every_file(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = [str(data), "--detectors", "var,ewma", "--processes", "1", "--out", str(tmp_path)]
    assert main([*given, "--write", str(tmp_path / "accuracy.md")]) == 0
    told = capsys.readouterr().out
    for words in ("NAB", "ASD", "SMD", "SKAB", "ASD and SMD together", "var", "ewma"):
        assert words in told
    page = (tmp_path / "accuracy.html").read_text("utf-8")
    assert page.count("<img") == 6
    assert not re.search(r"""(?:src|href)=["']https?:""", page)
    assert "## NAB" in (tmp_path / "accuracy.md").read_text("utf-8")


def test_what_is_known_is_not_run_again(data: Path, tmp_path: Path) -> None:
    given = [str(data), "--only", "skab", "--detectors", "ewma", "--processes", "1", "--out", str(tmp_path)]
    assert main([*given, "--no-page"]) == 0
    plan = Plan(defaults().groups[0], tmp_path, tmp_path, code_checksums())
    known, found = catalogue(), corpora.load(data)
    todo = pieces(plan, [known["ewma"], known["t2"]], {"skab": found["skab"]}, 1)
    assert [piece.detector.name for piece in todo] == ["t2"]
    changed = Plan(plan.group, tmp_path, tmp_path, {**plan.code, "baseline": "another"})
    assert len(pieces(changed, [known["ewma"]], {"skab": found["skab"]}, 5)) == 1


@pytest.mark.parametrize("wrong", [["--detectors", "nobody"], ["--only", "nothing"]])
def test_a_wrong_name_is_told(data: Path, capsys: pytest.CaptureFixture[str], wrong: list[str]) -> None:
    assert main([str(data), *wrong]) == 2
    assert "no" in capsys.readouterr().out


def test_a_sure_difference_keeps_away_from_zero_and_none_does_not() -> None:
    generator = np.random.default_rng(0)
    base = generator.uniform(0.3, 0.7, 12)
    better = Measure(np.stack([base + 0.1, base + 0.12]), np.ones((2, 12)))
    worse = Measure(base[None], np.ones((1, 12)))
    sure = difference([(better, worse)])
    assert sure.middle == pytest.approx(0.11)
    assert 0.09 < sure.low < sure.high < 0.13  # paired: how unlike the files are does not matter
    same = difference([(worse, worse)])
    assert (same.middle, same.low, same.high) == (0.0, 0.0, 0.0)


def test_a_thinned_curve_keeps_its_peaks() -> None:
    curve = np.zeros(100_000)
    curve[[777, 50_001]] = (9.0, -7.0)
    x, y = thinned(curve)
    assert len(x) <= 1000
    assert (y.max(), y.min()) == (9.0, -7.0)
    assert x[int(np.argmax(y))] == 777
