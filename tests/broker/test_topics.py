"""Topics that were just created: in a cluster, not every broker has heard of them when the first one answers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing

import pytest
from kafka.errors import UnknownTopicOrPartitionError

from daemon.errors import BrokerUnavailable
from daemon.kafka import ConnectionSettings, client, topics
from daemon.types import TopicSpec

pytestmark = pytest.mark.broker


class Late:
    """A client of the cluster that is told of a topic only after so many questions of each kind."""

    def __init__(self, admin: client.Admin, questions: int) -> None:
        self._admin, self._questions = admin, {"topics": questions, "configs": questions}

    def describe_topics(self, topics: Sequence[str]) -> Sequence[Mapping[str, object]]:
        if self._heard("topics"):
            return self._admin.describe_topics(topics)
        return [{"error_code": UnknownTopicOrPartitionError.errno}]

    def describe_configs(
        self, config_resources: Sequence[object], *, config_filter: str
    ) -> Mapping[str, Mapping[str, Mapping[str, Mapping[str, object]]]]:
        found = self._admin.describe_configs(config_resources, config_filter=config_filter)
        return found if self._heard("configs") else {"topic": {name: {} for name in found["topic"]}}

    def list_topics(self) -> Sequence[str]:
        return self._admin.list_topics()

    def create_topics(self, new_topics: Mapping[str, Mapping[str, object]], *, wait_for_metadata: bool) -> object:
        return self._admin.create_topics(new_topics, wait_for_metadata=wait_for_metadata)

    def create_partitions(self, topic_partitions: Mapping[str, int]) -> object:
        raise AssertionError(topic_partitions)

    def close(self) -> None:
        self._admin.close()

    def _heard(self, kind: str) -> bool:
        self._questions[kind] -= 1
        return self._questions[kind] < 0


@pytest.fixture
def admin(kafka_bootstrap: str) -> Iterator[client.Admin]:
    with closing(client.admin(ConnectionSettings((kafka_bootstrap,)))) as admin:
        yield admin


def test_a_topic_that_was_just_created_is_no_mismatch_while_a_broker_has_not_heard_of_it(
    admin: client.Admin, topic_prefix: str
) -> None:
    spec = TopicSpec(f"{topic_prefix}new", 3, compacted=True)
    topics.ensure(Late(admin, 4), spec, 1)
    assert topics.partitions(admin, spec.name) == 3


def test_a_topic_that_no_broker_hears_of_is_awaited_by_whoever_asked_for_it(
    admin: client.Admin, topic_prefix: str
) -> None:
    with pytest.raises(BrokerUnavailable, match="not every broker has heard of it"):
        topics.ensure(Late(admin, 10**6), TopicSpec(f"{topic_prefix}new", 3, compacted=True), 1)
