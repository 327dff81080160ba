"""What there is to run, in pieces of a size for one process, and the running of them."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass
from multiprocessing import get_context, parent_process
from pathlib import Path

from benchmarks.accuracy import baselines, ours, packages
from benchmarks.accuracy.catalogue import Detector, Kind
from benchmarks.accuracy.corpora import Series
from benchmarks.accuracy.outcome import Outcome
from benchmarks.accuracy.pipeline import through_tail
from benchmarks.accuracy.store import Key, Store
from daemon.config import GroupConfig
from detectors.network import use_threads

FEW_FILES = 8  # of one piece that trains: more pieces keep all processes busy to the end
MANY_FILES = 64


@dataclass(frozen=True, slots=True)
class Plan:
    """What the whole run shares."""

    group: GroupConfig
    out: Path
    environment: Path  # of the packages' own
    code: Mapping[Kind, str]  # checksums, as the code stood when the run began

    @property
    def store(self) -> Store:
        """Where outcomes are kept."""
        return Store(self.out / "outcomes")

    def key(self, detector: Detector, seed: int) -> Key:
        """Return what an outcome of `detector` is kept by."""
        settings = self.group if detector.kind == "ours" else (self.group.threshold, self.group.alert)
        return Key(detector.name, seed if detector.seeded else 0, repr(settings), self.code[detector.kind])


@dataclass(frozen=True, slots=True)
class Piece:
    """Some series of one corpus for one detector and seed."""

    detector: Detector
    seed: int
    series: tuple[Series, ...]

    @property
    def samples(self) -> int:
        """How many rows there are in all."""
        return sum(len(each.labels) for each in self.series)


def pieces(plan: Plan, detectors: Sequence[Detector], corpora: dict[str, list[Series]], seeds: int) -> list[Piece]:
    """Return what is not known yet, the first seed of everything first."""
    found = []
    for seed in range(seeds):
        for detector in detectors:
            if seed and not detector.seeded:
                continue
            key = plan.key(detector, seed)
            for series in corpora.values():
                missing = [each for each in series if not plan.store.has(key, each)]
                found += [Piece(detector, seed, share) for share in _shares(detector, missing)]
    return found


def _shares(detector: Detector, series: Sequence[Series]) -> Iterator[tuple[Series, ...]]:
    """Yield series with the same channels, so many that they go well side by side."""
    few = min(FEW_FILES, -(-len(series) // 2))
    apart = detector.kind == "ours" and detector.variant.trained and not detector.variant.pooled
    size = few if apart else MANY_FILES
    by_channels: dict[tuple[str, ...], list[Series]] = {}
    for each in sorted(series, key=lambda each: -len(each.labels)):
        by_channels.setdefault(each.table.channels, []).append(each)
    for alike in by_channels.values():
        yield from (tuple(alike[start : start + size]) for start in range(0, len(alike), size))


def done(plan: Plan, todo: Sequence[Piece], processes: int) -> Iterator[Piece]:
    """Run all pieces and yield each when its outcomes are kept; raises what a piece raises."""
    if processes == 1:
        yield from (_do(plan, piece) for piece in todo)
        return
    with ProcessPoolExecutor(processes, get_context("spawn"), initializer=_end_with_parent) as pool:
        pending: set[Future[Piece]] = {pool.submit(_do, plan, piece) for piece in todo}
        while pending:
            finished, pending = wait(pending, return_when=FIRST_COMPLETED)
            yield from (future.result() for future in finished)


def _end_with_parent() -> None:
    """Let this process end when the one that started it does, however that came about."""
    threading.Thread(target=_wait_for_parent, name="parent", daemon=True).start()


def _wait_for_parent() -> None:
    parent = parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _do(plan: Plan, piece: Piece) -> Piece:
    use_threads(1)
    key = plan.key(piece.detector, piece.seed)
    for series, outcome in zip(piece.series, _outcomes(plan, piece), strict=True):
        plan.store.put(key, series, outcome)
    return piece


def _outcomes(plan: Plan, piece: Piece) -> Iterator[Outcome]:
    settings = plan.group.detector()
    match piece.detector.kind:
        case "ours" if piece.detector.variant.alone:
            errors = ours.forecast_errors(piece.series, plan.group, piece.detector.variant, piece.seed)
            yield from through_tail(settings, errors, piece.series[0].table.values.shape[1])
        case "ours":
            yield from ours.run(piece.series, plan.group, piece.detector.variant, piece.seed)
        case "baseline":
            errors = [baselines.error(piece.detector.name, each) for each in piece.series]
            yield from through_tail(settings, errors, piece.series[0].table.values.shape[1])
        case "package":
            errors = packages.errors(plan.environment, piece.detector.name, piece.seed, piece.series)
            yield from through_tail(settings, errors, piece.series[0].table.values.shape[1])
