"""What a trial found out about a candidate, beside what it was compared with: figures that travel in its artefact."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Figures:
    """What one detector made of the trial's samples."""

    score_median: float
    score_high: float  # exceeded by one sample in a hundred
    alerts: int  # that would have been opened
    error: float  # usual error of the forecast, median over the streams, scaled units; 0: it has none
    recall: dict[str, float] = field(default_factory=dict)  # by kind of canary, the share that was noticed


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a candidate may take over, and why not; `incumbent` is what scored until then."""

    passed: bool
    why: str  # in words; empty when there is nothing to say
    against: str  # model id of the incumbent, empty for day zero
    streams: int
    samples: int  # that both scored
    canaries: int  # that both were shown
    candidate: Figures | None = None  # None: there was too little to try it on
    incumbent: Figures | None = None
