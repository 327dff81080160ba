"""Real Apache Kafka brokers that need nothing but Python, for the demo and the tests."""

from daemon.embedded.broker import EmbeddedBroker, broker_at
from daemon.embedded.cluster import EmbeddedCluster
from daemon.embedded.jars import prepare

__all__ = ["EmbeddedBroker", "EmbeddedCluster", "broker_at", "prepare"]
