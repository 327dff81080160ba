"""The deliveries of one process: a thread for each receiver, beside the loop, with connections of its own."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from daemon import assembly, events
from daemon.alert_events import AlertEvent
from daemon.config import Config, ReceiverConfig
from daemon.delivery import Around, Delivery
from daemon.errors import BrokerUnavailable, NoticeRefused, ReceiverUnavailable
from daemon.notices import Notice, Wording, notice
from daemon.posting import Poster
from daemon.receivers import Alertmanager, Receiver, Webhook

RETRY_SECONDS: Final = 1.0
CLOSE_SECONDS: Final = 10.0  # then the process goes without them: what was not committed is told again
GROUP: Final = "-receiver-"  # after the group's name, before the receiver's


class Deliveries:
    """Threads that deliver until `stop` is set. What ends one of them ends the process, by way of `check`."""

    def __init__(
        self, made: Sequence[Callable[[], Delivery]], note: Callable[[events.Event], None], stop: threading.Event
    ) -> None:
        self._note, self._stop = note, stop
        self._failed: BaseException | None = None
        names = range(len(made))
        self._threads = [
            threading.Thread(target=self._run, args=(made[i],), name=f"receiver-{i}", daemon=True) for i in names
        ]

    def start(self) -> None:
        """Begin to deliver."""
        for thread in self._threads:
            thread.start()

    def check(self) -> None:
        """Raise what ended a thread, if anything did."""
        if self._failed is not None:
            raise self._failed

    def close(self) -> None:
        """Stop, and wait a moment for what is under way."""
        self._stop.set()
        until = time.monotonic() + CLOSE_SECONDS
        for thread in self._threads:
            if thread.ident is not None:
                thread.join(max(until - time.monotonic(), 0.0))

    def _run(self, make: Callable[[], Delivery]) -> None:
        try:
            delivery = make()
            while not self._stop.is_set():
                self._turn(delivery)
            self._leave(delivery)
        except BaseException as error:  # noqa: BLE001  # it is told to the loop
            self._failed = error

    def _turn(self, delivery: Delivery) -> None:
        try:
            delivery.turn()
        except BrokerUnavailable as error:
            self._note(events.BrokerLost(str(error)))
            self._stop.wait(RETRY_SECONDS)

    def _leave(self, delivery: Delivery) -> None:
        try:
            delivery.close()
        except BrokerUnavailable as error:  # the group will notice by itself
            self._note(events.BrokerLost(str(error)))


def deliveries(config: Config, note: Callable[[events.Event], None], stop: threading.Event) -> Deliveries:
    """Return what delivers to every receiver of the configuration. Raises ConfigError for files that cannot be used."""
    posters = {each.name: Poster(each.login(), each.timeout_seconds) for each in config.outputs.receivers}
    makers = [_Maker(config, each, posters[each.name], note) for each in config.outputs.receivers]
    return Deliveries(makers, note, stop)


def reached(config: Config) -> Iterator[str]:
    """Yield of every receiver, in words, whether it answers. Raises ConfigError for files that cannot be used."""
    for each in config.outputs.receivers:
        poster = Poster(each.login(), each.timeout_seconds)
        if each.webhook is not None:
            yield f"{each.name}: a webhook is not asked, it would take that for an alert"
        for url in each.alertmanager:
            try:
                Alertmanager([url], poster.post, each.remind_seconds, time.time, lambda _why: None).tell(())
            except (ReceiverUnavailable, NoticeRefused) as error:
                yield f"{each.name}: does not take alerts now, {error}"
            else:
                yield f"{each.name}: {url} answers"


@dataclass(frozen=True, slots=True)
class _Maker:
    """Makes the delivery to one receiver, on the thread that then owns it."""

    config: Config
    receiver: ReceiverConfig
    poster: Poster
    note: Callable[[events.Event], None]

    def __call__(self) -> Delivery:
        told, kafka = self.receiver, self.config.kafka
        group = kafka.model_copy(update={"group_id": f"{kafka.group_id}{GROUP}{told.name}"})
        config = self.config.model_copy(update={"kafka": group})
        around = Around(
            broker=assembly.connected(config),
            identity=assembly.identity(config),
            receiver=self._receiver(),
            notice=self._notice,
            note=self.note,
            monotonic=time.monotonic,
        )
        return Delivery(told.name, config.outputs.alerts.topic, around)

    def _receiver(self) -> Receiver:
        told = self.receiver
        if told.webhook is not None:
            return Webhook(told.name, told.webhook, self.poster.post)

        def failed(why: str) -> None:
            self.note(events.DeliveryFailed(told.name, why))

        return Alertmanager(told.alertmanager, self.poster.post, told.remind_seconds, time.time, failed)

    def _notice(self, event: AlertEvent) -> Notice | None:
        told = self.receiver
        wording = Wording(dict(told.labels), dict(told.annotations), (self.config.outputs.pages_url or "").rstrip("/"))
        found = notice(event, wording)
        labels = dict(found.labels)
        return found if all(matcher.matches(labels) for matcher in told.match) else None
