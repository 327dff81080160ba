"""`longwatch models list|show|promote|rollback`: which models there are, where they came from, and which one scores.

A promotion or a rollback is one record in the models topic. Every member reads it and swaps between two turns.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, TextIO

import msgspec

from daemon import assembly, promotion
from daemon.config import Config, GroupConfig, load
from daemon.errors import BrokerUnavailable, ConfigError, ModelUnusable, TopicMismatch
from daemon.model_topic import Pointer, Shelf, Stored
from daemon.models import ready
from daemon.ports import Broker
from daemon.promotion import Topic
from daemon.trial import noticed
from detectors.artefact import ArtefactError, Lineage
from detectors.verdict import Figures, Verdict

Action = Literal["list", "show", "promote", "rollback"]

EXIT_OK, EXIT_FAILED, EXIT_CONFIG = 0, 1, 78
_HEADS = ("", "group", "model", "trained", "samples", "cause", "trial", "parent")


@dataclass(frozen=True, slots=True)
class ModelsArguments:
    """What the command line said."""

    action: Action
    config: Path
    model_id: str = ""  # its beginning is enough
    group: str | None = None
    json: bool = False


def models(arguments: ModelsArguments, env: Mapping[str, str], out: TextIO, err: TextIO) -> int:
    """Do what the arguments say and return the exit code: 0, 1 when it cannot be done, 78."""
    try:
        config = load(arguments.config, env)
        with closing(assembly.connected(config)) as broker:
            out.writelines(f"{line}\n" for line in answered(arguments, config, broker, _now_ms()))
    except (ConfigError, TopicMismatch) as error:
        err.write(f"{error}\n")
        return EXIT_CONFIG
    except (ModelUnusable, BrokerUnavailable) as error:
        err.write(f"{error}\n")
        return EXIT_FAILED
    return EXIT_OK


def answered(arguments: ModelsArguments, config: Config, broker: Broker, now_ms: int) -> list[str]:
    """Do what the arguments say and return the lines to print.

    Raises ModelUnusable when there is no such model or none to go back to, ConfigError for a group that is not
    configured, and BrokerUnavailable.
    """
    shelves = [(group, topic := _topic(config, group, broker), topic.read()) for group in _groups(arguments, config)]
    if arguments.action == "list":
        found = [(topic.group, shelf) for _, topic, shelf in shelves]
        return _json(_listed(found)) if arguments.json else list(_table(found, config))
    if arguments.action == "rollback":
        group, topic, shelf = _only(shelves)
        model = _before(topic, shelf)
    else:
        group, topic, shelf, model = _found(arguments, shelves)
    if arguments.action == "show":
        told = _facts(topic.group, model, shelf)
        return _json(told) if arguments.json else list(_page(told))
    return _changed(arguments, group, topic, (shelf, model, now_ms))


def _changed(
    arguments: ModelsArguments, group: GroupConfig, topic: Topic, choice: tuple[Shelf, Stored, int]
) -> list[str]:
    """Make a model the current one, if the daemons could use it."""
    shelf, model, now_ms = choice
    fault = _fault(model, group)
    if fault:
        raise ModelUnusable(f"model {model.model_id} of group {group.name} cannot be used: {fault}")
    before = shelf.current.model_id
    if model.model_id != before:
        promotion.chosen(topic, model.model_id, "operator", now_ms)
    if arguments.json:
        return _json({"group": group.name, "current": model.model_id, "before": before})
    was = f", which scored with {before} so far" if before else ""
    if model.model_id == before:
        return [f"group {group.name} scores with {before} already: nothing is changed"]
    return [f"group {group.name}{was}, scores with {model.model_id} from the next turns on"]


def _fault(model: Stored, group: GroupConfig) -> str:
    if model.artefact is None:
        return model.fault
    try:
        ready(model.artefact, model.model_id, group.detector())
    except ArtefactError as error:
        return str(error)
    return ""


# which group, which model


def _groups(arguments: ModelsArguments, config: Config) -> list[GroupConfig]:
    found = [group for group in config.groups if arguments.group in (None, group.name)]
    if not found:
        known = ", ".join(each.name for each in config.groups)
        raise ConfigError([f"--group {arguments.group}: no such group; there are {known}"])
    return found


def _topic(config: Config, group: GroupConfig, broker: Broker) -> Topic:
    return Topic(broker, config.outputs.models.topic, group.name, assembly.kept_models(config))


def _only(shelves: Sequence[tuple[GroupConfig, Topic, Shelf]]) -> tuple[GroupConfig, Topic, Shelf]:
    if len(shelves) > 1:
        names = ", ".join(group.name for group, _, _ in shelves)
        raise ModelUnusable(f"which group? Say --group with one of {names}")
    return shelves[0]


def _found(
    arguments: ModelsArguments, shelves: Sequence[tuple[GroupConfig, Topic, Shelf]]
) -> tuple[GroupConfig, Topic, Shelf, Stored]:
    hits = [
        (*each, model)
        for each in shelves
        for name, model in each[2].models.items()
        if name.startswith(arguments.model_id)
    ]
    if len(hits) == 1:
        return hits[0]
    if hits:
        names = ", ".join(f"{hit[0].name}/{hit[3].model_id}" for hit in hits)
        raise ModelUnusable(f"{arguments.model_id} may be any of {names}: say more of it, or --group")
    raise ModelUnusable(f"there is no model {arguments.model_id}; `longwatch models list {arguments.config}` names all")


def _before(topic: Topic, shelf: Shelf) -> Stored:
    model = shelf.before()
    if model is None:
        held = f"{topic.name} holds no model of group {topic.group} from before the current one"
        raise ModelUnusable(f"there is nothing to go back to: {held} ({shelf.current.model_id or 'there is none'})")
    return model


# what is said


def _listed(shelves: Sequence[tuple[str, Shelf]]) -> list[dict[str, Any]]:
    return [_facts(group, model, shelf) for group, shelf in shelves for model in shelf.models.values()]


def _facts(group: str, model: Stored, shelf: Shelf) -> dict[str, Any]:
    """Return all that is known of a model, in the order in which a person wants to read it."""
    current = shelf.current.model_id == model.model_id
    facts = {"group": group, "model_id": model.model_id, "current": current, "bytes": model.bytes}
    if current:
        facts |= {"chosen": msgspec.to_builtins(shelf.current)}
    if model.artefact is None:
        return {**facts, "fault": model.fault}
    lineage = msgspec.to_builtins(model.artefact.lineage)
    channels = list(model.artefact.channels)
    return {**facts, "model": msgspec.to_builtins(model.artefact.model), "channels": channels, "lineage": lineage}


def _table(shelves: Sequence[tuple[str, Shelf]], config: Config) -> Iterator[str]:
    rows = [_row(group, model, shelf) for group, shelf in shelves for model in shelf.models.values()]
    if not rows:
        names = ", ".join(group for group, _ in shelves)
        yield f"{config.outputs.models.topic} holds no model of group {names} yet: day zero's detector scores"
        return
    widths = [max(len(row[i]) for row in (_HEADS, *rows)) for i in range(len(_HEADS))]
    for row in (_HEADS, *rows):
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def _row(group: str, model: Stored, shelf: Shelf) -> tuple[str, ...]:
    mark = "*" if shelf.current.model_id == model.model_id else ""
    if model.artefact is None:
        return mark, group, model.model_id, "", "", "", "cannot be read", ""
    lineage = model.artefact.lineage
    middle = (_moment(lineage.created_at_ms), str(lineage.trained_samples), lineage.cause)
    return mark, group, model.model_id, *middle, _result(lineage.verdict), lineage.parent


def _page(facts: Mapping[str, Any]) -> Iterator[str]:
    """Yield everything that is known of a model, a line each."""
    lineage = msgspec.convert(facts["lineage"], Lineage) if "lineage" in facts else None
    yield f"model     {facts['model_id']} of group {facts['group']}, {facts['bytes']} bytes"
    if facts["current"]:
        chosen = msgspec.convert(facts["chosen"], Pointer)
        yield f"current   since {_moment(chosen.at_ms)}, by {chosen.by or 'nobody who said so'}"
    if lineage is None:
        yield f"fault     {facts['fault']}"
        return
    yield f"trained   {_moment(lineage.created_at_ms)}, because of {lineage.cause or 'what is not known'}"
    yield f"from      {_moment(lineage.trained_from_ms)} to {_moment(lineage.trained_to_ms)} (event time)"
    yield f"          {lineage.trained_samples} samples, seed {lineage.seed}"
    yield from (f"          {place}: offsets {first} to {last}" for place, (first, last) in lineage.offsets.items())
    yield f"parent    {lineage.parent or 'none: day zero'}"
    yield f"shape     {', '.join(f'{name} {value}' for name, value in facts['model'].items())}"
    yield f"channels  {', '.join(facts['channels'])}"
    yield f"settings  {lineage.settings or 'not known'}"
    yield f"versions  {', '.join(f'{name} {number}' for name, number in lineage.versions.items())}"
    yield f"trial     {_result(lineage.verdict)}"
    yield from _figures(lineage.verdict)


def _figures(verdict: Verdict | None) -> Iterator[str]:
    if verdict is None or verdict.candidate is None or verdict.incumbent is None:
        return
    yield f"          {verdict.samples} samples of {verdict.streams} streams, {verdict.canaries} canaries"
    yield f"          {'':<24}{'this model':>12}{verdict.against or 'day zero':>20}"
    theirs = _columns(verdict.incumbent)
    for name, ours in _columns(verdict.candidate).items():
        yield f"          {name:<24}{ours:>12}{theirs.get(name, '-'):>20}"


def _columns(found: Figures) -> dict[str, str]:
    return {
        "usual error": f"{found.error:.4f}",
        "alerts": str(found.alerts),
        "median score": f"{found.score_median:.3f}",
        "1 in 100 scores above": f"{found.score_high:.3f}",
        "canaries noticed": f"{noticed(found):.0%}" if found.recall else "-",
        **{f"  {kind}": f"{share:.0%}" for kind, share in found.recall.items()},
    }


def _result(verdict: Verdict | None) -> str:
    if verdict is None:
        return "none"
    return f"{'passed' if verdict.passed else 'refused'}{': ' if verdict.why else ''}{verdict.why}"


def _moment(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, tz=UTC).strftime("%Y-%m-%d %H:%M:%SZ") if at_ms else "at no known time"


def _json(told: object) -> list[str]:
    return [msgspec.json.format(msgspec.json.encode(told), indent=2).decode()]


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
