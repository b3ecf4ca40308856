"""Every resource type that the product promises, by component. The prod stack, with every target on, has them all."""

from __future__ import annotations

from typing import Final


def _types(package: str, *names: str) -> frozenset[str]:
    return frozenset(f"{package}:{name}" for name in names)


def _aws(*names: str) -> frozenset[str]:
    """``ec2/Vpc`` for ``aws:ec2/vpc:Vpc``."""
    parts = [name.split("/") for name in names]
    return frozenset(f"aws:{module}/{name[0].lower()}{name[1:]}:{name}" for module, name in parts)


_ML: Final = "azure-native:machinelearningservices"

NAMED: Final[dict[str, frozenset[str]]] = {
    "private_cluster": _aws(
        "ec2/Vpc",
        "ec2/Subnet",
        "ec2/VpcEndpoint",
        "ec2/LaunchTemplate",
        "eks/Cluster",
        "eks/NodeGroup",
        "eks/Addon",
        "eks/AccessEntry",
        "iam/OpenIdConnectProvider",
        "iam/Role",
        "kms/Key",
    ),
    "private_cluster, on Kubernetes": _types(
        "kubernetes",
        "core/v1:Namespace",
        "core/v1:ResourceQuota",
        "networking.k8s.io/v1:NetworkPolicy",
        "scheduling.k8s.io/v1:PriorityClass",
        "helm.sh/v3:Release",
    ),
    "model_server": _types(
        "kubernetes",
        "apps/v1:Deployment",
        "core/v1:Service",
        "policy/v1:PodDisruptionBudget",
        "autoscaling/v2:HorizontalPodAutoscaler",
    ),
    "burst, SageMaker": _aws(
        "sagemaker/Model",
        "sagemaker/EndpointConfiguration",
        "sagemaker/Endpoint",
        "appautoscaling/Target",
        "appautoscaling/Policy",
        "cloudwatch/MetricAlarm",
    ),
    "burst, Azure ML": _types(_ML, "Workspace", "OnlineEndpoint", "OnlineDeployment", "ModelVersion")
    | _types(
        "azure-native",
        "storage:StorageAccount",
        "keyvault:Vault",
        "containerregistry:Registry",
        "applicationinsights:Component",
        "resources:Deployment",
        "monitor:AutoscaleSetting",
        "monitor:DiagnosticSetting",
        "network:PrivateEndpoint",
        "managedidentity:UserAssignedIdentity",
    ),
    "connectivity": _aws("ec2/VpnConnection", "ec2/VpnGateway", "ec2/CustomerGateway", "ec2/Instance")
    | _types(
        "azure-native",
        "network:VirtualNetwork",
        "privatedns:PrivateZone",
    ),
    "gateway": _aws(
        "ecs/Cluster",
        "ecs/Service",
        "ecs/TaskDefinition",
        "lb/LoadBalancer",
        "lb/Listener",
        "lb/TargetGroup",
        "acm/Certificate",
    )
    | _types("kubernetes", "core/v1:ConfigMap"),
    "failover_dns": _aws("route53/Zone", "route53/Record", "route53/HealthCheck", "cloudwatch/MetricAlarm"),
    "cost_guard": _aws(
        "lambda/Function",
        "scheduler/Schedule",
        "budgets/Budget",
        "sns/Topic",
        "ssm/Parameter",
        "cloudwatch/MetricAlarm",
    )
    | _types("azure-native", "consumption:Budget"),
    "model_store": _aws("s3/Bucket", "s3/BucketVersioning", "s3/BucketPolicy", "sagemaker/ModelPackageGroup")
    | _types("azure-native", "storage:BlobContainer", "containerinstance:ContainerGroup"),
    "monitoring": _aws("cloudwatch/Dashboard", "cloudwatch/CompositeAlarm")
    | _types("azure-native", "portal:Dashboard", "monitor:MetricAlert")
    | _types("kubernetes", "monitoring.coreos.com/v1:PrometheusRule"),
}
