"""What moto lacks and the twin needs: answered here, before a request reaches moto."""

from __future__ import annotations

import json
import time
from typing import Any

from spillway.twin.aws.recorder import Call, Handler, Kind, Recorder, RefusedError

HEALTH_CHECK = Kind(
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
_EKS = "arn:aws:eks:{region}:{account}"
RECORDED = (
    HEALTH_CHECK,
    Kind(
        "eks",
        ("clusterName", "addonName"),
        "CreateAddon",
        "DescribeAddon",
        "UpdateAddon",
        "DeleteAddon",
        "ListAddons",
        "addons",
        made={"addonArn": _EKS + ":addon/{clusterName}/{addonName}/{uuid}"},
        fixed={"status": "ACTIVE"},
    ),
    Kind(
        "eks",
        ("clusterName", "principalArn"),
        "CreateAccessEntry",
        "DescribeAccessEntry",
        "UpdateAccessEntry",
        "DeleteAccessEntry",
        "ListAccessEntries",
        "accessEntries",
        made={"accessEntryArn": _EKS + ":access-entry/{clusterName}/{uuid}"},
    ),
    Kind(
        "eks",
        ("clusterName", "principalArn", "policyArn"),
        "AssociateAccessPolicy",
        "",
        "",
        "DisassociateAccessPolicy",
        "ListAssociatedAccessPolicies",
        "associatedAccessPolicies",
        overwrite=True,
    ),
    Kind(
        "eks",
        ("clusterName", "associationId"),
        "CreatePodIdentityAssociation",
        "DescribePodIdentityAssociation",
        "UpdatePodIdentityAssociation",
        "DeletePodIdentityAssociation",
        "ListPodIdentityAssociations",
        "associations",
        made={
            "associationId": "a-{uuid}",
            "associationArn": _EKS + ":podidentityassociation/{clusterName}/{associationId}",
        },
    ),
    Kind(
        "budgets",
        ("AccountId", "BudgetName", "ActionId"),
        "CreateBudgetAction",
        "DescribeBudgetAction",
        "UpdateBudgetAction",
        "DeleteBudgetAction",
        "DescribeBudgetActionsForBudget",
        "Actions",
        made={"ActionId": "{uuid}"},
        fixed={"Status": "STANDBY"},
        missing="NotFoundException",
    ),
    Kind(
        "ce",
        ("MonitorArn",),
        "CreateAnomalyMonitor",
        "",
        "UpdateAnomalyMonitor",
        "DeleteAnomalyMonitor",
        "GetAnomalyMonitors",
        "AnomalyMonitors",
        by="MonitorArnList",
        within="AnomalyMonitor",
        made={"MonitorArn": "arn:aws:ce::{account}:anomalymonitor/{uuid}"},
        missing="UnknownMonitorException",
    ),
    Kind(
        "ce",
        ("SubscriptionArn",),
        "CreateAnomalySubscription",
        "",
        "UpdateAnomalySubscription",
        "DeleteAnomalySubscription",
        "GetAnomalySubscriptions",
        "AnomalySubscriptions",
        by="SubscriptionArnList",
        within="AnomalySubscription",
        made={"SubscriptionArn": "arn:aws:ce::{account}:anomalysubscription/{uuid}"},
        missing="UnknownSubscriptionException",
    ),
    Kind(
        "rolesanywhere",
        ("trustAnchorId",),
        "CreateTrustAnchor",
        "GetTrustAnchor",
        "UpdateTrustAnchor",
        "DeleteTrustAnchor",
        "ListTrustAnchors",
        "trustAnchors",
        made={
            "trustAnchorId": "{uuid}",
            "trustAnchorArn": "arn:aws:rolesanywhere:{region}:{account}:trust-anchor/{trustAnchorId}",
        },
    ),
    Kind(
        "rolesanywhere",
        ("profileId",),
        "CreateProfile",
        "GetProfile",
        "UpdateProfile",
        "DeleteProfile",
        "ListProfiles",
        "profiles",
        made={"profileId": "{uuid}", "profileArn": "arn:aws:rolesanywhere:{region}:{account}:profile/{profileId}"},
    ),
    Kind(
        "elasticache",
        ("CacheParameterGroupName",),
        "CreateCacheParameterGroup",
        "",
        "ModifyCacheParameterGroup",
        "DeleteCacheParameterGroup",
        "DescribeCacheParameterGroups",
        "CacheParameterGroups",
        by="CacheParameterGroupName",
        made={"ARN": "arn:aws:elasticache:{region}:{account}:parametergroup:{CacheParameterGroupName}"},
        missing="CacheParameterGroupNotFound",
    ),
)


def _update_endpoint(call: Call) -> dict[str, Any]:
    """A new configuration for a live endpoint. Capacity goes back to the configuration's, unless asked to be kept."""
    from moto.core.utils import utcnow
    from moto.sagemaker.models import sagemaker_backends

    backend: Any = sagemaker_backends[call.account][call.region]
    endpoint = backend.endpoints.get(call.params["EndpointName"])
    config = backend.endpoint_configs.get(call.params["EndpointConfigName"])
    if endpoint is None or config is None:
        what = "endpoint" if endpoint is None else "endpoint configuration"
        raise RefusedError("ValidationException", f"Could not find {what}.")
    kept = {variant["VariantName"]: variant for variant in endpoint.production_variants}
    variants = endpoint._process_production_variants(config.production_variants)
    excluded = {e["VariantPropertyType"] for e in call.params.get("ExcludeRetainedVariantProperties", [])}
    if call.params.get("RetainAllVariantProperties"):
        for variant in variants:
            _retain(variant, kept.get(variant["VariantName"], {}), excluded)
    endpoint.production_variants = variants
    endpoint.endpoint_config_name = config.endpoint_config_name
    endpoint.last_modified_time = utcnow()
    if "DeploymentConfig" in call.params:
        endpoint.last_deployment_config = call.params["DeploymentConfig"]
    return {"EndpointArn": endpoint.arn}


def _retain(variant: dict[str, Any], old: dict[str, Any], excluded: set[str]) -> None:
    if "DesiredInstanceCount" not in excluded and "DesiredInstanceCount" in old:
        variant["DesiredInstanceCount"] = variant["CurrentInstanceCount"] = old["DesiredInstanceCount"]
    if "DesiredWeight" not in excluded and "DesiredWeight" in old:
        variant["DesiredWeight"] = variant["CurrentWeight"] = old["DesiredWeight"]


def _delete_package_group(call: Call) -> dict[str, Any]:
    from moto.sagemaker.models import sagemaker_backends

    groups = sagemaker_backends[call.account][call.region].model_package_groups
    if call.params["ModelPackageGroupName"] not in groups:
        raise RefusedError("ValidationException", "Could not find model package group.")
    groups.pop(call.params["ModelPackageGroupName"])
    return {}


def _put_composite_alarm(call: Call) -> dict[str, Any]:
    """Checked as CloudWatch does: the rule must parse and each alarm in it exist."""
    from moto.cloudwatch.models import cloudwatch_backends

    from spillway.twin.aws.alarm_rules import RuleError, alarms_in, parse_rule

    backend: Any = cloudwatch_backends[call.account][call.region]
    params = call.params
    try:
        rule = parse_rule(params["AlarmRule"])
    except RuleError as error:
        raise RefusedError("ValidationError", f"AlarmRule: {error}") from error
    missing = sorted(alarms_in(rule) - set(backend.alarms))
    if missing:
        raise RefusedError("ValidationError", f"AlarmRule names alarms that do not exist: {', '.join(missing)}")
    backend.put_metric_alarm(
        name=params["AlarmName"],
        namespace=None,
        metric_name=None,
        metric_data_queries=None,
        comparison_operator=None,
        evaluation_periods=None,
        datapoints_to_alarm=None,
        period=None,
        threshold=None,
        statistic=None,
        extended_statistic=None,
        description=params.get("AlarmDescription"),
        dimensions=[],
        alarm_actions=params.get("AlarmActions", []),
        ok_actions=params.get("OKActions", []),
        insufficient_data_actions=params.get("InsufficientDataActions", []),
        unit=None,
        actions_enabled=params.get("ActionsEnabled", True),
        treat_missing_data=None,
        evaluate_low_sample_count_percentile=None,
        threshold_metric_id=None,
        rule=params["AlarmRule"],
        tags=params.get("Tags", []),
    )
    return {}


def _alarm_history(call: Call) -> dict[str, Any]:
    """State changes, newest first unless asked otherwise."""
    from moto.cloudwatch.models import cloudwatch_backends

    params = call.params
    alarms = cloudwatch_backends[call.account][call.region].alarms.values()
    items = [
        {
            "AlarmName": alarm.name,
            "AlarmType": "MetricAlarm" if alarm.rule is None else "CompositeAlarm",
            "Timestamp": moment,
            "HistoryItemType": "StateUpdate",
            "HistorySummary": f"Alarm updated from {old} to {new}",
            "HistoryData": json.dumps(
                {"oldState": {"stateValue": old}, "newState": {"stateValue": new, "stateReason": reason}}
            ),
        }
        for alarm in alarms
        if params.get("AlarmName") in (None, alarm.name)
        for moment, old, new, reason in getattr(alarm, "transitions", [])
    ]
    items.sort(key=lambda item: item["Timestamp"], reverse=params.get("ScanBy") != "TimestampAscending")
    wanted = params.get("HistoryItemType", "StateUpdate") == "StateUpdate"
    return {"AlarmHistoryItems": items[: int(params.get("MaxRecords", 100))] if wanted else []}


def _update_budget(call: Call) -> dict[str, Any]:
    from moto.budgets.models import budgets_backends

    new = call.params["NewBudget"]
    held = budgets_backends[call.account]["aws"].budgets[call.params["AccountId"]]
    if new["BudgetName"] not in held:
        raise RefusedError(
            "NotFoundException", f"Unable to get budget: {new['BudgetName']} - the budget doesn't exist."
        )
    budget = held[new["BudgetName"]]
    budget.budget = {**budget.budget, **new, "LastUpdatedTime": time.time()}
    return {}


def _update_cluster_version(call: Call) -> dict[str, Any]:
    from moto.eks.models import eks_backends

    cluster = eks_backends[call.account][call.region].clusters.get(call.params["name"])
    if cluster is None:
        raise RefusedError("ResourceNotFoundException", f"No cluster found for name: {call.params['name']}.")
    cluster.version = call.params["version"]
    return {"update": {"id": "update", "status": "Successful", "type": "VersionUpdate"}}


def _update_nodegroup_version(call: Call) -> dict[str, Any]:
    from moto.eks.models import eks_backends

    cluster = eks_backends[call.account][call.region].clusters.get(call.params["clusterName"])
    group = cluster.nodegroups.get(call.params["nodegroupName"]) if cluster else None
    if group is None:
        raise RefusedError("ResourceNotFoundException", f"No node group found: {call.params['nodegroupName']}.")
    for member, attribute in (
        ("version", "version"),
        ("releaseVersion", "release_version"),
        ("launchTemplate", "launch_template"),
    ):
        if member in call.params:
            setattr(group, attribute, call.params[member])
    return {"update": {"id": "update", "status": "Successful", "type": "VersionUpdate"}}


def _delete_subnet_group(call: Call) -> dict[str, Any]:
    _subnet_groups(call).pop(_subnet_group(call).cache_subnet_group_name, None)
    return {}


def _modify_subnet_group(call: Call) -> dict[str, Any]:
    group = _subnet_group(call)
    if "CacheSubnetGroupDescription" in call.params:
        group.cache_subnet_group_description = call.params["CacheSubnetGroupDescription"]
    if "SubnetIds" in call.params:
        group.subnet_ids = call.params["SubnetIds"]
    return {"CacheSubnetGroup": {"CacheSubnetGroupName": group.cache_subnet_group_name, "ARN": group.arn}}


def _subnet_groups(call: Call) -> dict[str, Any]:
    from moto.elasticache.models import elasticache_backends

    return elasticache_backends[call.account][call.region].cache_subnet_groups


def _subnet_group(call: Call) -> Any:
    name = call.params["CacheSubnetGroupName"]
    group = _subnet_groups(call).get(name)
    if group is None:
        raise RefusedError("CacheSubnetGroupNotFoundFault", f"CacheSubnetGroup {name} not found.")
    return group


def _ec2_backend(call: Call) -> Any:
    from moto.ec2.models import ec2_backends

    return ec2_backends[call.account][call.region]


def _create_vpn_route(call: Call) -> dict[str, Any]:
    connection = _vpn(call)
    cidr = call.params["DestinationCidrBlock"]
    connection.routes = [r for r in getattr(connection, "routes", []) if r["DestinationCidrBlock"] != cidr]
    connection.routes.append({"DestinationCidrBlock": cidr, "Source": "Static", "State": "available"})
    return {}


def _delete_vpn_route(call: Call) -> dict[str, Any]:
    connection = _vpn(call)
    cidr = call.params["DestinationCidrBlock"]
    if cidr not in [route["DestinationCidrBlock"] for route in getattr(connection, "routes", [])]:
        raise RefusedError("InvalidRoute.NotFound", f"no route to {cidr}")
    connection.routes = [route for route in connection.routes if route["DestinationCidrBlock"] != cidr]
    return {}


def _vpn(call: Call) -> Any:
    connection = _ec2_backend(call).vpn_connections.get(call.params["VpnConnectionId"])
    if connection is None:
        raise RefusedError("InvalidVpnConnectionID.NotFound", f"{call.params['VpnConnectionId']} does not exist")
    return connection


def _enable_propagation(call: Call) -> dict[str, Any]:
    table = _route_table(call)
    held = [item for item in getattr(table, "propagating_vgws", []) if item["GatewayId"] != call.params["GatewayId"]]
    table.propagating_vgws = [*held, {"GatewayId": call.params["GatewayId"]}]
    return {}


def _disable_propagation(call: Call) -> dict[str, Any]:
    table = _route_table(call)
    held = getattr(table, "propagating_vgws", [])
    table.propagating_vgws = [item for item in held if item["GatewayId"] != call.params["GatewayId"]]
    return {}


def _route_table(call: Call) -> Any:
    table = _ec2_backend(call).route_tables.get(call.params["RouteTableId"])
    if table is None:
        raise RefusedError("InvalidRouteTableID.NotFound", f"{call.params['RouteTableId']} does not exist")
    return table


def _nothing(_: Call) -> dict[str, Any]:
    return {}


class Filled:
    """Every operation that is answered here, by service and name."""

    def __init__(self) -> None:
        self.recorder = Recorder(RECORDED)
        self.handlers: dict[tuple[str, str], Handler] = {
            **self.recorder.handlers,
            ("sagemaker", "UpdateEndpoint"): _update_endpoint,
            ("sagemaker", "DeleteModelPackageGroup"): _delete_package_group,
            ("cloudwatch", "PutCompositeAlarm"): _put_composite_alarm,
            ("cloudwatch", "DescribeAlarmHistory"): _alarm_history,
            ("budgets", "UpdateBudget"): _update_budget,
            ("budgets", "TagResource"): _nothing,
            ("budgets", "UntagResource"): _nothing,
            ("ce", "TagResource"): _nothing,
            ("ce", "UntagResource"): _nothing,
            ("rolesanywhere", "TagResource"): _nothing,
            ("rolesanywhere", "UntagResource"): _nothing,
            ("application-autoscaling", "TagResource"): _nothing,
            ("application-autoscaling", "UntagResource"): _nothing,
            ("logs", "AssociateKmsKey"): _nothing,
            ("logs", "DisassociateKmsKey"): _nothing,
            ("eks", "UpdateClusterVersion"): _update_cluster_version,
            ("eks", "UpdateNodegroupVersion"): _update_nodegroup_version,
            ("elasticache", "DeleteCacheSubnetGroup"): _delete_subnet_group,
            ("elasticache", "ModifyCacheSubnetGroup"): _modify_subnet_group,
            ("ec2", "EnableVgwRoutePropagation"): _enable_propagation,
            ("ec2", "DisableVgwRoutePropagation"): _disable_propagation,
            ("ec2", "CreateVpnConnectionRoute"): _create_vpn_route,
            ("ec2", "DeleteVpnConnectionRoute"): _delete_vpn_route,
            ("route53", "ListHealthChecks"): self._list_health_checks,
            ("route53", "UpdateHealthCheck"): self._update_health_check,
        }
        self._check_alarm("route53", "CreateHealthCheck")

    def health_checks(self) -> dict[str, dict[str, Any]]:
        """Each health check's configuration, by id."""
        found = self.recorder.all(HEALTH_CHECK, "global")
        return {key[0]: check["HealthCheckConfig"] for key, check in found.items()}

    def _check_alarm(self, service: str, operation: str) -> None:
        create = self.handlers[service, operation]

        def checked(call: Call) -> dict[str, Any]:
            refuse_unfit_alarm(call)
            return create(call)

        self.handlers[service, operation] = checked

    def _list_health_checks(self, call: Call) -> dict[str, Any]:
        checks = self.recorder.all(HEALTH_CHECK, call.region).values()
        members = ("Id", "CallerReference", "HealthCheckConfig", "HealthCheckVersion")
        return {
            "HealthChecks": [{member: check[member] for member in members} for check in checks],
            "Marker": "",
            "IsTruncated": False,
            "MaxItems": "100",
        }

    def _update_health_check(self, call: Call) -> dict[str, Any]:
        refuse_unfit_alarm(call)
        store = self.recorder._store(HEALTH_CHECK, call.region)
        check = store.get((call.params["HealthCheckId"],))
        if check is None:
            raise RefusedError(
                "NoSuchHealthCheck", f"A health check with id {call.params['HealthCheckId']} does not exist."
            )
        config = {k: v for k, v in call.params.items() if k not in ("HealthCheckId", "HealthCheckVersion")}
        check["HealthCheckConfig"] = {**check["HealthCheckConfig"], **config}
        check["HealthCheckVersion"] += 1
        return {
            "HealthCheck": {m: check[m] for m in ("Id", "CallerReference", "HealthCheckConfig", "HealthCheckVersion")}
        }


def refuse_unfit_alarm(call: Call) -> None:
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
