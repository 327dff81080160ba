"""TLS and logins against the real broker: whoever is right gets all the way, whoever is wrong is told what to do."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import get_args

import pytest

from daemon.errors import BrokerUnavailable, ConfigError
from daemon.kafka import Client, ConnectionSettings, Security, broker_class
from daemon.ports import Broker, Source
from daemon.types import Outgoing, TopicPartition, TopicSpec
from tests.broker.guarded import KEY_PASSWORD, PASSWORD, Guarded, Listener, Mechanism

pytestmark = pytest.mark.broker

WAIT_SECONDS = 20.0


@contextmanager
def opened(settings: ConnectionSettings, client: Client = "kafka-python") -> Iterator[Broker]:
    broker = broker_class(client)(settings)
    try:
        yield broker
    finally:
        broker.close()


def mutual(guarded: Guarded) -> Security:
    client = guarded.client
    return Security(
        "SSL", guarded.authority.cert, cert_file=client.cert, key_file=client.key, key_password=KEY_PASSWORD
    )


WAYS: dict[str, Callable[[Guarded], tuple[Listener, Security]]] = {
    "TLS": lambda guarded: ("TLS", Security("SSL", guarded.authority.cert)),
    "mutual TLS": lambda guarded: ("MUTUAL", mutual(guarded)),
    "PLAIN": lambda guarded: ("LOGIN", guarded.login("PLAIN")),
    "SCRAM-SHA-256": lambda guarded: ("LOGIN", guarded.login("SCRAM-SHA-256")),
    "SCRAM-SHA-512": lambda guarded: ("LOGIN", guarded.login("SCRAM-SHA-512")),
    "OAUTHBEARER": lambda guarded: ("LOGIN", guarded.bearer(guarded.token("good"))),
}


def until_assigned(source: Source) -> None:
    give_up = time.monotonic() + WAIT_SECONDS
    while not source.poll(10, 0.1).assigned:
        assert time.monotonic() < give_up, "nothing was assigned"


@pytest.mark.parametrize("client", get_args(Client))
@pytest.mark.parametrize("way", WAYS)
def test_everything_that_the_daemon_does_works(guarded: Guarded, topic_prefix: str, way: str, client: Client) -> None:
    topic = f"{topic_prefix}out"
    with opened(guarded.settings(*WAYS[way](guarded), f"{topic_prefix}group"), client) as broker:
        broker.ensure(TopicSpec(topic, 1, compacted=False))
        broker.publish([Outgoing(topic, 0, None, b"published")])
        source, writer, here = broker.source([topic]), broker.writer(topic), TopicPartition(topic, 0)
        until_assigned(source)
        writer.open()
        writer.commit([Outgoing(topic, 0, None, b"committed")], {here: 1}, source.membership())
        assert source.committed(here) == 1
        cursor, values = broker.cursor(here, 0), list[bytes | None]()
        while cursor.position < broker.bounds(here).end:
            values += [record.value for record in cursor.fetch(10, 1.0)]
        assert values == [b"published", b"committed"]


def refused(guarded: Guarded, listener: Listener, security: Security, advice: str) -> Exception:
    """Return the error that a question leads to; a refusal takes as long as it may, so at first that is not long."""
    error = _refused(replace(guarded.settings(listener, security), connect_timeout_seconds=0.7))
    if re.search(advice, str(error)):
        return error
    return _refused(guarded.settings(listener, security))


def _refused(settings: ConnectionSettings) -> Exception:
    with opened(settings) as broker:
        with pytest.raises((ConfigError, BrokerUnavailable)) as caught:
            broker.partitions("metrics")
        return caught.value


@pytest.mark.parametrize(
    ("mechanism", "wrong"),
    [
        ("PLAIN", {"password": "loud-and-clear"}),
        ("SCRAM-SHA-256", {"password": "loud-and-clear"}),
        ("SCRAM-SHA-512", {"password": "loud-and-clear"}),
        ("SCRAM-SHA-512", {"user": "nobody"}),
    ],
)
def test_a_wrong_login_ends_with_what_to_correct_and_without_the_password(
    guarded: Guarded, mechanism: Mechanism, wrong: dict[str, str]
) -> None:
    advice = "correct username and password in kafka.security"
    error = refused(guarded, "LOGIN", guarded.login(mechanism, **wrong), advice)
    assert isinstance(error, ConfigError)
    assert advice in str(error)
    assert not any(secret in str(error) for secret in (PASSWORD, "loud-and-clear"))


WRONG: dict[str, tuple[Listener, Callable[[Guarded], Security], str]] = {
    "a certificate for another name": (
        "ELSEWHERE",
        lambda guarded: Security("SSL", guarded.authority.cert),
        "carries another name: use that name in kafka.bootstrap_servers",
    ),
    "an authority that we do not know": (
        "TLS",
        lambda guarded: Security("SSL"),
        "put its authority's certificate into kafka.security.ca_file",
    ),
    "another authority": (
        "TLS",
        lambda guarded: Security("SSL", guarded.stranger.cert),
        "put its authority's certificate into kafka.security.ca_file",
    ),
    "no certificate of ours": (
        "MUTUAL",
        lambda guarded: Security("SSL", guarded.authority.cert),
        "asks for a certificate: set kafka.security.cert_file",
    ),
    "a certificate of ours that they do not trust": (
        "MUTUAL",
        lambda guarded: Security("SSL", guarded.authority.cert, guarded.stranger.issue("we").both),
        "does not accept our certificate: kafka.security.cert_file has to be",
    ),
    "a certificate of ours that has ended": (
        "MUTUAL",
        lambda guarded: Security("SSL", guarded.authority.cert, guarded.authority.issue("ended", days=-1).both),
        "does not accept our certificate: kafka.security.cert_file has to be",
    ),
    "a login where none is asked for": (
        "TLS",
        lambda guarded: guarded.login("PLAIN"),
        "not what this listener of the broker expects",
    ),
    "a key that is locked": (
        "MUTUAL",
        lambda guarded: replace(mutual(guarded), key_password=None),
        "kafka.security: cannot use .*client.key",
    ),
}


@pytest.mark.parametrize("what", WRONG)
def test_what_trying_again_will_not_mend_ends_with_what_to_do(guarded: Guarded, what: str) -> None:
    listener, security, advice = WRONG[what]
    with pytest.raises(ConfigError, match=advice):
        raise refused(guarded, listener, security(guarded), advice)


PASSING: dict[str, tuple[Listener, Callable[[Guarded], Security], str]] = {
    "a certificate that has ended": (
        "EXPIRED",
        lambda guarded: Security("SSL", guarded.authority.cert),
        "certificate has expired.* the cluster has to renew it, or this machine's clock is wrong; trying again",
    ),
    "a token that has ended": (
        "LOGIN",
        lambda guarded: guarded.bearer(guarded.token("old", seconds=-60)),
        "what kafka.security.token_file holds has to be valid now",
    ),
    "a token that is not there": (
        "LOGIN",
        lambda guarded: guarded.bearer(guarded.folder / "nowhere"),
        "kafka.security.token_file: cannot read .*nowhere: No such file",
    ),
    "a port without TLS": (
        "PLAINTEXT",
        lambda guarded: Security("SSL", guarded.authority.cert),
        "the port may not speak TLS: compare kafka.security.protocol",
    ),
    "a port with TLS": ("TLS", lambda guarded: Security(), "kafka.security.protocol may not be that of the broker's"),
    "a port that asks for a login": (
        "LOGIN",
        lambda guarded: Security("SSL", guarded.authority.cert),
        "kafka.security.protocol may not be that of the broker's",
    ),
}


@pytest.mark.parametrize("what", PASSING)
def test_what_may_pass_is_tried_again_and_says_what_it_waits_for(guarded: Guarded, what: str) -> None:
    listener, security, advice = PASSING[what]
    with pytest.raises(BrokerUnavailable, match=advice):
        raise refused(guarded, listener, security(guarded), advice)


def test_a_renewed_token_is_taken_up_by_the_next_connection(guarded: Guarded) -> None:
    token = guarded.token("renewed", seconds=-60)
    settings = replace(guarded.settings("LOGIN", guarded.bearer(token)), connect_timeout_seconds=2.0)
    with opened(settings) as broker:
        with pytest.raises(BrokerUnavailable, match=r"token_file"):
            broker.partitions("metrics")
        guarded.token("renewed")
        assert broker.partitions("metrics") is None


def test_a_name_that_need_not_fit_is_not_looked_at(guarded: Guarded) -> None:
    security = Security("SSL", guarded.authority.cert, check_hostname=False)
    with opened(guarded.settings("ELSEWHERE", security)) as broker:
        assert broker.partitions("metrics") is None
