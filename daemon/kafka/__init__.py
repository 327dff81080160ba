"""The door to Kafka: the only place that knows the client libraries."""

from daemon.kafka.broker import KafkaBroker
from daemon.kafka.choice import Client, broker_class
from daemon.kafka.client import ConnectionSettings, Security
from daemon.kafka.codecs import check_codecs

__all__ = ["Client", "ConnectionSettings", "KafkaBroker", "Security", "broker_class", "check_codecs"]
