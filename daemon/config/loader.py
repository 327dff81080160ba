"""Turns a YAML file into a Config, or into the list of everything that is wrong with it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from pydantic import ValidationError

from daemon.config.combinations import impossible
from daemon.config.document import BYTES_MAX, Document, Problem, parse
from daemon.config.environment import substitute
from daemon.config.model import Config
from daemon.config.problems import Source, explain
from daemon.errors import ConfigError

PROBLEMS_MAX = 100


def load(path: Path, env: Mapping[str, str]) -> Config:
    """Return the configuration in the file `path`, with variables from `env`. Raises ConfigError with every problem."""
    return loads(_read(path), str(path), env)


def loads(text: str, origin: str, env: Mapping[str, str]) -> Config:
    """Return the configuration that `text` describes.

    `origin` is the name of the file: problems start with it, and files that are named in it are looked up beside it.
    Raises ConfigError with every problem.
    """
    if len(text) > BYTES_MAX:
        raise ConfigError([f"{origin}: found more than {BYTES_MAX} bytes, expected a smaller file"])
    document = parse(text)
    config, problems = _validated(document, origin, env)
    if config is None or problems:
        raise ConfigError(_rendered(problems, origin))
    return config


def defaults() -> Config:
    """Return the shipped defaults, as they hold without a file."""
    return Config()


def _read(path: Path) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(BYTES_MAX + 1)
        return content.decode("utf-8-sig")
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else "its name or its bytes are not UTF-8 text"
        raise ConfigError([f"{path}: found no file that can be read ({why}), expected a YAML file"]) from None


def _validated(document: Document, origin: str, env: Mapping[str, str]) -> tuple[Config | None, list[Problem]]:
    problems = list(document.problems)
    if document.value is None:
        return None, problems
    substituted = substitute(document, env)
    source = Source(document, substituted)
    problems += [*substituted.problems, *impossible(source)]
    try:
        config = Config.model_validate(substituted.value, context=Path(origin).parent)
    except ValidationError as error:
        return None, [*problems, *explain(error, source)]
    return config, problems


def _rendered(problems: Iterable[Problem], origin: str) -> list[str]:
    rendered = [each.render(origin) for each in sorted(problems, key=lambda each: each.line or 0)]
    rest = len(rendered) - PROBLEMS_MAX
    return rendered if rest <= 0 else [*rendered[:PROBLEMS_MAX], f"{origin}: ... and {rest} more problems"]
