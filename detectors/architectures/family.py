"""What every architecture is: an encoder that remembers a stream, a decoder that retells its window, a forecast.

An architecture is a subclass of `Autoencoder` in a file of its own. It says how wide the state is that a stream
carries (`widths_of`), which parts the encoder has (`build_encoder`) and how they read (`encode`); whatever it does
otherwise in training or in telling the window overrides one of the hooks below. There is one `encode` for training
and for scoring: scoring reads a chunk of one sample, with each part exchanged for its frozen form (`network.py`).

Shapes: T steps, B streams side by side, F inputs, D channels, R width of the summary, Z width of the code, W window,
K horizon; the state is a pair (B, hidden), (B, cell), see `Widths`.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from detectors import autoregression
from detectors.decoders import build_decoder
from detectors.layers import OutputLinear, TanhLinear
from detectors.settings import ModelSettings, TrainingSettings

State = tuple[Tensor, Tensor]
"""What a stream carries: (B, Widths.hidden) and (B, Widths.cell)."""


class Sizes(NamedTuple):
    """What a model is made for."""

    features: int  # inputs
    channels: int
    settings: ModelSettings


class Widths(NamedTuple):
    """How many numbers a stream carries from sample to sample, and how many its heads read."""

    hidden: int  # short-term memory: what the cells say now, layer after layer
    cell: int  # long-term memory: the cell states, and after them the inputs that are still needed
    summary: int  # what decoder, forecast and the stream's own readout read


class Told(NamedTuple):
    """A window as it was told, newest first (B, W, D), and how far off (B, W, D) that usually is, where it is known."""

    window: Tensor
    spread: Tensor | None


class Teaching(NamedTuple):
    """How a model is being taught; without a source of chance it is judged."""

    training: TrainingSettings
    chance: torch.Generator | None


class Autoencoder(nn.Module):
    """Encoder, decoder and forecast; the weights are shared by a group, the state belongs to a stream."""

    first_weight: ClassVar[str] = "encoder.weight_ih_l0"  # reads the inputs: (any, F)
    tells_spread: ClassVar[bool] = False  # besides the window itself

    def __init__(self, sizes: Sizes) -> None:
        """Build the model; `untrained` gives it its first weights.

        The first inputs are the channels' own newest values: the forecast starts from them. Raises ValueError when
        there are fewer inputs than channels.
        """
        super().__init__()
        features, channels, settings = sizes
        if features < channels:
            raise ValueError(f"{features} inputs cannot begin with the values of {channels} channels")
        self.features, self.channels, self.settings = features, channels, settings
        self.window, self.horizon = settings.window, settings.horizon
        self.widths = self.widths_of(sizes)
        self.build_encoder()
        self.build_decoder()
        self.ahead = TanhLinear(self.widths.summary, settings.hidden)
        self.ahead_out = OutputLinear(settings.hidden, settings.horizon * channels)
        self.autoregression: nn.Module | None = None  # learnt in closed form, not here
        if autoregression.speaks(channels, settings.window):
            self.autoregression = OutputLinear(autoregression.LAGS * channels, channels).requires_grad_(False)

    # what an architecture must give

    @classmethod
    def widths_of(cls, sizes: Sizes) -> Widths:
        """Return what a stream carries; by default one layer of LSTM cells, which the heads read themselves."""
        return Widths(sizes.settings.hidden, sizes.settings.hidden, sizes.settings.hidden)

    @abstractmethod
    def build_encoder(self) -> None:
        """Add the parts that read."""

    @abstractmethod
    def encode(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        """Read `inputs` (T, B, F) one after the other; return the summary after each (T, B, R), and the last state."""

    # what it may give

    @classmethod
    def features_of(cls, shape: Sequence[int], settings: ModelSettings) -> int:  # noqa: ARG003  # for those who override
        """Return how many inputs are read by a first weight of this shape."""
        return shape[1]

    def build_decoder(self) -> None:
        """Add the parts that tell the window."""
        self.code: nn.Linear = TanhLinear(self.widths.summary, self.settings.bottleneck)
        self.decoder = build_decoder(self.channels, self.settings)

    def decode(self, summary: Tensor, samples: int | None = None) -> Told:
        """Return the last W samples, or so many, as `summary` (B, R) remembers them."""
        return Told(self.decoder(self.code(summary), samples), None)

    def disturbed(self, inputs: Tensor, teaching: Teaching) -> Tensor:  # noqa: ARG002  # as above
        """Return what is read in training instead of `inputs` (T, B, F)."""
        return inputs

    def window_loss(
        self,
        summary: Tensor,
        window: Tensor,
        counted: Tensor,
        teaching: Teaching,  # noqa: ARG002
    ) -> tuple[Tensor, Tensor]:
        """Return the summed loss of telling `window` (B, W, D) where `counted`, and over how many numbers."""
        return masked_huber(self.decode(summary).window, window, counted)

    def penalty(self, inputs: Tensor, state: State, summary: Tensor, teaching: Teaching) -> Tensor | None:
        """Return what training adds to the loss of a chunk that was read from `state`; None adds nothing."""

    def reader(self) -> nn.Module:
        """Return the layer of cells that reads the inputs as they are and carries nothing else, or the model itself."""
        return self

    # what all have in common

    def nothing(self, streams: int) -> State:
        """Return the state of `streams` that have read nothing."""
        like = self.ahead_out.bias
        return like.new_zeros(streams, self.widths.hidden), like.new_zeros(streams, self.widths.cell)

    def forecast(self, summary: Tensor, newest: Tensor) -> Tensor:
        """Return the next K samples (B, K, D) as `summary` (B, R) expects them: the `newest` (B, D), learnt changes.

        Untrained it repeats the newest sample, the best plain forecast of most metrics.
        """
        changes: Tensor = self.ahead_out(self.ahead(summary))  # (B, K * D)
        return newest[:, None] + changes.view(len(newest), -1, self.channels)

    def autoregress(self, past: Tensor) -> Tensor | None:
        """Return the next sample (B, D) as a linear model tells it by the last LAGS ones (B, LAGS, D), newest first."""
        if self.autoregression is None:
            return None
        change: Tensor = self.autoregression(past.flatten(1))
        return past[:, 0] + change


def masked_huber(predicted: Tensor, actual: Tensor, counted: Tensor) -> tuple[Tensor, Tensor]:
    """Return the sum of the Huber(1) losses where `counted` holds, and how many those are; all of one shape.

    What is not counted (missing values, warm-up steps) may be anything, NaN too: it reaches neither loss nor gradient.
    """
    actual = torch.where(counted, actual, predicted.detach())
    return nn.functional.huber_loss(predicted, actual, reduction="sum", delta=1.0), counted.sum()


def with_recent(recent: Tensor, inputs: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Return for each of `inputs` (T, B, F) the last `count` samples, oldest first (T, B, count, F), and the rest.

    `recent` (B, (count - 1) * F) holds the samples before the first input, oldest first; what is returned with the
    result takes its place before the next one.
    """
    steps, streams, features = inputs.shape
    before = recent.view(streams, count - 1, features).transpose(0, 1)  # (count - 1, B, F)
    joined = torch.cat((before, inputs))
    following = joined[steps:].transpose(0, 1).flatten(1)
    return joined.unfold(0, count, 1).transpose(2, 3), following
