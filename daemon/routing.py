"""Which streams a point feeds: its group, and of each stream there the canonical name and where its values stand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Protocol

from daemon.formats.point import Kind, Malformed, Point
from daemon.labelling import Labels
from daemon.recipe import Recipe, Recipes
from daemon.stream_keys import stream_key
from detectors import scaling

CACHED_STREAMS_MAX = 500_000
STREAM_CHARS_MAX = 4096  # of a stream's name, which stands in pages, scores and alerts
SEPARATOR = "\x00"
FIELD = "field"  # the label that tells the fields of a record apart
EXPORTED = "exported_"  # what one of that name that a record has by itself is called then

Begins = Mapping[str, Sequence[float]]  # what the row of a new stream begins with
Shape = str | tuple[str, ...]
Route = Sequence[tuple[str, str, Sequence[str], Begins | None]]  # group, stream key, field names
_TOLD: Mapping[Kind, float] = {"counter": scaling.COUNTER, "delta": scaling.DELTA}


class Selection(Protocol):
    """A group as the intake sees it: which points it takes, and which of their fields."""

    @property
    def name(self) -> str: ...
    @property
    def channels(self) -> Sequence[str]: ...  # scored jointly; none: every field is a stream of its own
    def selects(self, labels: Mapping[str, str]) -> bool: ...


class Routes:
    """The routes of one feed's points. Those of points that come again are remembered."""

    def __init__(
        self,
        groups: Sequence[Selection],
        kinds: Mapping[str, Kind],
        labels: Labels,
        recipes: Recipes,
    ) -> None:
        self._groups, self._kinds, self._labels, self._recipes = groups, kinds, labels, recipes
        self._known: dict[Shape, Route] = {}

    def __len__(self) -> int:
        return len(self._known)

    def of(self, point: Point) -> Route | Malformed:
        """Return group, stream key and field names of each stream that the point feeds, and remember them."""
        shape = _shape(point)
        known = self._known.get(shape)
        if known is not None:
            return known
        found = self.found(point)
        if not isinstance(found, Malformed):
            if len(self._known) >= CACHED_STREAMS_MAX:
                self._known.clear()
                self._recipes.forget_all()
            self._known[shape] = found
        return found

    def forget(self, point: Point, route: Route | Malformed) -> None:
        """Forget the route of a point that finds no place: a flood of new streams shall not fill the memory."""
        self._known.pop(_shape(point), None)
        self._recipes.forget(() if isinstance(route, Malformed) else [each[:2] for each in route])

    def found(self, point: Point) -> Route | Malformed:
        """Return what `of` does, remembered by somebody else or by nobody."""
        found = self._found(point)
        if any(len(key) > STREAM_CHARS_MAX for _, key, *_ in found):
            return Malformed("oversized", f"the name of a stream has more than {STREAM_CHARS_MAX} characters")
        return found

    def home(self, point: Point) -> str | Malformed | None:
        """Return what all points that feed a stream of this one have in common; None when nobody takes the point.

        That is the group with the stream's name. Where each field is a stream of its own it is the same for all of
        them: they stay together, whichever of them a record has.
        """
        route = self.found(point)
        if isinstance(route, Malformed) or not route:
            return route if isinstance(route, Malformed) else None
        name, key, *_ = route[0]
        group = next(each for each in self._groups if each.name == name)
        if not group.channels and self._recipes.of(name) is None:
            labels = self._labels.of_a_stream(name, self._labels.with_those_of_all(point.labels))
            key = stream_key(point.name, {label: value for label, value in labels.items() if not _is_field(label)})
        self._recipes.forget([(name, key)])  # who only asks for the way tells nobody
        return f"{name}{SEPARATOR}{key}"

    def _found(self, point: Point) -> Route:
        labels = self._labels.with_those_of_all(point.labels)
        told = {**labels, "name": point.name} if point.name else labels
        group = next((group for group in self._groups if group.selects(told)), None)
        if group is None:
            return ()
        recipe = self._recipes.of(group.name)
        if recipe is not None:
            return self._route_of(recipe, group.name, point, labels)
        labels = self._labels.of_a_stream(group.name, labels)
        if group.channels:
            wanted = [name for name in group.channels if name in point.fields]
            names = _one_object(tuple(group.channels))
            key = stream_key(point.name, labels)
            return ((group.name, key, names, self._begins(group.name, point, names)),) if wanted else ()
        return tuple(
            (
                group.name,
                stream_key(point.name, _field_labels(labels, name)),
                _one_object((name,)),
                self._begins(group.name, point, (name,)),
            )
            for name in point.fields
        )

    def _route_of(self, recipe: Recipe, group: str, point: Point, labels: Mapping[str, str]) -> Route:
        """Find the one stream of which the point has readings."""
        names = recipe.names(point.name, self._labels.renamed(group, labels), list(point.fields))
        if names is None:
            return ()
        key = stream_key(*recipe.stream(point.name, self._labels.of_a_stream(group, labels)))
        begins = self._begins(group, point, names)
        told = None if begins is None else _told(self._recipes.tell(group, key, recipe.told(begins["counter"])))
        return ((group, key, _one_object(names), told),)

    def _begins(self, group: str, point: Point, names: Sequence[str]) -> Begins | None:
        """Return what a stream's row begins with where it is told what its values are.

        A producer's gauge may still turn out to be a counter, by what it does: many of them are.
        """
        told = self._kinds.get(group)
        if told is not None:
            return _told((_TOLD.get(told, scaling.GAUGE),) * len(names))
        found = tuple(_TOLD.get(point.kinds.get(name, "gauge"), scaling.UNKNOWN) for name in names)
        return _told(found) if any(found) else None


@lru_cache(1024)
def _one_object(names: tuple[str, ...]) -> tuple[str, ...]:
    """Return `names`: the same object each time, however many routes hold it."""
    return names


@lru_cache(1024)
def _told(codes: tuple[float, ...]) -> Begins:
    """Return what rows begin with: one object, however many routes remember it."""
    return {"counter": codes}


def _shape(point: Point) -> Shape:
    """Return what tells a point's streams from all others, and what it says that they are.

    It is one text where no part of it holds the separator.
    There are as many shapes as streams: a text is a fraction of a tuple's memory, and found with fewer looks at it. How
    many labels there are tells these from the fields.
    """
    labels, kinds = point.labels, point.kinds
    counts = f"{len(labels)},{len(kinds)}" if kinds else str(len(labels))
    parts: tuple[str, ...] = (counts, point.name, *labels, *labels.values(), *kinds, *kinds.values(), *point.fields)
    shape = SEPARATOR.join(parts)
    return shape if shape.count(SEPARATOR) == len(parts) - 1 else parts


def _is_field(label: str) -> bool:
    """Return whether a label may tell a field, or is what became of one that did."""
    return label.endswith(FIELD) and not label.removesuffix(FIELD).replace(EXPORTED, "")


def _field_labels(labels: Mapping[str, str], name: str) -> Mapping[str, str]:
    """Return the labels of the stream of one field; a label of that very name is kept under another one."""
    if name == "value":
        return labels
    kept = FIELD
    while kept in labels:
        kept = f"{EXPORTED}{kept}"
    return {**{kept if label == FIELD else label: value for label, value in labels.items()}, FIELD: name}
