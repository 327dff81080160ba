"""Small streams through the step, as a test needs them: sent as (partition, stream, time, values), cut into polls."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from daemon.alert_events import AlertEvent, Group
from daemon.engine import Step, layout, step
from daemon.samples import Part, Samples
from daemon.types import TopicPartition
from detectors.autoencoder import weight_shapes
from detectors.network import Network, use_threads
from detectors.scoring import CLOCK_INPUTS, Detector
from detectors.scoring import Network as AnyNetwork
from detectors.settings import DetectorSettings, ModelSettings
from detectors.slab import Slab

START_MS = 1_700_000_000_000
INTERVAL_MS = 10_000
EVIDENCE_BYTES_MAX = 32_768
ALSO_OF_OTHERS = ("heard_offset", "interval_records", "pause_ms", "pause_once_ms")
SMALL = ModelSettings(hidden=5, window=4, bottleneck=3)


class Sent(NamedTuple):
    """One sample on its way: NaN where a channel is missing."""

    partition: int
    stream: str
    time_ms: int
    values: tuple[float, ...]


def weights(settings: DetectorSettings, seed: int = 7, spread: float = 0.5) -> dict[str, NDArray[np.float32]]:
    """Return random weights: every output depends on every input, which untrained weights do not give."""
    rng = np.random.default_rng(seed)
    width = len(settings.channels)
    shapes = weight_shapes(features=2 * width + CLOCK_INPUTS, channels=width, settings=settings.model)
    return {name: rng.normal(0.0, spread, shape).astype(np.float32) for name, shape in shapes.items()}


def drawn(settings: DetectorSettings, seed: int = 7, spread: float = 0.5) -> Network:
    """Return a network of random weights."""
    use_threads(1)  # as the daemon does
    return Network(weights(settings, seed, spread), model=settings.model)


def wave(count: int, width: int = 1, seed: int = 0) -> NDArray[np.float64]:
    """Return a series (count, width) that swings with some noise around 10."""
    rng = np.random.default_rng(seed)
    turns = np.arange(count)[:, None] / 9.0 + np.arange(width) + seed
    return 10.0 + np.sin(turns) + rng.normal(0.0, 0.2, (count, width))


def series(values: NDArray[np.float64], stream: str = "s", partition: int = 0, start_ms: int = START_MS) -> list[Sent]:
    """Return one stream's samples (T, D) or (T,), one each interval."""
    rows = values.reshape(len(values), -1)
    return [
        Sent(partition, stream, start_ms + i * INTERVAL_MS, tuple(float(value) for value in row))
        for i, row in enumerate(rows)
    ]


def together(*streams: Sequence[Sent]) -> list[Sent]:
    """Return the samples of several streams in the order of their times."""
    return sorted((each for stream in streams for each in stream), key=lambda sent: sent.time_ms)


class Feed:
    """One group's streams, stepped and applied poll by poll; offsets count up within each partition."""

    def __init__(self, settings: DetectorSettings, network: AnyNetwork | None = None) -> None:
        detector = Detector(settings, network, "model" if network else "")
        self.group = Group("g", detector, evidence_bytes_max=EVIDENCE_BYTES_MAX)
        self.slabs: dict[int, Slab] = {}
        self.watermarks: Counter[int] = Counter()
        self.offsets: Counter[int] = Counter()
        self.scores: dict[tuple[int, int], float] = {}
        self.by_time: dict[tuple[str, int], float] = {}
        self.events: list[AlertEvent] = []
        self.dropped: Counter[str] = Counter()

    def parts(self, poll: Sequence[Sent]) -> list[Part]:
        """Return the step's input for a poll, its offsets taken."""
        return [self._part(number, [sent for sent in poll if sent.partition == number]) for number in _partitions(poll)]

    def step(self, poll: Sequence[Sent]) -> Step:
        """Return what a poll causes; nothing is applied."""
        return step([(self.group, self.parts(poll))])

    def poll(self, poll: Sequence[Sent]) -> Step:
        """Step and apply one poll."""
        caused = self.step(poll)
        for slab, delta in caused.deltas:
            slab.apply(delta)
        for found in caused.scores:
            self._note(found.part, found.score)
        self.events.extend(caused.alerts)
        self.dropped.update({reason: count for (_, reason), count in caused.dropped.items()})
        return caused

    def polls(self, polls: Iterable[Sequence[Sent]]) -> Feed:
        """Step and apply several polls."""
        for poll in polls:
            if poll:
                self.poll(poll)
        return self

    def row(self, stream: str = "s", partition: int = 0) -> NDArray[np.void]:
        """Return a copy of one stream's row, (1,)."""
        slab = self.slabs[partition]
        slot = slab.slot(stream)
        assert slot is not None
        return slab.take(np.array([slot]))

    def told(self) -> list[tuple[str, str, str, str, int]]:
        """Return who was told what: (stream, rule, change, id, event time), in a fixed order."""
        return sorted((e.stream, e.rule, e.change, e.alert_id, e.detected_at_ms) for e in self.events)

    def image(self) -> dict[int, tuple[list[str], bytes]]:
        """Return keys and every byte of every row."""
        return {number: (list(slab.keys), slab.view().tobytes()) for number, slab in self.slabs.items()}

    def _part(self, number: int, sent: Sequence[Sent]) -> Part:
        slab = self.slabs.setdefault(number, Slab(layout(self.group.detector.settings), 1000, 4))
        slots = [slab.slot(each.stream) for each in sent]
        times_ms = np.array([each.time_ms for each in sent], dtype=np.int64)
        newest = np.maximum.accumulate(np.r_[self.watermarks[number], times_ms])
        offsets = self.offsets[number] + np.arange(len(sent))
        self.offsets[number] += len(sent)
        self.watermarks[number] = int(newest[-1])
        samples = Samples(
            slots=np.array(slots, dtype=np.intp),
            offsets=offsets,
            times_ms=times_ms,
            values=np.array([each.values for each in sent], dtype=np.float64),
            watermark_ms=newest[:-1],
        )
        next_offset = self.offsets[number]
        return Part(TopicPartition("in", number), slab, samples, int(newest[-1]), next_offset=next_offset)

    def _note(self, part: Part, score: NDArray[np.float64]) -> None:
        samples = part.samples
        for slot, offset, moment, value in zip(samples.slots, samples.offsets, samples.times_ms, score, strict=True):
            self.scores[part.partition.partition, int(offset)] = float(value)
            self.by_time.setdefault((part.slab.keys[slot], int(moment)), float(value))


def _partitions(poll: Sequence[Sent]) -> list[int]:
    return sorted({sent.partition for sent in poll})


def cut(sent: Sequence[Sent], at: Iterable[int]) -> list[Sequence[Sent]]:
    """Return `sent` cut into polls at the places `at`."""
    places = [0, *sorted(at), len(sent)]
    return [sent[begin:end] for begin, end in itertools.pairwise(places)]


def fields(rows: NDArray[np.void]) -> dict[str, NDArray[np.float64]]:
    """Return the fields of rows by name: what may be compared, as the bytes between fields mean nothing."""
    return {name: rows[name].copy() for name in rows.dtype.names or ()}


def fields_of_its_own(rows: NDArray[np.void]) -> dict[str, NDArray[np.float64]]:
    """Return the fields by name but for those that every record of the partition moves: they tell who was missed."""
    return {name: column for name, column in fields(rows).items() if name not in ALSO_OF_OTHERS}


def settings_of(width: int = 1, **changes: object) -> DetectorSettings:
    """Return small settings for `width` channels, with `changes`."""
    names = ("value",) if width == 1 else tuple(f"c{i}" for i in range(width))
    small = DetectorSettings(channels=names, model=SMALL, warmup_samples=60)
    return replace(small, **changes)  # type: ignore[arg-type]  # the names and types are the dataclass's own
