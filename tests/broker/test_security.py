"""TLS and SASL against the real broker."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from daemon.embedded import EmbeddedBroker
from daemon.embedded.broker import _free_port
from daemon.errors import BrokerUnavailable, ConfigError
from daemon.kafka import ConnectionSettings, KafkaBroker, Security
from daemon.types import Outgoing, TopicPartition, TopicSpec

pytestmark = pytest.mark.broker

LOGIN = 'org.apache.kafka.common.security.plain.PlainLoginModule required user_watcher="hush";'


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for localhost that signed itself; beside it, one file with its key too, as the broker wants it."""
    directory = tmp_path_factory.mktemp("tls")
    key, certificate = directory / "key.pem", directory / "certificate.pem"
    new = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -addext subjectAltName=IP:127.0.0.1"
    subprocess.run([*new.split(), "-keyout", str(key), "-out", str(certificate)], check=True, capture_output=True)
    (directory / "both.pem").write_text(key.read_text() + certificate.read_text())
    return certificate


@pytest.fixture(scope="module")
def guarded(certificate: Path) -> Iterator[ConnectionSettings]:
    """The right settings for a broker that asks for a name and a password over TLS."""
    port, own, controller = _free_port(), _free_port(), _free_port()
    address = "://127.0.0.1:"
    properties = {
        "listeners": f"PLAINTEXT{address}{own},CONTROLLER{address}{controller},GUARDED{address}{port}",
        "advertised.listeners": f"PLAINTEXT{address}{own},GUARDED{address}{port}",
        "controller.quorum.voters": f"1@127.0.0.1:{controller}",
        "inter.broker.listener.name": "PLAINTEXT",
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,GUARDED:SASL_SSL",
        "listener.name.guarded.sasl.enabled.mechanisms": "PLAIN",
        "listener.name.guarded.plain.sasl.jaas.config": LOGIN,
        "listener.name.guarded.ssl.keystore.type": "PEM",
        "listener.name.guarded.ssl.keystore.location": str(certificate.parent / "both.pem"),
    }
    security = Security("SASL_SSL", certificate, sasl_mechanism="PLAIN", username="watcher", password="hush")
    with EmbeddedBroker(port=own, properties=properties):
        yield ConnectionSettings((f"127.0.0.1:{port}",), connect_timeout_seconds=2.0, security=security)


def test_everything_works_over_tls_with_a_password(guarded: ConnectionSettings, topic_prefix: str) -> None:
    broker, topic = KafkaBroker(guarded), f"{topic_prefix}out"
    broker.ensure(TopicSpec(topic, 1, compacted=False))
    broker.publish([Outgoing(topic, 0, None, b"published")])
    writer, source = broker.writer(topic), broker.source([topic])
    writer.open()
    writer.commit([Outgoing(topic, 0, None, b"committed")], {}, source.membership())
    cursor, values = broker.cursor(TopicPartition(topic, 0), 0), list[bytes | None]()
    while cursor.position < 3:
        values += [record.value for record in cursor.fetch(10, 1.0)]
    assert values == [b"published", b"committed"]
    broker.close()


def test_a_wrong_password_is_told(guarded: ConnectionSettings) -> None:
    # Whether the broker's answer or its hanging up is seen first is up to the library, so there are two errors.
    wrong = KafkaBroker(replace(guarded, security=replace(guarded.security, password="loud")))
    with pytest.raises((BrokerUnavailable, ConfigError), match=r"Invalid username or password|password were refused"):
        wrong.partitions("metrics")
    wrong.close()


def test_a_certificate_that_nobody_we_trust_signed_is_refused(guarded: ConnectionSettings) -> None:
    stranger = KafkaBroker(replace(guarded, security=replace(guarded.security, ca_file=None)))
    with pytest.raises(BrokerUnavailable, match="certificate verify failed"):
        stranger.partitions("metrics")
    stranger.close()
