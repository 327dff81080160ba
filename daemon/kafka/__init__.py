"""The door to Kafka: the only place that knows the client library."""

from daemon.kafka.broker import KafkaBroker
from daemon.kafka.client import ConnectionSettings, Security
from daemon.kafka.codecs import check_codecs

__all__ = ["ConnectionSettings", "KafkaBroker", "Security", "check_codecs"]
