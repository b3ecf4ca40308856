"""Load balancers."""

from __future__ import annotations

from typing import Any

from spillway.twin.aws.recorder import Call, RefusedError
from spillway.twin.aws.row import Part, Row, Scope, Tags
from spillway.twin.aws.sample import OWNED, Sample
from spillway.twin.aws.service import QueueCall, Service

_TAGS = Tags("AddTags", "RemoveTags", {"ResourceArns": ["{id}"]})
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


_ROWS = (
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
        tags=_TAGS,
        name_limit=32,
        note="forwards nothing",
        samples=(
            Sample(
                "balancer",
                {
                    "internal": False,
                    "loadBalancerType": "application",
                    "securityGroups": ["$group.id"],
                    "subnets": ["$subnet.id", "$subnet-b.id"],
                    "dropInvalidHeaderFields": True,
                    "idleTimeout": 120,
                    "tags": OWNED,
                },
                change={"idleTimeout": 60},
                replace={"internal": True},
            ),
        ),
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
        tags=_TAGS,
        name_limit=32,
        samples=(
            Sample(
                "targets",
                {
                    "port": 8080,
                    "protocol": "HTTP",
                    "targetType": "ip",
                    "vpcId": "$vpc.id",
                    "deregistrationDelay": 30,
                    "healthCheck": {"path": "/ready", "interval": 10, "healthyThreshold": 2, "matcher": "200"},
                    "tags": OWNED,
                },
                change={"healthCheck": {"path": "/live", "interval": 10}},
                replace={"port": 9090},
            ),
        ),
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
        tags=_TAGS,
        name="",
        samples=(
            Sample(
                "listener",
                {
                    "loadBalancerArn": "$balancer.arn",
                    "port": 443,
                    "protocol": "HTTPS",
                    "sslPolicy": "ELBSecurityPolicy-TLS13-1-2-2021-06",
                    "certificateArn": "$validation.certificateArn",
                    "defaultActions": [{"type": "forward", "targetGroupArn": "$targets.arn"}],
                    "tags": OWNED,
                },
                change={"port": 8443},
            ),
        ),
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
        tags=_TAGS,
        name="",
        samples=(
            Sample(
                "listener-rule",
                {
                    "listenerArn": "$listener.arn",
                    "priority": 10,
                    "actions": [
                        {"type": "fixed-response", "fixedResponse": {"contentType": "text/plain", "statusCode": "404"}}
                    ],
                    "conditions": [{"pathPattern": {"values": ["/admin/*"]}}],
                },
            ),
        ),
    ),
)


def _patch(_: QueueCall) -> None:
    """A listener may name a certificate that was there before the stack: it is taken to exist."""
    from moto.acm.models import CertBundle, acm_backends
    from moto.elbv2.models import ELBv2Backend

    create = ELBv2Backend.create_listener

    def create_listener(backend: Any, **given: Any) -> Any:
        arn = given.get("certificate")
        if arn:
            region = arn.split(":")[3]
            known = acm_backends[backend.account_id][region]._certificates
            if arn not in known:
                bundle = CertBundle.generate_cert("spillway.test", backend.account_id, region, sans=[])
                bundle.arn, bundle.status = arn, "ISSUED"
                known[arn] = bundle
        return create(backend, **given)

    patched: Any = ELBv2Backend
    patched.create_listener = create_listener


def _refuse_unissued(call: Call) -> None:
    """In the service's words (https://github.com/traveloka/terraform-aws-acm-certificate/pull/32)."""
    from moto.acm.models import acm_backends

    for given in call.params.get("Certificates") or ():
        arn = given["CertificateArn"]
        backend = acm_backends[call.account][call.region]
        if arn in backend._certificates and backend.get_certificate(arn).status != "ISSUED":
            raise RefusedError(
                "UnsupportedCertificate",
                f"The certificate '{arn}' must have a fully-qualified domain name, a supported signature, and a"
                " supported key size.",
            )


SERVICE = Service(
    "elbv2",
    _ROWS,
    refuses={"CreateListener": _refuse_unissued, "ModifyListener": _refuse_unissued},
    patch=_patch,
)
