"""Detectors: pure arithmetic that scores how abnormal a sample of a metric stream is. Usable without Kafka."""
