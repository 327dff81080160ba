"""Looking into the cell: how far each gate was open, what was proposed, kept and said, sample by sample.

Computed by the equations of `lstm.cell`, so what is shown is what the paper's symbols mean, not how it is made fast.

Shapes: T samples of one stream, F inputs, H memory cells.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from detectors import adopt
from detectors.lstm import FusedLSTM, LSTMWeights, cell
from detectors.network import Network
from detectors.own_weights import FIELD, have_own
from detectors.scoring import Advanced, Detector, OwnNetwork
from detectors.scoring import Network as AnyNetwork
from detectors.settings import DetectorSettings

F = NDArray[np.float64]
F4 = NDArray[np.float32]
Row = NDArray[np.void]

SOLVED_CELLS_MAX: Final = 64  # of a wider cell the state before the window is not sought: it would take seconds
STIFFNESS: Final = 1e-4  # what memory before the window costs, against missing its end; squares
DAMPING_FIRST: Final = 1e-2
SOLVING_STEPS: Final = 16


class NoGates(ValueError):
    """There is no LSTM cell to look into; the text says what is there instead."""


@dataclass(frozen=True, slots=True, eq=False)
class Gates:
    """The inside of one LSTM cell over T samples; every array is (T, H), float32."""

    forget: F4  # 0 to 1: how much of the old memory stays
    insert: F4  # 0 to 1: how much of the new enters (the input gate)
    output: F4  # 0 to 1: how much of the memory shows
    candidate: F4  # -1 to 1: what is new
    cell: F4  # the memory after the sample
    hidden: F4  # -1 to 1: what the cell says after the sample

    def named(self) -> Iterator[tuple[str, F4]]:
        """Yield each array with its name."""
        for each in fields(self):
            yield each.name, getattr(self, each.name)


def cell_of(network: AnyNetwork | None, change: F4 | None = None) -> LSTMWeights:
    """Return the equations of the cell that reads a network's samples; raises NoGates when it has none.

    With a `change` (1, P) it is the cell of the stream whose own weights those are.
    """
    if network is None:
        raise NoGates("this detector has no network yet: it answers by plain arithmetic, which has no gates")
    reader: object = network.encoder if isinstance(network, Network) else network
    if not isinstance(reader, FusedLSTM):
        raise NoGates(f"{type(reader).__name__} has no LSTM gates to show; only a plain LSTM encoder has")
    if change is not None and isinstance(network, Network):
        return network.bases.equations(torch.from_numpy(change))
    return reader.equations()


@torch.no_grad()
def opened(weights: LSTMWeights, inputs: F4, hidden: F4, memory: F4) -> Gates:
    """Return the gates while `inputs` (T, F) are read one after the other from the state `hidden`, `memory` (H,)."""
    h, c = torch.from_numpy(hidden)[None], torch.from_numpy(memory)[None]
    rows = []
    for x in torch.from_numpy(inputs):
        xh = torch.cat((x[None], h), dim=1)
        gates = (weights.forget, weights.insert, weights.output)
        open_now = [torch.sigmoid(gate(xh)) for gate in gates]
        candidate = torch.tanh(weights.candidate(xh))
        h, c = cell(x[None], h, c, weights)
        rows.append(torch.cat([*open_now, candidate, c, h]))
    if not rows:
        return Gates(*np.zeros((6, 0, len(hidden)), np.float32))
    return Gates(*torch.stack(rows, dim=1).numpy())


def joined(parts: Sequence[Gates], read: NDArray[np.bool_]) -> Gates:
    """Return the gates over rows `read` (T,) out of those of one or more networks, NaN where nothing was read."""
    arrays = []
    for name in (each.name for each in fields(Gates)):
        values = np.concatenate([getattr(part, name) for part in parts])
        array = np.full((len(read), values.shape[1]), np.nan, np.float32)
        array[read] = values
        arrays.append(array)
    return Gates(*arrays)


# a file's stretch: what the network read, taken down while it reads


class Witness:
    """A network that notes what it reads of one stream, and is otherwise the one it stands for."""

    def __init__(self, network: AnyNetwork) -> None:
        """Stand for `network`; raises NoGates when it has no LSTM."""
        self._network, self._weights = network, cell_of(network)
        self._changes: list[F4 | None] = []  # of weights of the stream's own, one for each stretch without another
        self._inputs: list[list[F4]] = []  # of each stretch
        self._state: tuple[F4, F4] | None = None

    @property
    def samples(self) -> int:
        """How many it has read."""
        return sum(map(len, self._inputs))

    def advance(self, inputs: F4, hidden: F4, cell: F4, newest_of: NDArray[np.bool_] | None = None) -> Advanced:
        """Take one sample (1, F) into the stream's state (1, H), and note it."""
        self._note(inputs, (hidden, cell), None)
        return self._network.advance(inputs, hidden, cell, newest_of)

    def advance_own(self, inputs: F4, hidden: F4, cell: F4, change: F4) -> Advanced:
        """Take one sample as `advance` does, with the weights that the stream's `change` (1, P) makes."""
        assert isinstance(self._network, OwnNetwork)
        self._note(inputs, (hidden, cell), change)
        return self._network.advance_own(inputs, hidden, cell, change)

    def learn_own(self, rows: Row, where: NDArray[np.bool_], settings: DetectorSettings) -> None:
        """Give the stream the lesson that is due."""
        assert isinstance(self._network, OwnNetwork)
        self._network.learn_own(rows, where, settings)

    def _note(self, inputs: F4, state: tuple[F4, F4], change: F4 | None) -> None:
        if len(inputs) != 1:
            raise ValueError(f"{len(inputs)} streams at a time; a witness follows one")
        if self._state is None:
            self._state = state[0][0].copy(), state[1][0].copy()
        if not self._changes or not _equal(change, self._changes[-1]):
            self._changes.append(None if change is None else np.array(change))
            self._inputs.append([])
        self._inputs[-1].append(inputs[0].copy())

    def autoregress(self, window: F4) -> F4 | None:
        """Return what the network that is watched says."""
        return self._network.autoregress(window)

    def rebuild(self, inputs: F4, valid: NDArray[np.bool_]) -> tuple[F4, F4]:
        """Return hidden and cell state (n, H) after a stored window (n, W, F), oldest first."""
        return self._network.rebuild(inputs, valid)

    def gates(self) -> Gates:
        """Return the gates over all that was read."""
        width = len(self._weights.forget.bias)
        if self._state is None:
            return Gates(*np.zeros((6, 0, width), np.float32))
        state, parts = self._state, []
        for change, inputs in zip(self._changes, self._inputs, strict=True):
            parts.append(opened(cell_of(self._network, change), np.stack(inputs), *state))
            state = parts[-1].hidden[-1], parts[-1].cell[-1]
        return joined(parts, np.ones(self.samples, dtype=bool))


def _equal(one: F4 | None, other: F4 | None) -> bool:
    return one is other or (one is not None and other is not None and np.array_equal(one, other))


# a living stream's window: the row holds the last samples and where they led, not where they began


@dataclass(frozen=True, slots=True, eq=False)
class WindowSeen:
    """A stream's stored window as its cell read it: T samples, the newest last."""

    gates: Gates
    times_ms: NDArray[np.int64]  # (T,) by the usual interval
    gap: float  # largest difference between the state shown last and the one that the stream carries


def window_seen(detector: Detector, row: Row, samples_max: int) -> WindowSeen:
    """Return the gates over the newest of the window that `row` (1,) stores; raises NoGates.

    A row does not say in which state the window began. The smallest one that leads to the state carried now is sought;
    `gap` says how near that came (a missing value, a gap or a new scale within the window makes it larger).
    """
    own = np.array(row[FIELD]) if have_own(row) else None
    weights = cell_of(detector.network, own)
    stored, valid = adopt.stored_inputs(row)
    inputs = stored[0][valid[0]][-samples_max:]  # (T, F)
    hidden, memory = (row[name][0].copy() for name in ("hidden", "cell"))
    gates = opened(weights, inputs, *_beginning(weights, inputs, hidden, memory))
    last = len(inputs) - 1
    gap = (
        max(float(np.abs(a[last] - b).max()) for a, b in ((gates.hidden, hidden), (gates.cell, memory)))
        if last >= 0
        else 0.0
    )
    ago = (np.arange(last, -1, -1) * row["interval_ms"][0]).astype(np.int64)
    return WindowSeen(gates, row["time_ms"][0] - ago, gap)


def _beginning(weights: LSTMWeights, inputs: F4, hidden: F4, memory: F4) -> tuple[F4, F4]:
    """Return the smallest state (H,), (H,) from which reading `inputs` comes near to `hidden`, `memory`.

    Regularised least squares by damped Gauss-Newton steps (Levenberg 1944, Marquardt 1963); deterministic.
    """
    width = len(hidden)
    state = np.zeros(2 * width)
    if width > SOLVED_CELLS_MAX or len(inputs) == 0:
        return _halves(state)
    arrays, wanted = _Arrays.of(weights), np.concatenate([hidden, memory]).astype(np.float64)
    end, slope = arrays.read(inputs, state)
    damping = DAMPING_FIRST
    for _ in range(SOLVING_STEPS):
        pull = slope.T @ (wanted - end) - STIFFNESS * state
        tried = state + np.linalg.solve(slope.T @ slope + (STIFFNESS + damping) * np.eye(2 * width), pull)
        reached, steeper = arrays.read(inputs, tried)
        if _cost(wanted - reached, tried) < _cost(wanted - end, state):
            state, end, slope, damping = tried, reached, steeper, 0.1 * damping
        else:
            damping *= 10.0
    return _halves(state)


def _cost(missed: F, state: F) -> float:
    return float(missed @ missed + STIFFNESS * state @ state)


def _halves(state: F) -> tuple[F4, F4]:
    hidden, memory = np.split(state.astype(np.float32), 2)
    return hidden, memory


@dataclass(frozen=True, slots=True)
class _Arrays:
    """The equations in double precision, with the slope of where they lead to over where they begin."""

    weight: F  # (4, F + H, H): forget, insert, output, candidate
    bias: F  # (4, H)

    @classmethod
    def of(cls, weights: LSTMWeights) -> _Arrays:
        gates = (weights.forget, weights.insert, weights.output, weights.candidate)
        weight, bias = (np.stack([part.numpy() for part in parts]) for parts in zip(*gates, strict=True))
        return cls(weight.astype(np.float64), bias.astype(np.float64))

    def read(self, inputs: F4, state: F) -> tuple[F, F]:
        """Return the state (2 H,) after `inputs` (T, F) from `state` (2 H,), and its slope (2 H, 2 H) over that."""
        h, c = np.split(state, 2)
        width = len(h)
        slope_h, slope_c = np.split(np.eye(2 * width), 2, axis=1)  # (2 H, H): one row for each number of the beginning
        own = self.weight[:, -width:]  # (4, H, H): what the hidden state says
        for x in inputs.astype(np.float64):
            before = np.concatenate([x, h]) @ self.weight + self.bias  # (4, H)
            f, i, o = 1.0 / (1.0 + np.exp(-before[:3]))
            g = np.tanh(before[3])
            moved = slope_h @ own  # (4, 2 H, H)
            new = f * c + i * g
            slope_c = (
                f * slope_c + c * f * (1.0 - f) * moved[0] + g * i * (1.0 - i) * moved[1] + i * (1.0 - g**2) * moved[3]
            )
            shown = np.tanh(new)
            slope_h = shown * o * (1.0 - o) * moved[2] + o * (1.0 - shown**2) * slope_c
            h, c = o * shown, new
        return np.concatenate([h, c]), np.concatenate([slope_h, slope_c], axis=1).T
