"""What should have been told, worked out from the logs alone: each partition stepped once from beginning to end.

Nothing dies here and nothing is cut into polls. All that is taken over from the disturbed run is where each partition's
rows moved to another model, which its manifests say.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import msgspec

from daemon.alert_events import AlertEvent, Group
from daemon.codec import decode_scores
from daemon.codec import scores as score_messages
from daemon.engine import step
from daemon.formats import JsonFormat
from daemon.intake import Intake, Limits, Taken
from daemon.memory import MemoryRecord
from daemon.partitions import settle
from daemon.samples import Part
from daemon.state import Manifest, PartitionState
from daemon.types import TopicPartition
from detectors.adopt import adopt
from detectors.scoring import Detector
from detectors.slab import Delta
from tests.conformance.feed import EVIDENCE_BYTES_MAX
from tests.simulation.world import GROUP, LAYOUTS, PARTITIONS, SETTINGS, Key, Selection, World, known_models, scored

FUTURE_MS_MAX = Limits().future_ms_max


@dataclass(frozen=True, slots=True)
class Swap:
    """From which offset on a partition's rows were moved by which model; by none when the name is empty."""

    offset: int
    model_id: str


@dataclass(slots=True)
class Swaps:
    """Reads every manifest that is committed, before compaction can take it away."""

    world: World
    found: list[list[Swap]] = field(default_factory=lambda: [[Swap(0, "")] for _ in range(PARTITIONS)])
    _read: list[int] = field(default_factory=lambda: [0] * PARTITIONS)

    def follow(self) -> None:
        """Take in the manifests that have become visible."""
        for number, swaps in enumerate(self.found):
            log = self.world.cluster.log(TopicPartition("state", number))
            records, self._read[number] = log.read(self._read[number], log.end + 1)
            for manifest in filter(None, map(_manifest, records)):
                model_id = manifest.groups[GROUP].model_id
                if model_id != swaps[-1].model_id:
                    swaps.append(Swap(manifest.offset, model_id))


@dataclass(slots=True)
class Told:
    """All that a run tells the world, and what it remembers at the end."""

    scores: dict[Key, float | None] = field(default_factory=dict)
    alerts: list[AlertEvent] = field(default_factory=list)
    dead_letters: Counter[tuple[bytes, bytes]] = field(default_factory=Counter)
    states: list[PartitionState] = field(default_factory=list)


def undisturbed(world: World, swaps: Sequence[Sequence[Swap]]) -> Told:
    """Return what the input of `world` causes when nothing ever fails, its rows moved to other models at `swaps`."""
    logs = [world.cluster.visible(TopicPartition("metrics", number)) for number in range(PARTITIONS)]
    told = Told(states=[PartitionState.empty(LAYOUTS, 0) for _ in logs])
    intake = Intake(JsonFormat(), [Selection()], Limits())
    for segment in range(max(len(each) for each in swaps)):
        taken = []
        for number, log in enumerate(logs):
            if segment < len(swaps[number]):
                taken.append(_segment(intake, told.states[number], (number, log), swaps[number][segment:]))
        _tell(told, [each for each in taken if each is not None])
    return told


def timeline(world: World) -> dict[Key, bool]:
    """Return every sample that must be told, and whether it has a score: not while warming, nor when late or doubled.

    Of the production code only the settings are used here.
    """
    result: dict[Key, bool] = {}
    for number in range(PARTITIONS):
        newest, seen = dict[str, int](), Counter[str]()
        for record in world.cluster.visible(TopicPartition("metrics", number)):
            body = _body(record)
            if body is None:
                continue
            stream, time_ms = str(body["name"]), int(str(body["timestamp"]))
            fresh = time_ms > newest.get(stream, 0)
            result[number, record.offset, stream] = fresh and seen[stream] >= SETTINGS.warmup_samples
            if fresh:
                newest[stream], seen[stream] = time_ms, seen[stream] + 1
    return result


def _body(record: MemoryRecord) -> Mapping[str, object] | None:
    """Return a record's content, None when it must go to the dead letters."""
    try:
        body: Mapping[str, object] = json.loads(record.value or b"")
    except ValueError:
        return None
    return body if int(str(body["timestamp"])) <= record.timestamp + FUTURE_MS_MAX else None


def _segment(
    intake: Intake, at: PartitionState, given: tuple[int, Sequence[MemoryRecord]], swaps: Sequence[Swap]
) -> tuple[Taken, PartitionState] | None:
    """Move a state to the first of `swaps` and return its samples up to the next; None when there are none."""
    number, log = given
    if swaps[0].model_id != at.models.get(GROUP, ""):
        _adopt(at, swaps[0].model_id)
    end = swaps[1].offset if len(swaps) > 1 else len(log)
    records = log[at.next_offset : end]
    return (intake.take(TopicPartition("metrics", number), records, at), at) if records else None


def _adopt(at: PartitionState, model_id: str) -> None:
    slab, model = at.slabs[GROUP], known_models()[model_id]
    for slots in slab.blocks(len(slab) or 1):
        slab.apply(Delta(slots, adopt(model.detector, slab.take(slots), model.calibration)))
    at.models[GROUP] = model_id


def _tell(told: Told, taken: Sequence[tuple[Taken, PartitionState]]) -> None:
    """Step all parts at once, each with its model, and note what that causes."""
    by_model: dict[str, list[Part]] = {}
    for each, at in taken:
        by_model.setdefault(at.models.get(GROUP, ""), []).append(each.parts[GROUP])
    caused = step([(_group(name), parts) for name, parts in by_model.items()])
    for each, at in taken:
        settle(at, each, caused.deltas)
        told.dead_letters.update((str(one.partition).encode(), str(one.offset).encode()) for one in each.rejected)
    told.alerts.extend(caused.alerts)
    for found in caused.scores:
        for message in score_messages("scores", found, None):
            told.scores.update(scored(decode_scores(message.value or b"")))


def _group(model_id: str) -> Group:
    detector = known_models()[model_id].detector if model_id else Detector(SETTINGS)
    return Group(GROUP, detector, evidence_bytes_max=EVIDENCE_BYTES_MAX)


def _manifest(record: MemoryRecord) -> Manifest | None:
    is_manifest = record.key is not None and record.key.startswith(b"manifest/")
    return msgspec.msgpack.decode(record.value or b"", type=Manifest) if is_manifest else None
