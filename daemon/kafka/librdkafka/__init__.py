"""The other way to Kafka: what carries records goes through librdkafka, what asks about topics does not."""

from daemon.kafka.librdkafka.broker import LibrdkafkaBroker

__all__ = ["LibrdkafkaBroker"]
