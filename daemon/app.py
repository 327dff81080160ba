"""The composition root: the only place that builds things, and that owns threads and signals."""

from __future__ import annotations

import functools
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from daemon import assembly, events, first_stage
from daemon.allocator import collect_seldom, keep_freed_memory
from daemon.config import Config
from daemon.deliveries import Deliveries, deliveries
from daemon.discovery import Discovery
from daemon.errors import BrokerUnavailable
from daemon.http import Pages
from daemon.inquiry import Inquiries
from daemon.learning import Learning, child_command
from daemon.logs import Log
from daemon.loop import Loop, Surroundings
from daemon.models import ModelStore
from daemon.notify import Notifier
from daemon.partitions import Partitions, Watched
from daemon.ports import Broker
from daemon.restore import RestoreSettings
from daemon.stopping import stop_at_end_of, stopped_by_signals
from daemon.telemetry import Telemetry
from daemon.watch import Looked, Watch
from detectors.dayzero import day_zero
from detectors.network import use_threads

BROKER_RETRY_SECONDS = 1.0
EXIT_SHUTDOWN_LATE = 75


@dataclass(frozen=True, slots=True)
class _Life:
    """When to stop, what to close then, and what is asked until then."""

    stop: threading.Event
    stack: ExitStack
    inquiries: Inquiries
    deliveries: Deliveries
    config_checksum: str  # of the settings as the operator wrote them


def run(config: Config, config_path: Path, log: Log, worker: int | None = None) -> None:
    """Run the daemon until it is told to stop. Raises TopicMismatch, Fenced and RestoreStalled.

    As one `worker` of several it stops when its standard input ends, too: its supervisor is gone then.
    """
    stop, checksum = threading.Event(), config.checksum()
    if worker is not None:
        config = assembly.of_worker(config, worker)
        stop_at_end_of(sys.stdin.fileno(), stop)
    telemetry = Telemetry(time.time, log, checksum, time.monotonic)
    notifier = Notifier.from_env(os.environ, os.getpid())
    assembly.check_devices(config)
    use_threads(config.threads)
    keep_freed_memory()
    collect_seldom()
    inquiries = Inquiries(telemetry.note)
    with ExitStack() as stack:
        stack.enter_context(stopped_by_signals(stop))
        if (listen := config.server.listen) is not None:
            access = config.server.access()
            pages = Pages(telemetry, listen, config.server.healthy_seconds, access, inquiries=inquiries)
            pages.start()
            stack.callback(pages.close)
            notifier.port(pages.port)
            log.info("listening", port=pages.port)
        broker = assembly.connected(config)
        stack.callback(broker.close)
        delivering = deliveries(config, telemetry.note, stop)
        stack.callback(delivering.close)
        life = _Life(stop, stack, inquiries, delivering, checksum)
        loop = _composed(config, config_path, broker, telemetry, notifier, life)
        if loop is None:
            return
        notifier.ready("restoring")
        delivering.start()
        with _shutdown_deadline(config.shutdown_seconds, stop):
            loop.run()
        notifier.stopping("stopped")


def _composed(
    config: Config, config_path: Path, broker: Broker, telemetry: Telemetry, heart: Notifier, around: _Life
) -> Loop | None:
    """Return the loop, wired; None when it was told to stop while no broker answered."""
    detectors = {each.name: each.detector() for each in config.groups}
    models = ModelStore(broker, config.outputs.models.topic, detectors, telemetry.note)
    around.stack.callback(models.close)
    prepare = functools.partial(assembly.prepare_own_topics, config, broker)
    discovery = Discovery(config.read_from(), broker, prepare, telemetry.note)
    for action in (discovery.begin, lambda: assembly.prepare_topics(config, broker), models.start):
        if not _until_available(action, telemetry, heart, around.stop):
            return None
    learning = Learning(child_command(str(config_path)), assembly.schedules(config), telemetry.note)
    around.stack.callback(learning.close)
    groups = {
        each.name: assembly.group(
            config.maintained(each),
            day_zero(detectors[each.name]),
            around.config_checksum,
            config.outputs.alerts.evidence_bytes_max,
        )
        for each in config.groups
    }
    topics = config.wanted().named if config.input.repartition else discovery.topics
    source, intake = broker.source(topics), assembly.intake(config)
    restore = RestoreSettings(config.state.topic, assembly.layouts(config), config.state.restore_seconds_max)
    partitions = Partitions(
        Watched(broker, source, intake, models, groups, restore, telemetry.note, time.monotonic, prepare)
    )
    looked_at = Looked(groups, partitions, source, models, topics[0], assembly.drift_limits(config))
    watch = Watch(looked_at, learning, telemetry, heart, time.time)
    first = None
    if config.input.repartition:
        door = first_stage.connected(config)
        around.stack.callback(door.close)
        second = (source, partitions)
        first = first_stage.first_stage(config, (broker, door), second, discovery.topics, telemetry.note)
        around.stack.callback(first.close)

    def after_turn(now: float) -> None:
        watch.after_turn(now)
        if discovery.again(now, config.input.discover_seconds):
            if first is None:
                source.read(discovery.topics)
                watch.lead(discovery.topics[0])
            else:
                first.read(discovery.topics)
        if first is not None:
            first.turn()
        around.inquiries.answer(partitions)
        around.deliveries.check()

    writer = broker.writer(assembly.identity(config))
    surroundings = Surroundings(source, writer, intake, partitions, telemetry.note, time.monotonic, after_turn)
    return Loop(assembly.loop_settings(config), surroundings, around.stop)


def _until_available(
    action: Callable[[], None], telemetry: Telemetry, notifier: Notifier, stop: threading.Event
) -> bool:
    """Try `action` until a broker answers; return False when told to stop before that."""
    while not stop.is_set():
        try:
            action()
        except BrokerUnavailable as error:
            telemetry.note(events.BrokerLost(str(error)))
            telemetry.progress(time.time())
            notifier.beat(time.monotonic())
            stop.wait(BROKER_RETRY_SECONDS)
        else:
            return True
    return False


@contextmanager
def _shutdown_deadline(seconds: float, stop: threading.Event) -> Iterator[None]:
    """End the process hard when draining takes longer than it may; nothing is lost by that, the next owner replays."""
    done = threading.Event()

    def guard() -> None:
        stop.wait()
        if not done.wait(seconds):
            os._exit(EXIT_SHUTDOWN_LATE)

    threading.Thread(target=guard, name="shutdown", daemon=True).start()
    try:
        yield
    finally:
        done.set()
        stop.set()
