"""The one door to matplotlib: lines over a common axis, as a picture to look at. It is an extra: `longwatch[plots]`."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

INCHES_WIDE: Final = 11.0
INCHES_A_PANEL: Final = 2.2


class PlotsMissing(Exception):
    """The extra is not installed; the text says how to get it."""


@dataclass(frozen=True, slots=True)
class Line:
    """One curve; where `y` is not finite the curve is broken."""

    name: str
    x: NDArray[np.float64]
    y: NDArray[np.float64]
    low: NDArray[np.float64] | None = None  # with `high`, a band around it
    high: NDArray[np.float64] | None = None


@dataclass(frozen=True, slots=True)
class Heat:
    """Rows of numbers as colours, one row under the other: `values` (rows, len(x)) over an even `x`."""

    x: NDArray[np.float64]
    values: NDArray[np.float64]
    low: float  # shown darkest, or blue where `high` is `-low`
    high: float  # shown brightest, or red


@dataclass(frozen=True, slots=True)
class Panel:
    """One field of curves or colours, one under the other with the rest."""

    title: str
    lines: Sequence[Line] = ()
    heat: Heat | None = None
    spans: Sequence[tuple[float, float]] = ()  # shaded from x to x, such as labelled faults
    marks: Sequence[float] = ()  # an upright at each x, such as alerts
    levels: Sequence[float] = ()  # a dashed horizontal at each y, such as the threshold
    logarithmic: bool = False


def svg(panels: Sequence[Panel], *, title: str, x_name: str) -> str:
    """Return `panels` below each other over the same x as an SVG document, always the same text for the same curves.

    Raises PlotsMissing without the extra.
    """
    try:
        import matplotlib as mpl
        from matplotlib.figure import Figure
    except ImportError as error:
        raise PlotsMissing("pictures need the extra: pip install 'longwatch[plots]'") from error
    with mpl.rc_context(
        {"svg.hashsalt": "longwatch", "svg.fonttype": "none", "font.size": 9.0, "text.parse_math": False}
    ):
        figure = Figure(figsize=(INCHES_WIDE, 0.8 + INCHES_A_PANEL * len(panels)), layout="constrained")
        fields = figure.subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0]
        for field, panel in zip(fields, panels, strict=True):
            _draw(field, panel)
        if any(panel.heat is not None for panel in panels):  # colours would cut off the curves that reach beyond them
            fields[0].set_xlim(_ends(panels))
        fields[-1].set_xlabel(x_name)
        figure.suptitle(title)
        written = io.StringIO()
        figure.savefig(written, format="svg", metadata={"Date": None, "Creator": None})
    return written.getvalue()


def _ends(panels: Sequence[Panel]) -> tuple[float, float]:
    """Return the first and the last x of all curves and colours."""
    ends = [(line.x[0], line.x[-1]) for panel in panels for line in panel.lines if len(line.x)]
    ends += [_edges(panel.heat) for panel in panels if panel.heat is not None]
    return float(min(begin for begin, _ in ends)), float(max(end for _, end in ends))


def _edges(heat: Heat) -> tuple[float, float]:
    """Return where the first column of colours begins and the last one ends."""
    half = 0.5 * (heat.x[-1] - heat.x[0]) / max(len(heat.x) - 1, 1) or 0.5
    return heat.x[0] - half, heat.x[-1] + half


def _draw(field: object, panel: Panel) -> None:
    from matplotlib.axes import Axes

    assert isinstance(field, Axes)
    if panel.heat is not None:
        _colour(field, panel.heat)
    for line in panel.lines:
        (curve,) = field.plot(line.x, line.y, linewidth=1.0, label=line.name)
        if line.low is not None and line.high is not None:
            field.fill_between(line.x, line.low, line.high, color=curve.get_color(), alpha=0.15, linewidth=0)
    for begin, end in panel.spans:
        field.axvspan(begin, end, color="tab:orange", alpha=0.25, linewidth=0)
    for mark in panel.marks:
        field.axvline(mark, color="tab:red", linewidth=0.8)
    for level in panel.levels:
        field.axhline(level, color="grey", linestyle="--", linewidth=0.8)
    if panel.logarithmic:
        field.set_yscale("log")
    field.set_title(panel.title, loc="left", fontsize=9)
    if len(panel.lines) > 1:
        field.legend(loc="upper left", fontsize=8, frameon=False, ncols=4)


def _colour(field: object, heat: Heat) -> None:
    from matplotlib.axes import Axes
    from matplotlib.ticker import MaxNLocator

    assert isinstance(field, Axes)
    begin, end = _edges(heat)
    field.imshow(
        np.ma.masked_invalid(heat.values),
        extent=(begin, end, len(heat.values) - 0.5, -0.5),
        aspect="auto",
        interpolation="nearest",
        cmap="RdBu_r" if heat.low == -heat.high else "viridis",
        vmin=heat.low,
        vmax=heat.high,
    )
    field.yaxis.set_major_locator(MaxNLocator(nbins=5, integer=True))
