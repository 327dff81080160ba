"""Prints the table of speed and scale, and writes `benchmarks/out/latest.json`: what is measured, the goal, the spread.

Each row is a ratio of two things that are measured by turns in one run, so that it depends little on the machine.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from itertools import chain, islice
from pathlib import Path

import numpy as np
import psutil

sys.path.insert(0, str(Path(__file__).parents[1]))  # so that it runs as a file, too

from benchmarks import restore
from benchmarks.consumed import HOSTS, MANY, PARTITIONS, Input, Load, Pipeline, Topic, daemon_cost, many, singles
from benchmarks.delay import of_delay
from benchmarks.peers import of_peers, of_pipeline
from benchmarks.rows import Plan, Row
from benchmarks.step import Bed, Case, network, products, seconds, settings_of, told, write
from benchmarks.training import of_training
from daemon.allocator import keep_freed_memory
from daemon.embedded import broker_at
from daemon.memory import MemoryRecord
from daemon.types import TopicPartition
from detectors.network import use_threads
from detectors.settings import ModelSettings, Readout

OUT = Path(__file__).parent / "out" / "latest.json"
BATCH = 10_000  # samples in a turn of the rows about scale
KERNEL_STREAMS = 1024
KERNEL_CALLS = 20
MARK = "table.py"
ON_KAFKA = ("daemon", "workers", "clients", "batches", "restore", "delay", "peers")


def kernel(plan: Plan) -> Iterator[Row]:
    """Yield how near one step of the network comes to its bare matrix products."""
    sizes = {
        "default": ModelSettings(),
        "hidden 32, window 16, LSTM decoder": ModelSettings(hidden=32, decoder="lstm"),
    }
    for name, model in sizes.items():
        net = network(settings_of(model))
        rng = np.random.default_rng(0)
        rows = rng.normal(0.0, 1.0, (KERNEL_STREAMS, net.features)).astype(np.float32)
        hidden, cell = (np.zeros((KERNEL_STREAMS, width), np.float32) for width in net.widths[:2])
        bare = products(net, KERNEL_STREAMS)
        values = []
        for _ in range(5 * plan.repeats):
            ours = seconds(lambda: [net.advance(rows, hidden, cell) for _ in range(KERNEL_CALLS)])  # noqa: B023
            values.append(seconds(lambda: [bare() for _ in range(KERNEL_CALLS)]) / ours)  # noqa: B023
        yield Row(f"scoring kernel over the bare matrix products of its shapes: {name}", values, 0.8)


def scale(plan: Plan) -> Iterator[Row]:
    """Yield how the rate of the pure step holds when the rows do not fit the cache."""
    few, lots = (Bed(Case("default", settings_of()), count) for count in (BATCH, plan.streams))
    for bed in (few, lots):
        for slots in _passes(len(bed.slab)):
            bed.turn(slots)
    values, turns = [], list(_passes(plan.streams))
    for i in range(5 * plan.repeats):
        small = seconds(lambda: few.turn(np.arange(BATCH)))
        values.append(small / seconds(lambda: lots.turn(turns[i % len(turns)])))  # noqa: B023
    yield Row(f"rate of the step at {plan.streams:,} streams over the rate at {BATCH:,}", values, 0.7)


def _passes(streams: int) -> Iterator[np.ndarray[tuple[int], np.dtype[np.intp]]]:
    for start in range(0, streams, BATCH):
        yield np.arange(start, min(start + BATCH, streams))


def memory(plan: Plan) -> Iterator[Row]:
    """Yield what a stream keeps resident, each measured in a process of its own."""
    for readout, hidden, goal in (("shared", 32, 1024), ("rls", 16, 2048)):
        command = [sys.executable, "-m", "benchmarks.table", "--bytes-of", readout, str(hidden), str(plan.streams)]
        values = [float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)]
        name = f"resident bytes a stream at {plan.streams:,}: {readout} readout, hidden {hidden}, window 16"
        yield Row(name, values, goal, is_limit=True)


def bytes_of(readout: Readout, hidden: int, streams: int) -> float:
    """Return what each of so many streams adds to this process: rows, keys, routes, everything of intake and slab."""
    group = {"model": {"hidden": hidden}, "readout": readout}
    pipeline, here = Pipeline("json", streams, group), TopicPartition("in", 0)
    lines = (value for _, value in singles(streams, 1))
    process = psutil.Process()
    before, size = 0, BATCH
    for start in range(0, streams, size):
        count = min(size, streams - start)
        pipeline.use(here, [MemoryRecord(start + i, -1, None, next(lines), ()) for i in range(count)])
        if start == 0:
            before = process.memory_info().rss  # the model, the libraries, and what a turn needs for a moment
    return (process.memory_info().rss - before) / (streams - BATCH)


def of_the_client(plan: Plan, feed: Input, folder: Path) -> Iterator[Row]:
    """Yield what the daemon costs beside a bare poll of the same topic."""
    streams, samples = plan.daemon_streams, 6
    values, bare = [], []
    for i in range(plan.repeats + 1):
        topic = feed.filled(f"singles-{i}", singles(streams, 1))
        let_go = feed.held_back(topic, singles(streams, samples - 1, 1))
        whole = replace(topic, records=streams * samples, samples=streams * samples)
        cost = daemon_cost(feed, Load(whole, streams, let_go), folder)
        if i:  # what the first read of all costs is nobody's
            bare.append(feed.read(whole))
            values.append(cost.processor_seconds / bare[-1])
    told_bare = f"poll() alone: {statistics.median(bare) * 1e6:.1f} microseconds"
    name = f"processor seconds a sample, the daemon over a bare poll() of the topic: {streams:,} streams ({told_bare})"
    yield Row(name, values, 1.3, is_limit=True)


def of_cores(plan: Plan, feed: Input, folder: Path) -> Iterator[Row]:
    """Yield how many more samples a second two workers score than one."""
    streams = plan.daemon_streams
    topic = feed.filled("cores", singles(streams, 12))
    values = []
    for _ in range(plan.repeats):
        one, two = (daemon_cost(feed, Load(topic, 2 * streams), folder, workers).seconds for workers in (1, 2))
        values.append(one / two)
    yield Row(f"samples a second: two workers over one, {streams:,} streams", values, 1.6)


def of_all_cores(plan: Plan, feed: Input, folder: Path) -> Iterator[Row]:
    """Yield how many samples a second all cores score beside what one process of a bare poll reads."""
    streams = plan.daemon_streams
    topic = feed.filled("auto", singles(streams, 12))
    feed.read(topic)
    values = []
    for _ in range(plan.repeats):
        bare = feed.taken(topic).seconds
        values.append(bare / daemon_cost(feed, Load(topic, 2 * streams), folder, "auto").seconds)
    yield Row(f"samples a second: workers: auto over one process of a bare poll(), {streams:,} streams", values, 1.5)


def of_the_other_client(plan: Plan, feed: Input) -> Iterator[Row]:
    """Yield how many more samples librdkafka brings than kafka-python, as it is and as the daemon reads with it."""
    topic = feed.filled("clients", singles(20_000, 10))
    feed.read(topic)
    ours, bare = [], []
    for _ in range(plan.repeats):
        other = feed.polled(topic, "librdkafka")
        ours.append(feed.polled(topic, "kafka-python") / other)
        bare.append(feed.read(topic) / other)
    yield Row("samples a processor second: librdkafka over kafka-python as the daemon reads with it", ours, 3.0)
    yield Row("samples a processor second: librdkafka over kafka-python's own poll()", bare, 3.0)


def of_batches(plan: Plan, feed: Input) -> Iterator[Row]:
    """Yield how many more samples a second go through when a record holds many; every stream is known before."""
    for form in ("telegraf_json", "otlp_proto"):
        topics = {size: _of_known_streams(feed, form, size) for size in (1, MANY)}
        values = []
        for i in range(plan.repeats + 1):
            one, lots = (_through(feed, form, *topics[size]) for size in (1, MANY))
            values += [one / lots] if i else []
        yield Row(f"samples a second, poll to state, {MANY} in a record over one: {form}", values, 5.0)


def _of_known_streams(feed: Input, form: str, size: int) -> tuple[Topic, Topic]:
    """Write a topic with the first sample of every stream, and one with those that come after."""
    records, first = many(form, 1000 * MANY // size, size), PARTITIONS * HOSTS * MANY // size
    begin = feed.filled(f"{form}-{size}-first", islice(records, first), size)
    return begin, feed.filled(f"{form}-{size}", records, size)


def _through(feed: Input, form: str, begin: Topic, rest: Topic) -> float:
    pipeline = Pipeline(form, 10_000)
    feed.read(begin, pipeline.use)
    return feed.read(rest, pipeline.use)


def of_restore(plan: Plan, address: str) -> Iterator[Row]:
    """Yield how fast a partition comes back beside a bare read of the same bytes."""
    bench = restore.Bench(address, plan.daemon_streams, 1000)
    bench.fill()
    bench.bare()
    values = [bench.bare().seconds / bench.restored().seconds for _ in range(plan.repeats)]
    bench.broker.close()
    yield Row("restore of a partition over a bare read of the same bytes", values, 0.5)


def measured(plan: Plan, wanted: str) -> Iterator[Row]:
    """Yield every row whose part is wanted."""
    parts: dict[str, Callable[[Plan], Iterator[Row]]] = {
        "kernel": kernel,
        "scale": scale,
        "memory": memory,
        "training": of_training,
        "peers": of_peers,
    }
    for name, part in parts.items():
        if wanted in ("all", name):
            yield from part(plan)
    if wanted not in ("all", *ON_KAFKA):
        return
    with ExitStack() as stack:
        address = stack.enter_context(broker_at(plan.bootstrap))
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="longwatch-bench-")))
        feed = Input(address, stack)
        on_kafka: dict[str, Callable[[], Iterator[Row]]] = {
            "daemon": lambda: of_the_client(plan, feed, folder),
            "workers": lambda: chain(of_cores(plan, feed, folder), of_all_cores(plan, feed, folder)),
            "clients": lambda: of_the_other_client(plan, feed),
            "batches": lambda: of_batches(plan, feed),
            "restore": lambda: of_restore(plan, address),
            "delay": lambda: of_delay(plan, address, stack),
            "peers": lambda: of_pipeline(plan, feed, folder),
        }
        for name in ON_KAFKA:
            if wanted in ("all", name):
                yield from on_kafka[name]()


def table(rows: Sequence[Row]) -> Iterator[str]:
    """Yield the lines of the table."""
    yield "| | measured | goal | |"
    yield "|---|---|---|---|"
    for each in rows:
        digits = 0 if each.value >= 100 else 2
        sign = "at most" if each.is_limit else "at least"
        met = "reached" if each.is_met else "missed"
        yield f"| {each.row} | {told(each.values, digits)} | {sign} {each.goal:,g} | {met} |"


def save(rows: Sequence[Row]) -> None:
    """Write the rows for programs."""
    OUT.parent.mkdir(exist_ok=True)
    found = [
        {
            "row": each.row,
            "value": each.value,
            "goal": each.goal,
            "met": each.is_met,
            "spread": [min(each.values), max(each.values)],
        }
        for each in rows
    ]
    OUT.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


def main() -> None:
    """Read the command line, measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = ("all", "kernel", "scale", "memory", "training", *ON_KAFKA)
    parser.add_argument("--only", choices=parts, default="all", help="one part of it (default %(default)s)")
    parser.add_argument("--repeats", type=int, default=5, help="how often each is measured (default %(default)d)")
    parser.add_argument("--streams", type=int, default=1_000_000, help="of scale and memory (default %(default)d)")
    parser.add_argument("--daemon-streams", type=int, default=100_000, help="of the daemon (default %(default)d)")
    parser.add_argument("--training-samples", type=int, default=1_000_000, help="of an epoch (default %(default)d)")
    parser.add_argument("--environment", type=Path, default=Path("build/peers"), help="for the peers' packages")
    parser.add_argument("--bootstrap", help="a broker to use, host:port; the topics of the run stay there")
    parser.add_argument("--write", type=Path, metavar="PAGE", help="put the table between its marks in this page")
    parser.add_argument("--bytes-of", nargs=3, metavar=("READOUT", "HIDDEN", "STREAMS"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    use_threads(1)  # as the daemon's default
    keep_freed_memory()
    if arguments.bytes_of:
        readout, hidden, streams = arguments.bytes_of
        print(bytes_of(readout, int(hidden), int(streams)))
        return
    plan = Plan(
        repeats=arguments.repeats,
        streams=arguments.streams,
        daemon_streams=arguments.daemon_streams,
        bootstrap=arguments.bootstrap,
        training_samples=arguments.training_samples,
        environment=arguments.environment,
    )
    rows, began = [], time.perf_counter()
    for row in measured(plan, arguments.only):
        rows.append(row)
        print(f"{time.perf_counter() - began:5.0f} s  {row.row}: {told(row.values)}", file=sys.stderr, flush=True)
    lines = "\n".join(table(rows))
    print(lines)
    save(rows)
    if arguments.write is not None:
        write(arguments.write, lines, MARK)


if __name__ == "__main__":
    main()
