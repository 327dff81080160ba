"""A right that an administrator takes away while a member of the group is at work."""

from __future__ import annotations

from contextlib import closing

import pytest

from daemon.errors import ConfigError
from daemon.kafka import KafkaBroker
from daemon.types import Outgoing, TopicPartition, TopicSpec

from .guarded import LIMITED, Grant, Guarded
from .test_source import Member, settle

pytestmark = pytest.mark.broker


@pytest.fixture
def rights(topic_prefix: str) -> list[Grant]:
    """What a member needs; the names that begin with the test's prefix are its own."""
    names = f"{topic_prefix}*"
    return [
        ("READ", "TOPIC", names),
        ("WRITE", "TOPIC", names),
        ("DESCRIBE", "TOPIC", names),
        ("READ", "GROUP", names),
        ("WRITE", "TRANSACTIONAL_ID", names),
        ("DESCRIBE", "TRANSACTIONAL_ID", names),
    ]


@pytest.mark.parametrize("lost", ["READ", "WRITE"])
def test_a_right_that_is_lost_while_running_ends_us_with_the_topics_name_and_nothing_is_skipped(
    guarded: Guarded, rights: list[Grant], topic_prefix: str, lost: str
) -> None:
    name = f"{topic_prefix}in"
    settings = guarded.settings("LOGIN", guarded.login(user=LIMITED), group=f"{topic_prefix}group")
    guarded.grant(LIMITED, rights)
    everything = guarded.settings("LOGIN", guarded.login())
    with closing(KafkaBroker(everything)) as owner, closing(KafkaBroker(settings)) as broker:
        owner.ensure(TopicSpec(name, 1, compacted=False))
        owner.publish([Outgoing(name, 0, None, b"0")])
        member, writer, partition = Member(broker.source([name])), broker.writer(name), TopicPartition(name, 0)
        settle([member], [1])
        member.source.resume_at(partition, 0)
        writer.open()
        while not member.values:
            member.poll()
        writer.commit([], {partition: 1}, member.source.membership())
        guarded.revoke(LIMITED, [(lost, "TOPIC", f"{topic_prefix}*")])
        owner.publish([Outgoing(name, 0, None, b"1")])
        with pytest.raises(ConfigError, match=name):
            for _ in range(100):
                member.poll()
                writer.commit([Outgoing(name, 0, None, b"told")], {partition: 2}, member.source.membership())
        guarded.grant(LIMITED, [(lost, "TOPIC", f"{topic_prefix}*")])
        assert member.source.committed(partition) == 1
