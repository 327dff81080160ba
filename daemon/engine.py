"""The step: what one batch of samples causes. No I/O, no clock, no randomness; nothing it is given changes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from daemon import alerts, silence
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
from daemon.samples import Part
from daemon.silence import Until
from daemon.types import DropReason
from daemon.waves import Queue, Wave, queued
from detectors import adopt, channels, continual, scaling, scoring, threshold
from detectors.columns import Columns, Rows
from detectors.replay import Moment
from detectors.scoring import Scored
from detectors.settings import DetectorSettings
from detectors.slab import Delta, Fields, Slab, joined, no_slots, row_dtype

F = NDArray[np.float64]
I8 = NDArray[np.int64]
Row = NDArray[np.void]
Index = NDArray[np.intp]
Mask = NDArray[np.bool_]

SETTLING_WINDOWS = 2  # of the model, after one of maintenance: by then what is remembered of that counts for little

BLOCK_ROWS = 4096  # go through all their waves before the next: fewer cost more in calls, more do not fit the cache


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


def layout(settings: DetectorSettings, before: Fields = ()) -> np.dtype[np.void]:
    """Return the row layout of a group: the detector's fields, the alert's, and of what is done `before` the score."""
    return row_dtype([*scoring.fields(settings), *alerts.FIELDS, *silence.FIELDS, *before])


def step(batch: Sequence[tuple[Group, Sequence[Part]]]) -> Step:
    """Score every sample of `batch` and return scores, alert events and deltas."""
    result = Step()
    for group, parts in batch:
        _step_group(group, parts, result)
    result.alerts.sort(key=lambda event: (event.source.partition, event.source.last_offset or -1, event.alert_id))
    return result


def _step_group(group: Group, parts: Sequence[Part], result: Step) -> None:
    """Step all partitions of a group at once, so that the matrices are as large as they can be."""
    queues, places = zip(*(queued(part.samples.slots, part.moved_slots) for part in parts), strict=True)
    starts = np.cumsum([0, *(len(slots) for slots in places)])
    work = joined([part.rows(slots) for part, slots in zip(parts, places, strict=True)])
    _clear_fresh(work)
    run = _GroupRun(group, parts, result)
    queue = Queue.joined(queues, starts, run.starts)
    for first in range(0, len(work), BLOCK_ROWS):
        columns = Columns(work[first : first + BLOCK_ROWS])
        for wave in queue.waves(first, first + BLOCK_ROWS):
            run.wave(wave, columns)
        columns.store()
    for part, slots, start, end in zip(parts, places, starts, starts[1:], strict=False):
        rows = work[start:end]
        quiet_until_ms = _sweep_silent(group, part, slots, rows, result)
        result.deltas.append((part.slab, Delta(slots, rows, quiet_until_ms=quiet_until_ms)))
        _evict(group, part, result.deltas[-1][1], result)
    for part, score in zip(parts, np.split(run.score, run.starts[1:-1]), strict=True):
        result.scores.append(Scores(part, group.name, score))


def _clear_fresh(work: Row) -> None:
    fresh = work["samples"] == 0
    if fresh.any():
        rows = work[fresh]
        scoring.clear(rows)
        work[fresh] = rows


class _GroupRun:
    """The waves of one group in one step, which move private copies of rows."""

    def __init__(self, group: Group, parts: Sequence[Part], result: Step) -> None:
        self.group, self.parts, self.result = group, parts, result
        samples = [part.samples for part in parts]
        self.times_ms = np.concatenate([s.times_ms for s in samples])
        self.values = np.concatenate([s.values for s in samples])
        self.watermark_ms = np.concatenate([s.watermark_ms for s in samples])
        self.offsets = np.concatenate([s.offsets for s in samples])
        self.starts = np.cumsum([0, *(len(s.slots) for s in samples)])
        self.score = np.full(len(self.times_ms), np.nan)
        calendar = group.calendar
        self.maintained = calendar.covers(self.times_ms) if calendar else None
        self.muted = calendar.mutes_guards(self.times_ms)

    def wave(self, wave: Wave, block: Columns) -> None:
        """Take a wave through detector and alert table; `block` are the rows that it numbers."""
        at = wave.at
        # what goes before a wave must still be there when it raises an alert: only the first moves the block itself
        rows = block if wave.is_first and len(at) == len(block) else block.some(wave.row)
        times_ms, values = self.times_ms[at], self.values[at]
        # a stream's first sample may be of the time 0, at which every row begins
        behind = (times_ms <= rows["time_ms"]) & (rows["samples"] > 0)
        missing = ~scaling.any_present(values) & ~behind
        kept = ~(behind | missing)
        if not kept.all():
            _count(self.result, self.group.name, "missing", int(missing.sum()))
            self._drop(times_ms[behind], rows["time_ms"][behind])
            if kept.any():
                self.wave(Wave(at[kept], wave.row[kept], is_first=False), block)
            return
        self._end_silence(at, rows)
        settings = self.group.detector.settings
        maintained = None if self.maintained is None else self.maintained[at]
        heard = Until(np.maximum(self.watermark_ms[at], times_ms), self.offsets[at])
        silence.learn(settings.alert, rows, heard, self.group.calendar, maintained)
        guarded = alerts.beyond_guard(settings, values)
        shielded = alerts.protected(settings.alert, rows)
        held = self._held(at, rows)
        recent = None if held is None else self._maintain(held, rows, shielded)
        before = continual.given_up(rows)
        scored = scoring.score(self.group.detector, rows, times_ms, values, shielded)
        _forget(self.result, self.group.name, "own_weights", continual.given_up(rows) - before)
        if held is not None and recent is not None:
            channels.put_back(rows, *recent)
            held = held & ~(guarded & ~self.muted[at])
        self._reset_broken(rows, scored)
        moved = alerts.advance(settings.alert, rows, times_ms, scored.score, guarded, held)
        threshold.spend(settings.threshold, rows, moved.opened & ~guarded)
        if moved.withheld:
            self.result.withheld[self.group.name] = self.result.withheld.get(self.group.name, 0) + moved.withheld
        if moved.accepted.any():
            part = rows.some(moved.accepted)
            adopt.accept_level(part)
            part.store()
        self.score[at] = scored.score
        self._tell(wave, (block, rows), scored, moved)
        if rows is not block:
            rows.store()

    def _held(self, at: Index, rows: Columns) -> Mask | None:
        """Return which rows (n,) a window of maintenance holds, None when there is none."""
        if self.maintained is None:
            return None
        held = alerts.settle(rows, self.maintained[at], SETTLING_WINDOWS * self.group.detector.settings.model.window)
        return held if held.any() else None

    def _maintain(self, held: Mask, rows: Columns, shielded: Mask) -> tuple[Mask, channels.Recent]:
        """Shield the rows `held` (n,) by a window; return which of them go on after it as before, and how they stand.

        A stream that is warming up learns all the same: it has nothing else that it could go by. Only an open alert
        follows the errors in the window, so that it may close.
        """
        unlearnt = held & (rows["samples"] >= max(self.group.detector.settings.warmup_samples, 1))
        shielded |= unlearnt
        # nothing at all is learnt: what an alert's first samples teach the tails was told, this is not
        at_least = np.where(unlearnt, scoring.SHIELDED_TAIL_SAMPLES, 0.0)
        rows["shielded"] = np.maximum(rows["shielded"], at_least)
        quiet: Mask = unlearnt & (rows["alert_phase"] < alerts.FIRING)
        return quiet, channels.recent(rows, quiet)

    def _drop(self, times_ms: I8, newest_ms: I8) -> None:
        duplicate = int((times_ms == newest_ms).sum())
        _count(self.result, self.group.name, "duplicate", duplicate)
        _count(self.result, self.group.name, "late", len(times_ms) - duplicate)

    def _reset_broken(self, rows: Columns, scored: Scored) -> None:
        """Let a stream whose state or score is no finite number any more begin anew: its alert, clock and kind aside.

        Such a number would never go away again, and would be written to the state topic.
        """
        broken = _not_finite(self.group.detector.settings.warmup_samples, rows, scored)
        if not broken.any():
            return
        part = rows.some(broken)
        for name, _, _ in scoring.fields(self.group.detector.settings):
            if name not in ("time_ms", "counter"):
                part[name] = 0
        scoring.clear(part)
        part.store()
        scored.score[broken] = np.nan
        for column in (scored.surprise, scored.decades, scored.share):
            column[broken] = 0.0
        _count(self.result, self.group.name, "not_finite", len(part))
        _forget(self.result, self.group.name, "not_finite", len(part))

    def _end_silence(self, at: Index, rows: Columns) -> None:
        """A stream that comes back ends its silence; one that was overdue unnoticed within this batch begins it too."""
        overdue = _overdue(self.group, rows, Until(self.watermark_ms[at], self.offsets[at]))
        was_silent = rows["silent"] > 0
        back = np.flatnonzero(overdue | was_silent)
        for i in back.tolist():
            seen, row = self._sighting(int(at[i])), rows.row(i)[0]
            if not was_silent[i]:
                opened = silence_event(self.group, seen.stream, seen.partition, row, None)
                self.result.alerts.append(opened)
            closed = silence_event(self.group, seen.stream, seen.partition, row, seen)
            self.result.alerts.append(closed)
        if len(back):
            rows["silent"] = 0

    def _tell(self, wave: Wave, moving: tuple[Columns, Columns], scored: Scored, moved: alerts.Moved) -> None:
        """Write an event for every row that opened, worsened or closed; `moving` are the block and the wave's rows."""
        block, rows = moving
        changes: tuple[tuple[Change, NDArray[np.bool_]], ...] = (
            ("open", moved.opened),
            ("update", moved.updated),
            ("close", moved.closed),
        )
        for change, mask in changes:
            for i in np.flatnonzero(mask).tolist():
                position, evidence = int(wave.at[i]), None
                if change == "open":
                    before = block.stored(i) if rows is block else block.row(int(wave.row[i]))
                    evidence = self._evidence(position, before)
                observed = Observed(scored, rows.row(i), i, bool(moved.accepted[i]), evidence)
                self.result.alerts.append(anomaly_event(self.group, self._sighting(position), change, observed))

    def _evidence(self, position: int, row: Row) -> Evidence | None:
        """Return what the score of the sample at `position` rests on: above all the `row` (1,) as it was before."""
        bytes_max, settings = self.group.evidence_bytes_max, self.group.detector.settings
        if not bytes_max:
            return None
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


def _sweep_silent(group: Group, part: Part, slots: Index, rows: Row, result: Step) -> int:
    """Open a silence for every stream that fell silent while its partition's watermark moved on.

    `rows` are the moved copies of the rows at `slots`; the slab's other rows are judged as they stand, and looked at
    only when one of them may be due. Returns the watermark up to which nobody is, from now on.
    """
    settings, quiet_until_ms = group.detector.settings, part.slab.quiet_until_ms
    if part.watermark_ms > quiet_until_ms:
        quiet_until_ms = _sweep_others(group, part, slots, result)
    late = _overdue(group, rows, _until(part)) & (rows["silent"] == 0)
    if len(part.evicted.slots):
        late &= ~np.isin(slots, part.evicted.slots)
    if late.any():
        fallen = rows[late]
        _fall_silent(group, part, slots[late], fallen, result)
        rows[late] = fallen
    every = np.ones(len(rows), dtype=bool)
    return min(quiet_until_ms, silence.quiet_until_ms(settings.alert, rows, settings.warmup_samples, every))


def _sweep_others(group: Group, part: Part, slots: Index, result: Step) -> int:
    """Look at every row of the slab but those at `slots`; return up to which watermark none is due any more."""
    settings, view = group.detector.settings, part.slab.view()
    due = _overdue(group, view, _until(part)) & (view["silent"] == 0)
    due[slots] = False
    due[part.evicted.slots] = False
    others = np.flatnonzero(due)
    if len(others):
        fallen = part.slab.take(others)
        _fall_silent(group, part, others, fallen, result)
        result.deltas.append((part.slab, Delta(others, fallen)))
    left = ~due
    left[slots] = left[part.evicted.slots] = False
    return silence.quiet_until_ms(settings.alert, view, settings.warmup_samples, left)


def _until(part: Part) -> Until:
    """Return how far the partition has come with the whole batch."""
    return Until(part.watermark_ms, part.next_offset)


def _overdue(group: Group, rows: Rows, until: Until) -> NDArray[np.bool_]:
    settings = group.detector.settings
    return silence.silent_rows(settings.alert, rows, until, settings.warmup_samples, group.calendar)


def _fall_silent(group: Group, part: Part, slots: Index, rows: Row, result: Step) -> None:
    rows["silent"] = 1
    for slot, row in zip(slots, rows, strict=True):
        result.alerts.append(silence_event(group, part.slab.keys[slot], part.partition, row, None))


def _evict(group: Group, part: Part, moved: Delta, result: Step) -> None:
    """Free the slots of the streams that gave way, and close what was open of them.

    A stream may have had its last samples in this very batch: then `moved` holds its row.
    """
    evicted = part.evicted
    if len(evicted.slots) == 0:
        return
    leaving = part.slab.take(evicted.slots)
    for i, slot in enumerate(evicted.slots):
        found = np.flatnonzero(moved.slots == slot)
        if len(found):
            leaving[i] = moved.rows[found[0]]
    overdue = _overdue(group, leaving, Until(evicted.watermark_ms, evicted.offsets))
    for i, slot in enumerate(evicted.slots):
        row, stream = leaving[i], part.slab.keys[slot]
        seen = Sighting(stream, part.partition, int(evicted.offsets[i]), int(evicted.watermark_ms[i]))
        if overdue[i] and not row["silent"]:
            result.alerts.append(silence_event(group, stream, part.partition, row, None))
        if overdue[i] or row["silent"]:
            result.alerts.append(silence_event(group, stream, part.partition, row, seen, "evicted"))
        if row["alert_phase"] >= alerts.FIRING:
            result.alerts.append(evicted_event(group, seen, row))
    result.deltas.append((part.slab, Delta(no_slots(), leaving[:0], evicted.slots, moved.quiet_until_ms)))
    _forget(result, group.name, "evicted", len(evicted.slots))


def _not_finite(warmup_samples: int, rows: Columns, scored: Scored) -> NDArray[np.bool_]:
    """Return which rows (n,) hold, or which scores are, something that no arithmetic leads back from."""
    warming = rows["samples"] <= warmup_samples  # this sample has been counted
    sound = np.isfinite(scored.surprise) & (np.isfinite(scored.score) | warming)
    for name in ("hidden", "cell", "forecast", "location", "spread"):
        column = rows[name]
        if not np.isfinite(column.sum()):  # seldom: a look at all of it at once is quick
            sound &= np.isfinite(column).all(axis=1)
    return ~sound


def _forget(result: Step, group: str, reason: ForgetReason, count: int) -> None:
    if count:
        result.forgotten[group, reason] = result.forgotten.get((group, reason), 0) + count


def _count(result: Step, group: str, reason: DropReason, count: int) -> None:
    if count:
        result.dropped[group, reason] = result.dropped.get((group, reason), 0) + count
