"""The simulation of tests/simulation for as long as one likes: millions of crash points, seed after seed.

It stops at the first seed at which anything was lost, doubled or different, and prints the command that repeats it.
"""

from __future__ import annotations

import argparse
import sys
import time
import traceback
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass, field
from itertools import count
from multiprocessing import get_context

from tests.simulation.chaos import KINDS, Kind, Point, Tally
from tests.simulation.verdict import Verdict, simulated

POINTS_PER_SEED = 400
PROGRESS_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Run:
    """What one seed came to; `failure` is empty when all was as it should be."""

    seed: int
    points: int
    tally: Tally
    verdict: Verdict
    failure: str = ""

    @property
    def command(self) -> str:
        """What repeats exactly this run."""
        return f"python -m benchmarks.crashes --seed {self.seed} --points {self.points}"


@dataclass(slots=True)
class Total:
    """What all seeds so far came to."""

    seeds: int = 0
    tally: Tally = field(default_factory=Tally)
    samples: int = 0
    alerts: int = 0
    begun: float = field(default_factory=time.monotonic)

    @property
    def seconds(self) -> float:
        """How long it has taken."""
        return time.monotonic() - self.begun

    def add(self, run: Run) -> None:
        """Take in a seed's run."""
        self.seeds += 1
        self.tally.add(run.tally)
        self.samples += run.verdict.samples
        self.alerts += run.verdict.alerts


def run(seed: int, points: int) -> Run:
    """Run one seed; whatever it raises is its failure."""
    try:
        tally, verdict = simulated(seed, points)
    except Exception:  # noqa: BLE001  # in a child process; the parent tells it and stops
        return Run(seed, points, Tally(), Verdict(), traceback.format_exc())
    return Run(seed, points, tally, verdict, str(verdict) if verdict.faults else "")


def runs(first: int, points: int, processes: int) -> Iterator[Run]:
    """Yield runs of one seed after the other until so many crash points are under way; bounded by `processes`."""
    shares = [min(POINTS_PER_SEED, points - begun) for begun in range(0, points, POINTS_PER_SEED)]
    given = zip(count(first), shares, strict=False)
    if processes == 1:
        yield from (run(*each) for each in given)
        return
    with ProcessPoolExecutor(processes, get_context("spawn")) as pool:
        pending: set[Future[Run]] = set()
        for each in given:
            pending.add(pool.submit(run, *each))
            if len(pending) >= 2 * processes:
                done, pending = wait(pending, return_when=FIRST_COMPLETED)
                yield from (future.result() for future in done)
        yield from (future.result() for future in pending)


def table(total: Total) -> str:
    """Return the crash points by operation and kind, and everything else that happened."""
    points = total.tally.points
    operations = sorted({operation for _, operation in points})
    lines = ["operation".ljust(14) + "".join(kind.rjust(10) for kind in KINDS) + "all".rjust(10)]
    for operation in operations:
        counts = [points[kind, operation] for kind in KINDS]
        lines.append(operation.ljust(14) + "".join(f"{each:10}" for each in [*counts, sum(counts)]))
    sums = by_kind(points)
    lines.append("all".ljust(14) + "".join(f"{each:10}" for each in [*(sums[kind] for kind in KINDS), points.total()]))
    lines += ["", *(f"{number:10}  {name}" for name, number in sorted(total.tally.others.items()))]
    lines += [f"{total.samples:10}  samples", f"{total.alerts:10}  alert events", f"{total.seeds:10}  seeds"]
    lines += [f"{0:10}  {name}" for name in ("lost", "doubled", "differing")]
    lines.append(f"{points.total() / total.seconds:10.1f}  crash points a second")
    return "\n".join(lines)


def by_kind(points: Counter[Point]) -> Counter[Kind]:
    """Return how many crash points there were of each kind."""
    sums = Counter[Kind]()
    for (kind, _), number in points.items():
        sums[kind] += number
    return sums


def arguments(given: Sequence[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.crashes", description=__doc__)
    parser.add_argument("--points", type=int, default=100_000, help="crash points in all")
    parser.add_argument("--seed", type=int, default=0, help="the first seed")
    parser.add_argument("--processes", type=int, default=1, help="seeds that run side by side")
    return parser.parse_args(given)


def main(given: Sequence[str]) -> int:
    """Run, tell how far it is, and return 1 at the first failure."""
    asked = arguments(given)
    total, told = Total(), 0.0
    for each in runs(asked.seed, asked.points, asked.processes):
        if each.failure:
            print(f"\nseed {each.seed}: {each.failure}\n\nto repeat exactly this: {each.command}")
            return 1
        total.add(each)
        if total.seconds - told >= PROGRESS_SECONDS:
            told = total.seconds
            progress(total, asked.points, each.seed)
    print(f"\n\n{table(total)}")
    return 0


def progress(total: Total, points: int, seed: int) -> None:
    """Write how far it is over the last line."""
    done, rate = total.tally.total, total.tally.total / total.seconds
    left = max(points - done, 0) / rate / 60
    line = f"{done:,} of {points:,} crash points, seed {seed}, {rate:.0f} a second, {left:.0f} min left"
    print(f"\r{line:<78}", end="", flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
