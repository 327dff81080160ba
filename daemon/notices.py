"""What a receiver is told of an alert: labels that tell it from others, words for people, and its times."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from daemon.alert_events import AlertEvent, Feature, Rule
from daemon.lines import short
from daemon.types import Labels

NAMES: Final[Mapping[Rule, str]] = {
    "anomaly": "LongwatchAnomaly",
    "guard": "LongwatchGuard",
    "silence": "LongwatchSilence",
}
OURS: Final = ("alertname", "severity", "group", "stream")  # labels that no other may have the names of
LABELS_MAX: Final = 60  # of a stream; an alert has a few more of ours
VALUE_CHARS_MAX: Final = 1000  # of a label or an annotation
SHARE_TOLD: Final = 0.05  # of the error; channels with less of it are not worth a line
_PLAIN: Final = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
FOREIGN: Final = "exported_"  # before a stream's label that has a name of ours, as Prometheus does it


@dataclass(frozen=True, slots=True)
class Wording:
    """What the operator adds to every notice: labels, annotations, and where the daemon's pages are reached."""

    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    pages_url: str = ""


@dataclass(frozen=True, slots=True)
class Notice:
    """One alert as it stands: two notices with the same labels are of the same stream and rule."""

    alert_id: str
    labels: Labels
    annotations: Mapping[str, str]
    starts_ms: int
    ends_ms: int | None  # None: it is open
    link: str


def notice(event: AlertEvent, wording: Wording) -> Notice:
    """Return what is told of `event`. No number enters the labels: another number would be another alert."""
    ours = dict(zip(OURS, (NAMES[event.rule], event.severity, event.group, event.stream), strict=True))
    given = {**_of_the_stream(event.labels, {*ours, *wording.labels}), **wording.labels, **ours}
    labels = {name: _label(value) for name, value in given.items() if value}
    found = {**_words(event), **wording.annotations}
    annotations = {name: short(value, VALUE_CHARS_MAX) for name, value in found.items() if value}
    page = f"/streams/{_in_a_url(event.stream)}/state?group={_in_a_url(event.group)}"
    link = f"{wording.pages_url}{page}" if wording.pages_url else ""
    return Notice(
        event.alert_id, tuple(sorted(labels.items())), annotations, event.started_at_ms, event.ended_at_ms, link
    )


def moment(time_ms: int) -> str:
    """Return a time as RFC 3339 writes it, in UTC; what no calendar knows is brought into the years it knows."""
    seconds = min(max(time_ms, 0), 253_402_300_799_000) / 1000.0
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def fingerprint(labels: Labels) -> str:
    """Return what Alertmanager calls an alert with these `labels`: their FNV-1a checksum, in hex."""
    checksum = 0xCBF29CE484222325
    for byte in b"".join(b"%b\xff%b\xff" % (name.encode(), value.encode()) for name, value in labels):
        checksum = (checksum ^ byte) * 0x100000001B3 % 2**64
    return f"{checksum:016x}"


def _of_the_stream(labels: Mapping[str, str], taken: set[str]) -> dict[str, str]:
    """Return the stream's labels under names that every receiver takes; the first of those that become one stays."""
    found: dict[str, str] = {}
    for name, value in sorted(labels.items())[:LABELS_MAX]:
        plain = re.sub(r"[^a-zA-Z0-9_]", "_", name)
        plain = f"_{plain}" if plain[:1].isdigit() or not plain else plain
        found.setdefault(f"{FOREIGN}{plain}" if plain in taken else plain, value)
    return found


def _words(event: AlertEvent) -> dict[str, str]:
    return {
        "summary": f"{event.stream}: {_what(event)}",
        "description": " ".join(_why(event)),
        "alert_id": event.alert_id,
        "score": _figure(event.score),
        "max_score": _figure(event.max_score),
        "direction": "" if event.direction == "none" else event.direction,
        "explain": f"longwatch explain {event.alert_id[:8]}",
    }


def _what(event: AlertEvent) -> str:
    if event.change == "close":
        return f"over ({event.reason})"
    if event.rule == "silence":
        return f"no samples since {moment(event.started_at_ms)}"
    feature = max(event.features, key=lambda each: each.share, default=None)
    if feature is None:
        return event.reason
    beyond = "beyond its guard rail, " if event.rule == "guard" else ""
    return f"{feature.name} is {beyond}{_observed(feature)}"


def _observed(feature: Feature) -> str:
    bounds = f"{_figure(feature.lower)} to {_figure(feature.upper)}"
    return f"{_figure(feature.actual) or 'missing'}, expected {_figure(feature.expected) or 'nothing yet'} ({bounds})"


def _why(event: AlertEvent) -> Sequence[str]:
    if event.rule == "silence":
        patience = event.threshold.get("patience_seconds", "?")
        return [f"Others of its partition went on; it counts as silent after {patience} s."]
    scores = f"Score {_figure(event.score)}, highest {_figure(event.max_score)}; 1.0 is the limit."
    others = [each for each in sorted(event.features, key=lambda each: -each.share)[1:4] if each.share > SHARE_TOLD]
    told = [f"{each.name}: {_observed(each)}, {each.share:.0%} of the error." for each in others]
    return [*([] if event.score is None else [scores]), *told]


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:.6g}"


def _label(value: str) -> str:
    """Return a label's value that is not too long; a checksum stays of what was cut, or alerts would be mixed up."""
    if len(value) <= VALUE_CHARS_MAX:
        return value
    return f"{value[: VALUE_CHARS_MAX - 17]}~{hashlib.sha256(value.encode()).hexdigest()[:16]}"


def _in_a_url(text: str) -> str:
    """Return `text` as one step of a URL's path (RFC 3986, 2.1)."""
    return "".join(
        chr(byte) if chr(byte) in _PLAIN else f"%{byte:02X}" for byte in text.encode("utf-8", "surrogatepass")
    )
