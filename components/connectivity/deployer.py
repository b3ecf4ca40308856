"""The machine by which a deployer reaches private API servers: no public address, no open port."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import Literal

import pulumi
import pulumi_aws as aws

from components.aws_documents import assumed_by, partition, policy
from components.base import Component, StackContext
from components.connectivity.settings import DeployerHostSettings


@dataclass(frozen=True)
class DeployerHostArgs:
    """``purpose``: ``in_vpc_runner`` runs deployments itself, ``tunnel`` only forwards the deployer's connections."""

    settings: DeployerHostSettings
    purpose: Literal["in_vpc_runner", "tunnel"]
    region: str
    vpc_id: pulumi.Input[str]
    subnet_id: pulumi.Input[str]


class DeployerHost(Component):
    """Outputs: ``instance_id``, ``security_group_id`` (let it in at the API server), ``role_arn``, ``ready`` (who
    deploys through it depends on these, and is deleted before them)."""

    def __init__(
        self, context: StackContext, args: DeployerHostArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("connectivity-deployer", context, opts)
        self.args = args
        prefix = context.prefix
        group = aws.ec2.SecurityGroup(
            f"{prefix}-deployer",
            description="Machine of the deployer: nobody calls it, it calls APIs",
            vpc_id=args.vpc_id,
            egress=[
                aws.ec2.SecurityGroupEgressArgs(
                    protocol="tcp", from_port=443, to_port=443, cidr_blocks=["0.0.0.0/0"], description="HTTPS"
                )
            ],
            tags=self._tags(),
            opts=self.child(),
        )
        self.security_group_id = group.id
        role, rights = self._role()
        self.role_arn = role.arn
        profile = aws.iam.InstanceProfile(f"{prefix}-deployer", role=role.name, tags=context.tags, opts=self.child())
        template = self._launch_template(group, profile)
        instance = aws.ec2.Instance(
            f"{prefix}-deployer",
            subnet_id=args.subnet_id,
            launch_template=aws.ec2.InstanceLaunchTemplateArgs(
                id=template.id, version=template.latest_version.apply(str)
            ),
            tags=self._tags(),
            opts=self.child(depends_on=rights),
        )
        self.instance_id = instance.id
        self.ready: list[pulumi.Resource] = [instance]
        self.register_outputs({"instance_id": self.instance_id, "security_group_id": self.security_group_id})

    def tunnel_command(self, endpoint: pulumi.Input[str]) -> pulumi.Output[str]:
        """What the deployer runs and keeps open while deploying, for an API server's ``https://`` endpoint."""
        return pulumi.Output.all(self.instance_id, endpoint).apply(
            lambda found: tunnel_command(found[0], found[1], self.args.region, self.args.settings.tunnel_port)
        )

    def _tags(self) -> dict[str, str]:
        return {**self.context.tags, "Name": f"{self.context.prefix}-deployer"}

    def _role(self) -> tuple[aws.iam.Role, list[pulumi.Resource]]:
        prefix, settings = self.context.prefix, self.args.settings
        role = aws.iam.Role(
            f"{prefix}-deployer-role",
            description="Lets Session Manager reach the deployer's machine",
            assume_role_policy=assumed_by("ec2.amazonaws.com"),
            tags=self.context.tags,
            opts=self.child(),
        )
        rights: list[pulumi.Resource] = [
            aws.iam.RolePolicyAttachment(
                f"{prefix}-deployer-session-manager",
                role=role.name,
                policy_arn=f"arn:{partition(self.args.region)}:iam::aws:policy/AmazonSSMManagedInstanceCore",
                opts=self.child(),
            )
        ]
        if self.args.purpose == "in_vpc_runner" and settings.deploy_role_arn:
            assume = {"Effect": "Allow", "Action": "sts:AssumeRole", "Resource": settings.deploy_role_arn}
            rights.append(
                aws.iam.RolePolicy(
                    f"{prefix}-deployer-assume", role=role.name, policy=policy(assume), opts=self.child()
                )
            )
        return role, rights

    def _launch_template(
        self, group: aws.ec2.SecurityGroup, profile: aws.iam.InstanceProfile
    ) -> aws.ec2.LaunchTemplate:
        settings = self.args.settings
        script = settings.setup_script if self.args.purpose == "in_vpc_runner" else None
        return aws.ec2.LaunchTemplate(
            f"{self.context.prefix}-deployer",
            description=f"{self.args.purpose} of {self.context.prefix}",
            update_default_version=True,
            image_id=f"resolve:ssm:{settings.image_parameter}",
            instance_type=settings.instance_type,
            iam_instance_profile=aws.ec2.LaunchTemplateIamInstanceProfileArgs(arn=profile.arn),
            vpc_security_group_ids=[group.id],
            metadata_options=aws.ec2.LaunchTemplateMetadataOptionsArgs(
                http_endpoint="enabled", http_tokens="required", http_put_response_hop_limit=1
            ),
            block_device_mappings=[
                aws.ec2.LaunchTemplateBlockDeviceMappingArgs(
                    device_name="/dev/xvda",
                    ebs=aws.ec2.LaunchTemplateBlockDeviceMappingEbsArgs(
                        volume_type="gp3",
                        volume_size=settings.disk_gib,
                        encrypted="true",
                        delete_on_termination="true",
                    ),
                )
            ],
            monitoring=aws.ec2.LaunchTemplateMonitoringArgs(enabled=True),
            user_data=base64.b64encode(f"#!/bin/bash\nset -eu\n{script}\n".encode()).decode() if script else None,
            tag_specifications=[
                aws.ec2.LaunchTemplateTagSpecificationArgs(resource_type=kind, tags=self._tags())
                for kind in ("instance", "volume", "network-interface")
            ],
            tags=self.context.tags,
            opts=self.child(),
        )


def tunnel_command(instance_id: str, endpoint: str, region: str, port: int) -> str:
    """A Session Manager port forward from this machine to an API server."""
    host = endpoint.removeprefix("https://").partition("/")[0]
    return (
        f"aws ssm start-session --region {region} --target {instance_id} "
        "--document-name AWS-StartPortForwardingSessionToRemoteHost "
        f"--parameters host={host},portNumber=443,localPortNumber={port}"
    )
