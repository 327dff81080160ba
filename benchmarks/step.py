"""Measures what the pure step costs a sample: gather, score, alert table, scatter; no Kafka, no decoding.

Every architecture, decoder and readout is taken by turns with the default and with the bare matrix products of its own
network: the same shapes, nothing else. What counts are the ratios within a round; they depend little on the machine.
Time is that of the processor, of one thread.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch
from torch.overrides import TorchFunctionMode

sys.path.insert(0, str(Path(__file__).parents[1]))  # so that it runs as a file, too

from daemon.alert_events import Group
from daemon.allocator import keep_freed_memory
from daemon.engine import layout, step
from daemon.samples import Part, Samples
from daemon.types import TopicPartition
from detectors.autoencoder import weight_shapes
from detectors.network import Mask, Network, use_threads
from detectors.scoring import CLOCK_INPUTS, Detector
from detectors.settings import Architecture, Decoder, DetectorSettings, ModelSettings, Readout
from detectors.slab import Slab

HERE = TopicPartition("in", 0)
START_MS = 1_700_000_000_000
INTERVAL_MS = 10_000
WARM_SAMPLES = 130  # then every error counts and every stream may raise an alert
SERIES = 64  # waves of input that are drawn beforehand and fed again and again
DEFAULT = "lstm, mlp, rls"
MANY = 8  # channels of a joint stream
MARK = "step.py"


@dataclass(frozen=True, slots=True)
class Case:
    """A detector to be measured; without a network it is the baseline."""

    name: str
    settings: DetectorSettings
    has_network: bool = True


@dataclass(frozen=True, slots=True)
class Cost:
    """What a case took in each round, and beside what else in the same round; seconds."""

    case: Case
    row_bytes: int
    seconds: Sequence[float]  # a sample
    to_default: Sequence[float]
    to_products: Sequence[float]  # empty where there is no network


def cases() -> Iterator[Case]:
    """Yield the default and what differs from it in one point."""
    yield _case()
    yield _case(readout="shared")
    for decoder in get_args(Decoder):
        if decoder != "mlp":
            yield _case(decoder=decoder)
    for architecture in get_args(Architecture):
        if architecture != "lstm":
            yield _case(architecture=architecture)
    yield _case(every=4)
    yield _case(decoder="lstm", every=4)
    yield _case(channels=MANY)
    yield _case(channels=MANY, readout="shared")
    for channels in (1, MANY):
        name = "baseline" if channels == 1 else f"baseline, {channels} channels"
        yield Case(name, settings_of(channels=channels, readout="shared"), has_network=False)


def _case(
    architecture: Architecture = "lstm",
    decoder: Decoder = "mlp",
    readout: Readout = "rls",
    channels: int = 1,
    every: int = 1,
) -> Case:
    name = f"{architecture}, {decoder}, {readout}" + (f", {channels} channels" if channels > 1 else "")
    settings = settings_of(ModelSettings(architecture=architecture, decoder=decoder), readout, channels)
    if every > 1:
        name += f", reconstructed every {every} samples"
    return Case(name, replace(settings, reconstruct_every_samples=every))


def settings_of(model: ModelSettings | None = None, readout: Readout = "rls", channels: int = 1) -> DetectorSettings:
    """Return the shipped settings but for these."""
    names = tuple(f"c{number}" for number in range(channels)) if channels > 1 else ("value",)
    return DetectorSettings(channels=names, model=model or ModelSettings(), readout=readout)


def network(settings: DetectorSettings) -> Network:
    """Return a network of random weights: the arithmetic is that of a trained one."""
    rng, width = np.random.default_rng(0), len(settings.channels)
    shapes = weight_shapes(features=2 * width + CLOCK_INPUTS, channels=width, settings=settings.model)
    weights = {name: rng.normal(0.0, 0.3, shape).astype(np.float32) for name, shape in shapes.items()}
    return Network(weights, model=settings.model)


class Bed:
    """Streams of one detector in one slab, each of which gets a sample now and then."""

    def __init__(self, case: Case, streams: int) -> None:
        self.case = case
        self.network = network(case.settings) if case.has_network else None
        self._group = Group("all", Detector(case.settings, self.network, "model" if self.network else ""))
        self.slab = Slab(layout(case.settings), streams, 64)
        self.slab.reserve(streams)
        for number in range(streams):
            self.slab.slot(f"s{number}")
        self._count = np.zeros(streams, np.int64)  # samples that each stream has had
        self._series = np.random.default_rng(1).normal(50.0, 5.0, (SERIES, 1024, len(case.settings.channels)))

    def turn(self, slots: np.ndarray[Any, np.dtype[np.intp]]) -> None:
        """Let each of `slots` have its next sample, and apply what that causes."""
        count = self._count[slots]
        self._count[slots] += 1
        times_ms = START_MS + count * INTERVAL_MS
        values = self._series[count % SERIES, slots % 1024]
        samples = Samples(slots, np.arange(len(slots)), times_ms, values, times_ms)
        part = Part(HERE, self.slab, samples, int(times_ms.max()))
        for slab, delta in step([(self._group, [part])]).deltas:
            slab.apply(delta)

    def warm(self) -> None:
        """Let every stream of a small slab have a past."""
        every = np.arange(len(self.slab))
        for _ in range(WARM_SAMPLES):
            self.turn(every)


class _Products(TorchFunctionMode):
    """Notes the shapes of the matrix products that run under it."""

    def __init__(self) -> None:
        super().__init__()
        self.shapes: list[tuple[torch.Size, torch.Size]] = []

    def __torch_function__(
        self,
        func: Callable[..., object],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, object] | None = None,
    ) -> object:
        """Note the call and go on."""
        if func is torch.addmm:
            self.shapes.append((args[1].shape, args[2].shape))
        return func(*args, **(kwargs or {}))


def products(net: Network, streams: int, newest_of: Mask | None = None) -> Callable[[], None]:
    """Return a call of the matrix products, and nothing else, that one step of so many streams makes.

    It tells the whole window, or only its newest sample and `newest_of` the streams, as `Network.advance` does.
    """
    rows = np.zeros((streams, net.features), np.float32)
    hidden, cell = (np.zeros((streams, width), np.float32) for width in net.widths[:2])
    with _Products() as seen:
        net.advance(rows, hidden, cell, newest_of)
    rng = torch.Generator().manual_seed(0)
    pairs = [tuple(torch.rand(shape, generator=rng) for shape in shapes) for shapes in seen.shapes]
    places = [torch.empty(left.shape[0], right.shape[1]) for left, right in pairs]

    def bare() -> None:
        for (left, right), place in zip(pairs, places, strict=True):
            torch.mm(left, right, out=place)

    return bare


def seconds(call: Callable[[], object]) -> float:
    """Return the processor time of a call."""
    began = time.process_time()
    call()
    return time.process_time() - began


def measure(every: Sequence[Case], streams: int, rounds: int, turns: int) -> list[Cost]:
    """Take all cases by turns, each with its bare products, and return what they took."""
    beds = [Bed(case, streams) for case in every]
    for bed in beds:
        bed.warm()
    slots = np.arange(streams)
    bare = [products(bed.network, streams, _reconstructed(bed.case, streams)) if bed.network else None for bed in beds]
    taken, multiplied = [], []
    for _ in range(rounds):
        taken.append([_of_turns(bed, slots, turns) for bed in beds])
        multiplied.append([_of_products(each, turns) for each in bare])
    whole = [[each / (turns * streams) for each in row] for row in taken]
    default = next(i for i, case in enumerate(every) if case.name == DEFAULT)
    return [
        Cost(
            case=bed.case,
            row_bytes=bed.slab.dtype.itemsize,
            seconds=[row[i] for row in whole],
            to_default=[row[i] / row[default] for row in whole],
            to_products=[row[i] / row_bare[i] for row, row_bare in zip(taken, multiplied, strict=True) if row_bare[i]],
        )
        for i, bed in enumerate(beds)
    ]


def _reconstructed(case: Case, streams: int) -> Mask:
    return np.full(streams, len(case.settings.channels) == 1)


def _of_products(bare: Callable[[], None] | None, turns: int) -> float:
    """Return what the products of so many turns take; they are repeated until that can be measured."""
    if bare is None:
        return 0.0
    return seconds(lambda: [bare() for _ in range(10 * turns)]) / 10


def _of_turns(bed: Bed, slots: np.ndarray[Any, np.dtype[np.intp]], turns: int) -> float:
    """Return what so many turns take, after one that brings the rows back into the cache."""
    bed.turn(slots)
    began = time.process_time()
    for _ in range(turns):
        bed.turn(slots)
    return time.process_time() - began


def told(values: Sequence[float], digits: int = 2) -> str:
    """Return the median and in brackets the extremes."""
    middle, low, high = (f"{each:.{digits}f}" for each in (statistics.median(values), min(values), max(values)))
    return f"{middle} ({low} to {high})"


def table(costs: Sequence[Cost]) -> Iterator[str]:
    """Yield the lines of the table."""
    yield "| detector | bytes a stream | microseconds a sample | of the default | of its bare matrix products |"
    yield "|---|---|---|---|---|"
    for each in costs:
        products_told = told(each.to_products, 1) if each.to_products else "-"
        micro = told([1e6 * second for second in each.seconds])
        name = each.case.name
        yield f"| {name} | {each.row_bytes:,} | {micro} | {told(each.to_default)} | {products_told} |"


def write(page: Path, lines: str, mark: str) -> None:
    """Put `lines` between a command's marks in a page."""
    begin, end = f"<!-- {mark} -->", f"<!-- end of {mark} -->"
    before, _, rest = page.read_text(encoding="utf-8").partition(begin)
    page.write_text(f"{before}{begin}\n\n{lines}\n\n{end}{rest.partition(end)[2]}", encoding="utf-8")


def main() -> None:
    """Measure, print the table, and write it into a page where one is named."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--streams", type=int, default=1024, help="in a batch, a sample each (default %(default)d)")
    parser.add_argument("--rounds", type=int, default=15, help="how often each is measured (default %(default)d)")
    parser.add_argument("--turns", type=int, default=5, help="batches in a row each time (default %(default)d)")
    parser.add_argument("--only", metavar="TEXT", default="", help="cases whose name holds this, and the default")
    parser.add_argument("--write", type=Path, metavar="PAGE", help="put the table between its marks in this page")
    arguments = parser.parse_args()
    use_threads(1)  # as the daemon's default
    keep_freed_memory()
    wanted = [case for case in cases() if arguments.only in case.name or case.name == DEFAULT]
    lines = "\n".join(table(measure(wanted, arguments.streams, arguments.rounds, arguments.turns)))
    print(lines)
    if arguments.write is not None:
        write(arguments.write, lines, MARK)


if __name__ == "__main__":
    main()
