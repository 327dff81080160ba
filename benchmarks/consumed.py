"""What reading a topic costs: by the client alone, by the daemon as a process, and through decoding and step.

Everything runs against a real broker on the same topic by turns; costs are processor seconds a sample.
"""

from __future__ import annotations

import json
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import psutil

from benchmarks.decode import WRITERS, Sample
from benchmarks.step import network
from daemon import assembly
from daemon.alert_events import Group
from daemon.config import loads
from daemon.demo.child import DaemonChild, free_port, read_page
from daemon.engine import step
from daemon.kafka import Client, ConnectionSettings, KafkaBroker, broker_class, client
from daemon.partitions import settle
from daemon.state import PartitionState
from daemon.types import Outgoing, Record, TopicPartition, TopicSpec
from detectors.scoring import Detector

PARTITIONS = 4
POLL_RECORDS_MAX = 20_000
POLL_MS = 500
START_MS = 1_700_000_000_000
INTERVAL_MS = 10_000
WRITE_RECORDS = 20_000
MANY = 100  # samples in a record that holds many
HOSTS = 25  # in a partition, each with so many streams: a turn brings few samples of each of many
LOOK_SECONDS = 0.05
SCORED_SECONDS_MAX = 600.0
HELD_SECONDS_MAX = 600.0


@dataclass(frozen=True, slots=True)
class Topic:
    """A topic that is full of samples, each stream's in one partition."""

    name: str
    records: int
    samples: int


@dataclass(frozen=True, slots=True)
class Cost:
    """What a sample took."""

    processor_seconds: float  # of the process that was started
    seconds: float


class Input:
    """Topics of one run on one broker."""

    def __init__(self, bootstrap: str, stack: ExitStack) -> None:
        self.bootstrap = bootstrap
        self._prefix = f"bench-{uuid.uuid4().hex[:8]}-"
        self._settings = ConnectionSettings((bootstrap,))
        self._broker = KafkaBroker(self._settings)
        stack.callback(self._broker.close)

    def filled(self, name: str, records: Iterator[tuple[int, bytes]], in_a_record: int = 1) -> Topic:
        """Write a topic; `records` are partition and value."""
        topic, count, held = self._prefix + name, 0, list[Outgoing]()
        self._broker.ensure(TopicSpec(topic, PARTITIONS, compacted=False))
        for partition, value in records:
            held.append(Outgoing(topic, partition, None, value))
            count += 1
            if len(held) >= WRITE_RECORDS:
                self._broker.publish(held)
                held = []
        self._broker.publish(held)
        return Topic(topic, count, count * in_a_record)

    def held_back(self, topic: Topic, records: Iterator[tuple[int, bytes]]) -> Callable[[], None]:
        """Write records behind a topic's that nobody who reads committed ones sees; return what lets them be seen."""
        settings = replace(self._settings, transaction_timeout_seconds=HELD_SECONDS_MAX)
        producer = client.producer(settings, uuid.uuid4().hex)
        producer.init_transactions()
        producer.begin_transaction()
        for partition, value in records:
            producer.send(topic.name, value=value, key=None, headers=[], partition=partition)
        producer.flush(HELD_SECONDS_MAX)

        def let_go() -> None:
            producer.commit_within(HELD_SECONDS_MAX)
            producer.close(HELD_SECONDS_MAX)

        return let_go

    def polled(self, topic: Topic, which: Client) -> float:
        """Read a topic through the daemon's own source on one of the clients; return processor seconds a sample."""
        broker = broker_class(which)(replace(self._settings, group_id=uuid.uuid4().hex))
        source, owned, seen = broker.source([topic.name]), set[TopicPartition](), 0
        while len(owned) < PARTITIONS:
            owned |= source.poll(POLL_RECORDS_MAX, LOOK_SECONDS).assigned
        began = time.process_time()
        for partition in owned:
            source.resume_at(partition, 0)
        while seen < topic.records:
            seen += sum(map(len, source.poll(POLL_RECORDS_MAX, POLL_MS / 1000).records.values()))
        took = time.process_time() - began
        broker.close()
        return took / topic.samples

    def read(self, topic: Topic, use: Callable[[TopicPartition, Sequence[Record]], None] | None = None) -> float:
        """Read a topic with the client library alone, `use` what comes, and return processor seconds a sample."""
        return self.taken(topic, use).processor_seconds

    def taken(self, topic: Topic, use: Callable[[TopicPartition, Sequence[Record]], None] | None = None) -> Cost:
        """Read a topic as `read` does, and return all that a sample took."""
        consumer = client.lone_consumer(self._settings, committed=True)
        partitions = [client.native(TopicPartition(topic.name, number)) for number in range(PARTITIONS)]
        consumer.assign(partitions)
        for partition in partitions:
            consumer.seek(partition, 0)
        seen, began, begun = 0, time.process_time(), time.perf_counter()
        while seen < topic.records:
            for partition, records in consumer.poll(timeout_ms=POLL_MS, max_records=POLL_RECORDS_MAX).items():
                seen += len(records)
                if use is not None:
                    use(TopicPartition(*partition), records)
        took = Cost((time.process_time() - began) / topic.samples, (time.perf_counter() - begun) / topic.samples)
        consumer.close(autocommit=False, timeout_ms=1000)
        return took


def singles(streams: int, samples: int, first: int = 0) -> Iterator[tuple[int, bytes]]:
    """Yield so many samples of each stream, the `first` one first, one in a record."""
    for count in range(first, first + samples):
        for number in range(streams):
            value = 50.0 + (number * 7 + count * 13) % 101 / 10
            body = f'{{"timestamp":{START_MS + count * INTERVAL_MS},"name":"load","labels":{{"host":"web-{number}"}}'
            yield number % PARTITIONS, f'{body},"value":{value}}}'.encode()


def many(name: str, records: int, in_a_record: int) -> Iterator[tuple[int, bytes]]:
    """Yield records of a format with so many samples each, of the same streams in a partition again and again."""
    write = dict(WRITERS[name])[1 if in_a_record == 1 else max(dict(WRITERS[name]))]
    for record in range(records):
        turn, number = divmod(record, PARTITIONS)
        turn, first = divmod(turn, MANY) if in_a_record == 1 else (turn, 0)
        count, host = divmod(turn, HOSTS)
        moment, name = START_MS // 1000 + count * 10, f"web-{number}-{host}"
        cpus = range(first, first + in_a_record)
        yield number, write([Sample(name, f"cpu{i}", moment, 50.0 + (turn * 13 + i) % 101 / 10) for i in cpus])


class Pipeline:
    """Decoding, step and state of the daemon, driven by whoever has records: no transaction, no pages."""

    def __init__(self, form: str, streams_max: int, group: Mapping[str, object] | None = None) -> None:
        told = {"input": {"format": form}, "groups": [{"name": "all", "max_streams": streams_max, **(group or {})}]}
        config = loads(json.dumps(told), "bench.yaml", {})
        settings = config.groups[0].detector()
        self._topic = TopicPartition(config.input.every_topic()[0], 0)
        self._layouts, self._intake = assembly.layouts(config), assembly.intake(config)
        self._group = Group("all", Detector(settings, network(settings), "model"))
        self.states: dict[TopicPartition, PartitionState] = {}

    def use(self, partition: TopicPartition, records: Sequence[Record]) -> None:
        """Take records through to the state."""
        here = self._topic._replace(partition=partition.partition)  # whatever topic they were written to
        state = self.states.get(here)
        if state is None:
            state = self.states[here] = PartitionState.empty(self._layouts, 0)
        taken = self._intake.take(here, records, state)
        assert not taken.rejected, taken.rejected[0]
        settle(state, taken, step([(self._group, [taken.parts["all"]])]).deltas)


@dataclass(frozen=True, slots=True)
class Load:
    """What a daemon is given: a topic, samples of it that only fill its state, and perhaps what it sees after them."""

    topic: Topic
    warm_samples: int
    let_go: Callable[[], None] = lambda: None


def daemon_cost(feed: Input, load: Load, folder: Path, workers: int | str = 1) -> Cost:
    """Let a daemon score a topic and return what a sample took, after those that only fill its state.

    It runs with the shipped settings: state pages, alerts, notable scores, metrics, logs.
    """
    port, group = free_port(), uuid.uuid4().hex[:8]
    config, log = folder / f"{group}.yaml", folder / f"{group}.log"
    told = {**settings(feed.bootstrap, load.topic.name, group, port), "workers": workers}
    config.write_text(json.dumps(told), encoding="utf-8")
    with DaemonChild([sys.executable, "-m", "daemon", "run", str(config)], log) as daemon:
        begun: tuple[float, float, float] | None = None
        give_up, pause = time.monotonic() + SCORED_SECONDS_MAX, threading.Event()
        while time.monotonic() < give_up:
            daemon.check()
            done, used = read_page(port).get("longwatch_samples_total", 0.0), _processor_seconds(daemon.pid)
            if begun is None and done >= load.warm_samples:
                begun = done, used, time.perf_counter()
                load.let_go()
            if begun is not None and done >= load.topic.samples:
                scored = done - begun[0]
                return Cost((used - begun[1]) / scored, (time.perf_counter() - begun[2]) / scored)
            pause.wait(LOOK_SECONDS)
        raise SystemExit(f"the daemon has not scored its input in {SCORED_SECONDS_MAX:.0f} s: {log}")


def settings(bootstrap: str, topic: str, group: str, port: int) -> dict[str, object]:
    """Return the shipped configuration for one topic, but that nothing trains beside it."""
    return {
        "kafka": {"bootstrap_servers": [bootstrap], "group_id": group},
        "input": {"topics": [topic]},
        "groups": [{"name": "all", "learning": "frozen"}],  # its first model goes on: nothing trains beside it
        "state": {"topic": f"{group}-state"},
        "outputs": {name: {"topic": f"{group}-{name}"} for name in ("alerts", "scores", "dead_letters", "models")},
        "server": {"listen": f"127.0.0.1:{port}"},
        "logging": {"format": "json"},
    }


def _processor_seconds(pid: int | None) -> float:
    times = psutil.Process(pid).cpu_times()
    return float(times.user + times.system)
