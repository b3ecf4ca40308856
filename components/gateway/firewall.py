"""A web ACL before a load balancer, and the log of what it refused."""

from __future__ import annotations

from typing import Final

import pulumi
import pulumi_aws as aws

from components.base import Component
from components.retention import RetentionDays
from spillway.contracts.classes import CLIENT_KEY_HEADER

REPUTATION: Final = "AWSManagedRulesAmazonIpReputationList"
LOG_DAYS: Final[RetentionDays] = 30


def firewall(component: Component, name: str, balancer_arn: pulumi.Input[str], logs_key_arn: pulumi.Input[str]) -> None:
    """Known bad addresses only: rules that read bodies mistake prompts for attacks."""
    acl = aws.wafv2.WebAcl(
        name,
        name=name,
        description="Clients of the standby gateway",
        scope="REGIONAL",
        default_action=aws.wafv2.WebAclDefaultActionArgs(allow=aws.wafv2.WebAclDefaultActionAllowArgs()),
        rules=[_bad_addresses()],
        visibility_config=aws.wafv2.WebAclVisibilityConfigArgs(
            cloudwatch_metrics_enabled=True, metric_name=name, sampled_requests_enabled=False
        ),
        tags=component.context.tags,
        opts=component.child(),
    )
    _log(component, name, acl, logs_key_arn)
    aws.wafv2.WebAclAssociation(name, resource_arn=balancer_arn, web_acl_arn=acl.arn, opts=component.child())


def _bad_addresses() -> aws.wafv2.WebAclRuleArgs:
    return aws.wafv2.WebAclRuleArgs(
        name=REPUTATION,
        priority=0,
        override_action=aws.wafv2.WebAclRuleOverrideActionArgs(none=aws.wafv2.WebAclRuleOverrideActionNoneArgs()),
        statement=aws.wafv2.WebAclRuleStatementArgs(
            managed_rule_group_statement=aws.wafv2.WebAclRuleStatementManagedRuleGroupStatementArgs(
                name=REPUTATION, vendor_name="AWS"
            )
        ),
        visibility_config=aws.wafv2.WebAclRuleVisibilityConfigArgs(
            cloudwatch_metrics_enabled=True, metric_name="ip-reputation", sampled_requests_enabled=False
        ),
    )


def _log(component: Component, name: str, acl: aws.wafv2.WebAcl, key_arn: pulumi.Input[str]) -> None:
    """Of what was refused, without callers' keys."""
    logs = aws.cloudwatch.LogGroup(
        f"{name}-waf-logs",
        # WAF delivers to names that begin so, and nowhere else.
        name=f"aws-waf-logs-{name}",
        kms_key_id=key_arn,
        retention_in_days=LOG_DAYS,
        tags=component.context.tags,
        opts=component.child(),
    )
    refused = aws.wafv2.WebAclLoggingConfigurationLoggingFilterFilterConditionArgs(
        action_condition=aws.wafv2.WebAclLoggingConfigurationLoggingFilterFilterConditionActionConditionArgs(
            action="BLOCK"
        )
    )
    keep = aws.wafv2.WebAclLoggingConfigurationLoggingFilterFilterArgs(
        behavior="KEEP", requirement="MEETS_ANY", conditions=[refused]
    )
    hidden = [
        aws.wafv2.WebAclLoggingConfigurationRedactedFieldArgs(
            single_header=aws.wafv2.WebAclLoggingConfigurationRedactedFieldSingleHeaderArgs(name=header)
        )
        for header in ("authorization", CLIENT_KEY_HEADER)
    ]
    aws.wafv2.WebAclLoggingConfiguration(
        name,
        resource_arn=acl.arn,
        log_destination_configs=[logs.arn],
        redacted_fields=hidden,
        logging_filter=aws.wafv2.WebAclLoggingConfigurationLoggingFilterArgs(default_behavior="DROP", filters=[keep]),
        opts=component.child(),
    )
