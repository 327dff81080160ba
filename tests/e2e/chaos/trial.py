"""One chaos run from beginning to end: cluster, daemons, producer, faults, and the comparison with a calm daemon."""

from __future__ import annotations

import math
import uuid
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path

from daemon.embedded import EmbeddedCluster
from daemon.kafka import KafkaBroker
from tests.e2e.chaos import judge
from tests.e2e.chaos.driver import Driver, Injected
from tests.e2e.chaos.faults import BROKER_FAULTS, CLUSTER_FAULTS, DAEMON_FAULTS, Planned
from tests.e2e.chaos.flow import Flow
from tests.e2e.chaos.judge import Findings, Left
from tests.e2e.chaos.stand import Stand, stand
from tests.e2e.chaos.tape import Tape


@dataclass(frozen=True, slots=True)
class Trial:
    """What to do: how many daemons, how fast the input flows, which faults, where their order comes from."""

    daemons: int
    ticks_per_second: float
    plan: Sequence[Planned]
    seed: int
    folder: Path
    seconds_max: float = math.inf
    client: str = "kafka-python"  # of the daemons


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a trial."""

    injected: Sequence[Injected]
    findings: Findings
    blamed: Mapping[str, Counter[str]]  # by "lost", "doubled", "differing": after which fault
    still_seconds: Mapping[str, Sequence[float]]  # by fault
    expected: Left
    ends: Counter[str]
    crashes: Sequence[str]
    repeated: int  # ticks that the producer wrote again because nobody had acknowledged them

    @property
    def wrong(self) -> bool:
        """Whether anything was lost, doubled or differed, or a daemon crashed."""
        return bool(self.findings.lost or self.findings.doubled or self.findings.differing or self.crashes)


def fault_names(brokers: int) -> list[str]:
    """Return the faults that a cluster of so many brokers can have."""
    return [*DAEMON_FAULTS, *BROKER_FAULTS, *(CLUSTER_FAULTS if brokers > 1 else ())]


def conduct(cluster: EmbeddedCluster, trial: Trial, say: Callable[[str], None]) -> Outcome:
    """Carry out a trial on a running cluster. Raises Stuck when the scores do not go on."""
    prefix = f"chaos-{uuid.uuid4().hex[:8]}-"
    with stand(cluster, prefix, trial.folder, trial.daemons, trial.client) as made:
        tape = Tape(made.place.input, trial.seed)
        with Flow(made.place.bootstrap, tape, trial.ticks_per_second) as flow, ExitStack() as stack:
            driver = Driver(made, flow, trial.seed, say)
            stack.callback(driver.close)
            driver.run(trial.plan, trial.seconds_max)
            ends = driver.finish()
        return _judged(made, trial, driver.injected, ends, flow)


def _judged(made: Stand, trial: Trial, injected: Sequence[Injected], ends: Sequence[int], flow: Flow) -> Outcome:
    place = made.place
    expected = judge.calm(place, trial.folder / "calm", f"{place.shared}calm-", ends)
    with closing(KafkaBroker(place.connection())) as broker:
        found, times_ms = judge.read(broker, place), judge.input_times_ms(broker, place)
    findings = judge.compare(expected, found, times_ms)
    return Outcome(
        injected=injected,
        findings=findings,
        blamed={
            "lost": judge.after_which(findings.lost, injected, times_ms),
            "doubled": judge.after_which(findings.doubled, injected, times_ms),
            "differing": judge.after_which(findings.differing, injected, times_ms),
        },
        still_seconds=judge.stillness(found, injected),
        expected=expected,
        ends=made.ends,
        crashes=made.crashes,
        repeated=flow.repeated,
    )
