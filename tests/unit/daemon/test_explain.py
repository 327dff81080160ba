"""`longwatch explain` says why an alert opened in words, replays its score, and says what it lacks when it cannot."""

from __future__ import annotations

import io
import json
import xml.etree.ElementTree as ET
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from daemon import codec, evidence, explanation
from daemon.alert_events import AlertEvent
from daemon.commands.explain import ExplainArguments, Streams, explain
from daemon.config import Config, loads
from daemon.memory import MemoryBroker, MemoryCluster
from daemon.model_topic import messages
from daemon.types import Outgoing, TopicSpec
from detectors.artefact import Artefact, Lineage, dumps, model_id
from detectors.dayzero import day_zero
from detectors.settings import DetectorSettings
from tests.conformance.feed import INTERVAL_MS, START_MS, Feed, drawn, series, together, wave, weights

YAML = """
outputs: {models: {promoted_max: 4}}
groups:
  - name: g
    channels: [cpu, mem]
    warmup_samples: 100
    model: {hidden: 5, window: 4, bottleneck: 3}
    guard: {mem: {max: 500}}
    alert: {hold_off_samples: 0, habituation: 0.2}
"""
CONFIG = loads(YAML, "test", {})
SETTINGS = CONFIG.groups[0].detector()
ALERTS, MODELS = CONFIG.outputs.alerts.topic, CONFIG.outputs.models.topic
MODEL = dumps(Artefact(SETTINGS.model, SETTINGS.channels, weights(SETTINGS), {}, Lineage("g", 1, {}, 1, 0, (), {})))
SAMPLES, SPIKE = 190, 150


def told_by(feed: Feed) -> list[AlertEvent]:
    """Return the events of streams that jump, break a guard rail before they are warm, and fall silent."""
    values, early = wave(SAMPLES, 2, seed=1), wave(SAMPLES, 2, seed=2)
    values[SPIKE] += [4.0, 0.0]
    values[SPIKE + 3 : SPIKE + 6] += 60.0
    early[20, 1] = 512.0
    feed.polls([together(series(values, 'load{host="a"}'), series(early, "early"), series(values[:130], "quiet"))])
    return feed.events


@pytest.fixture(scope="module")
def events() -> list[AlertEvent]:
    """What was told of streams that a trained model scored."""
    feed = Feed(SETTINGS, drawn(SETTINGS))
    detector = replace(feed.group.detector, model_id=model_id(MODEL))
    feed.group = replace(feed.group, detector=detector, config_checksum=CONFIG.checksum())
    return told_by(feed)


@pytest.fixture(scope="module")
def untaught() -> list[AlertEvent]:
    """What was told of the same streams on day zero."""
    feed = Feed(SETTINGS)
    feed.group = replace(feed.group, detector=day_zero(SETTINGS))
    return told_by(feed)


def opening(events: Sequence[AlertEvent], rule: str = "anomaly") -> AlertEvent:
    return next(each for each in events if each.change == "open" and each.rule == rule)


@dataclass
class Asked:
    """What the command said."""

    code: int
    out: str
    err: str


def asked(
    folder: Path,
    events: Sequence[AlertEvent] = (),
    *,
    models: Sequence[bytes] = (MODEL,),
    given: bytes = b"",
    configured: bool = True,
    **arguments: object,
) -> Asked:
    """Ask about an alert where topics hold `events` and `models`."""
    cluster = MemoryCluster(idle=lambda _seconds: None)
    cluster.ensure(TopicSpec(ALERTS, 2, compacted=False))
    cluster.ensure(TopicSpec(MODELS, 1, compacted=True, config={"max.message.bytes": "16000000"}))
    broker = MemoryBroker(cluster)
    broker.publish([Outgoing(ALERTS, 0, b"k", b"nonsense"), *(codec.alert(ALERTS, each) for each in events)])
    broker.publish([message for each in models for message in messages(MODELS, "g", each, [])])
    path = folder / "longwatch.yaml"
    path.write_text(YAML, encoding="utf-8")

    def connect(config: Config) -> MemoryBroker:
        assert config.outputs.alerts.topic == ALERTS
        return MemoryBroker(cluster)

    out, err = io.StringIO(), io.StringIO()
    chosen = ExplainArguments(config=path if configured else None, **arguments)  # type: ignore[arg-type]
    code = explain(chosen, {}, Streams(io.BytesIO(given), out, err), connect)
    return Asked(code, out.getvalue(), err.getvalue())


def test_an_alert_of_the_topic_is_explained_and_replays_to_the_same_score(
    events: list[AlertEvent], tmp_path: Path
) -> None:
    event = opening(events)
    found = asked(tmp_path, events, alert_id=event.alert_id[:10])
    assert (found.code, found.err) == (0, "")
    for words in (
        f"alert     {event.alert_id} (anomaly, warning)",
        'stream    load{host="a"}, group g',
        "opened    2023-11-14 22:38:20Z",
        "worsened  2023-11-14 22:38:50Z",
        "it came back to normal; highest score",
        f"score     {event.score:.6g}; 1 is the limit",
        f"replayed  {event.score:.6g}, the same to the last bit (model {event.model_id})",
        "cpu: 1",
        "above it",
        "about once in",
        "the limit is static, 1.5 decades",
        "with cpu as expected: score 0",
        "no alert",
    ):
        assert words in found.out, words
    assert "configuration" not in found.out


def test_an_alert_before_any_model_needs_none_and_a_file_needs_no_configuration(
    untaught: list[AlertEvent], tmp_path: Path
) -> None:
    event = opening(untaught)
    lines = b"".join((codec.alert(ALERTS, each).value or b"") + b"\n" for each in untaught)
    (tmp_path / "alerts.jsonl").write_bytes(b"not an event\n" + lines)
    piped = asked(tmp_path, given=lines, configured=False, file=Path("-"), alert_id=event.alert_id)
    filed = asked(tmp_path, configured=False, file=tmp_path / "alerts.jsonl", alert_id=event.alert_id)
    pretty = json.dumps(json.loads(lines.splitlines()[untaught.index(event)]), indent=2).encode()
    alone = asked(tmp_path, given=pretty, configured=False, file=Path("-"))
    assert [each.code for each in (piped, filed, alone)] == [0, 0, 0]
    assert piped.out == filed.out
    assert "the same to the last bit (day zero's detector)" in alone.out
    assert "closed" in filed.out
    assert "closed" not in alone.out


def test_for_programs_it_is_json_and_the_numbers_are_those_of_the_event(
    events: list[AlertEvent], tmp_path: Path
) -> None:
    event = opening(events)
    told = json.loads(asked(tmp_path, events, alert_id=event.alert_id, json=True).out)
    assert told["alert"]["alert_id"] == event.alert_id
    assert [each["change"] for each in told["later"]] == ["update", "close"]
    replayed = told["replay"]
    assert (replayed["replayed"], replayed["apart"], replayed["same"]) == (event.score, 0.0, True)
    for channel, feature in zip(replayed["channels"], event.features, strict=True):
        for name in ("name", "actual", "expected", "lower", "upper", "share"):
            assert channel[name] == getattr(feature, name)
    assert {each["name"]: each["decades"] for each in replayed["voices"]} == event.surprise
    for each in replayed["voices"]:
        assert each["decades"] == pytest.approx(sum(each["scales"]) / 4)
    assert max(each["decades"] * each["weight"] for each in replayed["voices"]) == replayed["surprise"]


def test_what_would_have_been_is_what_the_step_says_of_such_a_sample(events: list[AlertEvent]) -> None:
    event, feed = opening(events), Feed(SETTINGS, drawn(SETTINGS))
    found = explanation.explained(event, explanation.read(event), feed.group.detector)
    values = wave(SAMPLES, 2, seed=1)[: SPIKE + 1]
    values[SPIKE] = [each.expected or 0.0 for each in found.channels]
    feed.polls([series(values, 'load{host="a"}')])
    both = next(each for each in found.instead if set(each.channels) == {"cpu", "mem"})
    assert both.score == feed.by_time['load{host="a"}', START_MS + SPIKE * INTERVAL_MS]
    assert [each.channels for each in found.instead] == [("cpu",), ("mem",), ("cpu", "mem")]
    assert found.instead[0].score is not None
    assert found.instead[0].score < 1.0 < (found.instead[1].score or 0.0)


def test_a_guard_rail_is_named_also_while_there_is_no_score(events: list[AlertEvent], tmp_path: Path) -> None:
    found = asked(tmp_path, events, alert_id=opening(events, "guard").alert_id)
    assert found.code == 0
    assert "mem: 512 is above the guard rail at 500, which opened the alert" in found.out
    assert "there is no score yet: the stream was warming up" in found.out


def test_a_silence_says_that_there_is_no_score(events: list[AlertEvent], tmp_path: Path) -> None:
    found = asked(tmp_path, events, alert_id=opening(events, "silence").alert_id)
    assert found.code == 0
    assert ": 20.0 of its usual intervals,\nor 1.5 of its longest usual pauses" in found.out


def test_an_alert_soon_after_another_says_how_much_it_needed(events: list[AlertEvent], tmp_path: Path) -> None:
    event = opening(events)
    assert event.evidence is not None
    habituated = replace(event, evidence=evidence.sealed(replace(event.evidence, needed=1.2)))
    found = asked(tmp_path, [habituated], alert_id=event.alert_id)
    assert "1 is the limit, and an alert needed 1.20 just then" in found.out


def test_the_picture_shows_each_channel_up_to_the_sample(events: list[AlertEvent], tmp_path: Path) -> None:
    event = opening(events)
    found = asked(tmp_path, events, alert_id=event.alert_id, plot=tmp_path / "a.svg")
    assert found.code == 0, found.err
    drawn_texts = [each.text or "" for each in ET.parse(tmp_path / "a.svg").iter() if each.tag.endswith("text")]
    assert any(text.startswith("cpu: ") for text in drawn_texts)
    assert any(event.alert_id[:8] in text for text in drawn_texts)


def test_another_score_than_the_recorded_one_is_told_and_is_a_failure(events: list[AlertEvent], tmp_path: Path) -> None:
    event = opening(events)
    near, far = (replace(event, score=(event.score or 0.0) + more) for more in (1e-9, 0.01))
    told = asked(tmp_path, [near], alert_id=event.alert_id)
    assert told.code == 0
    assert "the same but for rounding" in told.out
    other = asked(tmp_path, [far], alert_id=event.alert_id)
    assert other.code == 1
    assert "which is NOT the recorded score" in other.out


def test_a_configuration_that_has_changed_since_is_told(events: list[AlertEvent], tmp_path: Path) -> None:
    event = replace(opening(events), config_checksum="another")
    assert "The configuration is not the one that scored any more" in asked(tmp_path, [event], alert_id="").err + (
        asked(tmp_path, [event], alert_id=event.alert_id).out
    )


def without(event: AlertEvent) -> AlertEvent:
    return replace(event, evidence=None)


def left_out(event: AlertEvent) -> AlertEvent:
    assert event.evidence is not None
    return replace(event, evidence=evidence.sealed(replace(event.evidence, row="", left_out="the row takes 9 bytes")))


def corrupt(event: AlertEvent) -> AlertEvent:
    assert event.evidence is not None
    return replace(event, evidence=replace(event.evidence, needed=3.0))


def closed(event: AlertEvent) -> AlertEvent:
    return replace(event, change="close")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (without, "carries no evidence: outputs.alerts.evidence_bytes_max was 0"),
        (left_out, "the evidence was left out: the row takes 9 bytes"),
        (corrupt, "its checksum does not fit"),
        (closed, "its opening, which holds the grounds, is not there any more, only close"),
    ],
)
def test_an_event_that_is_not_enough_is_refused_with_the_reason(
    events: list[AlertEvent], tmp_path: Path, change: Callable[[AlertEvent], AlertEvent], words: str
) -> None:
    event = change(opening(events))
    found = asked(tmp_path, [event], alert_id=event.alert_id)
    assert (found.code, found.out) == (1, "")
    assert words in found.err


def test_a_model_that_its_topic_has_lost_can_be_given(events: list[AlertEvent], tmp_path: Path) -> None:
    event = opening(events)
    gone = asked(tmp_path, events, alert_id=event.alert_id, models=())
    assert gone.code == 1
    assert f"model {event.model_id}, which scored, is not in {MODELS} any more: it keeps the newest 4" in gone.err
    (tmp_path / "model").write_bytes(MODEL)
    given = asked(tmp_path, events, alert_id=event.alert_id, models=(), model=tmp_path / "model")
    assert (given.code, given.err) == (0, "")
    other = dumps(
        Artefact(SETTINGS.model, SETTINGS.channels, weights(SETTINGS, 9), {}, Lineage("g", 1, {}, 1, 0, (), {}))
    )
    (tmp_path / "other").write_bytes(other)
    wrong = asked(tmp_path, events, alert_id=event.alert_id, model=tmp_path / "other")
    assert wrong.code == 1
    assert f"--model: this is {model_id(other)}, and the alert was scored with {event.model_id}" in wrong.err


def test_a_model_of_another_shape_than_the_evidence_is_refused(events: list[AlertEvent], tmp_path: Path) -> None:
    told: DetectorSettings = replace(SETTINGS, model=replace(SETTINGS.model, hidden=6))
    data = dumps(Artefact(told.model, told.channels, weights(told), {}, Lineage("g", 1, {}, 1, 0, (), {})))
    event = replace(opening(events), model_id=model_id(data))
    found = asked(tmp_path, [event], alert_id=event.alert_id, models=(data,))
    assert found.code == 1
    assert "made for" in found.err


def test_what_cannot_be_asked_is_said(events: list[AlertEvent], untaught: list[AlertEvent], tmp_path: Path) -> None:
    event = opening(events)
    lines = codec.alert(ALERTS, event).value or b""
    for found, words in (
        (asked(tmp_path, events), "which alert?"),
        (asked(tmp_path, events, alert_id="f" * 32), f"{ALERTS} holds no alert"),
        (asked(tmp_path, given=lines, file=Path("-"), alert_id="zz"), "any of 0 (none)"),
        (asked(tmp_path, given=b"{}", file=Path("-")), "no alert event"),
        (asked(tmp_path, file=tmp_path / "none"), "cannot be read"),
        (asked(tmp_path, given=lines, file=Path("-"), configured=False), "--config is needed to read model"),
        (asked(tmp_path, configured=False, alert_id="a"), "--config is needed to read the alerts topic"),
        (asked(tmp_path, untaught, alert_id=opening(untaught).alert_id, model=tmp_path / "m"), "it needs none"),
        (asked(tmp_path, events, alert_id=event.alert_id, model=tmp_path / "none"), "cannot be read"),
    ):
        assert (found.code, found.out) == (1, ""), words
        assert words in found.err
        assert "Traceback" not in found.err


def test_of_a_counter_the_rate_is_explained_and_the_total_replaced() -> None:
    counter = np.cumsum(np.abs(wave(SAMPLES, 1, seed=3))) * 100
    counter[SPIKE:] += 4000.0
    told = replace(SETTINGS, channels=("value",), guard=())
    feed = Feed(told)
    feed.group = replace(feed.group, detector=day_zero(told))
    feed.polls([series(counter)])
    event = opening(feed.events)
    found = explanation.explained(event, explanation.read(event), feed.group.detector)
    (channel,), (instead,) = found.channels, found.instead
    assert channel.raw == float(counter[SPIKE])
    assert channel.actual == event.features[0].actual
    assert (channel.actual or 0.0) < 0.01 * float(counter[SPIKE])
    assert (instead.score or 0.0) < 0.8
