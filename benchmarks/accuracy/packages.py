"""Detectors from packages, each in an environment of its own that this makes once; the product never sees them."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import venv
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from benchmarks.accuracy import baselines
from benchmarks.accuracy.corpora import Series

F = NDArray[np.float64]

NEEDED: Final = {
    "hst": ("river",),
    "rrcf": ("rrcf",),
    "iforest": ("scikit-learn",),
    "numalogic": ("numalogic", "pytorch-lightning", "torch"),
}
SCRIPT: Final = Path(__file__).with_name("foreign.py")
INSTALL_SECONDS_MAX: Final = 1800


def prepared(environment: Path, names: Sequence[str]) -> dict[str, str]:
    """Make the environment for the detectors `names`; return why not, for each that cannot be had."""
    reasons = {name: made(environment / name, NEEDED[name]) for name in names}
    return {name: reason for name, reason in reasons.items() if reason}


def made(environment: Path, needed: Sequence[str]) -> str:
    """Make one environment, or find it made; return why it cannot be, empty when it is."""
    complete = environment / "complete-for"
    if complete.exists() and complete.read_text("utf-8") == " ".join(needed):
        return ""
    venv.create(environment, with_pip=True, clear=True)
    command = [str(python(environment)), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *needed]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=INSTALL_SECONDS_MAX, check=False)
    except subprocess.TimeoutExpired:
        return f"it took longer than {INSTALL_SECONDS_MAX} s"
    if done.returncode:
        return (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
    complete.write_text(" ".join(needed), "utf-8")
    return ""


def errors(environment: Path, name: str, seed: int, series: Sequence[Series]) -> list[F]:
    """Return the errors (T,) that the detector `name` makes of each of `series`; raises RuntimeError when it fails."""
    with tempfile.TemporaryDirectory() as folder:
        given, made = Path(folder) / "given.npz", Path(folder) / "made.npz"
        arrays = {f"z{i}": baselines.scaled(each) for i, each in enumerate(series)}
        np.savez(given, allow_pickle=False, fit_rows=np.array([each.fit_rows for each in series]), **arrays)
        command = [str(each) for each in (python(environment / name), SCRIPT, name, seed, given, made)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"{name}: {done.stderr.strip()[-2000:]}")
        with np.load(made) as held:
            scores = [held[f"s{i}"] for i in range(len(series))]
    return [_as_error(score, each) for score, each in zip(scores, series, strict=True)]


def _as_error(score: F, series: Series) -> F:
    """Return how far `score` (T,) lies above that of the first rows: a distance for one channel, else its square."""
    first = score[: series.fit_rows]
    spread = max(float(first.std()), 1e-9)
    away = np.clip((score - float(first.mean())) / spread, 0.0, np.sqrt(baselines.SQUARE_MAX))
    result: F = away if series.table.values.shape[1] == 1 else away**2
    return result


def python(environment: Path) -> Path:
    """Return the interpreter of an environment."""
    return environment / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
