"""Disturbs daemons and brokers again and again, and compares what they leave with what an undisturbed daemon leaves.

A producer writes a known input without a break. Faults come in an order drawn from the seed, some on top of others: a
daemon or a broker is killed, suspended or stopped, members join and leave, leaders and coordinators move. At the end
another daemon reads the same input in peace. Every sample must have one score, the same in both, every alert the same
life, every unreadable record one dead letter.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import get_args

from daemon.embedded import EmbeddedCluster
from daemon.kafka.choice import Client
from tests.e2e.chaos.faults import FAULTS, schedule
from tests.e2e.chaos.trial import Outcome, Trial, conduct, fault_names

KINDS = ("lost", "doubled", "differing")
BEGIN, END = "<!-- chaos: begin -->", "<!-- chaos: end -->"


@dataclass(frozen=True, slots=True)
class Row:
    """One kind of fault in one run: how often, what was wrong afterwards, how long scores stood still each time."""

    fault: str
    count: int
    wrong: Mapping[str, int]
    still_seconds: Sequence[float]


@dataclass(frozen=True, slots=True)
class Result:
    """One run, as it is kept in a file."""

    brokers: int
    daemons: int
    faults: int
    seed: int
    seconds: float
    samples: int
    alerts: int
    dead_letters: int
    ends: Mapping[str, int]
    crashes: int
    repeated: int
    client: str
    rows: Sequence[Row]


def result(brokers: int, trial: Trial, outcome: Outcome, seconds: float) -> Result:
    """Return what is kept of a run."""
    rows = [
        Row(
            fault,
            len(still),
            {kind: outcome.blamed[kind][fault] for kind in KINDS},
            [round(each, 2) for each in still],
        )
        for fault, still in outcome.still_seconds.items()
    ]
    expected = outcome.expected
    return Result(
        brokers=brokers,
        daemons=trial.daemons,
        faults=len(outcome.injected),
        seed=trial.seed,
        seconds=round(seconds, 1),
        samples=len(expected.scores),
        alerts=sum(each.change == "open" for each in expected.changes),
        dead_letters=len(expected.letters),
        ends=dict(outcome.ends),
        crashes=len(outcome.crashes),
        repeated=outcome.repeated,
        client=trial.client,
        rows=rows,
    )


def load(path: Path) -> list[Result]:
    """Return the runs that were kept in a file, one JSON object a line."""
    told = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return [Result(**{**each, "rows": [Row(**row) for row in each["rows"]]}) for each in told]


def table(results: Sequence[Result]) -> Iterator[str]:
    """Yield the lines of a table of all runs on so many brokers, and what they had in common."""
    rows = defaultdict[str, list[Row]](list)
    for each in results:
        for row in each.rows:
            rows[row.fault].append(row)
    yield "| fault | times | lost | doubled | differing | scores stood still, median s | at most s |"
    yield "|---|---:|---:|---:|---:|---:|---:|"
    for fault in sorted(rows, key=list(FAULTS).index):
        still = [seconds for row in rows[fault] for seconds in row.still_seconds]
        wrong = " | ".join(str(sum(row.wrong[kind] for row in rows[fault])) for kind in KINDS)
        yield f"| {fault} | {len(still)} | {wrong} | {statistics.median(still):.1f} | {max(still):.1f} |"


def summary(results: Sequence[Result]) -> str:
    """Return in one sentence what the runs were."""
    first = results[0]
    faults, seconds = sum(each.faults for each in results), sum(each.seconds for each in results)
    daemons = " or ".join(sorted({str(each.daemons) for each in results}))
    seeds = ", ".join(str(each.seed) for each in results)
    samples, alerts, letters = (
        sum(getattr(each, name) for each in results) for name in ("samples", "alerts", "dead_letters")
    )
    ended = sum(sum(each.ends.get(name, 0) for name in ("fenced", "restore_stalled")) for each in results)
    return (
        f"{_counted(first.brokers, 'broker')}, {daemons} daemons on {first.client}, {faults} faults "
        f"in {seconds / 60:.0f} minutes (seeds {seeds}): {samples:,} samples, {alerts:,} alerts, "
        f"{letters:,} dead letters. "
        f"{_counted(ended, 'time')} a daemon ended by itself, with exit code 1, and was started again; "
        f"{_counted(sum(each.crashes for each in results), 'crash', 'crashes')}."
    )


def page(results: Sequence[Result]) -> Iterator[str]:
    """Yield the lines of the section that tells of all runs."""
    for kind in sorted({(each.client, each.brokers) for each in results}):
        chosen = [each for each in results if (each.client, each.brokers) == kind]
        yield from (summary(chosen), "", *table(chosen), "")


def write(path: Path, results: Sequence[Result]) -> None:
    """Put the tables between the two marks of a page."""
    before, _, rest = path.read_text(encoding="utf-8").partition(BEGIN)
    _, mark, after = rest.partition(END)
    if not mark:
        raise SystemExit(f"{path} has no place for the tables: put the lines {BEGIN} and {END} where they shall stand")
    told = "\n".join(page(results))
    path.write_text(f"{before}{BEGIN}\n\n{told}\n{END}{after}", encoding="utf-8")


def _counted(count: int, noun: str, several: str = "") -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {several or f'{noun}s'}"


def disturb(arguments: argparse.Namespace) -> bool:
    """Do one run, print and keep what came of it, and return whether nothing was wrong."""
    seed = arguments.seed if arguments.seed is not None else random.SystemRandom().randrange(10**6)
    names = [name for name in fault_names(arguments.brokers) if any(part in name for part in arguments.only)]
    plan = schedule(seed, names, arguments.faults)
    began = time.monotonic()

    def say(line: str) -> None:
        print(f"{time.monotonic() - began:7.1f} s {line}", flush=True)

    with ExitStack() as stack:
        cluster = stack.enter_context(EmbeddedCluster(arguments.brokers))
        folder = arguments.folder or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="longwatch-chaos-")))
        folder.mkdir(parents=True, exist_ok=True)
        trial = Trial(arguments.daemons, arguments.rate, plan, seed, folder, arguments.minutes * 60, arguments.client)
        say(f"seed {seed}; {cluster.bootstrap}; logs in {folder}")
        outcome = conduct(cluster, trial, say)
    found = result(arguments.brokers, trial, outcome, time.monotonic() - began)
    print(summary([found]), "", *table([found]), sep="\n")
    print(f"ends: {dict(outcome.ends)}; ticks written again: {outcome.repeated}")
    print(*outcome.crashes, *(outcome.findings.said if outcome.wrong else ()), sep="\n")
    if arguments.keep is not None:
        with arguments.keep.open("a", encoding="utf-8") as kept:
            kept.write(json.dumps(asdict(found)) + "\n")
    return not outcome.wrong


def main() -> None:
    """Read the command line and disturb."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--brokers", type=int, choices=(1, 3), default=1, help="how many brokers (default %(default)d)")
    parser.add_argument("--daemons", type=int, choices=(2, 3), default=2, help="how many daemons (default %(default)d)")
    parser.add_argument(
        "--client", choices=get_args(Client), default="kafka-python", help="theirs (default %(default)s)"
    )
    parser.add_argument("--faults", type=int, default=200, help="how many faults; 0 only writes (default %(default)d)")
    parser.add_argument("--minutes", type=float, default=math.inf, help="begin no more faults after so long")
    parser.add_argument("--only", nargs="+", default=[""], metavar="WORDS", help="only faults named with such words")
    parser.add_argument("--seed", type=int, help="where the order of the faults and the input come from")
    parser.add_argument("--rate", type=float, default=5.0, help="ticks a second, 18 records each (default %(default)g)")
    parser.add_argument("--folder", type=Path, help="keep the daemons' files and logs here")
    parser.add_argument("--keep", type=Path, metavar="FILE", help="add the result to this file, as a line of JSON")
    parser.add_argument(
        "--write", type=Path, metavar="PAGE", help="write the tables of all kept results into this page"
    )
    arguments = parser.parse_args()
    if arguments.write is not None and arguments.keep is None:
        parser.error("--write needs --keep: the page tells of all kept results")
    well = arguments.faults == 0 or disturb(arguments)
    if arguments.write is not None:
        write(arguments.write, load(arguments.keep))
    sys.exit(not well)


if __name__ == "__main__":
    main()
