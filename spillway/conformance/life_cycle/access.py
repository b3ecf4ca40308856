"""Rights that must be there before their user, and until it is gone: AWS roles, EKS access, Azure role assignments."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from spillway.conformance.graph import Graph
from spillway.conformance.life_cycle.order import Order
from spillway.conformance.rule import Finding, Rule, Source
from spillway.contracts.property_values import items, text, texts
from spillway.contracts.resources import Resource

ROLE: Final = "aws:iam/role:Role"
_RIGHTS: Final = ("aws:iam/rolePolicyAttachment:RolePolicyAttachment", "aws:iam/rolePolicy:RolePolicy")
_ENDPOINT: Final = "aws:sagemaker/endpoint:Endpoint"
_ACCESS: Final = (
    "aws:eks/accessEntry:AccessEntry",
    "aws:eks/accessPolicyAssociation:AccessPolicyAssociation",
)
_IDENTITY_USERS: Final = (
    "azure-native:machinelearningservices:Workspace",
    "azure-native:machinelearningservices:OnlineEndpoint",
    "azure-native:machinelearningservices:BatchEndpoint",
    "azure-native:machinelearningservices:Compute",
    "azure-native:containerservice:ManagedCluster",
)


def role_users(graph: Graph) -> Iterator[tuple[Resource, Resource]]:
    """(what acts, role that it acts with) of what a service runs for as long as it stands."""
    for user, path in (
        *((cluster, "roleArn") for cluster in graph.of("aws:eks/cluster:Cluster")),
        *((group, "nodeRoleArn") for group in graph.of("aws:eks/nodeGroup:NodeGroup")),
        *((addon, "serviceAccountRoleArn") for addon in graph.of("aws:eks/addon:Addon")),
    ):
        if role := graph.named(user.get(path), ROLE):
            yield user, role
    for addon in graph.of("aws:eks/addon:Addon"):
        for association in items(addon.get("podIdentityAssociations")):
            if role := graph.named(association.get("roleArn"), ROLE):
                yield addon, role
    for service in graph.of("aws:ecs/service:Service"):
        task = graph.named(service.get("taskDefinition"), "aws:ecs/taskDefinition:TaskDefinition")
        for path in ("executionRoleArn", "taskRoleArn") if task else ():
            if role := graph.named(task.get(path) if task else None, ROLE):
                yield service, role
    for host in graph.of("aws:ec2/instance:Instance"):
        template = graph.named(host.get("launchTemplate.id"), "aws:ec2/launchTemplate:LaunchTemplate")
        profile = graph.named(
            template.get("iamInstanceProfile.arn") if template else host.get("iamInstanceProfile"),
            "aws:iam/instanceProfile:InstanceProfile",
        )
        if profile and (role := graph.named(profile.get("role"), ROLE)):
            yield host, role
    for endpoint, model in endpoints_with_models(graph):
        if role := graph.named(model.get("executionRoleArn"), ROLE):
            yield endpoint, role


def endpoints_with_models(graph: Graph) -> Iterator[tuple[Resource, Resource]]:
    """Each SageMaker endpoint with the models that it serves."""
    for endpoint in graph.of(_ENDPOINT):
        config = endpoint_config(graph, endpoint)
        for variant in items(config.get("productionVariants")) if config else ():
            if model := graph.named(variant.get("modelName"), "aws:sagemaker/model:Model"):
                yield endpoint, model


def endpoint_config(graph: Graph, endpoint: Resource) -> Resource | None:
    return graph.named(endpoint.get("endpointConfigName"), "aws:sagemaker/endpointConfiguration:EndpointConfiguration")


def _rights_outlive_users(graph: Graph) -> Iterator[Finding]:
    order = Order(graph)
    rights: dict[str, list[Resource]] = {}
    for right in graph.of(*_RIGHTS) if order.told else ():
        if role := graph.named(right.get("role"), ROLE):
            rights.setdefault(role.urn, []).append(right)
    users = list(role_users(graph))
    for user, role in users:
        # Endpoints of one role may have grants of their own: a right is another one's that this one waits for.
        others = [u for u, r in users if r is role and u is not user and user.type == _ENDPOINT]
        early = [
            right.name
            for right in rights.get(role.urn, ())
            if not order.outlives(right, user) and not any(order.outlives(right, other) for other in others)
        ]
        if early:
            yield Finding(
                "iam-rights-outlive-users",
                user,
                "",
                f"nothing ties it to the rights of its role {role.name} ({', '.join(early)}): `up` may make it before"
                " them, and `destroy` takes them first, so that it cannot clean up behind itself",
                "Let it depend on them (`depends_on`).",
            )


def _access_outlives_objects(graph: Graph) -> Iterator[Finding]:
    order = Order(graph)
    accesses = [access for access in graph.of(*_ACCESS) if order.told]
    objects = [r for r in graph.resources if r.type.startswith("kubernetes:")]
    for access in accesses:
        name = access.get("clusterName")
        # A provider's kubeconfig names the cluster; an object of another cluster needs nothing of this one.
        own = [r for r in objects if _reaches(graph, r, name)]
        early = [r for r in own if not order.outlives(access, r)]
        if early:
            yield Finding(
                "eks-access-outlives-objects",
                access,
                "",
                f"{len(early)} of {len(own)} Kubernetes resources do not depend on it: `destroy` may take it first,"
                " and their deletion then fails with Unauthorized",
                "Let the Kubernetes provider depend on it.",
            )


def _deployer_outlives_objects(graph: Graph) -> Iterator[Finding]:
    order = Order(graph)
    objects = [r for r in graph.resources if r.type.startswith("kubernetes:") and order.told]
    for cluster in graph.of("aws:eks/cluster:Cluster") if objects else ():
        if cluster.get("vpcConfig.endpointPublicAccess") is not False:
            continue
        own = [r for r in objects if _reaches(graph, r, cluster.get("name"))]
        for host in _admitted_hosts(graph, cluster):
            early = [r for r in own if not order.outlives(host, r)]
            if early:
                yield Finding(
                    "eks-deployer-outlives-objects",
                    host,
                    "",
                    f"the API server is reached through it, and {len(early)} of {len(own)} Kubernetes resources do not"
                    " depend on it: `up` may ask before it stands, and `destroy` may take it first",
                    "Let the Kubernetes provider depend on it.",
                )


def _admitted_hosts(graph: Graph, cluster: Resource) -> Iterator[Resource]:
    """Machines whose security group the API server's lets in."""
    names = texts(cluster.get("vpcConfig.securityGroupIds"))
    own = [group for name in names if (group := graph.named(name, "aws:ec2/securityGroup:SecurityGroup"))]
    admitted = {g for group in own for rule in items(group.get("ingress")) for g in texts(rule.get("securityGroups"))}
    for host in graph.of("aws:ec2/instance:Instance"):
        template = graph.named(host.get("launchTemplate.id"), "aws:ec2/launchTemplate:LaunchTemplate")
        groups = texts(host.get("vpcSecurityGroupIds")) or texts(
            template.get("vpcSecurityGroupIds") if template else ()
        )
        if admitted & set(groups):
            yield host


def _reaches(graph: Graph, resource: Resource, cluster: object) -> bool:
    provider = graph.by_urn.get(resource.provider)
    config = provider.get("kubeconfig") if provider else None
    return isinstance(config, str) and isinstance(cluster, str) and f'"{cluster}"' in config


def _identities_before_pods(graph: Graph) -> Iterator[Finding]:
    order = Order(graph)
    for association in graph.of("aws:eks/podIdentityAssociation:PodIdentityAssociation") if order.told else ():
        account, namespace = text(association.get("serviceAccount")), text(association.get("namespace"))
        cluster = association.get("clusterName")
        role = graph.named(association.get("roleArn"), ROLE)
        rights = [r for r in graph.of(*_RIGHTS) if role and graph.named(r.get("role"), ROLE) is role]
        for pods in _workloads(graph, namespace, account):
            early = [r.name for r in (association, *rights) if not order.outlives(r, pods)]
            if early and _reaches(graph, pods, cluster):
                yield Finding(
                    "eks-identity-before-pods",
                    pods,
                    "",
                    f"its pods act as {account}, and nothing makes them wait for {', '.join(early)}: pods that start"
                    " before their association get no credentials until they are restarted",
                    "Let it depend on the association and on the role's rights.",
                )


def _workloads(graph: Graph, namespace: str, account: str) -> Iterator[Resource]:
    for resource in graph.resources:
        if not account or not resource.type.startswith("kubernetes:"):
            continue
        if resource.type == "kubernetes:helm.sh/v3:Release":
            named = resource.get("values.rbac.serviceAccount.name") or resource.get("values.serviceAccount.name")
            if resource.get("namespace") == namespace and named == account:
                yield resource
            continue
        runs_as = resource.get("spec.template.spec.serviceAccountName")
        if resource.get("metadata.namespace") == namespace and runs_as == account:
            yield resource


def _assignments_outlive_users(graph: Graph) -> Iterator[Finding]:
    order = Order(graph)
    assignments = graph.of("azure-native:authorization:RoleAssignment") if order.told else []
    for identity in graph.of("azure-native:managedidentity:UserAssignedIdentity"):
        principal = identity.outputs.get("principalId")
        granted = [a for a in assignments if isinstance(principal, str) and a.get("principalId") == principal]
        for user in graph.of(*_IDENTITY_USERS):
            if identity.id not in _identities(user):
                continue
            # A right on what is made from the user itself cannot come before it.
            early = [a.name for a in granted if not order.outlives(a, user) and not order.outlives(user, a)]
            if early:
                yield Finding(
                    "azure-assignments-outlive-users",
                    user,
                    "identity",
                    f"nothing ties it to rights of its identity ({', '.join(early)}): `up` may make it before them, and"
                    " `destroy` takes them first",
                    "Let it depend on the role assignments.",
                )


def _identities(user: Resource) -> list[str]:
    found = user.get("identity.userAssignedIdentities")
    return [str(key) for key in found] if isinstance(found, dict | list | tuple) else []


RULES: Final = (
    Rule(
        "iam-rights-outlive-users",
        "What a service runs with a role waits for the role's rights, and goes before they do.",
        Source(
            "Terraform's AWS provider, `aws_eks_cluster`: IAM role permissions are created before and deleted after it",
            "https://registry.terraform.io/providers/hashicorp/aws/latest/docs/resources/eks_cluster",
            "2026-11-29",
        ),
        _rights_outlive_users,
    ),
    Rule(
        "eks-access-outlives-objects",
        "Who deletes a cluster's objects needs the access entries until they are gone.",
        Source(
            "terraform-aws-modules/terraform-aws-eks issue 2903",
            "https://github.com/terraform-aws-modules/terraform-aws-eks/issues/2903",
            "2026-11-29",
        ),
        _access_outlives_objects,
    ),
    Rule(
        "eks-deployer-outlives-objects",
        "A private API server is reached through a machine in its network, until the last object is gone.",
        Source(
            "Amazon EKS: access a private-only API server",
            "https://docs.aws.amazon.com/eks/latest/userguide/cluster-endpoint.html",
            "2026-11-29",
        ),
        _deployer_outlives_objects,
    ),
    Rule(
        "eks-identity-before-pods",
        "Pods get the credentials of a Pod Identity association only when they start after it.",
        Source(
            "Amazon EKS: how EKS Pod Identity works",
            "https://docs.aws.amazon.com/eks/latest/userguide/pod-id-how-it-works.html",
            "2026-11-29",
        ),
        _identities_before_pods,
    ),
    Rule(
        "azure-assignments-outlive-users",
        "What acts with an identity waits for the identity's role assignments, and goes before they do.",
        Source(
            "Azure Machine Learning: set up authentication with a user-assigned managed identity",
            "https://learn.microsoft.com/azure/machine-learning/how-to-identity-based-service-authentication",
            "2026-11-29",
        ),
        _assignments_outlive_users,
    ),
)
