"""The rights that docs/security.md lists are enough for everything, and none of them can be left out unnoticed."""

from __future__ import annotations

import json
import os
import re
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from daemon import assembly, covered, first_stage
from daemon.commands.train import TrainArguments, train
from daemon.config import Config, loads
from daemon.errors import ConfigError
from daemon.kafka import KafkaBroker
from daemon.kafka.source import KafkaSource
from daemon.types import Outgoing, Record, TopicPartition, TopicSpec
from tests.broker.guarded import LIMITED, PASSWORD, Grant, Guarded
from tests.e2e import feed
from tests.e2e.process import Daemon, Follower, group, settings
from tests.told import Server

pytestmark = [pytest.mark.broker, pytest.mark.timeout(180)]

PAGE = Path(__file__).parents[2] / "docs" / "security.md"
WAIT_SECONDS = 20.0
OWN = ("state", "models", "alerts", "scores", "dead-letters")


# What the page calls them, and what they are called here.
NAMES = {
    "metrics": "metrics",
    "longwatch": "group",
    "longwatch-*": "group-*",
    "longwatch-repartition": "group-repartition",
    "longwatch-receiver-*": "group-receiver-*",
    **{f"longwatch-{one}": one for one in (*OWN, "input")},
}
KINDS = {"--topic": "TOPIC", "--group": "GROUP", "--transactional-id": "TRANSACTIONAL_ID"}


def listed(prefix: str) -> list[Grant]:
    """Return the rights that the page's commands grant, on topics and a group that begin with `prefix`."""
    section = PAGE.read_text(encoding="utf-8").partition("\n## Rights on the cluster\n")[2]
    lines = [line for line in section.partition("\n## ")[0].splitlines() if line.startswith("$acls ")]
    return [
        (re.sub(r"(?<=[a-z])(?=[A-Z])", "_", operation).upper(), KINDS[kind], f"{prefix}{NAMES[name]}")
        for line in lines
        for kind, name in re.findall(
            r"(--(?:topic|group|transactional-id)) (\S+)", line.replace("- --resource", "-* --resource")
        )
        for operation in re.findall(r"--operation (\S+)", line)
    ]


@pytest.fixture
def told(guarded: Guarded, topic_prefix: str) -> dict[str, Any]:
    """Settings of a daemon that logs in as the user of limited rights."""
    told = settings(f"127.0.0.1:{guarded.ports['LOGIN']}", topic_prefix)
    told["kafka"]["security"] = {
        "protocol": "SASL_SSL",
        "ca_file": str(guarded.authority.cert),
        "sasl_mechanism": "PLAIN",
        "username": LIMITED,
        "password": PASSWORD,
    }
    return told


@pytest.fixture
def everything(guarded: Guarded) -> Iterator[KafkaBroker]:
    """The door of one who may do everything."""
    broker = KafkaBroker(guarded.settings("LOGIN", guarded.login()))
    yield broker
    broker.close()


@pytest.mark.slow
def test_with_the_listed_rights_the_daemon_does_all_of_its_work(
    guarded: Guarded, topic_prefix: str, told: dict[str, Any], everything: KafkaBroker, tmp_path: Path
) -> None:
    metrics = f"{topic_prefix}metrics"
    everything.ensure(TopicSpec(metrics, feed.PARTITIONS, compacted=False))
    between = (f"{topic_prefix}input", f"{topic_prefix}group-repartition")  # without it nobody needs these
    guarded.grant(LIMITED, [grant for grant in listed(topic_prefix) if grant[2] not in between])
    learnt = group(guard={"value": {"max": 99}}, training={"min_samples": 100, "epochs_max": 1})
    everything.publish([*feed.plain(metrics, 0, 150), feed.record(metrics, 0, 150, 1000.0)])
    everything.publish([Outgoing(metrics, 0, b"k", b"no JSON")])
    history = tmp_path / "history.csv"
    rows = [f"{feed.START_MS + tick * feed.INTERVAL_MS},{value}" for tick, value in enumerate(feed.values(0, 300))]
    history.write_text("\n".join(["timestamp,value", *rows]), encoding="utf-8")
    with Server() as server:
        told["outputs"]["receivers"] = [{"name": "hook", "webhook": server.url}]
        daemon = Daemon(tmp_path, {**told, "groups": [learnt]})
        assert train(TrainArguments(daemon.config, "all", (history,)), os.environ, sys.stdout, sys.stderr) == 0
        written = worked(daemon, everything, topic_prefix, server)
    assert [topic for topic, records in written.items() if not records] == []


def worked(daemon: Daemon, everything: KafkaBroker, topic_prefix: str, server: Server) -> dict[str, list[Record]]:
    """Let the daemon do all of its work, and return what it wrote."""
    with daemon:
        daemon.until(lambda: bool(daemon.said("model_swapped")), "the model is taken up")
        daemon.until(lambda: bool(server.alerts), "a receiver is told of an alert")
        daemon.until(lambda: daemon.metric("longwatch_state_pages_written_total") > 0, "state is written")
        written = {topic: Follower(everything, f"{topic_prefix}{topic}").finish() for topic in OWN}
        assert daemon.stop() == 0
    return written


@pytest.mark.slow
def test_a_missing_right_ends_the_daemon_with_78_and_the_command_that_grants_it(
    guarded: Guarded, topic_prefix: str, told: dict[str, Any], everything: KafkaBroker, tmp_path: Path
) -> None:
    everything.ensure(TopicSpec(f"{topic_prefix}metrics", 1, compacted=False))
    guarded.grant(LIMITED, [grant for grant in listed(topic_prefix) if grant[1] != "GROUP"])
    with Daemon(tmp_path, told) as daemon:
        assert daemon.wait() == 78
        (line,) = daemon.said("settings_refused")
    granting = f"kafka-acls.sh --add --allow-principal User:NAME --operation Read --group {topic_prefix}group"
    assert f"this user lacks the right Read on group {topic_prefix}group: {granting}" in line["why"]
    assert PASSWORD not in daemon.tail()


@dataclass(frozen=True, slots=True)
class Member:
    """What the daemon does with the broker, step by step."""

    broker: KafkaBroker
    door: KafkaBroker  # of the first stage of a repartitioned input
    outbox: KafkaBroker  # of a receiver of alerts
    config: Config
    prefix: str

    def prepare(self) -> None:
        """Create or check the topics."""
        assembly.prepare_topics(self.config, self.broker)

    def write_anew(self) -> None:
        """Do what the first stage does."""
        with (
            closing(self.door.source(self.config.input.topics)) as source,
            closing(self.door.writer(first_stage.identity(self.config))) as writer,
        ):
            self._take_part(source)
            writer.open()
            records = [Outgoing(f"{self.prefix}input", 0, None, b"v")]
            writer.commit(records, {TopicPartition(f"{self.prefix}metrics", 0): 0}, source.membership())

    def join(self) -> None:
        """Become a member of the group, and read."""
        with closing(self.broker.source(self.config.input.topics)) as source:
            self._take_part(source)

    def deliver(self) -> None:
        """Read the alerts as a receiver of them."""
        with closing(self.outbox.source([f"{self.prefix}alerts"])) as source:
            self._take_part(source)

    def _take_part(self, source: KafkaSource) -> None:
        give_up, assigned = time.monotonic() + WAIT_SECONDS, False
        while not assigned:
            assert time.monotonic() < give_up, "nothing was assigned"
            for partition in source.poll(10, 0.1).assigned:
                assigned = True
                source.committed(partition)
                source.resume_at(partition, 0)
        source.poll(10, 1.0)

    def restore(self) -> None:
        """Read the state."""
        self._read("state")

    def read_again(self) -> None:
        """Read what the first stage wrote."""
        self._read("input")

    def look(self) -> None:
        """Read the models."""
        self._read("models")

    def commit(self) -> None:
        """Write what a turn writes."""
        names = [name for name in OWN if name != "models"]
        records = [Outgoing(f"{self.prefix}{name}", 0, b"k", b"v") for name in names]
        with (
            closing(self.broker.source(self.config.input.topics)) as source,
            closing(self.broker.writer(assembly.identity(self.config))) as writer,
        ):
            self._take_part(source)
            writer.open()
            writer.commit(records, {TopicPartition(f"{self.prefix}metrics", 0): 0}, source.membership())

    def grow(self) -> None:
        """Create a topic."""
        self.broker.ensure(TopicSpec(f"{self.prefix}fresh", 1, compacted=False))

    def teach(self) -> None:
        """Publish a model."""
        self.broker.publish([Outgoing(f"{self.prefix}models", 0, b"k", b"v")])

    def leave_out(self) -> None:
        """Read what alerts covered."""
        covered.by_alerts(self.broker, f"{self.prefix}alerts", "all")

    def _read(self, topic: str) -> None:
        with closing(self.broker.cursor(TopicPartition(f"{self.prefix}{topic}", 0), 0)) as cursor:
            cursor.fetch(10, 1.0)


# What is left out, what is granted in its place, at which step it is missed, and as what.
MISSED: dict[str, tuple[Grant, str | None, Callable[[Member], object], str]] = {
    "to describe the input": (("READ", "TOPIC", "metrics"), None, Member.prepare, "Describe on topic metrics"),
    "to read the input": (("READ", "TOPIC", "metrics"), "DESCRIBE", Member.join, "Read on topic metrics"),
    "to join the group": (("READ", "GROUP", "group"), None, Member.join, "Read on group group"),
    "to write as one": (("WRITE", "TRANSACTIONAL_ID", "group-*"), None, Member.commit, "Write on transactional-id "),
    "to read the state": (("READ", "TOPIC", "state"), None, Member.restore, "Read on topic state"),
    "to write the state": (("WRITE", "TOPIC", "state"), None, Member.commit, "Write on topic state"),
    "to read models": (("READ", "TOPIC", "models"), None, Member.look, "Read on topic models"),
    "to read alerts": (("READ", "TOPIC", "alerts"), None, Member.leave_out, "Read on topic alerts"),
    "to write models": (("WRITE", "TOPIC", "models"), None, Member.teach, "Write on topic models"),
    **{
        f"to write {name}": (("WRITE", "TOPIC", name), "DESCRIBE", Member.commit, f"Write on topic {name}")
        for name in ("alerts", "scores", "dead-letters")
    },
    **{
        f"to see the settings of {name}": (
            ("DESCRIBE_CONFIGS", "TOPIC", name),
            None,
            Member.prepare,
            f"DescribeConfigs on topic {name}",
        )
        for name in ("state", "models", "alerts", "input")
    },
    "to join the first stage's group": (
        ("READ", "GROUP", "group-repartition"),
        None,
        Member.write_anew,
        "Read on group group-repartition",
    ),
    "to join a receiver's group": (
        ("READ", "GROUP", "group-receiver-*"),
        None,
        Member.deliver,
        "Read on group group-receiver-hook",
    ),
    "to write the input anew": (("WRITE", "TOPIC", "input"), "DESCRIBE", Member.write_anew, "Write on topic input"),
    "to read it again": (("READ", "TOPIC", "input"), None, Member.read_again, "Read on topic input"),
    "to create a topic": (("CREATE", "TOPIC", "fresh"), "WRITE", Member.grow, "Create on topic fresh"),
}


@pytest.fixture(scope="module")
def member(guarded: Guarded) -> Iterator[Member]:
    """A member whose topics exist and who has every right that is listed."""
    prefix = f"{uuid.uuid4().hex[:10]}-"
    told = settings("127.0.0.1:1", prefix)
    told["input"] |= {"repartition": True, "repartition_topic": f"{prefix}input"}
    config = loads(json.dumps(told), "settings", {})
    owner = KafkaBroker(guarded.settings("LOGIN", guarded.login()))
    owner.ensure(TopicSpec(f"{prefix}metrics", 1, compacted=False))
    assembly.prepare_topics(config, owner)
    owner.publish([Outgoing(f"{prefix}metrics", 0, b"k", b"v")])
    owner.close()
    guarded.grant(LIMITED, listed(prefix))
    broker = KafkaBroker(guarded.settings("LOGIN", guarded.login(user=LIMITED), f"{prefix}group"))
    door = KafkaBroker(guarded.settings("LOGIN", guarded.login(user=LIMITED), f"{prefix}group-repartition"))
    outbox = KafkaBroker(guarded.settings("LOGIN", guarded.login(user=LIMITED), f"{prefix}group-receiver-hook"))
    yield Member(broker, door, outbox, config, prefix)
    for each in (broker, door, outbox):
        each.close()


def test_a_member_with_the_listed_rights_misses_none(member: Member) -> None:
    steps = (member.prepare, member.write_anew, member.read_again, member.restore, member.look, member.commit)
    for step in (*steps, member.deliver):
        step()
    for step in (member.teach, member.leave_out):
        step()


@pytest.mark.parametrize("what", MISSED)
def test_each_right_that_is_missing_is_named(guarded: Guarded, member: Member, what: str) -> None:
    (operation, kind, name), instead, step, missed = MISSED[what]
    without = [] if name == "fresh" else [(operation, kind, f"{member.prefix}{name}")]
    given = [] if instead is None else [(instead, kind, f"{member.prefix}{name}")]
    guarded.revoke(LIMITED, without)
    guarded.grant(LIMITED, given)
    try:
        words = missed.split(" ")
        named = " ".join([*words[:-1], f"{member.prefix}{words[-1]}"])
        with pytest.raises(ConfigError, match=re.escape(f"this user lacks the right {named}")) as caught:
            step(member)
        assert f"--operation {words[0]} --{words[2]} {member.prefix}" in str(caught.value)
    finally:
        guarded.revoke(LIMITED, given)
        guarded.grant(LIMITED, without)
