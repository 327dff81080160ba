"""How training walks through history: many series side by side, each with the state it has earned.

A lane reads one span of one series after the other, a chunk at a time. Within a span the state is carried from chunk
to chunk; a new span starts from nothing, and its first samples, the burn-in, are read but do not count.

Shapes: T samples of a chunk, L lanes, W window, K horizon, F inputs, D channels; rows are numbers of the joined
history's rows.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from detectors.architectures.family import State, masked_huber
from detectors.device import CPU

LATER_SHARE: Final = 0.2  # of each series, its end: never trained on, only judged by
VALUE_MAX: Final = 1e4  # scaled units; every gate is saturated and the loss is straight long before
LEAD_SAMPLES_MAX: Final = 256  # read before the later part so that its first sample meets an earned state


@dataclass(frozen=True, slots=True)
class TrainingSeries:
    """One stream's history: what the network read, what it should tell, and which of that is known."""

    inputs: NDArray[np.float32]  # (T, F), finite
    targets: NDArray[np.float32]  # (T, D), anything where not valid
    valid: NDArray[np.bool_]  # (T, D)


class Span(NamedTuple):
    """Rows that one lane reads one after the other: from `begin` up to before `end`, of which `counted` on count."""

    begin: int
    counted: int
    end: int


class Chunk(NamedTuple):
    """What all lanes read in one go."""

    rows: Tensor  # (T, L), some beyond the span's end
    counted: Tensor  # (T, L) bool: inside the span and behind the burn-in
    begin: Tensor  # (L,)
    end: Tensor  # (L,)
    fresh: Tensor  # (L, 1) bool: the lane starts from nothing

    def to(self, device: torch.device) -> Chunk:
        """Return the chunk where the history is."""
        return Chunk(*(each.to(device) for each in self))

    def carry(self, state: State) -> State:
        """Return the state (L, H) with which this chunk is read: that of the chunk before, without its gradient."""
        hidden, cell = state
        return hidden.detach().masked_fill(self.fresh, 0.0), cell.detach().masked_fill(self.fresh, 0.0)


@dataclass(frozen=True, slots=True)
class History:
    """All series of a group, joined end to end; each is cut into an earlier part and a later one."""

    inputs: Tensor  # (rows, F)
    targets: Tensor  # (rows, D), 0 where not valid
    valid: Tensor  # (rows, D) bool
    earlier: tuple[Span, ...]
    later: tuple[Span, ...]

    @classmethod
    def of(cls, series: Sequence[TrainingSeries], device: torch.device = CPU) -> Self:
        """Join `series` on a device. Raises ValueError when shapes differ, an input is not finite, or all are short."""
        _check(series)
        begins = np.cumsum([0, *(len(one.inputs) for one in series)]).tolist()
        cuts = [end - int(LATER_SHARE * (end - begin)) for begin, end in itertools.pairwise(begins)]
        parts = list(zip(begins, cuts, begins[1:], strict=False))
        earlier = tuple(Span(begin, begin, cut) for begin, cut, _ in parts if cut - begin >= 2)
        leads = [max(begin, cut - LEAD_SAMPLES_MAX) for begin, cut, _ in parts]
        later = tuple(Span(lead, cut, end) for lead, (_, cut, end) in zip(leads, parts, strict=True) if end - cut >= 2)
        if not later:
            raise ValueError(f"training: the longest of {len(series)} series has under 10 samples; gather more history")
        inputs = np.concatenate([one.inputs for one in series]).clip(-VALUE_MAX, VALUE_MAX)
        valid = np.concatenate([one.valid for one in series])
        targets = np.where(valid, np.concatenate([one.targets for one in series]), np.float32(0.0))
        targets = targets.clip(-VALUE_MAX, VALUE_MAX)
        if not all(any(valid[span.counted : span.end].any() for span in part) for part in (earlier, later)):
            raise ValueError(f"training: all values of {len(series)} series are missing; gather more history")
        read, told, known = (torch.from_numpy(each).to(device) for each in (inputs, targets, valid))
        return cls(read, told, known, earlier, later)

    @property
    def samples(self) -> int:
        """How many samples are trained on."""
        return sum(span.end - span.begin for span in self.earlier)

    def windows(self, chunk: Chunk, at: Tensor, window: int) -> tuple[Tensor, Tensor]:
        """Return the windows that end at the chunk's positions `at` (P,), and what of them counts, (P * L, W, D) both.

        A window is told newest first; of it counts what the lane has read and what is known.
        """
        back = chunk.rows[at][:, :, None] - torch.arange(window, device=chunk.rows.device)  # (P, L, W)
        read = chunk.counted[at][:, :, None] & (back >= chunk.begin[:, None])
        back = back.clamp(min=0)
        return self.targets[back].flatten(0, 1), (self.valid[back] & read[..., None]).flatten(0, 1)

    def following(self, chunk: Chunk, horizon: int = 1) -> tuple[Tensor, Tensor]:
        """Return the `horizon` samples after each of the chunk's, and what of them counts, (T * L, K, D) both."""
        ahead = chunk.rows[:, :, None] + torch.arange(1, horizon + 1, device=chunk.rows.device)  # (T, L, K)
        counted = chunk.counted[:, :, None] & (ahead < chunk.end[:, None])
        ahead = ahead.clamp(max=len(self.targets) - 1)
        return self.targets[ahead].flatten(0, 1), (self.valid[ahead] & counted[..., None]).flatten(0, 1)

    def repetition(self, chunk: Chunk, horizon: int = 1) -> tuple[Tensor, Tensor]:
        """Return the sum of the Huber losses of forecasting all following samples by the last one, and their count."""
        following, counted = self.following(chunk, horizon)
        repeated = self.targets[chunk.rows].flatten(0, 1)[:, None].expand_as(following)  # (T * L, K, D)
        return masked_huber(repeated, following, counted & self.valid[chunk.rows].flatten(0, 1)[:, None])

    def fingerprint(self) -> str:
        """Return what tells this history from any other: 16 hexadecimal digits."""
        digest = hashlib.sha256(repr((self.inputs.shape, self.earlier, self.later)).encode())
        for part in (self.inputs, self.targets, self.valid):
            digest.update(part.cpu().numpy().tobytes())
        return digest.hexdigest()[:16]


def chunks(spans: Iterator[Span], *, lanes: int, samples: int, rows: int) -> Iterator[Chunk]:
    """Walk through `spans` with `lanes` lanes, `samples` at a time, in a history of `rows` rows, until none is left."""
    steps = torch.arange(samples)[:, None]
    nothing = Span(0, 0, 0)
    now = [nothing] * lanes
    position = [0] * lanes
    while True:
        fresh = [place >= span.end for place, span in zip(position, now, strict=True)]
        now = [next(spans, nothing) if new else span for new, span in zip(fresh, now, strict=True)]
        position = [span.begin if new else place for new, span, place in zip(fresh, now, position, strict=True)]
        begin, counted, end = torch.tensor(now).unbind(1)  # each (L,)
        if not end.any():
            return
        here = torch.tensor(position) + steps  # (T, L)
        inside = (here >= counted) & (here < end)
        yield Chunk(here.clamp(max=rows - 1), inside, begin, end, torch.tensor(fresh)[:, None])
        position = [place + samples for place in position]


def random_spans(history: History, *, lanes: int, burn_in: int, generator: torch.Generator) -> Iterator[Span]:
    """Return spans of the earlier parts without end, each with a burn-in below `burn_in`.

    The first `lanes` start anywhere, so that the lanes are spread over the history; then all series come in a random
    order again and again, each from a random one of its first samples, so that chunks are never cut twice alike.
    """

    def below(limit: int) -> int:
        return int(torch.randint(max(limit, 1), (), generator=generator))

    def from_row(begin: int, end: int) -> Span:
        return Span(begin, begin + below(min(burn_in, (end - begin) // 4)), end)

    lengths = torch.tensor([span.end - span.begin for span in history.earlier], dtype=torch.float64)
    for index in torch.multinomial(lengths, lanes, replacement=True, generator=generator).tolist():
        span = history.earlier[index]
        yield from_row(span.begin + below(span.end - span.begin - 1), span.end)
    while True:
        for index in torch.randperm(len(lengths), generator=generator).tolist():
            span = history.earlier[index]
            yield from_row(span.begin + below(min(burn_in, (span.end - span.begin) // 4)), span.end)


def later_spans(history: History, *, lanes: int) -> Iterator[Span]:
    """Return the later parts, the longest first; a part longer than a lane's share is cut, each piece with its lead."""
    share = max(LEAD_SAMPLES_MAX, sum(span.end - span.counted for span in history.later) // lanes + 1)
    pieces = (
        Span(max(span.begin, counted - LEAD_SAMPLES_MAX), counted, min(counted + share, span.end))
        for span in history.later
        for counted in range(span.counted, span.end, share)
    )
    return iter(sorted(pieces, key=lambda piece: (piece.begin - piece.end, piece.begin)))


def _check(series: Sequence[TrainingSeries]) -> None:
    if not series:
        raise ValueError("training: there is no series; gather history first")
    for number, one in enumerate(series):
        where = f"training: series {number} of {len(series)}"
        first = series[0]
        if one.inputs.shape[1:] != first.inputs.shape[1:] or one.targets.shape[1:] != first.targets.shape[1:]:
            raise ValueError(f"{where} has other channels than the first one; train streams of one group together")
        if one.targets.shape != one.valid.shape or len(one.inputs) != len(one.targets):
            raise ValueError(f"{where}: inputs, targets and valid differ in length; they belong row to row")
        if not np.isfinite(one.inputs).all() or not np.isfinite(one.targets[one.valid]).all():
            raise ValueError(f"{where}: a number is not finite; mark the value as missing and put 0 into the inputs")
