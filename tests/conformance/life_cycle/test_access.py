"""Rights outlive who uses them: one fragment that does it right for each rule, and one that does not."""

from __future__ import annotations

from functools import partial

from spillway.conformance.life_cycle.access import RULES
from spillway.contracts.resources import UNKNOWN
from tests.conformance.plan import accused as _accused
from tests.conformance.plan import made, needing

accused = partial(_accused, RULES)

ROLE_ARN = "arn:aws:iam::123456789012:role/nodes"
ROLE = made("aws:iam/role:Role", "nodes", outputs={"arn": ROLE_ARN})
RIGHT = made("aws:iam/rolePolicyAttachment:RolePolicyAttachment", "worker", {"role": "nodes"}, needs=[ROLE])
GROUP = made("aws:eks/nodeGroup:NodeGroup", "gpu", {"nodeRoleArn": ROLE_ARN}, needs=[ROLE])
CLUSTER = made("aws:eks/cluster:Cluster", "c1", {"name": "c1"})
KUBECONFIG = '{"current-context": "c1"}'


def test_a_node_group_waits_for_the_rights_of_its_role() -> None:
    assert accused("iam-rights-outlive-users", ROLE, RIGHT, GROUP) == ["gpu"]
    assert accused("iam-rights-outlive-users", ROLE, RIGHT, needing(GROUP, RIGHT)) == []


def test_a_chain_of_dependencies_is_enough() -> None:
    addon = made("aws:eks/addon:Addon", "cni", needs=[RIGHT])
    assert accused("iam-rights-outlive-users", ROLE, RIGHT, addon, needing(GROUP, addon)) == []


def test_what_is_not_known_yet_and_what_no_deployer_tells_is_let_pass() -> None:
    unknown = made("aws:eks/nodeGroup:NodeGroup", "gpu", {"nodeRoleArn": UNKNOWN}, needs=[ROLE])
    assert accused("iam-rights-outlive-users", ROLE, RIGHT, unknown) == []
    untold = made("aws:eks/nodeGroup:NodeGroup", "gpu", {"nodeRoleArn": ROLE_ARN})
    right = made(RIGHT.type, "worker", {"role": "nodes"})
    assert accused("iam-rights-outlive-users", ROLE, right, untold) == []


def test_an_ecs_service_waits_for_the_rights_of_its_tasks() -> None:
    task = made(
        "aws:ecs/taskDefinition:TaskDefinition",
        "task",
        {"executionRoleArn": ROLE_ARN},
        outputs={"arn": "arn:aws:ecs:task"},
        needs=[ROLE],
    )
    service = made("aws:ecs/service:Service", "standby", {"taskDefinition": "arn:aws:ecs:task"}, needs=[task])
    assert accused("iam-rights-outlive-users", ROLE, RIGHT, task, service) == ["standby"]
    assert accused("iam-rights-outlive-users", ROLE, RIGHT, task, needing(service, RIGHT)) == []


def test_two_endpoints_of_one_role_may_have_grants_of_their_own() -> None:
    model = made("aws:sagemaker/model:Model", "model", {"executionRoleArn": ROLE_ARN}, needs=[ROLE])
    config = made(
        "aws:sagemaker/endpointConfiguration:EndpointConfiguration",
        "config",
        {"productionVariants": [{"modelName": "model"}]},
        needs=[model],
    )
    first = made("aws:sagemaker/endpoint:Endpoint", "first", {"endpointConfigName": "config"}, needs=[config])
    second = made("aws:sagemaker/endpoint:Endpoint", "second", {"endpointConfigName": "config"}, needs=[config])
    around = (ROLE, RIGHT, model, config, first)
    assert accused("iam-rights-outlive-users", *around, second) == ["first", "second"]
    assert accused("iam-rights-outlive-users", *around, needing(second, RIGHT)) == []


def test_access_entries_outlive_the_objects_of_their_cluster() -> None:
    entry = made("aws:eks/accessEntry:AccessEntry", "admin", {"clusterName": "c1"}, needs=[CLUSTER])
    provider = made("pulumi:providers:kubernetes", "k8s", {"kubeconfig": KUBECONFIG}, needs=[CLUSTER])
    namespace = made("kubernetes:core/v1:Namespace", "serving", provider=provider)
    rule = "eks-access-outlives-objects"
    assert accused(rule, CLUSTER, entry, provider, namespace) == ["admin"]
    assert accused(rule, CLUSTER, entry, needing(provider, entry), namespace) == []
    elsewhere = made("pulumi:providers:kubernetes", "k8s", {"kubeconfig": '{"current-context": "c2"}'}, needs=[entry])
    assert accused(rule, CLUSTER, entry, elsewhere, namespace) == []


def test_the_machine_before_a_private_api_server_outlives_the_objects() -> None:
    own = made("aws:ec2/securityGroup:SecurityGroup", "sg-host")
    api = made("aws:ec2/securityGroup:SecurityGroup", "sg-api", {"ingress": [{"securityGroups": ["sg-host"]}]})
    vpc = {"securityGroupIds": ["sg-api"], "endpointPublicAccess": False}
    cluster = made("aws:eks/cluster:Cluster", "c1", {"name": "c1", "vpcConfig": vpc}, needs=[api])
    host = made("aws:ec2/instance:Instance", "host", {"vpcSecurityGroupIds": ["sg-host"]}, needs=[own])
    provider = made("pulumi:providers:kubernetes", "k8s", {"kubeconfig": KUBECONFIG}, needs=[cluster])
    namespace = made("kubernetes:core/v1:Namespace", "serving", provider=provider)
    rule = "eks-deployer-outlives-objects"
    assert accused(rule, own, api, cluster, host, provider, namespace) == ["host"]
    assert accused(rule, own, api, cluster, host, needing(provider, host), namespace) == []


def test_pods_wait_for_the_association_that_gives_them_credentials() -> None:
    association = made(
        "aws:eks/podIdentityAssociation:PodIdentityAssociation",
        "a-1",
        {"clusterName": "c1", "namespace": "kube-system", "serviceAccount": "scaler", "roleArn": ROLE_ARN},
        needs=[CLUSTER, ROLE, RIGHT],
    )
    provider = made("pulumi:providers:kubernetes", "k8s", {"kubeconfig": KUBECONFIG}, needs=[CLUSTER])
    values = {"rbac": {"serviceAccount": {"name": "scaler"}}}
    chart = made(
        "kubernetes:helm.sh/v3:Release", "chart", {"namespace": "kube-system", "values": values}, provider=provider
    )
    around = (CLUSTER, ROLE, RIGHT, association, provider)
    assert accused("eks-identity-before-pods", *around, chart) == ["chart"]
    assert accused("eks-identity-before-pods", *around, needing(chart, association)) == []


def test_a_workspace_waits_for_the_role_assignments_of_its_identity() -> None:
    identity = made(
        "azure-native:managedidentity:UserAssignedIdentity", "ml", id_="/identities/ml", outputs={"principalId": "p-1"}
    )
    grant = made("azure-native:authorization:RoleAssignment", "blob", {"principalId": "p-1"}, needs=[identity])
    workspace = made(
        "azure-native:machinelearningservices:Workspace",
        "workspace",
        {"identity": {"userAssignedIdentities": ["/identities/ml"]}},
        needs=[identity],
    )
    rule = "azure-assignments-outlive-users"
    assert accused(rule, identity, grant, workspace) == ["workspace"]
    assert accused(rule, identity, grant, needing(workspace, grant)) == []
    on_the_workspace = needing(grant, workspace)
    assert accused(rule, identity, on_the_workspace, workspace) == []
