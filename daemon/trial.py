"""A candidate's trial: it scores in the shadow what it was not trained on, beside the model that scores until now.

The samples are the newest of the group's history, the part that training holds back. Both detectors take the same rows
over at the same moment, as a swap would move them, and go through the step that the daemon itself takes. Then both are
shown canaries. What comes of it are figures, and a verdict by limits; nobody outside sees anything of a trial.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from daemon import canaries
from daemon.alert_events import AlertEvent, Group
from daemon.engine import layout, step
from daemon.models import LiveModel
from daemon.samples import Part, Samples
from daemon.types import TopicPartition
from detectors import scaling
from detectors.adopt import adopt
from detectors.slab import Delta, Slab
from detectors.train import StreamHistory
from detectors.verdict import Figures, Verdict

F = NDArray[np.float64]

HELD_SHARE: Final = 0.2  # of a history: what training is judged by and never learns from
SETTLING_SAMPLES: Final = 120  # after the swap, before anything counts
SCORED_MIN: Final = 200  # fewer samples than this say nothing
BLOCK_STEPS: Final = 64
CANARY_STREAMS_MAX: Final = 16
SCORE_LEAST: Final = 1.0  # a score below the threshold wakes nobody
ERROR_LEAST: Final = 0.02  # scaled units; errors below it are all the same
PARTITION = TopicPartition("trial", 0)


@dataclass(frozen=True, slots=True)
class TrialLimits:
    """How much is tried, and how much worse than the incumbent a candidate may be."""

    streams_max: int = 32  # of the group; 0: nothing is tried, and every candidate promoted
    samples_max: int = 1000  # of each stream, the newest; a fifth of its history at most counts
    error_ratio_max: float = 1.5  # of the network's usual errors
    score_ratio_max: float = 1.5  # of the scores that one sample in a hundred exceeds
    alerts_ratio_max: float = 2.0
    alerts_spare: int = 3  # so many more are forgiven, however few there were
    recall_drop_max: float = 0.1  # of the canaries; of a few of them more may be missed


@dataclass(frozen=True, slots=True)
class _Tried:
    """A stream's part in the trial: its newest samples, of which those from `counted` on count."""

    key: str
    history: StreamHistory
    begin: int  # the step at which it begins; all end at the same one
    counted: int


def tried(
    group: Group, candidate: LiveModel, incumbent: LiveModel, given: Sequence[StreamHistory], limits: TrialLimits
) -> Verdict:
    """Return the verdict on `candidate` from the histories; deterministic.

    `incumbent` is the model that scores until now, or day zero's detector without a calibration. `group` gives the
    alerts their settings; its detector is not used.
    """
    against = incumbent.detector.model_id
    streams = _chosen(given, limits)
    trial = _Trial(group, streams)
    scored = sum(len(each.history.times_ms) - (each.counted - each.begin) for each in streams)
    if scored < SCORED_MIN:
        why = f"not tried: {scored} samples were held back, {SCORED_MIN} are needed"
        return Verdict(passed=True, why=why, against=against, streams=len(streams), samples=scored, canaries=0)
    before = trial.lead(incumbent)
    ours, theirs = trial.figures(candidate, before), trial.figures(incumbent, before)
    why = "; ".join(objections(ours, theirs, trial.shown, limits))
    return Verdict(not why, why, against, len(streams), scored, trial.shown, ours, theirs)


def noticed(found: Figures) -> float:
    """Return the share of all canaries that were noticed; NaN when none was shown."""
    return float(np.mean(list(found.recall.values()))) if found.recall else float("nan")


def objections(candidate: Figures, incumbent: Figures, shown: int, limits: TrialLimits) -> Iterator[str]:
    """Yield, in words with figures, each limit that the candidate is beyond; `shown` is the number of canaries."""
    error = limits.error_ratio_max * max(incumbent.error, ERROR_LEAST)
    if candidate.error > error and incumbent.error > 0:
        yield f"its usual error is {candidate.error:.3f}, the limit is {error:.3f}"
    high = limits.score_ratio_max * max(incumbent.score_high, SCORE_LEAST)
    if candidate.score_high > high:
        yield f"one score in a hundred is above {candidate.score_high:.2f}, the limit is {high:.2f}"
    alerts = limits.alerts_ratio_max * incumbent.alerts + limits.alerts_spare
    if candidate.alerts > alerts:
        yield f"{candidate.alerts} alerts where there were {incumbent.alerts}, the limit is {alerts:g}"
    ours, theirs = noticed(candidate), noticed(incumbent)
    least = theirs - limits.recall_drop_max - 0.5 / np.sqrt(max(shown, 1))
    if ours < least:
        yield f"{ours:.0%} of the canaries were noticed where it had been {theirs:.0%}, the limit is {least:.0%}"


def _chosen(given: Sequence[StreamHistory], limits: TrialLimits) -> list[_Tried]:
    """Return some of the streams, evenly spread over the longer half of them."""
    usable = sorted(
        (each for each in given if len(each.times_ms) > SETTLING_SAMPLES), key=lambda each: -len(each.times_ms)
    )
    longer = usable[: max(limits.streams_max, len(usable) // 2)]
    chosen = longer[:: max(1, -(-len(longer) // limits.streams_max))] if limits.streams_max else []
    kept = [min(len(each.times_ms), limits.samples_max) for each in chosen]
    return [
        _Tried(
            str(number),
            replace(each, times_ms=each.times_ms[-count:], values=each.values[-count:]),
            max(kept) - count,
            max(kept) - min(int(HELD_SHARE * len(each.times_ms)), count - SETTLING_SAMPLES // 2),
        )
        for number, (each, count) in enumerate(zip(chosen, kept, strict=True))
    ]


class _Trial:
    """The chosen streams side by side, moved step by step: those of one step have nothing to do with each other."""

    def __init__(self, group: Group, streams: Sequence[_Tried]) -> None:
        self._group, self._streams = group, streams
        self._end = max((each.begin + len(each.history.times_ms) for each in streams), default=0)
        self._counted = min((each.counted for each in streams), default=0)
        self.shown = 0  # canaries

    def lead(self, incumbent: LiveModel) -> Slab:
        """Return the rows as they are when the trial begins: scored by the incumbent up to there."""
        settings = incumbent.detector.settings
        slab = Slab(layout(settings), len(self._streams), len(self._streams))
        for each in self._streams:
            told = each.history.told
            slab.slot(each.key, None if told is None else {"counter": told.tolist()})
        self._run(slab, replace(self._group, detector=incumbent.detector), 0, self._swap_at)
        return slab

    @property
    def _swap_at(self) -> int:
        return max(self._counted - SETTLING_SAMPLES, 0)

    def figures(self, model: LiveModel, before: Slab) -> Figures:
        """Return what `model` makes of the rest, from copies of the rows `before`."""
        slab = _moved(model, before)
        group = replace(self._group, detector=model.detector)
        canaries_at = self._end - canaries.SAMPLES
        first = self._run(slab, group, self._swap_at, canaries_at)
        recall = self._recall(group, slab, canaries_at)
        last = self._run(slab, group, canaries_at, self._end)
        scores = np.concatenate([first[0], last[0]])
        median, high = np.quantile(scores, (0.5, 0.99)) if len(scores) else (0.0, 0.0)
        error = _usual_error(slab.view())
        return Figures(round(float(median), 4), round(float(high), 4), first[1] + last[1], error, recall)

    def _run(self, slab: Slab, group: Group, begin: int, end: int) -> tuple[F, int]:
        """Take the steps from `begin` to before `end`; return the scores and the number of alerts that count."""
        scores: list[F] = [np.zeros(0)]
        alerts = 0
        for start in range(begin, end, BLOCK_STEPS):
            samples, counts = self._samples(start, min(start + BLOCK_STEPS, end))
            found, told = _stepped(slab, group, samples)
            scores.append(found[counts & np.isfinite(found)])
            opened = [each.source.last_offset for each in told if each.change == "open"]
            alerts += sum(bool(counts[offset]) for offset in opened if offset is not None)
        return np.concatenate(scores), alerts

    def _samples(self, begin: int, end: int) -> tuple[Samples, NDArray[np.bool_]]:
        """Return the samples of these steps, in their order, and which of them count."""
        slots, steps, times_ms, values, counts = [], [], [], [], []
        for slot, each in enumerate(self._streams):
            part = slice(max(begin - each.begin, 0), max(end - each.begin, 0))
            times_ms.append(each.history.times_ms[part])
            values.append(each.history.values[part])
            steps.append(each.begin + np.arange(len(each.history.times_ms))[part])
            slots.append(np.full(len(steps[-1]), slot, dtype=np.intp))
            counts.append(steps[-1] >= each.counted)
        order = np.argsort(np.concatenate(steps), kind="stable")
        samples = _of(np.concatenate(slots)[order], np.concatenate(times_ms)[order], np.concatenate(values)[order])
        return samples, np.concatenate(counts)[order]

    def _recall(self, group: Group, slab: Slab, begin: int) -> dict[str, float]:
        """Return of each kind of canary the share that is noticed, among the streams that are quiet without one."""
        shown = [slot for slot, each in enumerate(self._streams) if each.begin <= begin]
        shown = shown[:: max(1, -(-len(shown) // CANARY_STREAMS_MAX))]
        if not shown or begin < 0:
            return {}
        found = dict(zip(canaries.KINDS, self._noticed(group, slab, shown), strict=True))
        quiet = ~found.pop("none")
        self.shown = len(found) * len(shown)
        return {kind: round(float(each[quiet].mean()), 4) for kind, each in found.items()} if quiet.any() else {}

    def _noticed(self, group: Group, slab: Slab, shown: list[int]) -> NDArray[np.bool_]:
        """Return for each kind which streams (kinds, shown) reach the threshold while their copies have its fault."""
        slots = np.array(shown * len(canaries.KINDS), dtype=np.intp)
        copy = _copied(slab, slots)
        rows = copy.view()
        spread, kinds = scaling.floored(rows), rows["counter"]
        counter = (kinds > 0) & (kinds != scaling.DELTA)
        given = [(kind, self._streams[slot].history) for kind in canaries.KINDS for slot in shown]
        values = [_canary(kind, history, spread[at], counter[at]) for at, (kind, history) in enumerate(given)]
        times = [history.times_ms[-canaries.SAMPLES :] for _, history in given]
        # step by step, all copies of a step together
        order = np.tile(np.arange(len(slots)), canaries.SAMPLES)
        samples = _of(order, np.stack(times, axis=1).ravel(), np.stack(values, axis=1).reshape(len(order), -1))
        scores, _ = _stepped(copy, group, samples)
        after = np.nan_to_num(scores, nan=0.0).reshape(canaries.SAMPLES, len(canaries.KINDS), len(shown))
        return np.asarray(after[canaries.LEAD_SAMPLES :].max(axis=0) >= 1.0)


def _usual_error(rows: NDArray[np.void]) -> float:
    """Return the median over the streams of the usual errors of the network's forecast; 0 without a network."""
    return round(float(np.median(np.sqrt(rows["error_square"].astype(np.float64).mean(axis=1)))), 5)


def _canary(kind: canaries.Kind, history: StreamHistory, spread: F, counter: NDArray[np.bool_]) -> F:
    values = history.values[-canaries.SAMPLES :]
    if not counter.any():
        return canaries.faulty(kind, values, spread)
    seconds = np.maximum(np.diff(history.times_ms[-canaries.SAMPLES - 1 :]) / 1000.0, 1e-3)
    seconds = np.r_[np.ones(canaries.SAMPLES - len(seconds)), seconds]
    return np.where(
        counter,
        canaries.faulty_counter(kind, values, spread, seconds),
        canaries.faulty(kind, values, spread),
    )


def _moved(model: LiveModel, before: Slab) -> Slab:
    """Return a copy of a slab whose rows go on with `model`, as a swap moves them."""
    slots = before.living()
    slab = _copied(before, np.arange(len(before.keys)))
    slab.apply(Delta(slots, adopt(model.detector, before.take(slots), model.calibration)))
    return slab


def _copied(slab: Slab, slots: NDArray[np.intp]) -> Slab:
    copy = Slab(slab.dtype, len(slots), len(slots))
    for at, slot in enumerate(slots.tolist()):
        copy.slot(f"{slab.keys[slot]}/{at}")
    copy.apply(Delta(np.arange(len(slots)), slab.take(slots)))
    return copy


def _of(slots: NDArray[np.intp], times_ms: NDArray[np.int64], values: F) -> Samples:
    """Return samples whose offsets are their places; no watermark moves, so nothing is silent."""
    count = len(slots)
    return Samples(slots, np.arange(count), times_ms, values, np.zeros(count, dtype=np.int64))


def _stepped(slab: Slab, group: Group, samples: Samples) -> tuple[F, Sequence[AlertEvent]]:
    """Step and apply; return score by score, and the alert events."""
    if len(samples.slots) == 0:
        return np.zeros(0), ()
    caused = step([(group, [Part(PARTITION, slab, samples, 0)])])
    for moved, delta in caused.deltas:
        moved.apply(delta)
    return caused.scores[0].score, caused.alerts
