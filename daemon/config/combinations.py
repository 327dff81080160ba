"""Finds settings that are fine alone and impossible together, in sections that do not see each other."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from daemon.config.document import Path, Problem, dotted
from daemon.config.groups import SHIPPED
from daemon.config.matchers import Matcher, MatcherError, parse_matcher
from daemon.config.model import Config, FeedConfig
from daemon.config.problems import Missing, Source, at, described
from daemon.config.recipes import impossible_recipes
from daemon.config.scopes import impossible_scopes
from daemon.config.shares import impossible_tenants

RLS_HIDDEN_MAX = 256
_SIZES_OF = {"layers": "stacked", "kernel": "cnn"}
_TOPICS: tuple[Path, ...] = (
    ("state", "topic"),
    ("outputs", "alerts", "topic"),
    ("outputs", "scores", "topic"),
    ("outputs", "dead_letters", "topic"),
    ("outputs", "models", "topic"),
)


REPARTITIONED: Path = ("input", "repartition_topic")


@dataclass(frozen=True, slots=True)
class _Topic:
    path: Path
    name: str
    is_written: bool  # False: the default stands in for it


def impossible(source: Source) -> Iterator[Problem]:
    """Yield a problem for each pair of settings that cannot both hold; what is wrong by itself is left out."""
    yield from _topics_for_two_purposes(source)
    yield from _repeats(source, ("input", "topics"))
    yield from _feeds_beside_a_feed(source)
    yield from _topics_of_two_feeds(source)
    yield from _feeds_of_unlike_values(source)
    yield from _groups_of_one_name(source)
    yield from _groups_that_get_nothing(source)
    for index in range(_group_count(source)):
        yield from _repeats(source, ("groups", index, "channels"))
        yield from _repeats(source, ("groups", index, "by"))
        yield from _repeats(source, ("groups", index, "drop"))
        yield from _guards_without_channel(source, ("groups", index))
        yield from _readouts_too_wide(source, ("groups", index))
        yield from _sizes_of_other_architectures(source, ("groups", index))
        yield from impossible_scopes(source, ("groups", index))
        yield from impossible_recipes(source, ("groups", index))
        yield from impossible_tenants(source, ("groups", index))


def _topics_for_two_purposes(source: Source) -> Iterator[Problem]:
    seen: dict[str, _Topic] = {}
    unset = {problem.path for problem in source.substituted.problems}
    for topic in _topics(source):
        if topic.path in unset:
            continue
        other = seen.setdefault(topic.name, topic)
        if other is not topic and (topic.path[:2] != other.path[:2] or topic.path[0] != "input"):
            here, there = (topic, other) if topic.is_written else (other, topic)
            yield source.problem(here.path, f"a topic of its own ({dotted(there.path)} is the same)")


def _topics(source: Source) -> Iterator[_Topic]:
    value, default = source.substituted.value, Config().model_dump(mode="json")
    for path in _feeds(source):
        inputs = at(value, (*path, "topics"))
        names = default["input"]["topics"] if isinstance(inputs, Missing) else inputs
        for index, name in enumerate(names if isinstance(names, list) else []):
            if isinstance(name, str):
                yield _Topic((*path, "topics", index), name, is_written=inputs is names)
    for path in (*_TOPICS, *([REPARTITIONED] if _is_repartitioned(source) else [])):
        found = at(value, path)
        name = at(default, path) if isinstance(found, Missing) else found
        if isinstance(name, str):
            yield _Topic(path, name, is_written=found is name)


def _feeds(source: Source) -> list[Path]:
    feeds = at(source.substituted.value, ("input", "feeds"))
    count = min(len(feeds), 1000) if isinstance(feeds, list) else 0
    return [("input", "feeds", index) for index in range(count)] or [("input",)]


def _feeds_beside_a_feed(source: Source) -> Iterator[Problem]:
    found = at(source.substituted.value, ("input",))
    if not isinstance(found, dict) or not found.get("feeds"):
        return
    for key in FeedConfig.model_fields:
        if key in found:
            yield source.problem(("input", key), "it in each of input.feeds, which says all of the topics")


def _topics_of_two_feeds(source: Source) -> Iterator[Problem]:
    seen: dict[str, Path] = {}
    for topic in _topics(source):
        if topic.path[:2] == ("input", "feeds") and seen.setdefault(topic.name, topic.path) != topic.path:
            path = topic.path if topic.is_written else topic.path[:-2]
            yield source.problem(path, f"each topic once ({dotted(seen[topic.name])} is {topic.name} too)")


def _is_repartitioned(source: Source) -> bool:
    return at(source.substituted.value, ("input", "repartition")) is True


def _feeds_of_unlike_values(source: Source) -> Iterator[Problem]:
    """Yield a problem for each feed whose values are told otherwise than the first one's: they meet in one topic."""
    feeds = at(source.substituted.value, ("input", "feeds"))
    if not _is_repartitioned(source) or not isinstance(feeds, list):
        return
    told = [each.get("values", "auto") if isinstance(each, dict) else "auto" for each in feeds[:1000]]
    for index, values in enumerate(told):
        if values != told[0]:
            written = index if values != "auto" else 0
            text = "the same in every feed with input.repartition, or values in the groups"
            yield source.problem(("input", "feeds", written, "values"), text)


def _repeats(source: Source, path: Path) -> Iterator[Problem]:
    entries = at(source.substituted.value, path)
    seen: set[str] = set()
    for index, entry in enumerate(entries if isinstance(entries, list) else []):
        if isinstance(entry, str) and entry in seen:
            yield source.problem((*path, index), "each entry once")
        elif isinstance(entry, str):
            seen.add(entry)


def _guards_without_channel(source: Source, path: Path) -> Iterator[Problem]:
    guard = at(source.substituted.value, (*path, "guard"))
    channels = at(source.substituted.value, (*path, "channels"))
    known = list(SHIPPED.channels) if isinstance(channels, Missing) or channels == [] else channels
    if not isinstance(guard, dict) or not isinstance(known, list):
        return
    for channel in guard:
        if channel not in known:
            here: Path = (*path, "guard", channel)
            names = ", ".join(described(each) for each in known[:10])
            wanted = f"a channel of the group ({names})"
            yield Problem(here, f"found an unknown channel, expected {wanted}", source.document.line_of(here))


def _readouts_too_wide(source: Source, path: Path) -> Iterator[Problem]:
    # each stream would keep the square of it
    readout = at(source.substituted.value, (*path, "readout"))
    here: Path = (*path, "model", "hidden")
    hidden = at(source.substituted.value, here)
    owns = readout == "rls" or (isinstance(readout, Missing) and SHIPPED.readout == "rls")
    most = RLS_HIDDEN_MAX // (2 if _architecture(source, path) == "bidirectional" else 1)
    if owns and isinstance(hidden, int) and hidden > most:
        yield source.problem(here, f"at most {most} with a readout of each stream's own, or readout: shared")


def _sizes_of_other_architectures(source: Source, path: Path) -> Iterator[Problem]:
    for name, architecture in _SIZES_OF.items():
        here: Path = (*path, "model", name)
        found = at(source.substituted.value, here)
        if isinstance(found, int) and _architecture(source, path) != architecture:
            yield source.problem(here, f"model.architecture: {architecture} with it, which alone has {name}")


def _architecture(source: Source, path: Path) -> object:
    found = at(source.substituted.value, (*path, "model", "architecture"))
    return SHIPPED.model.architecture if isinstance(found, Missing) else found


def _groups_of_one_name(source: Source) -> Iterator[Problem]:
    seen: dict[str, int] = {}
    for index in range(_group_count(source)):
        path: Path = ("groups", index, "name")
        name = at(source.substituted.value, path)
        if isinstance(name, str) and seen.setdefault(name, index) != index:
            yield source.problem(path, f"a name of its own (groups[{seen[name]}] has the same)")


def _groups_that_get_nothing(source: Source) -> Iterator[Problem]:
    # An earlier group that asks for less takes every stream that the later one could have.
    earlier: list[tuple[int, frozenset[Matcher]]] = []
    for index in range(_group_count(source)):
        matchers = _matchers(source, index)
        if matchers is None:
            continue
        taker = next((each for each, asked in earlier if asked <= matchers), None)
        if taker is not None:
            path: Path = ("groups", index)
            wanted = f"it before groups[{taker}], which takes all of its streams"
            yield Problem(path, f"found a group that gets nothing, expected {wanted}", source.document.line_of(path))
        earlier.append((index, matchers))


def _matchers(source: Source, index: int) -> frozenset[Matcher] | None:
    found = at(source.substituted.value, ("groups", index))
    select = found.get("select", []) if isinstance(found, dict) else None
    if not isinstance(select, list):
        return None
    try:
        return frozenset(parse_matcher(each) for each in select if isinstance(each, str))
    except MatcherError:
        return None


def _group_count(source: Source) -> int:
    groups = at(source.substituted.value, ("groups",))
    return min(len(groups), 1000) if isinstance(groups, list) else 0
