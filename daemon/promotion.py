"""A candidate's way into the models topic: what it is measured against, whether it is too late, and what is written."""

from __future__ import annotations

from dataclasses import dataclass, replace

from daemon import model_topic
from daemon.events import Cause
from daemon.model_topic import Keep, Pointer, Shelf
from daemon.models import LiveModel, ready
from daemon.ports import Broker
from detectors.artefact import ArtefactError, model_id
from detectors.dayzero import day_zero
from detectors.settings import DetectorSettings
from detectors.verdict import Verdict


@dataclass(frozen=True, slots=True)
class Topic:
    """The models topic, seen from one group."""

    broker: Broker
    name: str
    group: str
    keep: Keep

    def read(self) -> Shelf:
        """Return what it holds by now; nothing where it does not exist yet. Raises BrokerUnavailable."""
        if self.broker.partitions(self.name) is None:
            return Shelf()
        return model_topic.read(self.broker, self.name, self.group)


def incumbent(shelf: Shelf, settings: DetectorSettings) -> LiveModel:
    """Return what the group scores with: its current model where that can be used, else day zero's detector."""
    now = shelf.models.get(shelf.current.model_id)
    if now is not None and now.artefact is not None:
        try:
            return ready(now.artefact, now.model_id, settings)
        except ArtefactError:
            pass  # made for other settings: the daemon does not score with it either
    return LiveModel(day_zero(settings), {}, 0)


def overtaken(before: Shelf, now: Shelf, verdict: Verdict) -> Verdict:
    """Return the verdict on a candidate for whose training the topic was read `before`, given how it is `now`.

    Whoever chose another model meanwhile knew nothing of this one, and this one was not measured against theirs.
    """
    if before.current.model_id == now.current.model_id:
        return verdict
    changed = f"the current model became {now.current.model_id} while this one was trained"
    return replace(verdict, passed=False, why="; ".join(filter(None, (verdict.why, changed))))


def publish(topic: Topic, shelf: Shelf, data: bytes, verdict: Verdict, by: tuple[Cause, int]) -> None:
    """Write an artefact, and make it current if its verdict allows. Raises BrokerUnavailable, TopicMismatch.

    `by` is what made the training due, and when it ended (ms). The artefact comes first and what it retires goes last:
    whoever reads on the way finds a model that is there.
    """
    name = model_id(data)
    retired = shelf.retired(name, refused=not verdict.passed, keep=topic.keep)
    if verdict.passed:
        records = model_topic.messages(topic.name, topic.group, data, retired, Pointer(name, *by))
    else:
        records = model_topic.kept(topic.name, topic.group, data, retired)
    topic.broker.publish(records)


def chosen(topic: Topic, name: str, by: Cause, at_ms: int) -> None:
    """Make a model of the topic the current one; all members follow between two turns. Raises BrokerUnavailable."""
    topic.broker.publish([model_topic.pointed(topic.name, topic.group, Pointer(name, by, at_ms))])
