"""Says what to do when a broker refuses us, or we refuse it: a login, a certificate, a right."""

from __future__ import annotations

import re
from dataclasses import dataclass

from kafka import errors


@dataclass(frozen=True, slots=True)
class Right:
    """What was tried that needs a right: `operation` and `kind` as kafka-acls.sh calls them; `name` may be several."""

    operation: str
    kind: str
    name: str

    def granted(self) -> str:
        """Return the command that grants it."""
        resource = "--cluster" if self.kind == "cluster" else f"--{self.kind} {self.name}"
        return f"kafka-acls.sh --add --allow-principal User:NAME --operation {self.operation} {resource}"


@dataclass(frozen=True, slots=True)
class Refusal:
    """What to do about a refusal; one that is not final may pass without our doing, so trying again is right."""

    advice: str
    is_final: bool = True


_BY_WORDS = {
    r"certificate has expired|certificate is not yet valid": Refusal(
        "the broker's certificate is not valid today: the cluster has to renew it, or this machine's clock is wrong; "
        "trying again",
        is_final=False,
    ),
    r"(?:Hostname|IP address) mismatch": Refusal(
        "the broker's certificate carries another name: use that name in kafka.bootstrap_servers and in the brokers' "
        "advertised.listeners (kafka.security.check_hostname: false trusts every name)",
    ),
    r"unable to get (?:local )?issuer|self.signed certificate|CERTIFICATE_VERIFY_FAILED": Refusal(
        "nobody whom we trust signed the broker's certificate: put its authority's certificate into "
        "kafka.security.ca_file",
    ),
    r"ALERT_CERTIFICATE_REQUIRED|ALERT_HANDSHAKE_FAILURE": Refusal(
        "the broker asks for a certificate: set kafka.security.cert_file and key_file",
    ),
    r"ALERT_(?:CERTIFICATE_UNKNOWN|UNKNOWN_CA|BAD_CERTIFICATE|CERTIFICATE_EXPIRED|CERTIFICATE_REVOKED)": Refusal(
        "the broker does not accept our certificate: kafka.security.cert_file has to be valid today, and signed by an "
        "authority that the broker trusts",
    ),
    r"Handshake failed.*(?:WRONG_VERSION_NUMBER|UNEXPECTED_EOF|RECORD_LAYER|Connection reset)": Refusal(
        "the port may not speak TLS: compare kafka.security.protocol with the broker's listener; trying again",
        is_final=False,
    ),
    r"invalid_token": Refusal(
        "the broker refuses the token: what kafka.security.token_file holds has to be valid now, and from an issuer "
        "that the broker trusts; it is read again at each login; trying again",
        is_final=False,
    ),
    r"SaslAuthenticationFailed": Refusal(
        "correct username and password in kafka.security, and see that the broker knows this user for sasl_mechanism",
    ),
    r"UnsupportedSaslMechanism|IllegalSaslState": Refusal(
        "kafka.security.protocol or sasl_mechanism is not what this listener of the broker expects",
    ),
    r"socket disconnected|Invalid frame length|Unable to bootstrap": Refusal(
        "if this goes on, kafka.security.protocol may not be that of the broker's listener; trying again",
        is_final=False,
    ),
}

# What each class of refusal is about, and what was tried when nobody says it.
_DENIED = (
    (errors.TopicAuthorizationFailedError, "topic", "Describe"),
    (errors.GroupAuthorizationFailedError, "group", "Read"),
    (errors.TransactionalIdAuthorizationFailedError, "transactional-id", "Write"),
    (errors.ClusterAuthorizationFailedError, "cluster", "IdempotentWrite"),
)


def refusal(error: Exception, text: str, tried: Right | None = None) -> Refusal | None:
    """Return what to do about `error`, which `text` tells, None when it is no refusal; `tried` is what we did."""
    if isinstance(error, errors.AuthorizationError):
        return Refusal(_missing(error, tried))
    return next((known for words, known in _BY_WORDS.items() if re.search(words, text)), None)


def _missing(error: Exception, tried: Right | None) -> str:
    kind, operation = next(
        ((kind, operation) for each, kind, operation in _DENIED if isinstance(error, each)),
        ("cluster", "ClusterAction"),
    )
    if tried is None or tried.kind != kind:
        tried = Right(operation, kind, "NAME")
    right = Right(tried.operation, kind, _named(error) or tried.name)
    return (
        f"this user lacks the right {right.operation} on {kind} {right.name}: {right.granted()}; see docs/security.md"
    )


def _named(error: Exception) -> str:
    """Return the names that the library put into its error, one or a set of them; "" when it put a story there."""
    names = error.args[0] if error.args else ()
    listed = [names] if isinstance(names, str) else sorted(str(name) for name in names)
    return ", ".join(listed) if all(re.fullmatch(r"[\w.-]{1,249}", name) for name in listed) else ""
