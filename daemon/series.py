"""The series of a group and of a topic that are there before anything was counted, at 0: a rate needs a first value."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version
from typing import Final, get_args

from daemon import events
from daemon.exposition import Numbers
from daemon.metrics import Metrics
from daemon.types import DropReason, RejectReason

CHANGES: Final = ("open", "update", "close")
RULES: Final = ("anomaly", "guard", "silence")


def start_process(numbers: Numbers, config_checksum: str) -> None:
    """Begin every series that the process itself has."""
    numbers.tell(Metrics.BUILD_INFO, _installed("longwatch"), platform.python_version(), _installed("torch"))
    if config_checksum:
        numbers.tell(Metrics.CONFIG_INFO, config_checksum)
    numbers.set(Metrics.READY, 0)
    for state in ("assigned", "restoring", "paused"):
        numbers.set(Metrics.PARTITIONS, 0, state)
    for outcome in ("committed", "failed"):
        numbers.start(Metrics.TURNS, outcome)
        numbers.start(Metrics.TRANSACTIONS, outcome)
    for inquiry in get_args(events.InquiryOutcome):
        numbers.start(Metrics.INQUIRIES, inquiry)
    for phase in ("poll", "step", "commit"):
        numbers.start(Metrics.TURN_SECONDS, phase)


def start_receiver(numbers: Numbers, receiver: str) -> None:
    """Begin every series that each receiver of alerts has."""
    for outcome in ("taken", "refused", "failed"):
        numbers.start(Metrics.DELIVERIES, receiver, outcome)


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


def _installed(distribution: str) -> str:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return "unknown"
