"""Longwatch: watches metrics as they flow through Kafka and says which of them stopped behaving as they used to."""

__version__ = "0.1.0"
