"""How a format is read where it leaves a choice: the configuration's `input` section as the formats see it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

TimestampUnit = Literal["auto", "s", "ms", "us", "ns"]
TimestampSource = Literal["payload", "record"]
Compression = Literal["snappy", "none"]
Envelope = Literal["none", "cloudevents"]


@dataclass(frozen=True, slots=True)
class FieldPaths:
    """Where the parts of a `json` record stand; a dot goes one object deeper, a number into an array.

    `labels` and `values` are the path of an object, or the path of each label and each value by its name.
    """

    timestamp: str = "timestamp"
    name: str = "name"
    labels: str | Mapping[str, str] = "labels"
    value: str = "value"
    values: str | Mapping[str, str] = "values"


@dataclass(frozen=True, slots=True)
class Options:
    """What the operator may say about a topic's records beside their format."""

    unit: TimestampUnit = "auto"
    source: TimestampSource = "payload"
    fields: FieldPaths = field(default_factory=FieldPaths)
    compression: Compression = "snappy"
