"""The server as other clients see it: kubectl and the Python client."""

from __future__ import annotations

import shutil
import subprocess
import threading
from pathlib import Path

import pytest

from spillway.twin.kubernetes.kubeconfig import kubeconfig
from tests.support.twin_server import Driver

from .conftest import deployment

pytestmark = pytest.mark.heavy

DEPLOYMENT = "kubernetes:apps/v1:Deployment"


@pytest.fixture
def config(endpoint: str, tmp_path: Path) -> Path:
    path = tmp_path / "kubeconfig"
    path.write_text(kubeconfig(endpoint))
    return path


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not on PATH")
def test_kubectl(driver: Driver, namespace: str, config: Path) -> None:
    driver.create(DEPLOYMENT, "web", deployment(namespace))

    def kubectl(*arguments: str) -> str:
        command = ["kubectl", "--kubeconfig", str(config), f"--cache-dir={config.parent}", *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout

    assert "web" in kubectl("get", "deploy", "-n", namespace)
    assert "2 desired | 2 updated | 2 total | 2 available" in kubectl("describe", "deployment", "web", "-n", namespace)
    assert kubectl("get", "deploy", "web", "-n", namespace, "-o", "jsonpath={.spec.replicas}") == "2"
    kubectl("scale", "deploy", "web", "--replicas=3", "-n", namespace)
    assert kubectl("get", "deploy", "web", "-n", namespace, "-o", "jsonpath={.status.readyReplicas}") == "3"
    kubectl("label", "deploy", "web", "a=b", "-n", namespace)
    assert "web" in kubectl("get", "deploy", "-n", namespace, "-l", "a=b", "-o", "name")
    assert kubectl("get", "deploy", "-n", namespace, "-l", "a!=b", "-o", "name") == ""
    kubectl("rollout", "status", "deploy/web", "-n", namespace, "--timeout=20s")
    kubectl("delete", "deploy", "web", "-n", namespace)
    assert kubectl("get", "deploy", "-n", namespace, "-o", "name") == ""


def test_the_python_client_lists_patches_and_watches(driver: Driver, namespace: str, config: Path) -> None:
    client = pytest.importorskip("kubernetes", reason="the Python client is not installed")
    from kubernetes import watch  # type: ignore[attr-defined]

    api_client = client.config.new_client_from_config(str(config))
    apps = client.client.AppsV1Api(api_client)
    driver.create(DEPLOYMENT, "web", deployment(namespace))
    listed = apps.list_namespaced_deployment(namespace)
    assert [d.metadata.name for d in listed.items] == ["web"]

    seen: list[str] = []

    def follow() -> None:
        stream = watch.Watch().stream(
            apps.list_namespaced_deployment,
            namespace,
            resource_version=listed.metadata.resource_version,
            timeout_seconds=5,
        )
        for event in stream:
            seen.append(event["type"])
            if event["type"] == "DELETED":
                return

    watcher = threading.Thread(target=follow)
    watcher.start()
    apps.patch_namespaced_deployment("web", namespace, {"spec": {"replicas": 4}})
    assert apps.read_namespaced_deployment("web", namespace).status.ready_replicas == 4
    apps.patch_namespaced_deployment_status("web", namespace, {"status": {"readyReplicas": 1}})
    assert apps.read_namespaced_deployment("web", namespace).status.ready_replicas == 1
    apps.delete_namespaced_deployment("web", namespace)
    watcher.join(10)
    assert seen == ["MODIFIED", "MODIFIED", "DELETED"]

    with pytest.raises(client.client.ApiException) as refused:
        apps.patch_namespaced_deployment("gone", namespace, {"spec": {"replicas": 4}})
    assert refused.value.status == 404


def test_generations_and_versions(driver: Driver, namespace: str) -> None:
    first = driver.create(DEPLOYMENT, "web", deployment(namespace))
    same = driver.update(DEPLOYMENT, "web", first, deployment(namespace))
    assert same.outputs["metadata"]["resourceVersion"] == first.outputs["metadata"]["resourceVersion"]
    changed = driver.update(DEPLOYMENT, "web", same, deployment(namespace, image="other:2"))
    assert changed.outputs["metadata"]["generation"] == first.outputs["metadata"]["generation"] + 1
