"""The settings reach the client library, and its parts are what the rest relies on."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from daemon.errors import BrokerUnavailable, ConfigError
from daemon.kafka import ConnectionSettings, KafkaBroker, Security
from daemon.kafka.client import _common
from daemon.types import Outgoing

NOWHERE = ("127.0.0.1:1",)


def test_without_security_the_connection_is_plain() -> None:
    assert _common(ConnectionSettings(NOWHERE))["security_protocol"] == "PLAINTEXT"


def test_name_and_password_reach_the_library() -> None:
    security = Security("SASL_SSL", sasl_mechanism="SCRAM-SHA-512", username="watcher", password="hush")
    options = _common(ConnectionSettings(NOWHERE, security=security))
    assert options["security_protocol"] == "SASL_SSL"
    assert options["sasl_mechanism"] == "SCRAM-SHA-512"
    assert options["sasl_plain_username"] == "watcher"
    assert options["sasl_plain_password"] == "hush"
    assert options["ssl_context"] is not None


def test_a_token_is_read_anew_for_each_connection(tmp_path: Path) -> None:
    token = tmp_path / "token"
    security = Security("SASL_PLAINTEXT", sasl_mechanism="OAUTHBEARER", token_file=token)
    provider = _common(ConnectionSettings(NOWHERE, security=security))["sasl_oauth_token_provider"]
    for value in ("first", "second"):
        token.write_text(f"{value}\n")
        assert provider.token() == value  # type: ignore[attr-defined]


def test_secrets_do_not_show() -> None:
    security = Security("SASL_SSL", password="hush", key_password="quiet")
    shown = repr(ConnectionSettings(NOWHERE, security=security))
    assert "hush" not in shown
    assert "quiet" not in shown


def test_a_certificate_that_is_not_there_is_named(tmp_path: Path) -> None:
    settings = ConnectionSettings(NOWHERE, security=Security("SSL", ca_file=tmp_path / "absent.pem"))
    with pytest.raises(ConfigError, match=r"absent\.pem"):
        KafkaBroker(settings).partitions("metrics")


def test_a_cluster_that_is_not_there_is_unavailable_and_trying_leaves_no_thread_behind() -> None:
    before = set(threading.enumerate())
    broker = KafkaBroker(ConnectionSettings(NOWHERE, connect_timeout_seconds=0.3))
    with pytest.raises(BrokerUnavailable, match="metrics"):
        broker.partitions("metrics")
    with pytest.raises(BrokerUnavailable, match="identity"):
        broker.writer("identity").open()
    with pytest.raises(BrokerUnavailable, match="group"):
        broker.source(["metrics"])
    with pytest.raises(BrokerUnavailable, match="publishing"):
        broker.publish([Outgoing("metrics", None, None, b"")])
    broker.close()
    assert set(threading.enumerate()) <= before
