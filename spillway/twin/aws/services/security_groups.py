"""EC2: security groups and their rules."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from spillway.twin.aws.recorder import Call, RefusedError
from spillway.twin.aws.row import Part, Row, Scope
from spillway.twin.aws.sample import OWNED, Sample
from spillway.twin.aws.service import Service
from spillway.twin.aws.services.ec2 import TAGS, arn, by_id


def _permission(rule: Mapping[str, Any], group: str) -> dict[str, Any]:
    protocol = str(rule.get("protocol", rule.get("ipProtocol", "-1")))
    permission: dict[str, Any] = {"IpProtocol": "-1" if protocol == "all" else protocol}
    if permission["IpProtocol"] != "-1":
        permission |= {"FromPort": rule.get("fromPort"), "ToPort": rule.get("toPort")}
    about = {"Description": rule["description"]} if rule.get("description") else {}
    permission["IpRanges"] = [{"CidrIp": cidr, **about} for cidr in rule.get("cidrBlocks") or []]
    permission["Ipv6Ranges"] = [{"CidrIpv6": cidr, **about} for cidr in rule.get("ipv6CidrBlocks") or []]
    permission["PrefixListIds"] = [{"PrefixListId": prefix, **about} for prefix in rule.get("prefixListIds") or []]
    groups = [*(rule.get("securityGroups") or []), *([group] if rule.get("self") else [])]
    permission["UserIdGroupPairs"] = [{"GroupId": other, **about} for other in groups]
    return {key: value for key, value in permission.items() if value not in (None, [])}


def _rules(direction: str, since: bool) -> Any:
    """Rules to authorise (``since``: those that are new) or, the other way round, to revoke."""

    def build(scope: Scope) -> list[dict[str, Any]]:
        old, new = scope.get("old", {}).get(direction) or [], scope.get(direction) or []
        rules = [r for r in new if r not in old] if since else [r for r in old if r not in new]
        return [{"GroupId": scope["id"], "IpPermissions": [_permission(rule, scope["id"])]} for rule in rules]

    return build


def _default_egress(scope: Scope) -> list[dict[str, Any]]:
    """The provider takes away the rule that AWS gives each new group."""
    everywhere = {"IpProtocol": "-1", "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}
    return [{"GroupId": scope["id"], "IpPermissions": [everywhere]}]


def _group_rule(scope: Scope) -> list[dict[str, Any]]:
    """One rule of the ``vpc`` module, as a permission."""
    about = {"Description": scope["description"]} if scope.get("description") else {}
    permission: dict[str, Any] = {"IpProtocol": str(scope["ipProtocol"])}
    if permission["IpProtocol"] != "-1":
        permission |= {"FromPort": scope.get("fromPort", -1), "ToPort": scope.get("toPort", -1)}
    if scope.get("cidrIpv4"):
        permission["IpRanges"] = [{"CidrIp": scope["cidrIpv4"], **about}]
    if scope.get("cidrIpv6"):
        permission["Ipv6Ranges"] = [{"CidrIpv6": scope["cidrIpv6"], **about}]
    if scope.get("prefixListId"):
        permission["PrefixListIds"] = [{"PrefixListId": scope["prefixListId"], **about}]
    if scope.get("referencedSecurityGroupId"):
        permission["UserIdGroupPairs"] = [{"GroupId": scope["referencedSecurityGroupId"], **about}]
    params: dict[str, Any] = {"GroupId": scope["securityGroupId"], "IpPermissions": [permission]}
    if scope["tags"]:
        pairs = [{"Key": key, "Value": value} for key, value in sorted(scope["tags"].items())]
        params["TagSpecifications"] = [{"ResourceType": "security-group-rule", "Tags": pairs}]
    return [params]


def _standalone_rule(direction: str, *samples: Sample) -> Row:
    return Row(
        token=f"aws:vpc/securityGroup{direction}Rule:SecurityGroup{direction}Rule",
        service="ec2",
        create=f"AuthorizeSecurityGroup{direction}",
        build=_group_rule,
        id="@SecurityGroupRules[0].SecurityGroupRuleId",
        read="DescribeSecurityGroupRules",
        read_key={"SecurityGroupRuleIds": ["{id}"]},
        live="SecurityGroupRules[0]",
        delete=f"RevokeSecurityGroup{direction}",
        key={"GroupId": "{securityGroupId}", "SecurityGroupRuleIds": ["{id}"]},
        samples=samples,
        name="",
        tags=TAGS,
        outputs={"arn": arn("security-group-rule"), "securityGroupRuleId": "{id}"},
    )


_GONE, _THERE = "InvalidPermission.NotFound", "InvalidPermission.Duplicate"
_RULE_PARTS = (
    Part("RevokeSecurityGroupEgress", ("@create",), build=_default_egress, already=_GONE),
    Part("RevokeSecurityGroupIngress", ("ingress",), build=_rules("ingress", since=False), already=_GONE),
    Part("RevokeSecurityGroupEgress", ("egress",), build=_rules("egress", since=False), already=_GONE),
    Part("AuthorizeSecurityGroupIngress", ("ingress",), build=_rules("ingress", since=True), already=_THERE),
    Part("AuthorizeSecurityGroupEgress", ("egress",), build=_rules("egress", since=True), already=_THERE),
)

_ROWS = (
    by_id(
        "SecurityGroup",
        "CreateSecurityGroup",
        "@GroupId",
        "DescribeSecurityGroups",
        "GroupIds",
        "DeleteSecurityGroup",
        "GroupId",
        live="SecurityGroups[0]",
        tag_kind="security-group",
        name="name",
        rename={"name": "GroupName"},
        defaults={"description": "Managed by Pulumi"},
        local=("revokeRulesOnDelete",),
        parts=_RULE_PARTS,
        outputs={"arn": arn("security-group"), "ownerId": "{account}"},
        samples=(
            Sample(
                "group",
                {
                    "vpcId": "$vpc.id",
                    "description": "endpoints",
                    "ingress": [{"protocol": "tcp", "fromPort": 443, "toPort": 443, "cidrBlocks": ["10.0.0.0/16"]}],
                    "egress": [{"protocol": "-1", "fromPort": 0, "toPort": 0, "cidrBlocks": ["0.0.0.0/0"]}],
                    "tags": OWNED,
                },
                change={"ingress": [{"protocol": "tcp", "fromPort": 8443, "toPort": 8443, "self": True}]},
                replace={"description": "other"},
            ),
            Sample("bare-group", {"vpcId": "$vpc.id", "tags": OWNED}),
        ),
    ),
    Row(
        token="aws:ec2/defaultSecurityGroup:DefaultSecurityGroup",
        service="ec2",
        create="DescribeSecurityGroups",
        build=lambda scope: [
            {
                "Filters": [
                    {"Name": "vpc-id", "Values": [scope["vpcId"]]},
                    {"Name": "group-name", "Values": ["default"]},
                ]
            }
        ],
        id="@SecurityGroups[0].GroupId",
        key={"GroupIds": ["{id}"]},
        read="DescribeSecurityGroups",
        live="SecurityGroups[0]",
        local=("revokeRulesOnDelete",),
        parts=_RULE_PARTS,
        name="",
        outputs={"arn": arn("security-group"), "ownerId": "{account}"},
        tags=TAGS,
        note="takes over the group that the VPC came with; deleting leaves it to the VPC",
        samples=(Sample("default-group", {"vpcId": "$vpc.id", "tags": OWNED}),),
    ),
    _standalone_rule(
        "Ingress",
        Sample(
            "ingress",
            {
                "securityGroupId": "$bare-group.id",
                "ipProtocol": "tcp",
                "fromPort": 80,
                "toPort": 80,
                "cidrIpv4": "10.0.0.0/8",
                "description": "web",
            },
        ),
    ),
    _standalone_rule(
        "Egress",
        Sample("egress", {"securityGroupId": "$bare-group.id", "ipProtocol": "-1", "cidrIpv4": "0.0.0.0/0"}),
    ),
)

_DESCRIPTION: Final = re.compile(r"[a-zA-Z0-9. _\-:/()#,@\[\]+=&;{}!$*]{0,255}")
_ALLOWED: Final = (
    "Valid descriptions are strings less than 256 characters from the following set:  a-zA-Z0-9. _-:/()#,@[]+=&;{}!$*"
)


def _group_description(call: Call) -> None:
    """What the API model says in words of CreateSecurityGroup's Description, and EC2 answers."""
    if not _DESCRIPTION.fullmatch(str(call.params.get("Description", ""))):
        raise RefusedError("InvalidParameterValue", f"Invalid security group description. {_ALLOWED}")


def _rule_descriptions(call: Call) -> None:
    ranges = ("IpRanges", "Ipv6Ranges", "PrefixListIds", "UserIdGroupPairs")
    for permission in call.params.get("IpPermissions") or ():
        for one in (item for key in ranges for item in permission.get(key) or ()):
            if not _DESCRIPTION.fullmatch(str(one.get("Description", ""))):
                raise RefusedError("InvalidParameterValue", f"Invalid rule description. {_ALLOWED}")


SERVICE = Service(
    "ec2",
    _ROWS,
    refuses={
        "CreateSecurityGroup": _group_description,
        "AuthorizeSecurityGroupIngress": _rule_descriptions,
        "AuthorizeSecurityGroupEgress": _rule_descriptions,
    },
)
