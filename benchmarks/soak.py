"""Lets the daemon run for long at a share of its full rate, with a rebalance now and then, and looks at what stays.

A real Kafka, the real daemon as a process, and a second one that joins, works and leaves again and again. First the
full rate is measured on a backlog. At the end: did resident memory stay where it was, did every rebalance end with no
lag, was every sample scored exactly once. The exit code is 1 when one of them does not hold.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import astuple, dataclass, field, fields
from pathlib import Path

import numpy as np
import psutil
from numpy.typing import NDArray

from daemon.codec import decode_scores
from daemon.demo.child import DaemonChild, free_port, read_page
from daemon.embedded import EmbeddedBroker
from daemon.kafka import ConnectionSettings, KafkaBroker
from daemon.types import Outgoing, TopicPartition, TopicSpec

PARTITIONS = 4
METRICS, SCORES, STATE = "soak-metrics", "soak-scores", "soak-state"
INTERVAL_MS = 10_000  # between two samples of a stream, in event time
TICK_SECONDS = 0.5
LOOK_SECONDS = 5.0
LAGGING_SECONDS = 2.0  # of production: less than this is no lag
CATCH_UP_SECONDS_MAX = 300.0
START_SECONDS_MAX = 60.0
GROWTH_MAX = 0.02
MIB = 2**20


@dataclass(frozen=True, slots=True)
class Plan:
    """What was asked for; times in seconds."""

    seconds: float
    streams: int
    rate_share: float
    rebalance_seconds: float
    backlog_samples: int


@dataclass(frozen=True, slots=True)
class Look:
    """One look at everything; memory in MiB, resident."""

    second: float
    produced: int
    lag_samples: int
    daemon_mib: float
    second_daemon_mib: float  # 0 while there is none
    broker_mib: float
    script_mib: float
    state_topic_mib: float


@dataclass(slots=True)
class Rebalance:
    """A second daemon's visit: when it came and went, and how long the lag took to vanish after each (seconds)."""

    came: float
    left: float | None = None
    settled: list[float] = field(default_factory=list)
    highest_lag: int = 0


def settings(bootstrap: str, port: int) -> dict[str, object]:
    """Return a daemon's settings: the shipped ones, every score kept, a model learnt beforehand."""
    return {
        "kafka": {"bootstrap_servers": [bootstrap], "group_id": "soak"},
        "input": {"topics": [METRICS]},
        "groups": [{"name": "all", "learning": "frozen", "training": {"seconds_max": 60}}],
        "state": {"topic": STATE},
        "outputs": {
            "alerts": {"topic": "soak-alerts"},
            "scores": {"topic": SCORES, "keep": "all"},
            "dead_letters": {"topic": "soak-dead-letters"},
            "models": {"topic": "soak-models"},
        },
        "server": {"listen": f"127.0.0.1:{port}"},
        "logging": {"format": "json"},
    }


class Streams:
    """The input: streams that swing with some noise, one after the other, without end."""

    def __init__(self, broker: KafkaBroker, count: int) -> None:
        self._broker, self._count = broker, count
        self._dice = random.Random(0)
        self._start_ms = int(time.time() * 1000) - 60 * 86_400_000  # event time runs faster than the clock
        self.produced = 0

    def produce(self, samples: int) -> None:
        """Write so many samples."""
        self._broker.publish([self._next() for _ in range(samples)])

    def _next(self) -> Outgoing:
        step, number = divmod(self.produced, self._count)
        self.produced += 1
        swing = np.sin(step / (20.0 + number % 50) + number)
        value = 100.0 + number % 7 + 10.0 * float(swing) + self._dice.gauss(0.0, 1.0)
        stamp, label = self._start_ms + step * INTERVAL_MS, str(number)
        body = f'{{"timestamp":{stamp},"name":"load","labels":{{"n":"{label}"}},"value":{value:.3f}}}'
        return Outgoing(METRICS, number % PARTITIONS, label.encode(), body.encode())


class Scored:
    """Counts how often each sample of the input was scored, from the topic of scores."""

    def __init__(self, broker: KafkaBroker) -> None:
        self._cursors = [broker.cursor(TopicPartition(SCORES, number), 0) for number in range(PARTITIONS)]
        self._times: list[NDArray[np.uint8]] = [np.zeros(1 << 16, np.uint8) for _ in range(PARTITIONS)]
        self.samples = 0

    def follow(self) -> None:
        """Take in what has been scored since."""
        for cursor in self._cursors:
            while records := cursor.fetch(500, 0.005):
                for record in records:
                    told = decode_scores(record.value or b"")
                    self._count(told.partition, np.array(told.offset))
                    self.samples += len(told.offset)

    def _count(self, partition: int, offsets: NDArray[np.int64]) -> None:
        times = self._times[partition]
        if offsets.max(initial=0) >= len(times):
            times = self._times[partition] = np.r_[times, np.zeros(max(len(times), int(offsets.max())), np.uint8)]
        np.add.at(times, offsets, 1)

    def verdict(self, produced: int) -> tuple[int, int, int]:
        """Return how many of `produced` samples were scored once, never, and more often."""
        once = sum(int((times == 1).sum()) for times in self._times)
        often = sum(int((times > 1).sum()) for times in self._times)
        return once, produced - once - often, often


class Soak:
    """The run: two daemons' settings, the input, and everything seen."""

    def __init__(self, plan: Plan, folder: Path, kafka: EmbeddedBroker, stack: ExitStack) -> None:
        self.plan, self._folder, self._kafka, self._stack = plan, folder, kafka, stack
        broker = KafkaBroker(ConnectionSettings((kafka.bootstrap,)))
        stack.callback(broker.close)
        for topic in (METRICS, SCORES):
            broker.ensure(TopicSpec(topic, PARTITIONS, compacted=False))
        self.streams, self.scored = Streams(broker, plan.streams), Scored(broker)
        self._ports = free_port(), free_port()
        self.configs = [folder / f"daemon-{number}.yaml" for number in range(2)]
        for config, port in zip(self.configs, self._ports, strict=True):
            config.write_text(json.dumps(settings(kafka.bootstrap, port)), encoding="utf-8")
        self.main = DaemonChild(self._command(0), folder / "daemon-0.log")
        self.guest: DaemonChild | None = None
        self.looks: list[Look] = []
        self.rebalances: list[Rebalance] = []
        self._pause = threading.Event()

    def _command(self, number: int) -> list[str]:
        return [sys.executable, "-m", "daemon", "run", str(self.configs[number])]

    @property
    def lag(self) -> int:
        """How many samples were produced and not yet scored, as far as the topic of scores tells."""
        return self.streams.produced - self.scored.samples

    def prepare(self) -> str:
        """Write the backlog, learn a model from it, and return what the training said."""
        while self.streams.produced < self.plan.backlog_samples:
            self.streams.produce(min(20_000, self.plan.backlog_samples - self.streams.produced))
        command = [sys.executable, "-m", "daemon", "train", str(self.configs[0])]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"the training failed: {done.stderr}")
        return done.stderr.splitlines()[-1]

    def full_rate(self) -> float:
        """Start the daemon on its backlog and return how many samples a second it scores from its first one on."""
        self._stack.enter_context(self.main)
        began: tuple[float, float] | None = None
        while True:
            self.main.check()
            now, done = time.monotonic(), read_page(self._ports[0]).get("longwatch_samples_total", 0.0)
            if began is None and done:
                began = now, done
            if began is not None and done >= self.streams.produced:
                return (done - began[1]) / max(now - began[0], 1e-9)
            self._pause.wait(0.2)

    def live(self, rate: float) -> None:
        """Produce at `rate` samples a second for the planned time, with visits of a second daemon."""
        start, first = time.monotonic(), self.streams.produced
        looked = told = 0.0
        while (elapsed := time.monotonic() - start) < self.plan.seconds:
            self.streams.produce(int(rate * elapsed) - (self.streams.produced - first))
            self.scored.follow()
            self._visit(elapsed, rate)
            if elapsed - looked >= LOOK_SECONDS:
                looked = elapsed
                self.looks.append(self._look(elapsed))
            if elapsed - told >= 60.0:
                told = elapsed
                print(line(self.looks[-1]), flush=True)
            self.main.check()
            ahead = start + elapsed + TICK_SECONDS - time.monotonic()
            self._pause.wait(max(ahead, 0.0))

    def finish(self) -> None:
        """Wait until everything is scored, then stop."""
        give_up = time.monotonic() + CATCH_UP_SECONDS_MAX
        while self.lag > 0 and time.monotonic() < give_up:
            self.scored.follow()
            self._pause.wait(TICK_SECONDS)
        self.main.stop()
        self.scored.follow()

    def _visit(self, elapsed: float, rate: float) -> None:
        """Let the second daemon come every `rebalance_seconds`, and leave after two fifths of that."""
        every = self.plan.rebalance_seconds
        here = self.rebalances[-1] if self.rebalances else None
        if (
            self.guest is None
            and elapsed >= every * (len(self.rebalances) + 1)
            and elapsed + every <= self.plan.seconds
        ):
            self.guest = DaemonChild(self._command(1), self._folder / "daemon-1.log")
            self._stack.enter_context(self.guest)
            self.rebalances.append(Rebalance(elapsed))
        elif self.guest is not None and here is not None and elapsed >= here.came + 0.4 * every:
            self.guest.check()
            self.guest.stop()
            self.guest, here.left = None, elapsed
        if here is not None:
            _watch(here, elapsed, self.lag, lagging=self.lag > rate * LAGGING_SECONDS)

    def _look(self, elapsed: float) -> Look:
        state = sum(path.stat().st_size for path in self._folder.glob(f"kafka/data/{STATE}-*/*.log"))
        return Look(
            second=round(elapsed, 1),
            produced=self.streams.produced,
            lag_samples=self.lag,
            daemon_mib=resident(self.main.pid),
            second_daemon_mib=resident(self.guest.pid if self.guest else None),
            broker_mib=resident(self._kafka.pid),
            script_mib=resident(os.getpid()),
            state_topic_mib=round(state / MIB, 1),
        )


def _watch(visit: Rebalance, elapsed: float, lag: int, *, lagging: bool) -> None:
    """Note how far the lag rose, and when it is gone after the coming and after the leaving."""
    visit.highest_lag = max(visit.highest_lag, lag)
    moments = [visit.came] if visit.left is None else [visit.came, visit.left]
    # a member needs a moment to be noticed: lag that has not begun is not over
    if not lagging and len(visit.settled) < len(moments) and elapsed > moments[len(visit.settled)] + 10.0:
        visit.settled.append(elapsed - moments[len(visit.settled)])


def resident(pid: int | None) -> float:
    """Return a process's resident memory in MiB, 0 when there is none."""
    return 0.0 if pid is None else round(psutil.Process(pid).memory_info().rss / MIB, 1)


def line(look: Look) -> str:
    """Return a look as one line of the table."""
    memory = f"{look.daemon_mib:>8.1f} {look.second_daemon_mib:>8.1f} {look.broker_mib:>8.1f} {look.script_mib:>8.1f}"
    return f"{look.second / 60:>6.1f} {look.produced:>10} {look.lag_samples:>8} {memory} {look.state_topic_mib:>8.1f}"


HEAD = (
    f"{'min':>6} {'produced':>10} {'lag':>8} {'daemon':>8} {'second':>8} {'broker':>8} {'script':>8} {'state':>8}  MiB"
)


def growth(looks: Sequence[Look]) -> float:
    """Return by how much the daemon's median memory in the last third exceeds that in the middle third, as a share."""
    third = len(looks) // 3
    middle, last = ([look.daemon_mib for look in part] for part in (looks[third : 2 * third], looks[2 * third :]))
    return statistics.median(last) / statistics.median(middle) - 1.0


def verdicts(soak: Soak) -> Iterator[tuple[bool, str]]:
    """Yield for each goal whether it was reached, in words."""
    if len(soak.looks) >= 3:
        more = growth(soak.looks)
        yield (
            more <= GROWTH_MAX,
            f"resident memory, last third against the middle one: {more:+.2%} (goal {GROWTH_MAX:.0%})",
        )
    for visit in soak.rebalances:
        told = ", ".join(f"{seconds:.0f} s" for seconds in visit.settled) or "never"
        what = f"rebalance at {visit.came / 60:.1f} min: lag at most {visit.highest_lag}, gone after {told}"
        yield len(visit.settled) == 2, what
    once, never, often = soak.scored.verdict(soak.streams.produced)
    yield never == often == 0, f"{once} samples scored once, {never} never, {often} more than once"


def save(path: Path, looks: Sequence[Look]) -> None:
    """Write every look as CSV."""
    with path.open("w", encoding="utf-8", newline="") as out:
        rows = csv.writer(out)
        rows.writerow(each.name for each in fields(Look))
        rows.writerows(astuple(look) for look in looks)


def processor_seconds(pids: Mapping[str, int | None]) -> str:
    """Return how much processor time each process took so far, in words."""
    taken = {name: sum(psutil.Process(pid).cpu_times()[:2]) for name, pid in pids.items() if pid is not None}
    return ", ".join(f"{name} {seconds:.0f} s" for name, seconds in taken.items())


def run(plan: Plan, keep: Path | None) -> bool:
    """Run everything, print what is seen, and return whether every goal was reached."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="longwatch-soak-")))
        kafka = stack.enter_context(EmbeddedBroker(folder / "kafka"))
        soak = Soak(plan, folder, kafka, stack)
        print(f"model: {soak.prepare()}", flush=True)
        full = soak.full_rate()
        rate = full * plan.rate_share
        print(
            f"full rate {full:.0f} samples/s on a backlog of {plan.backlog_samples}; live at {rate:.0f}/s", flush=True
        )
        print(HEAD, flush=True)
        soak.live(rate)
        taken = processor_seconds({"daemon": soak.main.pid, "broker": kafka.pid, "script": os.getpid()})
        soak.finish()
        if keep is not None:
            save(keep, soak.looks)
        print(f"processor time: {taken}")
        found = list(verdicts(soak))
    for reached, what in found:
        print(f"{'ok  ' if reached else 'MISS'} {what}")
    return all(reached for reached, _ in found)


def main() -> int:
    """Read the command line and soak."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--minutes", type=float, default=60.0, help="how long the live part takes (default %(default)g)"
    )
    parser.add_argument("--streams", type=int, default=2000, help="how many streams (default %(default)d)")
    parser.add_argument("--rate-share", type=float, default=0.5, help="of the full rate (default %(default)g)")
    parser.add_argument("--rebalance-minutes", type=float, default=5.0, help="between two visits (default %(default)g)")
    parser.add_argument("--backlog", type=int, default=600_000, help="samples to measure the full rate on")
    parser.add_argument("--csv", type=Path, metavar="FILE", help="write every look here")
    told = parser.parse_args()
    plan = Plan(told.minutes * 60, told.streams, told.rate_share, told.rebalance_minutes * 60, told.backlog)
    return 0 if run(plan, told.csv) else 1


if __name__ == "__main__":
    sys.exit(main())
