"""The door to Kafka: the only place that knows the client library."""

from daemon.kafka.broker import KafkaBroker
from daemon.kafka.client import ConnectionSettings, Security

__all__ = ["ConnectionSettings", "KafkaBroker", "Security"]
