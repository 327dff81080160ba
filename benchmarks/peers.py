"""Rows of the table: how many more samples Longwatch scores in the same time than other detectors of streams.

Each peer is installed from the package registry, in an environment of its own, at the first run. It is fed one sample
after the other as its documentation shows; Longwatch decodes records and steps 10,000 streams, all in one process.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.accuracy.packages import made, python
from benchmarks.consumed import Input, Load, Pipeline, daemon_cost, singles
from benchmarks.rows import Plan, Row
from daemon.memory import MemoryRecord
from daemon.types import TopicPartition

SCRIPT: Final = Path(__file__).with_name("peer.py")
STREAMS, WARM, ROUNDS = 10_000, 3, 5
HERE = TopicPartition("in", 0)


@dataclass(frozen=True, slots=True)
class Peer:
    """Another detector: what it is called, what must be installed, how many samples it is given, and the goal."""

    name: str
    told: str
    packages: tuple[str, ...]
    samples: int
    goal: float


PEERS: Final = (
    Peer("hst", "river's HalfSpaceTrees", ("river",), 3000, 10.0),
    Peer("rrcf", "rrcf, 40 trees of 256 samples", ("rrcf",), 200, 100.0),
    Peer("deep-river", "deep-river's rolling autoencoder", ("deep-river", "pytest"), 500, 20.0),
    Peer("numalogic", "numalogic's LSTM autoencoder pipeline", ("numalogic", "pytorch-lightning", "torch"), 1000, 20.0),
)
PIPELINE: Final = Peer("quixstreams", "a quixstreams pipeline with a torch model", ("quixstreams", "torch"), 5000, 20.0)


def of_peers(plan: Plan) -> Iterator[Row]:
    """Yield the ratio to each peer that can be installed: samples in the same processor time."""
    for peer in PEERS:
        if _is_here(plan, peer):
            values = [_theirs(plan, peer) / _ours() for _ in range(plan.repeats)]
            yield Row(f"samples a second, decoding to state, over {peer.told}", values, peer.goal)


def of_pipeline(plan: Plan, feed: Input, folder: Path) -> Iterator[Row]:
    """Yield the ratio to a pipeline on the same broker: the daemon's samples a second over its messages a second."""
    if not _is_here(plan, PIPELINE):
        return
    topic = feed.filled("peers", singles(STREAMS, 16))
    values = []
    for _ in range(plan.repeats):
        theirs = _theirs(plan, PIPELINE, feed.bootstrap, topic.name)
        values.append(theirs / daemon_cost(feed, Load(topic, 2 * STREAMS), folder).seconds)
    yield Row(f"samples a second, from Kafka, over {PIPELINE.told}", values, PIPELINE.goal)


def _is_here(plan: Plan, peer: Peer) -> bool:
    reason = made(plan.environment / peer.name, peer.packages)
    if reason:
        print(f"{peer.told} is left out: {reason}", file=sys.stderr)
    return not reason


def _theirs(plan: Plan, peer: Peer, *more: str) -> float:
    command = [str(python(plan.environment / peer.name)), str(SCRIPT), peer.name, str(peer.samples), *more]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{peer.told} failed: {done.stderr.strip()[-2000:]}")
    return float(done.stdout.split()[-1])


def _ours() -> float:
    """Return the processor seconds of a sample: decoded, scored with the shipped settings, its state moved."""
    pipeline, bodies = Pipeline("json", STREAMS), [value for _, value in singles(STREAMS, WARM + ROUNDS)]
    turns = [_records(bodies, number) for number in range(WARM + ROUNDS)]
    for turn in turns[:WARM]:
        pipeline.use(HERE, turn)
    began = time.process_time()
    for turn in turns[WARM:]:
        pipeline.use(HERE, turn)
    return (time.process_time() - began) / (ROUNDS * STREAMS)


def _records(bodies: Sequence[bytes], number: int) -> list[MemoryRecord]:
    first = number * STREAMS
    return [MemoryRecord(first + i, -1, None, body, ()) for i, body in enumerate(bodies[first : first + STREAMS])]


def main() -> None:
    """Measure all of them a few times and print."""
    from daemon.embedded import broker_at

    plan = Plan(3, 0, 0, None, environment=Path(sys.argv[1]) if len(sys.argv) > 1 else Plan(0, 0, 0, None).environment)
    for row in of_peers(plan):
        print(row.row, [round(each, 1) for each in row.values], flush=True)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="longwatch-bench-")))
        feed = Input(stack.enter_context(broker_at(None)), stack)
        for row in of_pipeline(plan, feed, folder):
            print(row.row, [round(each, 1) for each in row.values], flush=True)


if __name__ == "__main__":
    main()
