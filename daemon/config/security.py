"""How the connection to Kafka is protected, and which of its settings belong together."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import ValidationInfo, field_validator, model_validator

from daemon.config.kinds import UNKNOWN, FileOfSecret, ReadableFile, Section, expected, with_a_certificate
from daemon.config.secret import Secret

Protocol = Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"]
Mechanism = Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER"]

_TLS = ("SSL", "SASL_SSL")
_SASL = ("SASL_PLAINTEXT", "SASL_SSL")


class SecurityConfig(Section):
    """Encryption and identity; `password` and `key_password` hold what their files said, if files were named."""

    protocol: Protocol = "PLAINTEXT"
    """How to talk to the brokers."""
    ca_file: ReadableFile | None = None
    """Certificates (PEM) of the authorities to trust; the system's own without it."""
    cert_file: ReadableFile | None = None
    """The daemon's own certificate (PEM), for brokers that ask for one."""
    key_file: ReadableFile | None = None
    """The certificate's private key (PEM)."""
    key_password: Secret | None = None
    """What the private key is encrypted with."""
    key_password_file: FileOfSecret | None = None
    """A file that holds the private key's password."""
    check_hostname: bool = True
    """Whether the broker's certificate must carry the name it was reached by."""
    sasl_mechanism: Mechanism | None = None
    """How to log in; needed with SASL_PLAINTEXT and SASL_SSL."""
    username: str | None = None
    """Who logs in (PLAIN and SCRAM)."""
    password: Secret | None = None
    """The password (PLAIN and SCRAM); better kept in a file or a variable."""
    password_file: FileOfSecret | None = None
    """A file that holds the password."""
    token_file: ReadableFile | None = None
    """A file that holds the bearer token (OAUTHBEARER); it is read at every login, so it may be renewed."""

    @field_validator("ca_file", "cert_file", "key_file", "key_password", "key_password_file")
    @classmethod
    def _belongs_to_tls(cls, value: object, info: ValidationInfo) -> object:
        protocol = info.data.get("protocol", UNKNOWN)
        if value is not None and protocol not in (*_TLS, UNKNOWN):
            raise expected(f"protocol SSL or SASL_SSL with it, not {protocol}")
        return value

    _key = field_validator("key_file")(with_a_certificate)

    @field_validator("key_password_file", "password_file")
    @classmethod
    def _only_one_of_both(cls, value: object, info: ValidationInfo) -> object:
        other = str(info.field_name).removesuffix("_file")
        if value is not None and info.data.get(other) is not None:
            raise expected(f"either {other} or {info.field_name}, not both")
        return value

    @field_validator("sasl_mechanism")
    @classmethod
    def _belongs_to_sasl(cls, value: object, info: ValidationInfo) -> object:
        protocol = info.data.get("protocol", UNKNOWN)
        if value is None and protocol in _SASL:
            raise expected(f"PLAIN, SCRAM-SHA-256, SCRAM-SHA-512 or OAUTHBEARER, because protocol is {protocol}")
        if value is not None and protocol not in (*_SASL, UNKNOWN):
            raise expected(f"protocol SASL_SSL or SASL_PLAINTEXT with it, not {protocol}")
        return value

    @field_validator("username")
    @classmethod
    def _belongs_to_a_login(cls, value: object, info: ValidationInfo) -> object:
        if not value and _logs_in_by_password(info):
            raise expected(f"a name, because sasl_mechanism is {info.data['sasl_mechanism']}")
        return _only_with_password_login(value, info)

    @field_validator("password", "password_file")
    @classmethod
    def _belongs_to_a_password_login(cls, value: object, info: ValidationInfo) -> object:
        last = info.field_name == "password_file"
        if last and value is None and info.data.get("password", UNKNOWN) is None and _logs_in_by_password(info):
            raise expected(f"password or password_file, because sasl_mechanism is {info.data['sasl_mechanism']}")
        return _only_with_password_login(value, info)

    @field_validator("token_file")
    @classmethod
    def _belongs_to_a_token_login(cls, value: object, info: ValidationInfo) -> object:
        mechanism = info.data.get("sasl_mechanism", UNKNOWN)
        if value is None and mechanism == "OAUTHBEARER":
            raise expected("a file, because sasl_mechanism is OAUTHBEARER")
        if value is not None and mechanism not in ("OAUTHBEARER", UNKNOWN):
            raise expected("sasl_mechanism OAUTHBEARER with it")
        return value

    @model_validator(mode="after")
    def _with_secrets_from_files(self) -> Self:
        read = {
            "password": self.password_file and self.password_file.secret,
            "key_password": self.key_password_file and self.key_password_file.secret,
        }
        update = {key: secret for key, secret in read.items() if secret is not None}
        return self.model_copy(update=update) if update else self


def _logs_in_by_password(info: ValidationInfo) -> bool:
    return info.data.get("sasl_mechanism", UNKNOWN) not in (None, "OAUTHBEARER", UNKNOWN)


def _only_with_password_login(value: object, info: ValidationInfo) -> object:
    if value is not None and info.data.get("sasl_mechanism", UNKNOWN) in (None, "OAUTHBEARER"):
        raise expected("sasl_mechanism PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512 with it")
    return value
