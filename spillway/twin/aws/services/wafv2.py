"""Web ACLs."""

from __future__ import annotations

from typing import Any

from spillway.twin.aws.row import Part, Row, Scope, Tags
from spillway.twin.aws.sample import OWNED, Sample
from spillway.twin.aws.service import Service


def _lock(scope: Scope, _: Any) -> str:
    """WAF takes a change only with the token of the last reading."""
    return scope["call"]("GetWebACL", {"Name": scope["name"], "Scope": scope["scope"], "Id": scope["id"]})["LockToken"]


def _logging(scope: Scope) -> dict[str, Any]:
    return {
        "ResourceArn": scope["resourceArn"],
        "LogDestinationConfigs": scope["logDestinationConfigs"],
        "RedactedFields": [
            {"SingleHeader": {"Name": field["singleHeader"]["name"]}} for field in scope.get("redactedFields") or ()
        ],
        **({"LoggingFilter": _filter(scope["loggingFilter"])} if scope.get("loggingFilter") else {}),
    }


def _filter(given: dict[str, Any]) -> dict[str, Any]:
    return {
        "DefaultBehavior": given["defaultBehavior"],
        "Filters": [
            {
                "Behavior": one["behavior"],
                "Requirement": one["requirement"],
                "Conditions": [
                    {"ActionCondition": {"Action": condition["actionCondition"]["action"]}}
                    for condition in one["conditions"]
                ],
            }
            for one in given["filters"]
        ],
    }


_ROWS = (
    Row(
        token="aws:wafv2/webAcl:WebAcl",
        service="wafv2",
        create="CreateWebACL",
        id="@Summary.Id",
        key={"Name": "{name}", "Scope": "{scope}", "Id": "{id}"},
        read="GetWebACL",
        live="WebACL",
        delete="DeleteWebACL",
        delete_key={"Name": "{name}", "Scope": "{scope}", "Id": "{id}", "LockToken": _lock},
        parts=(
            Part(
                "UpdateWebACL",
                ("defaultAction", "description", "rules", "visibilityConfig"),
                key={"Name": "{name}", "Scope": "{scope}", "Id": "{id}", "LockToken": _lock},
                update_only=True,
            ),
        ),
        outputs={"arn": "@ARN"},
        tags=Tags("TagResource", "UntagResource", {"ResourceARN": "{arn}"}),
        note="filters nothing",
        samples=(
            Sample(
                "acl",
                {
                    "scope": "REGIONAL",
                    "defaultAction": {"allow": {}},
                    "rules": [
                        {
                            "name": "reputation",
                            "priority": 0,
                            "overrideAction": {"none": {}},
                            "statement": {
                                "managedRuleGroupStatement": {
                                    "name": "AWSManagedRulesAmazonIpReputationList",
                                    "vendorName": "AWS",
                                }
                            },
                            "visibilityConfig": {
                                "cloudwatchMetricsEnabled": True,
                                "metricName": "reputation",
                                "sampledRequestsEnabled": False,
                            },
                        }
                    ],
                    "visibilityConfig": {
                        "cloudwatchMetricsEnabled": True,
                        "metricName": "acl",
                        "sampledRequestsEnabled": False,
                    },
                    "tags": OWNED,
                },
                change={"rules": []},
            ),
        ),
    ),
    Row(
        token="aws:wafv2/webAclAssociation:WebAclAssociation",
        service="wafv2",
        create="AssociateWebACL",
        id="{webAclArn},{resourceArn}",
        rename={"webAclArn": "WebACLArn"},
        key={"ResourceArn": "{resourceArn}"},
        read="GetWebACLForResource",
        live="WebACL",
        delete="DisassociateWebACL",
        name="",
        samples=(Sample("acl-association", {"resourceArn": "$balancer.arn", "webAclArn": "$acl.arn"}),),
    ),
    Row(
        token="aws:wafv2/webAclLoggingConfiguration:WebAclLoggingConfiguration",
        service="wafv2",
        create="PutLoggingConfiguration",
        id="{resourceArn}",
        build=lambda scope: [{"LoggingConfiguration": _logging(scope)}],
        key={"ResourceArn": "{resourceArn}"},
        read="GetLoggingConfiguration",
        live="LoggingConfiguration",
        delete="DeleteLoggingConfiguration",
        parts=(
            Part(
                "PutLoggingConfiguration",
                ("redactedFields", "loggingFilter"),
                build=lambda scope: [{"LoggingConfiguration": _logging(scope)}],
                update_only=True,
            ),
        ),
        name="",
        note="nothing is logged",
        samples=(
            Sample(
                "acl-logs",
                {
                    "resourceArn": "$acl.arn",
                    "logDestinationConfigs": ["arn:aws:logs:eu-west-1:123456789012:log-group:aws-waf-logs-x"],
                    "redactedFields": [{"singleHeader": {"name": "authorization"}}],
                },
                change={"redactedFields": []},
            ),
        ),
    ),
)

SERVICE = Service("wafv2", _ROWS)
