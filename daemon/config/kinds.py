"""The kinds of value that a setting may have beyond text and numbers: names, topics, addresses, files, matchers."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    PlainValidator,
    ValidationInfo,
)
from pydantic_core import PydanticCustomError

from daemon.config.matchers import Matcher, MatcherError, parse_matcher
from daemon.config.secret import Secret, SecretFile
from daemon.formats import FORMATS
from daemon.wanted import PATTERN

FILE_BYTES_MAX = 64 * 1024
PORT_MAX = 65535
FIELD_PATHS_MAX = 1000
UNKNOWN = "unknown"  # a key had a problem of its own, which is reported already


class Section(BaseModel):
    """A YAML block: frozen, strict about types, and closed to keys it does not know."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        allow_inf_nan=False,
        validate_default=True,  # a check on a key must also run where the key is absent
        hide_input_in_errors=True,
        use_attribute_docstrings=True,
    )


def expected(text: str) -> PydanticCustomError:
    """Return the error for a value that is not `text`; the report puts what was found before it."""
    return PydanticCustomError("expected", "{expected}", {"expected": text})


@dataclass(frozen=True, slots=True)
class Form:
    """A text that a pattern describes, and the words for people."""

    pattern: str
    words: str

    def __call__(self, text: str) -> str:
        """Return `text` if it has the form."""
        if not re.fullmatch(self.pattern, text, re.ASCII):
            raise expected(self.words)
        return text


def _topic(text: str) -> str:
    if text in {".", ".."}:
        raise expected("a topic name that is not . or ..")
    return Form(r"[A-Za-z0-9._-]{1,249}", "a topic name of 1 to 249 letters, digits, dots, _ and -")(text)


def _topic_or_pattern(text: str) -> str:
    if not text.startswith(PATTERN):
        return _topic(text)
    try:
        re.compile(text)
    except (re.error, OverflowError, RecursionError) as error:
        raise expected(f"a regular expression that can be read ({error})") from None
    return text


def _address(text: str) -> str:
    found = re.fullmatch(r"(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]*):([0-9]{1,5})", text, re.ASCII)
    if found is None or int(found[1]) > PORT_MAX:
        raise expected("host:port such as 127.0.0.1:9464")
    return text


def _server(text: str) -> str:
    found = re.fullmatch(r"(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+):([0-9]{1,5})", text, re.ASCII)
    if found is None or not 0 < int(found[1]) <= PORT_MAX:
        raise expected("host:port such as kafka-1:9092")
    return text


def _split(value: object) -> object:
    return [part.strip() for part in value.split(",")] if isinstance(value, str) else value


def _matcher(value: object) -> Matcher:
    if isinstance(value, Matcher):
        return value
    if not isinstance(value, str):
        raise expected("""text such as 'job="api"'""")
    try:
        return parse_matcher(value)
    except MatcherError as error:
        raise expected(str(error)) from None


def resolved(path: str, info: ValidationInfo) -> Path:
    """Return where a file named in the configuration lies: relative names start from the configuration's folder."""
    context: Any = info.context
    return Path(context or ".") / path


def _contents(path: str, info: ValidationInfo) -> str:
    try:
        with resolved(path, info).open("rb") as file:
            content = file.read(FILE_BYTES_MAX + 1)
    except OSError as error:
        raise expected(f"a file that can be read ({error.strerror})") from None
    except ValueError:
        raise expected("the name of a file") from None
    if len(content) > FILE_BYTES_MAX:
        raise expected(f"a file of at most {FILE_BYTES_MAX} bytes")
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        raise expected("a file with text in UTF-8") from None


def _readable(path: str, info: ValidationInfo) -> str:
    _contents(path, info)
    return str(resolved(path, info))


def _secret_file(value: object, info: ValidationInfo) -> SecretFile:
    if isinstance(value, SecretFile):
        return value
    if not isinstance(value, str) or not value:
        raise expected("the name of a file")
    text = _contents(value, info).rstrip("\r\n")
    if not text:
        raise expected("a file that is not empty")
    return SecretFile(str(resolved(value, info)), Secret(text))


NAME = Form(r"[A-Za-z0-9._-]{1,100}", "a name of 1 to 100 letters, digits, dots, _ and -")
FIELD_PATH = Form(r"[^\s.]+(?:\.[^\s.]+)*", "a field's name, or a dotted path to it such as metric.name")
LABEL = Form(r"(?!name$)\S{1,200}", "the name of a label other than name, without spaces")
CHANNEL = Form(r"\S(?:.{0,98}\S)?", "the name of a field of at most 100 characters")

Name = Annotated[str, AfterValidator(NAME)]
"""An identifier that ends up in metrics, client ids and keys."""


def labels_named(labels: Mapping[str, str]) -> Mapping[str, str]:
    """Return `labels` if every name in it may be a label's."""
    for name in labels:
        LABEL(name)
    return labels


def path_of(name: str | None) -> Path | None:
    """Return a file's name as a path, if there is one."""
    return None if name is None else Path(name)


def login_name(value: str | None) -> str | None:
    """Return the name of a login by password if it may be one."""
    if value is not None and (not value or ":" in value):
        raise expected("a name without a colon")
    return value


def with_a_name(value: object, info: ValidationInfo) -> object:
    """Return a password's file if there is a `username` for it, and demand one if there is."""
    name = info.data.get("username", UNKNOWN)
    if value is not None and name is None:
        raise expected("a username with it")
    if value is None and name not in (None, UNKNOWN):
        raise expected("a file, because there is a username")
    return value


def with_a_certificate(value: object, info: ValidationInfo) -> object:
    """Return a private key's file if there is a `cert_file` for it."""
    if value is not None and info.data.get("cert_file", UNKNOWN) is None:
        raise expected("a cert_file with it")
    return value


def _field_paths(value: object) -> object:
    if isinstance(value, str):
        return FIELD_PATH(value)
    if not isinstance(value, Mapping) or not 0 < len(value) <= FIELD_PATHS_MAX:
        raise expected(f"a field's path, or 1 to {FIELD_PATHS_MAX} of them by name")
    for name, path in value.items():
        if not isinstance(name, str) or not isinstance(path, str):
            raise expected("the path of a field behind each name")
        FIELD_PATH(path)
    return dict(value)


Topic = Annotated[str, AfterValidator(_topic)]
"""A Kafka topic."""

Topics = Annotated[tuple[Annotated[str, AfterValidator(_topic_or_pattern)], ...], Field(strict=False, min_length=1)]
"""At least one topic, or pattern of topics."""

Values = Literal["auto", "gauge", "counter", "delta"]
"""What values are, as far as the operator says so."""

LabelValue = Annotated[str, Field(min_length=1, max_length=1000)]
"""What a label says; empty would be the same as having none."""

LabelName = Annotated[str, AfterValidator(LABEL)]
"""The name of a stream's label, other than that of the metric's name."""

Servers = Annotated[
    tuple[Annotated[str, AfterValidator(_server)], ...],
    Field(strict=False, min_length=1),
    BeforeValidator(_split, json_schema_input_type=str | list[str]),
]
"""host:port pairs, as a list or as one comma-separated text."""

Address = Annotated[str, AfterValidator(_address)]
"""Where to listen, host:port; an empty host means every interface."""

FieldPath = Annotated[str, AfterValidator(FIELD_PATH)]
"""Where a part of a record stands."""

FieldPaths = Annotated[
    str | Mapping[str, str], PlainValidator(_field_paths, json_schema_input_type=str | dict[str, str])
]
"""Where a map stands, or each entry of one by its name."""

if TYPE_CHECKING:
    FormatName = str
else:
    FormatName = Literal[tuple(FORMATS)]
"""The name of a format; which there are is known when the program runs."""

ChannelName = Annotated[str, AfterValidator(CHANNEL)]
"""A field that is scored, or of which something scored is made."""

Channels = Annotated[tuple[ChannelName, ...], Field(strict=False)]
"""Fields that are scored jointly."""

Selector = Annotated[
    Matcher, PlainValidator(_matcher, json_schema_input_type=str), PlainSerializer(str, return_type=str)
]
"""One Prometheus matcher."""

ReadableFile = Annotated[str, AfterValidator(_readable), Field(min_length=1, json_schema_extra={"format": "path"})]
"""A file that exists and can be read; kept as its path."""

FileOfSecret = Annotated[
    SecretFile,
    PlainValidator(_secret_file, json_schema_input_type=str),
    PlainSerializer(str, return_type=str),
    Field(json_schema_extra={"format": "path"}),
]
"""A file whose content is a secret, read when the configuration is loaded."""

Seconds = Annotated[float, Field(gt=0, le=366 * 86400)]
"""A length of time of at most a year."""
