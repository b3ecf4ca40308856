"""Each thing that an API server refuses, and that it says where."""

from __future__ import annotations

import copy
import re
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from typing import Any

import pytest

from spillway.contracts.quantities import parse_quantity
from spillway.twin.kubernetes.helm import RELEASE
from spillway.twin.kubernetes.standin import KubernetesStandIn
from spillway.twin.provider import StandInError
from tests.support.twin_server import Driver
from tests.support.waiting import eventually

from .conftest import deployment
from .test_standin import samples

POD = ("spec", "template", "spec")
CONTAINER = (*POD, "containers", 0)
HPA = "kubernetes:autoscaling/v2:HorizontalPodAutoscaler"


def put(manifest: dict[str, Any], path: tuple[Any, ...], value: Any) -> dict[str, Any]:
    result = copy.deepcopy(manifest)
    place = result
    for key in path[:-1]:
        place = place.setdefault(key, {}) if isinstance(place, dict) else place[key]
    place[path[-1]] = value
    return result


GPU = "gpu.googleapis.com/utilization"
RESOURCE_METRIC = {
    "type": "Resource",
    "resource": {"name": GPU, "target": {"type": "Utilization", "averageUtilization": 80}},
}


@pytest.mark.parametrize(
    ("type_", "path", "value", "told"),
    [
        ("apps/v1:Deployment", ("metadata", "name"), "Web_1", "metadata.name: 'Web_1' must be a DNS-1123 subdomain"),
        ("apps/v1:Deployment", ("metadata", "labels"), {"a b": "c"}, "metadata.labels: key 'a b'"),
        ("apps/v1:Deployment", ("metadata", "labels"), {"a": "b c"}, "metadata.labels.a: 'b c'"),
        ("apps/v1:Deployment", ("metadata", "labels"), {"a": 1}, "metadata.labels.a: must be string, is integer"),
        ("apps/v1:Deployment", ("spec", "replica"), 2, "spec.replica: unknown field"),
        ("apps/v1:Deployment", ("spec", "replicas"), "2", "spec.replicas: must be integer, is string"),
        ("apps/v1:Deployment", ("spec", "replicas"), -1, "spec.replicas: must be greater than or equal to 0"),
        ("apps/v1:Deployment", ("spec", "selector"), {"matchLabels": {"x": "y"}}, "`selector` does not match template"),
        ("apps/v1:Deployment", ("spec", "selector"), {}, "spec.selector: must not be empty"),
        ("apps/v1:Deployment", ("spec", "strategy"), {"type": "Blue"}, "spec.strategy.type: 'Blue' must be one of"),
        ("apps/v1:Deployment", (*POD, "containers"), [], "spec.template.spec.containers: required"),
        ("apps/v1:Deployment", (*POD, "restartPolicy"), "Never", "restartPolicy: 'Never' must be one of Always"),
        ("apps/v1:Deployment", (*CONTAINER, "imagePullPolicy"), "Sometimes", "imagePullPolicy: 'Sometimes'"),
        ("apps/v1:Deployment", (*CONTAINER, "name"), "W", "containers[0].name: 'W' must be a DNS-1123 label"),
        ("apps/v1:Deployment", (*CONTAINER, "ports"), [{"containerPort": 70000}], "containerPort: must be in 1-65535"),
        ("apps/v1:Deployment", (*CONTAINER, "volumeMounts"), [{"name": "v", "mountPath": "/v"}], "names no volume"),
        ("apps/v1:Deployment", (*CONTAINER, "resources"), {"limits": {"cpu": "two"}}, "limits.cpu: quantities must be"),
        (
            "apps/v1:Deployment",
            (*CONTAINER, "resources"),
            {"requests": {"cpu": "2"}, "limits": {"cpu": "1"}},
            "requests.cpu: must be less than or equal to the cpu limit",
        ),
        (
            "apps/v1:Deployment",
            (*CONTAINER, "resources"),
            {"requests": {"nvidia.com/gpu": 1}},
            "limits.nvidia.com/gpu: required",
        ),
        ("apps/v1:Deployment", (*CONTAINER, "resources"), {"limits": {"nvidia.com/gpu": "500m"}}, "must be an integer"),
        ("apps/v1:Deployment", (*CONTAINER, "livenessProbe"), {"periodSeconds": 1}, "must specify exactly one handler"),
        ("apps/v1:Deployment", (*POD, "volumes"), [{"name": "a", "emptyDir": {}, "secret": {}}], "exactly one source"),
        (
            "apps/v1:Deployment",
            (*CONTAINER, "env"),
            [{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "metadata.resourceVersion"}}}],
            "env[0].valueFrom.fieldRef.fieldPath: 'metadata.resourceVersion' is no field",
        ),
        ("core/v1:Service", ("spec", "ports"), [{"port": 1}, {"port": 2}], "required when there are several ports"),
        ("core/v1:Service", ("spec", "type"), "Balancer", "spec.type: 'Balancer' must be one of"),
        ("core/v1:Service", ("metadata", "name"), "1web", "must be a DNS-1035 label"),
        ("core/v1:ConfigMap", ("data",), {"a/b": "c"}, "data: key 'a/b'"),
        ("core/v1:ConfigMap", ("data",), {"a": "x" * 1024 * 1025}, "1 MiB"),
        ("core/v1:ResourceQuota", ("spec", "hard"), {"pods": "many"}, "spec.hard.pods: quantities must be"),
        (HPA[11:], ("spec", "metrics"), [RESOURCE_METRIC], f"'{GPU}': the resource metrics API"),
        (HPA[11:], ("spec", "minReplicas"), 9, "must be greater than or equal to min"),
        (HPA[11:], ("spec", "metrics"), [{"type": "Pods"}], "spec.metrics[0].pods: required"),
        (HPA[11:], ("spec", "metrics"), [{"type": "Gpu"}], "spec.metrics[0].type: 'Gpu' must be one of"),
        ("policy/v1:PodDisruptionBudget", ("spec", "maxUnavailable"), 1, "cannot both be set"),
        ("networking.k8s.io/v1:NetworkPolicy", ("spec", "policyTypes"), ["Both"], "'Both' must be Ingress or Egress"),
        (
            "networking.k8s.io/v1:NetworkPolicy",
            ("spec", "egress"),
            [{"to": [{"ipBlock": {"cidr": "10.0.0.0/16", "except": ["11.0.0.0/24"]}}]}],
            "must be a CIDR inside 10.0.0.0/16",
        ),
        ("batch/v1:CronJob", ("spec", "schedule"), "often", "spec.schedule: 'often' must be five cron fields"),
        ("scheduling.k8s.io/v1:PriorityClass", ("value",), 2_000_000_000, "must not be above 1000000000"),
        ("rbac.authorization.k8s.io/v1:RoleBinding", ("roleRef", "kind"), "User", "roleRef.kind: 'User' must be"),
        ("core/v1:PersistentVolumeClaim", ("spec", "accessModes"), ["RWO"], "'RWO' must be one of"),
        ("monitoring.coreos.com/v1:PrometheusRule", ("spec", "group"), [], "spec.group: unknown field"),
        (
            "monitoring.coreos.com/v1:PrometheusRule",
            ("spec", "groups"),
            [{"name": "g", "rules": [{"alert": "a", "expr": "x", "for": "soon"}]}],
            "spec.groups[0].rules[0].for: breaks pattern",
        ),
        ("keda.sh/v1alpha1:ScaledObject", ("spec", "triggers"), [{"type": "cron"}], "triggers[0].metadata: required"),
        ("keda.sh/v1alpha1:ScaledObject", ("spec", "minReplicaCount"), 101, "spec: minReplicaCount must be less than"),
    ],
)  # fmt: skip
def test_a_wrong_object_is_refused_where_it_is_wrong(
    driver: Driver, namespace: str, type_: str, path: tuple[Any, ...], value: Any, told: str
) -> None:
    token = f"kubernetes:{type_}"
    good = samples(namespace)[token]
    assert driver.failures(token, good) == []
    found = driver.failures(token, put(good, path, value))
    assert any(told in failure for failure in found), found
    # The server refuses it too, for clients that do not come through the stand-in.
    checked = driver.stand_in.check("urn::x", token, None, put(good, path, value), b"")
    with pytest.raises(StandInError, match="is invalid"):
        driver.stand_in.create("urn::x", token, checked.inputs)


def test_the_namespace_must_exist(driver: Driver) -> None:
    with pytest.raises(StandInError, match='namespaces "nowhere" not found'):
        driver.create("kubernetes:apps/v1:Deployment", "web", deployment("nowhere"))


def impatient(endpoint: str) -> Driver:
    return Driver(KubernetesStandIn(endpoint, patience_s=0.2))


TLS = {"volumes": [{"name": "tls", "secret": {"secretName": "gateway-tls"}}]}


def with_pod(manifest: dict[str, Any], pod: dict[str, Any]) -> dict[str, Any]:
    return put(manifest, POD, {**manifest["spec"]["template"]["spec"], **pod})


@pytest.mark.parametrize(
    ("pod", "container", "told"),
    [
        (TLS, {}, r'MountVolume.SetUp failed for volume "tls": secret "gateway-tls" not found'),
        ({"volumes": [{"name": "c", "configMap": {"name": "routes"}}]}, {}, 'configmap "routes" not found'),
        (
            {"volumes": [{"name": "p", "projected": {"sources": [{"secret": {"name": "keys"}}]}}]},
            {},
            'secret "keys" not found',
        ),
        ({}, {"envFrom": [{"secretRef": {"name": "keys"}}]}, 'CreateContainerConfigError: secret "keys" not found'),
        (
            {},
            {"env": [{"name": "K", "valueFrom": {"secretKeyRef": {"name": "keys", "key": "k"}}}]},
            'secret "keys" not found',
        ),
        ({"serviceAccountName": "gateway"}, {}, 'serviceaccount "gateway" not found'),
    ],
)
def test_pods_wait_for_what_they_need(
    endpoint: str, namespace: str, pod: dict[str, Any], container: dict[str, Any], told: str
) -> None:
    """https://kubernetes.io/docs/concepts/configuration/secret/: if the Secret cannot be fetched, the kubelet retries,
    and the pod does not start."""
    wanted = with_pod(deployment(namespace, "web", **container), pod)
    with pytest.raises(StandInError, match=rf"timed out waiting to be Ready: .*{re.escape(told)}"):
        impatient(endpoint).create("kubernetes:apps/v1:Deployment", "web", wanted)


def test_an_optional_secret_is_not_waited_for(driver: Driver, namespace: str) -> None:
    optional = {"volumes": [{"name": "tls", "secret": {"secretName": "gateway-tls", "optional": True}}]}
    driver.create("kubernetes:apps/v1:Deployment", "web", with_pod(deployment(namespace), optional))


def test_a_secret_that_comes_later_starts_the_pods(driver: Driver, namespace: str) -> None:
    """The kubelet tries again, and Pulumi waits meanwhile: a plan need not say which comes first."""
    secret = {"metadata": {"name": "gateway-tls", "namespace": namespace}, "stringData": {"tls.crt": "x"}}
    wanted = with_pod(deployment(namespace), TLS)
    with ThreadPoolExecutor(1) as other:
        made = other.submit(driver.create, "kubernetes:apps/v1:Deployment", "web", wanted)
        eventually(lambda: live(driver, "apps/v1:Deployment", namespace, "web")["status"]["readyReplicas"] == 0)
        driver.create("kubernetes:core/v1:Secret", "tls", secret)
        assert made.result(10).outputs["status"]["readyReplicas"] == 2


def live(driver: Driver, type_: str, namespace: str, name: str) -> dict[str, Any]:
    found = driver.stand_in.read(f"kubernetes:{type_}", f"{namespace}/{name}", None)
    return found.outputs if found else {"status": {"readyReplicas": None}}


CONTROLLER = {
    "chart": "aws-load-balancer-controller",
    "version": "1.14.0",
    "repositoryOpts": {"repo": "https://aws.github.io/eks-charts"},
}


def left_to_the_controller(namespace: str) -> dict[str, Any]:
    return {
        "metadata": {
            "name": "gateway",
            "namespace": namespace,
            "annotations": {"service.beta.kubernetes.io/aws-load-balancer-type": "external"},
        },
        "spec": {"type": "LoadBalancer", "selector": {"app": "web"}, "ports": [{"port": 443}]},
    }


def test_a_service_that_is_left_to_a_controller_gets_no_address_without_it(endpoint: str, namespace: str) -> None:
    """https://kubernetes-sigs.github.io/aws-load-balancer-controller/latest/guide/service/nlb/: with the annotation the
    in-tree controller leaves the Service to the AWS Load Balancer Controller."""
    driver, service = impatient(endpoint), "kubernetes:core/v1:Service"
    told = r"Service was not allocated an IP address: aws-load-balancer-controller, .* is not in the cluster"
    with pytest.raises(StandInError, match=told):
        driver.create(service, "gateway", left_to_the_controller(namespace))
    in_tree = left_to_the_controller(namespace)
    in_tree["metadata"] = {"name": "legacy", "namespace": namespace}
    assert driver.create(service, "legacy", in_tree).outputs["status"]["loadBalancer"]["ingress"]

    release = {**CONTROLLER, "namespace": namespace, "name": "balancers"}
    controller = driver.create("kubernetes:helm.sh/v3:Release", "balancers", release)
    made = driver.create(service, "gateway", left_to_the_controller(namespace))
    assert made.outputs["status"]["loadBalancer"]["ingress"][0]["hostname"]
    driver.stand_in.delete(driver.urn(RELEASE, "balancers"), RELEASE, controller)


def secured(namespace: str, level: str, driver: Driver) -> None:
    labels = {"pod-security.kubernetes.io/enforce": level}
    inputs = {"metadata": {"name": namespace, "labels": labels}}
    driver.create("kubernetes:core/v1:Namespace", f"{namespace}-ns", inputs)


RESTRICTED = {
    "allowPrivilegeEscalation": False,
    "runAsNonRoot": True,
    "seccompProfile": {"type": "RuntimeDefault"},
    "capabilities": {"drop": ["ALL"]},
}


@pytest.mark.parametrize(
    ("edit", "told"),
    [
        ({"securityContext": {**RESTRICTED, "allowPrivilegeEscalation": True}}, "allowPrivilegeEscalation != false"),
        ({"securityContext": {**RESTRICTED, "runAsNonRoot": False}}, "runAsNonRoot != true"),
        ({"securityContext": {**RESTRICTED, "capabilities": {}}}, "unrestricted capabilities"),
        ({"securityContext": {k: v for k, v in RESTRICTED.items() if k != "seccompProfile"}}, "seccompProfile"),
        ({"securityContext": {**RESTRICTED, "runAsUser": 0}}, "runAsUser=0"),
        ({"securityContext": {"privileged": True}}, "privileged"),
    ],
)
def test_pod_security_restricted(driver: Driver, edit: dict[str, Any], told: str) -> None:
    if driver.stand_in.read("kubernetes:core/v1:Namespace", "tight", None) is None:
        secured("tight", "restricted", driver)
    with pytest.raises(StandInError, match=rf'violates PodSecurity "restricted:latest": .*{told}'):
        driver.create("kubernetes:apps/v1:Deployment", "bad", deployment("tight", "bad", **edit))
    good = driver.create(
        "kubernetes:apps/v1:Deployment", "good", deployment("tight", "good", securityContext=RESTRICTED)
    )
    assert good.outputs["status"]["readyReplicas"] == 2


def test_pod_security_baseline(driver: Driver) -> None:
    secured("base", "baseline", driver)
    driver.create("kubernetes:apps/v1:Deployment", "plain", deployment("base", "plain"))
    host = put(deployment("base", "host"), (*POD, "hostNetwork"), True)
    host = put(host, (*POD, "volumes"), [{"name": "root", "hostPath": {"path": "/"}}])
    with pytest.raises(StandInError, match=r"host namespaces .*hostPath volumes"):
        driver.create("kubernetes:apps/v1:Deployment", "host", host)


def test_quotas_count_the_pods_a_workload_asks_for(driver: Driver, namespace: str) -> None:
    quota = {
        "metadata": {"name": "quota", "namespace": namespace},
        "spec": {"hard": {"pods": "3", "requests.cpu": "1"}},
    }
    driver.create("kubernetes:core/v1:ResourceQuota", "quota", quota)
    with pytest.raises(StandInError, match=r"failed quota: quota: must specify requests.cpu"):
        driver.create("kubernetes:apps/v1:Deployment", "web", deployment(namespace))
    small: dict[str, Any] = {"resources": {"requests": {"cpu": "100m"}}}
    driver.create("kubernetes:apps/v1:Deployment", "web", deployment(namespace, **small))
    told = r"exceeded quota: quota, requested: pods=2, used: pods=2, limited: pods=3"
    with pytest.raises(StandInError, match=told):
        driver.create("kubernetes:apps/v1:Deployment", "more", deployment(namespace, "more", **small))
    live = driver.stand_in.read("kubernetes:core/v1:ResourceQuota", f"{namespace}/quota", None)
    assert live is not None
    assert live.outputs["status"]["used"] == {"pods": "2", "requests.cpu": "200m"}


def test_groups_count_with_all_their_pods_and_each_is_judged(driver: Driver, namespace: str) -> None:
    hard = {"pods": "5", "requests.nvidia.com/gpu": "32"}
    quota = {"metadata": {"name": "quota", "namespace": namespace}, "spec": {"hard": hard}}
    driver.create("kubernetes:core/v1:ResourceQuota", "quota", quota)
    eight: dict[str, Any] = {"resources": {"limits": {"nvidia.com/gpu": "8"}}}
    pod = deployment(namespace, **eight)["spec"]["template"]
    templates = {"leaderTemplate": pod, "workerTemplate": pod}
    group = {
        "metadata": {"name": "server", "namespace": namespace},
        "spec": {"replicas": 2, "leaderWorkerTemplate": {"size": 2, **templates}},
    }
    kind = "kubernetes:leaderworkerset.x-k8s.io/v1:LeaderWorkerSet"
    driver.create(kind, "server", group)
    live = driver.stand_in.read("kubernetes:core/v1:ResourceQuota", f"{namespace}/quota", None)
    assert live is not None
    assert live.outputs["status"]["used"] == {"pods": "4", "requests.nvidia.com/gpu": "32"}
    second = {**group, "metadata": {"name": "second", "namespace": namespace}}
    with pytest.raises(StandInError, match="exceeded quota: quota, requested: pods=4, used: pods=4, limited: pods=5"):
        driver.create(kind, "second", second)
    broken = copy.deepcopy(second)
    broken["spec"]["leaderWorkerTemplate"]["workerTemplate"] = copy.deepcopy(pod)
    broken["spec"]["leaderWorkerTemplate"]["workerTemplate"]["spec"]["containers"][0]["ports"] = [{"containerPort": 0}]
    checked = driver.stand_in.check("urn", kind, None, broken, b"")
    ports = "spec.containers[0].ports[0].containerPort"
    assert [failure.path for failure in checked.failures] == [f"spec.leaderWorkerTemplate.workerTemplate.{ports}"]


@pytest.mark.parametrize(
    ("text", "value"), [("500m", "0.5"), ("2Gi", str(2**31)), ("1e3", "1000"), (4, "4"), ("1.5", "1.5")]
)
def test_quantities(text: Any, value: str) -> None:
    assert parse_quantity(text) == Decimal(value)


@pytest.mark.parametrize("wrong", ["", "1 Gi", "Gi", "1gb", True, "--1"])
def test_wrong_quantities(wrong: Any) -> None:
    with pytest.raises(ValueError, match="quantities must be"):
        parse_quantity(wrong)
