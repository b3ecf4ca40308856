"""The EKS cluster, as a reviewer would read it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from components.private_cluster.eks import Eks, EksArgs
from components.private_cluster.eks_kubeconfig import kubeconfig
from components.private_cluster.settings import EksSettings, PrivateClusterSettings
from spillway.twin.aws import functions
from tests.support import recording
from tests.support.recording import Recorded, context, of_type, record

CLUSTER = "aws:eks/cluster:Cluster"
NODE_GROUP = "aws:eks/nodeGroup:NodeGroup"
LAUNCH_TEMPLATE = "aws:ec2/launchTemplate:LaunchTemplate"
CLUSTER_OUTPUTS = {
    "endpoint": "https://ABC.eks.example.com",
    "certificateAuthority": {"data": "Q0E="},
    "identities": [{"oidcs": [{"issuer": "https://oidc.eks.example.com/id/ABC"}]}],
}


def eks(
    api_cidrs: tuple[str, ...] = (), pulls_through: bool = False, efa: bool = False, **settings: Any
) -> list[Recorded]:
    args = EksArgs(
        settings=EksSettings(**settings),
        region="eu-west-1",
        account_id="123456789012",
        vpc_id="vpc-1",
        private_subnet_ids=["subnet-a", "subnet-b", "subnet-c"],
        logs_key_arn="arn:aws:kms:eu-west-1:123456789012:key/logs",
        api_cidrs=api_cidrs,
        api_security_group_ids=["sg-deployer"],
        pulls_through=pulls_through,
        efa=efa,
    )
    return record(lambda: Eks(context(), args), outputs={CLUSTER: CLUSTER_OUTPUTS})


@pytest.fixture(scope="module")
def resources() -> list[Recorded]:
    return eks()


def named(resources: list[Recorded], type_: str, name: str) -> Recorded:
    return next(r for r in of_type(resources, type_) if r.name == f"spillway-test-{name}")


@pytest.mark.parametrize("pulls_through", [False, True])
def test_nodes_may_fill_the_caches_of_their_stack(pulls_through: bool) -> None:
    """https://docs.aws.amazon.com/AmazonECR/latest/userguide/pull-through-cache-iam.html"""
    documents = [r.inputs["policy"] for r in of_type(eks(pulls_through=pulls_through), "aws:iam/rolePolicy:RolePolicy")]
    assert any("ecr:CreateRepository" in one for one in documents) is pulls_through


def test_api_endpoint_is_private(resources: list[Recorded]) -> None:
    (cluster,) = of_type(resources, CLUSTER)
    assert cluster.inputs["vpcConfig"]["endpointPrivateAccess"] is True
    assert cluster.inputs["vpcConfig"]["endpointPublicAccess"] is False
    assert len(cluster.inputs["vpcConfig"]["subnetIds"]) == 3


def test_authorised_networks_open_no_more_than_they_name() -> None:
    resources = eks(api_cidrs=("198.51.100.0/24", "10.9.0.0/16"))
    (cluster,) = of_type(resources, CLUSTER)
    assert cluster.inputs["vpcConfig"]["endpointPublicAccess"] is True
    assert cluster.inputs["vpcConfig"]["publicAccessCidrs"] == ["198.51.100.0/24"]
    (group,) = of_type(resources, "aws:ec2/securityGroup:SecurityGroup")
    assert [rule.get("cidrBlocks") for rule in group.inputs["ingress"]] == [["10.9.0.0/16"], None]


def test_secrets_are_enveloped_with_a_rotated_and_protected_key(resources: list[Recorded]) -> None:
    (cluster,) = of_type(resources, CLUSTER)
    key = named(resources, "aws:kms/key:Key", "secrets-key")
    assert cluster.inputs["encryptionConfig"]["resources"] == ["secrets"]
    assert cluster.inputs["encryptionConfig"]["provider"]["keyArn"].endswith(key.name)
    assert all(k.inputs["enableKeyRotation"] for k in of_type(resources, "aws:kms/key:Key"))


def test_all_control_plane_logs_are_kept_encrypted(resources: list[Recorded]) -> None:
    (cluster,) = of_type(resources, CLUSTER)
    assert set(cluster.inputs["enabledClusterLogTypes"]) == {
        "api",
        "audit",
        "authenticator",
        "controllerManager",
        "scheduler",
    }
    (group,) = of_type(resources, "aws:cloudwatch/logGroup:LogGroup")
    assert group.inputs["name"] == f"/aws/eks/{cluster.inputs['name']}/cluster"
    assert group.inputs["retentionInDays"] == 90
    assert group.inputs["kmsKeyId"].endswith("key/logs")


def test_access_is_by_entries_only() -> None:
    admin = "arn:aws:iam::123456789012:role/platform"
    resources = eks(admin_role_arns=[admin])
    (cluster,) = of_type(resources, CLUSTER)
    assert cluster.inputs["accessConfig"] == {
        "authenticationMode": "API",
        "bootstrapClusterCreatorAdminPermissions": True,
    }
    (entry,) = of_type(resources, "aws:eks/accessEntry:AccessEntry")
    (association,) = of_type(resources, "aws:eks/accessPolicyAssociation:AccessPolicyAssociation")
    assert entry.inputs["principalArn"] == association.inputs["principalArn"] == admin
    assert association.inputs["policyArn"] == "arn:aws:eks::aws:cluster-access-policy/AmazonEKSClusterAdminPolicy"


def test_services_have_the_range_that_was_chosen() -> None:
    """EKS takes one of two by itself where nobody chose, and never changes it."""
    (cluster,) = of_type(eks(service_cidr="192.168.128.0/20"), CLUSTER)
    assert cluster.inputs["kubernetesNetworkConfig"] == {"serviceIpv4Cidr": "192.168.128.0/20"}


def test_nodes_require_imdsv2_and_encrypt_their_volumes(resources: list[Recorded]) -> None:
    templates = of_type(resources, LAUNCH_TEMPLATE)
    assert len(templates) == 2
    for template in templates:
        assert template.inputs["metadataOptions"]["httpTokens"] == "required"
        assert template.inputs["metadataOptions"]["httpPutResponseHopLimit"] == 1
        ebs = template.inputs["blockDeviceMappings"][0]["ebs"]
        assert (ebs["volumeType"], ebs["encrypted"]) == ("gp3", "true")
        assert "volumes-key" in ebs["kmsKeyId"]


def test_gpu_nodes_are_tainted_labelled_and_bounded() -> None:
    pool = {"instance_type": "g6e.2xlarge", "min_nodes": 0, "max_nodes": 7, "initial_nodes": 2}
    group = named(eks(gpu_pool=pool), NODE_GROUP, "gpu").inputs
    assert group["taints"] == [{"key": "nvidia.com/gpu", "value": "present", "effect": "NO_SCHEDULE"}]
    assert group["labels"]["nvidia.com/gpu.present"] == "true"
    assert group["scalingConfig"] == {"minSize": 0, "maxSize": 7, "desiredSize": 2}
    assert group["instanceTypes"] == ["g6e.2xlarge"]
    assert group["amiType"] == "AL2023_x86_64_NVIDIA"


def test_system_nodes_take_any_pod(resources: list[Recorded]) -> None:
    group = named(resources, NODE_GROUP, "system").inputs
    assert not group.get("taints")
    assert group["amiType"] == "AL2023_x86_64_STANDARD"


def test_network_policies_are_enforced(resources: list[Recorded]) -> None:
    addons = {a.inputs["addonName"]: a.inputs for a in of_type(resources, "aws:eks/addon:Addon")}
    assert {"coredns", "kube-proxy", "eks-pod-identity-agent", "aws-ebs-csi-driver"} < addons.keys()
    assert json.loads(addons["vpc-cni"]["configurationValues"]) == {"enableNetworkPolicy": "true"}


@pytest.mark.parametrize(("kubernetes", "coredns"), [("1.33", "v1.33.0-eksbuild.1"), ("1.34", "v1.34.0-eksbuild.1")])
def test_add_ons_follow_kubernetes_unless_they_are_pinned(
    monkeypatch: pytest.MonkeyPatch, kubernetes: str, coredns: str
) -> None:
    """An add-on without a version keeps the one that it was made with."""
    nothing: Any = None
    monkeypatch.setattr(
        recording._Mocks, "call", lambda _, asked: functions.invoke(nothing, "eu-west-1", asked.token, asked.args)
    )
    found = eks(kubernetes_version=kubernetes, addon_versions={"vpc-cni": "v1.20.4-eksbuild.1"})
    versions = {a.inputs["addonName"]: a.inputs["addonVersion"] for a in of_type(found, "aws:eks/addon:Addon")}
    assert (versions["coredns"], versions["vpc-cni"]) == (coredns, "v1.20.4-eksbuild.1")


def test_network_plugin_gets_its_role_by_its_own_token(resources: list[Recorded]) -> None:
    role = named(resources, "aws:iam/role:Role", "vpc-cni-role")
    (trust,) = json.loads(role.inputs["assumeRolePolicy"])["Statement"]
    assert trust["Principal"]["Federated"].endswith("spillway-test-oidc")
    assert (
        trust["Condition"]["StringEquals"]["oidc.eks.example.com/id/ABC:sub"]
        == "system:serviceaccount:kube-system:aws-node"
    )
    (provider,) = of_type(resources, "aws:iam/openIdConnectProvider:OpenIdConnectProvider")
    assert provider.inputs["url"] == "https://oidc.eks.example.com/id/ABC"
    assert len(provider.inputs["thumbprintLists"][0]) == 40


def test_autoscaler_resizes_only_this_clusters_groups(resources: list[Recorded]) -> None:
    document = json.loads(named(resources, "aws:iam/rolePolicy:RolePolicy", "autoscaler-policy").inputs["policy"])
    writes = [s for s in document["Statement"] if "autoscaling:SetDesiredCapacity" in s["Action"]]
    assert [s["Condition"]["StringEquals"] for s in writes] == [
        {"aws:ResourceTag/k8s.io/cluster-autoscaler/spillway-test": "owned"}
    ]
    association = named(resources, "aws:eks/podIdentityAssociation:PodIdentityAssociation", "autoscaler")
    assert association.inputs["serviceAccount"] == "cluster-autoscaler"


def test_the_balancer_controller_gets_its_published_rights(resources: list[Recorded]) -> None:
    """https://github.com/kubernetes-sigs/aws-load-balancer-controller/blob/v3.5.0/docs/install/iam_policy.json"""
    rights = named(resources, "aws:iam/rolePolicy:RolePolicy", "balancer-controller-policy")
    allowed = {action for s in json.loads(rights.inputs["policy"])["Statement"] for action in s["Action"]}
    assert {"elasticloadbalancing:CreateLoadBalancer", "elasticloadbalancing:RegisterTargets"} <= allowed
    association = named(resources, "aws:eks/podIdentityAssociation:PodIdentityAssociation", "balancer-controller")
    assert (association.inputs["namespace"], association.inputs["serviceAccount"]) == (
        "kube-system",
        "aws-load-balancer-controller",
    )


def test_a_cluster_with_a_balancer_controller_of_its_own_gets_none() -> None:
    found = eks(load_balancer_controller={"enabled": False})
    assert not [r for r in found if "balancer-controller" in r.name]


def test_no_role_may_do_everything(resources: list[Recorded]) -> None:
    for role_policy in of_type(resources, "aws:iam/rolePolicy:RolePolicy"):
        for statement in json.loads(role_policy.inputs["policy"])["Statement"]:
            actions = statement["Action"]
            assert not any(a == "*" or a.endswith(":*") for a in ([actions] if isinstance(actions, str) else actions))
    attached = {a.inputs["policyArn"] for a in of_type(resources, "aws:iam/rolePolicyAttachment:RolePolicyAttachment")}
    assert not any("AdministratorAccess" in arn or "FullAccess" in arn for arn in attached)


def test_kubeconfig_holds_no_credential() -> None:
    found = json.loads(kubeconfig("spillway-prod", "https://api.test", "Q0E=", "eu-west-1"))
    assert found["users"][0]["user"] == {
        "exec": {
            "apiVersion": "client.authentication.k8s.io/v1beta1",
            "command": "aws",
            "args": [
                "--region", "eu-west-1", "eks", "get-token", "--cluster-name", "spillway-prod", "--output", "json",
            ],
            "interactiveMode": "Never",
        }
    }  # fmt: skip
    assert found["clusters"][0]["cluster"]["server"] == "https://api.test"


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"kind": "eks", "accelerator": "amd"}, "kind: existing"),
        ({"kind": "eks", "gpu_pool": {"min_nodes": 5, "max_nodes": 2}}, "out of order"),
        ({"kind": "eks", "log_retention_days": 8}, "90"),
        ({"kind": "eks", "nodes": 3}, "Extra inputs"),
        ({"kind": "aks", "admin_group_ids": ["g"], "accelerator": "amd"}, "MI300X"),
        ({"kind": "existing", "usd_per_node_hour": 4}, "exactly one of kubeconfig_path"),
    ],
)
def test_impossible_clusters_are_refused(given: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        TypeAdapter(PrivateClusterSettings).validate_python(given)
