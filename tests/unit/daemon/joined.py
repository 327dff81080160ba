"""One partition whose readings are joined, taken through intake and step in polls, written, and read again."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from daemon.alert_events import AlertEvent, Group
from daemon.engine import layout, step
from daemon.formats import JsonFormat
from daemon.intake import Intake, Limits
from daemon.labelling import Labelling, Labels
from daemon.memory import MemoryRecord
from daemon.recipe import Recipe
from daemon.state import GroupLayout, Pages, PartitionState, flush, mark_flushed
from daemon.types import TopicPartition
from detectors.scoring import Detector
from detectors.settings import DetectorSettings
from tests.conformance.feed import EVIDENCE_BYTES_MAX
from tests.conformance.feed import START_MS as SOME_MS

START_MS = SOME_MS - SOME_MS % 420_000  # where a step of the grid begins, whatever its interval
HERE = TopicPartition("in", 0)
STAMP_MS = 2**62  # of the records: no time stamp lies ahead of it


@dataclass(frozen=True)
class Reading:
    """One value of one channel, at so many milliseconds since the start."""

    stream: str
    channel: str
    at_ms: int
    value: float


@dataclass(frozen=True)
class Selection:
    """The group that takes everything."""

    channels: Sequence[str]
    name: str = "all"

    def selects(self, _labels: object) -> bool:
        """Return whether the group takes a point: always."""
        return True


def records(readings: Sequence[Reading], *, are_fields: bool = False) -> list[MemoryRecord]:
    """Return each reading as a record by itself: the one value of a metric, or one field of many."""
    result = []
    for offset, each in enumerate(readings):
        body: dict[str, object] = {"timestamp": START_MS + each.at_ms, "labels": {"host": each.stream}}
        body |= {"values": {each.channel: each.value}} if are_fields else {"name": each.channel, "value": each.value}
        result.append(MemoryRecord(offset, STAMP_MS, b"k", json.dumps(body).encode(), ()))
    return result


class Partition:
    """A partition on its way through turns; what it tells does not depend on how they cut it, or should not."""

    def __init__(
        self, recipe: Recipe, settings: DetectorSettings, streams_max: int = 100, evict_after_ms: int = 0
    ) -> None:
        self.takes_fields = recipe.join is None
        self.group = Group("all", Detector(settings), evidence_bytes_max=EVIDENCE_BYTES_MAX)
        self.layouts = {"all": GroupLayout(layout(settings, recipe.fields()), streams_max, evict_after_ms)}
        keys = Labels(groups={"all": Labelling(by=("host",))})
        chosen = [Selection(recipe.channels)]
        self.intake = Intake(JsonFormat(), chosen, Limits(), labels=keys, recipes={"all": recipe})
        self.state = PartitionState.empty(self.layouts, 0)
        self.events: list[AlertEvent] = []
        self.samples: dict[str, list[tuple[int, int, int, tuple[float | None, ...]]]] = {}
        self.scores: dict[tuple[str, int], float] = {}
        self.counted: Counter[str] = Counter()
        self.refused: list[int] = []
        self.stored: dict[bytes, bytes] = {}

    def poll(self, given: Sequence[MemoryRecord], *, write: bool = False) -> None:
        """Take a poll through a whole turn; the pages that it writes are those of the turn before, as in the loop."""
        taken = self.intake.take(HERE, given, self.state)
        caused = step([(self.group, [taken.parts["all"]])])
        self.refused.extend(each.offset for each in taken.rejected)
        self.events.extend(caused.alerts)
        for tally in taken.joined.values():
            self.counted.update(complete=tally.complete, incomplete=tally.incomplete)
            self.counted.update(dict(tally.dropped()))
        self.counted.update({f"{channel} missing": count for (_, channel), count in taken.absent.items()})
        for found in caused.scores:
            keys, samples = found.part.slab.keys, found.part.samples
            for i, slot in enumerate(samples.slots):
                time_ms = int(samples.times_ms[i]) - START_MS
                values = tuple(None if np.isnan(value) else float(value) for value in samples.values[i])
                sample = (time_ms, int(samples.offsets[i]), int(samples.watermark_ms[i]) - START_MS, values)
                self.samples.setdefault(keys[slot], []).append(sample)
                self.scores[keys[slot], time_ms] = float(found.score[i])
        for (_, reason), count in caused.dropped.items():
            self.counted[f"step {reason}"] += count
        if write:
            self.write()
        for slab, delta in caused.deltas:
            slab.apply(delta)
        taken.settle(self.state)

    def write(self) -> None:
        """Write what the state topic would get."""
        messages, numbers = flush("state", HERE, self.state, self.layouts)
        self.stored |= {each.key or b"": each.value or b"" for each in messages}
        mark_flushed(self.state, numbers)

    def die(self, given: Sequence[MemoryRecord]) -> None:
        """Forget all but the state topic, and replay from there what was read, telling nobody."""
        reached = self.state.next_offset
        pages = Pages(HERE)
        pages.add([MemoryRecord(i, -1, key, value, ()) for i, (key, value) in enumerate(self.stored.items())])
        built = pages.build(self.layouts)
        self.state = PartitionState.empty(self.layouts, 0) if built is None else built[0]
        missed = [each for each in given if self.state.next_offset <= each.offset < reached]
        if missed:
            taken = self.intake.take(HERE, missed, self.state)
            for slab, delta in step([(self.group, [taken.parts["all"]])]).deltas:
                slab.apply(delta)
            taken.settle(self.state)

    def told(self) -> list[tuple[str, str, str, str, int, int | None]]:
        """Return every event of every alert, in a fixed order."""
        return sorted(
            (e.stream, e.rule, e.change, e.reason, e.detected_at_ms, e.source.last_offset or -1) for e in self.events
        )

    def rows(self) -> dict[str, dict[str, NDArray[np.float64]]]:
        """Return the fields of every stream that is remembered."""
        slab = self.state.slabs["all"]
        slots = slab.living()
        found = slab.take(slots)
        names = found.dtype.names or ()
        return {slab.keys[slot]: {name: found[name][i].copy() for name in names} for i, slot in enumerate(slots)}


def in_pieces(
    made: Partition, readings: Sequence[Reading], at: Sequence[int] = (), die_at: Sequence[int] = ()
) -> Partition:
    """Take the readings in polls that are cut `at` these; after some of the polls the process dies."""
    given = records(readings, are_fields=made.takes_fields)
    cuts = sorted({each for each in (*at, *die_at) if 0 < each < len(given)})
    for begin, end in pairwise([0, *cuts, len(given)]):
        made.poll(given[begin:end], write=begin % 2 == 0)
        if end in die_at:
            made.die(given)
    return made
