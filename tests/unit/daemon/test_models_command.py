"""`longwatch models` says where a model came from and lets an operator choose; each error says what to do."""

from __future__ import annotations

import json
from io import StringIO
from pathlib import Path

import pytest

from daemon.commands.models import Action, ModelsArguments, answered, models
from daemon.config import Config, loads
from daemon.errors import ConfigError, ModelUnusable
from daemon.memory import MemoryBroker, MemoryCluster
from daemon.model_topic import Pointer, kept, messages, read
from daemon.types import Outgoing, TopicSpec
from detectors.artefact import Artefact, Lineage, dumps, model_id
from detectors.settings import DetectorSettings
from detectors.verdict import Figures, Verdict
from tests.conformance.feed import weights

CONFIG = loads(
    "groups:\n"
    "  - {name: g, select: ['name=\"a\"'], model: {hidden: 5, window: 4, bottleneck: 3}}\n"
    "  - {name: h, model: {hidden: 7, window: 4, bottleneck: 3}}\n",
    "test",
    {},
)
ONLY_G = loads("groups:\n  - {name: g, model: {hidden: 5, window: 4, bottleneck: 3}}\n", "test", {})
MODELS = CONFIG.outputs.models.topic
NOW_MS = 1_700_000_500_000
PASSED = Verdict(
    True,
    "",
    "",
    6,
    432,
    24,
    Figures(0.4, 1.1, 3, 0.25, {"spike": 1.0, "frozen": 0.5}),
    Figures(0.4, 1.2, 4, 0.3, {"spike": 1.0}),
)
REFUSED = Verdict(False, "its usual error is 9.000, the limit is 0.375", "x", 6, 432, 0)


def data(number: int, verdict: Verdict | None = PASSED, parent: str = "", group: str = "g") -> bytes:
    settings: DetectorSettings = next(each for each in CONFIG.groups if each.name == group).detector()
    lineage = Lineage(
        group,
        4321,
        {"metrics-0": (5, 77)},
        1_700_000_000_000 + number,
        0,
        (),
        {"torch": "2"},
        parent=parent,
        trained_from_ms=1_699_000_000_000,
        trained_to_ms=1_699_900_000_000,
        settings="abcd",
        cause="drift",
        verdict=verdict,
    )
    return dumps(Artefact(settings.model, settings.channels, weights(settings, number), {}, lineage))


OLD, WILD = data(1), data(3, REFUSED)
NEW = data(2, parent=model_id(OLD))


@pytest.fixture
def broker() -> MemoryBroker:
    """A topic with two promoted models and a refused one."""
    cluster = MemoryCluster(idle=lambda _seconds: None)
    cluster.ensure(TopicSpec(MODELS, 1, compacted=True, config={"max.message.bytes": "16000000"}))
    broker = MemoryBroker(cluster)
    by = Pointer(model_id(NEW), "drift", 1_700_000_000_002)
    broker.publish([*messages(MODELS, "g", OLD, []), *messages(MODELS, "g", NEW, [], by), *kept(MODELS, "g", WILD, [])])
    return broker


def asked(
    broker: MemoryBroker, action: Action, name: str = "", *, config: Config = ONLY_G, as_json: bool = False
) -> str:
    return "\n".join(answered(ModelsArguments(action, Path("c.yaml"), name, None, as_json), config, broker, NOW_MS))


def current(broker: MemoryBroker) -> Pointer:
    return read(broker, MODELS, "g").current


def test_the_list_names_every_model_and_marks_the_one_that_scores(broker: MemoryBroker) -> None:
    lines = asked(broker, "list", config=CONFIG).splitlines()
    assert len(lines) == 4
    found = [(line[0], line[1:].split()[:2]) for line in lines[1:]]
    assert found == [(mark, ["g", model_id(each)]) for mark, each in ((" ", OLD), ("*", NEW), (" ", WILD))]
    assert "refused: its usual error is 9.000" in lines[3]
    assert "2023-11-14 22:13:20Z" in lines[1]


def test_for_programs_the_list_is_json_with_the_whole_lineage(broker: MemoryBroker) -> None:
    found = json.loads(asked(broker, "list", as_json=True))
    assert [each["model_id"] for each in found] == [model_id(each) for each in (OLD, NEW, WILD)]
    assert [each["current"] for each in found] == [False, True, False]
    assert found[1]["lineage"]["parent"] == model_id(OLD)
    assert found[1]["chosen"]["by"] == "drift"
    assert found[2]["lineage"]["verdict"]["passed"] is False


def test_a_model_is_shown_with_its_origin_and_the_figures_of_its_trial(broker: MemoryBroker) -> None:
    page = asked(broker, "show", model_id(NEW)[:5])
    for words in ("by drift", "because of drift", f"parent    {model_id(OLD)}", "offsets 5 to 77", "4321 samples"):
        assert words in page
    assert "usual error                   0.2500              0.3000" in page
    assert "frozen                         50%                   -" in page
    assert json.loads(asked(broker, "show", model_id(WILD), as_json=True))["lineage"]["verdict"]["why"] == REFUSED.why


def test_a_promotion_makes_even_a_refused_model_current_and_says_who_chose_it(broker: MemoryBroker) -> None:
    told = asked(broker, "promote", model_id(WILD))
    assert told == (
        f"group g, which scored with {model_id(NEW)} so far, scores with {model_id(WILD)} from the next turns on"
    )
    assert current(broker) == Pointer(model_id(WILD), "operator", NOW_MS)
    assert "nothing is changed" in asked(broker, "promote", model_id(WILD))


def test_going_back_again_and_again_ends_where_there_is_nothing_before(broker: MemoryBroker) -> None:
    assert json.loads(asked(broker, "rollback", as_json=True)) == {
        "group": "g",
        "current": model_id(OLD),
        "before": model_id(NEW),
    }
    assert current(broker).model_id == model_id(OLD)
    with pytest.raises(ModelUnusable, match="nothing to go back to") as refused:
        asked(broker, "rollback")
    assert model_id(OLD) in str(refused.value)
    assert asked(broker, "promote", model_id(NEW)).endswith("from the next turns on")


@pytest.mark.parametrize(
    ("action", "name", "config", "told"),
    [
        ("show", "zzz", CONFIG, "there is no model zzz; `longwatch models list c.yaml` names all"),
        ("promote", "", CONFIG, "say more of it, or --group"),
        ("rollback", "", CONFIG, "which group? Say --group with one of g, h"),
    ],
)
def test_what_cannot_be_told_apart_is_asked_for(
    broker: MemoryBroker, action: Action, name: str, config: Config, told: str
) -> None:
    with pytest.raises(ModelUnusable) as refused:
        asked(broker, action, name, config=config)
    assert told in str(refused.value)
    assert current(broker).model_id == model_id(NEW)


def test_a_model_that_the_daemons_could_not_use_is_not_promoted(broker: MemoryBroker) -> None:
    foreign = data(4, group="h")
    broker.publish([*kept(MODELS, "g", foreign, []), Outgoing(MODELS, 0, b"model/g/damaged", b"nonsense")])
    for name, why in ((model_id(foreign), "made for"), ("damaged", "do not begin as an artefact does")):
        with pytest.raises(ModelUnusable, match="cannot be used") as refused:
            asked(broker, "promote", name)
        assert why in str(refused.value)
    assert current(broker).model_id == model_id(NEW)
    assert "cannot be read" in asked(broker, "list")
    assert "fault" in asked(broker, "show", "damaged")


def test_a_group_that_is_not_configured_is_told(broker: MemoryBroker) -> None:
    with pytest.raises(ConfigError, match="no such group; there are g, h"):
        answered(ModelsArguments("list", Path("c.yaml"), group="x"), CONFIG, broker, NOW_MS)


def test_before_the_first_training_the_list_says_what_scores() -> None:
    nothing = MemoryBroker(MemoryCluster(idle=lambda _seconds: None))
    assert asked(nothing, "list") == f"{MODELS} holds no model of group g yet: day zero's detector scores"
    assert asked(nothing, "list", as_json=True) == "[]"


def test_without_a_broker_it_says_so(tmp_path: Path) -> None:
    config, err = tmp_path / "c.yaml", StringIO()
    config.write_text("kafka: {bootstrap_servers: ['127.0.0.1:1']}\ngroups: []\n", encoding="utf-8")
    assert models(ModelsArguments("list", config), {}, StringIO(), err) == 78
    assert "groups" in err.getvalue()
