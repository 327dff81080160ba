"""What reads records of the input topic: every format that can be configured, through the intake and a whole turn."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from typing import get_args

import numpy as np

from daemon import assembly, codec
from daemon.alert_events import Group
from daemon.config import Config, loads, schema
from daemon.engine import step
from daemon.formats import FORMATS, Options
from daemon.formats.columns import Head
from daemon.formats.packed import Reading, head_bytes, packed
from daemon.formats.point import TIME_MS_MAX
from daemon.intake import Taken
from daemon.memory import MemoryRecord
from daemon.partitions import settle
from daemon.state import PartitionState
from daemon.types import RejectReason, TopicPartition
from detectors.network import use_threads
from detectors.scoring import Detector
from tests.fuzz.engine import ACCEPTED, Reader
from tests.fuzz.mutation import JSON, MSGPACK
from tests.fuzz.wire import PACKED, PARTS

HERE = TopicPartition("metrics", 0)
STREAMS_MAX = 300
RECORDS_PER_STATE = 400  # then the partition begins afresh, so that a run's memory is bounded ...
RECORDS_PER_INTAKE = 20_000  # ... and so does the intake, which remembers many more routes than a fuzzer needs
STAMP = 1_700_000_000
REASONS = frozenset(get_args(RejectReason))

JSON_EXAMPLES: tuple[object, ...] = (
    {"timestamp": STAMP, "name": "cpu", "labels": {"host": "a", "mode": "user"}, "value": 1.5},
    {"timestamp": STAMP * 1000, "name": "joint", "labels": {}, "values": {"cpu": 1, "mem": 2.5, "up": True}},
    [
        {"timestamp": f"2026-11-21T10:00:0{i}Z", "name": "mem", "labels": {"n": i, "b": True, "z": None}, "value": i}
        for i in range(3)
    ],
    {"timestamp": STAMP + 0.25, "name": "", "value": None},
    {"timestamp": STAMP * 1_000_000, "name": "tempé\U0001f321", "values": {"a": "text", "b": 3}},
    # the same with its parts at other places
    {"time": {"at": STAMP}, "metric": "cpu", "by": {"host": "a"}, "is": {"now": 1.5}},
    {"time": {"at": STAMP}, "metric": "joint", "is": {"all": {"cpu": 1, "mem": 2.5}}},
)
TELEGRAF_EXAMPLES: tuple[object, ...] = (
    {"name": "cpu", "tags": {"host": "a", "cpu": "cpu0"}, "fields": {"idle": 97.5, "user": 1}, "timestamp": STAMP},
    {
        "metrics": [
            {"name": "joint", "tags": {}, "fields": {"cpu": 1, "mem": 2, "up": "yes"}, "timestamp": STAMP * 1000},
            {"name": "system", "tags": {"host": "a"}, "fields": {"uptime_format": "1 day"}, "timestamp": STAMP},
        ]
    },
)
SHAPES = {"otlp_proto": PARTS, "prometheus_remote_write": PACKED}  # the others are JSON, or no tree at all
TOKENS = {"influx": (b" 1700000000000000000", b"i ", b"u,", b"\\ ", b"\\,", b'="', b"#", b"t", b"1e5", b" ", b"\n\n")}
BARE = [each.record for each in FORMATS["prometheus_remote_write"].examples() if each.options.compression == "none"]
EVENTS = {
    "telegraf_json": [
        json.dumps({"specversion": "1.0", "id": "1", "source": "t", "type": "m", "data": each}).encode()
        for each in TELEGRAF_EXAMPLES
    ],
    "influx": [
        b'[{"specversion":"1.0","type":"m","time":"2023-11-14T22:13:20Z","data":"cpu,host=a idle=1\\nmem used=2"}]',
        b'{"specversion":"1.0","type":"m","data_base64":"bSBmPTEgMTcwMDAwMDAwMA=="}',
    ],
}
PATHS = "fields: {timestamp: time.at, name: metric, labels: by, value: is.now, values: is.all}"


def input_readers() -> Iterator[Reader]:
    """Yield a reader for each format that `input.format` may name, one with parts elsewhere, and one for a turn."""
    for name in formats():
        shape = SHAPES.get(name, JSON)
        yield Reader(f"format {name}", intake(configured(name)), examples(name), TOKENS.get(name, ()), shape, 6.0)
    bare = configured("prometheus_remote_write", "compression: none")
    yield Reader("format prometheus_remote_write, bare", intake(bare), BARE, shape=PARTS, weight=2.0)
    for name, event in EVENTS.items():
        yield Reader(
            f"format {name} in CloudEvents", intake(configured(name, "envelope: cloudevents")), event, (), JSON, 2.0
        )
    yield Reader("format json, parts elsewhere", intake(configured("json", PATHS)), examples("json"), (), JSON, 3.0)
    between = configured("json", "repartition: true, topics: [raw], repartition_topic: metrics")
    yield Reader("repartitioned", intake(between), packed_examples(), shape=MSGPACK, weight=2.0)
    yield Reader("turn", turn(configured("json")), examples("json"), shape=JSON, weight=0.6)


def packed_examples() -> list[bytes]:
    """Return records as the first stage of a repartitioned input writes them, of all its examples together."""
    points = [
        each for example in FORMATS["json"].examples() if not isinstance(example.gives, str) for each in example.gives
    ]
    heads = [head_bytes(Head(each.name, each.labels, list(each.fields), each.kinds, each.unit)) for each in points]
    readings = [
        Reading(head, max(each.time_ms, 0), list(each.fields.values()))
        for head, each in zip(heads, points, strict=True)
    ]
    return [*packed(readings), *packed(readings[:1])]


def formats() -> tuple[str, ...]:
    """Return the names of all formats, as the configuration knows them."""
    return tuple(schema()["definitions"]["InputConfig"]["properties"]["format"]["enum"])


def examples(name: str) -> Sequence[bytes]:
    """Return the examples of one format: those above, and its own."""
    own = {"json": JSON_EXAMPLES, "telegraf_json": TELEGRAF_EXAMPLES}.get(name, ())
    described = [each.record for each in FORMATS[name].examples() if each.options == Options()]
    return [*(json.dumps(each).encode() for each in own), *described]


def configured(name: str, more: str = "") -> Config:
    """Return a configuration that reads one format: one group scores two fields jointly, one takes the rest."""
    return loads(
        f"""
        input: {{format: {name}, {more}}}
        groups:
          - name: joint
            select: ['name="joint"']
            channels: [cpu, mem]
            max_streams: {STREAMS_MAX}
            warmup_samples: 2
          - name: rest
            max_streams: {STREAMS_MAX}
            warmup_samples: 2
            model: {{hidden: 4, window: 4, bottleneck: 2}}
        """,
        "fuzz.yaml",
        {},
    )


class _Partition:
    """A partition that takes one record after the other and begins afresh now and then."""

    def __init__(self, config: Config) -> None:
        self._layouts = assembly.layouts(config)
        self._config = config
        self._intake = assembly.intake(config)
        self._count = 0
        self.state = PartitionState.empty(self._layouts, 0)

    def take(self, value: bytes) -> Taken:
        """Take one record and check what came of it."""
        self._count += 1
        if self._count % RECORDS_PER_STATE == 0:
            self.state = PartitionState.empty(self._layouts, 0)
        if self._count % RECORDS_PER_INTAKE == 0:
            self._intake = assembly.intake(self._config)
        record = MemoryRecord(self._count, -1, b"key", value, ())
        taken = self._intake.take(HERE, [record], self.state)
        letters = list(codec.dead_letters("dead", taken.rejected, [record], 100))
        assert len(letters) == len(taken.rejected) <= 1
        for each in taken.rejected:
            assert each.reason in REASONS, each.reason
            assert len(each.detail) <= 1000, f"a detail of {len(each.detail)} characters"
        for part in taken.parts.values():
            samples = part.samples
            assert ((samples.times_ms >= 0) & (samples.times_ms < TIME_MS_MAX)).all(), "a time beyond all bounds"
            assert not np.isinf(samples.values).any(), "an infinite value"
            for slot in samples.slots:
                part.slab.keys[slot].encode()  # half of a surrogate pair could never be written to a page
        return taken


def _outcome(taken: Taken) -> str:
    if taken.rejected:
        return f"{taken.rejected[0].reason}: {taken.rejected[0].detail}"
    return ACCEPTED if taken.samples else "nothing in it"


def intake(config: Config) -> Callable[[bytes], str]:
    """Return what takes a record's value as the loop does, up to its samples and dead letters."""
    partition = _Partition(config)
    return lambda value: _outcome(partition.take(value))


def turn(config: Config) -> Callable[[bytes], str]:
    """Return what takes a record's value through a whole turn: step, apply, and everything that would be written."""
    use_threads(1)
    partition = _Partition(config)
    groups = [Group(each.name, Detector(each.detector())) for each in config.groups]

    def read(value: bytes) -> str:
        taken = partition.take(value)
        caused = step([(group, [taken.parts[group.name]]) for group in groups])
        settle(partition.state, taken, caused.deltas)
        for event in caused.alerts:
            codec.decode_alert(codec.alert("alerts", event).value or b"")
        for found in caused.scores:
            for message in codec.scores("scores", found, None):
                codec.decode_scores(message.value or b"")
        return _outcome(taken)

    return read
