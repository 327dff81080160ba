"""A real Apache Kafka broker that needs nothing but Python, for the demo and the tests."""

from daemon.embedded.broker import EmbeddedBroker
from daemon.embedded.jars import prepare

__all__ = ["EmbeddedBroker", "prepare"]
