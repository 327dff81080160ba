"""The step: what one batch of samples causes. No I/O, no clock, no randomness; nothing it is given changes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from daemon import alerts
from daemon.alert_events import (
    AlertEvent,
    Change,
    Group,
    Observed,
    Sighting,
    anomaly_event,
    evicted_event,
    silence_event,
)
from daemon.events import ForgetReason
from daemon.evidence import Evidence, gathered
from daemon.types import DropReason, TopicPartition
from detectors import adopt, channels, continual, scoring, threshold
from detectors.replay import Moment
from detectors.scoring import Scored
from detectors.settings import DetectorSettings
from detectors.slab import Delta, Slab, no_slots, row_dtype

F = NDArray[np.float64]
I8 = NDArray[np.int64]
Row = NDArray[np.void]
Index = NDArray[np.intp]
Mask = NDArray[np.bool_]

SETTLING_WINDOWS = 2  # of the model, after one of maintenance: by then what is remembered of that counts for little


@dataclass(frozen=True, slots=True)
class Samples:
    """The samples of one group in one partition, in the order of their offsets; columns of length n."""

    slots: Index
    offsets: I8
    times_ms: I8
    values: F  # (n, D), NaN where a channel is missing
    watermark_ms: I8  # newest event time in the partition before this sample


@dataclass(frozen=True, slots=True)
class Evicted:
    """Streams that gave way to others, none of which has a sample after that; columns of length n."""

    slots: Index
    offsets: I8  # of the records whose samples took the places
    watermark_ms: I8  # newest event time in the partition before those

    @classmethod
    def of(cls, found: Sequence[tuple[int, int, int]]) -> Evicted:
        """Return the columns of `found`: slots, offsets and watermarks."""
        columns = np.array(found, dtype=np.int64).reshape(-1, 3).T
        return cls(columns[0].astype(np.intp), columns[1], columns[2])

    @classmethod
    def nobody(cls) -> Evicted:
        """Return columns without a stream."""
        return cls.of(())


@dataclass(frozen=True, slots=True)
class Part:
    """Samples together with the slab they belong to; `watermark_ms` is the partition's after the whole batch."""

    partition: TopicPartition
    slab: Slab
    samples: Samples
    watermark_ms: int
    evicted: Evicted = field(default_factory=Evicted.nobody)


@dataclass(frozen=True, slots=True)
class Scores:
    """The scores of one part, in columns, in the order of its samples; NaN where dropped or warming."""

    part: Part
    group: str
    score: F


@dataclass(slots=True)
class Step:
    """Everything that one batch causes; nothing has happened until the deltas are applied."""

    scores: list[Scores] = field(default_factory=list)
    alerts: list[AlertEvent] = field(default_factory=list)
    deltas: list[tuple[Slab, Delta]] = field(default_factory=list)
    dropped: dict[tuple[str, DropReason], int] = field(default_factory=dict)
    forgotten: dict[tuple[str, ForgetReason], int] = field(default_factory=dict)
    withheld: dict[str, int] = field(default_factory=dict)  # by group, alerts that a window of maintenance kept away


def layout(group_fields: DetectorSettings) -> np.dtype[np.void]:
    """Return the row layout of a group: the detector's fields and the alert's."""
    return row_dtype([*scoring.fields(group_fields), *alerts.FIELDS])


def step(batch: Sequence[tuple[Group, Sequence[Part]]]) -> Step:
    """Score every sample of `batch` and return scores, alert events and deltas."""
    result = Step()
    for group, parts in batch:
        _step_group(group, parts, result)
    result.alerts.sort(key=lambda event: (event.source.partition, event.source.last_offset or -1, event.alert_id))
    return result


def _step_group(group: Group, parts: Sequence[Part], result: Step) -> None:
    """Step all partitions of a group at once, so that the matrices are as large as they can be."""
    gathered = [np.unique(part.samples.slots, return_inverse=True) for part in parts]
    starts = np.cumsum([0, *(len(slots) for slots, _ in gathered)])
    work = np.concatenate([part.slab.take(slots) for part, (slots, _) in zip(parts, gathered, strict=True)])
    _clear_fresh(work)
    local = np.concatenate([start + inverse for start, (_, inverse) in zip(starts, gathered, strict=False)])
    run = _GroupRun(group, parts, work, result)
    for wave in _waves(local):
        run.wave(wave, local[wave])
    for part, (slots, _), start, end in zip(parts, gathered, starts, starts[1:], strict=False):
        _sweep_silent(group, part, slots, work[start:end], result)
        result.deltas.append((part.slab, Delta(slots, work[start:end])))
        _evict(group, part, slots, work[start:end], result)
    ends = np.cumsum([len(part.samples.slots) for part in parts])[:-1]
    for part, score in zip(parts, np.split(run.score, ends), strict=True):
        result.scores.append(Scores(part, group.name, score))


def _clear_fresh(work: Row) -> None:
    fresh = work["samples"] == 0
    if fresh.any():
        rows = work[fresh]
        scoring.clear(rows)
        work[fresh] = rows


def _waves(local: Index) -> Iterator[Index]:
    """Yield sample positions so that a wave holds each stream at most once, and its samples in order over the waves."""
    order = np.argsort(local, kind="stable")
    ordered = local[order]
    first = np.r_[True, ordered[1:] != ordered[:-1]]
    begin = np.maximum.accumulate(np.where(first, np.arange(len(ordered)), 0))
    rank = np.empty(len(local), dtype=np.intp)
    rank[order] = np.arange(len(ordered)) - begin
    by_rank = np.argsort(rank, kind="stable")
    yield from np.split(by_rank, np.cumsum(np.bincount(rank))[:-1])


class _GroupRun:
    """The waves of one group in one step: private copies of rows, moved wave by wave."""

    def __init__(self, group: Group, parts: Sequence[Part], work: Row, result: Step) -> None:
        self.group, self.parts, self.work, self.result = group, parts, work, result
        samples = [part.samples for part in parts]
        self.times_ms = np.concatenate([s.times_ms for s in samples])
        self.values = np.concatenate([s.values for s in samples])
        self.watermark_ms = np.concatenate([s.watermark_ms for s in samples])
        self.starts = np.cumsum([0, *(len(s.slots) for s in samples)])
        self.score = np.full(len(self.times_ms), np.nan)
        calendar = group.calendar
        self.maintained = calendar.covers(self.times_ms) if calendar else None
        self.muted = calendar.mutes_guards(self.times_ms)

    def wave(self, at: Index, local: Index) -> None:
        """Take the samples at positions `at`, of the distinct work rows `local`, through detector and alert table."""
        # a stream's first sample may be of the time 0, at which every row begins
        behind = (self.times_ms[at] <= self.work["time_ms"][local]) & (self.work["samples"][local] > 0)
        missing = ~np.isfinite(self.values[at]).any(axis=1) & ~behind
        if behind.any() or missing.any():
            _count(self.result, self.group.name, "missing", int(missing.sum()))
            self._drop(at[behind], local[behind])
            at, local = at[~(behind | missing)], local[~(behind | missing)]
        if len(at) == 0:
            return
        rows = self.work[local]
        self._end_silence(at, rows)
        rows["seen_ms"] = np.maximum(self.watermark_ms[at], self.times_ms[at])
        settings = self.group.detector.settings
        guarded = _beyond_guard(settings, self.values[at])
        shielded = alerts.protected(settings.alert, rows)
        held = self._held(at, rows)
        recent = None if held is None else self._maintain(held, rows, shielded)
        before = continual.given_up(rows)
        scored = scoring.score(self.group.detector, rows, self.times_ms[at], self.values[at], shielded)
        if given_up := continual.given_up(rows) - before:
            _forget(self.result, self.group.name, "own_weights", given_up)
        if held is not None and recent is not None:
            channels.put_back(rows, *recent)
            held = held & ~(guarded & ~self.muted[at])
        self._reset_broken(rows, scored)
        moved = alerts.advance(settings.alert, rows, self.times_ms[at], scored.score, guarded, held)
        threshold.spend(settings.threshold, rows, moved.opened & ~guarded)
        if moved.withheld:
            self.result.withheld[self.group.name] = self.result.withheld.get(self.group.name, 0) + moved.withheld
        if moved.accepted.any():
            rows[moved.accepted] = adopt.accept_level(rows[moved.accepted])
        self._tell(at, local, rows, scored, moved)
        self.work[local] = rows
        self.score[at] = scored.score

    def _held(self, at: Index, rows: Row) -> Mask | None:
        """Return which rows (n,) a window of maintenance holds, None when there is none."""
        if self.maintained is None:
            return None
        held = alerts.settle(rows, self.maintained[at], SETTLING_WINDOWS * self.group.detector.settings.model.window)
        return held if held.any() else None

    def _maintain(self, held: Mask, rows: Row, shielded: Mask) -> tuple[Mask, channels.Recent]:
        """Shield the rows `held` (n,) by a window; return which of them go on after it as before, and how they stand.

        A stream that is warming up learns all the same: it has nothing else that it could go by. Only an open alert
        follows the errors in the window, so that it may close.
        """
        unlearnt = held & (rows["samples"] >= max(self.group.detector.settings.warmup_samples, 1))
        shielded |= unlearnt
        # nothing at all is learnt: what an alert's first samples teach the tails was told, this is not
        rows["shielded"][unlearnt] = np.maximum(rows["shielded"][unlearnt], scoring.SHIELDED_TAIL_SAMPLES)
        quiet: Mask = unlearnt & (rows["alert_phase"] < alerts.FIRING)
        return quiet, channels.recent(rows, quiet)

    def _drop(self, at: Index, local: Index) -> None:
        duplicate = int((self.times_ms[at] == self.work["time_ms"][local]).sum())
        _count(self.result, self.group.name, "duplicate", duplicate)
        _count(self.result, self.group.name, "late", len(at) - duplicate)

    def _reset_broken(self, rows: Row, scored: Scored) -> None:
        """Let a stream whose state or score is no finite number any more begin anew: its alert, clock and kind aside.

        Such a number would never go away again, and would be written to the state topic.
        """
        broken = _not_finite(self.group.detector.settings.warmup_samples, rows, scored)
        if not broken.any():
            return
        kept = rows[broken]
        fresh = np.zeros_like(kept)
        scoring.clear(fresh)
        for name in ("time_ms", "counter", *(name for name, _, _ in alerts.FIELDS)):
            fresh[name] = kept[name]
        rows[broken] = fresh
        for column, value in (
            (scored.score, np.nan),
            (scored.surprise, 0.0),
            (scored.decades, 0.0),
            (scored.share, 0.0),
        ):
            column[broken] = value
        _count(self.result, self.group.name, "not_finite", len(kept))
        _forget(self.result, self.group.name, "not_finite", len(kept))

    def _end_silence(self, at: Index, rows: Row) -> None:
        """A stream that comes back ends its silence; one that was overdue unnoticed within this batch begins it too."""
        overdue = _overdue(self.group, rows, self.watermark_ms[at])
        for i in np.flatnonzero(overdue | (rows["silent"] > 0)):
            seen = self._sighting(int(at[i]))
            if not rows["silent"][i]:
                opened = silence_event(self.group, seen.stream, seen.partition, rows[i], None)
                self.result.alerts.append(opened)
            closed = silence_event(self.group, seen.stream, seen.partition, rows[i], seen)
            self.result.alerts.append(closed)
        rows["silent"] = 0

    def _tell(self, at: Index, local: Index, rows: Row, scored: Scored, moved: alerts.Moved) -> None:
        """Write an event for every row that opened, worsened or closed in this wave; `work` is as it was before it."""
        changes: tuple[tuple[Change, NDArray[np.bool_]], ...] = (
            ("open", moved.opened),
            ("update", moved.updated),
            ("close", moved.closed),
        )
        for change, mask in changes:
            for i in np.flatnonzero(mask):
                evidence = self._evidence(int(at[i]), int(local[i])) if change == "open" else None
                observed = Observed.of(scored, rows, int(i), accepted=bool(moved.accepted[i]), evidence=evidence)
                self.result.alerts.append(anomaly_event(self.group, self._sighting(int(at[i])), change, observed))

    def _evidence(self, position: int, local: int) -> Evidence | None:
        """Return what the score of the sample at `position` rests on: above all the work row that is still to move."""
        bytes_max, settings = self.group.evidence_bytes_max, self.group.detector.settings
        if not bytes_max:
            return None
        row = self.work[local : local + 1]
        protected = bool(alerts.protected(settings.alert, row)[0])
        moment = Moment(row, int(self.times_ms[position]), self.values[position], protected)
        return gathered(settings, moment, float(alerts.needed(settings.alert, row)[0]), bytes_max)

    def _sighting(self, position: int) -> Sighting:
        """Return where the sample at `position` came from."""
        number = int(np.searchsorted(self.starts, position, side="right")) - 1
        part, at = self.parts[number], position - int(self.starts[number])
        samples = part.samples
        slot, offset = int(samples.slots[at]), int(samples.offsets[at])
        return Sighting(part.slab.keys[slot], part.partition, offset, int(samples.times_ms[at]))


def _beyond_guard(settings: DetectorSettings, values: F) -> NDArray[np.bool_]:
    """Return which samples (n,) have a channel beyond its guard rail; a missing value is beyond none."""
    beyond = np.zeros(len(values), dtype=bool)
    for channel, guard in settings.guard:
        column = values[:, settings.channels.index(channel)]
        if guard.min is not None:
            beyond |= column < guard.min
        if guard.max is not None:
            beyond |= column > guard.max
    return beyond


def _sweep_silent(group: Group, part: Part, slots: Index, rows: Row, result: Step) -> None:
    """Open a silence for every stream that fell silent while its partition's watermark moved on.

    `rows` are the moved copies of the rows at `slots`; the slab's other rows are judged as they stand.
    """
    view = part.slab.view()
    due = _overdue(group, view, part.watermark_ms) & (view["silent"] == 0)
    due[slots] = False
    due[part.evicted.slots] = False
    others = np.flatnonzero(due)
    if len(others):
        fallen = part.slab.take(others)
        _fall_silent(group, part, others, fallen, result)
        result.deltas.append((part.slab, Delta(others, fallen)))
    late = _overdue(group, rows, part.watermark_ms) & (rows["silent"] == 0)
    late &= ~np.isin(slots, part.evicted.slots)
    if late.any():
        fallen = rows[late]
        _fall_silent(group, part, slots[late], fallen, result)
        rows[late] = fallen


def _overdue(group: Group, rows: Row, watermark_ms: I8 | int) -> NDArray[np.bool_]:
    settings = group.detector.settings
    return alerts.silent_rows(settings.alert, rows, watermark_ms, settings.warmup_samples, group.calendar)


def _fall_silent(group: Group, part: Part, slots: Index, rows: Row, result: Step) -> None:
    rows["silent"] = 1
    for slot, row in zip(slots, rows, strict=True):
        result.alerts.append(silence_event(group, part.slab.keys[slot], part.partition, row, None))


def _evict(group: Group, part: Part, slots: Index, rows: Row, result: Step) -> None:
    """Free the slots of the streams that gave way, and close what was open of them.

    `rows` are the moved copies of the rows at `slots`: a stream may have had its last samples in this very batch.
    """
    evicted = part.evicted
    if len(evicted.slots) == 0:
        return
    leaving = part.slab.take(evicted.slots)
    for i, slot in enumerate(evicted.slots):
        moved = np.flatnonzero(slots == slot)
        if len(moved):
            leaving[i] = rows[moved[0]]
    overdue = _overdue(group, leaving, evicted.watermark_ms)
    for i, slot in enumerate(evicted.slots):
        row, stream = leaving[i], part.slab.keys[slot]
        seen = Sighting(stream, part.partition, int(evicted.offsets[i]), int(evicted.watermark_ms[i]))
        if overdue[i] and not row["silent"]:
            result.alerts.append(silence_event(group, stream, part.partition, row, None))
        if overdue[i] or row["silent"]:
            result.alerts.append(silence_event(group, stream, part.partition, row, seen, "evicted"))
        if row["alert_phase"] >= alerts.FIRING:
            result.alerts.append(evicted_event(group, seen, row))
    result.deltas.append((part.slab, Delta(no_slots(), leaving[:0], evicted.slots)))
    _forget(result, group.name, "evicted", len(evicted.slots))


def _not_finite(warmup_samples: int, rows: Row, scored: Scored) -> NDArray[np.bool_]:
    """Return which rows (n,) hold, or which scores are, something that no arithmetic leads back from."""
    warming = rows["samples"] <= warmup_samples  # this sample has been counted
    sound = np.isfinite(scored.surprise) & (np.isfinite(scored.score) | warming)
    for name in ("hidden", "cell", "forecast", "location", "spread"):
        sound &= np.isfinite(rows[name]).all(axis=1)
    return ~sound


def _forget(result: Step, group: str, reason: ForgetReason, count: int) -> None:
    result.forgotten[group, reason] = result.forgotten.get((group, reason), 0) + count


def _count(result: Step, group: str, reason: DropReason, count: int) -> None:
    if count:
        result.dropped[group, reason] = result.dropped.get((group, reason), 0) + count
