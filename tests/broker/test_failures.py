"""Every error of the client library becomes one of ours, on purpose."""

from __future__ import annotations

import inspect

import pytest
from kafka import errors

from daemon.errors import BrokerUnavailable, ConfigError, Fenced, TopicMismatch, TransactionFailed
from daemon.kafka.failures import _BY_NAME, Meaning, failed_opening, failed_transaction, meaning, translated

EVERY_ERROR = [
    kind
    for name, kind in vars(errors).items()
    if inspect.isclass(kind) and issubclass(kind, Exception) and kind.__name__ == name
]
# What may be known by its parent only: the library says of these that trying again helps, or that a right is missing.
FAMILIES = {"RetriableError", "AuthorizationError", "UnsupportedVersionError"}


@pytest.mark.parametrize("kind", EVERY_ERROR, ids=lambda kind: kind.__name__)
def test_every_error_of_the_library_has_a_meaning_that_somebody_chose(kind: type[Exception]) -> None:
    chosen = kind.__name__ in _BY_NAME
    inherited = any(ancestor.__name__ in FAMILIES for ancestor in kind.__mro__)
    assert chosen or inherited


def test_the_table_names_only_errors_that_exist() -> None:
    assert set(_BY_NAME) <= {kind.__name__ for kind in EVERY_ERROR}


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (errors.ProducerFencedError, "fenced"),
        (errors.InvalidProducerEpochError, "fenced"),
        (errors.FencedInstanceIdError, "fenced"),
        (errors.IllegalGenerationError, "transaction"),
        (errors.CommitFailedError, "transaction"),
        (errors.KafkaTimeoutError, "unavailable"),
        (errors.NodeNotReadyError, "unavailable"),
        (errors.UnknownTopicOrPartitionError, "unavailable"),
        (errors.TopicAuthorizationFailedError, "settings"),
        (errors.SaslAuthenticationFailedError, "settings"),
        (errors.MessageSizeTooLargeError, "topic"),
        (errors.IllegalStateError, "defect"),
        (errors.for_code(9999), "unavailable"),
        (TimeoutError, "unavailable"),
        (ConnectionRefusedError, "unavailable"),
        (ValueError, "defect"),
    ],
)
def test_an_error_means(kind: type[Exception], expected: Meaning) -> None:
    assert meaning(kind) == expected


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (errors.KafkaTimeoutError("slow"), BrokerUnavailable),
        (errors.IllegalGenerationError(), TransactionFailed),
        (errors.ProducerFencedError(), Fenced),
        (errors.InvalidTopicError(), TopicMismatch),
        (errors.TopicAuthorizationFailedError("metrics"), ConfigError),
        (errors.IllegalStateError(), errors.IllegalStateError),
    ],
)
def test_outside_a_transaction_an_error_becomes_ours_and_says_what_was_being_done(
    error: Exception, expected: type[Exception]
) -> None:
    ours = translated(error, "reading metrics/3")
    assert type(ours) is expected
    assert ours is error or "reading metrics/3" in str(ours)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (errors.ProducerFencedError(), BrokerUnavailable),
        (errors.InvalidTxnStateError(), BrokerUnavailable),
        (errors.KafkaTimeoutError(), BrokerUnavailable),
        (errors.TransactionalIdAuthorizationFailedError(), ConfigError),
    ],
)
def test_an_identity_that_could_not_be_opened_is_opened_again_unless_settings_are_wrong(
    error: Exception, expected: type[Exception]
) -> None:
    ours = failed_opening(error, "opening identity 'metrics-3'")
    assert type(ours) is expected
    assert "metrics-3" in str(ours)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (errors.ProducerFencedError(), Fenced),
        (errors.InvalidProducerEpochError(), Fenced),
        (errors.TransactionalIdAuthorizationFailedError(), ConfigError),
        (errors.MessageSizeTooLargeError(), TransactionFailed),
        (errors.KafkaTimeoutError(), TransactionFailed),
        (errors.OutOfOrderSequenceNumberError(), TransactionFailed),
        (errors.IllegalStateError(), TransactionFailed),
        (TimeoutError(), TransactionFailed),
        (ValueError("Unrecognized partition 7"), TransactionFailed),
        (TransactionFailed("new epoch"), TransactionFailed),
    ],
)
def test_inside_a_transaction_whatever_does_not_end_us_means_that_it_failed(
    error: Exception, expected: type[Exception]
) -> None:
    assert type(failed_transaction(error, "transaction")) is expected
