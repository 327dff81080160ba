"""librdkafka's errors, as the errors of the other library that say the same: what they mean stands there once."""

from __future__ import annotations

from confluent_kafka import KafkaError, KafkaException
from kafka import errors

_FENCED = frozenset({KafkaError._FENCED, KafkaError.INVALID_PRODUCER_EPOCH})  # noqa: SLF001  # the library's names for its own errors
_NO_CONTACT = frozenset(
    {
        KafkaError._TRANSPORT,  # noqa: SLF001
        KafkaError._ALL_BROKERS_DOWN,  # noqa: SLF001
        KafkaError._TIMED_OUT,  # noqa: SLF001
        KafkaError._RESOLVE,  # noqa: SLF001
        KafkaError._TIMED_OUT_QUEUE,  # noqa: SLF001
        KafkaError._MSG_TIMED_OUT,  # noqa: SLF001
        KafkaError._DESTROY,  # noqa: SLF001
        KafkaError._WAIT_COORD,  # noqa: SLF001
    }
)
_REFUSED = frozenset({KafkaError._AUTHENTICATION, KafkaError._SSL})  # noqa: SLF001
_LARGE = frozenset({KafkaError.MSG_SIZE_TOO_LARGE})


def of(error: KafkaError, text: str = "") -> Exception:
    """Return the other library's error for `error`; `text` replaces what it says."""
    made: Exception = _kind(error)(text or f"{error.name()}: {error.str()}")
    return made


def _kind(error: KafkaError) -> type[Exception]:
    kinds = {_FENCED: errors.ProducerFencedError, _REFUSED: errors.SaslAuthenticationFailedError}
    kinds |= {_LARGE: errors.MessageSizeTooLargeError, _NO_CONTACT: errors.KafkaConnectionError}
    found = next((kind for codes, kind in kinds.items() if error.code() in codes), None)
    if found is None and error.code() > 0:
        found = errors.for_code(error.code())
    if found is None:
        found = errors.KafkaConnectionError if error.retriable() else errors.KafkaError
    kind: type[Exception] = found
    return kind


def raised(error: Exception) -> Exception:
    """Return the other library's error for what a call of librdkafka raised; anything else as it is."""
    if isinstance(error, KafkaException) and isinstance(error.args[0], KafkaError):
        return of(error.args[0])
    return error
