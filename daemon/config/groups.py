"""The groups of streams: which streams they take, and how those are learnt, scored and alerted on.

Every default of a detector stands in `detectors.settings` and is read from there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import TYPE_CHECKING, Annotated, Literal, TypeVar

from pydantic import Field, ValidationInfo, field_validator

from daemon.config.kinds import (
    Channels,
    LabelName,
    Name,
    Seconds,
    Section,
    Selector,
    Values,
    expected,
    labels_named,
)
from daemon.config.life import ContinualConfig, DriftConfig, Learning, TrialConfig
from daemon.config.maintenance import Windows
from daemon.config.making import DerivedConfig, JoinConfig, derives_named, recipe
from daemon.config.tenants import TenantsConfig
from daemon.maintenance import Calendar
from daemon.recipe import Recipe
from detectors.settings import (
    KERNEL_MAX,
    LAYERS_MAX,
    AlertSettings,
    Architecture,
    BudgetThreshold,
    Decoder,
    DetectorSettings,
    Device,
    Guard,
    ModelSettings,
    QuantileThreshold,
    Readout,
    Scope,
    SigmaThreshold,
    StaticThreshold,
    Threshold,
    TrainingSettings,
)

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

    Settings = TypeVar("Settings", bound=DataclassInstance)

SHIPPED = DetectorSettings()

Count = Annotated[int, Field(ge=1, le=1_000_000_000)]
CountOrNone = Annotated[int, Field(ge=0, le=1_000_000_000)]


class ModelConfig(Section):
    """Shape of the recurrent autoencoder; a change makes a new model."""

    hidden: int = Field(default=SHIPPED.model.hidden, ge=1, le=4096)
    """Width of the hidden and cell state that every stream carries along."""
    window: int = Field(default=SHIPPED.model.window, ge=2, le=4096)
    """How many of the newest samples the decoder reconstructs."""
    bottleneck: int = Field(default=SHIPPED.model.bottleneck, ge=1, le=4096)
    """Width of the code between encoder and decoder."""
    decoder: Decoder = SHIPPED.model.decoder
    """What reconstructs the window from the code."""
    architecture: Architecture = SHIPPED.model.architecture
    """What reads a stream and how that is learnt; docs/architectures.md explains each."""
    layers: int = Field(default=SHIPPED.model.layers, ge=1, le=LAYERS_MAX)
    """Layers of cells on top of each other, with `architecture: stacked`."""
    kernel: int = Field(default=SHIPPED.model.kernel, ge=1, le=KERNEL_MAX)
    """Samples that a filter of the convolution reads, with `architecture: cnn`."""
    horizon: int = Field(default=SHIPPED.model.horizon, ge=1, le=4096)
    """How many of the next samples the forecast tells; the first of them is scored."""
    reconstruct_every_samples: int = Field(default=SHIPPED.reconstruct_every_samples, ge=1, le=10_000)
    """Compare the newest sample with its reconstruction at every so many-th of a stream only; the other errors count at
    each. It saves little with `decoder: lstm`, hardly anything with others, and nothing where streams have several
    channels: of those only forecasts count."""
    scope: Scope = SHIPPED.scope
    """Whose the weights are: the `group`'s, shared by all of its streams, or each `stream`'s own, which begin as the
    group's and are kept in its state. Own weights are for the few streams that matter, need `architecture: lstm`, and
    move with `learning: continual`."""


class TrainingConfig(Section):
    """How and when the group's model is learnt from the input's own history, where `learning` is `background`."""

    min_samples: Count = SHIPPED.training.min_samples
    """Samples that the group's warmed-up streams must have seen before its first training."""
    history_samples_max: Count = SHIPPED.training.history_samples_max
    """The newest samples of the group that a training reads."""
    epochs_max: int = Field(default=SHIPPED.training.epochs_max, ge=1, le=100_000)
    """Passes over the history at most."""
    patience_epochs: int = Field(default=SHIPPED.training.patience_epochs, ge=1, le=100_000)
    """Stop after so many passes without a better result on the later data."""
    seconds_max: Seconds = SHIPPED.training.seconds_max
    """How long a training may take."""
    chunk_samples: int = Field(default=SHIPPED.training.chunk_samples, ge=2, le=65_536)
    """How far back the gradient is followed through time."""
    lanes: int = Field(default=SHIPPED.training.lanes, ge=1, le=65_536)
    """Sequences that are trained side by side."""
    learning_rate: float = Field(default=SHIPPED.training.learning_rate, gt=0, le=1)
    """Step width of the optimiser."""
    gradient_norm_max: float = Field(default=SHIPPED.training.gradient_norm_max, gt=0)
    """Longer gradients are cut to this length."""
    seed: int = Field(default=SHIPPED.training.seed, ge=0, le=2**63 - 1)
    """Start of the random numbers, so that a training can be repeated."""
    noise: float = Field(default=SHIPPED.training.noise, ge=0, le=100)
    """Noise added to what is read in training, in scaled units, with `architecture: denoising`."""
    contraction: float = Field(default=SHIPPED.training.contraction, ge=0, le=1000)
    """Weight of the squared norm of the encoder's Jacobian, with `architecture: contractive`."""
    divergence: float = Field(default=SHIPPED.training.divergence, ge=0, le=1000)
    """Weight of the Kullback-Leibler term, with `architecture: variational`; 1 is the evidence lower bound itself."""
    repeat_hours: float = Field(default=24.0, ge=0, le=366 * 24)
    """Train again after so long; 0: not because of the time."""
    repeat_samples: CountOrNone = 0
    """Train again after so many samples since the model took over, as the member that trains sees them; 0: not because
    of their number."""
    apart_hours: float = Field(default=1.0, ge=0, le=366 * 24)
    """Whatever makes a training due (time, samples, drift), it begins no sooner after the end of the last one."""

    @field_validator("history_samples_max")
    @classmethod
    def _holds_enough(cls, value: int, info: ValidationInfo) -> int:
        if value < info.data.get("min_samples", 0):
            raise expected(f"at least min_samples, which is {info.data['min_samples']}")
        return value

    def settings(self) -> TrainingSettings:
        """Return what the detectors need of this."""
        return _settings(TrainingSettings, self)


class StaticThresholdConfig(Section):
    """A fixed limit on the surprise."""

    kind: Literal["static"] = "static"
    """The same limit for every stream."""
    limit: float = Field(default=StaticThreshold().limit, gt=0)
    """The surprise that gives the score 1.0: the mean of -log10 of an error's tail probability over its time scales."""


class SigmaThresholdConfig(Section):
    """So many standard deviations above the stream's usual surprise."""

    kind: Literal["sigma"] = "sigma"
    """A limit that follows each stream's mean and spread."""
    sigmas: float = Field(default=SigmaThreshold().sigmas, gt=0)
    """Standard deviations above the stream's running mean that give the score 1.0."""


class QuantileThresholdConfig(Section):
    """A level that the stream's own surprise rarely exceeds."""

    kind: Literal["quantile"] = "quantile"
    """A limit that is learnt from each stream's own distribution."""
    quantile: float = Field(default=QuantileThreshold().quantile, gt=0, lt=1)
    """The share of a stream's samples that stay below the score 1.0."""


class BudgetThresholdConfig(Section):
    """A limit that keeps each stream to so many alerts."""

    kind: Literal["budget"] = "budget"
    """A limit that each stream's alerts raise and its quiet samples lower, until they come as often as is said."""
    samples_per_alert: float = Field(default=BudgetThreshold().samples_per_alert, ge=100, le=1e9)
    """So many samples of a stream for each of its alerts, true and false ones together."""


ThresholdConfig = Annotated[
    StaticThresholdConfig | SigmaThresholdConfig | QuantileThresholdConfig | BudgetThresholdConfig,
    Field(discriminator="kind"),
]


def _threshold_config(settings: Threshold) -> ThresholdConfig:
    match settings:
        case StaticThreshold():
            return StaticThresholdConfig(limit=settings.limit)
        case SigmaThreshold():
            return SigmaThresholdConfig(sigmas=settings.sigmas)
        case QuantileThreshold():
            return QuantileThresholdConfig(quantile=settings.quantile)
        case BudgetThreshold():
            return BudgetThresholdConfig(samples_per_alert=settings.samples_per_alert)


class AlertConfig(Section):
    """The life cycle that turns scores into alerts."""

    severity: Name = "warning"
    """The severity that the group's alerts carry."""
    open_after_samples: Count = SHIPPED.alert.open_after_samples
    """Consecutive samples at a score of 1.0 or more before an alert opens."""
    close_below: float = Field(default=SHIPPED.alert.close_below, gt=0, lt=1)
    """An open alert starts to close below this score."""
    close_after_samples: Count = SHIPPED.alert.close_after_samples
    """It closes after so many consecutive samples below `close_below`."""
    hold_off_samples: CountOrNone = SHIPPED.alert.hold_off_samples
    """No second alert of a stream opens within so many samples of the last one."""
    habituation: float = Field(default=SHIPPED.alert.habituation, ge=0, le=100)
    """Each recent alert of a stream raises the score that its next one needs by this much; 0 switches it off."""
    habituation_max: float = Field(default=SHIPPED.alert.habituation_max, ge=0, le=100)
    """But never by more than this, however many there were."""
    habituation_half_life_samples: Count = SHIPPED.alert.habituation_half_life_samples
    """After so many samples a past alert counts half."""
    accept_after_samples: Count = SHIPPED.alert.accept_after_samples
    """A level that persists so long under an open alert is accepted as the new normal."""
    worsening: float = Field(default=SHIPPED.alert.worsening, gt=1, le=1000)
    """An open alert is updated when its score has grown by this factor."""
    silence_intervals: float = Field(default=SHIPPED.alert.silence_intervals, ge=0)
    """A stream is silent after so many of its usual intervals without a sample; 0 switches that alert off."""
    silence_pauses: float = Field(default=SHIPPED.alert.silence_pauses, ge=0, le=1000)
    """And not before so many of its longest usual pauses, which are learnt as well; 0: only intervals count."""


class GuardConfig(Section):
    """A guard rail on one channel's raw value; it holds from the first sample, without any model."""

    min: float | None = None
    """A smaller raw value opens an alert at once."""
    max: float | None = None
    """A larger raw value opens an alert at once."""

    @field_validator("max")
    @classmethod
    def _leaves_room(cls, value: float | None, info: ValidationInfo) -> float | None:
        lowest = info.data.get("min", value)
        if value is None and "min" in info.data and lowest is None:
            raise expected("min, max or both")
        if value is not None and lowest is not None and "min" in info.data and value <= lowest:
            raise expected(f"more than min, which is {lowest:g}")
        return value


class GroupConfig(Section):
    """The streams that `select` chooses; they share a model, a threshold and an alert policy."""

    name: Name
    """What the group is called in metrics, alerts and state; a renamed group starts afresh."""
    select: Annotated[tuple[Selector, ...], Field(strict=False)] = ()
    """Prometheus matchers on a stream's labels (the metric's name is the label `name`); all must match. The first
    group that matches takes the stream; an empty list takes every stream."""
    channels: Channels = ()
    """Fields that are scored jointly as one stream. An empty list makes every field of a record a stream of its own,
    told apart by the label `field`, with the one channel `value`."""
    join: JoinConfig | None = None
    """Where the channels come as readings of their own: how these are joined. Without it a sample is what one record
    holds of the channels."""
    derive: Mapping[str, DerivedConfig] = {}
    """Channels that are made of what is read, in this order; only those that stand in `channels` are scored."""
    rename: Mapping[str, LabelName] = {}
    """Other names for labels, `{old: new}`, in the place of a label that has the new name already."""
    by: Annotated[tuple[LabelName, ...], Field(strict=False, max_length=1000)] = ()
    """The labels that tell one stream from another, by their new names; others are left out. None: all of them do."""
    drop: Annotated[tuple[LabelName, ...], Field(strict=False, max_length=1000)] = ()
    """Labels that are left out, by their new names."""
    values: Values = "auto"
    """What the group's values are: levels, totals that only grow, or what was added since the last sample; totals and
    additions are scored as rates. `auto` takes the feed's word (`input.values`), then the producer's, and otherwise
    tells a counter by what it does."""
    max_streams: int = Field(default=100_000, ge=1, le=100_000_000)
    """Streams of the group that one partition may hold; samples of further ones are dead letters."""
    tenants: TenantsConfig | None = None
    """Shares of that for each tenant, by a label. Without it a stream finds a place as long as the group has one."""
    evict_after_seconds: float = Field(default=7 * 86400.0, ge=0, le=10 * 366 * 86400)
    """In a full group or share, a stream not seen for so long (event time) gives way to a new one; 0: never."""
    warmup_samples: CountOrNone = SHIPPED.warmup_samples
    """Samples of a stream before it may raise an alert; guards hold from the first one."""
    gap_max_seconds: Seconds = SHIPPED.gap_max_seconds
    """A longer gap in event time resets a stream's hidden state and window."""
    model: ModelConfig = ModelConfig()
    """Shape of the recurrent autoencoder; a change makes a new model."""
    readout: Readout = SHIPPED.readout
    """What reads the hidden state: `shared`, the group's heads alone (least memory), or `rls`, also heads of each
    stream's own on top of them, learnt from its first sample on by recursive least squares."""
    device: Device = SHIPPED.device
    """Where the network is trained and scores: `cuda` is a GPU and ends the start where there is none, `auto` takes one
    where there is one. For large networks; at the shipped size the processor is quicker, and weights of a stream's own
    (`model.scope: stream`) stay there."""
    learning: Learning = "background"
    """How the weights move: trained in the `background`, from the input's own history, for all streams of the group;
    `continual`, each stream's own with its own samples (`model.scope: stream`), after one such training for the group;
    or not at all (`frozen`): then the promoted model scores, or day zero's while there is none."""
    continual: ContinualConfig = ContinualConfig()
    """How each stream's own weights go on learning, with `learning: continual`."""
    training: TrainingConfig = TrainingConfig()
    """How and when the model is learnt."""
    drift: DriftConfig = DriftConfig()
    """When it is learnt anew because the streams have changed."""
    trial: TrialConfig = TrialConfig()
    """What a new model must show before it takes over."""
    threshold: ThresholdConfig = _threshold_config(SHIPPED.threshold)
    """What makes a surprise the score 1.0."""
    alert: AlertConfig = AlertConfig()
    """The life cycle that turns scores into alerts."""
    guard: Mapping[str, GuardConfig] = {}
    """Guard rails by channel, in the channel's raw unit; they hold from the first sample, without any model."""
    maintenance: Windows = ()
    """When the group's alerts keep quiet and nothing is learnt."""

    @field_validator("rename")
    @classmethod
    def _renames_apart(cls, value: Mapping[str, str]) -> Mapping[str, str]:
        labels_named(value)
        twice = next((new for new in value.values() if list(value.values()).count(new) > 1), None)
        if twice is not None:
            raise expected(f"one label for each new name; two would become {twice}")
        return value

    @field_validator("drop")
    @classmethod
    def _drops_of_all(cls, value: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        if value and info.data.get("by"):
            raise expected("it without by, which leaves out all others already")
        return value

    @field_validator("derive")
    @classmethod
    def _derives_named(cls, value: Mapping[str, DerivedConfig]) -> Mapping[str, DerivedConfig]:
        return derives_named(value)

    def recipe(self) -> Recipe | None:
        """Return what the group's samples are made of; None where they are what stands in a record."""
        return recipe(self.channels, self.join, self.derive)

    def calendar(self) -> Calendar:
        """Return the windows of the group's maintenance."""
        return Calendar(tuple(each.window() for each in self.maintenance))

    def detector(self) -> DetectorSettings:
        """Return the settings of this group's detector."""
        return DetectorSettings(
            channels=self.channels or SHIPPED.channels,
            model=_settings(ModelSettings, self.model),
            readout=self.readout,
            scope=self.model.scope,
            reconstruct_every_samples=self.model.reconstruct_every_samples,
            device=self.device,
            is_continual=self.learning == "continual",
            continual=self.continual.settings(),
            training=self.training.settings(),
            threshold=_threshold(self.threshold),
            alert=_settings(AlertSettings, self.alert),
            guard=tuple((channel, Guard(rail.min, rail.max)) for channel, rail in sorted(self.guard.items())),
            warmup_samples=self.warmup_samples,
            gap_max_seconds=self.gap_max_seconds,
        )


def _settings(kind: type[Settings], section: Section) -> Settings:
    return kind(**{each.name: getattr(section, each.name) for each in fields(kind)})


def _threshold(config: ThresholdConfig) -> Threshold:
    match config:
        case StaticThresholdConfig():
            return StaticThreshold(config.limit)
        case SigmaThresholdConfig():
            return SigmaThreshold(config.sigmas)
        case QuantileThresholdConfig():
            return QuantileThreshold(config.quantile)
        case BudgetThresholdConfig():
            return BudgetThreshold(config.samples_per_alert)
