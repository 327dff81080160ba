"""What the tests of the whole daemon share: a door to the broker, and topics that are theirs alone."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from daemon.kafka import ConnectionSettings, KafkaBroker


@pytest.fixture
def broker(kafka_bootstrap: str, topic_prefix: str) -> Iterator[KafkaBroker]:
    """A door of the test's own; its group is the one of the daemon under test."""
    broker = KafkaBroker(ConnectionSettings((kafka_bootstrap,), group_id=f"{topic_prefix}group"))
    yield broker
    broker.close()
