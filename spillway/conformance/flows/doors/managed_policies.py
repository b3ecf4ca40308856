"""What AWS' managed policies allow, as far as flows ask of it.

Source: https://docs.aws.amazon.com/aws-managed-policy/latest/reference/policy-list.html. A test holds
this table against the policies that moto carries.
"""

from __future__ import annotations

from typing import Final

_POLICY: Final = "arn:aws:iam::aws:policy/"

MANAGED: Final[dict[str, tuple[str, ...]]] = {
    f"{_POLICY}AmazonSSMManagedInstanceCore": (
        "ssm:UpdateInstanceInformation",
        "ssmmessages:CreateControlChannel",
        "ssmmessages:OpenDataChannel",
        "ec2messages:GetMessages",
    ),
    f"{_POLICY}AmazonEKSClusterPolicy": (
        "ec2:DescribeSubnets",
        "ec2:DescribeInstances",
        "elasticloadbalancing:DescribeLoadBalancers",
    ),
    f"{_POLICY}AmazonEKSWorkerNodePolicy": (
        "ec2:DescribeInstances",
        "ec2:DescribeVpcs",
        "eks:DescribeCluster",
        "eks-auth:AssumeRoleForPodIdentity",
    ),
    f"{_POLICY}AmazonEC2ContainerRegistryPullOnly": (
        "ecr:GetAuthorizationToken",
        "ecr:BatchGetImage",
        "ecr:GetDownloadUrlForLayer",
    ),
    f"{_POLICY}AmazonEC2ContainerRegistryReadOnly": (
        "ecr:GetAuthorizationToken",
        "ecr:BatchGetImage",
        "ecr:GetDownloadUrlForLayer",
    ),
    f"{_POLICY}AmazonEKS_CNI_Policy": (
        "ec2:AssignPrivateIpAddresses",
        "ec2:AttachNetworkInterface",
        "ec2:CreateNetworkInterface",
        "ec2:DescribeInstances",
    ),
    f"{_POLICY}service-role/AmazonEBSCSIDriverPolicy": ("ec2:CreateVolume", "ec2:AttachVolume", "ec2:DescribeVolumes"),
}
"""ARN → actions that it allows on what the plan makes. A policy that is not here is not judged."""
