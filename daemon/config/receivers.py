"""Who is told of alerts besides the alerts topic: Alertmanagers and webhooks."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Final
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, ValidationInfo, field_validator, model_validator

from daemon.config.kinds import (
    FileOfSecret,
    Form,
    LabelValue,
    Name,
    ReadableFile,
    Section,
    Selector,
    expected,
    login_name,
    path_of,
    with_a_certificate,
    with_a_name,
)
from daemon.notices import OURS
from daemon.posting import Login

RECEIVERS_MAX: Final = 16
LABEL: Final = Form(r"[a-zA-Z_][a-zA-Z0-9_]*", "a label's name of letters, digits and _")
_URL: Final = "an address that begins with http:// or https://"


def _url(text: str) -> str:
    try:
        parts = urlsplit(text)
        port = parts.port
        (parts.hostname or "").encode("idna")  # as it is looked up
    except ValueError:
        raise expected(_URL) from None
    if parts.scheme not in {"http", "https"} or not parts.hostname or port == 0 or not re.fullmatch(r"[!-~]+", text):
        raise expected(_URL)
    if parts.username is not None or parts.password is not None:
        raise expected("an address without a login in it (username and password_file are for that)")
    return text


Url = Annotated[str, Field(max_length=2000), AfterValidator(_url)]
"""Where something is reached over HTTP."""


class ReceiverConfig(Section):
    """An Alertmanager or a webhook that is told of alerts, each change at least once."""

    name: Name
    """What metrics, logs and its consumer group call it."""
    alertmanager: Annotated[tuple[Url, ...], Field(strict=False, max_length=16)] = ()
    """Every replica of one Alertmanager, such as http://alertmanager-0:9093: each is told, never through a balancer."""
    webhook: Url | None = None
    """Or an address that takes what Alertmanager's own webhook sends."""
    match: Annotated[tuple[Selector, ...], Field(strict=False, max_length=100)] = ()
    """Only alerts with labels that all of these accept, such as 'severity="critical"'; all without."""
    labels: Mapping[str, LabelValue] = {}
    """Labels that each alert gets besides, in the place of the stream's of that name."""
    annotations: Mapping[str, LabelValue] = {}
    """Annotations that each alert gets besides, such as runbook_url."""
    remind_seconds: float = Field(default=60.0, ge=1, le=3600)
    """How often an Alertmanager is told of open alerts again; it takes what it has not heard of for four times that as
    over. A webhook is told once."""
    timeout_seconds: float = Field(default=5.0, gt=0, le=30)
    """How long a receiver may take for each step: to be reached, and to answer."""
    username: str | None = None
    """Whom to log in as (basic authentication)."""
    password_file: FileOfSecret | None = None
    """A file that holds the password; read again for each request."""
    token_file: FileOfSecret | None = None
    """A file that holds a bearer token; read again for each request."""
    ca_file: ReadableFile | None = None
    """Who may have signed the receiver's certificate (PEM); the system's authorities without."""
    cert_file: ReadableFile | None = None
    """Our certificate (PEM), where the receiver asks for one."""
    key_file: ReadableFile | None = None
    """The private key of it (PEM, not encrypted); without it, `cert_file` holds the key, too."""

    _name = field_validator("username")(login_name)
    _password = field_validator("password_file")(with_a_name)
    _key = field_validator("key_file")(with_a_certificate)

    def login(self) -> Login:
        """Return how the receiver knows us, and whom we trust."""
        return Login(
            username=self.username,
            password_file=path_of(self.password_file.path if self.password_file else None),
            token_file=path_of(self.token_file.path if self.token_file else None),
            ca_file=path_of(self.ca_file),
            cert_file=path_of(self.cert_file),
            key_file=path_of(self.key_file),
        )

    @field_validator("labels")
    @classmethod
    def _are_others(cls, value: Mapping[str, str]) -> Mapping[str, str]:
        for name in value:
            LABEL(name)
            if name in OURS:
                raise expected(f"other labels than {', '.join(sorted(OURS))}")
        return value

    @field_validator("annotations")
    @classmethod
    def _are_annotations(cls, value: Mapping[str, str]) -> Mapping[str, str]:
        for name in value:
            LABEL(name)
        return value

    @field_validator("token_file")
    @classmethod
    def _stands_alone(cls, value: object, info: ValidationInfo) -> object:
        if value is not None and info.data.get("username") is not None:
            raise expected("either a token or a password")
        return value

    @model_validator(mode="after")
    def _is_one_of_two(self) -> ReceiverConfig:
        if bool(self.alertmanager) is (self.webhook is not None):
            raise expected("either alertmanager or webhook")
        return self


def named_apart(receivers: tuple[ReceiverConfig, ...]) -> tuple[ReceiverConfig, ...]:
    """Return `receivers` if no two of them have the same name."""
    names = [each.name for each in receivers]
    if len(set(names)) < len(names):
        raise expected("receivers of different names")
    return receivers


Receivers = Annotated[
    tuple[ReceiverConfig, ...], Field(strict=False, max_length=RECEIVERS_MAX), AfterValidator(named_apart)
]
"""Who is told of alerts."""
