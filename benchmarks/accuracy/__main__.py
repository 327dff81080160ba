"""How accurate: every detector through the same tail and alarm logic, over the public corpora in a data directory.

`make accuracy DATA=DIR` runs it; the first run makes an environment for the packages that are compared with.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Final

from benchmarks.accuracy import corpora, packages, table, words
from benchmarks.accuracy.catalogue import Detector, catalogue, code_checksums, scorers_checksum
from benchmarks.accuracy.corpora import Series
from benchmarks.accuracy.measures import Columns, Measure, measured, over_seeds
from benchmarks.accuracy.outcome import Outcome
from benchmarks.accuracy.page import page
from benchmarks.accuracy.store import Key
from benchmarks.accuracy.work import Plan, done, pieces
from daemon.config import defaults, load
from daemon.plots import PlotsMissing
from daemon.progress import Bar

OUT: Final = Path("build/accuracy")
SHOWN_BESIDE: Final = "gaussian", "var"  # in the pictures, where they were run


def arguments(given: Sequence[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.accuracy", description=__doc__)
    parser.add_argument("data", type=Path, help="a directory with nab, asd, smd and skab, or some of them")
    parser.add_argument("--only", type=_names, default=(), help="corpora, separated by commas; all by default")
    parser.add_argument("--detectors", type=_names, default=(), help="by name, separated by commas; all by default")
    parser.add_argument("--seeds", type=int, default=5, help="of every detector that draws random numbers")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--config", type=Path, help="a configuration whose first group is run instead of the defaults")
    parser.add_argument("--out", type=Path, default=OUT, help="for outcomes, the page and the packages' environment")
    parser.add_argument("--environment", type=Path, help="of the packages, if it is not to be in --out")
    parser.add_argument("--no-page", action="store_true", help="write no page with pictures")
    parser.add_argument("--write", type=Path, metavar="PAGE", help="write the tables to this page of the documentation")
    return parser.parse_args(given)


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


def main(given: Sequence[str]) -> int:
    """Run what is asked for and print the tables; returns the exit code."""
    asked, known = arguments(given), catalogue()
    if unknown := [name for name in asked.detectors if name not in known]:
        print(f"--detectors: no {', '.join(unknown)}; there are {', '.join(known)}")
        return 2
    try:
        data = corpora.load(asked.data, asked.only)
    except FileNotFoundError as error:
        print(error)
        return 2
    detectors = [known[name] for name in asked.detectors or known]
    config = load(asked.config, os.environ) if asked.config else defaults()
    plan = Plan(config.groups[0], asked.out, asked.environment or asked.out / "environment", code_checksums())
    detectors = _without_missing_packages(plan, detectors)
    run(plan, detectors, data, asked)
    results = {name: _results(plan, detectors, data[name], asked.seeds) for name in data}
    titles = {name: words.title(name, data[name]) for name in data}
    found = table.tables(results, titles)
    print("\n\n".join(each.plain() for each in found))
    if asked.write:
        asked.write.write_text(words.document(found), "utf-8")
    if not asked.no_page:
        _write_page(plan, detectors, data, found)
    return 0


def _without_missing_packages(plan: Plan, detectors: Sequence[Detector]) -> list[Detector]:
    """Return the detectors that can be run, and say why not of the others."""
    wanted = [detector.name for detector in detectors if detector.kind == "package"]
    failed = packages.prepared(plan.environment, wanted)
    for name, reason in failed.items():
        print(f"{name} is left out: {packages.NEEDED[name][0]} could not be installed: {reason}")
    return [detector for detector in detectors if detector.name not in failed]


def run(plan: Plan, detectors: Sequence[Detector], data: dict[str, list[Series]], asked: argparse.Namespace) -> None:
    """Run what is not known yet and show how far it is."""
    todo = pieces(plan, detectors, data, asked.seeds)
    total, so_far, bar, begun = sum(piece.samples for piece in todo), 0, Bar(sys.stderr), time.monotonic()
    for piece in done(plan, todo, asked.processes):
        so_far += piece.samples
        text = f"{piece.detector.name}, seed {piece.seed}, {piece.series[0].corpus}; {time.monotonic() - begun:.0f} s"
        bar.show("accuracy", so_far / total, text)
    bar.clear()


def _results(
    plan: Plan, detectors: Sequence[Detector], series: Sequence[Series], seeds: int
) -> dict[str, dict[str, Measure]]:
    """Return the measures of every detector on one corpus."""
    alert = plan.group.detector().alert
    scorers = f"{scorers_checksum()} {alert}"
    found = {}
    for detector in detectors:
        keys = [plan.key(detector, seed) for seed in range(seeds if detector.seeded else 1)]
        columns = [plan.store.columns(key, series, scorers, partial(_measure, plan, key, series)) for key in keys]
        found[detector.name] = over_seeds(columns)
    return found


def _measure(plan: Plan, key: Key, series: Sequence[Series]) -> Columns:
    return measured(plan.group.detector().alert, series, [plan.store.get(key, each) for each in series])


def _write_page(
    plan: Plan, detectors: Sequence[Detector], data: Mapping[str, Sequence[Series]], found: Sequence[table.Table]
) -> None:
    path = plan.out / "accuracy.html"
    path.parent.mkdir(parents=True, exist_ok=True)
    shown = [each for each in detectors if each.name in SHOWN_BESIDE]
    shown = [detectors[0], *(each for each in shown if each is not detectors[0])]
    try:
        with path.open("w", encoding="utf-8") as out:
            out.writelines(page(found, _pictured(plan, shown, data)))
    except PlotsMissing as error:
        print(f"{path}: {error}")
        return
    print(f"\n{path}: every file to look at")


def _pictured(
    plan: Plan, shown: Sequence[Detector], data: Mapping[str, Sequence[Series]]
) -> Iterator[tuple[Series, Mapping[str, Outcome]]]:
    for series in data.values():
        for each in series:
            yield each, {one.name: plan.store.get(plan.key(one, 0), each) for one in shown}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
