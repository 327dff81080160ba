"""Every choice an operator can make about a detector, with the shipped default and its unit."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, Literal

Decoder = Literal["lstm", "mlp", "linear"]
Readout = Literal["shared", "rls"]
Scope = Literal["group", "stream"]
Device = Literal["cpu", "cuda", "auto"]
Architecture = Literal[
    "lstm", "stacked", "bidirectional", "cnn", "variational", "contractive", "denoising", "gru", "rnn"
]
LAYERS_MAX: Final = 16
KERNEL_MAX: Final = 256


@dataclass(frozen=True, slots=True)
class ModelSettings:
    """Shape of the recurrent autoencoder; part of the artefact, so a change means a new model."""

    hidden: int = 16  # width of hidden and cell state
    window: int = 16  # samples that the decoder reconstructs, newest first
    bottleneck: int = 6  # width of the code between encoder and decoder
    decoder: Decoder = "mlp"
    architecture: Architecture = "lstm"
    layers: int = 2  # of cells on top of each other: architecture stacked
    kernel: int = 5  # samples that a filter reads: architecture cnn
    horizon: int = 1  # samples ahead that the forecast tells; the first of them is scored


@dataclass(frozen=True, slots=True)
class TrainingSettings:
    """How a model is learnt from history."""

    min_samples: int = 2000  # samples of the group's warmed-up streams before the first training
    history_samples_max: int = 400_000  # the newest samples of the group that training reads
    epochs_max: int = 40
    patience_epochs: int = 5  # stop after so many epochs without a better loss on the later data
    seconds_max: float = 600.0
    chunk_samples: int = 64  # truncation of back-propagation through time
    lanes: int = 32  # sequences trained side by side
    learning_rate: float = 4e-3
    gradient_norm_max: float = 1.0
    seed: int = 0
    noise: float = 0.1  # added to what is read, scaled units: architecture denoising
    contraction: float = 0.01  # weight of the Jacobian's squared norm: architecture contractive
    divergence: float = 0.1  # weight of the Kullback-Leibler term, 1 is the bound itself: architecture variational


@dataclass(frozen=True, slots=True)
class ContinualSettings:
    """How the weights of a stream's own go on learning, in the step itself."""

    every_samples: int = 16  # of the stream's own: it keeps so many, learns from them, and begins anew
    learning_rate: float = 0.03
    gradient_norm_max: float = 1.0


@dataclass(frozen=True, slots=True)
class StaticThreshold:
    """A fixed limit on the surprise (mean -log10 tail probability over the time scales of an error)."""

    limit: float = 1.5
    kind: Literal["static"] = "static"


@dataclass(frozen=True, slots=True)
class SigmaThreshold:
    """Running mean plus `sigmas` running standard deviations of the stream's own surprise."""

    sigmas: float = 6.0
    kind: Literal["sigma"] = "sigma"


@dataclass(frozen=True, slots=True)
class QuantileThreshold:
    """The level that the stream's own surprise exceeds with probability 1 - `quantile`."""

    quantile: float = 0.999
    kind: Literal["quantile"] = "quantile"


@dataclass(frozen=True, slots=True)
class BudgetThreshold:
    """A limit on the surprise that each stream's own alerts move, so that one opens in `samples_per_alert` samples."""

    samples_per_alert: float = 10_000.0
    kind: Literal["budget"] = "budget"


Threshold = StaticThreshold | SigmaThreshold | QuantileThreshold | BudgetThreshold


@dataclass(frozen=True, slots=True)
class Guard:
    """A static guard rail on one channel's raw value; None leaves that side open."""

    min: float | None = None
    max: float | None = None


@dataclass(frozen=True, slots=True)
class AlertSettings:
    """The life cycle that turns scores into alerts."""

    open_after_samples: int = 1  # consecutive samples at or above the threshold before an alert opens
    close_below: float = 0.7  # an open alert starts to close below this score ...
    close_after_samples: int = 5  # ... and closes after so many samples there
    hold_off_samples: int = 100  # no second alert opens within so many samples of the last one
    habituation: float = 0.1  # each recent alert raises the score that the next one needs by this much
    habituation_max: float = 0.4  # but never by more than this
    habituation_half_life_samples: int = 4000
    accept_after_samples: int = 288  # a level that persists so long under an open alert is accepted as normal
    worsening: float = 1.5  # an open alert is updated when its score grows by this factor
    silence_intervals: float = 20.0  # a stream is silent after so many of its usual intervals; 0 switches it off
    silence_pauses: float = 1.5  # and not before so many of its longest usual pauses; 0: only intervals count


@dataclass(frozen=True, slots=True)
class DetectorSettings:
    """All of it, for one group."""

    channels: tuple[str, ...] = ("value",)
    model: ModelSettings = field(default_factory=ModelSettings)
    readout: Readout = "rls"  # what reads the hidden state: the group's heads alone, or also each stream's own on top
    scope: Scope = "group"  # whose the network's weights are; a stream's own begin as the group's
    device: Device = "cpu"  # where the network is trained and scores; weights of a stream's own move on the cpu
    reconstruct_every_samples: int = 1  # of a stream's own: how often the network's idea of the newest one is compared
    is_continual: bool = False  # whether weights of a stream's own go on learning; else they stand still
    continual: ContinualSettings = field(default_factory=ContinualSettings)
    training: TrainingSettings = field(default_factory=TrainingSettings)
    threshold: Threshold = field(default_factory=StaticThreshold)
    alert: AlertSettings = field(default_factory=AlertSettings)
    guard: tuple[tuple[str, Guard], ...] = ()
    warmup_samples: int = 100  # samples of a stream before it may raise an alert
    gap_max_seconds: float = 3600.0 * 6  # a longer gap in event time resets hidden state and window
