"""The models topic: what it holds of a group, and the messages that change it. Deciding is left to others.

A key `model/GROUP/ID` carries an artefact, a key `current/GROUP` the model that all members should score with, by whom
it was chosen and when. A candidate that was refused stays as well, for those who want to look at it or know better.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import msgspec

from daemon.ports import Broker
from daemon.types import Outgoing, TopicPartition
from detectors.artefact import Artefact, ArtefactError, loads, model_id

FETCH_RECORDS_MAX = 50
FETCH_WAIT_SECONDS = 1.0


class Pointer(msgspec.Struct, frozen=True):
    """Which model is the current one, who or what chose it, and when."""

    model_id: str
    by: str = ""  # schedule, drift, operator
    at_ms: int = 0

    @classmethod
    def read(cls, value: bytes) -> Pointer:
        """Return what a record `current/GROUP` says; a bare id is a pointer too."""
        try:
            return msgspec.json.decode(value, type=cls)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return cls(value.decode("utf-8", "replace"))


@dataclass(frozen=True, slots=True)
class Keep:
    """How many models of each group stay in the topic: of those that were fit to be used, and of those refused."""

    promoted_max: int
    refused_max: int


@dataclass(frozen=True, slots=True, eq=False)
class Stored:
    """One model of the topic; without an artefact it cannot be read, and `fault` says why."""

    model_id: str
    bytes: int
    artefact: Artefact | None
    fault: str = ""

    @property
    def refused(self) -> bool:
        """Whether a trial found it unfit."""
        verdict = self.artefact.lineage.verdict if self.artefact else None
        return verdict is not None and not verdict.passed


@dataclass(frozen=True, slots=True)
class Shelf:
    """All that the topic holds of one group: its models by id, oldest first, and which one is current."""

    models: Mapping[str, Stored] = field(default_factory=dict)
    current: Pointer = field(default_factory=lambda: Pointer(""))

    def before(self) -> Stored | None:
        """Return the model to go back to: the current one's parent, else the newest fit one that is older than it."""
        now = self.models.get(self.current.model_id)
        parent = now.artefact.lineage.parent if now and now.artefact else ""
        if parent in self.models:
            return self.models[parent]
        names = list(self.models)
        older = names[: names.index(now.model_id)] if now else names
        fit = [self.models[name] for name in older if self.models[name].artefact and not self.models[name].refused]
        return fit[-1] if fit else None

    def retired(self, name: str, *, refused: bool, keep: Keep) -> list[str]:
        """Return the ids that must go when `name` is added, the oldest first; the current one never does."""
        room = (keep.refused_max if refused else keep.promoted_max) - 1
        alike = [each.model_id for each in self.models.values() if each.refused == refused and each.model_id != name]
        spare = [each for each in alike if each != self.current.model_id]
        return spare[: max(len(alike) - room, 0)]


def read(broker: Broker, topic: str, group: str) -> Shelf:
    """Return what the topic holds of `group` by now. Raises BrokerUnavailable, and LookupError when there is none."""
    partition = TopicPartition(topic, 0)
    end, cursor = broker.bounds(partition).end, broker.cursor(partition, 0)
    found: dict[str, bytes] = {}
    current = Pointer("")
    prefix, pointer = f"model/{group}/".encode(), f"current/{group}".encode()
    try:
        while cursor.position < end:
            for record in cursor.fetch(FETCH_RECORDS_MAX, FETCH_WAIT_SECONDS):
                key = record.key or b""
                if key == pointer:
                    current = Pointer.read(record.value) if record.value is not None else Pointer("")
                elif key.startswith(prefix):
                    name = key.removeprefix(prefix).decode("utf-8", "replace")
                    found.pop(name, None)
                    if record.value is not None:
                        found[name] = record.value
    finally:
        cursor.close()
    return Shelf({name: _stored(name, data) for name, data in found.items()}, current)


def messages(
    topic: str, group: str, artefact: bytes, retired: Sequence[str], pointer: Pointer | None = None
) -> list[Outgoing]:
    """Return the messages that publish `artefact` for `group` as the current model and delete the `retired` ids."""
    name = model_id(artefact)
    return [
        *kept(topic, group, artefact, ()),
        pointed(topic, group, pointer or Pointer(name)),
        *(_gone(topic, group, each) for each in retired if each != name),
    ]


def kept(topic: str, group: str, artefact: bytes, retired: Sequence[str]) -> list[Outgoing]:
    """Return the messages that store `artefact` without making it current, and delete the `retired` ids."""
    name = model_id(artefact)
    stored = Outgoing(topic, 0, f"model/{group}/{name}".encode(), artefact)
    return [stored, *(_gone(topic, group, each) for each in retired if each != name)]


def pointed(topic: str, group: str, pointer: Pointer) -> Outgoing:
    """Return the message that makes a model of the topic the current one: every member follows at a turn's end."""
    return Outgoing(topic, 0, f"current/{group}".encode(), msgspec.json.encode(pointer))


def _gone(topic: str, group: str, name: str) -> Outgoing:
    return Outgoing(topic, 0, f"model/{group}/{name}".encode(), None)


def _stored(name: str, data: bytes) -> Stored:
    try:
        return Stored(name, len(data), loads(data))
    except ArtefactError as error:
        return Stored(name, len(data), None, str(error))
