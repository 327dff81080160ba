"""Finds topics that match a pattern when they appear, and has them read without a restart."""

from __future__ import annotations

from collections.abc import Callable

from daemon import events
from daemon.errors import BrokerUnavailable
from daemon.ports import Broker
from daemon.wanted import Wanted, merged


class Discovery:
    """The topics that are read, as far as they are known. Called by the loop between turns.

    `prepare` makes room in our own topics for what is read besides, before anything of it is.
    """

    def __init__(
        self, wanted: Wanted, broker: Broker, prepare: Callable[[], None], note: Callable[[events.Event], None]
    ) -> None:
        self._wanted, self._broker, self._prepare, self._note = wanted, broker, prepare, note
        self._looked_at: float | None = None
        self.topics = wanted.named

    def begin(self) -> None:
        """Find what there is at the start. Raises BrokerUnavailable while there is nothing to read."""
        if self._wanted.patterns:
            self.topics = self._wanted.among(self._broker.topics())
        if not self.topics:
            raise BrokerUnavailable(f"no topic matches {', '.join(self._wanted.patterns)} yet: waiting for one")
        self._note(events.TopicsFound(self.topics, ()))

    def again(self, now: float, every_seconds: float) -> bool:
        """Look again when it is time, `now` in monotonic seconds; return whether there is more to read than before.

        Where the broker cannot say, or our own topics cannot be made ready, the next look tries it again. Raises
        TopicMismatch.
        """
        if not self._wanted.patterns or (self._looked_at is not None and now - self._looked_at < every_seconds):
            return False
        self._looked_at = now
        try:
            found = merged(self._wanted, self.topics, self._broker.topics())
            new = tuple(topic for topic in found if topic not in self.topics)
            if new:
                self._prepare()
        except BrokerUnavailable as error:
            self._note(events.BrokerLost(str(error)))
            return False
        if new:
            self.topics = found
            self._note(events.TopicsFound(found, new))
        return bool(new)
