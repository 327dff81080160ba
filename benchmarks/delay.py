"""Measures how long an alert takes from the append of its record to its commit, at a share of the daemon's full rate.

The broker stamps the records as it appends them; an alert counts as committed when a reader of committed records has
it. Told is the delay in turns as well: a turn is what the daemon takes from one poll to the next.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))  # so that it runs as a file, too

from benchmarks.consumed import INTERVAL_MS, PARTITIONS, START_MS, settings, singles
from benchmarks.rows import Plan, Row
from daemon import codec
from daemon.demo.child import DaemonChild, free_port, read_page
from daemon.embedded import broker_at
from daemon.kafka import ConnectionSettings, KafkaBroker, client
from daemon.types import Outgoing, TopicPartition, TopicSpec

SAMPLES = 6  # of each stream, by which the full rate is measured; the first two only fill the state
TICK_SECONDS = 0.05
SHARE, SECONDS, STREAMS_MAX = 0.25, 20.0, 20_000
ODD_VALUE = 1000.0  # beyond the guard rail: the stream's alert opens at once
ODD = re.compile(r"odd-\w+")
WAIT_SECONDS_MAX = 300.0


@dataclass(frozen=True, slots=True)
class Delay:
    """What was seen at one rate."""

    rate: float  # records a second that were written
    milliseconds: np.ndarray[tuple[int], np.dtype[np.float64]]  # of each alert
    turn_milliseconds: float  # the mean of a turn, waiting for records included
    alerts_missing: int

    @property
    def turns(self) -> float:
        """The delay that 99 of 100 alerts stay below, in turns."""
        return float(np.percentile(self.milliseconds, 99)) / self.turn_milliseconds


class Bench:
    """A daemon on a topic of its own, and who writes and reads beside it."""

    def __init__(self, bootstrap: str, streams: int, stack: ExitStack, more: Mapping[str, object]) -> None:
        self._settings, self._streams = ConnectionSettings((bootstrap,)), streams
        self._broker = KafkaBroker(self._settings)
        stack.callback(self._broker.close)
        self._group, self._port = f"delay-{uuid.uuid4().hex[:8]}", free_port()
        self.topic = f"{self._group}-in"
        stamped = {"message.timestamp.type": "LogAppendTime"}
        self._broker.ensure(TopicSpec(self.topic, PARTITIONS, compacted=False, config=stamped))
        told = settings(bootstrap, self.topic, self._group, self._port)
        told["groups"] = [{"name": "all", "learning": "frozen", "guard": {"value": {"max": 99}}}]
        self._told = {**told, "input": {"topics": [self.topic], **more}}

    @contextmanager
    def daemon(self) -> Iterator[float]:
        """Run the daemon over a backlog and yield its full rate, in samples a second."""
        with tempfile.TemporaryDirectory(prefix="longwatch-bench-") as folder:
            config = Path(folder) / "bench.yaml"
            config.write_text(json.dumps(self._told), encoding="utf-8")
            held = [Outgoing(self.topic, number, None, value) for number, value in singles(self._streams, SAMPLES)]
            self._broker.publish(held)
            command = [sys.executable, "-m", "daemon", "run", str(config)]
            with DaemonChild(command, Path(folder) / "bench.log") as child:
                self._await(child, 2 * self._streams)
                began, from_samples = time.perf_counter(), self._page()["longwatch_samples_total"]
                self._await(child, SAMPLES * self._streams)
                yield (SAMPLES * self._streams - from_samples) / (time.perf_counter() - began)

    def delay(self, rate: float, seconds: float) -> Delay:
        """Write so many records a second for so long, one of each tick beyond the guard rail; return what was seen."""
        places = [TopicPartition(f"{self._group}-alerts", number) for number in range(PARTITIONS)]
        begin = [self._broker.bounds(TopicPartition(self.topic, number)).end for number in range(PARTITIONS)]
        heard, stop = dict[str, float](), threading.Event()
        reader = threading.Thread(target=self._hear, args=(places, heard, stop), name="reader")
        reader.start()
        before, bootstrap = self._page(), self._settings.bootstrap_servers[0]
        names = [self.topic, bootstrap, str(self._streams), str(rate), str(seconds)]
        began = time.perf_counter()
        subprocess.run([sys.executable, "-m", "benchmarks.delay", "--feed", *names], check=True)
        took, after = time.perf_counter() - began, self._page()
        appended = self._appended(begin)
        give_up = time.monotonic() + 10.0
        while len(heard) < len(appended) and time.monotonic() < give_up:
            stop.wait(TICK_SECONDS)
        stop.set()
        reader.join()
        late = [heard[stream] - appended[stream] for stream in appended if stream in heard]
        turns = (after["longwatch_turn_seconds_count"] - before["longwatch_turn_seconds_count"]) / 3  # its phases
        return Delay(rate * seconds / took, np.array(late), 1e3 * took / turns, len(appended) - len(late))

    def _page(self) -> Mapping[str, float]:
        return read_page(self._port)

    def _await(self, child: DaemonChild, samples: int) -> None:
        give_up, pause = time.monotonic() + WAIT_SECONDS_MAX, threading.Event()
        while self._page().get("longwatch_samples_total", 0.0) < samples:
            child.check()
            if time.monotonic() > give_up:
                raise SystemExit(f"the daemon has not scored its input in {WAIT_SECONDS_MAX:.0f} s")
            pause.wait(TICK_SECONDS)

    def _hear(self, places: list[TopicPartition], heard: dict[str, float], stop: threading.Event) -> None:
        consumer = client.lone_consumer(self._settings, committed=True)
        native = [client.native(place) for place in places]
        consumer.assign(native)
        for place, end in consumer.end_offsets(native, timeout_ms=10_000).items():
            consumer.seek(place, end)
        while not stop.is_set():
            for records in consumer.poll(timeout_ms=100, max_records=500).values():
                now = 1e3 * time.time()
                for record in records:
                    event = codec.decode_alert(record.value or b"")
                    if event.change == "open" and (host := ODD.search(event.stream)):
                        heard.setdefault(host[0], now)
        consumer.close(autocommit=False, timeout_ms=1000)

    def _appended(self, begin: list[int]) -> dict[str, float]:
        """Return when the broker appended each record beyond the guard rail, by its stream, in milliseconds."""
        found = {}
        for number, start in enumerate(begin):
            place = TopicPartition(self.topic, number)
            end, cursor = self._broker.bounds(place).end, self._broker.cursor(place, start)
            while cursor.position < end:
                for record in cursor.fetch(20_000, 1.0):
                    told = json.loads(record.value or b"{}")
                    if told["value"] == ODD_VALUE:
                        found[told["labels"]["host"]] = float(record.timestamp)
            cursor.close()
        return found


def of_delay(plan: Plan, address: str, stack: ExitStack) -> Iterator[Row]:
    """Yield the delay of an alert at a quarter of the full rate, in turns."""
    bench = Bench(address, min(plan.daemon_streams, STREAMS_MAX), stack, {})
    full = stack.enter_context(bench.daemon())
    found = [bench.delay(SHARE * full, SECONDS) for _ in range(plan.repeats)]
    most = sorted(float(np.percentile(each.milliseconds, 99)) for each in found)[len(found) // 2]
    name = (
        f"turns from a record's append to its alert's commit, 99 of 100, at {SHARE:g} of the full rate ({most:.0f} ms)"
    )
    yield Row(name, [each.turns for each in found], 5.0, is_limit=True)


def feed(topic: str, bootstrap: str, streams: int, rate: float, seconds: float) -> None:
    """Write so many records a second, tick after tick; a tick's last one is of a new stream and out of bounds."""
    broker, pause = KafkaBroker(ConnectionSettings((bootstrap,))), threading.Event()
    count, began, ticks = max(int(rate * TICK_SECONDS), 1), time.monotonic(), round(seconds / TICK_SECONDS)
    moment, number = START_MS + SAMPLES * INTERVAL_MS, 0
    for tick in range(ticks):
        held = []
        for _ in range(count - 1):
            at = moment + number // streams * INTERVAL_MS
            held.append(_written(topic, number % PARTITIONS, f"web-{number % streams}", at, 50.0 + number % 7))
            number += 1
        held.append(_written(topic, tick % PARTITIONS, f"odd-{uuid.uuid4().hex}", moment, ODD_VALUE))
        broker.publish(held)
        pause.wait(max(began + (tick + 1) * TICK_SECONDS - time.monotonic(), 0.0))
    broker.close()


def _written(topic: str, partition: int, host: str, at_ms: int, value: float) -> Outgoing:
    body = f'{{"timestamp":{at_ms},"name":"load","labels":{{"host":"{host}"}},"value":{value}}}'
    return Outgoing(topic, partition, None, body.encode())


def main() -> None:
    """Read the command line, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--streams", type=int, default=STREAMS_MAX, help="beside those that raise alerts (default %(default)d)"
    )
    parser.add_argument("--share", type=float, default=SHARE, help="of the full rate (default %(default)g)")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="of writing, each time (default %(default)g)")
    parser.add_argument("--repeats", type=int, default=3, help="how often (default %(default)d)")
    parser.add_argument("--bootstrap", help="a broker to use, host:port; the topics of the run stay there")
    parser.add_argument("--input", default="{}", help="keys of the section `input`, as JSON")
    parser.add_argument("--feed", nargs=5, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.feed:
        topic, bootstrap, streams, rate, seconds = arguments.feed
        feed(topic, bootstrap, int(streams), float(rate), float(seconds))
        return
    with ExitStack() as stack:
        address = stack.enter_context(broker_at(arguments.bootstrap))
        bench = Bench(address, arguments.streams, stack, json.loads(arguments.input))
        full = stack.enter_context(bench.daemon())
        print(f"full rate {full:,.0f} samples a second")
        for _ in range(arguments.repeats):
            found = bench.delay(arguments.share * full, arguments.seconds)
            middle, most = np.percentile(found.milliseconds, (50, 99))
            told = f"{len(found.milliseconds)} alerts: half within {middle:.0f} ms, 99 % within {most:.0f} ms"
            turn = f"a turn takes {found.turn_milliseconds:.1f} ms: {found.turns:.1f} turns"
            print(f"{found.rate:,.0f} records a second, {told}; {turn}; {found.alerts_missing} missing")


if __name__ == "__main__":
    main()
