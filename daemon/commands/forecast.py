"""`longwatch forecast`: what a file's stream will do next, with bounds from how wrong such forecasts have been."""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from daemon.commands.past import BadChoice, Choice, Past, guarded
from daemon.plots import Line, Panel, svg
from daemon.progress import Bar
from detectors.ahead import FORECASTS_MIN, Bounds, ahead, bounds

F = NDArray[np.float64]
Row = NDArray[np.void]

STEPS_MAX = 1000
FORECASTS_MAX = 1000  # of the past, spread evenly over what the model has not learnt from
BATCH_ROWS = 64
CHANNELS_TOLD = 6
PAST_SHOWN_MIN = 120  # rows in the picture; or as many as four forecasts are long


@dataclass(frozen=True, slots=True)
class ForecastArguments:
    """What the command line said."""

    choice: Choice
    steps: int = 12
    coverage: float = 0.9
    channels: tuple[str, ...] = ()  # printed and plotted; none: the first few
    plot: Path | None = None
    output: Path | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Forecast:
    """The next K samples of D channels, and the past that the bounds rest on (T rows, m forecasts)."""

    times_ms: NDArray[np.int64]  # (K,)
    level: F  # (K, D) expected
    bounds: Bounds
    seen: F  # (T, D) levels
    made_at: NDArray[np.intp]  # (m,) rows after which the forecasts of the past were made
    made: F  # (m, K, D)
    learnt: bool  # whether the model had learnt from the rows that its forecasts are compared with


def forecast_of(past: Past, steps: int, coverage: float) -> Forecast:
    """Go through a file and say what comes next. Raises BadChoice when the file is too short to measure bounds."""
    origins, learnt = _origins(past, steps)
    gathered = _Gathered(past, steps)
    seen = []
    for i, row in past.rows():
        seen.append(row.level)
        if i in origins:
            gathered.add(i, row.level)
    levels = np.stack(seen)
    last = past.run.row()
    made_at, made, naive = gathered.finished()
    actual = levels[made_at[:, None] + 1 + np.arange(steps)]  # (m, K, D)
    interval_ms = max(float(last["interval_ms"][0]), 1.0)
    return Forecast(
        times_ms=int(last["time_ms"][0]) + (np.arange(1, steps + 1) * interval_ms).astype(np.int64),
        level=ahead(past.run.detector, last, steps)[0],
        bounds=bounds(made, naive, actual, coverage=coverage, at=made_at),
        seen=levels,
        made_at=made_at,
        made=made,
        learnt=learnt,
    )


def _origins(past: Past, steps: int) -> tuple[set[int], bool]:
    """Return the rows after which forecasts are made that can be compared, and whether the model has learnt from them.

    They lie behind what the model has learnt from, unless that leaves too few.
    """
    end = len(past) - steps  # the last forecast must have come to its end
    warm = past.settings.warmup_samples
    begin = max(warm, past.unlearnt_from)
    learnt = end - begin < FORECASTS_MIN
    if learnt:
        begin = warm
    if end - begin < FORECASTS_MIN:
        raise BadChoice(
            f"{len(past)} rows are too few: {warm} of warming up, {steps} to look ahead and {FORECASTS_MIN} forecasts"
            f" to compare are {warm + steps + FORECASTS_MIN}; ask for fewer --steps, or give more rows"
        )
    spread = set(range(begin, end, -(-(end - begin) // FORECASTS_MAX)))
    return spread | {row for row in _shown(len(past), steps) if begin <= row < end}, learnt


def _shown(rows: int, steps: int) -> range:
    """Return the rows whose forecasts cover the past in the picture, end to end."""
    return range(rows - 1 - steps, rows - 1 - _past_shown(steps), -steps)


def _past_shown(steps: int) -> int:
    return max(PAST_SHOWN_MIN, 4 * steps)


class _Gathered:
    """Forecasts of the past, made in batches by whichever model was there then."""

    def __init__(self, past: Past, steps: int) -> None:
        self._run, self._steps = past.run, steps
        self._detector = past.run.detector
        self._waiting: list[Row] = []
        self._at: list[int] = []
        self._last: list[F] = []
        self._made: list[F] = []

    def add(self, row: int, level: F) -> None:
        """Make a forecast after `row`, whose level (D,) was the last one seen."""
        if self._run.detector is not self._detector or len(self._waiting) == BATCH_ROWS:
            self._flush()
        self._waiting.append(self._run.row())
        self._at.append(row)
        known = np.isfinite(level)
        self._last.append(np.where(known, level, self._last[-1] if self._last else np.nan))

    def finished(self) -> tuple[NDArray[np.intp], F, F]:
        """Return the rows (m,), the forecasts (m, K, D) and the last levels repeated (m, K, D)."""
        self._flush()
        naive = np.repeat(np.stack(self._last)[:, None], self._steps, axis=1)
        return np.array(self._at, dtype=np.intp), np.concatenate(self._made), naive

    def _flush(self) -> None:
        if self._waiting:
            self._made.append(ahead(self._detector, np.concatenate(self._waiting), self._steps))
        self._waiting.clear()
        self._detector = self._run.detector


# what is told


def forecast(arguments: ForecastArguments) -> int:
    """Print the forecast, write what was asked for, and return the exit code."""
    return guarded(lambda: _forecast(arguments), sys.stderr)


def _forecast(arguments: ForecastArguments) -> int:
    if not 1 <= arguments.steps <= STEPS_MAX or not 0.0 < arguments.coverage < 1.0:
        raise BadChoice(f"expected --steps from 1 to {STEPS_MAX} and --coverage between 0 and 1")
    bar = Bar(sys.stderr)
    past = Past(arguments.choice, bar)
    told = _told(past, arguments.channels)
    found = forecast_of(past, arguments.steps, arguments.coverage)
    bar.clear()
    for line in table(past, found, told, arguments.coverage):
        print(line)
    if arguments.output is not None:
        _write(arguments.output, past, found)
    if arguments.plot is not None:
        title = f"{arguments.choice.source.name}: the next {arguments.steps} samples; {past.model}"
        arguments.plot.write_text(pictured(past, found, told, title), encoding="utf-8")
    return 0


def _told(past: Past, wanted: tuple[str, ...]) -> list[int]:
    names = past.settings.channels
    if missing := [name for name in wanted if name not in names]:
        raise BadChoice(f"--channel {', '.join(missing)}: there are {', '.join(names)}")
    return [names.index(name) for name in wanted] or list(range(min(len(names), CHANNELS_TOLD)))


def table(past: Past, found: Forecast, told: list[int], coverage: float) -> Iterator[str]:
    """Yield the lines that a person reads."""
    compared = "rows that the model has learnt from" if found.learnt else "rows that the model has not learnt from"
    yield f"{len(past)} rows; {past.model}"
    yield f"bounds for {100 * coverage:g} %, from {found.bounds.forecasts} forecasts of the past, over {compared}"
    for d in told:
        name = past.settings.channels[d]
        yield ""
        measured = f"{'held':>6}  {'error':>10}  of naive"
        yield f"{'step':>4}  {'time (UTC)':<19}  {name[:14]:>14}  {'lower':>12}  {'upper':>12}  {measured}"
        yield from (_line(found, k, d) for k in range(len(found.times_ms)))
    if len(told) < len(past.settings.channels):
        yield f"\n{len(told)} of {len(past.settings.channels)} channels; --channel names others, --output writes all"
    yield "\nheld: how often such bounds, made earlier, contained what then came. error: mean size of the error;"
    yield "of naive: that error in parts of the one made by expecting the last value again (below 1 is better)."


def _line(found: Forecast, k: int, d: int) -> str:
    measured, level = found.bounds, found.level[k, d]
    moment = datetime.fromtimestamp(found.times_ms[k] / 1000.0, UTC).strftime("%Y-%m-%d %H:%M:%S")
    error, naive = measured.error[k, d], measured.naive_error[k, d]
    share = f"{error / naive:.2f}" if naive > 0 else "-"
    lower, upper = level + measured.lower[k, d], level + measured.upper[k, d]
    held = f"{100 * measured.held[k, d]:.0f} %" if np.isfinite(measured.held[k, d]) else "-"
    numbers = f"{level:>14.6g}  {lower:>12.6g}  {upper:>12.6g}  {held:>6}  {error:>10.4g}"
    return f"{k + 1:>4}  {moment}  {numbers}  {share:>8}"


def _write(path: Path, past: Past, found: Forecast) -> None:
    measured = found.bounds
    with path.open("w", encoding="utf-8", newline="") as out:
        rows = csv.writer(out, lineterminator="\n")
        rows.writerow(("step", "time_ms", "channel", "expected", "lower", "upper", "held", "error", "naive_error"))
        for k, moment in enumerate(found.times_ms.tolist()):
            for d, name in enumerate(past.settings.channels):
                level = found.level[k, d]
                edges = level, level + measured.lower[k, d], level + measured.upper[k, d]
                about = (measured.held[k, d], measured.error[k, d], measured.naive_error[k, d])
                rows.writerow((k + 1, moment, name, *(f"{number:.9g}" for number in (*edges, *about))))


def pictured(past: Past, found: Forecast, told: list[int], title: str) -> str:
    """Return the end of the past, what had been forecast of it, and what comes next, as an SVG document."""
    steps, rows = len(found.times_ms), len(found.seen)
    first = max(rows - _past_shown(steps), 0)
    panels = [_panel(past, found, d, first) for d in told]
    return svg(panels, title=title, x_name="samples from the last one of the file")


def _panel(past: Past, found: Forecast, d: int, first: int) -> Panel:
    steps, rows = len(found.times_ms), len(found.seen)
    next_x, level = np.arange(0, steps + 1, dtype=np.float64), np.r_[found.seen[-1, d], found.level[:, d]]
    lower, upper = (level + np.r_[0.0, edge[:, d]] for edge in (found.bounds.lower, found.bounds.upper))
    then = np.full(rows, np.nan)
    for at in _shown(rows, steps):
        made = np.flatnonzero(found.made_at == at)
        if len(made) and at + 1 >= first:
            then[at + 1 : at + 1 + steps] = found.made[made[0], :, d]
    past_x = np.arange(first - rows + 1, 1, dtype=np.float64)
    lines = [
        Line("seen", past_x, found.seen[first:, d]),
        Line("expected, with its bounds", next_x, level, lower, upper),
        Line(f"what had been expected up to {steps} samples before", past_x, then[first:]),
    ]
    return Panel(past.settings.channels[d], lines, marks=[0.0])
