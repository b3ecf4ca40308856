"""What leads clients to a site: Route 53 and load balancers."""

from __future__ import annotations

from typing import Any

from spillway.twin.aws.row import Part, Row, Scope, Tags

_ROUTE53_ZONE_TAGS = Tags(
    "ChangeTagsForResource",
    "ChangeTagsForResource",
    {"ResourceType": "hostedzone", "ResourceId": "{id}"},
    tags="AddTags",
    keys="RemoveTagKeys",
)
_ROUTE53_CHECK_TAGS = Tags(
    "ChangeTagsForResource",
    "ChangeTagsForResource",
    {"ResourceType": "healthcheck", "ResourceId": "{id}"},
    tags="AddTags",
    keys="RemoveTagKeys",
)
_LB_TAGS = Tags("AddTags", "RemoveTags", {"ResourceArns": ["{id}"]})


def _zone(scope: Scope) -> list[dict[str, Any]]:
    private = scope.get("vpcs") or []
    params: dict[str, Any] = {
        "Name": scope["name"],
        "CallerReference": scope["token"],
        "HostedZoneConfig": {"Comment": scope.get("comment", "Managed by Pulumi"), "PrivateZone": bool(private)},
    }
    if private:
        params["VPC"] = {"VPCId": private[0]["vpcId"], "VPCRegion": private[0].get("vpcRegion", scope["region"])}
    if scope.get("delegationSetId"):
        params["DelegationSetId"] = scope["delegationSetId"]
    return [params]


def _empty_zone(call: Any, scope: Scope) -> None:
    """Only with ``forceDestroy``: else Route 53 refuses to delete a zone that holds records."""
    if not scope.get("forceDestroy"):
        return
    records = call("ListResourceRecordSets", {"HostedZoneId": scope["id"]})["ResourceRecordSets"]
    changes = [{"Action": "DELETE", "ResourceRecordSet": r} for r in records if r["Type"] not in ("NS", "SOA")]
    if changes:
        call("ChangeResourceRecordSets", {"HostedZoneId": scope["id"], "ChangeBatch": {"Changes": changes}})


_POLICIES = {
    "failoverRoutingPolicies": lambda p: {"Failover": p["type"]},
    "weightedRoutingPolicies": lambda p: {"Weight": p["weight"]},
    "latencyRoutingPolicies": lambda p: {"Region": p["region"]},
    "geolocationRoutingPolicies": lambda p: {
        "GeoLocation": {
            member: p[name]
            for name, member in (
                ("continent", "ContinentCode"),
                ("country", "CountryCode"),
                ("subdivision", "SubdivisionCode"),
            )
            if p.get(name)
        }
    },
}


def full_name(scope: Scope) -> str:
    """A record's name with the zone's: the provider takes ``api`` and ``api.example.com`` for one."""
    name = scope["name"].rstrip(".")
    if "id" not in scope and not scope.get("urn"):
        return name
    zone = scope["call"]("GetHostedZone", {"Id": scope["zoneId"]})["HostedZone"]["Name"].rstrip(".")
    return name if name == zone or name.endswith(f".{zone}") else f"{name}.{zone}".lstrip(".")


def _record_id(scope: Scope, _: Any) -> str:
    parts = [scope["zoneId"], scope["name"], scope["type"], scope.get("setIdentifier")]
    return "_".join(part for part in parts if part)


def _record_path(scope: Scope, _: Any) -> str:
    name, which = full_name(scope), scope.get("setIdentifier")
    same = f"Type=='{scope['type']}' && (Name=='{name}' || Name=='{name}.')"
    return f"ResourceRecordSets[?{same}{f' && SetIdentifier==`{chr(34)}{which}{chr(34)}`' if which else ''}] | [0]"


def _record_set(scope: Scope) -> dict[str, Any]:
    record: dict[str, Any] = {"Name": full_name(scope), "Type": scope["type"]}
    for name, member in (
        ("ttl", "TTL"),
        ("setIdentifier", "SetIdentifier"),
        ("healthCheckId", "HealthCheckId"),
    ):
        if scope.get(name) is not None:
            record[member] = scope[name]
    if scope.get("records"):
        quoted = scope["type"] in ("TXT", "SPF")
        record["ResourceRecords"] = [
            {"Value": f'"{value}"' if quoted and not value.startswith('"') else value} for value in scope["records"]
        ]
    if scope.get("aliases"):
        alias = scope["aliases"][0]
        record["AliasTarget"] = {
            "HostedZoneId": alias["zoneId"],
            "DNSName": alias["name"],
            "EvaluateTargetHealth": alias["evaluateTargetHealth"],
        }
    if scope.get("multivalueAnswerRoutingPolicy"):
        record["MultiValueAnswer"] = True
    for name, make in _POLICIES.items():
        if scope.get(name):
            policy = scope[name][0] if isinstance(scope[name], list) else scope[name]
            record |= make(policy)
    return record


def _change(action: str) -> Any:
    def build(scope: Scope) -> list[dict[str, Any]]:
        change = {"Action": action, "ResourceRecordSet": _record_set(scope)}
        return [{"HostedZoneId": scope["zoneId"], "ChangeBatch": {"Changes": [change]}}]

    return build


def _delete_record(call: Any, scope: Scope) -> None:
    """Route 53 deletes a record only when told all of it, so the live one is named."""
    wanted = _record_set(scope)
    name = wanted["Name"].rstrip(".")
    for record in call("ListResourceRecordSets", {"HostedZoneId": scope["zoneId"]})["ResourceRecordSets"]:
        same = record["Name"].rstrip(".") == name and record["Type"] == wanted["Type"]
        if same and record.get("SetIdentifier") == wanted.get("SetIdentifier"):
            change = {"Action": "DELETE", "ResourceRecordSet": record}
            call("ChangeResourceRecordSets", {"HostedZoneId": scope["zoneId"], "ChangeBatch": {"Changes": [change]}})


_RECORD = ("ttl", "records", "aliases", "healthCheckId", *_POLICIES, "multivalueAnswerRoutingPolicy")
_CHECK_RENAME = {
    "type": "HealthCheckConfig.Type",
    "ipAddress": "HealthCheckConfig.IPAddress",
    "port": "HealthCheckConfig.Port",
    "resourcePath": "HealthCheckConfig.ResourcePath",
    "fqdn": "HealthCheckConfig.FullyQualifiedDomainName",
    "searchString": "HealthCheckConfig.SearchString",
    "requestInterval": "HealthCheckConfig.RequestInterval",
    "failureThreshold": "HealthCheckConfig.FailureThreshold",
    "measureLatency": "HealthCheckConfig.MeasureLatency",
    "invertHealthcheck": "HealthCheckConfig.Inverted",
    "disabled": "HealthCheckConfig.Disabled",
    "childHealthThreshold": "HealthCheckConfig.HealthThreshold",
    "childHealthchecks": "HealthCheckConfig.ChildHealthChecks",
    "enableSni": "HealthCheckConfig.EnableSNI",
    "regions": "HealthCheckConfig.Regions",
    "cloudwatchAlarmName": "HealthCheckConfig.AlarmIdentifier.Name",
    "cloudwatchAlarmRegion": "HealthCheckConfig.AlarmIdentifier.Region",
    "insufficientDataHealthStatus": "HealthCheckConfig.InsufficientDataHealthStatus",
    "routingControlArn": "HealthCheckConfig.RoutingControlArn",
    "referenceName": "",
    "triggers": "",
}
_CHECK_UPDATE = {
    name: target.removeprefix("HealthCheckConfig.")
    for name, target in _CHECK_RENAME.items()
    if target and name not in ("type", "requestInterval", "measureLatency", "routingControlArn")
}

_LB_ATTRIBUTES = {
    "clientKeepAlive": "client_keep_alive.seconds",
    "desyncMitigationMode": "routing.http.desync_mitigation_mode",
    "dnsRecordClientRoutingPolicy": "dns_record.client_routing_policy",
    "dropInvalidHeaderFields": "routing.http.drop_invalid_header_fields.enabled",
    "enableCrossZoneLoadBalancing": "load_balancing.cross_zone.enabled",
    "enableDeletionProtection": "deletion_protection.enabled",
    "enableHttp2": "routing.http2.enabled",
    "enableTlsVersionAndCipherSuiteHeaders": "routing.http.x_amzn_tls_version_and_cipher_suite.enabled",
    "enableWafFailOpen": "waf.fail_open.enabled",
    "enableXffClientPort": "routing.http.xff_client_port.enabled",
    "enableZonalShift": "zonal_shift.config.enabled",
    "idleTimeout": "idle_timeout.timeout_seconds",
    "preserveHostHeader": "routing.http.preserve_host_header.enabled",
    "xffHeaderProcessingMode": "routing.http.xff_header_processing.mode",
}
_GROUP_ATTRIBUTES = {
    "connectionTermination": "deregistration_delay.connection_termination.enabled",
    "deregistrationDelay": "deregistration_delay.timeout_seconds",
    "loadBalancingAlgorithmType": "load_balancing.algorithm.type",
    "loadBalancingAnomalyMitigation": "load_balancing.algorithm.anomaly_mitigation",
    "loadBalancingCrossZoneEnabled": "load_balancing.cross_zone.enabled",
    "preserveClientIp": "preserve_client_ip.enabled",
    "proxyProtocolV2": "proxy_protocol_v2.enabled",
    "slowStart": "slow_start.duration_seconds",
}


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _lb_attributes(scope: Scope) -> list[dict[str, Any]]:
    pairs = {key: _text(scope[name]) for name, key in _LB_ATTRIBUTES.items() if scope.get(name) is not None}
    logs = scope.get("accessLogs")
    if logs:
        pairs |= {"access_logs.s3.bucket": logs["bucket"], "access_logs.s3.enabled": _text(logs.get("enabled", False))}
        pairs |= {"access_logs.s3.prefix": logs["prefix"]} if logs.get("prefix") else {}
    attributes = [{"Key": key, "Value": value} for key, value in sorted(pairs.items())]
    return [{"LoadBalancerArn": scope["id"], "Attributes": attributes}] if attributes else []


def _suffix(scope: Scope, _: Any) -> str:
    """What CloudWatch names a balancer or target group by."""
    return scope["id"].split(":", 5)[5].removeprefix("loadbalancer/")


def _group_attributes(scope: Scope) -> list[dict[str, Any]]:
    pairs = {key: _text(scope[name]) for name, key in _GROUP_ATTRIBUTES.items() if scope.get(name) is not None}
    sticky = scope.get("stickiness")
    if sticky:
        pairs |= {"stickiness.enabled": _text(sticky.get("enabled", True)), "stickiness.type": sticky["type"]}
    attributes = [{"Key": key, "Value": value} for key, value in sorted(pairs.items())]
    return [{"TargetGroupArn": scope["id"], "Attributes": attributes}] if attributes else []


_ACTION_RENAME = {
    "forward.targetGroups": "TargetGroups",
    "forward.targetGroups.arn": "TargetGroupArn",
    "forward.stickiness": "TargetGroupStickinessConfig",
    "forward.stickiness.duration": "DurationSeconds",
    "forward": "ForwardConfig",
    "fixedResponse": "FixedResponseConfig",
    "redirect": "RedirectConfig",
    "authenticateOidc": "AuthenticateOidcConfig",
    "authenticateCognito": "AuthenticateCognitoConfig",
    "jwtValidation": "JwtValidationConfig",
}
_LISTENER_RENAME = {f"defaultActions.{name}": value for name, value in _ACTION_RENAME.items()} | {
    "certificateArn": "Certificates[].CertificateArn",
    "alpnPolicy": "AlpnPolicy",
}


_CONDITIONS = {
    "hostHeader": ("host-header", "HostHeaderConfig"),
    "pathPattern": ("path-pattern", "PathPatternConfig"),
    "httpRequestMethod": ("http-request-method", "HttpRequestMethodConfig"),
    "sourceIp": ("source-ip", "SourceIpConfig"),
    "httpHeader": ("http-header", "HttpHeaderConfig"),
    "queryStrings": ("query-string", "QueryStringConfig.Values"),
}
_RULE_RENAME = {f"actions.{name}": value for name, value in _ACTION_RENAME.items()} | {
    f"conditions.{name}": member for name, (_, member) in _CONDITIONS.items()
}


def _fields(inputs: Scope) -> Scope:
    """The API wants each condition's kind by name as well."""
    conditions = inputs.get("conditions")
    if not isinstance(conditions, list):
        return {}
    return {"conditions": [_with_field(condition) for condition in conditions]}


def _with_field(condition: Any) -> Any:
    if not isinstance(condition, dict):
        return condition
    kinds = [kind for name, (kind, _) in _CONDITIONS.items() if condition.get(name)]
    return {**condition, "field": kinds[0]} if kinds else condition


def _lock(scope: Scope, _: Any) -> str:
    """WAF takes a change only with the token of the last reading."""
    return scope["call"]("GetWebACL", {"Name": scope["name"], "Scope": scope["scope"], "Id": scope["id"]})["LockToken"]


ROWS = (
    Row(
        token="aws:route53/zone:Zone",
        service="route53",
        create="CreateHostedZone",
        build=_zone,
        id=lambda _, answer: answer["HostedZone"]["Id"].rsplit("/", 1)[-1],
        key={"Id": "{id}"},
        read="GetHostedZone",
        delete="DeleteHostedZone",
        before_delete=_empty_zone,
        parts=(Part("UpdateHostedZoneComment", ("comment",), update_only=True),),
        local=("forceDestroy", "enableAcceleratedRecovery"),
        name="",
        outputs={
            "arn": "arn:{partition}:route53:::hostedzone/{id}",
            "zoneId": "{id}",
            "nameServers": "@DelegationSet.NameServers",
            "primaryNameServer": "@DelegationSet.NameServers[0]",
        },
        tags=_ROUTE53_ZONE_TAGS,
    ),
    Row(
        token="aws:route53/record:Record",
        service="route53",
        create="ChangeResourceRecordSets",
        build=_change("UPSERT"),
        id=_record_id,
        key={"HostedZoneId": "{zoneId}"},
        read="ListResourceRecordSets",
        live=_record_path,
        delete="GetHostedZone",
        delete_key={"Id": "{zoneId}"},
        before_delete=_delete_record,
        parts=(Part("ChangeResourceRecordSets", _RECORD, build=_change("UPSERT"), update_only=True),),
        local=("allowOverwrite",),
        name="",
        outputs={"fqdn": lambda scope, _: full_name(scope).rstrip(".")},
        note="answered by the twin's DNS responder",
    ),
    Row(
        token="aws:route53/healthCheck:HealthCheck",
        service="route53",
        create="CreateHealthCheck",
        id="@HealthCheck.Id",
        rename=_CHECK_RENAME,
        fixed={"CallerReference": "{token}"},
        key={"HealthCheckId": "{id}"},
        read="GetHealthCheck",
        live="HealthCheck",
        delete="DeleteHealthCheck",
        parts=(Part("UpdateHealthCheck", tuple(_CHECK_UPDATE), rename=_CHECK_UPDATE, update_only=True),),
        local=("triggers",),
        name="",
        outputs={"arn": "arn:{partition}:route53:::healthcheck/{id}"},
        tags=_ROUTE53_CHECK_TAGS,
        coverage="filled",
        note="those that follow an alarm or other checks are judged; endpoint checks probe nothing",
    ),
    Row(
        token="aws:route53/resolverEndpoint:ResolverEndpoint",
        service="route53resolver",
        create="CreateResolverEndpoint",
        id="@ResolverEndpoint.Id",
        rename={"ipAddresses.ipId": ""},
        fixed={"CreatorRequestId": "{token}"},
        key={"ResolverEndpointId": "{id}"},
        read="GetResolverEndpoint",
        live="ResolverEndpoint",
        gone="Status=='DELETING'",
        delete="DeleteResolverEndpoint",
        parts=(Part("UpdateResolverEndpoint", ("name",), rename={"name": "Name"}, update_only=True),),
        outputs={"arn": "@Arn", "hostVpcId": "@HostVPCId"},
        tags=Tags("TagResource", "UntagResource", {"ResourceArn": "{arn}"}),
        note="resolves nothing",
    ),
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
    ),
    Row(
        token="aws:lb/loadBalancer:LoadBalancer",
        service="elbv2",
        create="CreateLoadBalancer",
        id="@LoadBalancers[0].LoadBalancerArn",
        rename={"internal": "", "loadBalancerType": "Type", "name": "Name"},
        key={"LoadBalancerArn": "{id}"},
        read="DescribeLoadBalancers",
        read_key={"LoadBalancerArns": ["{id}"]},
        live="LoadBalancers[0]",
        delete="DeleteLoadBalancer",
        fixed={"Scheme": lambda scope, _: "internal" if scope.get("internal") is True else "internet-facing"},
        parts=(
            Part("ModifyLoadBalancerAttributes", (*_LB_ATTRIBUTES, "accessLogs"), build=_lb_attributes),
            Part("SetSecurityGroups", ("securityGroups",), update_only=True),
            Part("SetSubnets", ("subnets",), update_only=True),
        ),
        local=("connectionLogs", "healthCheckLogs", "minimumLoadBalancerCapacity"),
        outputs={"arn": "{id}", "arnSuffix": _suffix, "dnsName": "@DNSName", "zoneId": "@CanonicalHostedZoneId"},
        tags=_LB_TAGS,
        name_limit=32,
        note="forwards nothing",
    ),
    Row(
        token="aws:lb/targetGroup:TargetGroup",
        service="elbv2",
        create="CreateTargetGroup",
        id="@TargetGroups[0].TargetGroupArn",
        noun="TargetGroup",
        rename={"name": "Name"}
        | {
            f"healthCheck.{name}": member
            for name, member in (
                ("enabled", "HealthCheckEnabled"),
                ("interval", "HealthCheckIntervalSeconds"),
                ("path", "HealthCheckPath"),
                ("port", "HealthCheckPort"),
                ("protocol", "HealthCheckProtocol"),
                ("timeout", "HealthCheckTimeoutSeconds"),
                ("healthyThreshold", "HealthyThresholdCount"),
                ("unhealthyThreshold", "UnhealthyThresholdCount"),
                ("matcher", "Matcher.HttpCode"),
            )
        }
        | {"healthCheck": "*"},
        key={"TargetGroupArn": "{id}"},
        read="DescribeTargetGroups",
        read_key={"TargetGroupArns": ["{id}"]},
        live="TargetGroups[0]",
        delete="DeleteTargetGroup",
        parts=(
            Part("ModifyTargetGroupAttributes", (*_GROUP_ATTRIBUTES, "stickiness"), build=_group_attributes),
            Part("ModifyTargetGroup", ("healthCheck",), update_only=True),
        ),
        local=("lambdaMultiValueHeadersEnabled", "targetFailovers", "targetGroupHealth", "targetHealthStates"),
        outputs={"arn": "{id}", "arnSuffix": _suffix},
        tags=_LB_TAGS,
        name_limit=32,
    ),
    Row(
        token="aws:lb/listener:Listener",
        service="elbv2",
        create="CreateListener",
        id="@Listeners[0].ListenerArn",
        rename=_LISTENER_RENAME,
        key={"ListenerArn": "{id}"},
        read="DescribeListeners",
        read_key={"ListenerArns": ["{id}"]},
        live="Listeners[0]",
        delete="DeleteListener",
        parts=(Part("ModifyListener", update_only=True),),
        replaces=("loadBalancerArn",),
        outputs={"arn": "{id}"},
        tags=_LB_TAGS,
        name="",
    ),
    Row(
        token="aws:lb/listenerRule:ListenerRule",
        service="elbv2",
        create="CreateRule",
        id="@Rules[0].RuleArn",
        noun="Rule",
        rename=_RULE_RENAME,
        prepare=_fields,
        key={"RuleArn": "{id}"},
        read="DescribeRules",
        read_key={"RuleArns": ["{id}"]},
        live="Rules[0]",
        delete="DeleteRule",
        parts=(Part("ModifyRule", ("actions", "conditions"), update_only=True),),
        replaces=("listenerArn",),
        outputs={"arn": "{id}"},
        tags=_LB_TAGS,
        name="",
    ),
)
