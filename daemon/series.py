"""The series of a group and of a topic that are there before anything was counted, at 0: a rate needs a first value."""

from __future__ import annotations

from typing import Final, get_args

from daemon import events
from daemon.exposition import Numbers
from daemon.metrics import Metrics
from daemon.types import DropReason, RejectReason

CHANGES: Final = ("open", "update", "close")
RULES: Final = ("anomaly", "guard", "silence")


def start_group(numbers: Numbers, group: str) -> None:
    """Begin every series that each group has."""
    for metric in (Metrics.SAMPLES, Metrics.SCORE, Metrics.MODELS_REFUSED, Metrics.WITHHELD):
        numbers.start(metric, group)
    for change in CHANGES:
        for rule in RULES:
            numbers.start(Metrics.ALERTS, group, change, rule)
    for reason in get_args(DropReason):
        numbers.start(Metrics.DROPPED, group, reason)
    for why in get_args(events.ForgetReason):
        numbers.start(Metrics.FORGOTTEN, group, why)
    for outcome in get_args(events.TrainingOutcome):
        numbers.start(Metrics.TRAINING_RUNS, group, outcome)
    for cause in ("schedule", "drift"):
        numbers.start(Metrics.TRAINING_CAUSES, group, cause)


def start_topic(numbers: Numbers, topic: str) -> None:
    """Begin every series that each topic has."""
    numbers.start(Metrics.UNSELECTED, topic)
    for reason in get_args(RejectReason):
        numbers.start(Metrics.REJECTED, topic, reason)
    for cause in get_args(events.GapReason):
        numbers.start(Metrics.INPUT_GAPS, topic, cause)
