"""The demonstration: a real broker, the real daemon, two weeks to learn from and two weeks with faults in a minute."""

from __future__ import annotations

import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Final, TextIO

import msgspec

from daemon import config
from daemon.alert_events import AlertEvent
from daemon.demo import scenario as scenarios
from daemon.demo.child import HOST, DaemonChild, DemoFailed, free_port
from daemon.demo.follow import Follower, alert_of
from daemon.demo.judge import Alert, Verdict, judge
from daemon.demo.offline import without_model
from daemon.demo.scenario import PARTITIONS, TOPIC, Scenario, Size
from daemon.demo.screen import Progress, Screen, closing_table
from daemon.demo.show import Show
from daemon.embedded import EmbeddedBroker
from daemon.errors import DaemonError
from daemon.kafka import ConnectionSettings, KafkaBroker
from daemon.types import Outgoing, TopicSpec

EXIT_OK: Final = 0
EXIT_FAILED: Final = 1
CONFIG_FILE: Final = "longwatch.yaml"

_encoder = msgspec.json.Encoder()  # NaN becomes null

Baseline = Callable[[config.Config, Sequence[Outgoing]], Sequence[AlertEvent]]
"""Whatever the model is compared with: it gets the configuration and every record, and returns its alert events."""


@dataclass(frozen=True, slots=True)
class Options:
    """What a user can choose: how long the live part takes, and whether the files stay."""

    seconds: float = 75.0
    keep: bool = False
    size: Size = field(default_factory=Size)


class _Interrupted(BaseException):
    """SIGINT or SIGTERM arrived; everything is cleaned up on the way out."""

    def __init__(self, signal_number: int) -> None:
        super().__init__(signal_number)
        self.signal_number = signal_number


def demo(seconds: float, *, keep: bool) -> int:
    """Show the demonstration to the person at the terminal; the live part takes `seconds`. Returns the exit code."""
    return run(Options(seconds, keep), sys.stdout, without_model)


def run(options: Options, out: TextIO, baseline: Baseline | None = None) -> int:
    """Show the demonstration on `out`; return 0 if alerts came out, 1 if not, 128 + the signal if interrupted.

    `baseline` gives the table its second column. Leaves no process, no port and, unless `options.keep`, no file behind.
    """
    screen = Screen(out)
    try:
        with _interruptible():
            return _run(options, screen, baseline)
    except _Interrupted as interrupted:
        screen.settle()
        screen.say("interrupted: everything that was started has been stopped")
        return 128 + interrupted.signal_number
    except (DemoFailed, DaemonError) as error:
        screen.settle()
        screen.say(f"the demonstration failed: {error}")
        return EXIT_FAILED


@contextmanager
def _interruptible() -> Iterator[None]:
    """Turn SIGINT and SIGTERM into _Interrupted, once: a second one must not cut the cleaning short."""

    def interrupt(number: int, _frame: FrameType | None) -> None:
        for each in (signal.SIGINT, signal.SIGTERM):
            signal.signal(each, signal.SIG_IGN)
        raise _Interrupted(number)

    before = {each: signal.signal(each, interrupt) for each in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


def _run(options: Options, screen: Screen, baseline: Baseline | None) -> int:
    scenario = scenarios.plan(options.size, int(time.time() * 1000))
    with _folder(screen, keep=options.keep) as folder:
        alerts = _watched(options, scenario, screen, folder)
        (folder / "labels.jsonl").write_bytes(_encoder.encode_lines(scenario.labels))
        (folder / "alerts.jsonl").write_bytes(_encoder.encode_lines(alerts))
        columns = [("model", judge(scenario.labels, alerts, scenario.observed))]
        if baseline is not None:
            screen.progress(Progress("baseline", None, "the same records through the same step, without a model"))
            columns.append(("baseline", _judged(scenario, folder, baseline)))
            screen.settle()
    screen.say("\n" + closing_table(columns))
    if not columns[0][1].findings:
        screen.say("\nno alert came out: something is wrong here")
        return EXIT_FAILED
    return EXIT_OK


def _judged(scenario: Scenario, folder: Path, baseline: Baseline) -> Verdict:
    settings = config.load(folder / CONFIG_FILE, {})
    events = baseline(settings, scenario.records(0, scenario.steps))
    return judge(scenario.labels, map(alert_of, events), scenario.observed)


@contextmanager
def _folder(screen: Screen, *, keep: bool) -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="longwatch-demo-"))
    try:
        yield folder
    finally:
        if keep:
            screen.settle()
            screen.say(f"kept: {folder} (configuration, the daemon's log, labels, alerts)")
        else:
            shutil.rmtree(folder, ignore_errors=True)


def _watched(options: Options, scenario: Scenario, screen: Screen, folder: Path) -> list[Alert]:
    """Start broker and daemon, show everything, stop them; return every alert change there was."""
    with ExitStack() as stack:
        screen.progress(Progress("setup", None, "starting a real Apache Kafka broker"))
        embedded = EmbeddedBroker(progress=lambda line: screen.progress(Progress("setup", None, line)))
        stack.enter_context(embedded)
        settings = ConnectionSettings((embedded.bootstrap,), client_id="longwatch-demo")
        broker = stack.enter_context(closing(KafkaBroker(settings)))
        broker.ensure(TopicSpec(TOPIC, PARTITIONS, compacted=False))
        port = free_port()
        path = folder / CONFIG_FILE
        path.write_text(scenarios.configuration(scenario, embedded.bootstrap, f"{HOST}:{port}"), encoding="utf-8")
        command = [sys.executable, "-m", "daemon", "run", str(path)]
        child = stack.enter_context(DaemonChild(command, folder / "daemon.log", None if options.keep else folder))
        follower = stack.enter_context(closing(Follower(broker, config.load(path, {}).outputs.alerts.topic)))
        # the first thing that is undone: also after a Ctrl-C a person sees what goes on
        stack.callback(screen.progress, Progress("stop", None, "stopping the daemon and the broker"))
        _say_hello(screen, scenario, embedded.bootstrap, port)
        show = Show(scenario, screen, broker, child, follower, port)
        show.setup()
        show.history()
        show.learning()
        show.live(options.seconds)
        screen.progress(Progress("stop", None, "SIGTERM: the daemon finishes its turn and writes its state"))
        code = child.stop()
        show.heard(follower.drain())
        screen.settle()
        screen.say(f"the daemon stopped with code {code}; its metrics page was http://{HOST}:{port}/metrics")
        return show.alerts


def _say_hello(screen: Screen, scenario: Scenario, bootstrap: str, port: int) -> None:
    streams, faults = len(scenario.fleet.streams), len(scenario.faults)
    screen.settle()
    screen.say(f"Kafka broker    {bootstrap}, topic {TOPIC}, {PARTITIONS} partitions")
    screen.say(f"metrics page    http://{HOST}:{port}/metrics, while this runs")
    screen.say(f"made-up fleet   {streams} streams, a sample every {scenario.fleet.interval_seconds // 60} minutes")
    screen.say(f"                {faults} faults, labelled, in the live part; none in the history")
