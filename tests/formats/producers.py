"""Real producers, each run for a few seconds: what they write to Kafka, and what they say of it elsewhere."""

from __future__ import annotations

import csv
import json
import math
import subprocess
import threading
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from daemon.kafka import ConnectionSettings, KafkaBroker
from daemon.types import TopicPartition, TopicSpec
from tests.formats.recording import Recording, Said, said

PATIENCE_SECONDS = 40.0
SETTINGS = Path(__file__).parent / "settings"


@dataclass(frozen=True, slots=True)
class Place:
    """Where a producer runs and writes."""

    bootstrap: str
    prefix: str  # of its topics
    folder: Path

    def topic(self, name: str) -> str:
        """Return the topic of that name, which nobody else uses."""
        return f"{self.prefix}{name}"

    def settings(self, name: str, **more: object) -> Path:
        """Write a producer's settings, with what is known only now put in, and return where they are."""
        text = (SETTINGS / name).read_text(encoding="utf-8")
        known = {"FOLDER": self.folder, "BOOTSTRAP": self.bootstrap, "PREFIX": self.prefix, **more}
        for word, value in known.items():
            text = text.replace(f"@{word}@", str(value))
        path = self.folder / name
        path.write_text(text, encoding="utf-8")
        return path


@contextmanager
def running(command: Sequence[str | Path], folder: Path) -> Iterator[None]:
    """Run a producer; at the end it is asked to stop, and waited for."""
    with (folder / "output.log").open("wb") as log:
        child = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log)
        try:
            yield
        finally:
            child.terminate()
            try:
                child.wait(20)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()


@contextmanager
def reading(place: Place, *names: str) -> Iterator[Callable[[int], list[list[bytes]]]]:
    """Create topics; yield what waits until each holds so many records and returns all of them."""
    broker = KafkaBroker(ConnectionSettings((place.bootstrap,), group_id=f"{place.prefix}reader"))
    try:
        for name in names:
            broker.ensure(TopicSpec(place.topic(name), 1, compacted=False))
        yield lambda least: [_records(broker, place.topic(name), least) for name in names]
    finally:
        broker.close()


def _records(broker: KafkaBroker, topic: str, least: int) -> list[bytes]:
    partition = TopicPartition(topic, 0)
    cursor = broker.cursor(partition, 0)
    found: list[bytes] = []
    give_up = time.monotonic() + PATIENCE_SECONDS
    try:
        while len(found) < least or cursor.position < broker.bounds(partition).end:
            assert time.monotonic() < give_up, f"{topic} holds {len(found)} records after {PATIENCE_SECONDS:.0f} s"
            found += [record.value or b"" for record in cursor.fetch(1000, 0.2)]
    finally:
        cursor.close()
    return found


def version(command: Sequence[str], line: int = 0) -> str:
    """Return what a program says of its version."""
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=20)
    return (done.stdout + done.stderr).splitlines()[line].strip()


def collectd(program: str, place: Place, least: int = 12) -> Iterator[Recording]:
    """Yield what collectd writes to Kafka; its plugin csv says the same, with six decimals."""
    settings = place.settings("collectd.conf")
    with reading(place, "collectd") as read:
        with running([program, "-f", "-C", settings], place.folder):
            read(least)
        (records,) = read(least)
    found = [each for path in (place.folder / "csv").rglob("*-20*") for each in _csv(path)]
    yield Recording(_collectd(program), "collectd_json", records, found, interval_ms=1000, tolerance=1e-6)


def _collectd(program: str) -> str:
    lines = subprocess.run([program, "-h"], capture_output=True, text=True, check=False, timeout=20).stdout.splitlines()
    return next(line.split(",")[0] for line in lines if line.startswith("collectd "))


def _csv(path: Path) -> Iterator[Said]:
    host, plugin, file = path.parts[-3:]
    parts = {"host": host, "plugin": plugin.partition("-")[0], "plugin_instance": plugin.partition("-")[2]}
    kind, _, instance = file.rsplit("-", 3)[0].partition("-")
    parts |= {"type": kind, "type_instance": instance}
    name = parts["plugin"] if parts["plugin"] == kind else f"{parts['plugin']}_{kind}"
    with path.open(encoding="utf-8", newline="") as lines:
        for row in csv.DictReader(lines):
            moment = round(float(row.pop("epoch")) * 1000)
            values = {field: float(value) for field, value in row.items()}
            yield from said(name, {label: value for label, value in parts.items() if value}, moment, values)


class Receiver(ThreadingHTTPServer):
    """Takes what is posted and keeps it."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Receives)
        self.bodies: list[bytes] = []
        self.came = threading.Event()
        self.least = 1

    @contextmanager
    def open(self) -> Iterator[None]:
        """Answer, in a thread, for the time being."""
        thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield
        finally:
            self.shutdown()
            self.server_close()
            thread.join()


class _Receives(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        """Keep the body."""
        self.server.bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
        if len(self.server.bodies) >= self.server.least:
            self.server.came.set()
        self.send_response(204)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name that the base has
        """Say nothing."""


def prometheus(program: str, place: Place, least: int = 2) -> Iterator[Recording]:
    """Yield the requests of Prometheus' remote write; its API says the same of what it stored."""
    receiver = Receiver()
    receiver.least = least
    with receiver.open():
        own = _free_port()
        settings = place.settings("prometheus.yml", PORT=own, RECEIVER=receiver.server_port)
        address = f"127.0.0.1:{own}"
        command = [program, f"--config.file={settings}", f"--storage.tsdb.path={place.folder}/data"]
        with running([*command, f"--web.listen-address={address}"], place.folder):
            assert receiver.came.wait(PATIENCE_SECONDS), (place.folder / "output.log").read_text(encoding="utf-8")
            records = list(receiver.bodies)
            found = list(_stored(address))
    told = version([program, "--version"]).split(" (")[0]
    yield Recording(told, "prometheus_remote_write", records, found, interval_ms=2000)


def _stored(address: str) -> Iterator[Said]:
    query = urllib.parse.urlencode({"query": '{__name__=~".+"}[5m]'})
    with urllib.request.urlopen(f"http://{address}/api/v1/query?{query}", timeout=10) as answer:
        series = json.load(answer)["data"]["result"]
    for each in series:
        labels = each["metric"]
        name = labels.pop("__name__")
        for seconds, value in each["values"]:
            yield from said(name, labels, round(seconds * 1000), {"value": float(value)})


def _free_port() -> int:
    with ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as server:
        return server.server_port


def telegraf(program: str, place: Place, least: int = 4) -> Iterator[Recording]:
    """Yield what Telegraf writes in four serializations, compressed with zstd; its output to a file says the same."""
    names = ("json", "influx", "remote-write", "cloudevents")
    settings = place.settings("telegraf.conf")
    with reading(place, *names) as read:
        with running([program, "--config", settings], place.folder):
            read(least)
        as_json, influx, written, events = read(least)
    told, note = version([program, "--version"]), "Kafka's own compression was zstd."
    lines = (place.folder / "said.jsonl").read_text(encoding="utf-8").splitlines()
    metrics = [each for line in lines for each in _telegraf(json.loads(line))]
    seconds = [(name, labels, moment // 1000 * 1000, values) for name, labels, moment, values in metrics]
    every = [each for metric in metrics for each in said(*metric)]
    single = [
        each
        for name, labels, moment, values in metrics
        for field, value in values.items()
        for each in said(f"{name}_{field}", labels, moment, {"value": value})
    ]
    by_second = [each for metric in seconds for each in said(*metric)]
    yield Recording(told, "telegraf_json", as_json, by_second, {}, note, 1000)
    yield Recording(told, "influx", influx, every, {}, note, 1000)
    yield Recording(told, "prometheus_remote_write", written, single, {}, note, 1000)
    yield Recording(told, "telegraf_json", events, every, {"envelope": "cloudevents"}, note, 1000)


def _telegraf(seen: dict[str, Any]) -> Iterator[tuple[str, dict[str, str], int, dict[str, float]]]:
    values = {name: float(value) for name, value in seen["fields"].items() if not isinstance(value, str)}
    yield seen["name"], seen["tags"], seen["timestamp"] // 1_000_000, values


def collector(program: str, place: Place, least: int = 4) -> Iterator[Recording]:
    """Yield what the OpenTelemetry collector writes in both encodings; its exporter to a file says the same."""
    port = _free_port()
    settings = place.settings("otelcol.yaml", PORT=port)
    with reading(place, "proto", "json") as read:
        with running([program, "--config", settings], place.folder):
            read(1)
            _post(f"http://127.0.0.1:{port}/v1/metrics", (SETTINGS / "histograms.json").read_bytes())
            read(least)
        proto, as_json = read(least)
    lines = (place.folder / "said.jsonl").read_text(encoding="utf-8").splitlines()
    found = [each for line in lines for each in _collected(json.loads(line))]
    told = version([program, "--version"])
    yield Recording(told, "otlp_proto", proto, found, interval_ms=1000)
    yield Recording(told, "otlp_json", as_json, found, interval_ms=1000)


def _post(url: str, body: bytes) -> None:
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
    with suppress(ConnectionError), urllib.request.urlopen(request, timeout=10) as answer:
        answer.read()


def _collected(seen: dict[str, Any]) -> Iterator[Said]:
    for resource in seen["resourceMetrics"]:
        outer = _attributes(resource["resource"])
        for scope in resource["scopeMetrics"]:
            for metric in scope["metrics"]:
                (data,) = (each for each in metric.values() if isinstance(each, dict))
                for point in data["dataPoints"]:
                    moment = int(point["timeUnixNano"]) // 1_000_000
                    yield from said(metric["name"], outer | _attributes(point), moment, _values(point))


def _attributes(of: dict[str, Any]) -> dict[str, str]:
    return {each["key"]: str(next(iter(each["value"].values()))) for each in of.get("attributes", ())}


def _values(point: dict[str, Any]) -> dict[str, float]:
    if "count" in point:
        count = float(point["count"])
        return {"count": count, "mean": point["sum"] / count if count else math.nan}
    return {"value": float(point["asDouble"] if "asDouble" in point else point["asInt"])}


PRODUCERS: dict[str, tuple[str, Callable[[str, Place], Iterator[Recording]]]] = {
    "collectd": ("collectd-core", collectd),
    "prometheus": ("prometheus", prometheus),
    "telegraf": ("", telegraf),
    "otelcol": ("", collector),
}
"""By the program's name: the Debian package that brings it, if one does, and how it is run."""
