"""Provider functions (data sources) that the stand-in answers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from spillway.contracts import health_checkers
from spillway.twin.aws.client import Clients, UnreachableError
from spillway.twin.aws.services import ISSUER
from spillway.twin.provider import Properties, Secret, UnknownTypeError

Function = Callable[[Clients, str, Properties], Properties]
"""Takes the clients, the region that is meant, and the arguments."""


def _identity(clients: Clients, region: str, _: Properties) -> Properties:
    answer = clients.call("sts", region, "GetCallerIdentity", {})
    return {
        "id": answer["Account"],
        "accountId": answer["Account"],
        "arn": answer["Arn"],
        "userId": answer["UserId"],
    }


def _region(_: Clients, region: str, args: Properties) -> Properties:
    name = args.get("region") or args.get("name") or region
    return {"id": name, "name": name, "region": name, "description": name, "endpoint": f"ec2.{name}.amazonaws.com"}


def _partition(_: Clients, __: str, ___: Properties) -> Properties:
    return {"id": "aws", "partition": "aws", "dnsSuffix": "amazonaws.com", "reverseDnsPrefix": "com.amazonaws"}


def _zones(clients: Clients, region: str, args: Properties) -> Properties:
    try:
        zones = clients.call("ec2", region, "DescribeAvailabilityZones", {})["AvailabilityZones"]
    except UnreachableError:
        # A plan asks no server; most regions have these.
        zones = [{"ZoneName": f"{region}{letter}", "ZoneId": letter, "State": "available"} for letter in "abc"]
    left_out = {*args.get("excludeZoneIds", ()), *args.get("excludeNames", ())}
    zones = [
        zone
        for zone in zones
        if args.get("state") in (None, zone["State"]) and not left_out & {zone["ZoneId"], zone["ZoneName"]}
    ]
    return {"id": region, "names": [z["ZoneName"] for z in zones], "zoneIds": [z["ZoneId"] for z in zones]}


def _offerings(clients: Clients, region: str, args: Properties) -> Properties:
    params = {
        "LocationType": args.get("locationType", "region"),
        "Filters": [{"Name": one["name"], "Values": one["values"]} for one in args.get("filters", ())],
    }
    try:
        found = clients.call("ec2", region, "DescribeInstanceTypeOfferings", params)["InstanceTypeOfferings"]
    except UnreachableError:
        types = [value for one in args.get("filters", ()) for value in one["values"]]
        found = [
            {"InstanceType": type_, "Location": f"{region}{letter}", "LocationType": params["LocationType"]}
            for type_ in types
            for letter in "abc"
        ]
    return {
        "id": region,
        "instanceTypes": [one["InstanceType"] for one in found],
        "locations": [one["Location"] for one in found],
        "locationTypes": [one["LocationType"] for one in found],
    }


def _parameter(clients: Clients, region: str, args: Properties) -> Properties:
    params = {"Name": args["name"], "WithDecryption": args.get("withDecryption", True)}
    found = clients.call("ssm", region, "GetParameter", params)["Parameter"]
    return {
        "id": found["Name"],
        "name": found["Name"],
        "arn": found["ARN"],
        "type": found["Type"],
        "value": Secret(found["Value"]),
        "version": found["Version"],
    }


def _zone(clients: Clients, region: str, args: Properties) -> Properties:
    if args.get("zoneId"):
        params: dict[str, Any] = {"Id": args["zoneId"]}
        zone = clients.call("route53", region, "GetHostedZone", params)["HostedZone"]
    else:
        wanted = args["name"].rstrip(".")
        zones = clients.call("route53", region, "ListHostedZones", {})["HostedZones"]
        zone = next((z for z in zones if z["Name"].rstrip(".") == wanted), None)
        if zone is None:
            raise UnknownTypeError(f"no hosted zone {wanted}")
    id_ = zone["Id"].rsplit("/", 1)[-1]
    return {"id": id_, "zoneId": id_, "name": zone["Name"].rstrip("."), "arn": f"arn:aws:route53:::hostedzone/{id_}"}


def _prefix_list(clients: Clients, region: str, args: Properties) -> Properties:
    name = args["name"]
    try:
        filters = [{"Name": "prefix-list-name", "Values": [name]}]
        found = clients.call("ec2", region, "DescribeManagedPrefixLists", {"Filters": filters})["PrefixLists"]
        if not found:
            raise UnknownTypeError(f"no prefix list {name} in {region}")
        id_ = found[0]["PrefixListId"]
        entries = clients.call("ec2", region, "GetManagedPrefixListEntries", {"PrefixListId": id_})["Entries"]
    except UnreachableError:
        # A plan asks no server.
        id_, entries = "pl-planned", [{"Cidr": cidr} for cidr in health_checkers.RANGES]
    return {"id": id_, "name": name, "entries": [{"cidr": entry["Cidr"]} for entry in entries]}


def _token_issuer(clients: Clients, region: str, _: Properties) -> Properties:
    try:
        issuer = clients.call("iam", region, "GetOutboundWebIdentityFederationInfo", {})["IssuerIdentifier"]
    except UnreachableError:
        # A plan asks no server.
        issuer = ISSUER
    return {"id": issuer, "issuerIdentifier": issuer}


def _addon_version(_: Clients, __: str, args: Properties) -> Properties:
    """Another one for each minor of Kubernetes, as EKS's own mostly are."""
    version = f"v{args['kubernetesVersion']}.0-eksbuild.1"
    return {"id": args["addonName"], **args, "version": version}


_FUNCTIONS: dict[str, Function] = {
    "aws:index/getCallerIdentity:getCallerIdentity": _identity,
    "aws:index/getRegion:getRegion": _region,
    "aws:index/getPartition:getPartition": _partition,
    "aws:index/getAvailabilityZones:getAvailabilityZones": _zones,
    "aws:ec2/getInstanceTypeOfferings:getInstanceTypeOfferings": _offerings,
    "aws:ec2/getManagedPrefixList:getManagedPrefixList": _prefix_list,
    "aws:eks/getAddonVersion:getAddonVersion": _addon_version,
    "aws:iam/getOutboundWebIdentityFederation:getOutboundWebIdentityFederation": _token_issuer,
    "aws:ssm/getParameter:getParameter": _parameter,
    "aws:route53/getZone:getZone": _zone,
}


def invoke(clients: Clients, region: str, token: str, args: Properties) -> Properties:
    """Answer one provider function; ``region`` where the arguments name none.

    :class:`UnknownTypeError` for one that is not in the table.
    """
    if token not in _FUNCTIONS:
        raise UnknownTypeError(f"{token} is no function of the AWS stand-in; it has {', '.join(sorted(_FUNCTIONS))}")
    return _FUNCTIONS[token](clients, args.get("region") or region, args)
