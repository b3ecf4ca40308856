"""Every object of six stacks through a real API server: strict, under Pod Security, quotas and priorities."""

from __future__ import annotations

from typing import Final

import pytest

from spillway.twin.kubernetes.real.control_plane import ControlPlane
from stacks.cluster_access import opened
from stacks.preconditions import CONTROLLERS, findings, needs
from stacks.stack_file import parse_settings
from stacks.support import ClusterKind
from tests.kubernetes.cluster import Cluster
from tests.kubernetes.stacks import STACKS, Planned, planned
from tests.stacks.files import changed, example, flat

KINDS: Final[dict[str, ClusterKind]] = {
    "local": "existing",
    "dev": "aks",
    "prod": "eks",
    "amd": "aks",
    "vllm": "eks",
    "group": "eks",
    "existing": "existing",
}


@pytest.mark.parametrize("name", STACKS)
def test_a_stack_is_accepted_without_a_warning_and_once(cluster: Cluster, name: str) -> None:
    stack = planned(name)
    first = cluster.put(stack)
    assert cluster.api.taken_warnings() == []

    second = cluster.put(stack)

    # An apply that changes something makes another generation of the object; `status` is the controllers'.
    assert [settled(one) for one in second] == [settled(one) for one in first]
    assert cluster.api.taken_warnings() == []
    assert unserved(stack, KINDS[name]) == []


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


def test_a_bare_cluster_is_told_what_it_lacks(cluster: Cluster, control_plane: ControlPlane) -> None:
    """As `spillway doctor` and `deploy` ask, before anything is made."""
    begun, _, changes = STACKS["existing"]
    settings = parse_settings(flat(changed(example(begun), changes)))
    with opened(control_plane.kubeconfig.read_text()) as access:
        lacking = {one.what for one in findings(settings, "s-existing-test", access) if one.certain}
    assert lacking == {"metrics.k8s.io"}


def unserved(stack: Planned, kind: ClusterKind) -> list[tuple[str, str]]:
    """Objects without a controller that the stack brings, the cloud has, or somebody else's cluster is asked for."""
    there = {"provider", "add-on", "checked", *stack.releases}
    serving = {one.serves: one.of(kind).split(" or ") for one in CONTROLLERS}
    wanted = {(thing["kind"], need) for thing in stack.objects for need in needs(thing)}
    return sorted((what, need) for what, need in wanted if not there & set(serving.get(need, ())))


def settled(thing: dict[str, object]) -> dict[str, object]:
    """What an apply decides of an object."""
    metadata = thing["metadata"]
    assert isinstance(metadata, dict)
    kept = {key: metadata.get(key) for key in ("name", "namespace", "uid", "generation", "labels")}
    return {"metadata": kept, **{key: value for key, value in thing.items() if key not in ("metadata", "status")}}
