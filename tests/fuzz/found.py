"""Inputs that once escaped, made small: by the claim that they broke, the reader and its bytes."""

from __future__ import annotations

import json
from dataclasses import replace

import msgspec

from daemon.evidence import sealed
from tests.fuzz.batch_readers import BATCH, SIZED, STAMP_MS
from tests.fuzz.stored_readers import ARTEFACT, GROUNDS, MANIFEST, SEALED_ARTEFACT, SEALED_MANIFEST, WRITTEN

DEEP = b"[" * 3000


def _manifest(**changes: object) -> bytes:
    stated = next(each.value for each in WRITTEN if each.key == MANIFEST)
    return SEALED_MANIFEST.write({**msgspec.msgpack.decode(stated or b""), **changes})


def _artefact_of_nothing() -> bytes:
    tree = SEALED_ARTEFACT.parse(ARTEFACT)
    assert isinstance(tree, dict)
    tree["manifest"]["channels"] = []
    return SEALED_ARTEFACT.write(tree)


def _evidence(**changes: object) -> bytes:
    return msgspec.json.encode(sealed(replace(GROUNDS, **changes)))  # type: ignore[arg-type]  # the names are its own


def _batch(first_ms: int = 0, left: int = 30, more: bytes = b"", size: int = 12) -> bytes:
    """Return a batch of which the first record has another size, or the last ones are something else."""
    tree = SIZED.parse(BATCH)
    assert isinstance(tree, dict)
    tree["head"][7] += first_ms
    tree["head"][12] = left + bool(more)
    made = bytearray(SIZED.write({"head": tree["head"], "records": tree["records"][:left]}) + more)
    made[8:12] = (len(made) - 12).to_bytes(4, "big")
    made[61] = size
    return bytes(made)


HUGE = b"1" + b"0" * 400
_POINT = b'{"timeUnixNano":"1700000000000000000","count":"%s","bucketCounts":["%s"],"explicitBounds":[1]}'
_HISTOGRAM = b'{"name":"m","histogram":{"dataPoints":[' + _POINT + b"]}}"
_METRICS = b'{"resourceMetrics":[{"scopeMetrics":[{"metrics":[' + _HISTOGRAM + b"]}]}]}"
_TOOK = (
    b'{"name":"took","timestamp":1700000000,"kind":"absolute","aggregated_summary":{"quantiles":[],"sum":1,"count":%s}}'
)


FOUND: dict[str, tuple[str, bytes]] = {
    "a count of Vector's is a number that a float can hold": ("format vector_json", _TOOK % HUGE),
    "a count of OpenTelemetry's is one, too": ("format otlp_json", _METRICS % (HUGE, HUGE)),
    "buckets may hold more together than a float can": ("format otlp_json", _METRICS % (b"9", b'1e308","1e308')),
    "an event's data is UTF-8, though it was passed over at first": (
        "format influx in CloudEvents",
        b'{"specversion":"1.0","type":"t","data":"cpu,host=\xe8 idle=1"}',
    ),
    "nesting below an unknown key is undecodable": ("format json", b'{"timestamp":1,"value":1,"x":' + DEEP),
    "a manifest's offset is not negative": ("manifest", _manifest(offset=-1)),
    "a manifest's offset fits in 64 bits": ("manifest", _manifest(offset=2**63)),
    "a manifest's watermark is not negative": ("manifest", _manifest(watermark_ms=-(2**63))),
    "a manifest's watermark fits in 64 bits": ("manifest", _manifest(watermark_ms=2**64 - 1)),
    "scores that are no UTF-8 are refused": ("score", b'{"schema_version":1,"topic":"metri\x8as"}'),
    "scores with deep nesting are refused": ("score", b'{"x":' + DEEP),
    "an alert that is no UTF-8 is refused": ("alert", b'{"schema_version":1,"alert_id":"\xff"}'),
    "an alert with deep nesting is refused": ("alert", b'{"x":' + DEEP),
    "the time of an alert's evidence fits in 64 bits": ("evidence", _evidence(time_ms=2**63)),
    "a name without labels is read once, not once from each place": ("labels", b"{" + b"a" * 200_000),
    "a model of no channels is none": ("artefact", _artefact_of_nothing()),
    "a record's size beyond all bounds is corrupt": ("batch", _batch(left=29, more=b"\xff" * 11 + b"\x01")),
    "a record's size is not negative": ("batch", _batch(size=13)),
    "a record's time is counted in 64 bits": ("batch", _batch(2**63 - 1 - STAMP_MS, 3)),
    "an integer too large for a number is told": (
        "table JSON lines",
        json.dumps({"timestamp": 1, "v": 10**400}).encode(),
    ),
    "deep nesting in a line is told": ("table JSON lines", b'{"timestamp":1,"v":' + DEEP),
}
