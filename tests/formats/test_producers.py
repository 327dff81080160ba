"""What producers write is read as they mean it: recorded once, and by those that are installed, now.

`python -m tests.formats.record` makes the recordings anew.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from daemon import assembly
from daemon.config import loads
from daemon.formats import FORMATS
from daemon.memory import MemoryRecord
from daemon.state import PartitionState
from daemon.types import TopicPartition
from tests import programs
from tests.formats.producers import PRODUCERS, Place
from tests.formats.recording import GOLDEN, Recording, check, loaded, points, written

RECORDED = sorted(GOLDEN.glob("*.json"))
# Those that no Debian package brings run where somebody has built them; for everybody else there are the recordings.
LIVE = [name for name, (package, _) in PRODUCERS.items() if package or shutil.which(name)]


@pytest.mark.parametrize("path", RECORDED, ids=lambda path: path.stem)
def test_what_was_recorded_is_read_as_its_producer_means_it(path: Path) -> None:
    assert check(loaded(path)) >= 4


@pytest.mark.parametrize("path", RECORDED, ids=lambda path: path.stem)
def test_the_daemon_makes_samples_of_all_that_was_recorded(path: Path) -> None:
    recording = loaded(path)
    told = {"format": recording.format, **recording.input}
    config = loads(json.dumps({"input": told, "groups": [{"name": "all"}]}), "recorded.yaml", {})
    state = PartitionState.empty(assembly.layouts(config), 0)
    records = [MemoryRecord(offset, -1, None, value, ()) for offset, value in enumerate(recording.records)]
    taken = assembly.intake(config).take(TopicPartition("metrics", 0), records, state)
    assert (taken.rejected, taken.unselected) == ([], 0)
    assert taken.samples + taken.missing.get("all", 0) == sum(len(each.fields) for each in points(recording))
    series = {(each.name, *sorted(each.labels.items()), field) for each in points(recording) for field in each.fields}
    assert len(state.slabs["all"].keys) <= len(series)


def test_every_producers_format_was_recorded() -> None:
    recorded = {loaded(path).format for path in RECORDED}
    own = {"json"}  # it is written by whoever likes
    assert recorded == set(FORMATS) - own


def test_both_encodings_of_opentelemetry_tell_the_kinds_of_its_metrics() -> None:
    for path in GOLDEN.glob("otelcol-*.json"):
        kinds = {(each.name, field): kind for each in points(loaded(path)) for field, kind in each.kinds.items()}
        assert kinds["system.cpu.load_average.1m", "value"] == "gauge"
        assert kinds["system.memory.usage", "value"] == "gauge"  # a sum that may fall
        assert (kinds["sent", "value"], kinds["wait", "count"], kinds["size", "count"]) == ("delta", "delta", "counter")


@pytest.mark.broker
@pytest.mark.parametrize("name", LIVE)
def test_what_a_producer_writes_now_is_read_as_it_means_it(
    name: str, kafka_bootstrap: str, topic_prefix: str, tmp_path: Path
) -> None:
    package, run = PRODUCERS[name]
    for each in run(programs.found(name, package), Place(kafka_bootstrap, topic_prefix, tmp_path)):
        assert check(each) >= 4


@pytest.mark.parametrize(
    "spoilt",
    [
        lambda each: replace(each, said=[each.said[0]._replace(value=-1.0), *each.said[1:]]),
        lambda each: replace(each, said=each.said[1:]),
        lambda each: replace(each, said=[*each.said, each.said[0]._replace(name="never read")]),
        lambda each: replace(each, said=[each.said[0]._replace(time_ms=each.said[0].time_ms + 1), *each.said[1:]]),
    ],
    ids=["another value", "one less", "one more", "another time"],
)
def test_a_difference_is_seen(spoilt: object) -> None:
    whole = loaded(GOLDEN / "adapter-prometheus_json.json")
    check(whole)
    assert callable(spoilt)
    with pytest.raises(AssertionError, match="but"):
        check(spoilt(whole))


def test_a_recording_is_written_as_it_is_read(tmp_path: Path) -> None:
    one = Recording("p", "json", [b"{}", b"\xff\x00"], [], {"envelope": "none"}, "n", 5, 3)
    (tmp_path / "one.json").write_text(written(one), encoding="utf-8")
    assert loaded(tmp_path / "one.json") == one
