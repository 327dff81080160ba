"""One real broker with a listener for each way to come in, users that it knows, and an authorizer that says no."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from kafka.admin import (
    ACL,
    ACLFilter,
    ACLOperation,
    ACLPermissionType,
    ACLResourcePatternType,
    KafkaAdminClient,
    ResourcePattern,
    ResourcePatternFilter,
    ResourceType,
    ScramMechanism,
    UserScramCredentialUpsertion,
)

from daemon.embedded import EmbeddedBroker
from daemon.embedded.addresses import free_ports
from daemon.kafka import ConnectionSettings, Security
from tests.certificates import Authority, Certificate

HOST = "127.0.0.1"
SUPER, LIMITED = "watcher", "limited"
PASSWORD = "hush-hush"
KEY_PASSWORD = "sesame"
# PLAINTEXT is the broker's own; whoever comes in without a name is ANONYMOUS, and may do everything.
LISTENERS = {
    "PLAINTEXT": "PLAINTEXT",
    "CONTROLLER": "PLAINTEXT",
    "TLS": "SSL",
    "MUTUAL": "SSL",
    "LOGIN": "SASL_SSL",
    "EXPIRED": "SSL",
    "ELSEWHERE": "SSL",
}
Listener = Literal["PLAINTEXT", "TLS", "MUTUAL", "LOGIN", "EXPIRED", "ELSEWHERE"]
Mechanism = Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"]
_MODULES = {
    "plain": f'plain.PlainLoginModule required user_{SUPER}="{PASSWORD}" user_{LIMITED}="{PASSWORD}";',
    "scram-sha-256": "scram.ScramLoginModule required;",
    "scram-sha-512": "scram.ScramLoginModule required;",
    "oauthbearer": "oauthbearer.OAuthBearerLoginModule required;",
}
_JAAS = "org.apache.kafka.common.security"

Grant = tuple[str, str, str]
"""Operation, kind and name; a name that ends in * stands for all that begin so."""


@dataclass(frozen=True, slots=True)
class Guarded:
    """The running broker, and how to come in."""

    folder: Path
    ports: Mapping[str, int]
    authority: Authority
    client: Certificate
    stranger: Authority
    admin: Any = field(repr=False)

    def settings(self, listener: Listener, security: Security, group: str = "longwatch") -> ConnectionSettings:
        """Return how to reach one of its listeners."""
        servers = (f"{HOST}:{self.ports[listener]}",)
        return ConnectionSettings(servers, group, session_timeout_seconds=6.0, security=security)

    def login(self, mechanism: Mechanism = "PLAIN", user: str = SUPER, password: str = PASSWORD) -> Security:
        """Return how to log in by password."""
        trust = self.authority.cert
        return Security("SASL_SSL", trust, sasl_mechanism=mechanism, username=user, password=password)

    def bearer(self, token: Path) -> Security:
        """Return how to log in with a token."""
        return Security("SASL_SSL", self.authority.cert, sasl_mechanism="OAUTHBEARER", token_file=token)

    def token(self, name: str, seconds: float = 600.0, subject: str = SUPER) -> Path:
        """Return a file with a token that is good for so many seconds."""
        now, path = time.time(), self.folder / name
        parts = {"alg": "none"}, {"sub": subject, "iat": now - 3600, "exp": now + seconds}
        path.write_text(".".join([*map(_base64, parts), ""]) + "\n", encoding="ascii")
        return path

    def grant(self, user: str, grants: Sequence[Grant]) -> None:
        """Give rights to `user`."""
        result = self.admin.create_acls([ACL(*_who(user, one), _pattern(one)) for one in grants])
        assert not result["failed"], result["failed"]

    def revoke(self, user: str, grants: Sequence[Grant]) -> None:
        """Take rights from `user` again."""
        filters = [ACLFilter(*_who(user, one), ResourcePatternFilter(*_of(one))) for one in grants]
        assert all(len(found) == 1 for _, found, _ in self.admin.delete_acls(filters))


@contextmanager
def guarded_broker(folder: Path) -> Iterator[Guarded]:
    """Run the broker; what it needs is made in `folder`."""
    authority, stranger = Authority(folder), Authority(folder, "stranger")
    ports = dict(zip(LISTENERS, free_ports(len(LISTENERS)), strict=True))
    with EmbeddedBroker(port=ports["PLAINTEXT"], properties=_properties(authority, ports)) as broker:
        client = authority.issue("client", password=KEY_PASSWORD)
        with closing(KafkaAdminClient(bootstrap_servers=broker.bootstrap)) as admin:
            for mechanism in (ScramMechanism.SCRAM_SHA_256, ScramMechanism.SCRAM_SHA_512):
                made = admin.alter_user_scram_credentials([UserScramCredentialUpsertion(SUPER, mechanism, PASSWORD)])
                assert not any(made.values()), made
            yield Guarded(folder, ports, authority, client, stranger, admin)


def _properties(authority: Authority, ports: Mapping[str, int]) -> dict[str, str]:
    at = {name: f"{name}://{HOST}:{port}" for name, port in ports.items()}
    server = authority.issue("server")
    certificates = {
        "tls": server,
        "mutual": server,
        "login": server,
        "expired": authority.issue("expired", days=-1),
        "elsewhere": authority.issue("elsewhere", "DNS:kafka.example.net"),
    }
    return {
        "listeners": ",".join(at.values()),
        "advertised.listeners": ",".join(place for name, place in at.items() if name != "CONTROLLER"),
        "controller.quorum.voters": f"1@{HOST}:{ports['CONTROLLER']}",
        "inter.broker.listener.name": "PLAINTEXT",
        "listener.security.protocol.map": ",".join(f"{name}:{how}" for name, how in LISTENERS.items()),
        **{f"listener.name.{name}.ssl.keystore.type": "PEM" for name in certificates},
        **{f"listener.name.{name}.ssl.keystore.location": str(one.both) for name, one in certificates.items()},
        "listener.name.mutual.ssl.client.auth": "required",
        "listener.name.mutual.ssl.truststore.type": "PEM",
        "listener.name.mutual.ssl.truststore.location": str(authority.cert),
        "listener.name.login.sasl.enabled.mechanisms": ",".join(name.upper() for name in _MODULES),
        **{f"listener.name.login.{name}.sasl.jaas.config": f"{_JAAS}.{one}" for name, one in _MODULES.items()},
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "super.users": f"User:ANONYMOUS;User:{SUPER};User:CN=client",
    }


def _who(user: str, grant: Grant) -> tuple[str, str, ACLOperation, ACLPermissionType]:
    return f"User:{user}", "*", ACLOperation[grant[0]], ACLPermissionType.ALLOW


def _of(grant: Grant) -> tuple[ResourceType, str, ACLResourcePatternType]:
    _, kind, name = grant
    how = ACLResourcePatternType.PREFIXED if name.endswith("*") else ACLResourcePatternType.LITERAL
    return ResourceType[kind], name.removesuffix("*"), how


def _pattern(grant: Grant) -> ResourcePattern:
    return ResourcePattern(*_of(grant))


def _base64(part: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=")
