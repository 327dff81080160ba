"""What the world can do to us, and what to do about each.

DaemonError
├── ConfigError          the settings are wrong: say every problem, exit 78
├── TopicMismatch        a topic exists with settings that would lose data: say which, exit 78
├── BrokerUnavailable    no broker answers in time: wait, try again
├── TransactionFailed    the turn did not commit, or nobody knows: restore from the broker
├── Fenced               another member owns our identity: stop, let the supervisor restart us
├── RestoreStalled       a restore makes no progress: stop, let the supervisor restart us
├── InputUnusable        too many records in a row cannot be used, and we were told to stop then: exit 78
├── StateUnusable        a page or manifest cannot be used: start that partition afresh, loudly
├── ModelUnusable        an artefact cannot be used: keep the model that runs
├── EvidenceUnusable     an alert's score cannot be computed again: say why
├── ReceiverUnavailable  nobody took a notice of an alert: wait, try again
└── NoticeRefused        a receiver will never take this notice: say so, go on with the next

Anything else is a programmer's error: crash, restart, replay.
"""

from __future__ import annotations


class DaemonError(Exception):
    """Anything that the daemon expects from its surroundings."""


class ConfigError(DaemonError):
    """The configuration is wrong; `problems` names each place, what was found and what was expected."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class TopicMismatch(DaemonError):
    """A topic has settings under which state or alerts would be lost."""


class BrokerUnavailable(DaemonError):
    """The broker did not answer within the deadline."""


class TransactionFailed(DaemonError):
    """The transaction was aborted, or its outcome is unknown; memory must be restored from the broker."""


class Fenced(DaemonError):
    """Another member took over this member's transactional identity."""


class RestoreStalled(DaemonError):
    """A restore made no progress for too long; the process should end and start again."""


class InputUnusable(DaemonError):
    """More records in a row cannot be used than the configuration allows; none of this turn is committed."""


class StateUnusable(DaemonError):
    """A page or manifest of the state topic is corrupt, foreign or of another version."""


class ModelUnusable(DaemonError):
    """A model artefact is missing, corrupt, or of another shape or version."""


class EvidenceUnusable(DaemonError):
    """What an alert carries is not enough to compute its score again; the text says why, and what to do."""


class ReceiverUnavailable(DaemonError):
    """A receiver of alerts did not answer, or said that it cannot take any now."""


class NoticeRefused(DaemonError):
    """A receiver of alerts said that what it was sent is at fault."""
