"""Which detectors there are to compare, by the names that the table calls them."""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

from benchmarks.accuracy import baselines, ours
from benchmarks.accuracy.ours import Variant

Kind = Literal["ours", "baseline", "package"]

ROOT: Final = Path(__file__).resolve().parents[2]
HERE: Final = "benchmarks/accuracy"
PACKAGES: Final = ("hst", "rrcf", "iforest", "numalogic")
CODE: Final[dict[Kind, tuple[str, ...]]] = {
    "ours": ("detectors/*.py", "daemon/engine.py", "daemon/alerts.py", "daemon/commands/backtest.py"),
    "baseline": ("detectors/*.py", "daemon/alerts.py"),
    "package": ("detectors/*.py", "daemon/alerts.py"),
}
SCORERS: Final = ("measures.py", "ranges.py", "windows.py", "pipeline.py")
TAIL_CODE: Final = ("tail.py", "epochs.py", "threshold.py", "settings.py", "channels.py", "slab.py")
OWN_CODE: Final[dict[Kind, tuple[str, ...]]] = {
    "ours": ("ours.py", "pipeline.py"),
    "baseline": ("pipeline.py", "baselines.py"),
    "package": ("pipeline.py", "baselines.py", "packages.py", "foreign.py"),
}


@dataclass(frozen=True, slots=True)
class Detector:
    """One row of the table."""

    name: str
    kind: Kind
    variant: Variant = field(default_factory=Variant)
    seeded: bool = True  # whether another seed gives another result


def catalogue() -> dict[str, Detector]:
    """Return every detector by its name, ours first."""
    shipped, *others = ours.architectures()
    each = [
        Detector("ours", "ours"),
        Detector("ours-day-zero", "ours", Variant(trained=False), seeded=False),
        Detector("ours-continual", "ours", Variant(scope="stream")),
        Detector("ours-continual-day-zero", "ours", Variant(trained=False, scope="stream"), seeded=False),
        Detector("ours-pooled", "ours", Variant(pooled=True)),
        Detector("ours-pooled-continual", "ours", Variant(pooled=True, scope="stream")),
        Detector("lstm-alone", "ours", Variant(alone=True)),
        *(Detector(f"ours-{name}", "ours", Variant(architecture=name)) for name in others),
        *(Detector(name, "baseline", seeded=False) for name in baselines.DETECTORS),
        *(Detector(name, "package") for name in PACKAGES),
    ]
    assert shipped not in others
    return {detector.name: detector for detector in each}


def code_checksum(kind: Kind) -> str:
    """Return a text that changes when the code that a kind of detector runs does; comments are no code."""
    found = [path for pattern in CODE[kind] for path in sorted(ROOT.glob(pattern))]
    if kind != "ours":
        found = [path for path in found if path.parent.name != "detectors" or path.name in TAIL_CODE]
    return _checksum(found + [ROOT / HERE / name for name in OWN_CODE[kind]])


def scorers_checksum() -> str:
    """Return a text that changes when the code that measures outcomes does."""
    return _checksum([ROOT / HERE / name for name in SCORERS] + [ROOT / "daemon" / "alerts.py"])


def _checksum(paths: Sequence[Path]) -> str:
    trees = [ast.dump(ast.parse(path.read_text("utf-8"))) for path in paths]
    return hashlib.sha256("\n".join(trees).encode()).hexdigest()[:12]


def code_checksums() -> dict[Kind, str]:
    """Return the checksum of every kind of detector's code, as it stands now."""
    return {kind: code_checksum(kind) for kind in CODE}
