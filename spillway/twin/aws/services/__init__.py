"""The table: every AWS service that the twin has, and with them one row per resource type of pulumi-aws."""

from __future__ import annotations

from typing import Final

from spillway.twin.aws.row import Row
from spillway.twin.aws.service import Service
from spillway.twin.aws.services import (
    acm,
    application_autoscaling,
    autoscaling,
    budgets,
    cloudwatch,
    cost_explorer,
    ec2,
    ecr,
    ecs,
    eks,
    elasticache,
    elbv2,
    events,
    iam,
    kms,
    lambda_,
    logs,
    route53,
    route53resolver,
    s3,
    sagemaker,
    scheduler,
    secretsmanager,
    security_groups,
    servicediscovery,
    sns,
    sqs,
    ssm,
    sts,
    vpc,
    vpn,
    wafv2,
)
from spillway.twin.aws.services.sagemaker_runtime import invoke, invoked
from spillway.twin.aws.services.sts import ACCOUNTS_ISSUER, GATEWAYS, ISSUER

__all__ = ["ACCOUNTS_ISSUER", "GATEWAYS", "ISSUER", "ROWS", "SERVICES", "invoke", "invoked"]

SERVICES: Final[tuple[Service, ...]] = (
    acm.SERVICE,
    application_autoscaling.SERVICE,
    autoscaling.SERVICE,
    budgets.SERVICE,
    cloudwatch.SERVICE,
    cost_explorer.SERVICE,
    ec2.SERVICE,
    ecr.SERVICE,
    ecs.SERVICE,
    eks.SERVICE,
    elasticache.SERVICE,
    elbv2.SERVICE,
    events.SERVICE,
    iam.SERVICE,
    kms.SERVICE,
    lambda_.SERVICE,
    logs.SERVICE,
    route53.SERVICE,
    route53resolver.SERVICE,
    s3.SERVICE,
    sagemaker.SERVICE,
    scheduler.SERVICE,
    secretsmanager.SERVICE,
    security_groups.SERVICE,
    servicediscovery.SERVICE,
    sns.SERVICE,
    sqs.SERVICE,
    ssm.SERVICE,
    sts.SERVICE,
    vpc.SERVICE,
    vpn.SERVICE,
    wafv2.SERVICE,
)

ROWS: Final[dict[str, Row]] = {row.token: row for service in SERVICES for row in service.rows}
