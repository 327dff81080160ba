"""Message formats by name: what turns one record into points, or into a reason why not.

Every module in this folder that has a DEFINITION is a format; nothing else lists them.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from pkgutil import iter_modules
from types import MappingProxyType
from typing import Final

from daemon.formats.cloudevents import CloudEvents
from daemon.formats.definition import Definition, Example
from daemon.formats.json import JsonFormat
from daemon.formats.options import Envelope, FieldPaths, Options
from daemon.formats.point import NO_TIME, Format, Kind, Malformed, Point
from daemon.formats.telegraf_json import TelegrafFormat

__all__ = [
    "FORMATS",
    "NO_TIME",
    "Definition",
    "Example",
    "FieldPaths",
    "Format",
    "JsonFormat",
    "Kind",
    "Malformed",
    "Options",
    "Point",
    "TelegrafFormat",
    "decoder",
]


def _found() -> Mapping[str, Definition]:
    modules = (import_module(f"{__name__}.{each.name}") for each in iter_modules(__path__))
    found = [module.DEFINITION for module in modules if hasattr(module, "DEFINITION")]
    return MappingProxyType({each.name: each for each in sorted(found, key=lambda each: each.name != "json")})


FORMATS: Final = _found()
"""Every format by its name: `json` first, which is the default, then by the alphabet."""


def decoder(name: str, options: Options, envelope: Envelope = "none") -> Format:
    """Return what decodes the records of a topic of the format `name`, in its envelope."""
    inner = FORMATS[name].decoder(options)
    return inner if envelope == "none" else CloudEvents(inner, options)
