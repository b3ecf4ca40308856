"""What an existing cluster has to have, asked of an API server that answers as the twin's does."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import boto3
import pytest
import yaml
from click.testing import CliRunner

from spillway.cli.main import cli
from spillway.twin.kubernetes.kubeconfig import kubeconfig
from stacks.cluster_access import ClusterAccess, ClusterAccessError, opened
from stacks.issuers import findings as findings_of_issuers
from stacks.preconditions import CONTROLLERS, findings
from stacks.stack_file import parse_settings
from stacks.support import ClusterKind
from tests.kubernetes.api import Api
from tests.stacks.files import REMOVE, changed, example, flat, project
from tests.support.packages import small_package
from tests.support.twin_server import serve

S = "spillway:"
PREFIX = "shop-test"
EXISTING = {
    "kind": "existing",
    "kubeconfig_path": "kubeconfig",
    "nodes": 2,
    "gpus_per_node": 8,
    "usd_per_node_hour": 30.0,
}


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serve("kubernetes", tmp_path_factory.mktemp("kubernetes")) as url:
        yield url


@pytest.fixture
def api(endpoint: str) -> Iterator[Api]:
    """An empty cluster, which it is again afterwards."""
    made = Api(endpoint, "", "")
    yield made
    for path in (
        "/apis/apiregistration.k8s.io/v1/apiservices",
        "/apis/apiextensions.k8s.io/v1/customresourcedefinitions",
        "/apis/storage.k8s.io/v1/storageclasses",
        "/apis/apps/v1/daemonsets",
        "/api/v1/nodes",
    ):
        for one in made.list(path):
            space = one["metadata"].get("namespace")
            root, _, plural = path.rpartition("/")
            made.delete(
                f"{root}/namespaces/{space}/{plural}/{one['metadata']['name']}"
                if space
                else f"{path}/{one['metadata']['name']}"
            )


def unmet(endpoint: str, **changes: Any) -> dict[str, str]:
    """By what lacks: what is found and how it is mended; what is not certain in brackets."""
    given = {f"{S}{key.replace('__', '.')}": value for key, value in changes.items()}
    settings = parse_settings(flat(changed(example("local"), {f"{S}private_cluster": {**EXISTING}, **given})))
    found = findings(settings, PREFIX, ClusterAccess(endpoint))
    return {one.what if one.certain else f"({one.what})": f"{one.found}; {one.mend}" for one in found}


def served_by(api: Api, name: str, namespace: str, service: str) -> None:
    version, _, group = name.partition(".")
    spec = {
        "group": group,
        "version": version,
        "service": {"namespace": namespace, "name": service},
        "groupPriorityMinimum": 100,
        "versionPriority": 100,
    }
    api.create(
        {"apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService", "metadata": {"name": name}, "spec": spec}
    )


def test_an_empty_cluster_lacks_what_the_stack_does_not_bring(api: Api, endpoint: str) -> None:
    assert set(unmet(endpoint)) == {"metrics.k8s.io", "(network policy agent)", "(load balancer)"}
    assert "private_cluster.metrics_server.enabled: true" in unmet(endpoint)["metrics.k8s.io"]
    assert "metrics.k8s.io" not in unmet(endpoint, private_cluster__metrics_server={"enabled": True})


def test_of_each_metrics_api_there_is_one_server(api: Api, endpoint: str) -> None:
    served_by(api, "v1beta1.metrics.k8s.io", "kube-system", "metrics-server")
    served_by(api, "v1beta1.external.metrics.k8s.io", "keda", "keda-operator-metrics-apiserver")
    found = unmet(endpoint)
    assert "metrics.k8s.io" not in found
    assert "keda/keda-operator-metrics-apiserver serves it already" in found["external.metrics.k8s.io"]
    twice = unmet(endpoint, private_cluster__metrics_server={"enabled": True})
    assert "kube-system/metrics-server serves it already" in twice["metrics.k8s.io"]


def test_what_an_earlier_up_installed_is_the_stacks_own(api: Api, endpoint: str) -> None:
    served_by(api, "v1beta1.metrics.k8s.io", f"{PREFIX}-monitoring", f"{PREFIX}-metrics-server")
    served_by(api, "v1beta1.custom.metrics.k8s.io", f"{PREFIX}-monitoring", "prometheus-adapter")
    found = unmet(endpoint, private_cluster__metrics_server={"enabled": True})
    assert not {"metrics.k8s.io", "custom.metrics.k8s.io"} & set(found)


def test_gpus_are_those_that_the_nodes_have(api: Api, endpoint: str) -> None:
    off = {"private_cluster__nvidia_operator": {"enabled": False}, "model_server__gpus": 1}
    assert "no node has any" in unmet(endpoint, **off)["nvidia.com/gpu"]
    node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "one"}}
    api.create({**node, "status": {"allocatable": {"nvidia.com/gpu": "8"}}})
    api.call("PUT", "/api/v1/nodes/one/status", {**node, "status": {"allocatable": {"nvidia.com/gpu": "8"}}})
    assert "8 on the nodes, 16 in the stack file" in unmet(endpoint, **off)["nvidia.com/gpu"]
    assert "nvidia.com/gpu" not in unmet(endpoint, **off, private_cluster__nodes=1)


def test_a_controller_of_groups_is_ours_or_there(api: Api, endpoint: str) -> None:
    span = {"model_server__gpus": 1, "model_server__span": {"nodes": 2, "fabric": "tcp"}}
    kind = "leaderworkersets.leaderworkerset.x-k8s.io"
    assert kind not in unmet(endpoint, **span)
    off = {**span, "private_cluster__leader_worker_set": {"enabled": False}}
    assert "leader_worker_set.enabled: true" in unmet(endpoint, **off)[kind]


@pytest.mark.parametrize(
    ("key", "lacking"),
    [
        ("monitoring__charts__prometheus", "servicemonitors.monitoring.coreos.com"),
        ("monitoring__charts__adapter", "custom.metrics.k8s.io"),
    ],
)
def test_what_is_switched_off_is_there(api: Api, endpoint: str, key: str, lacking: str) -> None:
    assert lacking not in unmet(endpoint)
    assert "nobody serves it" in unmet(endpoint, **{key: {"enabled": False}})[lacking]


def test_storage_classes_are_there(api: Api, endpoint: str) -> None:
    named = {"model_server__cache": {"size": "50Gi", "storage_class": "nvme"}}
    assert "there are none; name one of them" in unmet(endpoint, **named)["storage class nvme"]
    provider = {"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "provisioner": "local.csi.openebs.io"}
    api.create({**provider, "metadata": {"name": "nvme"}})
    assert "storage class nvme" not in unmet(endpoint, **named)


def test_an_agent_of_policies_is_known_by_its_name(api: Api, endpoint: str) -> None:
    labels = {"k8s-app": "cilium"}
    pod = {"containers": [{"name": "agent", "image": "quay.io/cilium/cilium:v1.18.0"}]}
    agent = {
        "apiVersion": "apps/v1",
        "kind": "DaemonSet",
        "metadata": {"name": "cilium", "namespace": "kube-system"},
        "spec": {"selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels}, "spec": pod}},
    }
    api.create(agent)
    assert "(network policy agent)" not in unmet(endpoint)


@pytest.mark.parametrize(("domains", "right"), [("cluster.local in-addr.arpa", True), ("k8s.example.com", False)])
def test_names_end_in_the_clusters_domain(api: Api, endpoint: str, domains: str, right: bool) -> None:
    data = {"Corefile": f".:53 {{\n    kubernetes {domains} {{\n    }}\n}}\n"}
    metadata = {"name": "coredns", "namespace": "kube-system"}
    api.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data})
    assert ("cluster domain" not in unmet(endpoint)) is right
    api.delete("/api/v1/namespaces/kube-system/configmaps/coredns")


def test_a_kubeconfig_logs_in_as_it_says(endpoint: str, tmp_path: Path) -> None:
    with opened(kubeconfig(endpoint)) as cluster:
        assert cluster.get("/version") is not None
        assert cluster.get("/api/v1/nodes/nowhere") is None
    program = "import json; print(json.dumps({'status': {'token': 'told'}}))"
    told = yaml.safe_load(kubeconfig(endpoint))
    command = {"apiVersion": "client.authentication.k8s.io/v1", "command": sys.executable, "args": ["-c", program]}
    told["users"][0]["user"] = {"exec": command}
    with opened(yaml.safe_dump(told)) as cluster:
        assert cluster.get("/version") is not None
    told["users"][0]["user"] = {"exec": {**command, "command": str(tmp_path / "aws")}}
    with pytest.raises(ClusterAccessError, match="tells no credentials"), opened(yaml.safe_dump(told)):
        pass
    with (
        pytest.raises(ClusterAccessError, match="no context 'other'; it has spillway-twin"),
        opened(kubeconfig(endpoint), "other"),
    ):
        pass
    with (
        opened(kubeconfig("http://127.0.0.1:9")) as cluster,
        pytest.raises(ClusterAccessError, match="does not answer"),
    ):
        cluster.get("/version")


def test_every_controller_is_brought_or_asked_for() -> None:
    for controller in CONTROLLERS:
        for kind in get_args(ClusterKind):
            assert controller.of(kind)


@pytest.fixture(scope="module")
def account(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serve("aws", tmp_path_factory.mktemp("aws")) as url:
        yield url


@pytest.fixture
def folder(endpoint: str, account: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project whose stack stands on the cluster of the stand-in, in the emulated account."""
    for name, value in {"ENDPOINT_URL": account, "ACCESS_KEY_ID": "x", "SECRET_ACCESS_KEY": "x"}.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    package = small_package(tmp_path / "package")
    config = changed(example("local"), {f"{S}private_cluster": {**EXISTING}, f"{S}package.path": str(package)})
    root = project(tmp_path / "project", config)
    (root / "kubeconfig").write_text(kubeconfig(endpoint))
    monkeypatch.chdir(root)
    return root


def test_deploy_makes_nothing_where_something_is_missing(api: Api, folder: Path) -> None:
    refused = CliRunner().invoke(cli, ["deploy", "-s", "test", "--yes"])
    assert refused.exit_code == 1
    assert "cannot take the stack, and nothing was made" in refused.output
    assert "private_cluster.metrics_server.enabled: true" in refused.output


ISSUER = "https://oidc.spillway.test/local"
TENANT = "https://sts.windows.net/00000000-0000-4000-8000-000000000002/"


def taken(account: str, **changes: Any) -> dict[str, str]:
    given = {f"{S}{key.replace('__', '.')}": value for key, value in changes.items()}
    settings = parse_settings(flat(changed(example("local"), given)))
    iam: Any = boto3.client(
        "iam", endpoint_url=account, region_name="us-east-1", aws_access_key_id="x", aws_secret_access_key="x"
    )  # fmt: skip
    return {one.what: f"{one.found}; {one.mend}" for one in findings_of_issuers(settings, PREFIX, iam)}


def test_what_an_account_has_one_of_is_told_before_a_second_stack_is_half_made(account: str, folder: Path) -> None:
    """Two stacks on one cluster have its issuer in common, and two with Azure ML the tenant's."""
    assert taken(account) == {}
    iam: Any = boto3.client("iam", region_name="us-east-1")
    arns = {}
    for url, tags in ((ISSUER, [{"Key": "stack", "Value": "search-test"}]), (TENANT, [])):
        made = iam.create_open_id_connect_provider(Url=url, ClientIDList=["a"], ThumbprintList=["0" * 40], Tags=tags)
        arns[url] = made["OpenIDConnectProviderArn"]
    key = "connectivity.federation.oidc_issuer.provider_arn"
    assert taken(account) == {
        f"IAM's provider of {ISSUER}": f"{arns[ISSUER]} of the stack search-test is there, and an account has one; "
        f"name it in {key}",
        f"IAM's provider of {TENANT}": f"{arns[TENANT]} is there, and an account has one; "
        "name it in model_store.courier.entra_provider_arn",
    }
    assert list(taken(account, burst__azure_ml=REMOVE)) == [f"IAM's provider of {ISSUER}"]
    assert (
        taken(
            account,
            connectivity__federation__oidc_issuer={"url": ISSUER, "provider_arn": arns[ISSUER]},
            model_store__courier__entra_provider_arn=arns[TENANT],
        )
        == {}
    )
    told = json.loads(CliRunner().invoke(cli, ["doctor", "-s", "test", "--json"]).stdout)["findings"]
    assert [one["state"] for one in told if one["what"].startswith("AWS account: IAM's")] == ["missing", "missing"]
    for arn in arns.values():
        iam.tag_open_id_connect_provider(OpenIDConnectProviderArn=arn, Tags=[{"Key": "stack", "Value": PREFIX}])
    assert taken(account) == {}, "its own, from an update before"


def test_the_doctor_looks_at_the_cluster_too(api: Api, folder: Path) -> None:
    told = CliRunner().invoke(cli, ["doctor", "-s", "test", "--json"])
    found = {one["what"]: one["state"] for one in json.loads(told.stdout)["findings"]}
    assert (found["cluster: metrics.k8s.io"], found["cluster: load balancer"]) == ("missing", "optional")
    assert told.exit_code == 1
