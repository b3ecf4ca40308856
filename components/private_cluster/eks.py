"""The private GPU cluster on EKS: private API endpoint, encrypted secrets and volumes, system and GPU node groups."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from dataclasses import dataclass

import pulumi
import pulumi_aws as aws

from components.aws_documents import (
    assumed_by,
    assumed_by_pod,
    assumed_by_service_account,
    key_policy,
    key_via_service,
    partition,
    policy,
)
from components.aws_parts import own_key
from components.base import Component, StackContext
from components.connectivity.image_caches import first_pull
from components.connectivity.settings import is_private
from components.private_cluster.balancer_controller import balancer_controller_statements
from components.private_cluster.efa import HUGE_PAGES, Fabric, efa_fabric
from components.private_cluster.eks_kubeconfig import kubeconfig
from components.private_cluster.node_user_data import gpu_node_user_data
from components.private_cluster.operators import GPU_NODES, NODES_FROM_ZERO
from components.private_cluster.settings import GPU_TAINT_KEYS, EksGpuPool, EksSettings, EksSystemPool, Taint
from spillway.contracts.names import LABEL_PREFIX

CONTROL_PLANE_LOGS = ["api", "audit", "authenticator", "controllerManager", "scheduler"]

_TAINT_EFFECTS = {
    "NoSchedule": "NO_SCHEDULE",
    "PreferNoSchedule": "PREFER_NO_SCHEDULE",
    "NoExecute": "NO_EXECUTE",
}


@dataclass(frozen=True)
class EksArgs:
    """``logs_key_arn``: KMS key of the log groups. ``api_cidrs``: the deployer's networks. ``api_security_group_ids``:
    security groups that may reach the API server, the deployer's host for one. ``tunnel_port``: local port of the
    deployer's tunnel, where the API server is reached through one. ``pulls_through``: nodes pull from ECR's caches.
    ``one_zone``: GPU nodes stand in one zone, as a server on several of them does; a node group of several zones grows
    in any of them, and would bring nodes that no server can use. ``efa``: GPU nodes reach each other by EFA."""

    settings: EksSettings
    region: str
    account_id: str
    vpc_id: pulumi.Input[str]
    private_subnet_ids: Sequence[pulumi.Input[str]]
    logs_key_arn: pulumi.Input[str]
    api_cidrs: Sequence[str] = ()
    api_security_group_ids: Sequence[pulumi.Input[str]] = ()
    tunnel_port: int | None = None
    pulls_through: bool = False
    one_zone: bool = False
    efa: bool = False


class Eks(Component):
    """Outputs: ``name``, ``endpoint``, ``certificate_authority`` (base64 PEM), ``kubeconfig`` (secret, JSON),
    ``oidc_provider_arn``, ``oidc_issuer_url``, ``node_security_group_id``, ``node_role_arn``, ``autoscaler_role_arn``,
    ``volumes_key_arn``, ``ready`` (resources to depend on before workloads are deployed)."""

    def __init__(self, context: StackContext, args: EksArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("private-cluster", context, opts)
        self.args = args
        self.settings = args.settings
        # By role: what acts with it waits for these, and is deleted before them.
        self._rights: dict[str, list[pulumi.Resource]] = {}
        self.cluster = self._cluster()
        self.name = self.cluster.name
        self.endpoint = self.cluster.endpoint
        self.certificate_authority = self.cluster.certificate_authority.apply(
            lambda authority: authority.data if authority else None
        )
        self.node_security_group_id = self.cluster.vpc_config.apply(lambda vpc: vpc.cluster_security_group_id)
        self._oidc_provider()
        access = self._access()
        self.kubeconfig = self._kubeconfig()

        self.volumes_key_arn = self._volumes_key()
        self.node_role = self._node_role()
        self.node_role_arn = self.node_role.arn
        before_nodes = self._addons_before_nodes()
        node_groups = self._node_groups(before_nodes)
        self.autoscaler_role_arn, autoscaler_rights = self._autoscaler_role()
        balancer_rights = self._balancer_rights()
        after_nodes = self._addons_after_nodes(node_groups)
        # Without its access entries nobody can take the cluster's objects away again.
        self.ready: list[pulumi.Resource] = [*access, *node_groups, *after_nodes, *autoscaler_rights, *balancer_rights]
        self.register_outputs(
            {
                "name": self.name,
                "endpoint": self.endpoint,
                "kubeconfig": self.kubeconfig,
                "oidc_provider_arn": self.oidc_provider_arn,
                "oidc_issuer_url": self.oidc_issuer_url,
                "node_security_group_id": self.node_security_group_id,
                "node_role_arn": self.node_role_arn,
            }
        )

    def _key(self, name: str, description: str, key_document: str) -> aws.kms.Key:
        return own_key(
            self,
            f"{self.context.prefix}-{name}",
            description,
            key_document,
            holds_data=True,
            deletion_days=self.settings.key_deletion_days,
        )

    def _volumes_key(self) -> pulumi.Output[str]:
        region, account = self.args.region, self.args.account_id
        document = key_policy(
            region, account, key_via_service(region, account, "ec2"), key_via_service(region, account, "autoscaling")
        )
        return self._key("volumes", f"Volumes of {self.context.prefix}", document).arn

    def _role(self, name: str, description: str, trust: pulumi.Input[str], *managed: str) -> aws.iam.Role:
        role = aws.iam.Role(
            f"{self.context.prefix}-{name}-role",
            description=description,
            assume_role_policy=trust,
            tags=self.context.tags,
            opts=self.child(),
        )
        self._rights[name] = [
            aws.iam.RolePolicyAttachment(
                f"{self.context.prefix}-{name}-{policy_path.rsplit('/', 1)[-1]}",
                role=role.name,
                policy_arn=f"arn:{partition(self.args.region)}:iam::aws:policy/{policy_path}",
                opts=self.child(),
            )
            for policy_path in managed
        ]
        return role

    def _cluster(self) -> aws.eks.Cluster:
        prefix, args = self.context.prefix, self.args
        secrets_key = self._key("secrets", f"Kubernetes secrets of {prefix}", key_policy(args.region, args.account_id))
        role = self._role(
            "cluster",
            "Lets EKS run the control plane",
            assumed_by("eks.amazonaws.com", args.account_id),
            "AmazonEKSClusterPolicy",
        )
        key_use = aws.iam.RolePolicy(
            f"{prefix}-cluster-key-policy",
            role=role.name,
            policy=secrets_key.arn.apply(
                lambda arn: policy(
                    {
                        "Effect": "Allow",
                        "Action": ["kms:Encrypt", "kms:Decrypt", "kms:ListGrants", "kms:DescribeKey"],
                        "Resource": arn,
                    }
                )
            ),
            opts=self.child(),
        )
        logs = aws.cloudwatch.LogGroup(
            f"{prefix}-control-plane-logs",
            name=f"/aws/eks/{prefix}/cluster",
            kms_key_id=args.logs_key_arn,
            retention_in_days=self.settings.log_retention_days,
            tags=self.context.tags,
            opts=self.child(),
        )
        private_cidrs, public_cidrs = self._api_networks()
        return aws.eks.Cluster(
            f"{prefix}-cluster",
            name=prefix,
            role_arn=role.arn,
            version=self.settings.kubernetes_version,
            # EKS creates unmanaged copies of the add-ons otherwise.
            bootstrap_self_managed_addons=False,
            access_config=aws.eks.ClusterAccessConfigArgs(
                authentication_mode="API",
                # Who deploys makes the cluster's objects, whoever else administers it.
                bootstrap_cluster_creator_admin_permissions=True,
            ),
            vpc_config=aws.eks.ClusterVpcConfigArgs(
                subnet_ids=args.private_subnet_ids,
                security_group_ids=[self._api_security_group(private_cidrs)],
                endpoint_private_access=True,
                endpoint_public_access=bool(public_cidrs),
                public_access_cidrs=public_cidrs or None,
            ),
            kubernetes_network_config=aws.eks.ClusterKubernetesNetworkConfigArgs(
                service_ipv4_cidr=self.settings.service_cidr
            ),
            encryption_config=aws.eks.ClusterEncryptionConfigArgs(
                provider=aws.eks.ClusterEncryptionConfigProviderArgs(key_arn=secrets_key.arn), resources=["secrets"]
            ),
            enabled_cluster_log_types=CONTROL_PLANE_LOGS,
            upgrade_policy=aws.eks.ClusterUpgradePolicyArgs(support_type="STANDARD"),
            tags=self.context.tags,
            opts=self.child(
                depends_on=[logs, key_use, *self._rights["cluster"]],
                # These count at creation alone: of clusters that were made without them, they must not make new ones.
                ignore_changes=["accessConfig.bootstrapClusterCreatorAdminPermissions", "kubernetesNetworkConfig"],
            ),
        )

    def _api_networks(self) -> tuple[list[str], list[str]]:
        """The networks that may reach the API server: private ones by security group, public ones by its public
        endpoint, which exists for nobody else."""
        cidrs = [*self.args.api_cidrs, *self.settings.authorised_cidrs]
        private = [cidr for cidr in cidrs if is_private(cidr)]
        return private, [cidr for cidr in cidrs if cidr not in private]

    def _api_security_group(self, cidrs: list[str]) -> pulumi.Output[str]:
        rules = []
        if cidrs:
            rules.append(_https(cidr_blocks=cidrs, description="Authorised networks"))
        if self.args.api_security_group_ids:
            rules.append(_https(security_groups=self.args.api_security_group_ids, description="Deployer"))
        group = aws.ec2.SecurityGroup(
            f"{self.context.prefix}-api-server",
            description="Who may reach the Kubernetes API server",
            vpc_id=self.args.vpc_id,
            ingress=rules,
            tags={**self.context.tags, "Name": f"{self.context.prefix}-api-server"},
            opts=self.child(),
        )
        return group.id

    def _oidc_provider(self) -> None:
        self.oidc_issuer_url: pulumi.Output[str] = self.cluster.identities.apply(
            lambda identities: (identities[0].oidcs[0].issuer if identities and identities[0].oidcs else None) or ""
        )
        provider = aws.iam.OpenIdConnectProvider(
            f"{self.context.prefix}-oidc",
            url=self.oidc_issuer_url,
            client_id_lists=["sts.amazonaws.com"],
            thumbprint_lists=[self.settings.oidc_thumbprint],
            tags=self.context.tags,
            opts=self.child(),
        )
        self.oidc_provider_arn = provider.arn

    def _access(self) -> list[pulumi.Resource]:
        settings = self.settings
        return [
            *(self._access_entry(arn, "admin", "AmazonEKSClusterAdminPolicy") for arn in settings.admin_role_arns),
            *(self._access_entry(arn, "viewer", "AmazonEKSViewPolicy") for arn in settings.viewer_role_arns),
        ]

    def _access_entry(self, principal_arn: str, kind: str, access_policy: str) -> pulumi.Resource:
        name = f"{self.context.prefix}-{kind}-{principal_arn.rsplit('/', 1)[-1]}"
        entry = aws.eks.AccessEntry(
            name,
            cluster_name=self.cluster.name,
            principal_arn=principal_arn,
            type="STANDARD",
            tags=self.context.tags,
            opts=self.child(),
        )
        return aws.eks.AccessPolicyAssociation(
            name,
            cluster_name=self.cluster.name,
            principal_arn=principal_arn,
            policy_arn=f"arn:{partition(self.args.region)}:eks::aws:cluster-access-policy/{access_policy}",
            access_scope=aws.eks.AccessPolicyAssociationAccessScopeArgs(type="cluster"),
            opts=self.child(depends_on=[entry]),
        )

    def _kubeconfig(self) -> pulumi.Output[str]:
        parts = pulumi.Output.all(self.name, self.endpoint, self.certificate_authority)
        return pulumi.Output.secret(
            parts.apply(lambda found: kubeconfig(*found, region=self.args.region, tunnel_port=self.args.tunnel_port))
        )

    def _node_role(self) -> aws.iam.Role:
        role = self._role(
            "node",
            "Lets nodes join the cluster and pull images; pods have roles of their own",
            assumed_by("ec2.amazonaws.com"),
            "AmazonEKSWorkerNodePolicy",
            "AmazonEC2ContainerRegistryPullOnly",
            "AmazonSSMManagedInstanceCore",
        )
        if self.args.pulls_through:
            document = policy(first_pull(self.context, self.args.region, self.args.account_id))
            pulls = aws.iam.RolePolicy(
                f"{self.context.prefix}-node-caches-policy", role=role.name, policy=document, opts=self.child()
            )
            self._rights["node"].append(pulls)
        return role

    def _launch_template(
        self, name: str, pool: EksSystemPool | EksGpuPool, user_data: str | None, fabric: Fabric | None
    ) -> aws.ec2.LaunchTemplate:
        prefix = self.context.prefix
        tags = {**self.context.tags, "Name": f"{prefix}-{name}"}
        return aws.ec2.LaunchTemplate(
            f"{prefix}-{name}",
            description=f"{name} nodes of {prefix}",
            update_default_version=True,
            metadata_options=aws.ec2.LaunchTemplateMetadataOptionsArgs(
                http_endpoint="enabled",
                http_tokens="required",
                http_put_response_hop_limit=self.settings.metadata_hop_limit,
            ),
            block_device_mappings=[
                aws.ec2.LaunchTemplateBlockDeviceMappingArgs(
                    device_name="/dev/xvda",
                    ebs=aws.ec2.LaunchTemplateBlockDeviceMappingEbsArgs(
                        volume_type="gp3",
                        volume_size=pool.disk_gib,
                        encrypted="true",
                        kms_key_id=self.volumes_key_arn,
                        delete_on_termination="true",
                    ),
                )
            ],
            monitoring=aws.ec2.LaunchTemplateMonitoringArgs(enabled=True),
            user_data=base64.b64encode(user_data.encode()).decode() if user_data else None,
            network_interfaces=fabric.interfaces if fabric else None,
            placement=fabric.placement if fabric else None,
            tag_specifications=[
                aws.ec2.LaunchTemplateTagSpecificationArgs(resource_type=kind, tags=tags)
                for kind in ("instance", "volume", "network-interface")
            ],
            tags=self.context.tags,
            opts=self.child(),
        )

    def _node_groups(self, depends_on: list[pulumi.Resource]) -> list[aws.eks.NodeGroup]:
        gpu = self.settings.gpu_pool
        resource = GPU_TAINT_KEYS[self.settings.accelerator]
        fabric = None
        if self.args.efa:
            fabric = efa_fabric(self, gpu.instance_type, self.args.vpc_id, self.node_security_group_id.apply(str))
        return [
            self._node_group("system", self.settings.system_pool, {}, (), depends_on),
            self._node_group(
                "gpu",
                gpu,
                {**GPU_NODES, NODES_FROM_ZERO: gpu.instance_type.partition(".")[0]},
                (Taint(key=resource, value="present"), *gpu.taints),
                depends_on,
                subnets=self.args.private_subnet_ids[:1] if self.args.one_zone else None,
                capacity_type=gpu.capacity_type,
                user_data=gpu_node_user_data(huge_pages=HUGE_PAGES if fabric else 0),
                fabric=fabric,
            ),
        ]

    def _node_group(
        self,
        name: str,
        pool: EksSystemPool | EksGpuPool,
        labels: dict[str, str],
        taints: Sequence[Taint],
        depends_on: list[pulumi.Resource],
        subnets: Sequence[pulumi.Input[str]] | None = None,
        capacity_type: str = "ON_DEMAND",
        user_data: str | None = None,
        fabric: Fabric | None = None,
    ) -> aws.eks.NodeGroup:
        template = self._launch_template(name, pool, user_data, fabric)
        return aws.eks.NodeGroup(
            f"{self.context.prefix}-{name}",
            cluster_name=self.cluster.name,
            node_role_arn=self.node_role.arn,
            subnet_ids=subnets or self.args.private_subnet_ids,
            version=self.settings.kubernetes_version,
            ami_type=pool.ami_type,
            capacity_type=capacity_type,
            instance_types=[pool.instance_type],
            launch_template=aws.eks.NodeGroupLaunchTemplateArgs(
                id=template.id, version=template.latest_version.apply(str)
            ),
            scaling_config=aws.eks.NodeGroupScalingConfigArgs(
                min_size=pool.min_nodes, max_size=pool.max_nodes, desired_size=pool.start_nodes
            ),
            update_config=aws.eks.NodeGroupUpdateConfigArgs(max_unavailable=1),
            node_repair_config=aws.eks.NodeGroupNodeRepairConfigArgs(enabled=True),
            labels={**labels, f"{LABEL_PREFIX}pool": name, **pool.labels},
            taints=[
                aws.eks.NodeGroupTaintArgs(key=taint.key, value=taint.value, effect=_TAINT_EFFECTS[taint.effect])
                for taint in taints
            ],
            tags=self.context.tags,
            # The autoscaler moves the size between its bounds; an `up` must not move it back.
            opts=self.child(
                depends_on=[*depends_on, *self._rights["node"]], ignore_changes=["scalingConfig.desiredSize"]
            ),
        )

    def _addon(
        self,
        name: str,
        depends_on: list[pulumi.Resource],
        configuration: dict[str, object] | None = None,
        role: aws.iam.Role | None = None,
        pod_identity: aws.eks.AddonPodIdentityAssociationArgs | None = None,
    ) -> aws.eks.Addon:
        return aws.eks.Addon(
            f"{self.context.prefix}-{name}",
            cluster_name=self.cluster.name,
            addon_name=name,
            addon_version=self._addon_version(name),
            configuration_values=json.dumps(configuration) if configuration else None,
            service_account_role_arn=role.arn if role else None,
            pod_identity_associations=[pod_identity] if pod_identity else None,
            resolve_conflicts_on_create="OVERWRITE",
            resolve_conflicts_on_update="PRESERVE",
            tags=self.context.tags,
            opts=self.child(depends_on=depends_on),
        )

    def _addon_version(self, name: str) -> str:
        """EKS's default for this Kubernetes, unless the settings name one: an add-on without a version stays at what it
        was made with, however often Kubernetes is raised."""
        if given := self.settings.addon_versions.get(name):
            return given
        opts = pulumi.InvokeOptions(provider=self.context.aws)
        version = self.settings.kubernetes_version
        return aws.eks.get_addon_version(addon_name=name, kubernetes_version=version, opts=opts).version

    def _addons_before_nodes(self) -> list[pulumi.Resource]:
        """What a node needs to become Ready, and what hands roles to pods."""
        network_role = self._role(
            "vpc-cni",
            "Lets the network plugin give pods addresses",
            pulumi.Output.all(self.oidc_provider_arn, self.oidc_issuer_url).apply(
                lambda found: assumed_by_service_account(found[0], found[1], "kube-system", "aws-node")
            ),
            "AmazonEKS_CNI_Policy",
        )
        return [
            # Network policies do nothing until the plugin enforces them.
            self._addon("vpc-cni", self._rights["vpc-cni"], {"enableNetworkPolicy": "true"}, role=network_role),
            self._addon("kube-proxy", []),
            self._addon("eks-pod-identity-agent", []),
        ]

    def _addons_after_nodes(self, node_groups: Sequence[pulumi.Resource]) -> list[pulumi.Resource]:
        storage_role = self._role(
            "ebs-csi",
            "Lets the storage driver manage the cluster's volumes",
            assumed_by_pod(),
            "service-role/AmazonEBSCSIDriverPolicy",
        )
        key_use = aws.iam.RolePolicy(
            f"{self.context.prefix}-ebs-csi-key-policy",
            role=storage_role.name,
            policy=self.volumes_key_arn.apply(_volume_key_use),
            opts=self.child(),
        )
        nodes = list(node_groups)
        return [
            self._addon("coredns", nodes),
            self._addon("metrics-server", nodes),
            self._addon(
                "aws-ebs-csi-driver",
                [*nodes, *self._rights["ebs-csi"], key_use],
                pod_identity=aws.eks.AddonPodIdentityAssociationArgs(
                    role_arn=storage_role.arn, service_account="ebs-csi-controller-sa"
                ),
            ),
        ]

    def _autoscaler_role(self) -> tuple[pulumi.Output[str], list[pulumi.Resource]]:
        """EKS tags the groups of managed nodes with ``k8s.io/cluster-autoscaler/<cluster>: owned``: only those are
        resized. Their labels and taints are read from EKS, so that the GPU group can grow from zero."""
        prefix = self.context.prefix
        region, account = self.args.region, self.args.account_id
        look = [
            "autoscaling:DescribeAutoScalingGroups",
            "autoscaling:DescribeAutoScalingInstances",
            "autoscaling:DescribeLaunchConfigurations",
            "autoscaling:DescribeScalingActivities",
            "autoscaling:DescribeTags",
            "ec2:DescribeImages",
            "ec2:DescribeInstanceTypes",
            "ec2:DescribeLaunchTemplateVersions",
            "ec2:GetInstanceTypesFromInstanceRequirements",
        ]
        chart = self.settings.autoscaler
        return self._controller(
            "autoscaler",
            "Lets the cluster autoscaler resize this cluster's node groups",
            (chart.namespace, chart.service_account),
            policy(
                # These have no resource-level permissions.
                {"Effect": "Allow", "Action": look, "Resource": "*"},
                {
                    "Effect": "Allow",
                    "Action": "eks:DescribeNodegroup",
                    "Resource": f"arn:{partition(region)}:eks:{region}:{account}:nodegroup/{prefix}/*/*",
                },
                {
                    "Effect": "Allow",
                    "Action": [
                        "autoscaling:SetDesiredCapacity",
                        "autoscaling:TerminateInstanceInAutoScalingGroup",
                    ],
                    "Resource": f"arn:{partition(region)}:autoscaling:{region}:{account}:autoScalingGroup:*",
                    "Condition": {"StringEquals": {f"aws:ResourceTag/k8s.io/cluster-autoscaler/{prefix}": "owned"}},
                },
            ),
        )

    def _balancer_rights(self) -> list[pulumi.Resource]:
        """What turns Services into load balancers; in-tree controllers make none of the kind that is asked for."""
        chart = self.settings.load_balancer_controller
        if not chart.enabled:
            return []
        _, rights = self._controller(
            "balancer-controller",
            "Lets the load balancer controller make this cluster's load balancers",
            (chart.namespace, chart.service_account),
            policy(*balancer_controller_statements(self.args.region)),
        )
        return rights

    def _controller(
        self, name: str, description: str, account: tuple[str, str], document: pulumi.Input[str]
    ) -> tuple[pulumi.Output[str], list[pulumi.Resource]]:
        """The role of a controller's pods, and what they wait for. ``account``: namespace and service account."""
        role = self._role(name, description, assumed_by_pod())
        rights = aws.iam.RolePolicy(
            f"{self.context.prefix}-{name}-policy", role=role.name, policy=document, opts=self.child()
        )
        # Pods that start before it would have no credentials.
        association = aws.eks.PodIdentityAssociation(
            f"{self.context.prefix}-{name}",
            cluster_name=self.cluster.name,
            namespace=account[0],
            service_account=account[1],
            role_arn=role.arn,
            tags=self.context.tags,
            opts=self.child(),
        )
        return role.arn, [rights, association]


def _volume_key_use(key_arn: str) -> str:
    use = ["kms:Encrypt", "kms:Decrypt", "kms:ReEncrypt*", "kms:GenerateDataKey*", "kms:DescribeKey"]
    return policy(
        {"Effect": "Allow", "Action": use, "Resource": key_arn},
        {
            "Effect": "Allow",
            "Action": "kms:CreateGrant",
            "Resource": key_arn,
            "Condition": {"Bool": {"kms:GrantIsForAWSResource": "true"}},
        },
    )


def _https(
    description: str,
    cidr_blocks: Sequence[str] | None = None,
    security_groups: Sequence[pulumi.Input[str]] | None = None,
) -> aws.ec2.SecurityGroupIngressArgs:
    return aws.ec2.SecurityGroupIngressArgs(
        protocol="tcp",
        from_port=443,
        to_port=443,
        description=description,
        cidr_blocks=cidr_blocks,
        security_groups=security_groups,
    )
