"""The command line answers at once, knows its verbs, and its exit codes mean what its help says."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from io import StringIO
from pathlib import Path

import pytest

from daemon import __version__
from daemon.cli import main
from daemon.commands.run import run
from daemon.commands.train import TrainArguments, train
from detectors.artefact import loads

VERBS = ("run", "demo", "check-config", "train", "models", "backtest", "look", "forecast", "explain", "version")
CONFIG = """
groups:
  - {name: g, model: {hidden: 4, window: 4, bottleneck: 2}, training: {min_samples: 100, epochs_max: 1, lanes: 2}}
"""


@pytest.mark.parametrize("arguments", [["--help"], *([verb, "--help"] for verb in VERBS)])
def test_help_is_given_for_every_verb(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main(arguments)
    assert left.value.code == 0
    told = capsys.readouterr().out
    assert "usage: longwatch" in told
    if arguments == ["--help"]:
        assert all(verb in told for verb in VERBS)


@pytest.mark.parametrize("arguments", [[], ["dance"], ["run"], ["backtest", "--input", "x"], ["train"]])
def test_wrong_usage_is_told_with_exit_code_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main(arguments)
    assert left.value.code == 2
    assert "usage" in capsys.readouterr().err


def test_the_version_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["version"]) == 0
    assert capsys.readouterr().out.strip() == __version__


def test_help_and_version_load_nothing_heavy() -> None:
    script = (
        "import sys, daemon.cli\n"
        "assert daemon.cli.main(['version']) == 0\n"
        "heavy = {'torch', 'numpy', 'kafka', 'pydantic', 'yaml', 'prometheus_client'} & set(sys.modules)\n"
        "raise SystemExit(', '.join(heavy) or 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("verb", ["run", "train", "check-config"])
def test_a_wrong_configuration_is_told_with_exit_code_78(
    verb: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "c.yaml").write_text("kafka: {servers: []}\n", encoding="utf-8")
    assert main([verb, str(tmp_path / "c.yaml")]) == 78
    told = capsys.readouterr()
    assert "c.yaml" in told.err + told.out
    assert "servers" in told.err + told.out


def test_running_says_every_problem_of_the_configuration(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("kafka: {servers: []}\ninput: {format: xml}\n", encoding="utf-8")
    err = StringIO()
    assert run(tmp_path / "c.yaml", {}, err) == 78
    assert len(err.getvalue().splitlines()) == 2


def test_an_unknown_group_is_told_with_those_that_there_are(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text(CONFIG, encoding="utf-8")
    err = StringIO()
    assert train(TrainArguments(tmp_path / "c.yaml", group="x"), {}, StringIO(), err) == 78
    assert "no such group; there are g" in err.getvalue()


def files(folder: Path, rows: int) -> TrainArguments:
    (folder / "c.yaml").write_text(CONFIG, encoding="utf-8")
    lines = [f"{1_700_000_000 + 60 * row},{row % 7},{row % 5}" for row in range(rows)]
    (folder / "t.csv").write_text("\n".join(["timestamp,value,other", *lines]), encoding="utf-8")
    return TrainArguments(folder / "c.yaml", files=(folder / "t.csv",), output=folder / "model")


def test_a_model_is_learnt_from_files_and_kept_with_its_lineage(tmp_path: Path) -> None:
    err = StringIO()
    assert train(files(tmp_path, 150), {}, StringIO(), err) == 0
    artefact = loads((tmp_path / "model").read_bytes())
    assert (artefact.channels, artefact.lineage.group, artefact.lineage.trained_samples) == (("value",), "g", 150)
    assert "written to" in err.getvalue()


def test_a_model_for_which_the_disk_has_no_room_is_told(tmp_path: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("the kernel is not Linux: it has no /dev/full")
    err = StringIO()
    assert train(replace(files(tmp_path, 150), output=Path("/dev/full")), {}, StringIO(), err) == 1
    assert err.getvalue().endswith("failed: /dev/full: cannot be written: [Errno 28] No space left on device\n")


def test_too_little_history_is_told(tmp_path: Path) -> None:
    err = StringIO()
    assert train(files(tmp_path, 80), {}, StringIO(), err) == 1
    assert err.getvalue().startswith("too_little_history: 80 samples in 1 streams, 100 are needed")
    assert not (tmp_path / "model").exists()


def test_a_missing_column_is_told(tmp_path: Path) -> None:
    arguments, err = files(tmp_path, 150), StringIO()
    (tmp_path / "c.yaml").write_text(CONFIG.replace("name: g", "name: g, channels: [x]"), encoding="utf-8")
    assert train(arguments, {}, StringIO(), err) == 1
    assert "no column x; there are value, other" in err.getvalue()
