"""The state of a partition: its slabs, and how they travel through the compacted state topic.

A page holds a block of rows of one slab with their stream keys. A manifest says at which input offset a partition's
pages stand. Both are written in a turn's transaction, so readers see a page only together with its manifest.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import msgspec
import numpy as np

from daemon.errors import StateUnusable
from daemon.events import StreamState
from daemon.types import Outgoing, Record, TopicPartition
from detectors.slab import Slab

FORMAT_VERSION = 1
PAGE_BYTES_TARGET = 200_000
PAGE_ROWS_MAX = 64
PAGE_BYTES_MAX = 16_000_000


@dataclass(frozen=True, slots=True)
class GroupLayout:
    """How a group's rows lie in memory, and how many streams one partition may hold of it."""

    dtype: np.dtype[np.void]
    streams_max: int

    @property
    def page_rows(self) -> int:
        """Rows in a page: whole rows, about PAGE_BYTES_TARGET bytes."""
        return max(1, min(PAGE_ROWS_MAX, PAGE_BYTES_TARGET // self.dtype.itemsize))

    @property
    def checksum(self) -> str:
        """Tells whether a page was written with this layout."""
        return hashlib.sha256(f"{FORMAT_VERSION}{self.dtype.descr}{self.page_rows}".encode()).hexdigest()[:16]

    def slab(self) -> Slab:
        """Return an empty slab."""
        return Slab(self.dtype, self.streams_max, self.page_rows)


@dataclass(slots=True)
class PartitionState:
    """All that is remembered of one partition of the input."""

    slabs: dict[str, Slab]
    models: dict[str, str] = field(default_factory=dict)  # by group, the model that the rows were moved by
    next_offset: int = 0
    watermark_ms: int = 0
    flushed_offset: int | None = None  # where the manifest stands

    @classmethod
    def empty(cls, layouts: Mapping[str, GroupLayout], next_offset: int) -> PartitionState:
        """Return the state of a partition that has never been read."""
        return cls({name: layout.slab() for name, layout in layouts.items()}, next_offset=next_offset)


class GroupManifest(msgspec.Struct, frozen=True):
    """What a manifest says of one group."""

    layout: str
    model_id: str
    streams: int


class Manifest(msgspec.Struct, frozen=True):
    """At which input offset a partition's pages stand; the first record not in them."""

    version: int
    offset: int
    watermark_ms: int
    groups: dict[str, GroupManifest]


class _PageHeader(msgspec.Struct, frozen=True):
    version: int
    group: str
    number: int
    layout: str
    keys: list[str]
    crc: int
    rows: bytes


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
    messages.append(Outgoing(topic, partition.partition, _manifest_key(partition), _manifest(state, layouts)))
    return messages, written


def _page_message(topic: str, partition: TopicPartition, group: str, number: int, slab: Slab, layout: str) -> Outgoing:
    keys, rows = slab.page(number)
    raw = rows.tobytes()
    page = _PageHeader(FORMAT_VERSION, group, number, layout, keys, zlib.crc32(raw), raw)
    return Outgoing(topic, partition.partition, _page_key(partition, group, number), msgspec.msgpack.encode(page))


def _manifest(state: PartitionState, layouts: Mapping[str, GroupLayout]) -> bytes:
    groups = {
        name: GroupManifest(layouts[name].checksum, state.models.get(name, ""), len(slab))
        for name, slab in state.slabs.items()
    }
    return msgspec.msgpack.encode(Manifest(FORMAT_VERSION, state.next_offset, state.watermark_ms, groups))


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
        manifest = _decoded_manifest(self._manifest)
        state = PartitionState.empty(layouts, manifest.offset)
        state.watermark_ms, state.flushed_offset = manifest.watermark_ms, manifest.offset
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
            raise StateUnusable(f"group {group}: rows of another layout (settings or version changed)")
        for number in range(-(-told.streams // layout.page_rows)):
            page = self._page(group, number, layout)
            # rows beyond the manifest's count cannot be: a page is written only with its manifest
            slab.load_page(page.keys, np.frombuffer(page.rows, dtype=layout.dtype))
        if len(slab) != told.streams:
            raise StateUnusable(f"group {group}: {len(slab)} streams in the pages, {told.streams} in the manifest")
        slab.mark_clean(range(slab.pages))

    def _page(self, group: str, number: int, layout: GroupLayout) -> _PageHeader:
        value = self._pages.get(_page_key(self._partition, group, number))
        if value is None:
            raise StateUnusable(f"group {group}: page {number} is missing")
        if len(value) > PAGE_BYTES_MAX:
            raise StateUnusable(f"group {group}: page {number} has {len(value)} bytes, at most {PAGE_BYTES_MAX}")
        try:
            page = msgspec.msgpack.decode(value, type=_PageHeader)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise StateUnusable(f"group {group}: page {number} cannot be read: {error}") from error
        written_for = (page.version, page.layout, page.group, page.number)
        if written_for != (FORMAT_VERSION, layout.checksum, group, number):
            raise StateUnusable(f"group {group}: page {number} was written by another version or for another place")
        if zlib.crc32(page.rows) != page.crc or len(page.rows) != len(page.keys) * layout.dtype.itemsize:
            raise StateUnusable(f"group {group}: page {number} is corrupt")
        return page


def _decoded_manifest(value: bytes) -> Manifest:
    try:
        manifest = msgspec.msgpack.decode(value, type=Manifest)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise StateUnusable(f"the manifest cannot be read: {error}") from error
    if manifest.version != FORMAT_VERSION:
        raise StateUnusable(f"the manifest has version {manifest.version}, this daemon reads {FORMAT_VERSION}")
    return manifest


def streams_by_state(slab: Slab, warmup_samples: int) -> dict[StreamState, int]:
    """Return how many streams of a slab are warming, ready and stale (silent)."""
    view = slab.view()
    stale = view["silent"] > 0
    warming = (view["samples"] < warmup_samples) & ~stale
    known: dict[StreamState, int] = {"warming": int(warming.sum()), "stale": int(stale.sum())}
    return {**known, "ready": len(slab) - sum(known.values())}


def mark_flushed(state: PartitionState, written: Mapping[str, list[int]]) -> None:
    """Note that the pages `written`, by group, and a manifest at the state's offset were committed."""
    for group, numbers in written.items():
        state.slabs[group].mark_clean(numbers)
    state.flushed_offset = state.next_offset
