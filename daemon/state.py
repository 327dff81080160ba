"""The state of a partition: its slabs, and how they travel through the compacted state topic.

A page holds a block of rows of one slab with their stream keys. A manifest says at which input offset a partition's
pages stand. Both are written in a turn's transaction, so readers see a page only together with its manifest. Each
carries its own place and a checksum over everything in it: what was cut, changed, or written by or for somebody else is
told from what can be used.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated

import msgspec
import numpy as np

from daemon.errors import StateUnusable
from daemon.events import StreamState
from daemon.places import Places
from daemon.types import Outgoing, Record, TopicPartition
from detectors.slab import Slab
from detectors.tenants import Tenants

FORMAT_VERSION = 2
PAGE_BYTES_TARGET = 200_000
PAGE_ROWS_MAX = 64
PAGE_BYTES_MAX = 16_000_000
SLOTS_MAX = 2**31

Count = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]


@dataclass(frozen=True, slots=True)
class GroupLayout:
    """How a group's rows lie in memory, how many streams one partition may hold of it, and when they give way.

    `owner` is the consumer group that writes the pages: of two that share a state topic neither reads the other's.
    """

    dtype: np.dtype[np.void]
    streams_max: int
    evict_after_ms: int = 0  # event time; 0: a stream never gives way to another
    owner: str = ""
    tenants: Tenants | None = None  # of those streams; a change of it changes no page

    @property
    def page_rows(self) -> int:
        """Rows in a page: whole rows, about PAGE_BYTES_TARGET bytes."""
        return max(1, min(PAGE_ROWS_MAX, PAGE_BYTES_TARGET // self.dtype.itemsize))

    @property
    def checksum(self) -> str:
        """Tells whether a page was written with this layout, by this owner."""
        text = f"{FORMAT_VERSION}{self.dtype.descr}{self.page_rows}{self.owner}"
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def slab(self) -> Slab:
        """Return an empty slab."""
        return Slab(self.dtype, self.streams_max, self.page_rows, self.evict_after_ms, self.tenants)


@dataclass(slots=True)
class PartitionState:
    """All that is remembered of one partition of the input."""

    slabs: dict[str, Slab]
    models: dict[str, str] = field(default_factory=dict)  # by group, the model that the rows were moved by
    next_offset: int = 0
    watermark_ms: int = 0
    ahead_ms: int = 0  # event time of a record that was far ahead of all others; 0: the last one was not
    rejected_run: int = 0  # records in a row, up to the last one, that could not be used
    flushed_offset: int | None = None  # where the manifest stands
    topic_id: str = ""  # of the input topic that all of it comes from
    places: Places = field(default_factory=Places)  # of its points, found anew after a restore

    @classmethod
    def empty(cls, layouts: Mapping[str, GroupLayout], next_offset: int) -> PartitionState:
        """Return the state of a partition that has never been read."""
        return cls({name: layout.slab() for name, layout in layouts.items()}, next_offset=next_offset)


class GroupManifest(msgspec.Struct, frozen=True):
    """What a manifest says of one group."""

    layout: str
    model_id: str
    slots: Annotated[int, msgspec.Meta(ge=0, le=SLOTS_MAX)]  # of its streams, free ones among them


class Manifest(msgspec.Struct, frozen=True):
    """At which input offset a partition's pages stand; the first record not in them."""

    version: int
    place: str  # the key under which it was written
    offset: Count
    watermark_ms: Count
    ahead_ms: Count
    rejected_run: Count
    groups: dict[str, GroupManifest]
    topic_id: str  # of the input topic
    crc: int = 0

    def sealed(self) -> Manifest:
        """Return the manifest with the checksum that fits it."""
        blank = msgspec.structs.replace(self, crc=0)
        return msgspec.structs.replace(blank, crc=zlib.crc32(msgspec.msgpack.encode(blank)))


class Page(msgspec.Struct, frozen=True):
    """A block of rows with the keys of their streams, FREE where a slot belongs to nobody."""

    version: int
    place: str  # the key under which it was written
    layout: str
    keys: list[str]
    rows: bytes
    crc: int = 0

    def sealed(self) -> Page:
        """Return the page with the checksum that fits it."""
        head = msgspec.msgpack.encode((self.version, self.place, self.layout, self.keys))
        return msgspec.structs.replace(self, crc=zlib.crc32(self.rows, zlib.crc32(head)))


def flush(
    topic: str, partition: TopicPartition, state: PartitionState, layouts: Mapping[str, GroupLayout]
) -> tuple[list[Outgoing], dict[str, list[int]]]:
    """Return the messages that bring the state topic up to date, and which pages of which group they carry.

    The state must be that of the last commit: pages never hold what has not been committed.
    """
    messages: list[Outgoing] = []
    written: dict[str, list[int]] = {}
    for group, slab in state.slabs.items():
        written[group] = slab.dirty_pages()
        layout = layouts[group].checksum
        messages.extend(_page_message(topic, partition, group, each, slab, layout) for each in written[group])
    messages.append(
        Outgoing(topic, partition.partition, _manifest_key(partition), _manifest(partition, state, layouts))
    )
    return messages, written


def _page_message(topic: str, partition: TopicPartition, group: str, number: int, slab: Slab, layout: str) -> Outgoing:
    keys, rows = slab.page(number)
    place = _page_key(partition, group, number)
    page = Page(FORMAT_VERSION, place.decode(), layout, keys, rows.tobytes()).sealed()
    return Outgoing(topic, partition.partition, place, msgspec.msgpack.encode(page))


def _manifest(partition: TopicPartition, state: PartitionState, layouts: Mapping[str, GroupLayout]) -> bytes:
    groups = {
        name: GroupManifest(layouts[name].checksum, state.models.get(name, ""), slab.stored)
        for name, slab in state.slabs.items()
    }
    manifest = Manifest(
        version=FORMAT_VERSION,
        place=_manifest_key(partition).decode(),
        offset=state.next_offset,
        watermark_ms=state.watermark_ms,
        ahead_ms=state.ahead_ms,
        rejected_run=state.rejected_run,
        groups=groups,
        topic_id=state.topic_id,
    )
    return msgspec.msgpack.encode(manifest.sealed())


def _page_key(partition: TopicPartition, group: str, number: int) -> bytes:
    return f"page/{partition.topic}/{partition.partition}/{group}/{number}".encode()


def _manifest_key(partition: TopicPartition) -> bytes:
    return f"manifest/{partition.topic}/{partition.partition}".encode()


class Pages:
    """Gathers what the state topic holds of one partition: the last of every key."""

    def __init__(self, partition: TopicPartition) -> None:
        self._partition = partition
        self._prefix = f"page/{partition.topic}/{partition.partition}/".encode()
        self._pages: dict[bytes, bytes] = {}
        self._manifest: bytes | None = None

    def __len__(self) -> int:
        return len(self._pages)

    def add(self, records: Sequence[Record]) -> None:
        """Take in records of the state topic in their order; those of other partitions are passed over."""
        for record in records:
            key, value = record.key or b"", record.value
            if key == _manifest_key(self._partition):
                self._manifest = value
            elif key.startswith(self._prefix):
                if value is None:
                    self._pages.pop(key, None)
                else:
                    self._pages[key] = value

    def build(self, layouts: Mapping[str, GroupLayout]) -> tuple[PartitionState, Manifest, list[str]] | None:
        """Return the state as the manifest describes it, with the reasons why groups were left out; None if none.

        Raises StateUnusable when the manifest itself cannot be read.
        """
        if self._manifest is None:
            return None
        manifest = _decoded_manifest(self._manifest, _manifest_key(self._partition).decode())
        state = PartitionState.empty(layouts, manifest.offset)
        state.watermark_ms, state.flushed_offset = manifest.watermark_ms, manifest.offset
        state.ahead_ms, state.rejected_run = manifest.ahead_ms, manifest.rejected_run
        discarded = []
        for name, told in manifest.groups.items():
            if name not in layouts:
                discarded.append(f"group {name} is not configured any more")
                continue
            try:
                self._fill(state.slabs[name], name, told, layouts[name])
                state.models[name] = told.model_id
            except StateUnusable as error:
                discarded.append(str(error))
                state.slabs[name] = layouts[name].slab()
        return state, manifest, discarded

    def _fill(self, slab: Slab, group: str, told: GroupManifest, layout: GroupLayout) -> None:
        if told.layout != layout.checksum:
            raise StateUnusable(f"group {group}: rows of another layout (settings, version or consumer group changed)")
        # what a manifest says is not believed: there is room for the pages that are there
        slab.reserve(min(told.slots, layout.streams_max, len(self._pages) * layout.page_rows))
        for number in range(-(-told.slots // layout.page_rows)):
            page = self._page(group, number, told.layout, layout.dtype.itemsize)
            # rows beyond the manifest's count cannot be: a page is written only with its manifest
            if not slab.load_page(page.keys, np.frombuffer(page.rows, dtype=layout.dtype)):
                raise StateUnusable(f"group {group}: more than {layout.streams_max} streams, or one of them twice")
        if slab.stored != told.slots:
            raise StateUnusable(f"group {group}: {slab.stored} slots in the pages, {told.slots} in the manifest")

    def _page(self, group: str, number: int, layout: str, row_bytes: int) -> Page:
        place = _page_key(self._partition, group, number)
        value, named = self._pages.get(place), f"group {group}: page {number}"
        if value is None:
            raise StateUnusable(f"{named} is missing")
        if len(value) > PAGE_BYTES_MAX:
            raise StateUnusable(f"{named} has {len(value)} bytes, at most {PAGE_BYTES_MAX}")
        try:
            page = msgspec.msgpack.decode(value, type=Page)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise StateUnusable(f"{named} cannot be read: {error}") from error
        if (page.version, page.layout, page.place) != (FORMAT_VERSION, layout, place.decode()):
            raise StateUnusable(f"{named} was written by another version or for another place")
        if page.sealed().crc != page.crc or len(page.rows) != len(page.keys) * row_bytes:
            raise StateUnusable(f"{named} is corrupt")
        return page


def _decoded_manifest(value: bytes, place: str) -> Manifest:
    try:
        version = msgspec.msgpack.decode(value, type=_Versioned).version
        if version != FORMAT_VERSION:
            raise StateUnusable(f"the manifest has version {version}, this daemon reads {FORMAT_VERSION}")
        manifest = msgspec.msgpack.decode(value, type=Manifest)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise StateUnusable(f"the manifest cannot be read: {error}") from error
    if manifest.place != place:
        raise StateUnusable("the manifest was written for another place")
    if manifest.sealed().crc != manifest.crc:
        raise StateUnusable("the manifest is corrupt: its checksum does not fit")
    return manifest


class _Versioned(msgspec.Struct, frozen=True):
    version: int


def streams_by_state(slab: Slab, warmup_samples: int) -> dict[StreamState, int]:
    """Return how many streams of a slab are warming, ready and stale (silent)."""
    view = slab.view()  # slots that belong to nobody are neither silent nor ready
    stale = view["silent"] > 0
    ready = (view["samples"] >= max(warmup_samples, 1)) & ~stale
    known: dict[StreamState, int] = {"ready": int(ready.sum()), "stale": int(stale.sum())}
    return {"warming": len(slab) - sum(known.values()), **known}


def mark_flushed(state: PartitionState, written: Mapping[str, list[int]]) -> None:
    """Note that the pages `written`, by group, and a manifest at the state's offset were committed."""
    for group, numbers in written.items():
        state.slabs[group].mark_clean(numbers)
    state.flushed_offset = state.next_offset
