"""What a format's file says about itself: its name, its words for the documentation, its examples and its decoder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from daemon.formats.options import Options
from daemon.formats.point import Format, Point
from daemon.types import RejectReason


@dataclass(frozen=True, slots=True)
class Example:
    """A record and what is made of it: points, or the reason why not. The tests hold the decoder to it."""

    says: str
    record: bytes
    gives: Sequence[Point] | RejectReason
    options: Options = field(default_factory=Options)


@dataclass(frozen=True, slots=True)
class Definition:
    """One format. Documentation, schema, fuzzers and tests know of it because its module has one, as DEFINITION."""

    name: str
    written_by: str
    about: str
    timestamps: str  # what the payload says of time, and in which unit
    labels: str  # where a stream's name and labels come from
    decoder: Callable[[Options], Format]
    examples: Callable[[], Sequence[Example]]
