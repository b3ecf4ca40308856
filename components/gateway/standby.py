"""The standby gateway: Envoy and its agent on Fargate behind a TLS load balancer, for when the private site is gone."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from math import ceil
from pathlib import PurePosixPath
from typing import Any, Literal, NamedTuple

import pulumi
import pulumi_aws as aws

from components.aws_documents import Statement, assumed_by, partition, policy
from components.base import Component, StackContext
from components.connectivity.image_caches import first_pull
from components.connectivity.settings import MirrorSettings
from components.gateway.firewall import firewall
from components.gateway.rights import burst_rights, metrics_rights
from components.gateway.settings import GatewaySettings
from components.gateway.standby_peers import name_of_all
from components.retention import RetentionDays
from spillway.contracts import metrics
from spillway.contracts.routing import ANSWER_TIMEOUT_S
from spillway.contracts.task_files import FILES_VARIABLE, FOLDERS_VARIABLE, OWNER_VARIABLE, SECRETS_VARIABLE, pack

CONFIG_FOLDER = "/etc/spillway"
ENVOY_FILE = f"{CONFIG_FOLDER}/envoy.yaml"
ROUTING_FILE = f"{CONFIG_FOLDER}/routing.json"
USER = "10001"
"""A user id that no image needs to know."""

TLS_POLICY = "ELBSecurityPolicy-TLS13-1-2-2021-06"
INSIGHTS_DAYS: RetentionDays = 30
"""Days that Container Insights' figures are kept."""


@dataclass(frozen=True)
class StandbyGatewayArgs:
    """``host``: name on the issued certificate. ``envoy_yaml``, ``routing_json``: of ``table.standby()``, without
    TLS on its listener. ``secret_files``: path in the container -> content, e.g. a burst site's key. ``endpoint_arns``:
    the burst endpoints; ``tokens``: some of them take a token that the gateway makes; ``gateway_rights``: statements of
    sites about what else its agent calls."""

    settings: GatewaySettings
    mirror: MirrorSettings
    region: str
    account_id: str
    exposure: Literal["internal", "public"]
    host: str
    vpc_id: pulumi.Input[str]
    vpc_cidr: str
    private_subnet_ids: Sequence[pulumi.Input[str]]
    public_subnet_ids: Sequence[pulumi.Input[str]]
    client_cidrs: Sequence[str]
    certificate_arn: pulumi.Input[str]
    logs_key_arn: pulumi.Input[str]
    envoy_yaml: pulumi.Input[str]
    routing_json: pulumi.Input[str]
    endpoint_arns: Sequence[pulumi.Input[str]] = ()
    tokens: bool = False
    parameter_arns: Sequence[pulumi.Input[str]] = ()
    gateway_rights: Sequence[pulumi.Input[Sequence[Statement]]] = ()
    secrets_key_arn: pulumi.Input[str] | None = None
    secret_files: Mapping[str, pulumi.Input[str]] = field(default_factory=dict)
    environment: Mapping[str, pulumi.Input[str]] = field(default_factory=dict)
    answer_timeout_s: pulumi.Input[float] = ANSWER_TIMEOUT_S
    port: int = 8080
    agent_port: int = 9902
    runtime_dir: str = "/var/run/spillway"
    log_retention_days: RetentionDays = 90


def _idle_timeout(answer_timeout_s: float) -> int:
    """Seconds. An answer in one piece is silent until it is whole, and Envoy, which tells why, has to be the first to
    give up. 4000 is the balancer's most (botocore's model of ``idle_timeout.timeout_seconds``)."""
    return min(ceil(max(answer_timeout_s, ANSWER_TIMEOUT_S)) + 10, 4000)


class _TaskSecret(NamedTuple):
    """``value``: of this version, so that a new value makes new tasks, which read it at their start alone
    (https://docs.aws.amazon.com/AmazonECS/latest/developerguide/secrets-envvar-secrets-manager.html)."""

    arn: pulumi.Output[str]
    value: pulumi.Output[str]


class StandbyGateway(Component):
    """Outputs: ``dns_name`` and ``zone_id`` of the load balancer, ``url``, ``load_balancer_arn``, ``arn_suffix``,
    ``target_group_arn_suffix`` (for metrics), ``cluster_name``, ``service_name``,
    ``security_group_id`` and ``task_role_arn`` of the tasks."""

    def __init__(
        self, context: StackContext, args: StandbyGatewayArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("gateway-standby", context, opts)
        self.args = args
        self.standby = args.settings.standby
        self.is_public = args.exposure == "public"
        # Of the tasks' roles: tasks wait for them, and are gone before them.
        self.ready: list[pulumi.Resource] = []
        balancer, target_group, listener = self._load_balancer()
        self.dns_name = balancer.dns_name
        self.zone_id = balancer.zone_id
        self.url = f"https://{args.host}"
        self.load_balancer_arn = balancer.arn
        self.arn_suffix = balancer.arn_suffix
        self.target_group_arn_suffix = target_group.arn_suffix
        if self.is_public:
            firewall(self, f"{context.prefix}-standby", balancer.arn, args.logs_key_arn)

        self.security_group_id = self._task_security_group()
        self.task_role_arn = self._task_role()
        cluster = aws.ecs.Cluster(
            f"{context.prefix}-standby",
            name=f"{context.prefix}-standby",
            settings=[aws.ecs.ClusterSettingArgs(name="containerInsights", value="enabled")],
            tags=context.tags,
            opts=self.child(depends_on=[self._insights_logs()]),
        )
        self.cluster_name = cluster.name
        service = self._service(cluster, self._task_definition(), target_group, listener)
        self.service_name = service.name
        self._autoscaling()
        self.register_outputs(
            {
                "dns_name": self.dns_name,
                "zone_id": self.zone_id,
                "url": self.url,
                "cluster_name": self.cluster_name,
                "service_name": self.service_name,
            }
        )

    def _tags(self, name: str) -> dict[str, str]:
        return {**self.context.tags, "Name": f"{self.context.prefix}-{name}"}

    def _load_balancer(self) -> tuple[aws.lb.LoadBalancer, aws.lb.TargetGroup, aws.lb.Listener]:
        args, prefix = self.args, self.context.prefix
        group = aws.ec2.SecurityGroup(
            f"{prefix}-standby-clients",
            description="Clients of the standby gateway",
            vpc_id=args.vpc_id,
            ingress=[
                aws.ec2.SecurityGroupIngressArgs(
                    protocol="tcp", from_port=443, to_port=443, cidr_blocks=args.client_cidrs, description="HTTPS"
                )
            ],
            egress=[
                aws.ec2.SecurityGroupEgressArgs(
                    protocol="tcp",
                    from_port=args.port,
                    to_port=args.port,
                    cidr_blocks=[args.vpc_cidr],
                    description="Envoy",
                )
            ],
            tags=self._tags("standby-clients"),
            opts=self.child(),
        )
        self.balancer_security_group_id = group.id
        balancer = aws.lb.LoadBalancer(
            f"{prefix}-standby",
            name=_short_name(prefix, "standby"),
            load_balancer_type="application",
            internal=not self.is_public,
            subnets=args.public_subnet_ids if self.is_public else args.private_subnet_ids,
            security_groups=[group.id],
            drop_invalid_header_fields=True,
            idle_timeout=pulumi.Output.from_input(args.answer_timeout_s).apply(_idle_timeout),
            enable_deletion_protection=self.context.protect_data,
            access_logs=aws.lb.LoadBalancerAccessLogsArgs(
                bucket=args.settings.access_log_bucket, prefix=f"{prefix}-standby", enabled=True
            )
            if args.settings.access_log_bucket
            else None,
            tags=self._tags("standby"),
            opts=self.child(delete_before_replace=True),
        )
        target_group = aws.lb.TargetGroup(
            f"{prefix}-standby",
            name=_short_name(prefix, "standby"),
            vpc_id=args.vpc_id,
            target_type="ip",
            port=args.port,
            protocol="HTTP",
            deregistration_delay=30,
            load_balancing_algorithm_type="least_outstanding_requests",
            health_check=aws.lb.TargetGroupHealthCheckArgs(
                path="/healthz",
                protocol="HTTP",
                matcher="200",
                interval=10,
                timeout=5,
                healthy_threshold=2,
                unhealthy_threshold=2,
            ),
            tags=self._tags("standby"),
            opts=self.child(delete_before_replace=True),
        )
        listener = aws.lb.Listener(
            f"{prefix}-standby",
            load_balancer_arn=balancer.arn,
            port=443,
            protocol="HTTPS",
            ssl_policy=TLS_POLICY,
            certificate_arn=args.certificate_arn,
            default_actions=[
                aws.lb.ListenerDefaultActionArgs(type="forward", target_group_arn=target_group.arn),
            ],
            tags=self._tags("standby"),
            opts=self.child(),
        )
        return balancer, target_group, listener

    def _insights_logs(self) -> aws.cloudwatch.LogGroup:
        """Container Insights would make it without an end and without our key."""
        name = f"{self.context.prefix}-standby"
        return aws.cloudwatch.LogGroup(
            f"{name}-insights",
            name=f"/aws/ecs/containerinsights/{name}/performance",
            kms_key_id=self.args.logs_key_arn,
            retention_in_days=INSIGHTS_DAYS,
            tags=self.context.tags,
            opts=self.child(),
        )

    def _task_security_group(self) -> pulumi.Output[str]:
        args = self.args
        group = aws.ec2.SecurityGroup(
            f"{self.context.prefix}-standby-tasks",
            description="Standby gateway: from its load balancer, to the burst endpoints",
            vpc_id=args.vpc_id,
            ingress=[
                aws.ec2.SecurityGroupIngressArgs(
                    protocol="tcp",
                    from_port=args.port,
                    to_port=args.port,
                    security_groups=[self.balancer_security_group_id],
                    description="Load balancer",
                )
            ],
            egress=[
                aws.ec2.SecurityGroupEgressArgs(
                    protocol="tcp",
                    from_port=443,
                    to_port=443,
                    cidr_blocks=["0.0.0.0/0"],
                    description="Burst sites, APIs",
                )
            ],
            tags=self._tags("standby-tasks"),
            opts=self.child(),
        )
        return group.id

    def _secrets(self) -> dict[str, _TaskSecret]:
        """One secret a file, by its path."""
        found: dict[str, _TaskSecret] = {}
        for path, content in self.args.secret_files.items():
            name = f"{self.context.prefix}-standby-{PurePosixPath(path).name.replace('.', '-')}"
            secret = aws.secretsmanager.Secret(
                name,
                description=f"{path} of the standby gateway",
                kms_key_id=self.args.secrets_key_arn,
                recovery_window_in_days=7,
                tags=self.context.tags,
                opts=self.child(),
            )
            value = aws.secretsmanager.SecretVersion(
                name, secret_id=secret.id, secret_string=pulumi.Output.secret(content), opts=self.child()
            )
            # A task that starts before there is a value fails.
            self.ready.append(value)
            found[path] = _TaskSecret(secret.arn, pulumi.Output.concat(secret.arn, ":::", value.version_id))
        return found

    def _task_definition(self) -> aws.ecs.TaskDefinition:
        args, prefix = self.args, self.context.prefix
        group = aws.cloudwatch.LogGroup(
            f"{prefix}-standby-logs",
            name=f"/spillway/{prefix}/standby-gateway",
            kms_key_id=args.logs_key_arn,
            retention_in_days=args.log_retention_days,
            tags=self.context.tags,
            opts=self.child(),
        )
        secrets = self._secrets()
        files = pulumi.Output.all(args.envoy_yaml, args.routing_json).apply(
            lambda texts: pack({ENVOY_FILE: texts[0], ROUTING_FILE: texts[1]})
        )
        values = {path: secret.value for path, secret in secrets.items()}
        containers = pulumi.Output.all(
            files=files, logs=group.name, secrets=values, environment=dict(args.environment)
        ).apply(lambda found: json.dumps(self._containers(**found)))
        return aws.ecs.TaskDefinition(
            f"{prefix}-standby",
            family=f"{prefix}-standby",
            requires_compatibilities=["FARGATE"],
            network_mode="awsvpc",
            cpu=str(self.standby.cpu),
            memory=str(self.standby.memory),
            runtime_platform=aws.ecs.TaskDefinitionRuntimePlatformArgs(
                cpu_architecture="X86_64", operating_system_family="LINUX"
            ),
            task_role_arn=self.task_role_arn,
            execution_role_arn=self._execution_role(group, secrets),
            volumes=[aws.ecs.TaskDefinitionVolumeArgs(name=_volume(folder)) for folder in self._folders()],
            container_definitions=containers,
            tags=self.context.tags,
            opts=self.child(),
        )

    def _folders(self) -> list[str]:
        """Folders that the containers share."""
        secret = {str(PurePosixPath(path).parent) for path in self.args.secret_files}
        return sorted({CONFIG_FOLDER, self.args.runtime_dir, *secret})

    def _containers(
        self, files: str, logs: str, secrets: Mapping[str, str], environment: Mapping[str, str]
    ) -> list[dict[str, Any]]:
        """The first puts the files in place and ends; then Envoy and the agent run, without root."""
        settings, args = self.args.settings, self.args
        variables = {path: f"SECRET_{index}" for index, path in enumerate(sorted(secrets))}
        agent = ["python", "-m", "spillway.runtime.gateway.agent", "--routing", ROUTING_FILE]
        alive = f"import urllib.request as r; r.urlopen('http://127.0.0.1:{args.agent_port}/healthz', timeout=2)"
        after_files = [{"containerName": "files", "condition": "SUCCESS"}]
        return [
            {
                "name": "files",
                "image": self.args.mirror.image(settings.agent_image),
                "essential": False,
                # Fargate's shared volumes belong to root at first; the program gives them away and drops root.
                "user": "0",
                "entryPoint": ["python", "-m", "spillway.runtime.gateway.task_files"],
                "command": [*agent, "--once"],
                "environment": _environment(
                    {
                        FILES_VARIABLE: files,
                        SECRETS_VARIABLE: json.dumps(variables),
                        FOLDERS_VARIABLE: json.dumps([args.runtime_dir]),
                        OWNER_VARIABLE: USER,
                        **self._region(),
                        **environment,
                    }
                ),
                "secrets": [{"name": variables[path], "valueFrom": secrets[path]} for path in sorted(secrets)],
                **self._common(logs, "files", set(self._folders())),
            },
            {
                "name": "envoy",
                "image": self.args.mirror.image(settings.image),
                "essential": True,
                "user": f"{USER}:{USER}",
                "entryPoint": ["/usr/local/bin/envoy"],
                "command": ["-c", ENVOY_FILE, "--log-level", "warning", "--drain-time-s", "20"],
                "portMappings": [{"containerPort": args.port, "hostPort": args.port, "protocol": "tcp"}],
                "environment": _environment(self._region()),
                "dependsOn": after_files,
                "stopTimeout": 60,
                "ulimits": [{"name": "nofile", "softLimit": 65536, "hardLimit": 65536}],
                **self._common(logs, "envoy", set(), drop_all=True),
            },
            {
                "name": "agent",
                "image": self.args.mirror.image(settings.agent_image),
                "essential": True,
                "user": f"{USER}:{USER}",
                "entryPoint": agent,
                "environment": _environment({**self._region(), **environment}),
                "dependsOn": after_files,
                "healthCheck": {
                    "command": ["CMD", "python", "-c", alive],
                    "interval": 10,
                    "timeout": 5,
                    "retries": 3,
                    "startPeriod": 10,
                },
                **self._common(logs, "agent", {args.runtime_dir}, drop_all=True),
            },
        ]

    def _region(self) -> dict[str, str]:
        return {"AWS_REGION": self.args.region, "AWS_DEFAULT_REGION": self.args.region, "PYTHONDONTWRITEBYTECODE": "1"}

    def _common(self, logs: str, name: str, writable: set[str], drop_all: bool = False) -> dict[str, Any]:
        capabilities = {"capabilities": {"drop": ["ALL"]}} if drop_all else {}
        return {
            "readonlyRootFilesystem": True,
            "mountPoints": [
                {"sourceVolume": _volume(folder), "containerPath": folder, "readOnly": folder not in writable}
                for folder in self._folders()
            ],
            "linuxParameters": {"initProcessEnabled": True, **capabilities},
            "logConfiguration": {
                "logDriver": "awslogs",
                "options": {
                    "awslogs-group": logs,
                    "awslogs-region": self.args.region,
                    "awslogs-stream-prefix": name,
                    "mode": "non-blocking",
                },
            },
        }

    def _task_role(self) -> pulumi.Output[str]:
        args, prefix = self.args, self.context.prefix
        role = aws.iam.Role(
            f"{prefix}-standby-task-role",
            description="Lets the standby gateway invoke burst endpoints, read what the cost guard says, tell metrics",
            assume_role_policy=assumed_by("ecs-tasks.amazonaws.com", args.account_id),
            tags=self.context.tags,
            opts=self.child(),
        )

        def rights(found: Mapping[str, Any]) -> str:
            burst = burst_rights(found["endpoints"], found["parameters"], tokens=args.tokens)
            return policy(*burst, *metrics_rights(metrics.NAMESPACE), *chain(*found["more"]))

        document = pulumi.Output.all(
            endpoints=list(args.endpoint_arns), parameters=list(args.parameter_arns), more=list(args.gateway_rights)
        )
        self.ready.append(
            aws.iam.RolePolicy(
                f"{prefix}-standby-task-policy", role=role.name, policy=document.apply(rights), opts=self.child()
            )
        )
        return role.arn

    def _execution_role(self, group: aws.cloudwatch.LogGroup, secrets: Mapping[str, _TaskSecret]) -> pulumi.Output[str]:
        args, prefix = self.args, self.context.prefix
        role = aws.iam.Role(
            f"{prefix}-standby-execution-role",
            description="Lets ECS pull the standby gateway's images, write its logs and read its secrets",
            assume_role_policy=assumed_by("ecs-tasks.amazonaws.com", args.account_id),
            tags=self.context.tags,
            opts=self.child(),
        )
        repositories = f"arn:{partition(args.region)}:ecr:{args.region}:{args.account_id}:repository/*"
        pull = ["ecr:BatchCheckLayerAvailability", "ecr:GetDownloadUrlForLayer", "ecr:BatchGetImage"]

        def rights(found: Mapping[str, Any]) -> str:
            read = {"Effect": "Allow", "Action": "secretsmanager:GetSecretValue", "Resource": found["secrets"]}
            decrypt = {"Effect": "Allow", "Action": "kms:Decrypt", "Resource": found["key"]}
            return policy(
                {"Effect": "Allow", "Action": "ecr:GetAuthorizationToken", "Resource": "*"},
                {"Effect": "Allow", "Action": pull, "Resource": repositories},
                *([first_pull(self.context, args.region, args.account_id)] if args.mirror.pull_through else []),
                {
                    "Effect": "Allow",
                    "Action": ["logs:CreateLogStream", "logs:PutLogEvents"],
                    "Resource": f"{found['logs']}:*",
                },
                *([read] if found["secrets"] else []),
                *([decrypt] if found["secrets"] and found["key"] else []),
            )

        self.ready.append(
            aws.iam.RolePolicy(
                f"{prefix}-standby-execution-policy",
                role=role.name,
                policy=pulumi.Output.all(
                    logs=group.arn, secrets=[each.arn for each in secrets.values()], key=args.secrets_key_arn
                ).apply(rights),
                opts=self.child(),
            )
        )
        return role.arn

    def _service(
        self,
        cluster: aws.ecs.Cluster,
        definition: aws.ecs.TaskDefinition,
        target_group: aws.lb.TargetGroup,
        listener: aws.lb.Listener,
    ) -> aws.ecs.Service:
        args = self.args
        return aws.ecs.Service(
            f"{self.context.prefix}-standby",
            name=f"{self.context.prefix}-standby",
            cluster=cluster.arn,
            task_definition=definition.arn,
            launch_type="FARGATE",
            platform_version="1.4.0",
            desired_count=self.standby.min_replicas,
            deployment_minimum_healthy_percent=100,
            deployment_maximum_percent=200,
            deployment_circuit_breaker=aws.ecs.ServiceDeploymentCircuitBreakerArgs(enable=True, rollback=True),
            availability_zone_rebalancing="ENABLED",
            health_check_grace_period_seconds=60,
            enable_execute_command=False,
            # A standby that does not come up is no success: one would learn of it at the failover.
            wait_for_steady_state=True,
            propagate_tags="SERVICE",
            network_configuration=aws.ecs.ServiceNetworkConfigurationArgs(
                subnets=args.private_subnet_ids, security_groups=[self.security_group_id], assign_public_ip=False
            ),
            load_balancers=[
                aws.ecs.ServiceLoadBalancerArgs(
                    target_group_arn=target_group.arn, container_name="envoy", container_port=args.port
                )
            ],
            service_registries=aws.ecs.ServiceServiceRegistriesArgs(registry_arn=name_of_all(self, args.vpc_id)),
            tags=self.context.tags,
            # Autoscaling moves the count between its bounds; an `up` must not move it back.
            opts=self.child(depends_on=[listener, *self.ready], ignore_changes=["desiredCount"]),
        )

    def _autoscaling(self) -> None:
        prefix = self.context.prefix
        resource_id = pulumi.Output.concat("service/", self.cluster_name, "/", self.service_name)
        target = aws.appautoscaling.Target(
            f"{prefix}-standby",
            service_namespace="ecs",
            scalable_dimension="ecs:service:DesiredCount",
            resource_id=resource_id,
            min_capacity=self.standby.min_replicas,
            max_capacity=self.standby.max_replicas,
            tags=self.context.tags,
            opts=self.child(),
        )
        metric = aws.appautoscaling.PolicyTargetTrackingScalingPolicyConfigurationPredefinedMetricSpecificationArgs(
            predefined_metric_type="ECSServiceAverageCPUUtilization"
        )
        aws.appautoscaling.Policy(
            f"{prefix}-standby-cpu",
            name=f"{prefix}-standby-cpu",
            policy_type="TargetTrackingScaling",
            service_namespace=target.service_namespace,
            scalable_dimension=target.scalable_dimension,
            resource_id=target.resource_id,
            target_tracking_scaling_policy_configuration=(
                aws.appautoscaling.PolicyTargetTrackingScalingPolicyConfigurationArgs(
                    predefined_metric_specification=metric,
                    target_value=float(self.args.settings.autoscaler.cpu_percent),
                    scale_out_cooldown=30,
                    scale_in_cooldown=300,
                )
            ),
            opts=self.child(),
        )


def _environment(variables: Mapping[str, str]) -> list[dict[str, str]]:
    """Sorted by name, as ECS gives it back."""
    return [{"name": name, "value": variables[name]} for name in sorted(variables)]


def _volume(folder: str) -> str:
    return folder.strip("/").replace("/", "-").replace(".", "-")


def _short_name(prefix: str, name: str) -> str:
    """A load balancer's or target group's name: 32 characters at most."""
    return f"{prefix[: 31 - len(name)].rstrip('-')}-{name}"
