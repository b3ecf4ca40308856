from __future__ import annotations

import copy
from typing import Any

import pytest

from spillway.twin.kubernetes.standin import KubernetesStandIn
from spillway.twin.provider import UNKNOWN, Secret, StandInError, UnknownTypeError
from tests.support.twin_server import Driver

from .conftest import deployment

DEPLOYMENT = "kubernetes:apps/v1:Deployment"
SERVICE = "kubernetes:core/v1:Service"
SECRET = "kubernetes:core/v1:Secret"
CONFIG_MAP = "kubernetes:core/v1:ConfigMap"
NAMESPACE = "kubernetes:core/v1:Namespace"
RELEASE = "kubernetes:helm.sh/v3:Release"
RULE = "kubernetes:monitoring.coreos.com/v1:PrometheusRule"
CRD = "kubernetes:apiextensions.k8s.io/v1:CustomResourceDefinition"


def meta(namespace: str | None, name: str) -> dict[str, Any]:
    return {"metadata": {"name": name} | ({"namespace": namespace} if namespace else {})}


def samples(namespace: str) -> dict[str, dict[str, Any]]:
    """One of each kind that a deployment of ours uses."""
    pod = {"containers": [{"name": "c", "image": "i:1"}], "restartPolicy": "Never"}
    job = {"template": {"spec": pod}}
    role = {"rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}]}
    subject = [{"kind": "ServiceAccount", "name": "agent", "namespace": namespace}]
    reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"}
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}
    metric = {
        "type": "Pods",
        "pods": {"metric": {"name": "gpu"}, "target": {"type": "AverageValue", "averageValue": "80"}},
    }
    scaler = {"scaleTargetRef": target, "maxReplicas": 4, "metrics": [metric]}
    alert = {"groups": [{"name": "g", "rules": [{"alert": "Slow", "expr": "vector(1)", "for": "5m"}]}]}
    rule = {
        "host": "x.example",
        "http": {
            "paths": [
                {"path": "/", "pathType": "Prefix", "backend": {"service": {"name": "s", "port": {"number": 80}}}}
            ]
        },
    }
    return {
        DEPLOYMENT: deployment(namespace),
        SERVICE: {**meta(namespace, "web"), "spec": {"selector": {"app": "web"}, "ports": [{"port": 80}]}},
        CONFIG_MAP: {**meta(namespace, "settings"), "data": {"envoy.yaml": "{}"}},
        SECRET: {**meta(namespace, "keys"), "stringData": {"key": "hunter2"}},
        "kubernetes:core/v1:ServiceAccount": meta(namespace, "agent"),
        "kubernetes:core/v1:ResourceQuota": {**meta(namespace, "quota"), "spec": {"hard": {"pods": "10"}}},
        "kubernetes:core/v1:LimitRange": {
            **meta(namespace, "limits"),
            "spec": {"limits": [{"type": "Container", "default": {"cpu": "1"}}]},
        },
        "kubernetes:core/v1:PersistentVolumeClaim": {
            **meta(namespace, "cache"),
            "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "10Gi"}}},
        },
        "kubernetes:apps/v1:StatefulSet": {
            **meta(namespace, "redis"),
            "spec": {**deployment(namespace)["spec"], "serviceName": "redis"},
        },
        "kubernetes:apps/v1:DaemonSet": {
            **meta(namespace, "exporter"),
            "spec": {k: v for k, v in deployment(namespace)["spec"].items() if k != "replicas"},
        },
        "kubernetes:batch/v1:Job": {**meta(namespace, "build"), "spec": job},
        "kubernetes:batch/v1:CronJob": {
            **meta(namespace, "sync"),
            "spec": {"schedule": "*/5 * * * *", "jobTemplate": {"spec": job}},
        },
        "kubernetes:policy/v1:PodDisruptionBudget": {
            **meta(namespace, "web"),
            "spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": "web"}}},
        },
        "kubernetes:autoscaling/v2:HorizontalPodAutoscaler": {**meta(namespace, "web"), "spec": scaler},
        "kubernetes:networking.k8s.io/v1:NetworkPolicy": {
            **meta(namespace, "deny"),
            "spec": {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]},
        },
        "kubernetes:networking.k8s.io/v1:Ingress": {**meta(namespace, "web"), "spec": {"rules": [rule]}},
        "kubernetes:rbac.authorization.k8s.io/v1:Role": {**meta(namespace, "agent"), **role},
        "kubernetes:rbac.authorization.k8s.io/v1:RoleBinding": {
            **meta(namespace, "agent"),
            "roleRef": reference,
            "subjects": subject,
        },
        "kubernetes:rbac.authorization.k8s.io/v1:ClusterRole": {**meta(None, f"{namespace}-role"), **role},
        "kubernetes:rbac.authorization.k8s.io/v1:ClusterRoleBinding": {
            **meta(None, f"{namespace}-binding"),
            "roleRef": reference,
            "subjects": subject,
        },
        "kubernetes:scheduling.k8s.io/v1:PriorityClass": {**meta(None, f"{namespace}-p0"), "value": 1000},
        "kubernetes:storage.k8s.io/v1:StorageClass": {
            **meta(None, f"{namespace}-fast"),
            "provisioner": "ebs.csi.aws.com",
        },
        RULE: {**meta(namespace, "alerts"), "spec": alert},
        "kubernetes:monitoring.coreos.com/v1:ServiceMonitor": {
            **meta(namespace, "web"),
            "spec": {
                "selector": {"matchLabels": {"app": "web"}},
                "endpoints": [{"port": "metrics", "interval": "15s"}],
            },
        },
        "kubernetes:keda.sh/v1alpha1:ScaledObject": {
            **meta(namespace, "web"),
            "spec": {
                "scaleTargetRef": {"name": "web"},
                "triggers": [{"type": "prometheus", "metadata": {"query": "q"}}],
            },
        },
        RELEASE: {
            "name": "gpu-operator",
            "namespace": namespace,
            "chart": "gpu-operator",
            "version": "v25.3.0",
            "repositoryOpts": {"repo": "https://helm.ngc.nvidia.com/nvidia"},
            "values": {"driver": {"enabled": False}},
        },
    }


@pytest.mark.parametrize("type_", list(samples("x")))
def test_each_kind_is_created_read_changed_and_deleted(driver: Driver, namespace: str, type_: str) -> None:
    stand_in, inputs = driver.stand_in, samples(namespace)[type_]
    assert type_ in stand_in.types()
    state = driver.create(type_, "thing", inputs)
    read = stand_in.read(type_, state.id, state)
    assert read is not None
    assert read.inputs == state.inputs
    assert not stand_in.diff(type_, state, state.inputs, ())

    changed = copy.deepcopy(inputs)
    if type_ == RELEASE:
        changed["values"]["driver"]["enabled"] = True
    else:
        changed["metadata"]["labels"] = {"changed": "yes"}
    updated = driver.update(type_, "thing", state, changed)
    assert stand_in.diff(type_, state, updated.inputs, ()).changed == (
        ("values",) if type_ == RELEASE else ("metadata",)
    )
    read = stand_in.read(type_, state.id, updated)
    assert read is not None
    assert read.inputs == updated.inputs

    stand_in.delete(driver.urn(type_, "thing"), type_, updated)
    assert stand_in.read(type_, state.id, updated) is None
    stand_in.delete(driver.urn(type_, "thing"), type_, updated)


def test_a_create_that_was_cut_off_adopts_its_object_but_no_foreign_one(driver: Driver, namespace: str) -> None:
    first = driver.create(DEPLOYMENT, "web", deployment(namespace))
    again = driver.create(DEPLOYMENT, "web", deployment(namespace))
    assert again.outputs["metadata"]["uid"] == first.outputs["metadata"]["uid"]
    assert "spillway.dev/urn" not in str(again.outputs)
    with pytest.raises(StandInError, match="already exists"):
        driver.create(DEPLOYMENT, "other", deployment(namespace))
    release = samples(namespace)[RELEASE]
    driver.create(RELEASE, "gpu", release)
    assert driver.create(RELEASE, "gpu", release).outputs["status"]["revision"] == 1
    with pytest.raises(StandInError, match="still in use"):
        driver.create(RELEASE, "other", release)


def test_automatic_names_are_kept(driver: Driver, namespace: str) -> None:
    inputs = {"metadata": {"namespace": namespace}, "data": {"a": "1"}}
    state = driver.create(CONFIG_MAP, "settings", inputs)
    name = state.outputs["metadata"]["name"]
    assert name.startswith("settings-")
    assert len(name) == len("settings-") + 8
    changed = driver.update(CONFIG_MAP, "settings", state, {**inputs, "data": {"a": "2"}})
    assert changed.outputs["metadata"]["name"] == name
    assert changed.outputs["data"] == {"a": "2"}


def test_the_providers_namespace_is_the_default(endpoint: str, driver: Driver, namespace: str) -> None:
    stand_in = KubernetesStandIn(endpoint)
    stand_in.configure({"namespace": namespace, "kubeconfig": "ignored", "context": "ignored"})
    checked = stand_in.check("urn::a", CONFIG_MAP, None, {"data": {}}, b"")
    assert checked.inputs["metadata"]["namespace"] == namespace


def test_which_changes_replace(driver: Driver, namespace: str) -> None:
    stand_in = driver.stand_in
    state = driver.create(DEPLOYMENT, "web", deployment(namespace))

    def diff(edit: Any) -> Any:
        new = copy.deepcopy(state.inputs)
        edit(new)
        return stand_in.diff(DEPLOYMENT, state, new, ())

    scaled = diff(lambda d: d["spec"].update(replicas=5))
    assert (scaled.changed, scaled.replaces) == (("spec",), ())
    selector = diff(lambda d: d["spec"].update(selector={"matchLabels": {"app": "new"}}))
    assert selector.replaces == ("spec",)
    assert selector.delete_before_replace
    renamed = diff(lambda d: d["metadata"].update(name="other"))
    assert renamed.replaces == ("metadata",)
    assert not renamed.delete_before_replace
    ignored = copy.deepcopy(state.inputs)
    ignored["spec"]["replicas"] = 9
    assert not stand_in.diff(DEPLOYMENT, state, ignored, ("spec.replicas",))
    frozen = driver.create(CONFIG_MAP, "frozen", {**meta(namespace, "frozen"), "data": {"a": "1"}, "immutable": True})
    assert stand_in.diff(CONFIG_MAP, frozen, {**frozen.inputs, "data": {"a": "2"}}, ()).replaces == ("data",)


def test_the_server_refuses_to_change_immutable_fields(driver: Driver, namespace: str) -> None:
    state = driver.create(DEPLOYMENT, "web", deployment(namespace))
    new = copy.deepcopy(deployment(namespace))
    new["spec"]["selector"] = {"matchLabels": {"app": "b"}}
    new["spec"]["template"]["metadata"]["labels"] = {"app": "b"}
    with pytest.raises(StandInError, match=r"spec.selector: field is immutable"):
        driver.update(DEPLOYMENT, "web", state, new)


def test_unknown_values_pass_a_preview(driver: Driver) -> None:
    inputs = deployment("later", image=UNKNOWN, env=[{"name": "A", "value": UNKNOWN}])
    inputs["spec"]["replicas"] = UNKNOWN
    inputs["spec"]["template"]["metadata"]["labels"] = UNKNOWN
    assert driver.failures(DEPLOYMENT, inputs) == []
    assert driver.failures(DEPLOYMENT, {"metadata": UNKNOWN, "spec": UNKNOWN}) == []
    service = samples("later")[SERVICE]
    checked = driver.stand_in.check("urn::web", SERVICE, None, service, b"")
    planned = driver.stand_in.preview(SERVICE, None, checked.inputs)
    assert planned["spec"]["clusterIP"] is UNKNOWN
    assert planned["status"] is UNKNOWN
    assert planned["spec"]["ports"] == service["spec"]["ports"]


def test_previewed_updates_keep_what_the_server_set(driver: Driver, namespace: str) -> None:
    state = driver.create(SERVICE, "web", samples(namespace)[SERVICE])
    new = copy.deepcopy(state.inputs)
    new["spec"]["ports"] = [{"port": 81}]
    planned = driver.stand_in.preview(SERVICE, state, new)
    assert planned["spec"]["clusterIP"] == state.outputs["spec"]["clusterIP"]
    assert planned["spec"]["ports"] == [{"port": 81}]


def test_secrets_stay_secret(driver: Driver, namespace: str) -> None:
    state = driver.create(SECRET, "keys", samples(namespace)[SECRET])
    assert isinstance(state.outputs["data"], Secret)
    assert isinstance(state.outputs["stringData"], Secret)
    assert "hunter2" not in str(state.outputs)
    for wrong in (
        {"data": {"key": "hunter2!"}},
        {"data": {"key": ["hunter2"]}},
        {"stringData": {"hunter2": {}}, "data": 5},
    ):
        told = driver.failures(SECRET, {**meta(namespace, "wrong"), **wrong})
        assert told
        assert "hunter2!" not in str(told)
    with pytest.raises(StandInError) as refused:
        driver.stand_in.create(
            "urn::x", SECRET, {**state.inputs, **meta(namespace, "wrong"), "data": {"key": "hunter2!"}}
        )
    assert "hunter2" not in str(refused.value)


def test_drift_shows_in_a_read(driver: Driver, namespace: str, endpoint: str) -> None:
    import json
    import urllib.request

    state = driver.create(DEPLOYMENT, "web", deployment(namespace))
    url = f"{endpoint}/apis/apps/v1/namespaces/{namespace}/deployments/web"
    patch = json.dumps({"spec": {"replicas": 7}}).encode()
    headers = {"Content-Type": "application/merge-patch+json"}
    urllib.request.urlopen(urllib.request.Request(url, patch, headers, method="PATCH")).read()
    live = driver.stand_in.read(DEPLOYMENT, state.id, state)
    assert live is not None
    assert live.inputs["spec"]["replicas"] == 7
    assert driver.stand_in.diff(DEPLOYMENT, live, state.inputs, ()).changed == ("spec",)


def test_fields_that_are_no_longer_wanted_go(driver: Driver, namespace: str) -> None:
    inputs = {**meta(namespace, "settings"), "data": {"a": "1", "b": "2"}}
    state = driver.create(CONFIG_MAP, "settings", inputs)
    assert driver.update(CONFIG_MAP, "settings", state, {**inputs, "data": {"b": "2"}}).outputs["data"] == {"b": "2"}


def test_unknown_kinds_are_errors_until_their_definition_is_applied(driver: Driver, endpoint: str) -> None:
    type_ = "kubernetes:example.dev/v1:Gadget"
    with pytest.raises(UnknownTypeError, match="Gadget"):
        driver.failures(type_, {**meta("default", "g"), "spec": {"size": 1}})
    schema = {
        "type": "object",
        "properties": {
            "spec": {"type": "object", "required": ["size"], "properties": {"size": {"type": "integer", "minimum": 1}}}
        },
    }
    version = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
    names = {"kind": "Gadget", "plural": "gadgets", "singular": "gadget"}
    spec = {"group": "example.dev", "scope": "Namespaced", "names": names, "versions": [version]}
    driver.create(CRD, "gadgets", {**meta(None, "gadgets.example.dev"), "spec": spec})
    driver.create(type_, "g", {**meta("default", "g"), "spec": {"size": 1}})
    assert driver.failures(type_, {**meta("default", "g"), "spec": {"size": "1"}}) == [
        "spec.size: must be integer, is string"
    ]
    assert driver.failures(type_, {**meta("default", "g"), "spec": {"colour": 1}}) == [
        "spec.size: required",
        "spec.colour: unknown field",
    ] or driver.failures(type_, {**meta("default", "g"), "spec": {"colour": 1}}) == [
        "spec.colour: unknown field",
        "spec.size: required",
    ]
    fresh = Driver(KubernetesStandIn(endpoint))
    assert fresh.failures(type_, {**meta("default", "g"), "spec": {"size": 0}}) == ["spec.size: breaks minimum 1"]


def test_functions_are_unknown(driver: Driver) -> None:
    with pytest.raises(UnknownTypeError):
        driver.stand_in.invoke("kubernetes:yaml:decode", {})


def test_a_namespace_takes_its_objects_along(driver: Driver, namespace: str) -> None:
    state = driver.create(DEPLOYMENT, "web", deployment(namespace))
    home = driver.stand_in.read(NAMESPACE, namespace, None)
    assert home is not None
    driver.stand_in.delete("urn", NAMESPACE, home)
    assert driver.stand_in.read(DEPLOYMENT, state.id, state) is None


def test_a_gone_server_is_told_plainly() -> None:
    with pytest.raises(StandInError, match="does not answer"):
        KubernetesStandIn("http://127.0.0.1:1").read(CONFIG_MAP, "default/a", None)


@pytest.mark.parametrize(
    ("edit", "told"),
    [
        ({"version": ">=25"}, "version: '>=25' must be one exact version"),
        ({"version": None}, "version: required: pin"),
        ({"repositoryOpts": None}, "repositoryOpts.repo: required"),
        ({"values": ["a"]}, "values: must be a map"),
        ({"colour": 1}, "colour: is no argument"),
        ({"chart": None}, "chart: required"),
    ],
)
def test_helm_releases_are_checked(driver: Driver, edit: dict[str, Any], told: str) -> None:
    assert any(told in failure for failure in driver.failures(RELEASE, {**samples("default")[RELEASE], **edit}))


def test_a_helm_release_needs_its_namespace_or_makes_it(driver: Driver) -> None:
    release = {**samples("gpu-operator")[RELEASE]}
    with pytest.raises(StandInError, match='namespaces "gpu-operator" not found'):
        driver.create(RELEASE, "gpu", release)
    driver.create(RELEASE, "gpu", {**release, "createNamespace": True})
    assert driver.stand_in.read(NAMESPACE, "gpu-operator", None) is not None
