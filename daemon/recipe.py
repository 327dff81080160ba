"""What the samples of a group are made of: which fields of a record are read, how they are joined, what is derived."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from daemon.derived import Derivation, derived
from daemon.joining import Join, Tally, joined
from daemon.samples import Part
from detectors.slab import Fields

NAME, FIELD = "name", "field"  # what tells a channel, besides a label
VALUE = "value"  # the field of a record that carries one
ABSENT = "\x00"  # stands in the place of a field that a record does not have


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a group's samples are made, where they are not what stands in a record."""

    reads: tuple[str, ...]
    channels: tuple[str, ...]  # that are scored
    told_by: str = FIELD  # what tells the channel of a value that is joined: NAME, FIELD, or a label
    join: Join | None = None
    derivation: Derivation | None = None

    def fields(self) -> Fields:
        """Return the row fields that making the samples needs."""
        join = self.join.fields() if self.join else []
        return [*join, *(self.derivation.fields() if self.derivation else [])]

    def names(self, name: str, labels: Mapping[str, str], fields: Sequence[str]) -> tuple[str, ...] | None:
        """Return, for each channel that is read, the field of a record that holds it; None where no field does."""
        if self.join is None:
            return self.reads if any(each in fields for each in self.reads) else None
        found = {self._channel(name, labels, field): field for field in fields}
        names = tuple(found.get(each, ABSENT) for each in self.reads)
        return names if any(each != ABSENT for each in names) else None

    def _channel(self, name: str, labels: Mapping[str, str], field: str) -> str:
        """Return which channel a field is: as Prometheus would name it, where a record has others than its value."""
        if self.told_by == FIELD:
            return field
        base = name if self.told_by == NAME else labels.get(self.told_by, "")
        return base if field == VALUE else f"{base}_{field}"

    def stream(self, name: str, labels: Mapping[str, str]) -> tuple[str, Mapping[str, str]]:
        """Return what of a record's name and labels tells its stream: what tells the channels apart does not."""
        if self.join is None:
            return name, labels
        return "", {label: value for label, value in labels.items() if label != self.told_by}

    def told(self, codes: Sequence[float]) -> tuple[float, ...]:
        """Return what the scored channels are told to be (the row field `counter`), by what the read ones are."""
        by_name = dict(zip(self.reads, codes, strict=True))
        made = self.derivation.is_made if self.derivation else (False,) * len(self.channels)
        return tuple(
            0.0 if is_made else by_name.get(name, 0.0) for name, is_made in zip(self.channels, made, strict=True)
        )

    def made(self, part: Part, told: Mapping[str, Sequence[float]]) -> tuple[Part, Tally | None]:
        """Return the part with the samples that its readings make, and what came of these; nothing changes.

        `told` says what the channels of a stream, by its key, are, as far as anybody does.
        """
        tally = None
        if self.join is not None:
            part, tally = joined(self.join, part, told)
        return (part if self.derivation is None else derived(self.derivation, part)), tally


class Group(Protocol):
    """A group as far as its channels go."""

    @property
    def name(self) -> str: ...
    @property
    def channels(self) -> Sequence[str]: ...


@dataclass(frozen=True, slots=True)
class Made:
    """The parts of a take with the samples that were made; and, by group, what came of readings and what is lacking."""

    parts: Mapping[str, Part]
    tallies: Mapping[str, Tally]
    absent: Mapping[tuple[str, str], int]  # by group and channel, samples without it


class Recipes:
    """The recipes of one intake's groups, and what producers told of the channels of joined streams."""

    def __init__(self, by_group: Mapping[str, Recipe]) -> None:
        self._by_group = by_group
        self._told: dict[str, dict[str, tuple[float, ...]]] = {}

    def of(self, group: str) -> Recipe | None:
        """Return a group's recipe, None where what stands in a record is a sample."""
        return self._by_group.get(group)

    def widths(self, groups: Sequence[Group]) -> Mapping[str, int]:
        """Return how many values each group's readings have."""
        found = {group.name: self.of(group.name) for group in groups}
        return {each.name: len(recipe.reads if (recipe := found[each.name]) else each.channels) or 1 for each in groups}

    def tell(self, group: str, key: str, codes: tuple[float, ...]) -> tuple[float, ...]:
        """Note what the channels of a stream are told to be (0: nothing), and return all that is told by now.

        What one record tells of a channel, another one does not tell of the next.
        """
        of_group = self._told.setdefault(group, {})
        before = of_group.get(key, codes)
        of_group[key] = tuple(new or old for new, old in zip(codes, before, strict=True))
        return of_group[key]

    def forget(self, streams: Iterable[tuple[str, str]]) -> None:
        """Forget what was told of streams, each its group and key; their next records tell it again."""
        for group, key in streams:
            self._told.get(group, {}).pop(key, None)

    def forget_all(self) -> None:
        """Forget what was told of every stream."""
        self._told.clear()

    def made(self, parts: Mapping[str, Part], groups: Sequence[Group]) -> Made:
        """Return the parts with the samples that are made of readings, and what these lack."""
        result, tallies = dict(parts), {}
        absent: dict[tuple[str, str], int] = {}
        for group in groups:
            part, recipe = result.get(group.name), self.of(group.name)
            if part is not None and recipe is not None:
                part, tally = recipe.made(part, self._told.get(group.name, {}))
                result[group.name] = part
                if tally is not None:
                    tallies[group.name] = tally
            if part is not None and len(group.channels) > 1:
                counts = np.isnan(part.samples.values).sum(axis=0).tolist()
                absent.update({(group.name, name): n for name, n in zip(group.channels, counts, strict=True) if n})
        return Made(result, tallies, absent)
