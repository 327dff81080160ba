"""Watches the machine it runs on: real readings, a real Kafka, the real daemon, and two real burdens to be found.

Every second psutil reads processor, memory, load, disks, network and context switches; nothing is simulated. In the
second half all processors are kept busy for a while, later a child allocates memory. At the end it says for each
whether an alert opened, how soon, and which channel bore most of it.
"""

from __future__ import annotations

import argparse
import csv
import json
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import psutil

from daemon.alert_events import AlertEvent
from daemon.codec import decode_alert, decode_scores
from daemon.demo.child import DaemonChild
from daemon.embedded import broker_at
from daemon.kafka import ConnectionSettings, KafkaBroker
from daemon.types import Outgoing, TopicPartition, TopicSpec

JOINT, FIELDS = "machine", "fields"
LEARN_SECONDS = 150  # so much of the machine is seen before the first model
MEMORY_SHARE = 0.4  # of what is available, for the memory burden
MEMORY_BYTES_MAX = 4 << 30
DRAIN_SECONDS = 5.0
TELLING = {"processor": ("cpu_user", "cpu_idle", "load1"), "memory": ("memory_used", "memory_available")}
# A burden ends when its standard input does, so that it cannot outlive this script.
_ENDS_WITH_US = "import os, sys, threading; threading.Thread(target=lambda: (sys.stdin.read(), os._exit(0))).start()\n"
_BUSY = _ENDS_WITH_US + "while True: pass"
_LARGE = _ENDS_WITH_US + "held = b'x' * int(sys.argv[1]); threading.Event().wait()"


@dataclass(frozen=True, slots=True)
class Burden:
    """What is put on the machine, in seconds since the beginning."""

    kind: Literal["processor", "memory"]
    begin_seconds: float
    end_seconds: float


@dataclass(frozen=True, slots=True)
class Seen:
    """An alert event, and when it came out of Kafka (seconds since 1970)."""

    event: AlertEvent
    at: float

    @property
    def line(self) -> str:
        """What a person reads of it."""
        event = self.event
        late = self.at - event.detected_at_ms / 1000
        score = "" if event.score is None else f" score {event.score:.1f}"
        bearer = f", most of it {bearers(event)}" if event.group == JOINT and event.features else ""
        return (
            f"{event.change:6} {event.rule:8} {event.stream}{score}{bearer} ({event.reason}; told {late:.1f} s later)"
        )


def bearers(event: AlertEvent, count: int = 3) -> str:
    """Return the channels that bore the largest shares of an alert's error."""
    ranked = sorted(event.features, key=lambda feature: -feature.share)[:count]
    return ", ".join(f"{feature.name} {feature.share:.0%}" for feature in ranked)


def burdens(seconds: float) -> tuple[Burden, Burden]:
    """Return the two burdens of a run that takes so long."""
    return Burden("processor", 0.55 * seconds, 0.68 * seconds), Burden("memory", 0.8 * seconds, 0.93 * seconds)


def reading() -> dict[str, float]:
    """Return what the machine says of itself now: shares in percent, sizes in bytes, and counters since its start."""
    processor, memory = psutil.cpu_times_percent(), psutil.virtual_memory()
    disk, network = psutil.disk_io_counters(), psutil.net_io_counters()
    return {
        "cpu_user": processor.user,
        "cpu_system": processor.system,
        "cpu_iowait": getattr(processor, "iowait", 0.0),
        "cpu_idle": processor.idle,
        "memory_used": memory.used,
        "memory_available": memory.available,
        "load1": psutil.getloadavg()[0],
        "disk_read_bytes": disk.read_bytes if disk else 0,
        "disk_written_bytes": disk.write_bytes if disk else 0,
        "network_received_bytes": network.bytes_recv,
        "network_sent_bytes": network.bytes_sent,
        "context_switches": psutil.cpu_stats().ctx_switches,
    }


def settings(bootstrap: str, prefix: str) -> dict[str, object]:
    """Return the daemon's settings: the machine as one joint stream, and each of its readings by itself."""
    channels = list(reading())
    # a sample is a second here, not a minute: what is counted in samples by default is shortened
    alert = {"hold_off_samples": 30, "close_after_samples": 10}
    per_field = LEARN_SECONDS * len(channels)
    return {
        "kafka": {"bootstrap_servers": [bootstrap], "group_id": f"{prefix}group"},
        "input": {"topics": [f"{prefix}metrics"], "poll_seconds": 0.2},
        "groups": [
            {
                "name": JOINT,
                "select": [f'name="{JOINT}"'],
                "channels": channels,
                "training": {"min_samples": LEARN_SECONDS},
                "alert": alert,
            },
            {"name": FIELDS, "select": [f'name="{FIELDS}"'], "training": {"min_samples": per_field}, "alert": alert},
        ],
        "state": {"topic": f"{prefix}state", "flush_seconds": 10},
        "outputs": {
            "alerts": {"topic": f"{prefix}alerts"},
            "scores": {"topic": f"{prefix}scores", "keep": "all"},
            "dead_letters": {"topic": f"{prefix}dead-letters"},
            "models": {"topic": f"{prefix}models"},
        },
        "server": {"listen": None},
        "logging": {"format": "json"},
    }


class Burner:
    """Puts burdens on the machine and takes them off again."""

    def __init__(self, planned: Sequence[Burden]) -> None:
        self._planned = planned
        self._running: dict[Burden, list[subprocess.Popen[bytes]]] = {}
        self.began: dict[Burden, float] = {}
        self.ended: dict[Burden, float] = {}

    def follow(self, elapsed: float) -> Iterator[str]:
        """Begin and end what is due after `elapsed` seconds; yield a line for each."""
        for burden in self._planned:
            if burden not in self.began and elapsed >= burden.begin_seconds:
                self.began[burden] = time.time()
                yield f"--- {burden.kind} burden begins: {self._begin(burden)}"
            elif burden in self._running and elapsed >= burden.end_seconds:
                self._end(burden)
                yield f"--- {burden.kind} burden ends"

    def close(self) -> None:
        """End whatever is still running."""
        for burden in list(self._running):
            self._end(burden)

    def _begin(self, burden: Burden) -> str:
        if burden.kind == "processor":
            count = psutil.cpu_count() or 1
            self._running[burden] = [_started(_BUSY) for _ in range(count)]
            return f"{count} processes that count for ever"
        size = min(int(psutil.virtual_memory().available * MEMORY_SHARE), MEMORY_BYTES_MAX)
        self._running[burden] = [_started(_LARGE, str(size))]
        return f"a process that fills {size / 2**20:.0f} MiB"

    def _end(self, burden: Burden) -> None:
        for child in self._running.pop(burden):
            child.kill()
            child.wait()
        self.ended[burden] = time.time()


def _started(program: str, *arguments: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", program, *arguments], stdin=subprocess.PIPE)


class Watched:
    """The topics of this run: readings go in, alerts and scores come out."""

    def __init__(self, broker: KafkaBroker, prefix: str) -> None:
        self._broker, self._metrics = broker, f"{prefix}metrics"
        topics = (self._metrics, f"{prefix}alerts", f"{prefix}scores")
        for topic in topics:
            broker.ensure(TopicSpec(topic, 1, compacted=False))
        self._alerts, self._scores = (broker.cursor(TopicPartition(topic, 0), 0) for topic in topics[1:])
        self.readings: list[tuple[int, dict[str, float]]] = []
        self.seen: list[Seen] = []
        self.scores: list[tuple[float, str, float]] = []  # seconds since 1970, stream, score

    def publish(self, values: dict[str, float]) -> None:
        """Write one reading twice: for the joint stream, and for the streams of single fields."""
        stamp = int(time.time() * 1000)
        self.readings.append((stamp, values))
        told = [{"timestamp": stamp, "name": name, "values": values} for name in (JOINT, FIELDS)]
        self._broker.publish([Outgoing(self._metrics, 0, None, json.dumps(each).encode()) for each in told])

    def follow(self) -> Iterator[str]:
        """Take in the scores and alerts that have come; yield a line for each alert."""
        for record in self._scores.fetch(500, 0.01):
            told = decode_scores(record.value or b"")
            for at, place, score in zip(told.time_ms, told.stream, told.score, strict=True):
                if score is not None:
                    self.scores.append((at / 1000, told.streams[place], score))
        for record in self._alerts.fetch(500, 0.01):
            self.seen.append(Seen(decode_alert(record.value or b""), time.time()))
            yield self.seen[-1].line

    def highest(self, stream: str, from_time: float, until_time: float) -> str:
        """Return the highest score of a stream in some time, in words."""
        found = [score for at, name, score in self.scores if name == stream and from_time <= at <= until_time]
        return f"{max(found):.2f}" if found else "none"

    def spread(self, name: str, from_time: float, until_time: float) -> str:
        """Return where nine tenths of a reading's values lay in some time, and their median, in words."""
        found = [values[name] for stamp, values in self.readings if from_time <= stamp / 1000 <= until_time]
        if len(found) < 2:
            return "unknown"
        cuts = statistics.quantiles(found, n=20)
        return f"{cuts[0]:.3g} to {cuts[-1]:.3g}, median {statistics.median(found):.3g}"


def save(path: Path, watched: Watched, burner: Burner) -> None:
    """Write the readings as a table that `longwatch backtest` reads; the label says when a burden was on."""
    spans = [(began * 1000, burner.ended[burden] * 1000) for burden, began in burner.began.items()]
    with path.open("w", encoding="utf-8", newline="") as out:
        rows = csv.writer(out)
        rows.writerow(("timestamp", *watched.readings[0][1], "label"))
        for stamp, values in watched.readings:
            rows.writerow((stamp, *values.values(), int(any(first <= stamp <= last for first, last in spans))))


def report(began: float, burner: Burner, watched: Watched) -> Iterator[str]:
    """Yield what was found of each burden, and what else was said."""
    seen, explained = watched.seen, set[str]()
    before = min(burner.began.values(), default=time.time())
    yield f"highest score of {JOINT} before the burdens: {watched.highest(JOINT, began, before)} (1 is the limit)"
    for burden, from_time in burner.began.items():
        until_time = burner.ended.get(burden, time.time())
        yield f"{burden.kind} burden, from second {from_time - began:.0f} to {until_time - began:.0f}:"
        inside = [each for each in seen if from_time <= each.event.detected_at_ms / 1000 <= until_time]
        explained.update(each.event.alert_id for each in inside)
        for group in (JOINT, FIELDS):
            yield f"  {group}: {_found(group, inside, seen, from_time)}"
        yield f"  highest score of {JOINT}: {watched.highest(JOINT, from_time, until_time)}"
        for name in TELLING[burden.kind]:
            usual, now = watched.spread(name, began, before), watched.spread(name, from_time, until_time)
            score = watched.highest(f'{FIELDS}{{field="{name}"}}', from_time, until_time)
            yield f"  highest score of {name}: {score}; its values before the burdens {usual}, now {now}"
    others = [each.event for each in seen if each.event.change == "open" and each.event.alert_id not in explained]
    joint = sum(event.group == JOINT for event in others)
    yield f"outside the burdens {len(others)} alerts opened, {joint} of them of the joint stream"


def _found(group: str, inside: Sequence[Seen], seen: Sequence[Seen], from_time: float) -> str:
    opened = [each for each in inside if each.event.group == group and each.event.change == "open"]
    if opened:
        first = opened[0]
        after, told = first.event.detected_at_ms / 1000 - from_time, first.at - from_time
        what = bearers(first.event) if group == JOINT else ", ".join(each.event.stream for each in opened)
        return f"an alert opened on the sample of second {after:.1f} and was told at {told:.1f}; {what}"
    before = [each.event for each in seen if each.event.group == group and each.event.detected_at_ms < from_time * 1000]
    was_open = {event.alert_id for event in before} - {event.alert_id for event in before if event.change == "close"}
    return "NO alert opened" + (f"; {len(was_open)} were open already" if was_open else "")


def watch(seconds: float, bootstrap: str | None, keep: Path | None) -> None:
    """Run broker, daemon, readings and burdens for so long, and print what comes of it."""
    prefix = f"real-input-{uuid.uuid4().hex[:8]}-"
    with ExitStack() as stack:
        address = stack.enter_context(broker_at(bootstrap))
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="longwatch-real-input-")))
        broker = KafkaBroker(ConnectionSettings((address,)))
        stack.callback(broker.close)
        watched = Watched(broker, prefix)
        config, log = folder / "longwatch.yaml", folder / "daemon.log"
        config.write_text(json.dumps(settings(address, prefix)), encoding="utf-8")
        daemon = stack.enter_context(DaemonChild([sys.executable, "-m", "daemon", "run", str(config)], log))
        burner = Burner(burdens(seconds))
        stack.callback(burner.close)
        began = time.time()
        print(*_plan(seconds), sep="\n", flush=True)
        _observe(seconds, watched, burner, daemon)
        daemon.stop()
        print(*_log_lines(log), sep="\n")
        if keep is not None:
            save(keep, watched, burner)
        print("", *report(began, burner, watched), sep="\n")


def _plan(seconds: float) -> Iterator[str]:
    yield f"{len(reading())} readings a second for {seconds:.0f} s; {psutil.cpu_count()} processors, not ours alone"
    yield f"a first model after {LEARN_SECONDS} s; " + "; ".join(
        f"{each.kind} burden from {each.begin_seconds:.0f} to {each.end_seconds:.0f} s" for each in burdens(seconds)
    )


def _observe(seconds: float, watched: Watched, burner: Burner, daemon: DaemonChild) -> None:
    """Publish a reading each second, and print what happens in between."""
    pause, start = threading.Event(), time.monotonic()
    second = 0
    while (elapsed := time.monotonic() - start) < seconds + DRAIN_SECONDS:
        daemon.check()
        watched.publish(reading())
        for line in (*burner.follow(elapsed), *watched.follow()):
            print(f"{elapsed:6.0f} s  {line}", flush=True)
        second = max(second + 1, int(elapsed))
        pause.wait(max(start + second - time.monotonic(), 0.0))


def _log_lines(log: Path) -> Iterator[str]:
    """Yield what the daemon said of its learning and of trouble."""
    for line in log.read_text(encoding="utf-8", errors="replace").splitlines():
        told = json.loads(line) if line.startswith("{") else {"event": line}
        if told["event"] in {"training_started", "training_finished", "model_swapped", "turn_failed", "broker_lost"}:
            facts = " ".join(f"{name}={value}" for name, value in told.items() if name not in {"event", "level"})
            yield f"daemon: {told['event']} {facts}"


def main() -> None:
    """Read the command line and watch."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10.0, help="how long to watch (default %(default)g)")
    parser.add_argument("--bootstrap", help="a broker to use, host:port; the topics of the run stay there")
    parser.add_argument("--save", type=Path, metavar="FILE", help="write the readings here, as CSV for a backtest")
    arguments = parser.parse_args()
    watch(arguments.minutes * 60, arguments.bootstrap, arguments.save)


if __name__ == "__main__":
    main()
