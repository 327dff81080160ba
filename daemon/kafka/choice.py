"""Which client library carries the records."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from daemon.errors import ConfigError
from daemon.kafka.broker import KafkaBroker
from daemon.kafka.client import ConnectionSettings
from daemon.ports import Broker

Client = Literal["kafka-python", "librdkafka"]


def broker_class(client: Client) -> Callable[[ConnectionSettings], Broker]:
    """Return what makes a door to a cluster. Raises ConfigError when its package is missing."""
    if client == "kafka-python":
        return KafkaBroker
    try:
        from daemon.kafka.librdkafka import LibrdkafkaBroker  # the package is an extra
    except ImportError as error:
        install = "pip install 'longwatch[librdkafka]'"
        raise ConfigError([f"kafka.client: librdkafka is not installed ({error}): {install}"]) from error
    return LibrdkafkaBroker
