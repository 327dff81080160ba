"""What a training was like, as a picture: losses, gradient norms, clipped updates, learning rate."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from daemon.plots import Line, Panel, svg
from detectors.progress import Progress


def picture(title: str, curves: Sequence[Progress], gradient_norm_max: float) -> str:
    """Return the curves as SVG; without any, empty panels. Raises PlotsMissing without the extra."""
    epochs = np.array([each.epoch for each in curves], dtype=np.float64)

    def line(name: str, values: Sequence[float]) -> Line:
        return Line(name, epochs, np.array(values, dtype=np.float64))

    losses = [
        line("earlier data, learnt from", [each.loss for each in curves]),
        line("later data, judged by", [each.validation_loss for each in curves]),
    ]
    norms = [
        line("mean", [each.gradient_norm for each in curves]),
        line("largest", [each.gradient_norm_max for each in curves]),
    ]
    clipped = [line("clipped", [each.clipped_share for each in curves])]
    panels = [
        Panel("loss: window and forecast together", losses, marks=_best(curves)),
        Panel(
            "gradient norm before clipping; clipped above the line", norms, levels=[gradient_norm_max], logarithmic=True
        ),
        Panel("share of clipped updates", clipped),
        Panel("learning rate", [line("rate", [each.learning_rate for each in curves])]),
    ]
    return svg(panels, title=title, x_name="epoch")


def _best(curves: Sequence[Progress]) -> list[float]:
    """Return where the best weights are, which were kept."""
    return [float(min(curves, key=lambda each: each.validation_loss).epoch)] if curves else []
