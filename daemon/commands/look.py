"""`longwatch look`: what went on inside the detector while it read a stretch of a file, as a picture and as numbers."""

from __future__ import annotations

import csv
import json
import math
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from daemon.commands.past import BadChoice, Choice, Past, Seen, guarded
from daemon.inside import gate_panels, without_nan
from daemon.plots import Line, Panel, svg
from daemon.progress import Bar
from detectors.introspection import Gates, Witness, cell_of, joined

F = NDArray[np.float64]

ROWS_SHOWN = 500
ROWS_MAX = 20_000
CHANNELS_SHOWN = 4


@dataclass(frozen=True, slots=True, eq=False)
class Stretch:
    """T rows of a file as the detector saw them."""

    rows: NDArray[np.int64]  # (T,) numbers, from 0
    level: F  # (T, D)
    expected: F  # (T, D)
    margin: F  # (T, D)
    score: F  # (T,)
    opened: NDArray[np.bool_]  # (T,) where an alert opened
    gates: Gates  # (T, H) each; NaN where all channels were missing


def looked(past: Past, span: tuple[int, int]) -> Stretch:
    """Go through the file up to the end of `span` (first row, row after the last) and return what was seen in it.

    Raises NoGates when the detector has no LSTM.
    """
    found: list[Seen] = []
    watching = _Watching(past, span[0])
    for i, seen in past.rows(watching.before_row):
        if i >= span[0]:
            found.append(seen)
            watching.after_row()
        if i + 1 == span[1]:
            break
    rows = np.arange(*span)
    return Stretch(
        rows=rows,
        level=np.stack([each.level for each in found]),
        expected=np.stack([each.expected for each in found]),
        margin=np.stack([each.margin for each in found]),
        score=np.array([each.score for each in found]),
        opened=past.run.result().opened[rows],
        gates=watching.gates(),
    )


class _Watching:
    """Has a witness beside whichever network scores, from the row `first` on."""

    def __init__(self, past: Past, first: int) -> None:
        self._run, self._first = past.run, first
        self._witnesses: list[Witness] = []
        self._read: list[bool] = []
        self._held = 0

    def before_row(self, row: int) -> None:
        network = self._run.detector.network
        if row < self._first or isinstance(network, Witness):
            return
        cell_of(network)
        assert network is not None
        self._witnesses.append(Witness(network))
        self._run.watch(self._witnesses[-1])

    def after_row(self) -> None:
        held = sum(each.samples for each in self._witnesses)
        self._read.append(held > self._held)
        self._held = held

    def gates(self) -> Gates:
        return joined([each.gates() for each in self._witnesses], np.array(self._read, dtype=bool))


def pictured(past: Past, stretch: Stretch, title: str) -> str:
    """Return the stretch as an SVG document: values and what was expected of them, scores, and the cell's inside."""
    x = stretch.rows.astype(np.float64)
    panels = [_channel(past, stretch, x, d) for d in range(min(len(past.settings.channels), CHANNELS_SHOWN))]
    panels.append(
        Panel("score; 1 is the limit", [Line("score", x, stretch.score)], marks=_opened(stretch), levels=[1.0])
    )
    return svg([*panels, *gate_panels(x, stretch.gates)], title=title, x_name="row of the file")


def _channel(past: Past, stretch: Stretch, x: F, d: int) -> Panel:
    expected, margin = stretch.expected[:, d], stretch.margin[:, d]
    lines = [
        Line("expected, and how far off that usually is", x, expected, expected - margin, expected + margin),
        Line("seen", x, stretch.level[:, d]),
    ]
    return Panel(past.settings.channels[d], lines, marks=_opened(stretch))


def _opened(stretch: Stretch) -> list[float]:
    return [float(row) for row in stretch.rows[stretch.opened]]


# the numbers


def columns(past: Past, stretch: Stretch) -> dict[str, NDArray[np.generic]]:
    """Return every number of the stretch by name: (T,), (T, D) or (T, H)."""
    plain = {name: getattr(stretch, name) for name in ("level", "expected", "margin", "score", "opened")}
    times_ms = past.table.times_ms[stretch.rows]
    return {"row": stretch.rows, "time_ms": times_ms, **plain, **dict(stretch.gates.named())}


def saved(path: Path, channels: Sequence[str], arrays: Mapping[str, NDArray[np.generic]]) -> None:
    """Write the arrays as the ending of the name says: .npz, .json or .csv. Raises BadChoice for another."""
    writers: dict[str, Callable[[], None]] = {
        ".npz": lambda: np.savez_compressed(path, channels=np.array(channels), **arrays),  # type: ignore[arg-type]
        ".json": lambda: _json(path, channels, arrays),
        ".csv": lambda: _csv(path, channels, arrays),
    }
    if path.suffix not in writers:
        raise BadChoice(f"--output {path}: the name must end in {', '.join(writers)}")
    writers[path.suffix]()


def _json(path: Path, channels: Sequence[str], arrays: Mapping[str, NDArray[np.generic]]) -> None:
    told = {"channels": list(channels), **{name: without_nan(array.tolist()) for name, array in arrays.items()}}
    path.write_text(json.dumps(told, allow_nan=False) + "\n", encoding="utf-8")


def _csv(path: Path, channels: Sequence[str], arrays: Mapping[str, NDArray[np.generic]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as out:
        rows = csv.writer(out, lineterminator="\n")
        rows.writerow([name for key, array in arrays.items() for name in _headings(key, channels, array)])
        for i in range(len(arrays["row"])):
            rows.writerow([_cell(value) for array in arrays.values() for value in np.atleast_1d(array[i]).tolist()])


def _headings(name: str, channels: Sequence[str], array: NDArray[np.generic]) -> Iterator[str]:
    if array.ndim == 1:
        yield name
    elif name in ("level", "expected", "margin"):
        yield from (f"{name}:{channel}" for channel in channels)
    else:
        yield from (f"{name}:{number}" for number in range(array.shape[1]))


def _cell(value: object) -> object:
    if isinstance(value, float):
        return f"{value:.7g}" if math.isfinite(value) else ""
    return int(value) if isinstance(value, bool) else value


# the verb


@dataclass(frozen=True, slots=True)
class LookArguments:
    """What the command line said."""

    choice: Choice
    rows: str | None = None  # FIRST:END
    plot: Path | None = None
    output: Path | None = None


def look(arguments: LookArguments) -> int:
    """Show what went on inside the detector and return the exit code."""
    return guarded(lambda: _look(arguments), sys.stderr)


def _look(arguments: LookArguments) -> int:
    if arguments.plot is None and arguments.output is None:
        raise BadChoice("nothing to write: name a picture (--plot FILE.svg), the numbers (--output FILE.npz), or both")
    bar = Bar(sys.stderr)
    past = Past(arguments.choice, bar)
    span = _span(arguments.rows, len(past))
    stretch = looked(past, span)
    bar.clear()
    if arguments.output is not None:
        saved(arguments.output, past.settings.channels, columns(past, stretch))
    if arguments.plot is not None:
        title = f"{arguments.choice.source.name}, rows {span[0]} to {span[1] - 1}; {past.model}"
        arguments.plot.write_text(pictured(past, stretch, title), encoding="utf-8")
    for line in _summary(past, stretch):
        print(line)
    return 0


def _span(text: str | None, rows: int) -> tuple[int, int]:
    if text is None:
        return max(rows - ROWS_SHOWN, 0), rows
    first, _, end = text.partition(":")
    try:
        span = int(first or 0), min(int(end or rows), rows)
    except ValueError:
        span = 0, 0
    if not 0 <= span[0] < span[1] or span[1] - span[0] > ROWS_MAX:
        raise BadChoice(f"--rows {text}: expected FIRST:END within 0:{rows}, at most {ROWS_MAX} rows")
    return span


def _summary(past: Past, stretch: Stretch) -> Iterator[str]:
    yield f"rows {stretch.rows[0]} to {stretch.rows[-1]}; {past.model}; {int(stretch.opened.sum())} alerts opened"
    for name, array in stretch.gates.named():
        low, middle, high = np.nanquantile(array, (0.05, 0.5, 0.95))
        yield f"  {name:<10} median {middle:7.3f}   5 % below {low:7.3f}   5 % above {high:7.3f}"
