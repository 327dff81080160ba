"""From history to the current model: a training learns, tries, and promotes or refuses, on a cluster in memory."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from daemon import codec, covered
from daemon.commands.train import TrainArguments, from_topics, trained
from daemon.commands.voices import Voice
from daemon.config import Config, loads
from daemon.events import Cause, TrainingOutcome
from daemon.memory import MemoryBroker, MemoryCluster
from daemon.model_topic import Pointer, Shelf, pointed, read
from daemon.types import Outgoing, TopicSpec
from detectors.artefact import Lineage
from detectors.fit import Progress
from tests.conformance.feed import INTERVAL_MS, START_MS, Feed, series, settings_of, wave

TICKS, STREAMS, ODD = 300, 4, slice(150, 156)
CONFIG = """
groups:
  - name: g
    readout: shared
    model: {hidden: 6, window: 4, bottleneck: 3}
    training: {min_samples: 500, epochs_max: 12, lanes: 4, chunk_samples: 32, learning_rate: 0.01}
"""
# next to nothing is learnt
IDLE = CONFIG.replace("epochs_max: 12", "epochs_max: 1").replace("learning_rate: 0.01", "learning_rate: 0.0000001")


@dataclass
class Heard(Voice):
    """Calls back after the first epoch."""

    then: Callable[[], None] = lambda: None

    def epoch(self, progress: Progress) -> None:
        """Take note of an epoch."""
        if progress.epoch == 1:
            self.then()


class Stand:
    """Topics with a history, and whoever trains on it."""

    def __init__(self) -> None:
        cluster = MemoryCluster(now_ms=lambda: START_MS + 10**9, idle=lambda _seconds: None)
        self.broker = MemoryBroker(cluster)
        for topic in ("metrics", "longwatch-alerts"):
            self.broker.ensure(TopicSpec(topic, 2, compacted=False))
        for stream in range(STREAMS):
            values = wave(TICKS, 1, stream)[:, 0] - 10.0 + 4.0 * np.sin(np.arange(TICKS) / 5.0)
            if stream == 0:
                values[ODD] += 1000.0
                self._alert(values, f"s{stream}")
            for tick, value in enumerate(values):
                body = {"timestamp": START_MS + tick * INTERVAL_MS, "name": f"s{stream}", "value": float(value)}
                cluster.publish(Outgoing("metrics", stream % 2, b"k", json.dumps(body).encode()))

    def _alert(self, values: NDArray[np.float64], stream: str) -> None:
        """Tell the alerts of one stream, as the daemon does that scores it."""
        feed = Feed(settings_of())
        feed.poll(series(values, stream))
        self.broker.publish([codec.alert("longwatch-alerts", each) for each in feed.events])

    def train(
        self, text: str = CONFIG, cause: Cause = "schedule", then: Callable[[], None] = lambda: None
    ) -> tuple[TrainingOutcome, str]:
        """Train group g as a child does."""
        config: Config = loads(text, "test", {})
        arguments = TrainArguments(Path("c.yaml"), "g", cause=cause)
        return trained(config, config.groups[0], arguments, Heard(then), self.broker)

    @property
    def shelf(self) -> Shelf:
        """What the models topic holds."""
        return read(self.broker, "longwatch-models", "g")

    def lineage(self, name: str) -> Lineage:
        """Return where a model came from."""
        artefact = self.shelf.models[name].artefact
        assert artefact is not None
        return artefact.lineage


def test_a_first_model_is_promoted_and_its_manifest_says_how_it_came_about() -> None:
    stand = Stand()
    outcome, told = stand.train()
    current = stand.shelf.current
    lineage = stand.lineage(current.model_id)
    assert outcome == "published"
    assert f"model {current.model_id} of group g published" in told
    assert (current.by, current.at_ms) == ("schedule", lineage.promoted_at_ms)
    assert (lineage.parent, lineage.cause, lineage.trained_samples) == ("", "schedule", TICKS * STREAMS)
    assert (lineage.trained_from_ms, lineage.trained_to_ms) == (START_MS, START_MS + (TICKS - 1) * INTERVAL_MS)
    assert lineage.created_at_ms == lineage.promoted_at_ms > 0
    assert len(lineage.settings) == 16
    assert lineage.verdict is not None
    assert lineage.verdict.passed
    assert all(np.isfinite(lineage.losses))


def test_what_an_alert_covered_is_left_out_of_what_is_learnt(taught: Stand) -> None:
    config = loads(CONFIG, "test", {})
    given = from_topics(config, config.groups[0], taught.broker, TrainArguments(Path("c.yaml"), "g"), Heard())
    assert covered.by_alerts(taught.broker, "longwatch-alerts", "g").keys() == {"s0"}
    odd = given.gathered.streams.index("s0")
    left_out = [int(np.isnan(each.values).sum()) for each in given.learnable]
    assert left_out[odd] >= ODD.stop - ODD.start
    assert sum(left_out) == left_out[odd] < TICKS / 3
    assert (given.gathered.histories[odd].values[ODD] > 900).all()  # what is tried is what was


@pytest.fixture(scope="module")
def taught() -> Stand:
    """A stand with one model."""
    stand = Stand()
    stand.train()
    return stand


def test_a_candidate_that_does_worse_is_kept_refused_with_its_figures(taught: Stand) -> None:
    before = taught.shelf.current
    outcome, told = taught.train(IDLE, "drift")
    assert outcome == "refused"
    assert taught.shelf.current == before
    refused = [name for name, model in taught.shelf.models.items() if model.refused]
    assert f"longwatch models promote c.yaml {refused[-1]}" in told
    lineage = taught.lineage(refused[-1])
    assert (lineage.parent, lineage.cause, lineage.promoted_at_ms) == (before.model_id, "drift", 0)
    assert lineage.verdict is not None
    assert lineage.verdict.against == before.model_id
    assert lineage.verdict.candidate is not None
    assert "usual error" in lineage.verdict.why


def test_only_so_many_refused_candidates_stay(taught: Stand) -> None:
    def refused() -> list[str]:
        return [name for name, model in taught.shelf.models.items() if model.refused]

    before = refused()
    assert len(before) == 1
    one = IDLE.replace("min_samples", "seed: 3, min_samples") + "outputs: {models: {refused_max: 1}}"
    assert taught.train(one)[0] == "refused"
    assert len(refused()) == 1
    assert refused() != before


def test_whoever_chose_another_model_meanwhile_is_not_overruled(taught: Stand) -> None:
    before = taught.shelf.current.model_id
    other = Pointer("chosen-by-hand", "operator", 5)

    def choose() -> None:
        taught.broker.publish([pointed("longwatch-models", "g", other)])

    outcome, told = taught.train(then=choose)
    assert outcome == "refused"
    assert "the current model became chosen-by-hand while this one was trained" in told
    assert taught.shelf.current == other
    taught.broker.publish([pointed("longwatch-models", "g", Pointer(before, "operator", 6))])


def test_a_second_good_model_takes_over_and_the_first_can_be_gone_back_to(taught: Stand) -> None:
    first = taught.shelf.current.model_id
    outcome, _ = taught.train(CONFIG.replace("epochs_max: 12", "epochs_max: 12, seed: 5"), "drift")
    second = taught.shelf.current
    assert (outcome, second.by) == ("published", "drift")
    assert taught.lineage(second.model_id).parent == first
    back = taught.shelf.before()
    assert back is not None
    assert back.model_id == first
