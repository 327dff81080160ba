"""What happens in the daemon, as data: one event moves the metrics and writes the log line, so they cannot disagree."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from daemon.types import DropReason, Rejected, TopicPartition

StreamState = Literal["warming", "ready", "stale"]
ForgetReason = Literal["evicted", "not_finite", "own_weights"]
"""Why a stream begins anew: another took its place, or its state was no finite number any more."""
InquiryOutcome = Literal["answered", "late", "refused"]
"""Whether the loop answered in time what it was asked; refused: too many were waiting."""
TrainingOutcome = Literal["published", "refused", "failed", "too_little_history"]
Cause = Literal["schedule", "drift", "operator"]
"""What makes a training due, or a model the current one."""
GapReason = Literal["trimmed", "truncated", "recreated"]
"""Why input was not read: deleted by retention first, lost by the cluster, or in a topic that was deleted since."""


@dataclass(frozen=True, slots=True)
class TurnCommitted:
    """A turn's transaction was committed."""

    records: int
    samples: int
    poll_seconds: float
    step_seconds: float
    commit_seconds: float
    scores: Mapping[str, NDArray[np.float64]]  # by group, one for each sample; NaN while warming or when dropped
    withheld: Mapping[str, int] = field(default_factory=dict)  # by group, alerts that a window kept from opening
    records_next: int = 0  # that the next turn takes at most
    paused: int = 0  # partitions whose records wait, read, for a later turn


@dataclass(frozen=True, slots=True)
class TurnFailed:
    """A turn's transaction was aborted or its outcome is unknown; its partitions are restored."""

    why: str
    partitions: tuple[TopicPartition, ...]


@dataclass(frozen=True, slots=True)
class RecordsRejected:
    """Records of one poll that went to the dead-letter topic."""

    rejected: tuple[Rejected, ...]


@dataclass(frozen=True, slots=True)
class SamplesDropped:
    """Well-formed samples that were counted and left out."""

    group: str
    reason: DropReason
    count: int


@dataclass(frozen=True, slots=True)
class StreamsSpread:
    """Streams came in one partition that another one of their topic has, too."""

    topic: str
    group: str
    count: int
    stream: str  # one of them


@dataclass(frozen=True, slots=True)
class TopicsFound:
    """These topics are read; the `new` ones matched a pattern and were not read before."""

    topics: tuple[str, ...]
    new: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SamplesJoined:
    """Readings became samples."""

    group: str
    complete: int
    incomplete: int


@dataclass(frozen=True, slots=True)
class ChannelsMissing:
    """Samples of several channels came without one of them."""

    group: str
    channel: str
    count: int


@dataclass(frozen=True, slots=True)
class PointsUnselected:
    """Well-formed points that no group wants."""

    topic: str
    count: int


@dataclass(frozen=True, slots=True)
class StreamsForgotten:
    """What was remembered of some streams is gone."""

    group: str
    reason: ForgetReason
    count: int


@dataclass(frozen=True, slots=True)
class AlertChanged:
    """An alert was opened, updated or closed, and the change is committed."""

    group: str
    change: Literal["open", "update", "close"]
    rule: Literal["anomaly", "guard", "silence"]
    alert_id: str
    stream: str
    score: float


@dataclass(frozen=True, slots=True)
class StreamsCounted:
    """How many streams of a group are in which state, and how many alerts are open in it."""

    group: str
    by_state: Mapping[StreamState, int]
    alerts_open: int
    streams_max: int
    maintenance: bool = False  # whether a partition has come to a window of maintenance


@dataclass(frozen=True, slots=True)
class LagMeasured:
    """How far behind the input a partition is, and whether it can be used."""

    partition: TopicPartition
    records: int
    seconds: float  # wall clock minus the newest event time seen
    rejected_run: int = 0  # records in a row, up to the last one read, that could not be used


@dataclass(frozen=True, slots=True)
class PartitionRestored:
    """A partition's state was loaded and replayed; it is being scored from now on."""

    partition: TopicPartition
    seconds: float
    pages: int
    replayed_records: int


@dataclass(frozen=True, slots=True)
class PartitionDropped:
    """A partition went to another member."""

    partition: TopicPartition


@dataclass(frozen=True, slots=True)
class StateDiscarded:
    """State of a partition could not be used, and that part starts afresh."""

    partition: TopicPartition
    why: str


@dataclass(frozen=True, slots=True)
class InputGap:
    """Reading did not go on where it had come to, at offset `reached`, but at `resumed`."""

    partition: TopicPartition
    reason: GapReason
    reached: int
    resumed: int


@dataclass(frozen=True, slots=True)
class StateFlushed:
    """Pages were written in a committed transaction."""

    pages: int
    bytes: int


@dataclass(frozen=True, slots=True)
class ModelSwapped:
    """A group scores with another model from this turn on."""

    group: str
    model_id: str
    trained_samples: int
    created_at_ms: int = 0


@dataclass(frozen=True, slots=True)
class ModelRefused:
    """An artefact could not be used; the model that runs stays."""

    group: str
    why: str


@dataclass(frozen=True, slots=True)
class TrainingStarted:
    """A training child process was started."""

    group: str
    cause: Cause = "schedule"


@dataclass(frozen=True, slots=True)
class DriftMeasured:
    """How far the streams of a group have moved away from what its model learnt; 0 where nothing can be said."""

    group: str
    streams: int
    share: float
    growth: float
    drifted: bool


@dataclass(frozen=True, slots=True)
class TrainingProgressed:
    """A training child process finished an epoch."""

    group: str
    epoch: int
    epochs_max: int
    validation_loss: float


@dataclass(frozen=True, slots=True)
class BrokerLost:
    """No broker answered; the loop waits and tries again."""

    why: str


@dataclass(frozen=True, slots=True)
class TrainingFinished:
    """A training child process ended."""

    group: str
    outcome: TrainingOutcome
    seconds: float
    detail: str


@dataclass(frozen=True, slots=True)
class Inquired:
    """Somebody asked the loop about streams, by a page."""

    outcome: InquiryOutcome


@dataclass(frozen=True, slots=True)
class Repartitioning:
    """This member began, or ceased, to write the input anew by stream."""

    active: bool


@dataclass(frozen=True, slots=True)
class Repartitioned:
    """Records of the input were written anew by stream, and the transaction was committed."""

    records: int
    readings: int
    seconds: float  # from the poll to the commit


@dataclass(frozen=True, slots=True)
class RepartitionFailed:
    """A transaction of the first stage was aborted, or its outcome is unknown; its partitions are read again."""

    why: str


@dataclass(frozen=True, slots=True)
class Delivered:
    """A receiver took notices of alerts, new ones or reminders."""

    receiver: str
    count: int


@dataclass(frozen=True, slots=True)
class DeliveryRefused:
    """A receiver will never take the notice of an alert; it is left out."""

    receiver: str
    alert_id: str
    why: str


@dataclass(frozen=True, slots=True)
class DeliveryFailed:
    """A receiver, or a replica of it, did not take notices; they are sent again."""

    receiver: str
    why: str


@dataclass(frozen=True, slots=True)
class DeliveryMeasured:
    """How much of the alerts topic a receiver has not been told yet, and of how many open alerts it is reminded."""

    receiver: str
    behind: int
    reminded: int


@dataclass(frozen=True, slots=True)
class Readiness:
    """Whether every assigned partition is restored."""

    ready: bool
    partitions_assigned: int
    partitions_restoring: int


Event = (
    TurnCommitted
    | TurnFailed
    | RecordsRejected
    | SamplesDropped
    | StreamsSpread
    | TopicsFound
    | SamplesJoined
    | ChannelsMissing
    | PointsUnselected
    | StreamsForgotten
    | AlertChanged
    | StreamsCounted
    | LagMeasured
    | PartitionRestored
    | PartitionDropped
    | StateDiscarded
    | InputGap
    | StateFlushed
    | ModelSwapped
    | ModelRefused
    | DriftMeasured
    | TrainingStarted
    | TrainingProgressed
    | TrainingFinished
    | BrokerLost
    | Inquired
    | Repartitioning
    | Repartitioned
    | RepartitionFailed
    | Delivered
    | DeliveryRefused
    | DeliveryFailed
    | DeliveryMeasured
    | Readiness
)
