"""The judge: which labelled faults were caught, how soon, and which alerts were false. It knows no detector."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Final, Literal

MINUTE_MS: Final = 60_000
HOUR_MS: Final = 60 * MINUTE_MS
WEEK_MS: Final = 7 * 24 * HOUR_MS

GRACE_MS: Final = 2 * HOUR_MS  # an alert so long after a fault's end still belongs to the fault
# A stream that comes back from another level, rhythm or spread changes once more, and an alert about that is no
# mistake; neither is it a catch. So long after the end it counts as an after-effect.
RECOVERY_MS: Final[Mapping[str, int]] = {
    "level_shift": 24 * HOUR_MS,
    "drift": 24 * HOUR_MS,
    "frozen": 12 * HOUR_MS,
    "variance": 12 * HOUR_MS,
    "period": 24 * HOUR_MS,
    "silence": 12 * HOUR_MS,
}

Change = Literal["open", "update", "close"]
Found = Literal["caught", "repeat", "after_effect", "false"]


@dataclass(frozen=True, slots=True)
class Label:
    """What is known to be wrong: one fault of one stream in the event times [start_ms, end_ms)."""

    stream: str
    kind: str
    start_ms: int
    end_ms: int


@dataclass(frozen=True, slots=True)
class Alert:
    """One change of one alert, as far as judging and showing need it; times are event times in milliseconds."""

    alert_id: str
    change: Change
    stream: str
    rule: str
    started_at_ms: int
    detected_at_ms: int  # when this change became known
    score: float = float("nan")


@dataclass(frozen=True, slots=True)
class Observed:
    """What was watched: so many streams over [start_ms, end_ms)."""

    streams: int
    start_ms: int
    end_ms: int


@dataclass(frozen=True, slots=True)
class Finding:
    """An opened alert and what it was; `label` is the fault it belongs to, None for a false alert."""

    alert: Alert
    found: Found
    label: Label | None

    @property
    def delay_minutes(self) -> float:
        """Return the simulated minutes from the fault's start to the alert, NaN without a fault."""
        return (self.alert.detected_at_ms - self.label.start_ms) / MINUTE_MS if self.label else float("nan")


@dataclass(frozen=True, slots=True)
class KindRow:
    """How the faults of one kind fared; the median delay is in simulated minutes, None when none was caught."""

    kind: str
    count: int
    caught: int
    delay_minutes: float | None

    @property
    def missed(self) -> int:
        """Return how many were not caught."""
        return self.count - self.caught


@dataclass(frozen=True, slots=True)
class Verdict:
    """The whole judgement of one detector."""

    kinds: tuple[KindRow, ...]
    total: KindRow
    findings: tuple[Finding, ...]  # one for each opened alert within the observed time, by time
    clear_ms: int  # stream time that no fault, grace or recovery covers

    def count(self, found: Found) -> int:
        """Return how many opened alerts were `found`."""
        return sum(finding.found == found for finding in self.findings)

    @property
    def false_per_week(self) -> float:
        """Return the false alerts of one stream in one simulated week of clear time; NaN without clear time."""
        return self.count("false") * WEEK_MS / self.clear_ms if self.clear_ms else float("nan")


class Docket:
    """Labels in the order in which alerts can be held against them; remembers which were caught already.

    A fault is caught by the first alert that opens on its stream at or after its start and within GRACE_MS after its
    end. Any further one until then is a repeat; one within the fault's recovery time after that is an after-effect,
    whether the fault was caught or not; every other one is false. An alert that was open before the fault began
    catches nothing, although the detector may well have noticed.
    """

    def __init__(self, labels: Iterable[Label]) -> None:
        self._labels: dict[str, list[Label]] = {}
        for label in sorted(labels, key=lambda one: one.start_ms):
            self._labels.setdefault(label.stream, []).append(label)
        self._caught: set[Label] = set()

    def judge(self, alert: Alert) -> Finding:
        """Say what an opened alert is; alerts of one stream must come in the order of their detection."""
        label = self._latest(alert)
        if label is None or alert.detected_at_ms >= label.end_ms + cover_ms(label.kind):
            return Finding(alert, "false", None)
        if alert.detected_at_ms >= label.end_ms + GRACE_MS:
            return Finding(alert, "after_effect", label)
        found: Found = "repeat" if label in self._caught else "caught"
        self._caught.add(label)
        return Finding(alert, found, label)

    def _latest(self, alert: Alert) -> Label | None:
        """Return the last fault of the stream that began before the alert."""
        labels = self._labels.get(alert.stream, [])
        index = bisect_right(labels, alert.detected_at_ms, key=lambda one: one.start_ms)
        return labels[index - 1] if index else None


def cover_ms(kind: str) -> int:
    """Return how long after the end of a fault of `kind` an alert is not false, in milliseconds."""
    return max(GRACE_MS, RECOVERY_MS.get(kind, 0))


def judge(labels: Sequence[Label], alerts: Iterable[Alert], observed: Observed) -> Verdict:
    """Hold the opened alerts of the observed time against the labels.

    Each change of an alert may be given, in any order; only the opening counts, and only once for each alert id.
    Labels of one stream do not overlap, grace included.
    """
    docket = Docket(labels)
    findings = tuple(docket.judge(alert) for alert in _opened(alerts, observed))
    caught = {finding.label: finding for finding in findings if finding.found == "caught" and finding.label}
    kinds = sorted({label.kind for label in labels})
    rows = tuple(_row(kind, [one for one in labels if one.kind == kind], caught) for kind in kinds)
    return Verdict(rows, _row("all", labels, caught), findings, _clear_ms(labels, observed))


def _opened(alerts: Iterable[Alert], observed: Observed) -> list[Alert]:
    opened = {alert.alert_id: alert for alert in alerts if alert.change == "open"}
    within = [one for one in opened.values() if observed.start_ms <= one.detected_at_ms < observed.end_ms]
    return sorted(within, key=lambda alert: (alert.detected_at_ms, alert.stream, alert.alert_id))


def _row(kind: str, labels: Sequence[Label], caught: Mapping[Label, Finding]) -> KindRow:
    delays = [caught[label].delay_minutes for label in labels if label in caught]
    return KindRow(kind, len(labels), len(delays), median(delays) if delays else None)


def _clear_ms(labels: Sequence[Label], observed: Observed) -> int:
    whole = observed.streams * (observed.end_ms - observed.start_ms)
    return max(0, whole - sum(_covered_ms(label, observed) for label in labels))


def _covered_ms(label: Label, observed: Observed) -> int:
    end = min(label.end_ms + cover_ms(label.kind), observed.end_ms)
    return max(0, end - max(label.start_ms, observed.start_ms))
