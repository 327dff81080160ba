"""The configuration: one strict YAML file, every problem of it at once, and one frozen object that the daemon reads."""

from __future__ import annotations

from daemon.config.groups import GroupConfig, ThresholdConfig
from daemon.config.loader import defaults, load, loads
from daemon.config.matchers import Matcher, MatcherError, parse_matcher
from daemon.config.model import (
    Config,
    FeedConfig,
    FieldsConfig,
    InputConfig,
    KafkaConfig,
    LoggingConfig,
    OutputsConfig,
    ScoresOutputConfig,
    StateConfig,
)
from daemon.config.receivers import ReceiverConfig
from daemon.config.schema import schema
from daemon.config.secret import Secret
from daemon.config.security import SecurityConfig
from daemon.config.server import ServerConfig

__all__ = [
    "Config",
    "FeedConfig",
    "FieldsConfig",
    "GroupConfig",
    "InputConfig",
    "KafkaConfig",
    "LoggingConfig",
    "Matcher",
    "MatcherError",
    "OutputsConfig",
    "ReceiverConfig",
    "ScoresOutputConfig",
    "Secret",
    "SecurityConfig",
    "ServerConfig",
    "StateConfig",
    "ThresholdConfig",
    "defaults",
    "load",
    "loads",
    "parse_matcher",
    "schema",
]
