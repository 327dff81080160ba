"""What a group's samples are made of: readings that are joined, channels that are derived."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal, get_args

from pydantic import Field, ValidationInfo, field_validator, model_validator

from daemon.config.kinds import CHANNEL, LABEL, ChannelName, Seconds, Section, expected
from daemon.derived import Derivation, Derived, Kind
from daemon.joining import OPEN_MAX, Join, Several
from daemon.recipe import NAME, Recipe

PARTS = 2  # of a ratio


class JoinConfig(Section):
    """How readings, each of some of the group's channels, become samples: those of one interval make one."""

    channel: str
    """What tells which channel a value is: `name`, the metric's name (with a field other than `value` behind it, as
    `latency_count`), `field`, the field of the record, or a label by its new name. It does not tell the stream."""
    interval_seconds: Seconds | Literal["auto"] = "auto"
    """The grid of event time, counted from 1970. `auto` learns it for each stream from the first readings of its most
    frequent channel, which are then not scored."""
    lateness_seconds: float = Field(default=5.0, ge=0, le=86400)
    """How long after its interval a sample waits for channels that are missing, unless it is complete before; of an
    interval that is learnt, three times that at most."""
    several: Several = "first"
    """What counts where a channel has several readings in one interval. Only with `first` is a sample complete, and
    scored at once, as soon as it has every channel."""

    @field_validator("channel")
    @classmethod
    def _tells(cls, value: str) -> str:
        return value if value == NAME else LABEL(value)

    @field_validator("lateness_seconds")
    @classmethod
    def _leaves_few_open(cls, value: float, info: ValidationInfo) -> float:
        interval = info.data.get("interval_seconds")
        most = (OPEN_MAX - 1) * interval if isinstance(interval, float | int) else value
        if value > most:
            raise expected(f"{most:g} at most, {OPEN_MAX - 1} of its intervals")
        return value

    def join(self, width: int) -> Join:
        """Return what joining readings of so many channels needs of this."""
        interval = 0 if self.interval_seconds == "auto" else max(round(self.interval_seconds * 1000), 1)
        return Join(width, interval, round(self.lateness_seconds * 1000), self.several)


class DerivedConfig(Section):
    """One channel that is made of others, by one of these."""

    rate: ChannelName | None = None
    """The growth of a total per second; missing where the total falls, because it began anew."""
    difference: ChannelName | None = None
    """By how much it differs from the sample before."""
    ratio: Annotated[tuple[ChannelName, ChannelName], Field(strict=False)] | None = None
    """The first by the second; missing where the second is 0."""
    log: ChannelName | None = None
    """The natural logarithm; missing where it is not above 0."""

    @field_validator("ratio", mode="before")
    @classmethod
    def _is_of_two(cls, value: object) -> object:
        if value is not None and not (isinstance(value, list | tuple) and len(value) == PARTS):
            raise expected("two channels such as [errors, requests]")
        return value

    @model_validator(mode="after")
    def _is_one(self) -> DerivedConfig:
        if len(self.model_fields_set) != 1 or None in (getattr(self, name) for name in self.model_fields_set):
            raise expected(f"one of {', '.join(DerivedConfig.model_fields)}")
        return self

    def derived(self, name: str) -> Derived:
        """Return the channel `name`, made as this says."""
        kind: Kind = next(each for each in get_args(Kind) if getattr(self, each) is not None)
        of = getattr(self, kind)
        return Derived(name, kind, of if isinstance(of, tuple) else (of,))


def derives_named(value: Mapping[str, DerivedConfig]) -> Mapping[str, DerivedConfig]:
    """Return `value` if every name in it may be a channel's."""
    for name in value:
        CHANNEL(name)
    return value


def recipe(channels: tuple[str, ...], join: JoinConfig | None, derive: Mapping[str, DerivedConfig]) -> Recipe | None:
    """Return what the samples of a group are made of; None where they are what stands in a record."""
    if join is None and not derive:
        return None
    makes = tuple(each.derived(name) for name, each in derive.items())
    reads = list(dict.fromkeys(name for name in channels if name not in derive))
    made: set[str] = set()
    for each in makes:
        reads.extend(name for name in each.of if name not in made and name not in reads)
        made.add(each.name)
    return Recipe(
        reads=tuple(reads),
        channels=channels,
        told_by=join.channel if join else "field",
        join=join.join(len(reads)) if join else None,
        derivation=Derivation(tuple(reads), makes, channels) if makes else None,
    )
