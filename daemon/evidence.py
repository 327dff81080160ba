"""What an alert rests on, inside its event: enough to compute its score again with nothing else but the model it names.

The stream's row as it was just before the sample, of which only what a score reads is kept, the sample, and the
settings. Under a checksum, for an event travels far before somebody asks.
"""

from __future__ import annotations

import binascii
import zlib
from base64 import b64decode, b64encode
from dataclasses import dataclass, replace
from typing import Annotated, Any, Final

import msgspec
import numpy as np

from daemon import __version__
from daemon.errors import EvidenceUnusable
from detectors import replay, scaling
from detectors.artefact import ArtefactError, check_sizes
from detectors.replay import Moment, ReplayError
from detectors.settings import (
    BudgetThreshold,
    DetectorSettings,
    Guard,
    ModelSettings,
    QuantileThreshold,
    Readout,
    SigmaThreshold,
    StaticThreshold,
    Threshold,
)

VERSION: Final = 1
CHANNELS_MAX: Final = 4096

Finite = Annotated[float, msgspec.Meta(gt=0, le=1e12)]
Count = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]


@dataclass(frozen=True, slots=True)
class Evidence:
    """A score's grounds. Without a `row` it was `left_out`, for the reason that stands there."""

    version: int
    longwatch: str  # the version that scored
    time_ms: int
    values: list[float | None]  # raw, by channel; None where missing
    protected: bool  # by another open alert
    needed: float  # the score at which an alert would have opened just then: 1.0 and what habituation adds
    settings: dict[str, Any]  # of the detector, as far as a score rests on them
    layout: str  # tells whether the row lies as in the version that reads it
    row: str  # base64
    left_out: str
    crc: int


@dataclass(frozen=True, slots=True)
class Told:
    """Evidence that was read and found sound."""

    settings: DetectorSettings
    moment: Moment
    needed: float


class _Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The settings that a score rests on."""

    channels: Annotated[tuple[str, ...], msgspec.Meta(min_length=1, max_length=CHANNELS_MAX)]
    model: ModelSettings
    readout: Readout
    threshold: dict[str, float | str]
    warmup_samples: Count
    gap_max_seconds: Finite
    guard: tuple[tuple[str, Guard], ...] = ()  # no score rests on it, but a guard's alert does


class _Limit(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Any threshold; which of the numbers it has says its kind."""

    kind: str
    limit: Finite | None = None
    sigmas: Finite | None = None
    quantile: Annotated[float, msgspec.Meta(gt=0, lt=1)] | None = None
    samples_per_alert: Finite | None = None


def gathered(settings: DetectorSettings, moment: Moment, needed: float, bytes_max: int) -> Evidence:
    """Return the evidence of a score; its row is left out, and the event says so, where it takes more than `bytes_max`.

    The same moment gives the same evidence.
    """
    told = _told(settings)
    row, left_out = b64encode(replay.packed(settings, moment.row)).decode(), ""
    if len(row) > bytes_max:
        row, left_out = "", f"the row takes {len(row)} bytes, outputs.alerts.evidence_bytes_max is {bytes_max}"
    bounded = np.nan_to_num(moment.values, nan=np.nan, posinf=scaling.VALUE_MAX, neginf=-scaling.VALUE_MAX)
    blank = Evidence(
        version=VERSION,
        longwatch=__version__,
        time_ms=moment.time_ms,
        values=[None if np.isnan(value) else float(value) for value in bounded],  # infinite is scored as that much
        protected=moment.protected,
        needed=needed,
        settings=msgspec.json.decode(msgspec.json.encode(told)),  # as it is read again
        layout=replay.layout(settings),
        row=row,
        left_out=left_out,
        crc=0,
    )
    return sealed(blank)


def _told(settings: DetectorSettings) -> _Settings:
    threshold = settings.threshold
    told = _Settings(
        channels=settings.channels,
        model=settings.model,
        readout=settings.readout,
        threshold={name: getattr(threshold, name) for name in threshold.__slots__},
        warmup_samples=settings.warmup_samples,
        gap_max_seconds=settings.gap_max_seconds,
        guard=settings.guard,
    )
    return msgspec.convert(msgspec.to_builtins(told), _Settings)  # every number of the type that a reader gives it


def sealed(evidence: Evidence) -> Evidence:
    """Return the evidence with the checksum that fits it. Raises EvidenceUnusable when its settings are none."""
    return replace(evidence, crc=_checksum(evidence, _settings(evidence)))


def opened(evidence: Evidence) -> Told:
    """Return what the evidence tells.

    Raises EvidenceUnusable when it was left out, cut, changed, or is another version's.
    """
    if evidence.version != VERSION:
        raise EvidenceUnusable(
            f"the evidence has version {evidence.version}, this Longwatch reads {VERSION}: use {_writer(evidence)}"
        )
    if not evidence.row:
        raise EvidenceUnusable(f"the evidence was left out: {evidence.left_out or 'nobody says why'}")
    told = _settings(evidence)
    if _checksum(evidence, told) != evidence.crc:
        raise EvidenceUnusable("the evidence is corrupt: its checksum does not fit; take the event from its topic")
    settings = _detector_settings(told, evidence)
    try:
        if replay.layout(settings) != evidence.layout:
            raise EvidenceUnusable(f"the evidence's rows lie otherwise than in this version: use {_writer(evidence)}")
        row = replay.unpacked(settings, b64decode(evidence.row, validate=True))
    except (ReplayError, binascii.Error, ValueError) as error:
        raise EvidenceUnusable(f"the evidence cannot be used: {error}") from error
    values = np.array([np.nan if value is None else value for value in evidence.values], dtype=np.float64)
    if len(values) != len(settings.channels):
        raise EvidenceUnusable(f"the evidence has {len(values)} values and {len(settings.channels)} channels")
    return Told(settings, Moment(row, evidence.time_ms, values, evidence.protected), evidence.needed)


def _writer(evidence: Evidence) -> str:
    return f"longwatch {evidence.longwatch}, which wrote it"


def _settings(evidence: Evidence) -> _Settings:
    try:
        return msgspec.convert(evidence.settings, _Settings)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise EvidenceUnusable(f"the evidence's settings cannot be read ({error}): use {_writer(evidence)}") from error


def _detector_settings(told: _Settings, evidence: Evidence) -> DetectorSettings:
    try:
        check_sizes(told.model)
        return DetectorSettings(
            channels=told.channels,
            model=told.model,
            readout=told.readout,
            threshold=_threshold(msgspec.convert(told.threshold, _Limit)),
            warmup_samples=told.warmup_samples,
            gap_max_seconds=told.gap_max_seconds,
            guard=told.guard,
        )
    except (ArtefactError, msgspec.MsgspecError) as error:
        raise EvidenceUnusable(f"the evidence's settings cannot be used ({error}): use {_writer(evidence)}") from error


def _threshold(told: _Limit) -> Threshold:
    match told:
        case _Limit(kind="static", limit=float(limit)):
            return StaticThreshold(limit)
        case _Limit(kind="sigma", sigmas=float(sigmas)):
            return SigmaThreshold(sigmas)
        case _Limit(kind="quantile", quantile=float(quantile)):
            return QuantileThreshold(quantile)
        case _Limit(kind="budget", samples_per_alert=float(samples_per_alert)):
            return BudgetThreshold(samples_per_alert)
        case _:
            raise msgspec.ValidationError(f"no threshold of the kind {told.kind}")


def _checksum(evidence: Evidence, told: _Settings) -> int:
    """Return the checksum over all that is told; numbers count as what they mean, however JSON writes them."""
    head = (evidence.version, evidence.longwatch, evidence.time_ms, evidence.protected, float(evidence.needed))
    values = [None if value is None else float(value) for value in evidence.values]
    body = (head, values, told, evidence.layout, evidence.row, evidence.left_out)
    try:
        return zlib.crc32(msgspec.msgpack.encode(body, order="deterministic"))
    except (msgspec.MsgspecError, OverflowError, UnicodeEncodeError) as error:
        raise EvidenceUnusable(f"the evidence holds what no evidence does: {error}") from error
