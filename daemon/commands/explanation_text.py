"""An alert in plain words, for whoever is woken by it: what came, what was expected, and how improbable that is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, Final, assert_never

import msgspec
import numpy as np

from daemon import __version__
from daemon.alert_events import AlertEvent, Feature
from daemon.evidence import Told
from daemon.explanation import Channel, Explanation, Voice
from daemon.plots import Line, Panel, svg
from detectors.channels import SPANS
from detectors.settings import BudgetThreshold, QuantileThreshold, SigmaThreshold, StaticThreshold

CHANNELS_TOLD: Final = 8
CHANNELS_DRAWN: Final = 4
MILLION_DECADES: Final = 6.0
MEANINGS: Final = {
    "model": "not what the network expected after what this stream did before",
    "level": "far from the level that this stream usually has",
    "spread": "the steps from sample to sample have another size than usual",
    "repeat": "the value repeats itself more than it used to",
}
REASONS: Final = {
    "recovered": "it came back to normal",
    "accepted": "the new level persisted and is the normal one since",
    "evicted": "the stream gave way to another one",
    "returned": "samples came again",
}
_UNITS: Final = ((31_557_600.0, "years"), (86_400.0, "days"), (3600.0, "hours"), (60.0, "minutes"))


def head(event: AlertEvent, later: Sequence[AlertEvent]) -> Iterator[str]:
    """Yield which alert this is, when it opened, and what became of it."""
    yield f"alert     {event.alert_id} ({event.rule}, {event.severity})"
    yield f"stream    {event.stream}, group {event.group}"
    yield f"opened    {moment(event.detected_at_ms)}, began {moment(event.started_at_ms)}"
    for each in later:
        if each.change == "update":
            yield f"worsened  {moment(each.detected_at_ms)}, score {_score(each.score)}"
        elif each.change == "close":
            highest = "" if each.max_score is None else f"; highest score {each.max_score:.3f}"
            yield f"closed    {moment(each.detected_at_ms)}: {REASONS.get(each.reason, each.reason)}{highest}"


def silence(event: AlertEvent) -> Iterator[str]:
    """Yield what a silence means; it has no score."""
    yield ""
    yield f"No sample of this stream came after {moment(event.started_at_ms)}, while others of its partition went on."
    told = {name: event.threshold.get(name, "?") for name in ("patience_seconds", "intervals", "pauses")}
    yield "It counts as silent after {patience_seconds} s: {intervals} of its usual intervals,".format(**told)
    yield "or {pauses} of its longest usual pauses, where that is longer. There is no score to replay.".format(**told)


def body(event: AlertEvent, told: Told, found: Explanation) -> Iterator[str]:
    """Yield the replay, what happened, how improbable it is, and what would have been."""
    yield f"score     {_score(found.recorded)}; {_needed(found)}"
    yield f"replayed  {_verdict(event, found)}"
    yield ""
    yield from _happened(event, told, found)
    yield ""
    yield from _improbable(told, found)
    yield ""
    yield from _otherwise(found)


def _needed(found: Explanation) -> str:
    if found.needed <= 1.0:
        return "1 is the limit"
    return f"1 is the limit, and an alert needed {found.needed:.2f} just then: the stream had alerts not long before"


def _verdict(event: AlertEvent, found: Explanation) -> str:
    model = f"model {event.model_id}" if event.model_id else "day zero's detector"
    if found.recorded is None and found.replayed is None:
        return f"there is no score yet: the stream was warming up ({model})"
    if found.apart == 0.0:
        return f"{_score(found.replayed)}, the same to the last bit ({model})"
    if found.same:
        return f"{_score(found.replayed)}, the same but for rounding, {found.apart:.1e} apart ({model})"
    scored = event.evidence.longwatch if event.evidence else "?"
    why = f"longwatch {scored} scored, this is {__version__}" if scored != __version__ else "the event was changed"
    return f"{_score(found.replayed)}, which is NOT the recorded score ({model}): {why}"


# what happened


def _happened(event: AlertEvent, told: Told, found: Explanation) -> Iterator[str]:
    yield "What happened"
    for each in _most(found)[:CHANNELS_TOLD]:
        yield f"  {each.name}: {_came(each)}, {each.share:.0%} of the error"
    if len(found.channels) > CHANNELS_TOLD:
        yield f"  ... and {len(found.channels) - CHANNELS_TOLD} channels more, with less of the error"
    if event.rule == "guard":
        yield from (f"  {line}" for line in _guards(told, found))


def _most(found: Explanation) -> list[Channel]:
    return sorted(found.channels, key=lambda channel: -channel.share)


def _came(channel: Channel) -> str:
    if channel.actual is None:
        return "no value came" if channel.raw is None else f"{channel.raw:.6g} came, of which no rate could be told"
    rate = " a second" if channel.actual != channel.raw else ""
    if channel.expected is None or channel.lower is None or channel.upper is None:
        return f"{channel.actual:.6g}{rate} came"
    where = "within what is usual"
    if channel.actual > channel.upper:
        where = "above it"
    elif channel.actual < channel.lower:
        where = "below it"
    expected = f"{channel.expected:.6g} was expected ({channel.lower:.6g} to {channel.upper:.6g})"
    return f"{channel.actual:.6g}{rate} came, {expected}: {where}"


def _guards(told: Told, found: Explanation) -> Iterator[str]:
    raw = {channel.name: channel.raw for channel in found.channels}
    for name, guard in told.settings.guard:
        value = raw.get(name)
        if value is not None and guard.max is not None and value > guard.max:
            yield f"{name}: {value:.6g} is above the guard rail at {guard.max:g}, which opened the alert"
        if value is not None and guard.min is not None and value < guard.min:
            yield f"{name}: {value:.6g} is below the guard rail at {guard.min:g}, which opened the alert"


# how improbable


def _improbable(told: Told, found: Explanation) -> Iterator[str]:
    loudest = found.voices[0]
    yield "How improbable"
    if loudest.surprise > 0.0:
        yield f"  {loudest.name} spoke: {MEANINGS[loudest.name]}{_details(loudest, found)}"
        yield "  so much of it was seen, in this stream's own past:"
        for span, decades in zip(SPANS, loudest.scales, strict=True):
            over = "at one sample" if span == 1 else f"over about {span} samples"
            yield f"    {over:<21}  {_once(decades, found.interval_ms)}"
    yield "  the decades of each error, in the mean over these, and what they count for:"
    for each in found.voices:
        yield f"    {each.name:<7} {each.decades:5.2f} x {each.weight:<4g} = {each.surprise:5.2f}"
    yield f"  {_limit(told, found)}"


def _details(voice: Voice, found: Explanation) -> str:
    if voice.name == "spread":
        each = max(found.channels, key=lambda one: abs(np.log((one.step + 1e-12) / (one.step_usual + 1e-12))))
        return f" ({each.name}: {each.step:.4g}, usually {each.step_usual:.4g})"
    if voice.name == "repeat":
        each = max(found.channels, key=lambda one: one.repeats)
        return f" ({each.name}: {each.repeats:.0f} times in a row)"
    return ""


def _limit(told: Told, found: Explanation) -> str:
    own = "of this stream's own past"
    threshold = told.settings.threshold
    match threshold:
        case StaticThreshold():
            kind = f"static, {threshold.limit:g} decades"
        case SigmaThreshold():
            kind = f"sigma, mean and {threshold.sigmas:g} deviations {own}, {found.limit or 0.0:.2f} decades just then"
        case QuantileThreshold():
            kind = f"quantile, what is exceeded once in {_count(1.0 / (1.0 - threshold.quantile))} samples {own}"
        case BudgetThreshold():
            budget = f"one alert in {_count(threshold.samples_per_alert)} samples"
            kind = f"budget, {budget}, {found.limit or 0.0:.2f} decades just then"
        case _:
            assert_never(threshold)
    return f"the largest, {found.surprise:.2f}, is the surprise; the limit is {kind}"


def _once(decades: float, interval_ms: float) -> str:
    if decades >= MILLION_DECADES:  # beyond it a tail is drawn out much further than any past
        return "less than once in a million samples"
    samples = 10.0**decades
    if samples < 1.5:
        return "all the time: nothing unusual"
    often = f"about once in {_count(samples)} samples"
    return f"{often}, here every {_duration(samples * interval_ms / 1000.0)}" if interval_ms > 0 else often


def _count(number: float) -> str:
    """Return a number as it is remembered: two digits that mean something."""
    if number < 10.0:
        return f"{number:.1f}"
    place = 10 ** (len(str(int(number))) - 2)
    rounded = round(number / place) * place
    return f"{rounded:,}"


def _duration(seconds: float) -> str:
    for length, name in _UNITS:
        if seconds >= 1.5 * length:
            return f"{_count(seconds / length)} {name}"
    return f"{_count(seconds)} seconds"


# what would have been


def _otherwise(found: Explanation) -> Iterator[str]:
    yield "What would have been"
    for each in found.instead:
        all_of = len(each.channels) > 1
        who = "all channels" if all_of else each.channels[0]
        opened = each.score is not None and each.score >= found.needed
        yield f"  with {who} as expected: score {_score(each.score)}, {'still an alert' if opened else 'no alert'}"


def _score(score: float | None) -> str:
    return "none" if score is None else f"{score:.6g}"


def moment(at_ms: int) -> str:
    """Return an event time in words, UTC."""
    try:
        return datetime.fromtimestamp(at_ms / 1000, tz=UTC).strftime("%Y-%m-%d %H:%M:%SZ")
    except (ValueError, OverflowError, OSError):
        return f"{at_ms} ms"  # of no calendar


# for machines, and to look at


def numbers(event: AlertEvent, later: Sequence[AlertEvent], found: Explanation | None) -> str:
    """Return all of it as JSON, without the packed row."""
    told: dict[str, Any] = {"alert": _bare(event), "later": [_bare(each) for each in later]}
    if found is not None:
        told["replay"] = msgspec.to_builtins(found) | {
            "apart": found.apart if np.isfinite(found.apart) else None,
            "same": found.same,
        }
    return msgspec.json.format(msgspec.json.encode(told), indent=2).decode()


def _bare(event: AlertEvent) -> dict[str, Any]:
    told: dict[str, Any] = msgspec.to_builtins(event)
    told.pop("evidence")
    return told


def picture(event: AlertEvent) -> str:
    """Return the last samples before the alert, the one that opened it and what had been expected, as SVG."""
    features = sorted(event.features, key=lambda feature: -feature.share)[:CHANNELS_DRAWN]
    title = f"{event.stream}: alert {event.alert_id[:8]}, {moment(event.detected_at_ms)}, score {_score(event.score)}"
    return svg([_panel(each) for each in features], title=title, x_name="samples from the one that opened the alert")


def _panel(feature: Feature) -> Panel:
    window = np.array(feature.window, dtype=np.float64)
    seen = np.r_[window[:-1], np.nan if feature.actual is None else feature.actual]
    x = np.arange(1.0 - len(seen), 1.0)
    before = seen[-2] if len(seen) > 1 else np.nan
    middle, low, high = (
        np.array([before, np.nan if edge is None else edge])
        for edge in (feature.expected, feature.lower, feature.upper)
    )
    lines = [Line("expected, and how far off that usually is", np.array([-1.0, 0.0]), middle, low, high)]
    return Panel(f"{feature.name}: {feature.share:.0%} of the error", [*lines, Line("seen", x, seen)], marks=[0.0])
