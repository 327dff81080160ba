"""What an LSTM is for: recall over a distance that a plain recurrent network cannot bridge, and the reason why.

Delayed recall: a sign is shown once, then noise on the same channel for so many steps, then a cue asks for the sign.
Beside it, how much the state of so many steps ago still moves the present one: the norm of the gradient over distance.
"""

from __future__ import annotations

import argparse
import html
import math
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).parents[1]))  # so that it runs as a file, too

from daemon import plots
from detectors.lstm import LSTMWeights, build_lstm, cell, initialise_lstm
from detectors.network import use_threads
from detectors.recurrent import build_rnn, initialise_recurrent, rnn_cell

INPUTS: Final = 3  # a value, whether it is to be kept, whether it is asked for
HIDDEN: Final = 16
WIDE: Final = 64  # where gradients are only looked at: a narrow network gets stuck before they can explode
BATCH: Final = 32
LEARNT: Final = 0.995  # of the last WITHIN updates' answers were right
WITHIN: Final = 50
JUDGED: Final = 1000  # fresh sequences
RECALLED: Final = 0.95  # right answers among them: the task has been learnt

Cells = nn.LSTM | nn.RNN
Kind = Callable[[int, int, torch.Generator], Cells]
F = NDArray[np.float64]


# the contestants: each takes the distance and its width, and draws its first weights


def chrono_lstm(distance: int, hidden: int, generator: torch.Generator) -> Cells:
    """Return an LSTM whose gates' biases spread its memory over up to `distance` steps (Tallec and Ollivier 2018)."""
    lstm = build_lstm(INPUTS, hidden)
    initialise_lstm(lstm, generator)
    with torch.no_grad():
        bias = lstm.all_weights[0][2]
        memory = torch.log(1.0 + (distance - 2.0) * torch.rand(hidden, generator=generator))
        bias[hidden : 2 * hidden] = memory  # forget
        bias[:hidden] = -memory  # insert
    return lstm


def usual_lstm(_distance: int, hidden: int, generator: torch.Generator) -> Cells:
    """Return an LSTM as it starts in Longwatch: a forget bias of 1, a memory of a few steps."""
    lstm = build_lstm(INPUTS, hidden)
    initialise_lstm(lstm, generator)
    return lstm


def rnn_of(gain: float) -> Kind:
    """Return what makes a plain recurrent network whose recurrent weights' largest eigenvalue is near `gain`."""

    def made(_distance: int, hidden: int, generator: torch.Generator) -> Cells:
        rnn = build_rnn(INPUTS, hidden)
        initialise_recurrent(rnn, generator)
        with torch.no_grad():
            rnn.all_weights[0][1].normal_(0.0, gain / math.sqrt(hidden), generator=generator)
        return rnn

    return made


RECALL: Final[dict[str, Kind]] = {
    "LSTM, chrono": chrono_lstm,
    "LSTM, forget bias 1": usual_lstm,
    "RNN, gain 1": rnn_of(1.0),
}
GRADIENT: Final[dict[str, Kind]] = {
    "LSTM, chrono": chrono_lstm,
    "LSTM, forget bias 1": usual_lstm,
    "RNN, gain 0.5": rnn_of(0.5),
    "RNN, gain 1": rnn_of(1.0),
    "RNN, gain 2": rnn_of(2.0),
}


# delayed recall


@dataclass(frozen=True, slots=True)
class Recall:
    """How one network fared at one distance."""

    kind: str
    distance: int
    seed: int
    right: Sequence[float]  # the share of right answers, at each update
    judged: float  # the same on fresh sequences
    seconds: float  # of the processor


def sequences(distance: int, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return inputs (T, count, INPUTS) and the signs (count,) that they ask for."""
    signs = 2.0 * torch.randint(2, (count,), generator=generator) - 1.0
    inputs = torch.zeros(distance + 2, count, INPUTS)
    inputs[1:-1, :, 0] = torch.randn(distance, count, generator=generator)
    inputs[0, :, 0], inputs[0, :, 1], inputs[-1, :, 2] = signs, 1.0, 1.0
    return inputs, signs


def recall(kind: str, distance: int, seed: int, updates_max: int) -> Recall:
    """Teach one network until it answers right, or for `updates_max` updates, and judge it on fresh sequences."""
    started = time.process_time()
    generator = torch.Generator().manual_seed(seed)
    cells = RECALL[kind](distance, HIDDEN, generator)
    answer = nn.Linear(HIDDEN, 1)
    nn.init.zeros_(answer.bias)
    nn.init.normal_(answer.weight, 0.0, 1.0 / math.sqrt(HIDDEN), generator)
    parameters = [*cells.parameters(), *answer.parameters()]
    optimiser = torch.optim.Adam(parameters, lr=0.01)
    right: list[float] = []
    while len(right) < updates_max and (len(right) < WITHIN or statistics.fmean(right[-WITHIN:]) < LEARNT):
        inputs, signs = sequences(distance, BATCH, generator)
        told = answer(cells(inputs)[0][-1])[:, 0] * signs
        optimiser.zero_grad()
        nn.functional.softplus(-told).mean().backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimiser.step()
        right.append(float((told > 0).float().mean()))
    with torch.no_grad():
        inputs, signs = sequences(distance, JUDGED, generator)
        judged = float((answer(cells(inputs)[0][-1])[:, 0] * signs > 0).float().mean())
    return Recall(kind, distance, seed, right, judged, time.process_time() - started)


# the gradient over distance


def step(cells: Cells, x: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """Take one step by the equations; a plain network has no cell state and leaves it as it was."""
    if isinstance(cells, nn.LSTM):
        return cell(x, *state, LSTMWeights.of(cells))
    return rnn_cell(x, state[0], cells), state[1]


def gradient_norms(kind: str, distance: int, seed: int) -> F:
    """Return the norm of the gradient of the last hidden state by the state k steps before, for k = 0 to `distance`.

    Of one random direction of the hidden state, in fresh weights, while noise is read; by the equations, in double
    precision.
    """
    generator = torch.Generator().manual_seed(seed)
    cells = GRADIENT[kind](distance, WIDE, generator).double()
    inputs = torch.randn(distance, 1, INPUTS, generator=generator, dtype=torch.float64)
    zeros = torch.zeros(1, WIDE, dtype=torch.float64)
    states = [(zeros.clone().requires_grad_(True), zeros.clone().requires_grad_(True))]
    for x in inputs:
        states.append(step(cells, x, states[-1]))
    direction = torch.randn(WIDE, generator=generator, dtype=torch.float64)
    told = (states[-1][0] @ (direction / direction.norm())).sum()
    flat = [part for state in states for part in state]
    by = torch.autograd.grad(told, flat, allow_unused=True, materialize_grads=True)
    squares = [float(part.square().sum()) for part in by]
    norms = np.sqrt(np.array(squares).reshape(-1, 2).sum(axis=1))[::-1]
    return np.ascontiguousarray(norms)


# what is told


def mean_gradient(kind: str, distance: int, seeds: int) -> F:
    """Return the geometric mean of the norms over the seeds."""
    norms = np.stack([gradient_norms(kind, distance, seed) for seed in range(seeds)])
    result: F = np.exp(np.log(np.maximum(norms, 1e-300)).mean(axis=0))
    return result


def recall_row(kind: str, distance: int, runs: Sequence[Recall]) -> str:
    """Return a line of the first table."""
    learnt = sum(run.judged >= RECALLED for run in runs)
    judged = statistics.fmean(run.judged for run in runs)
    updates = statistics.median(len(run.right) for run in runs)
    seconds = statistics.fmean(run.seconds for run in runs)
    return f"{kind:<22}{distance:>9}{learnt:>7} of {len(runs)}{judged:>15.3f}{updates:>9.0f}{seconds:>9.1f}"


def gradient_row(kind: str, norms: F, distances: Sequence[int]) -> str:
    """Return a line of the second table."""
    return f"{kind:<22}" + "".join(f"{norms[distance]:>12.1e}" for distance in distances)


def smoothed(right: Sequence[float]) -> F:
    """Return the running mean over the last WITHIN updates."""
    sums = np.cumsum(np.r_[0.0, right])
    end = np.arange(1, len(sums))
    begin = np.maximum(end - WITHIN, 0)
    result: F = (sums[end] - sums[begin]) / (end - begin)
    return result


def recall_picture(runs: Sequence[Recall], distances: Sequence[int]) -> str:
    """Return the learning curves of the first seed."""
    panels = []
    for distance in distances:
        chosen = [run for run in runs if run.distance == distance and run.seed == 0]
        lines = [plots.Line(run.kind, np.arange(1.0, len(run.right) + 1), smoothed(run.right)) for run in chosen]
        panels.append(plots.Panel(f"recall over {distance} steps: share of right answers", lines, levels=(0.5,)))
    return plots.svg(panels, title="Delayed recall", x_name="updates of 32 sequences")


def gradient_picture(norms: dict[str, F]) -> str:
    """Return the norms over distance."""
    lines = []
    for kind, curve in norms.items():
        thinned = np.unique(np.r_[0:50, np.linspace(50, len(curve) - 1, 150).astype(int)])
        shown = np.where(curve[thinned] > 1e-30, curve[thinned], np.nan)
        lines.append(plots.Line(kind, thinned.astype(np.float64), shown))
    title = "norm of the gradient of the hidden state by the state so many steps before, untrained"
    return plots.svg([plots.Panel(title, lines, logarithmic=True)], title="Vanishing and exploding", x_name="steps")


def page(table: str, pictures: Sequence[str]) -> str:
    """Return it all as one HTML page."""
    drawn = "\n".join(picture[picture.index("<svg") :] for picture in pictures)
    return f"<!doctype html><meta charset=utf-8><title>Long memory</title><pre>{html.escape(table)}</pre>\n{drawn}\n"


def main() -> None:
    """Run all contestants over all distances and print, and draw, what came of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--distances", type=int, nargs="+", default=[50, 200, 1000], metavar="STEPS")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--updates", type=int, default=600, help="at most, for each network (default %(default)d)")
    parser.add_argument("--output", type=Path, metavar="FILE", help="an HTML page with the tables and two pictures")
    arguments = parser.parse_args()
    use_threads(1)
    lines = [f"{'delayed recall':<22}{'distance':>9}{'learnt':>12}{'right answers':>15}{'updates':>9}{'seconds':>9}"]
    print(lines[-1], flush=True)
    runs: list[Recall] = []
    for distance in arguments.distances:
        for kind in RECALL:
            now = [recall(kind, distance, seed, arguments.updates) for seed in range(arguments.seeds)]
            lines.append(recall_row(kind, distance, now))
            print(lines[-1], flush=True)
            runs += now
    farthest = max(arguments.distances)
    norms = {kind: mean_gradient(kind, farthest, 5) for kind in GRADIENT}
    lines += ["", f"{'gradient norm over':<22}" + "".join(f"{distance:>6} steps" for distance in arguments.distances)]
    lines += [gradient_row(kind, curve, arguments.distances) for kind, curve in norms.items()]
    print("\n".join(lines[-len(norms) - 2 :]))
    if arguments.output is not None:
        pictures = gradient_picture(norms), recall_picture(runs, arguments.distances)
        arguments.output.write_text(page("\n".join(lines), pictures), encoding="utf-8")
        print(f"\n{arguments.output} written")


if __name__ == "__main__":
    main()
