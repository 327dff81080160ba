"""Eight kinds of fault with labels: what goes wrong in a stream, when, and by how much.

Magnitudes are stated in a stream's own units: its noise, and its reach (the swing of a usual day, and four times the
noise), and drawn evenly between two ends. The ends were raised once while the detector was being built: the closing
table shows how the product behaves, it is no measure of accuracy.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from daemon.demo.fleet import Fleet, Stream
from daemon.demo.judge import Label
from daemon.demo.series import SeriesKind, quantised

F = NDArray[np.float64]
FaultKind = Literal["spike", "drop", "level_shift", "drift", "frozen", "variance", "period", "silence"]

ROOM_DAYS: Final = 1.5  # between two faults of one stream, and before the first
ROOM_DAYS_MORE: Final = 3.0  # up to so much longer, drawn evenly
FASTER: Final = 2  # a changed period is half the usual one


@dataclass(frozen=True, slots=True)
class Magnitude:
    """How long a fault lasts and how large it is; both are drawn evenly between the two ends."""

    hours: tuple[float, float]
    size: tuple[float, float]
    unit: Literal["reach", "noise", ""]
    signs: tuple[int, ...] = (1,)


MAGNITUDES: Final[Mapping[FaultKind, Magnitude]] = {
    "spike": Magnitude((0.08, 0.34), (1.0, 2.0), "reach"),
    "drop": Magnitude((0.5, 2.0), (0.75, 1.5), "reach", (-1,)),
    "level_shift": Magnitude((12.0, 24.0), (0.6, 1.2), "reach", (-1, 1)),
    "drift": Magnitude((18.0, 30.0), (0.75, 1.5), "reach", (-1, 1)),
    "frozen": Magnitude((4.0, 10.0), (0.0, 0.0), ""),
    "variance": Magnitude((6.0, 12.0), (4.0, 8.0), "noise"),
    "period": Magnitude((24.0, 24.0), (0.0, 0.0), ""),
    "silence": Magnitude((3.0, 5.0), (0.0, 0.0), ""),
}

SENSIBLE: Final[Mapping[SeriesKind, tuple[FaultKind, ...]]] = {
    "seasonal": ("spike", "drop", "level_shift", "drift", "frozen", "variance", "period", "silence"),
    "bursty": ("level_shift", "drift", "frozen", "variance", "silence"),  # it spikes and calms down by itself
    "trending": ("spike", "drop", "level_shift", "drift", "frozen", "variance", "silence"),
    "counter": ("spike", "drop", "level_shift", "drift", "frozen", "silence"),
    "constant": ("spike", "drop", "level_shift", "drift", "variance", "silence"),  # frozen is its nature
    "periodic": ("spike", "level_shift", "drift", "frozen", "variance", "period", "silence"),  # idle cannot drop
}


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault of one stream in the steps [step_from, step_to)."""

    stream: Stream
    kind: FaultKind
    step_from: int
    step_to: int
    height: float  # in the stream's raw units (a counter's: of its increment), signed; 0 where the kind has none
    seed: int  # of the noise that a changed variance adds


def sensible(stream: Stream) -> tuple[FaultKind, ...]:
    """Return the kinds of fault that can be told from the usual behaviour of `stream`."""
    return tuple(kind for kind in SENSIBLE[stream.kind] if not (stream.zero and kind == "drop"))


def schedule(fleet: Fleet, step_from: int, step_to: int, seed: int) -> tuple[Fault, ...]:
    """Plan faults for the steps [step_from, step_to): one at a time in a stream, with room between, all kinds alike.

    A pure function of its arguments, sorted by start. Room is ROOM_DAYS to ROOM_DAYS + ROOM_DAYS_MORE, and half a
    day at the end.
    """
    generator = np.random.default_rng([seed, fleet.seed])
    used: Counter[FaultKind] = Counter()
    planned: list[Fault] = []
    for column in generator.permutation(len(fleet.streams)):
        planned += _plan(fleet, fleet.streams[column], (step_from, step_to), generator, used)
    return tuple(sorted(planned, key=lambda fault: (fault.step_from, fault.stream.column)))


def _plan(
    fleet: Fleet, stream: Stream, steps: tuple[int, int], generator: np.random.Generator, used: Counter[FaultKind]
) -> list[Fault]:
    """Plan one stream; `used` counts the kinds of all streams, so that the rarest one is always next."""
    planned: list[Fault] = []
    begin = steps[0] + _room(fleet, generator)
    while True:
        kinds = [kind for kind in sensible(stream) if not planned or kind != planned[-1].kind]
        rarest = [kind for kind in kinds if used[kind] == min(used[kind] for kind in kinds)]
        fault = _draw(fleet, stream, rarest[int(generator.integers(len(rarest)))], begin, generator)
        if fault.step_to + fleet.day_steps // 2 > steps[1]:
            return planned
        planned.append(fault)
        used[fault.kind] += 1
        begin = fault.step_to + _room(fleet, generator)


def _room(fleet: Fleet, generator: np.random.Generator) -> int:
    return int(np.ceil(fleet.day_steps * generator.uniform(ROOM_DAYS, ROOM_DAYS + ROOM_DAYS_MORE)))


def _draw(fleet: Fleet, stream: Stream, kind: FaultKind, begin: int, generator: np.random.Generator) -> Fault:
    magnitude = MAGNITUDES[kind]
    hours, size = generator.uniform(*magnitude.hours), generator.uniform(*magnitude.size)
    unit = {"reach": stream.reach, "noise": stream.noise, "": 0.0}[magnitude.unit]
    steps = max(1, round(hours * fleet.day_steps / 24))
    sign = 1 if stream.zero else int(generator.choice(magnitude.signs))  # what is 0 cannot fall
    return Fault(stream, kind, begin, begin + steps, sign * size * unit, int(generator.integers(1 << 31)))


def label(fault: Fault, fleet: Fleet) -> Label:
    """Return the fault as the judge sees it."""
    return Label(fault.stream.key, fault.kind, fleet.step_ms(fault.step_from), fleet.step_ms(fault.step_to))


def inject_all(values: F, faults: tuple[Fault, ...], step_from: int) -> F:
    """Return the fleet's `values` (T, S), which begin at `step_from`, with all `faults` in them."""
    result = values.copy()
    for fault in faults:
        column = fault.stream.column
        result[:, column] = inject(result[:, column], fault, step_from)
    return result


def inject(values: F, fault: Fault, step_from: int = 0) -> F:
    """Return one stream's `values` (T,), which begin at `step_from`, with `fault` in them; NaN where it is silent.

    The fault must lie within the values. A counter's fault happens to its increments, so what follows it until the
    next reset is displaced too. Values that were never negative stay so, and quantised ones stay quantised.
    """
    begin, end = fault.step_from - step_from, fault.step_to - step_from
    if not 0 <= begin < end <= len(values):
        raise ValueError(f"the fault's steps {fault.step_from} to {fault.step_to} lie outside of the values")
    if fault.kind == "silence":
        return np.concatenate([values[:begin], np.full(end - begin, np.nan), values[end:]])
    if fault.stream.kind == "counter":
        return _in_increments(values, fault, slice(begin, end))
    return _changed(values, fault, slice(begin, end))


def _changed(values: F, fault: Fault, during: slice) -> F:
    result = values.copy()
    usual = values[during]
    changed = _CHANGES[fault.kind](values, fault, during)
    # a drop ends at zero at the latest; a counter never runs backwards
    floor = 0.0 if np.nanmin(values) >= 0.0 else -np.inf
    whole = quantised(np.maximum(changed, floor), np.full(len(changed), fault.stream.quantum))
    result[during] = np.where(np.isnan(usual), np.nan, whole)
    return result


def _in_increments(values: F, fault: Fault, during: slice) -> F:
    """Take a counter apart, change its increments and add them up again, with the same resets and silences."""
    known = np.flatnonzero(~np.isnan(values))
    total = values[known]
    rise = np.diff(total, prepend=total[:1])
    reset = rise < 0
    usual = np.where(reset, total, rise)
    begin, end = np.searchsorted(known, [during.start, during.stop])
    added = np.cumsum(_changed(usual, fault, slice(int(begin), int(end))) - usual)
    last_reset = np.maximum.accumulate(np.where(reset, np.arange(len(total)), 0))
    forgotten = np.where(last_reset > 0, added[last_reset - 1], 0.0)
    result = np.full(len(values), np.nan)
    result[known] = total + added - forgotten
    return result


def _shifted(values: F, fault: Fault, during: slice) -> F:
    return values[during] + fault.height


def _drifting(values: F, fault: Fault, during: slice) -> F:
    """Rise or fall in a straight line to `height`, and be well again at once."""
    length = during.stop - during.start
    result: F = values[during] + fault.height * np.arange(1, length + 1) / length
    return result


def _frozen(values: F, fault: Fault, during: slice) -> F:
    """Repeat the last value before the fault; a counter's increments become 0."""
    stuck = 0.0 if fault.stream.kind == "counter" else values[max(during.start - 1, 0)]
    return np.full(during.stop - during.start, stuck)


def _noisier(values: F, fault: Fault, during: slice) -> F:
    """Add white noise whose standard deviation is `height`."""
    drawn = np.random.default_rng(fault.seed).standard_normal(during.stop - during.start)
    result: F = values[during] + fault.height * drawn
    return result


def _faster(values: F, _fault: Fault, during: slice) -> F:
    """Read the stream's own future at twice the speed; beyond its end, go back by the fault's length.

    A period fault is followed by more room than its own length, so no other fault lies in what it reads.
    """
    ahead = during.start + FASTER * np.arange(during.stop - during.start)
    over = np.maximum(ahead - len(values) + 1, 0)
    length = during.stop - during.start
    result: F = values[ahead - -(-over // length) * length]
    return result


_CHANGES: Final[Mapping[FaultKind, Callable[[F, Fault, slice], F]]] = {
    "spike": _shifted,
    "drop": _shifted,
    "level_shift": _shifted,
    "drift": _drifting,
    "frozen": _frozen,
    "variance": _noisier,
    "period": _faster,
}
