"""How a group's model lives: when it has drifted, and what a candidate must show before it takes over."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from daemon.config.kinds import Section
from daemon.trial import TrialLimits
from detectors.drift import DriftLimits
from detectors.settings import ContinualSettings

Learning = Literal["background", "continual", "frozen"]

_DRIFT, _TRIAL, _CONTINUAL = DriftLimits(), TrialLimits(), ContinualSettings()


class ContinualConfig(Section):
    """How each stream's own weights go on learning in the step itself, where `learning` is `continual`."""

    every_samples: int = Field(default=_CONTINUAL.every_samples, ge=8, le=4096)
    """After so many samples of its own a stream learns from them: how far back the gradient is followed, and how many
    samples a stream's row keeps."""
    learning_rate: float = Field(default=_CONTINUAL.learning_rate, gt=0, le=1)
    """Step width of the optimiser."""
    gradient_norm_max: float = Field(default=_CONTINUAL.gradient_norm_max, gt=0)
    """Longer gradients are cut to this length."""

    def settings(self) -> ContinualSettings:
        """Return what the detectors need of this."""
        return ContinualSettings(self.every_samples, self.learning_rate, self.gradient_norm_max)


class DriftConfig(Section):
    """When the streams have moved so far from what the model learnt that it is trained again."""

    share: float = Field(default=_DRIFT.share, ge=0, le=1)
    """So large a share of the streams makes errors that were rare in its own past (by chance 0.1 do); of a
    few streams nearly all must. 0 leaves it out."""
    growth: float = Field(default=_DRIFT.growth, ge=0, le=1000)
    """The usual error of the forecasts has grown by this factor since the training; 0 leaves it out."""

    def limits(self) -> DriftLimits:
        """Return what the measurement needs of this."""
        return DriftLimits(self.share, self.growth)


class TrialConfig(Section):
    """What a candidate must show on the newest part of the history and beside the model in use, to take over."""

    streams_max: int = Field(default=_TRIAL.streams_max, ge=0, le=10_000)
    """Streams that it is tried on; 0 tries nothing and promotes every candidate."""
    samples_max: int = Field(default=_TRIAL.samples_max, ge=200, le=1_000_000)
    """The newest samples of each that are read; of these, the newest fifth of its history counts."""
    error_ratio_max: float = Field(default=_TRIAL.error_ratio_max, ge=1, le=1000)
    """The network's usual error may be so many times what it was."""
    score_ratio_max: float = Field(default=_TRIAL.score_ratio_max, ge=1, le=1000)
    """The score that one sample in a hundred exceeds may be so many times what it was."""
    alerts_ratio_max: float = Field(default=_TRIAL.alerts_ratio_max, ge=1, le=1000)
    """It may open so many times the alerts ..."""
    alerts_spare: int = Field(default=_TRIAL.alerts_spare, ge=0, le=1_000_000)
    """... and so many more."""
    recall_drop_max: float = Field(default=_TRIAL.recall_drop_max, ge=0, le=1)
    """The share of the canaries (spike, new level, frozen, noise, put into copies of real samples) that it notices may
    be lower by so much, and by more where there were only a few."""

    def limits(self) -> TrialLimits:
        """Return what the trial needs of this."""
        return TrialLimits(**self.model_dump())
