from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from policies.resources import Context
from spillway.contracts.resources import UNKNOWN, Resource
from stacks.stack_file import parse_settings, policy_context
from tests.policies.support import Case, check_case, found, resource
from tests.stacks.files import changed, example, flat

PINNED = "registry.example/server@sha256:" + "a" * 64
CONTAINER = {
    "image": PINNED,
    "resources": {"requests": {"cpu": "1", "memory": "1Gi"}, "limits": {"memory": "1Gi"}},
    "readinessProbe": {"tcpSocket": {"port": 80}},
    "livenessProbe": {"tcpSocket": {"port": 80}},
    "securityContext": {"allowPrivilegeEscalation": False, "runAsNonRoot": True},
}


def deployment(replicas: int = 1, pod: dict[str, Any] | None = None, **container: Any) -> Resource:
    template = {
        "metadata": {"labels": {"app": "server-app"}},
        "spec": {"containers": [{**CONTAINER, **container}], **(pod or {})},
    }
    metadata = {"name": "server", "namespace": "serving"}
    spec = {"replicas": replicas, "template": template}
    return resource("kubernetes:apps/v1:Deployment", metadata=metadata, spec=spec)


def budget(app: str, namespace: str = "serving") -> Resource:
    selector = {"matchLabels": {"app": app}}
    kind = "kubernetes:policy/v1:PodDisruptionBudget"
    return resource(kind, metadata={"namespace": namespace}, spec={"selector": selector})


def secured(**switches: Any) -> dict[str, Any]:
    return {**CONTAINER["securityContext"], **switches}  # pyright: ignore[reportGeneralTypeIssues]


def group(**worker: Any) -> Resource:
    """Two servers of two nodes each. A worker answers nobody, so it has no probes."""
    labels, unprobed = {"metadata": {"labels": {"app": "server-app"}}}, {**CONTAINER, **worker}
    for probe in ("readinessProbe", "livenessProbe"):
        unprobed.pop(probe)
    templates = {
        "leaderTemplate": {**labels, "spec": {"containers": [CONTAINER]}},
        "workerTemplate": {**labels, "spec": {"containers": [unprobed]}},
    }
    spec = {"replicas": 2, "leaderWorkerTemplate": {"size": 2, **templates}}
    kind = "kubernetes:leaderworkerset.x-k8s.io/v1:LeaderWorkerSet"
    return resource(kind, metadata={"name": "server-group", "namespace": "serving"}, spec=spec)


CASES = {
    "container-limits": Case([deployment()], [deployment(resources={"requests": {"cpu": "1"}})]),
    "container-probes": Case([deployment()], [deployment(livenessProbe=None)]),
    "disruption-budget": Case([deployment(3), budget("server-app")], [deployment(3), budget("other-app")]),
    "no-privileges": Case([deployment()], [deployment(securityContext=secured(privileged=True))]),
    "pinned-images": Case([deployment()], [deployment(image="registry.example/server:1.2")]),
    "no-latest-images": Case(
        [deployment(), deployment(image="registry.example:5000/server:1.2")], [deployment(image="rocm/server:latest")]
    ),
}


@pytest.mark.parametrize("policy", CASES)
def test_policy(policy: str) -> None:
    check_case(policy, CASES[policy])


@pytest.mark.parametrize(
    ("policy", "fault"),
    [
        ("container-limits", {"resources": {}}),
        ("no-privileges", {"securityContext": secured(privileged=True)}),
        ("pinned-images", {"image": "registry.example/server:1.2"}),
    ],
)
def test_the_workers_of_a_group_are_judged_as_its_leader_is(policy: str, fault: dict[str, Any]) -> None:
    check_case(policy, Case([group()], [group(**fault)]))


def test_a_group_needs_probes_of_its_leader_alone_and_a_budget() -> None:
    assert not found("container-probes", [group()]).violations
    check_case("disruption-budget", Case([group(), budget("server-app")], [group(), budget("other-app")]))


def test_one_pod_alone_needs_no_budget_and_an_autoscaler_makes_it_more() -> None:
    scaler = resource(
        "kubernetes:autoscaling/v2:HorizontalPodAutoscaler",
        spec={"minReplicas": 3, "scaleTargetRef": {"name": "server"}},
    )
    check_case("disruption-budget", Case([deployment(1)], [deployment(1), scaler]))


def test_a_budget_of_another_namespace_covers_nothing() -> None:
    check_case("disruption-budget", Case([], [deployment(2), budget("server-app", "elsewhere")]))


@pytest.mark.parametrize(
    "fault",
    [
        deployment(pod={"hostNetwork": True}),
        deployment(pod={"volumes": [{"hostPath": {"path": "/var/run"}}]}),
        deployment(securityContext=secured(allowPrivilegeEscalation=True)),
        deployment(securityContext=secured(runAsNonRoot=False)),
        deployment(securityContext=secured(capabilities={"add": ["NET_ADMIN"]})),
        deployment(pod={"initContainers": [{**CONTAINER, "securityContext": {"privileged": True}}]}),
    ],
)
def test_privileges(fault: Resource) -> None:
    check_case("no-privileges", Case([], [fault]))


def test_jobs_are_bounded_and_need_no_probes() -> None:
    bare = {"image": PINNED, "securityContext": CONTAINER["securityContext"]}
    template = {"spec": {"template": {"spec": {"containers": [bare]}}}}
    job = resource("kubernetes:batch/v1:CronJob", spec={"jobTemplate": template})
    assert found("container-probes", [job]).violations == ()
    check_case("container-limits", Case([], [job]))


def test_images_of_ecs_tasks_are_pinned_too() -> None:
    def task(image: str) -> Resource:
        definitions = json.dumps([{"image": image}])
        return resource("aws:ecs/taskDefinition:TaskDefinition", containerDefinitions=definitions)

    check_case("pinned-images", Case([task(PINNED)], [task("registry.example/server:1")]))


@pytest.mark.parametrize("image", ["server", "registry.example:5000/server", "rocm/device-plugin:labeller-latest"])
def test_an_image_without_a_tag_or_of_a_moving_one_is_refused(image: str) -> None:
    check_case("no-latest-images", Case([], [deployment(image=image)]))


@pytest.mark.parametrize("image", ["rocm/device-plugin:latest", {"repository": "rocm/device-plugin", "tag": "latest"}])
def test_values_of_a_chart_name_no_moving_image(image: Any) -> None:
    def release(given: Any) -> Resource:
        return resource("kubernetes:helm.sh/v3:Release", values={"operands": [{"image": given}]})

    right = {"repository": "rocm/device-plugin", "tag": "1.31.0.9"}
    check_case("no-latest-images", Case([release(right), release("rocm/device-plugin:1.31.0.9")], [release(image)]))


def test_an_image_without_a_digest_is_told_by_its_key() -> None:
    """What Spillway itself names is advised, so that a file of defaults is no dead end; and at a mirror, too."""
    config = changed(example("local"), {"spillway:connectivity.mirror.images": {"docker.io": "registry.example/hub"}})
    images = policy_context(parse_settings(flat(config)), Path()).images
    assert images["registry.example/hub/envoyproxy/envoy:distroless-v1.40.0"] == "spillway:gateway.image"
    assert images["nvcr.io/nvidia/tritonserver:24.10-py3"] == "spillway:model_server.triton_image"
    server = deployment(image="nvcr.io/nvidia/tritonserver:24.10-py3")
    (violation,) = found("pinned-images", [server], None, Context(images=images)).violations
    assert violation.level == "advisory"
    assert violation.finding.remedy.startswith("Write spillway:model_server.triton_image as `name@sha256")


def test_what_is_not_known_yet_passes() -> None:
    unknown = resource("kubernetes:apps/v1:Deployment", metadata=UNKNOWN, spec=UNKNOWN)
    for policy in CASES:
        assert found(policy, [unknown]).violations == ()
