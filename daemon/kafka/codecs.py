"""Makes sure that whatever compression a topic uses can be undone, before anything is read."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from kafka import codec

from daemon.errors import ConfigError

_CODECS: Mapping[str, Callable[[], bool]] = {
    "gzip": codec.has_gzip,
    "lz4": codec.has_lz4,
    "snappy": codec.has_snappy,
    "zstd": codec.has_zstd,
}


def check_codecs(codecs: Mapping[str, Callable[[], bool]] = _CODECS) -> None:
    """Ask each of `codecs`, by the name that Kafka gives it, whether it is here. Raises ConfigError naming the rest."""
    missing = [name for name, is_here in codecs.items() if not is_here()]
    if missing:
        install = f"pip install 'kafka-python[{','.join(missing)}]'"
        raise ConfigError([f"this Python cannot read records compressed with {', '.join(missing)}: {install}"])
