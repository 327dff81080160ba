"""What reads the daemon's own topics: pages and manifests, scores, alerts, artefacts."""

from __future__ import annotations

import base64
import hashlib
import json
import zlib
from collections.abc import Callable, Iterator
from dataclasses import replace

import msgspec
import numpy as np

from daemon import codec, explanation
from daemon.alert_events import AlertEvent, Feature, Source
from daemon.commands import explanation_text as text
from daemon.errors import EvidenceUnusable, StateUnusable
from daemon.evidence import Evidence, gathered, sealed
from daemon.memory import MemoryRecord
from daemon.models import ready
from daemon.state import GroupLayout, Manifest, Page, Pages, PartitionState, flush
from daemon.types import TopicPartition
from detectors.artefact import Artefact, ArtefactError, Lineage, dumps, loads
from detectors.replay import Moment
from detectors.scoring import Detector
from detectors.slab import Delta, row_dtype
from tests.conformance.feed import INTERVAL_MS, START_MS, Feed, drawn, series, settings_of, wave, weights
from tests.fuzz.engine import ACCEPTED, Reader
from tests.fuzz.mutation import JSON, MSGPACK, Shape

HERE = TopicPartition("metrics", 3)
LAYOUTS = {
    "a": GroupLayout(row_dtype([("samples", "f4", ()), ("time_ms", "i8", ())]), 100),
    "b": GroupLayout(row_dtype([("samples", "f4", ())]), 100),
}
PAGE, MANIFEST = b"page/metrics/3/a/0", b"manifest/metrics/3"
INT64_MAX = 2**63 - 1
SETTINGS = settings_of(width=2)
BLANK = "0" * 64


def stored_readers() -> Iterator[Reader]:
    """Yield a reader for each kind of record in the daemon's own topics."""
    page, manifest = (next(each.value for each in WRITTEN if each.key == key) or b"" for key in (PAGE, MANIFEST))
    yield Reader("page", lambda value: _built(PAGE, value), [page], shape=_sealed(Page), weight=3.0)
    yield Reader("manifest", lambda value: _built(MANIFEST, value), [manifest], shape=SEALED_MANIFEST, weight=3.0)
    yield Reader("score", read_score, [_scores()], shape=JSON, weight=3.0)
    yield Reader("alert", read_alert, [_alert()], shape=JSON, weight=2.0)
    yield Reader("evidence", read_evidence, [_evidence()], shape=SEALED_EVIDENCE, weight=1.5)
    yield Reader("artefact", read_artefact, [ARTEFACT], (b'\\"', b"__metadata__"), SEALED_ARTEFACT, 1.5)


def _written() -> list[MemoryRecord]:
    state = PartitionState.empty(LAYOUTS, 40)
    state.watermark_ms, state.models = 1_700_000_000_000, {"a": "0123456789abcdef"}
    for group, streams in (("a", ("cpu", 'mem{host="a"}', "é")), ("b", ("x",))):
        slab = state.slabs[group]
        slots = np.array([slab.slot(stream) for stream in streams], dtype=np.intp)
        slab.apply(Delta(slots, slab.take(slots)))
    messages, _ = flush("state", HERE, state, LAYOUTS)
    return [MemoryRecord(i, -1, each.key, each.value, ()) for i, each in enumerate(messages)]


WRITTEN = _written()


def _built(key: bytes, value: bytes) -> str:
    """Build the state with another value under `key`; what is built must be whole."""
    pages = Pages(HERE)
    pages.add([*WRITTEN, MemoryRecord(len(WRITTEN), -1, key, value, ())])
    try:
        found = pages.build(LAYOUTS)
    except StateUnusable as error:
        return f"unusable: {error}"
    assert found is not None
    state, manifest, discarded = found
    assert 0 <= state.next_offset <= INT64_MAX, f"offset {state.next_offset}"
    np.array([state.watermark_ms, manifest.watermark_ms], dtype=np.int64)
    flush("state", HERE, state, LAYOUTS)  # keys and ids can be written again
    for slab in state.slabs.values():
        assert len(slab) == len(slab.living())
    return f"discarded: {discarded[0]}" if discarded else ACCEPTED


def read_score(value: bytes) -> str:
    """Read a record of the scores topic."""
    return _decoded(codec.decode_scores, value)


def read_alert(value: bytes) -> str:
    """Read a record of the alerts topic."""
    return _decoded(codec.decode_alert, value)


def read_evidence(value: bytes) -> str:
    """Read an alert's evidence and explain it, with a network where the settings are those of one."""
    try:
        event = replace(EVENT, evidence=msgspec.json.decode(value, type=Evidence))
        told = explanation.read(event)
        fits = (told.settings.model, told.settings.channels) == (SETTINGS.model, SETTINGS.channels)
        found = explanation.explained(event, told, Detector(told.settings, NETWORK if fits else None))
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, EvidenceUnusable) as error:
        return f"refused: {error}"
    assert all(isinstance(line, str) for line in text.body(event, told, found))
    json.loads(text.numbers(event, [], found))
    return ACCEPTED


def read_artefact(value: bytes) -> str:
    """Read an artefact, and make it ready to score with."""
    try:
        ready(loads(value), "id", SETTINGS)
    except ArtefactError as error:
        return f"refused: {error}"
    return ACCEPTED


def _decoded(decode: Callable[[bytes], object], value: bytes) -> str:
    try:
        decode(value)
    except msgspec.MsgspecError as error:
        return f"refused: {error}"
    return ACCEPTED


def _scores() -> bytes:
    columns = codec.ScoreColumns(
        schema_version=1,
        topic="metrics",
        partition=0,
        group="g",
        streams=["cpu", "mem"],
        stream=[0, 1, 0],
        offset=[5, 6, 7],
        time_ms=[1_700_000_000_000] * 3,
        score=[0.25, None, 1.5],
    )
    return msgspec.json.encode(columns)


def _event() -> AlertEvent:
    feature = Feature("cpu", 1.5, 1.0, 0.5, None, 1.0, imputed=False, window=[1.0, 1.5])
    return AlertEvent(
        schema_version=1,
        alert_id="0" * 32,
        change="open",
        rule="anomaly",
        reason="threshold",
        severity="warning",
        group="g",
        stream='cpu{host="a"}',
        labels={"name": "cpu", "host": "a"},
        started_at_ms=1,
        detected_at_ms=2,
        peak_at_ms=3,
        ended_at_ms=None,
        score=1.5,
        max_score=2,
        surprise={"newest": 1.0},
        threshold={"kind": "static", "limit": 2.0},
        direction="up",
        features=[feature],
        model_id="",
        config_checksum="c",
        source=Source("metrics", 0, 7),
    )


def _alert() -> bytes:
    return codec.alert("alerts", replace(EVENT, evidence=GROUNDS)).value or b""


def _grounds() -> Evidence:
    """Return the evidence of a stream that has lived for a while."""
    feed = Feed(SETTINGS, NETWORK)
    feed.polls([series(wave(40, 2))])
    return gathered(
        SETTINGS, Moment(feed.row(), START_MS + 40 * INTERVAL_MS, np.array([9.0, np.nan]), False), 1.0, 9999
    )


def _evidence() -> bytes:
    return msgspec.json.encode(GROUNDS)


def _opened_evidence(data: bytes) -> object:
    told = json.loads(data)
    try:
        return {**told, "row": zlib.decompressobj().decompress(base64.b64decode(told["row"]), 1 << 16)}
    except (zlib.error, TypeError, LookupError) as error:
        raise ValueError(str(error)) from error


def _sealed_evidence(tree: object) -> bytes:
    """Write evidence whose checksum fits, whatever it and its row say."""
    if not (isinstance(tree, dict) and isinstance(tree.get("row"), bytes)):
        raise ValueError("not the parts of evidence")  # noqa: TRY004  # what a shape may raise
    told = {**tree, "row": base64.b64encode(zlib.compress(tree["row"])).decode()}
    try:
        return msgspec.json.encode(sealed(msgspec.convert(told, Evidence)))
    except (msgspec.MsgspecError, EvidenceUnusable, RecursionError):
        return json.dumps(told, default=str).encode()


def _artefact() -> bytes:
    lineage = Lineage("g", 500, {"metrics-0": (0, 9)}, 1_700_000_000_000, 0, (0.5, 0.25), {"torch": "2"})
    return dumps(Artefact(SETTINGS.model, SETTINGS.channels, weights(SETTINGS), {}, lineage))


def sealed_page() -> Shape:
    """Return the shape of pages."""
    return _sealed(Page)


def _sealed(kind: type[Page | Manifest]) -> Shape:
    """Return a shape that writes a checksum that fits, whatever else is said: what lies behind it is to be reached."""

    def write(tree: object) -> bytes:
        try:
            return msgspec.msgpack.encode(msgspec.convert(tree, kind).sealed())
        except msgspec.MsgspecError:
            return MSGPACK.write(tree)

    return Shape(MSGPACK.parse, write)


def _opened_artefact(data: bytes) -> object:
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    manifest = json.loads(header.pop("__metadata__")["longwatch"])
    return {"tensors": header, "manifest": manifest, "body": data[8 + length :]}


def _sealed_artefact(tree: object) -> bytes:
    """Write an artefact whose checksum fits, whatever it says."""
    if not isinstance(tree, dict) or not all(isinstance(tree.get(each), dict) for each in ("tensors", "manifest")):
        raise ValueError("not the three parts of an artefact")
    rest = {name: value for name, value in tree["manifest"].items() if name != "sha256"}
    manifest = json.dumps({"sha256": BLANK, **rest}, separators=(",", ":"))
    header = {"__metadata__": {"longwatch": manifest}, **tree["tensors"]}
    told = json.dumps(header, separators=(",", ":")).encode()
    body = tree["body"] if isinstance(tree.get("body"), bytes) else b""
    whole = len(told).to_bytes(8, "little") + told + body
    return whole.replace(BLANK.encode(), hashlib.sha256(whole).hexdigest().encode(), 1)


ARTEFACT = _artefact()
NETWORK = drawn(SETTINGS)
EVENT = _event()
GROUNDS = _grounds()
SEALED_EVIDENCE = Shape(_opened_evidence, _sealed_evidence)
SEALED_MANIFEST = _sealed(Manifest)
SEALED_ARTEFACT = Shape(_opened_artefact, _sealed_artefact)
