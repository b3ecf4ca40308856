"""Releases on the real controllers: tried beside the one that serves, promoted, and taken back, on a full GPU pool."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from spillway.twin.kubernetes.real import nodes
from tests.kubernetes.cluster import Cluster, is_going, is_ready
from tests.kubernetes.stacks import STACKS, Planned, S, made_once, plan
from tests.kubernetes.test_scheduling import scale
from tests.support.packages import SLOTS, small_package

Object = dict[str, Any]
EIGHT_MINUTES = 480
GPUS = 16
DIGEST = "spillway.dev/package-sha256"
CANARY = "model-server-canary"


def releases() -> tuple[Planned, Planned, Planned]:
    """One stack three times: as it serves, with the next release on trial, and with that one promoted."""
    return made_once("rollout", _releases)


def _releases() -> tuple[Planned, Planned, Planned]:
    begun, kind, changes = STACKS["existing"]
    trial = {**changes, f"{S}model_server.autoscaling": {"min_replicas": 2, "max_replicas": GPUS - 1}}
    with TemporaryDirectory() as folder:
        package, release = (small_package(Path(folder) / str(slots), slots=slots) for slots in (SLOTS, SLOTS + 1))
        canary = {f"{S}model_server.canary": {"package": str(release), "percent": 5}}
        return (
            plan(begun, kind, changes, "rollout", package),
            plan(begun, kind, {**trial, **canary}, "rollout", package),
            plan(begun, kind, changes, "rollout", release),
        )


@pytest.fixture
def full(cluster: Cluster) -> Cluster:
    """Sixteen GPUs, and sixteen servers on them."""
    serves, _, _ = releases()
    cluster.add_nodes(nodes.H100, 2, "gpu")
    cluster.put(serves)
    scale(cluster, serves, GPUS)
    cluster.until_ready(serves, GPUS)
    return cluster


def test_a_release_is_tried_promoted_and_taken_back_on_a_full_pool(full: Cluster) -> None:
    """Never more than one of sixteen GPUs idle, whatever is done."""
    serves, trial, promoted = releases()
    home = full.home(serves)
    old, new = digest(serves), digest(promoted)
    fewest = GPUS

    def serving(found: list[Object], **wanted: int) -> bool:
        nonlocal fewest
        there = [pod["metadata"]["annotations"][DIGEST] for pod in found if is_ready(pod) and not is_going(pod)]
        fewest = min(fewest, len(there))
        names = {"old": old, "new": new}
        return {names[name]: count for name, count in wanted.items() if count} == tally(there)

    # One server makes way: the autoscaler may have fifteen, so the trial finds a GPU.
    keep_replicas(full, trial)
    full.api.until(home, lambda found: serving(found, old=15, new=1), 120, "fifteen serve and one tries")
    assert [pod["metadata"]["annotations"][DIGEST] for pod in full.pods(trial, CANARY)] == [new]

    keep_replicas(full, promoted)
    remove(full, trial, promoted)
    scale(full, promoted, GPUS)
    full.api.until(home, lambda found: serving(found, old=0, new=GPUS), 120, "all sixteen are new")

    started = time.monotonic()
    keep_replicas(full, serves)
    full.api.until(home, lambda found: serving(found, old=GPUS, new=0), EIGHT_MINUTES, "all sixteen are old again")
    assert time.monotonic() - started < EIGHT_MINUTES
    # One goes for the trial, and one at a time in an update.
    assert fewest >= GPUS - 2


def test_a_release_that_never_starts_costs_one_server_and_is_taken_back(full: Cluster) -> None:
    """Its pods wait for ever, as where an image cannot be pulled."""
    serves, _, promoted = releases()
    bad = broken(promoted)
    fewest = GPUS

    def stands(found: list[Object], count: int, waits: int) -> bool:
        nonlocal fewest
        ready = [pod for pod in found if is_ready(pod) and not is_going(pod)]
        fewest = min(fewest, len(ready))
        return len(ready) == count and len(found) - len(ready) == waits

    home = full.home(serves)
    keep_replicas(full, bad)
    full.api.until(home, lambda found: stands(found, GPUS - 1, 1), 60, "one waits, and the others serve on")

    started = time.monotonic()
    keep_replicas(full, serves)
    full.api.until(home, lambda found: stands(found, GPUS, 0), EIGHT_MINUTES, "all sixteen serve")
    assert time.monotonic() - started < EIGHT_MINUTES
    assert fewest == GPUS - 1
    assert {pod["metadata"]["annotations"][DIGEST] for pod in full.pods(serves)} == {digest(serves)}


def digest(stack: Planned) -> str:
    return stack.one("Deployment", "model-server")["spec"]["template"]["metadata"]["annotations"][DIGEST]


def tally(values: list[str]) -> dict[str, int]:
    return {value: values.count(value) for value in set(values)}


def broken(stack: Planned) -> Planned:
    """The stack with servers that no node may start."""

    def changed(thing: Object) -> Object:
        if (thing["kind"], thing["metadata"]["name"]) != ("Deployment", "model-server"):
            return thing
        template = thing["spec"]["template"]
        gated = {**template["spec"], "schedulingGates": [{"name": "example.com/never"}]}
        return {**thing, "spec": {**thing["spec"], "template": {**template, "spec": gated}}}

    return Planned(stack.prefix, tuple(map(changed, stack.objects)), stack.releases)


def keep_replicas(cluster: Cluster, stack: Planned) -> None:
    """Apply it as an update: the number of servers is the autoscaler's, which Pulumi leaves alone."""
    live: Callable[[Object], Any] = lambda thing: (cluster.api.get(cluster.api.path(thing)) or thing)["spec"]  # noqa: E731
    objects = [
        {**one, "spec": {**one["spec"], "replicas": live(one)["replicas"]}}
        if (one["kind"], one["metadata"]["name"]) == ("Deployment", "model-server")
        else one
        for one in stack.objects
    ]
    cluster.put(objects)


def remove(cluster: Cluster, before: Planned, after: Planned) -> None:
    """What an update deletes at its end."""
    kept = {cluster.api.path(thing) for thing in after.objects}
    for thing in reversed(before.objects):
        if (path := cluster.api.path(thing)) not in kept:
            cluster.api.delete(path)
