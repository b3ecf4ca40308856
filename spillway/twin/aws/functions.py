"""Provider functions (data sources) that the stand-in answers."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from spillway.twin.standin import Properties, Secret, UnknownTypeError

if TYPE_CHECKING:
    from spillway.twin.aws.standin import AwsStandIn


def _identity(stand_in: AwsStandIn, _: Properties) -> Properties:
    answer = stand_in.clients.call("sts", stand_in.region, "GetCallerIdentity", {})
    return {
        "id": answer["Account"],
        "accountId": answer["Account"],
        "arn": answer["Arn"],
        "userId": answer["UserId"],
    }


def _region(stand_in: AwsStandIn, args: Properties) -> Properties:
    name = args.get("region") or args.get("name") or stand_in.region
    return {"id": name, "name": name, "region": name, "description": name, "endpoint": f"ec2.{name}.amazonaws.com"}


def _partition(_: AwsStandIn, __: Properties) -> Properties:
    return {"id": "aws", "partition": "aws", "dnsSuffix": "amazonaws.com", "reverseDnsPrefix": "com.amazonaws"}


def _zones(stand_in: AwsStandIn, args: Properties) -> Properties:
    region = args.get("region") or stand_in.region
    zones = stand_in.clients.call("ec2", region, "DescribeAvailabilityZones", {})["AvailabilityZones"]
    names = [z["ZoneName"] for z in zones if not args.get("state") or z["State"] == args["state"]]
    return {"id": region, "names": names, "zoneIds": [z["ZoneId"] for z in zones if z["ZoneName"] in names]}


def _parameter(stand_in: AwsStandIn, args: Properties) -> Properties:
    region = args.get("region") or stand_in.region
    params = {"Name": args["name"], "WithDecryption": args.get("withDecryption", True)}
    found = stand_in.clients.call("ssm", region, "GetParameter", params)["Parameter"]
    return {
        "id": found["Name"],
        "name": found["Name"],
        "arn": found["ARN"],
        "type": found["Type"],
        "value": Secret(found["Value"]),
        "version": found["Version"],
    }


def _zone(stand_in: AwsStandIn, args: Properties) -> Properties:
    if args.get("zoneId"):
        params: dict[str, Any] = {"Id": args["zoneId"]}
        zone = stand_in.clients.call("route53", stand_in.region, "GetHostedZone", params)["HostedZone"]
    else:
        wanted = args["name"].rstrip(".")
        zones = stand_in.clients.call("route53", stand_in.region, "ListHostedZones", {})["HostedZones"]
        zone = next((z for z in zones if z["Name"].rstrip(".") == wanted), None)
        if zone is None:
            raise UnknownTypeError(f"no hosted zone {wanted}")
    id_ = zone["Id"].rsplit("/", 1)[-1]
    return {"id": id_, "zoneId": id_, "name": zone["Name"].rstrip("."), "arn": f"arn:aws:route53:::hostedzone/{id_}"}


_FUNCTIONS: dict[str, Callable[[AwsStandIn, Properties], Properties]] = {
    "aws:index/getCallerIdentity:getCallerIdentity": _identity,
    "aws:index/getRegion:getRegion": _region,
    "aws:index/getPartition:getPartition": _partition,
    "aws:index/getAvailabilityZones:getAvailabilityZones": _zones,
    "aws:ssm/getParameter:getParameter": _parameter,
    "aws:route53/getZone:getZone": _zone,
}


def invoke(stand_in: AwsStandIn, token: str, args: Properties) -> Properties:
    """Answer one provider function. :class:`UnknownTypeError` for one that is not in the table."""
    if token not in _FUNCTIONS:
        raise UnknownTypeError(f"{token} is no function of the AWS stand-in; it has {', '.join(sorted(_FUNCTIONS))}")
    return _FUNCTIONS[token](stand_in, args)
