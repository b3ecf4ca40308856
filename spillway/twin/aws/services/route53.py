"""Zones, records and health checks. What a health check says is judged in ``spillway.twin.aws.health``."""

from __future__ import annotations

from typing import Any

from spillway.twin.aws.recorder import Call, Kind, Recorder, RefusedError
from spillway.twin.aws.row import Part, Row, Scope, Tags
from spillway.twin.aws.sample import OWNED, Sample
from spillway.twin.aws.service import QueueCall, Service

_ZONE_TAGS = Tags(
    "ChangeTagsForResource",
    "ChangeTagsForResource",
    {"ResourceType": "hostedzone", "ResourceId": "{id}"},
    tags="AddTags",
    keys="RemoveTagKeys",
)
_CHECK_TAGS = Tags(
    "ChangeTagsForResource",
    "ChangeTagsForResource",
    {"ResourceType": "healthcheck", "ResourceId": "{id}"},
    tags="AddTags",
    keys="RemoveTagKeys",
)


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


_REGISTRAR = "ZREGISTRAR"
"""A zone that was there before, above all others: see `_patch`."""


def _delegation(scope: Scope) -> list[dict[str, Any]]:
    """What somebody else does who has the zone above, where somebody does."""
    if not scope.get("delegates") or scope.get("vpcs"):
        return []
    servers = scope["call"]("GetHostedZone", {"Id": scope["id"]})["DelegationSet"]["NameServers"]
    record = {"Name": scope["name"], "Type": "NS", "TTL": 60, "ResourceRecords": [{"Value": one} for one in servers]}
    change = {"Action": "UPSERT", "ResourceRecordSet": record}
    return [{"HostedZoneId": _REGISTRAR, "ChangeBatch": {"Changes": [change]}}]


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

_ROWS = (
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
        parts=(
            Part("UpdateHostedZoneComment", ("comment",), update_only=True),
            Part("ChangeResourceRecordSets", ("@create",), build=_delegation),
        ),
        local=("forceDestroy", "enableAcceleratedRecovery"),
        name="",
        outputs={
            "arn": "arn:{partition}:route53:::hostedzone/{id}",
            "zoneId": "{id}",
            "nameServers": "@DelegationSet.NameServers",
            "primaryNameServer": "@DelegationSet.NameServers[0]",
        },
        tags=_ZONE_TAGS,
        samples=(
            Sample("zone", {"name": "example.com", "forceDestroy": True, "tags": OWNED}, change={"comment": "new"}),
            Sample("private-zone", {"name": "internal.example.com", "vpcs": [{"vpcId": "$vpc.id"}]}),
        ),
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
        samples=(
            Sample(
                "record",
                {
                    "zoneId": "$zone.zoneId",
                    "name": "api",
                    "type": "A",
                    "ttl": 10,
                    "records": ["192.0.2.1"],
                    "setIdentifier": "primary",
                    "healthCheckId": "$check.id",
                    "failoverRoutingPolicies": [{"type": "PRIMARY"}],
                },
                change={"ttl": 20},
            ),
            Sample(
                "proof",
                {
                    "zoneId": "Z0123456789ABCDEFGHIJ",
                    "name": "_d930b28be6c5927595552b219965053e.api.example.com",
                    "type": "CNAME",
                    "ttl": 60,
                    "records": ["_c9edd76ee4a0e2a74388032f3861cc50.ykybfrwcxw.acm-validations.aws."],
                },
            ),
            Sample(
                "balancer-record",
                {
                    "zoneId": "$zone.zoneId",
                    "name": "api.example.com",
                    "type": "A",
                    "setIdentifier": "secondary",
                    "failoverRoutingPolicies": [{"type": "SECONDARY"}],
                    "aliases": [
                        {"name": "$balancer.dnsName", "zoneId": "$balancer.zoneId", "evaluateTargetHealth": True}
                    ],
                },
            ),
        ),
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
        tags=_CHECK_TAGS,
        coverage="filled",
        note="those that follow an alarm or other checks are judged; endpoint checks probe nothing",
        samples=(
            Sample(
                "check",
                {
                    "type": "CLOUDWATCH_METRIC",
                    "cloudwatchAlarmName": "$alarm.name",
                    "cloudwatchAlarmRegion": "eu-west-1",
                    "insufficientDataHealthStatus": "Unhealthy",
                    "tags": OWNED,
                },
                change={"insufficientDataHealthStatus": "Healthy"},
            ),
            Sample("calculated", {"type": "CALCULATED", "childHealthThreshold": 1, "childHealthchecks": ["$check.id"]}),
        ),
    ),
)
_HEALTH_CHECK = Kind(
    "route53",
    ("HealthCheckId",),
    "CreateHealthCheck",
    "GetHealthCheck",
    "",
    "DeleteHealthCheck",
    made={"HealthCheckId": "{uuid}", "Id": "{HealthCheckId}"},
    fixed={"HealthCheckVersion": 1},
    missing="NoSuchHealthCheck",
)
_SHOWN = ("Id", "CallerReference", "HealthCheckConfig", "HealthCheckVersion")


def health_checks(recorder: Recorder) -> dict[str, dict[str, Any]]:
    """Each health check's configuration, by id."""
    return {key[0]: check["HealthCheckConfig"] for key, check in recorder.all(_HEALTH_CHECK, "global").items()}


def _create_health_check(call: Call) -> dict[str, Any]:
    _refuse_unfit_alarm(call)
    return call.recorder.create(_HEALTH_CHECK, call)


def _update_health_check(call: Call) -> dict[str, Any]:
    _refuse_unfit_alarm(call)
    id_ = call.params["HealthCheckId"]
    check = call.recorder.all(_HEALTH_CHECK, call.region).get((id_,))
    if check is None:
        raise RefusedError("NoSuchHealthCheck", f"A health check with id {id_} does not exist.")
    config = {k: v for k, v in call.params.items() if k not in ("HealthCheckId", "HealthCheckVersion")}
    check["HealthCheckConfig"] = {**check["HealthCheckConfig"], **config}
    check["HealthCheckVersion"] += 1
    return {"HealthCheck": {member: check[member] for member in _SHOWN}}


def _list_health_checks(call: Call) -> dict[str, Any]:
    checks = call.recorder.all(_HEALTH_CHECK, call.region).values()
    return {
        "HealthChecks": [{member: check[member] for member in _SHOWN} for check in checks],
        "Marker": "",
        "IsTruncated": False,
        "MaxItems": "100",
    }


def _refuse_unfit_alarm(call: Call) -> None:
    """Route 53 follows standard-resolution alarms on one metric, with plain statistics, and no others."""
    from moto.cloudwatch.models import cloudwatch_backends

    config = call.params.get("HealthCheckConfig", call.params)
    identifier = config.get("AlarmIdentifier")
    if not identifier:
        return
    alarm = cloudwatch_backends[call.account][identifier["Region"]].alarms.get(identifier["Name"])
    if alarm is None:
        raise RefusedError("InvalidInput", f"the alarm {identifier['Name']} does not exist in {identifier['Region']}")
    reason = (
        "is a composite alarm"
        if alarm.rule is not None
        else "uses metric math"
        if alarm.metric_data_queries
        else "is of high resolution"
        if alarm.period and int(alarm.period) < 60
        else "uses an extended statistic"
        if alarm.extended_statistic
        else "is an M out of N alarm"
        if alarm.datapoints_to_alarm and int(alarm.datapoints_to_alarm) != int(alarm.evaluation_periods)
        else ""
    )
    if reason:
        raise RefusedError("InvalidInput", f"the alarm {identifier['Name']} {reason}; Route 53 cannot follow it")


def public_values(account: str, name: str, type_: str) -> set[str]:
    """What everybody is answered who asks public DNS for a name: records of zones to which somebody delegates."""
    from moto.route53.models import route53_backends

    zones: Any = route53_backends[account]["aws"].zones.values()
    return {
        str(value)
        for zone in zones
        if not zone.private_zone and _delegated(zone, zones)
        for record in zone.rrsets
        if (record.name.rstrip("."), record.type) == (name.rstrip("."), type_)
        for value in record.records
    }


def _delegated(zone: Any, zones: Any) -> bool:
    """A zone that was there before is; one that is made here once a public zone above it has its name servers."""
    if zone.resource_id.startswith("Z"):
        return True
    servers = {server.rstrip(".") for server in zone.delegation_set.name_servers}
    return any(
        (record.name.rstrip("."), record.type) == (zone.name.rstrip("."), "NS")
        and servers & {str(value).rstrip(".") for value in record.records}
        for above in zones
        if _is_above(above, zone) and not above.private_zone and _delegated(above, zones)
        for record in above.rrsets
    )


def _is_above(other: Any, zone: Any) -> bool:
    suffix = f".{other.name.strip('.')}".rstrip(".")
    return other.name != zone.name and zone.name.rstrip(".").endswith(suffix)


def _patch(_: QueueCall) -> None:
    """A zone that a stack only names (``dns.zone_id``) was there before it: it is taken for there, and for one of which
    every name is a part. Route 53's own IDs begin with Z; those of zones made here do not, so that one is not taken
    for the other after the twin has forgotten it."""
    from moto.route53 import models

    backends: Any = models.Route53Backend
    ours, make_id = backends.get_hosted_zone, models.create_route53_zone_id

    def get_hosted_zone(backend: Any, id_: str) -> Any:
        id_ = id_.replace("/hostedzone/", "")
        if id_ not in backend.zones and id_.startswith("Z"):
            outside = backend.create_hosted_zone(".", private_zone=False)
            backend.zones[id_] = backend.zones.pop(outside.resource_id)
            outside.resource_id = id_
        return ours(backend, id_)

    def made_here(*given: Any, **named: Any) -> str:
        return f"M{make_id(*given, **named)[1:]}"

    backends.get_hosted_zone = get_hosted_zone
    models.create_route53_zone_id = made_here


SERVICE = Service(
    "route53",
    _ROWS,
    recorded=(_HEALTH_CHECK,),
    answers={
        "CreateHealthCheck": _create_health_check,
        "ListHealthChecks": _list_health_checks,
        "UpdateHealthCheck": _update_health_check,
    },
    patch=_patch,
    regional=False,
)
