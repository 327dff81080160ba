"""Measures how fast a partition set comes back from the state topic, against a bare read of the same bytes.

The bare read is the client library's own: poll until the end, looking at nothing. Both read committed records, from the
same topics, by turns. A goal: restoring takes at most twice as long. The second figure is the silent replay: samples a
second from the input topic through decoding, scoring and the state, telling nobody.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import numpy as np

from daemon import assembly
from daemon.alert_events import Group
from daemon.config import Config, loads
from daemon.embedded import broker_at
from daemon.engine import step
from daemon.kafka import ConnectionSettings, KafkaBroker, client
from daemon.partitions import settle
from daemon.restore import FETCH_RECORDS_MAX, FETCH_WAIT_SECONDS, Restore, RestoreSettings
from daemon.state import PartitionState, flush
from daemon.types import Outgoing, Record, TopicPartition, TopicSpec
from detectors.autoencoder import weight_shapes
from detectors.network import Network, use_threads
from detectors.scoring import CLOCK_INPUTS, Detector
from detectors.settings import DetectorSettings
from detectors.slab import Delta

PARTITIONS = 4
ROWS_MOVED = 1024  # so many streams are really scored; the others' rows are theirs again
SAMPLES_MOVED = 40
REPLAYED_STREAMS = 2000
MESSAGES_PER_WRITE = 200
GOAL = 0.5
MIB = 2**20


@dataclass(frozen=True, slots=True)
class Took:
    """One way through one topic: seconds and MiB of values."""

    seconds: float
    mib: float


def network(settings: DetectorSettings) -> Network:
    """Return a network of random weights: the arithmetic is that of a trained one."""
    rng, width = np.random.default_rng(0), len(settings.channels)
    shapes = weight_shapes(features=2 * width + CLOCK_INPUTS, channels=width, settings=settings.model)
    weights = {name: rng.normal(0.0, 0.3, shape).astype(np.float32) for name, shape in shapes.items()}
    return Network(weights, model=settings.model)


class Bench:
    """Topics of one run, filled as the daemon fills them, and the two ways to read them."""

    def __init__(self, bootstrap: str, streams: int, replayed: int) -> None:
        self._prefix = f"restore-{uuid.uuid4().hex[:8]}-"
        self._settings = ConnectionSettings((bootstrap,), record_bytes_max=assembly.STATE_MESSAGE_BYTES_MAX)
        self.broker = KafkaBroker(self._settings)
        config = _config(streams, f"{self._prefix}metrics")
        self._layouts, self._intake = assembly.layouts(config), assembly.intake(config)
        detector = config.groups[0].detector()
        self._group = Group("all", Detector(detector, network(detector), "model"))
        self._streams, self._replayed = streams, replayed
        self._input, self._early = f"{self._prefix}metrics", f"{self._prefix}early"
        self.state_topic = f"{self._prefix}state"
        self.row_bytes = self._layouts["all"].dtype.itemsize

    def fill(self) -> None:
        """Write the input, the pages of every partition as they stand after it, and a manifest from before it."""
        self.broker.ensure(TopicSpec(self._input, PARTITIONS, compacted=False))
        for topic in (self.state_topic, self._early):
            self.broker.ensure(TopicSpec(topic, PARTITIONS, compacted=True, config=assembly.LARGE_MESSAGES))
        self._publish(self._samples())
        moved = self._moved()
        for number in range(PARTITIONS):
            here, share = TopicPartition(self._input, number), self._streams // PARTITIONS
            state = PartitionState.empty(self._layouts, self.broker.bounds(here).end)
            slab = state.slabs["all"]
            slots = np.array([slab.slot(f'cpu{{host="host-{number}-{i}"}}') for i in range(share)], dtype=np.intp)
            slab.apply(Delta(slots, moved.take(slots % ROWS_MOVED)))
            self._stamp(here, state)
            self._publish(iter(flush(self.state_topic, here, state, self._layouts)[0]))
            blank = PartitionState.empty(self._layouts, 0)
            self._stamp(here, blank)
            self._publish(iter(flush(self._early, here, blank, self._layouts)[0]))

    def bare(self) -> Took:
        """Read the state topic with nothing but the client library, partition by partition."""
        began, size = time.perf_counter(), 0
        for number in range(PARTITIONS):
            here = TopicPartition(self.state_topic, number)
            end = self.broker.bounds(here).end
            consumer = client.lone_consumer(self._settings, committed=True)
            consumer.assign([client.native(here)])
            consumer.seek(client.native(here), 0)
            while (consumer.position(client.native(here), timeout_ms=1000) or 0) < end:
                fetched = consumer.poll(timeout_ms=FETCH_WAIT_SECONDS * 1000, max_records=FETCH_RECORDS_MAX)
                size += sum(len(record.value or b"") for records in fetched.values() for record in records)
            consumer.close(autocommit=False, timeout_ms=1000)
        return Took(time.perf_counter() - began, size / MIB)

    def restored(self) -> Took:
        """Restore every partition from its pages, as the daemon does it; there is nothing to replay."""
        began = time.perf_counter()
        for number in range(PARTITIONS):
            state = self._restore(TopicPartition(self._input, number), self.state_topic)
            assert len(state.slabs["all"]) == self._streams // PARTITIONS, "not every stream came back"
        return Took(time.perf_counter() - began, self._streams * self.row_bytes / MIB)

    def replay(self) -> float:
        """Replay the whole input silently and return how many samples a second went through."""
        began = time.perf_counter()
        for number in range(PARTITIONS):
            self._restore(TopicPartition(self._input, number), self._early)
        return self._replayed / (time.perf_counter() - began)

    def _restore(self, partition: TopicPartition, state_topic: str) -> PartitionState:
        settings = RestoreSettings(state_topic, self._layouts, 600.0)
        restore = Restore(self.broker, partition, self.broker.bounds(partition).end, settings, time.monotonic())
        replay = self._silently(partition)
        while not restore.advance(replay, time.monotonic()):
            pass
        assert restore.state is not None
        assert not restore.discarded, restore.discarded
        return restore.state

    def _silently(self, partition: TopicPartition) -> Callable[[PartitionState, list[Record]], None]:
        def replay(state: PartitionState, records: list[Record]) -> None:
            taken = self._intake.take(partition, records, state)
            settle(state, taken, step([(self._group, [taken.parts["all"]])]).deltas)

        return replay

    def _stamp(self, partition: TopicPartition, state: PartitionState) -> None:
        state.watermark_ms = 1_700_000_000_000
        state.topic_id = self.broker.topic_id(partition.topic) or ""

    def _samples(self) -> Iterator[Outgoing]:
        """Yield the input that is replayed: streams in turn, one sample each ten seconds."""
        for at in range(self._replayed):
            count, number = divmod(at, REPLAYED_STREAMS)
            body = {
                "timestamp": 1_700_000_000_000 + count * 10_000,
                "name": "cpu",
                "labels": {"host": f"host-{number}"},
                "value": round(50.0 + 10.0 * math.sin(count / 9 + number), 3),
            }
            yield Outgoing(self._input, number % PARTITIONS, None, json.dumps(body).encode())

    def _moved(self) -> np.ndarray[tuple[int], np.dtype[np.void]]:
        """Return rows of streams that have really been scored, as full of numbers as a daemon's own."""
        here, state = TopicPartition(self._input, 0), PartitionState.empty(self._layouts, 0)
        rng = np.random.default_rng(1)
        replay = self._silently(here)
        for turn in range(SAMPLES_MOVED):
            stamp = 1_700_000_000_000 + turn * 10_000
            lines = [
                f'{{"timestamp":{stamp},"name":"s{i}","value":{value}}}'.encode()
                for i, value in enumerate(rng.normal(50.0, 5.0, ROWS_MOVED))
            ]
            replay(state, [_Line(turn * ROWS_MOVED + i, each) for i, each in enumerate(lines)])
        return state.slabs["all"].view()

    def _publish(self, messages: Iterator[Outgoing]) -> None:
        """Write messages in handfuls that fit the client's own limits."""
        held: list[Outgoing] = []
        size = MESSAGES_PER_WRITE
        for message in messages:
            held.append(message)
            size = MESSAGES_PER_WRITE if len(message.value or b"") > 10_000 else 20_000
            if len(held) >= size:
                self.broker.publish(held)
                held = []
        self.broker.publish(held)


@dataclass(frozen=True, slots=True)
class _Line:
    """A record that has not been through a broker."""

    offset: int
    value: bytes | None
    timestamp: int = -1
    key: bytes | None = None
    headers: Sequence[tuple[str, bytes]] = ()


def _config(streams: int, topic: str) -> Config:
    group = {"name": "all", "max_streams": max(streams, REPLAYED_STREAMS)}
    return loads(json.dumps({"input": {"topics": [topic]}, "groups": [group]}), "restore.yaml", {})


def spread(values: Sequence[float], unit: str, digits: int = 2) -> str:
    """Return median and extremes in words."""
    middle, low, high = (f"{each:.{digits}f}" for each in (statistics.median(values), min(values), max(values)))
    return f"{middle} {unit} (from {low} to {high})"


def measure(bench: Bench, repeats: int) -> bool:
    """Read by turns, print what it took, and return whether the goal was reached."""
    bench.bare()  # what the first read of all costs (the broker's files, our imports) is nobody's
    bare, restored, replayed = [], [], []
    for number in range(repeats):
        bare.append(bench.bare())
        restored.append(bench.restored())
        replayed.append(bench.replay())
        told = f"bare {bare[-1].seconds:.2f} s, restored {restored[-1].seconds:.2f} s, replay {replayed[-1]:.0f}/s"
        print(f"{number + 1}: {told}", flush=True)
    ratios = [one.seconds / other.seconds for one, other in zip(bare, restored, strict=True)]
    ratio = statistics.median(ratios)
    print(f"bare read:     {spread([each.seconds for each in bare], 's')}, {bare[0].mib:.0f} MiB of values")
    print(f"restore:       {spread([each.seconds for each in restored], 's')}, {restored[0].mib:.0f} MiB of rows")
    print(
        f"ratio:         {spread(ratios, 'of the bare rate')}, goal {GOAL}: {'reached' if ratio >= GOAL else 'MISSED'}"
    )
    print(f"silent replay: {spread(replayed, 'samples/s', 0)}")
    return ratio >= GOAL


def main() -> int:
    """Read the command line and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--streams", type=int, default=100_000, help="in all partitions (default %(default)d)")
    parser.add_argument("--replayed", type=int, default=100_000, help="samples of the replay (default %(default)d)")
    parser.add_argument("--repeats", type=int, default=3, help="how often each is measured (default %(default)d)")
    parser.add_argument("--bootstrap", help="a broker to use, host:port; the topics of the run stay there")
    told = parser.parse_args()
    use_threads(1)  # as the daemon's default
    with ExitStack() as stack:
        bench = Bench(stack.enter_context(broker_at(told.bootstrap)), told.streams, told.replayed)
        stack.callback(bench.broker.close)
        began = time.perf_counter()
        bench.fill()
        print(f"{told.streams} streams of {bench.row_bytes} bytes written in {time.perf_counter() - began:.0f} s")
        return 0 if measure(bench, told.repeats) else 1


if __name__ == "__main__":
    sys.exit(main())
