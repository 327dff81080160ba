"""A page to look at: every file with its values, what is labelled, the score, and where alerts opened."""

from __future__ import annotations

import base64
import html
import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from benchmarks.accuracy import baselines
from benchmarks.accuracy.corpora import Series
from benchmarks.accuracy.outcome import Outcome
from benchmarks.accuracy.table import Table
from daemon.plots import Line, Panel, svg

F = NDArray[np.float64]

PLACES: Final = 500  # across a picture; each shows the least and the largest of its rows
CHANNELS_SHOWN: Final = 6  # of many: those that move most in the judged part
SCORE_SHOWN_MAX: Final = 5.0
STYLE: Final = """
body { font: 14px/1.4 system-ui, sans-serif; margin: 2em auto; max-width: 1200px; padding: 0 1em; color: #222 }
table { border-collapse: collapse; margin: 1em 0; font-variant-numeric: tabular-nums; font-size: 12px }
th, td { border: 1px solid #ccc; padding: 2px 6px; text-align: right }
td:first-child, th:first-child { text-align: left }
tr:nth-child(2) { background: #eef6ff } img { width: 100% } details { margin: .3em 0 } summary { cursor: pointer }
"""


def thinned(y: F, places: int = PLACES) -> tuple[F, F]:
    """Return x and y of a curve that looks like `y` (T,): the least and the largest of each of so many stretches."""
    if len(y) <= 2 * places:
        return np.arange(len(y), dtype=np.float64), y
    edges = np.linspace(0, len(y), places + 1).astype(int)
    chosen = []
    for begin, end in itertools.pairwise(edges.tolist()):
        part = y[begin:end]
        chosen += sorted((begin + int(np.argmin(part)), begin + int(np.argmax(part))))
    rows = np.array(chosen)
    return rows.astype(np.float64), y[rows]


def picture(series: Series, outcomes: Mapping[str, Outcome]) -> str:
    """Return one file as an SVG document: its values and, for each detector, its score with the alerts."""
    judged = float(series.judged_from)
    spans = [(float(a), float(b)) for a, b in series.spans]
    panels = [Panel("value (labelled: shaded)", _values(series), spans=spans)]
    for name, outcome in outcomes.items():
        x, y = thinned(np.minimum(outcome.score, SCORE_SHOWN_MAX))
        opened = [float(row) for row in np.flatnonzero(outcome.opened)]
        title = f"score: {name} ({len(opened)} alerts)"
        panels.append(Panel(title, [Line(name, x, y)], spans=spans, marks=opened, levels=[1.0]))
    return svg(panels, title=f"{series.name} (judged from row {judged:.0f})", x_name="row")


def _values(series: Series) -> list[Line]:
    z = baselines.scaled(series)
    if z.shape[1] == 1:
        x, y = thinned(np.nan_to_num(series.table.values[:, 0]))
        return [Line(series.table.channels[0], x, y)]
    moving = np.argsort(-z[series.judged_from :].std(axis=0))[:CHANNELS_SHOWN]
    curves = [(series.table.channels[i], *thinned(z[:, i])) for i in sorted(moving.tolist())]
    return [Line(name, x, y) for name, x, y in curves]


def page(tables: Sequence[Table], files: Iterator[tuple[Series, Mapping[str, Outcome]]]) -> Iterator[str]:
    """Yield the page piece by piece; every picture is in it, nothing is fetched from anywhere."""
    yield f"<!doctype html><html lang='en'><meta charset='utf-8'><title>Accuracy</title><style>{STYLE}</style>\n"
    yield "<h1>Accuracy</h1>\n"
    yield from (f"{table.html()}\n" for table in tables)
    corpus = ""
    for series, outcomes in files:
        if series.corpus != corpus:
            corpus = series.corpus
            yield f"<h2>{corpus}: every file</h2>\n"
        drawn = base64.b64encode(picture(series, outcomes).encode()).decode()
        name = html.escape(series.name)
        yield f"<details open><summary>{name}</summary><img alt='{name}' src='data:image/svg+xml;base64,{drawn}'>"
        yield "</details>\n"
