"""Says what each error of the client library means to the daemon."""

from __future__ import annotations

from typing import Literal

from kafka import errors

from daemon.errors import (
    BrokerUnavailable,
    ConfigError,
    DaemonError,
    Fenced,
    TopicMismatch,
    TransactionFailed,
)
from daemon.kafka.refusals import Right, refusal

Meaning = Literal["unavailable", "transaction", "fenced", "topic", "settings", "defect"]
"""What an error asks for: wait, restore, stop, repair a topic, repair the settings, or repair the program."""

_FENCED = "ProducerFencedError InvalidProducerEpochError FencedInstanceIdError"

# The group or the transaction moved on without us: read everything back and try again.
_TRANSACTION = """
CommitFailedError IllegalGenerationError UnknownMemberIdError RebalanceInProgressError MemberIdRequiredError
FencedMemberEpochError StaleMemberEpochError UnreleasedInstanceIdError TransactionAbortedError TransactionAbortableError
InvalidTxnStateError InvalidProducerIdMappingError UnknownProducerIdError OutOfOrderSequenceNumberError
DuplicateSequenceNumberError TransactionCoordinatorFencedError TransactionalIdNotFoundError LogTruncationError
OffsetOutOfRangeError NoOffsetForPartitionError
"""

# Trouble of the cluster's own, which passes or which its operators see to.
_UNAVAILABLE = """
BrokerNotAvailableError UnknownBrokerIdError QuotaViolationError UnknownError StaleControllerEpochError
CorruptRecordError LogDirNotFoundError ReassignmentInProgressError StaleBrokerEpochError GroupMaxSizeReachedError
DuplicateBrokerRegistrationError BrokerIdNotRegisteredError IneligibleReplicaError NewLeaderElectedError
OffsetMovedToTieredStorageError InvalidRegistrationError UnknownControllerIdError OperationNotAttemptedError
"""

_TOPIC = """
MessageSizeTooLargeError RecordListTooLargeError InvalidTopicError InvalidPartitionsError InvalidTimestampError
InvalidReplicationFactorError InvalidReplicationAssignmentError InvalidConfigurationError PolicyViolationError
TopicAlreadyExistsError TopicDeletionDisabledError UnsupportedForMessageFormatError UnsupportedCompressionTypeError
InvalidRecordError
"""

_SETTINGS = """
KafkaConfigurationError AuthorizationError SaslAuthenticationFailedError UnsupportedSaslMechanismError
IllegalSaslStateError SecurityDisabledError UnacceptableCredentialError UnsupportedCodecError UnsupportedVersionError
UnrecognizedBrokerVersion InconsistentGroupProtocolError InvalidGroupIdError InvalidSessionTimeoutError
InvalidTransactionTimeoutError InvalidRequiredAcksError UnsupportedAssignorError MismatchedEndpointTypeError
UnsupportedEndpointTypeError InconsistentClusterIdError InvalidPrincipalTypeError
PrincipalDeserializationFailureError DelegationTokenAuthDisabledError DelegationTokenNotFoundError
DelegationTokenOwnerMismatchError DelegationTokenRequestNotAllowedError DelegationTokenExpiredError
"""

# Calls that we never make, or answers that no right call gets: only a wrong program sees them.
_DEFECT = """
KafkaError BrokerResponseError NoError IllegalArgumentError IllegalStateError KafkaProtocolError InvalidReceiveError
InvalidFetchRequestError OffsetMetadataTooLargeError InvalidCommitOffsetSizeError InvalidRequestError
NonEmptyGroupError GroupIdNotFoundError NoReassignmentInProgressError GroupSubscribedToTopicError
ResourceNotFoundError DuplicateResourceError InconsistentVoterSetError InvalidUpdateVersionError
FeatureUpdateFailedError SnapshotNotFoundError PositionOutOfRangeError UnknownSubscriptionIdError
TelemetryTooLargeError InvalidRecordStateError FencedStateEpochError InvalidVoterKeyError DuplicateVoterError
VoterNotFoundError
"""

_BY_NAME: dict[str, Meaning] = {
    **dict.fromkeys(_FENCED.split(), "fenced"),
    **dict.fromkeys(_TRANSACTION.split(), "transaction"),
    **dict.fromkeys(_UNAVAILABLE.split(), "unavailable"),
    **dict.fromkeys(_TOPIC.split(), "topic"),
    **dict.fromkeys(_SETTINGS.split(), "settings"),
    **dict.fromkeys(_DEFECT.split(), "defect"),
    "RetriableError": "unavailable",
}

CLIENT_ERRORS: tuple[type[Exception], ...] = (errors.KafkaError, TimeoutError, OSError)
"""What a call of the library may raise because of its surroundings; anything else is a programmer's error."""


def meaning(kind: type[BaseException]) -> Meaning:
    """Return what an error of this class means: what the table says of it, else of its nearest named ancestor."""
    for ancestor in kind.__mro__:
        if ancestor.__name__ in _BY_NAME:
            return _BY_NAME[ancestor.__name__]
    return "unavailable" if issubclass(kind, OSError) else "defect"


def translated(error: Exception, doing: str, tried: Right | None = None) -> Exception:
    """Return the daemon's error for the library's `error`, raised while `doing`; `error` itself when it is a defect.

    `tried` is what may have lacked a right.
    """
    text = f"{doing}: {_said(error)}"
    refused = refusal(error, _said(error), tried)
    if refused is not None:
        # The library puts whole requests into the text of a missing right.
        told = (
            f"{doing}: {refused.advice}"
            if isinstance(error, errors.AuthorizationError)
            else f"{text}; {refused.advice}"
        )
        return ConfigError([told]) if refused.is_final else BrokerUnavailable(told)
    match meaning(type(error)):
        case "unavailable":
            return BrokerUnavailable(text)
        case "transaction":
            return TransactionFailed(text)
        case "fenced":
            return Fenced(f"{text}; another member took over this identity, so this one must stop")
        case "topic":
            return TopicMismatch(f"{text}; correct the topic's settings or ours")
        case "settings":
            return ConfigError([f"{text}; correct `kafka:` in the configuration"])
        case "defect":
            return error


def failed_transaction(error: Exception, doing: str, tried: Right | None = None) -> Exception:
    """Return the daemon's error for a transaction that ended in `error`: only fencing and wrong settings end us."""
    if isinstance(error, DaemonError):
        return error
    if meaning(type(error)) in ("fenced", "settings"):
        ours = translated(error, doing, tried)
        if not isinstance(ours, BrokerUnavailable):
            return ours
    return TransactionFailed(f"{doing}: {_said(error)}")


def failed_opening(error: Exception, doing: str, tried: Right | None = None) -> Exception:
    """Return the daemon's error for an identity that was not taken over because of `error`.

    Who opens holds no epoch yet, so an answer "fenced" does not say that we lost the identity. It says that another
    takeover, or the broker's own ending of a transaction whose time was up, came between: the next try goes on.
    """
    if meaning(type(error)) in ("fenced", "transaction"):
        return BrokerUnavailable(f"{doing}: {_said(error)}; the broker was ending what an older holder left open")
    return translated(error, doing, tried)


def _said(error: Exception) -> str:
    return str(error) or type(error).__name__
