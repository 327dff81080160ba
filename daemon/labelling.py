"""Which labels a stream has: those of its point, those of its feed, and what its group makes of both."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final


@dataclass(frozen=True, slots=True)
class Labelling:
    """What a group makes of a point's labels: first other names, then those that stay. The metric's name is none."""

    rename: Mapping[str, str] = field(default_factory=dict)  # new names by old ones
    by: tuple[str, ...] = ()  # all that stay; none: all but `drop`
    drop: tuple[str, ...] = ()

    def of(self, labels: Mapping[str, str]) -> Mapping[str, str]:
        """Return the labels that tell a stream of the group from the others."""
        labels = self.renamed(labels)
        if self.by:
            return {name: value for name, value in labels.items() if name in self.by}
        return {name: value for name, value in labels.items() if name not in self.drop} if self.drop else labels

    def renamed(self, labels: Mapping[str, str]) -> Mapping[str, str]:
        """Return all of the labels, by their new names."""
        if not self.rename:
            return labels
        new = {self.rename[name]: value for name, value in labels.items() if name in self.rename}
        return {**{name: value for name, value in labels.items() if name not in self.rename}, **new}


@dataclass(frozen=True, slots=True)
class Labels:
    """How the labels of one feed's points become those of streams."""

    always: Mapping[str, str] = field(default_factory=dict)  # of every stream of the feed
    groups: Mapping[str, Labelling] = field(default_factory=dict)

    def with_those_of_all(self, labels: Mapping[str, str]) -> Mapping[str, str]:
        """Return a point's labels with those that all of the feed have, which take the place of its own."""
        return {**labels, **self.always} if self.always else labels

    def of_a_stream(self, group: str, labels: Mapping[str, str]) -> Mapping[str, str]:
        """Return what `group` makes of the labels."""
        labelling = self.groups.get(group)
        return labels if labelling is None else labelling.of(labels)

    def renamed(self, group: str, labels: Mapping[str, str]) -> Mapping[str, str]:
        """Return all of the labels by the names that `group` gives them."""
        labelling = self.groups.get(group)
        return labels if labelling is None else labelling.renamed(labels)


AS_THEY_COME: Final = Labels()
