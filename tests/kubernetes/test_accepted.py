"""Every object of six stacks through a real API server: strict, under Pod Security, quotas and priorities."""

from __future__ import annotations

import pytest

from tests.kubernetes.cluster import Cluster
from tests.kubernetes.stacks import STACKS, planned


@pytest.mark.parametrize("name", STACKS)
def test_a_stack_is_accepted_without_a_warning_and_once(cluster: Cluster, name: str) -> None:
    stack = planned(name)
    first = cluster.put(stack)
    assert cluster.api.taken_warnings() == []

    second = cluster.put(stack)

    # An apply that changes something makes another generation of the object; `status` is the controllers'.
    assert [settled(one) for one in second] == [settled(one) for one in first]
    assert cluster.api.taken_warnings() == []


def test_two_stacks_on_one_cluster_do_not_meet(cluster: Cluster) -> None:
    one, other = planned("local"), planned("existing")
    paths = {stack.prefix: {cluster.api.path(thing) for thing in stack.objects} for stack in (one, other)}
    assert not set.intersection(*paths.values())

    cluster.put(one)
    before = {path: settled(cluster.api.call("GET", path)) for path in paths[one.prefix]}
    cluster.put(other)
    for thing in reversed(other.objects):
        cluster.api.delete(cluster.api.path(thing))

    assert {path: settled(cluster.api.call("GET", path)) for path in before} == before


def test_a_deleted_stack_leaves_nothing(cluster: Cluster) -> None:
    stack = planned("existing")
    cluster.put(stack)
    cluster.take_away(stack)

    for thing in stack.objects:
        assert cluster.api.get(cluster.api.path(thing)) is None


def settled(thing: dict[str, object]) -> dict[str, object]:
    """What an apply decides of an object."""
    metadata = thing["metadata"]
    assert isinstance(metadata, dict)
    kept = {key: metadata.get(key) for key in ("name", "namespace", "uid", "generation", "labels")}
    return {"metadata": kept, **{key: value for key, value in thing.items() if key not in ("metadata", "status")}}
