"""The emulated Resource Manager: resources in memory, and what ARM and the providers check."""

from __future__ import annotations

import copy
import re
import secrets
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from spillway.twin.azure import wire
from spillway.twin.azure.account import TENANT_ID
from spillway.twin.azure.refusals import SOFT_DELETED, ArmError, Asked, check
from spillway.twin.azure.row import Row
from spillway.twin.azure.services import BY_TOKEN, ROWS

Body = dict[str, Any]

_GROUP: Final = re.compile(r"/subscriptions/[^/]+/resourcegroups/[^/]+", re.IGNORECASE)
_ID: Final = re.compile(r"/subscriptions/([^/]+)/resourceGroups/[^/]+/providers/.+", re.IGNORECASE)


def name_problem(row: Row, name: str) -> str | None:
    """What is wrong with a resource's name, for the types whose rule is known."""
    if row.name_rule is None or re.fullmatch(row.name_rule[0], name):
        return None
    return f"{name!r} must be {row.name_rule[1]}"


def _pattern(row: Row) -> re.Pattern[str]:
    text = re.escape(row.path).replace(r"\{", "{").replace(r"\}", "}")
    text = text.replace("/{scope}", "(?P<scope>.*)").replace("/{resourceUri}", "(?P<resourceUri>.+)")
    return re.compile(re.sub(r"{(\w+)}", r"(?P<\1>[^/]+)", text), re.IGNORECASE)


_PATTERNS: Final = [(row, _pattern(row)) for row in ROWS]


def row_at(path: str) -> tuple[Row, dict[str, str]] | None:
    """The row whose resources live at a path, and the path's parameters."""
    for row, pattern in _PATTERNS:
        match = pattern.fullmatch(path)
        if match is not None:
            return row, match.groupdict()
    return None


def is_long_running(path: str) -> bool:
    """Whether a change of the resource there is accepted first, and made later."""
    found = row_at(path)
    return found is not None and found[0].long_running


class ResourceManager:
    """Used from one thread only. ``rights_after_s``: how old role assignments are in force."""

    def __init__(self, rights_after_s: float = 0.0) -> None:
        self._rights_after = timedelta(seconds=rights_after_s)
        self._resources: dict[str, Body] = {}
        self._keys: dict[str, list[str]] = {}
        self._deleted: set[tuple[str, str]] = set()

    def put(self, path: str, version: str, body: Body) -> tuple[Body, bool]:
        """Create or replace. Returns the resource, and whether it is new."""
        found = row_at(path)
        if found is None:
            raise ArmError(404, "InvalidResourceType", f"the stand-in has no row for {_type_of(path)}")
        row, parameters = found
        self._check_version(row, version)
        self._check_parents(row, path)
        name = path.rsplit("/", 1)[1]
        if (wrong := name_problem(row, name)) is not None:
            raise ArmError(400, "InvalidResourceName", wrong)
        broken = wire.problems(row, body)
        if broken:
            told = "; ".join(f"{problem.path}: {problem.reason}" for problem in broken)
            raise ArmError(400, "InvalidRequestContent", f"The request content was invalid: {told}")
        body = wire.writable(row, copy.deepcopy(body))
        self._check_references(path, body)
        self._check_traffic(row, path, body)
        old = self._resources.get(path.lower())
        check(row.type, Asked(path, body, old, self._resources, frozenset(self._deleted), self.in_force))
        if old is not None and "location" in old and _place(body.get("location")) != _place(old["location"]):
            message = f"The resource '{name}' already exists in location '{old['location']}'."
            raise ArmError(409, "InvalidResourceLocation", message)
        if row.type == "resources:Deployment":
            self._deploy(path, body)
        resource = self._complete(row, path, parameters, body, old)
        self._resources[path.lower()] = resource
        self._put_children(row, path, resource)
        return resource, old is None

    def get(self, path: str) -> Body:
        """The resource; a second look finds it provisioned."""
        found = self._resources.get(path.lower())
        if found is None:
            raise self._missing(path)
        seen = copy.deepcopy(found)
        if "provisioningState" in found.get("properties", {}):
            found["properties"]["provisioningState"] = "Succeeded"
        row = row_at(path)
        for key in row[0].write_only if row else ():
            seen.get("properties", {}).pop(key, None)
        return seen

    def patch(self, path: str, version: str, body: Body) -> Body:
        old = self._resources.get(path.lower())
        if old is None:
            raise self._missing(path)
        kept = {key: value for key, value in old.items() if key not in ("id", "name", "type")}
        # Said by the stand-in for every type; some have no such property to be written.
        properties = {key: value for key, value in kept.get("properties", {}).items() if key != "provisioningState"}
        made = self.put(path, version, _merge({**kept, "properties": properties}, body))[0]
        if "sku" in body and is_long_running(path):
            self._resources[path.lower()]["properties"]["provisioningState"] = "Scaling"
        return made

    def delete(self, path: str) -> bool:
        """Delete with everything below. False when there was nothing."""
        key = path.lower()
        if key not in self._resources:
            return False
        found = row_at(path)
        if found is not None and found[0].settings_of_parent:
            del self._resources[key]
            return True
        self._refuse_with_traffic(path)
        below = [other for other in self._resources if other == key or other.startswith(f"{key}/")]
        if found is not None and found[0].kept_while_used:
            users = [other for other in self._resources if other not in below and self._uses(other, key)]
            if users:
                message = f"{found[0].type.split(':')[1]} {path} is in use by {self._resources[users[0]]['id']}"
                raise ArmError(400, f"InUse{found[0].type.split(':')[1]}CannotBeDeleted", message)
        for other in below:
            self._keep_name(self._resources[other]["id"])
            del self._resources[other]
            self._keys.pop(other, None)
        self._forget_traffic(path)
        return True

    def purge(self, type_: str, name: str) -> bool:
        """Give the name of a soft-deleted resource free. False when there is none."""
        known = (type_, name.lower()) in self._deleted
        self._deleted.discard((type_, name.lower()))
        return known

    def _keep_name(self, path: str) -> None:
        """A soft-deleted resource's name stays taken."""
        found = row_at(path)
        if found is not None and found[0].type in SOFT_DELETED:
            taken = path if SOFT_DELETED[found[0].type] == "path" else path.rpartition("/")[2]
            self._deleted.add((found[0].type, taken.lower()))

    def list(self, path: str) -> list[Body]:
        """The resources of a collection, e.g. all deployments of an endpoint."""
        prefix = f"{path.lower()}/"
        below = [key for key in sorted(self._resources) if key.startswith(prefix) and "/" not in key[len(prefix) :]]
        return [self._resources[key] for key in below]

    @property
    def in_force(self) -> datetime:
        """Role assignments that are younger are not in force."""
        return datetime.now(UTC) - self._rights_after

    def below(self, part: str) -> list[Body]:
        """The resources with ``part`` in their paths, in lower case."""
        return [found for key, found in self._resources.items() if part in key]

    def identity(self, client_id: str) -> Body | None:
        """The managed identity that logs in by this id."""
        found = self.below("/userassignedidentities/")
        return next((one for one in found if one.get("properties", {}).get("clientId") == client_id), None)

    def type_of(self, path: str) -> str:
        """The ARM type of what is at a path."""
        return _type_of(path)

    def of_type(self, type_: str, subscription: str) -> list[Body]:
        """The resources of an ARM type in a subscription."""
        start = f"/subscriptions/{subscription}/".lower()
        return [r for key, r in self._resources.items() if key.startswith(start) and _type_of(r["id"]) == type_]

    def subscriptions(self) -> list[str]:
        """The ids of the subscriptions that hold resources."""
        return sorted({match.group(1) for r in self._resources.values() if (match := _ID.match(r["id"]))})

    def keys(self, path: str) -> list[str]:
        """Two keys of a resource, made up on first use."""
        self.get(path)
        return self._keys.setdefault(path.lower(), [secrets.token_urlsafe(48) for _ in range(2)])

    def regenerate(self, path: str, secondary: bool) -> list[str]:
        keys = self.keys(path)
        keys[int(secondary)] = secrets.token_urlsafe(48)
        return keys

    def named(self, type_: str, name: str) -> str | None:
        """The path of the resource of a globally named type, e.g. a storage account."""
        for resource in self._resources.values():
            found = row_at(resource["id"])
            if found is not None and found[0].token == type_ and resource["name"].lower() == name.lower():
                return resource["id"]
        return None

    def _missing(self, path: str) -> ArmError:
        if (group := self._missing_group(path)) is not None:
            return group
        return ArmError(
            404, "ResourceNotFound", f"The Resource '{_type_of(path)}/{path.rsplit('/', 1)[1]}' was not found."
        )

    def _missing_group(self, path: str) -> ArmError | None:
        match = _GROUP.match(path)
        if match is None or match.group(0).lower() in self._resources:
            return None
        name = match.group(0).rsplit("/", 1)[1]
        return ArmError(404, "ResourceGroupNotFound", f"Resource group '{name}' could not be found.")

    def _check_version(self, row: Row, version: str) -> None:
        allowed = wire.resource(row)["versions"]
        if version not in allowed:
            message = f"The api-version '{version}' is invalid for {row.type}; supported are '{','.join(allowed)}'."
            raise ArmError(400, "NoRegisteredProviderFound" if version else "MissingApiVersionParameter", message)

    def _check_parents(self, row: Row, path: str) -> None:
        if row.type != "resources:ResourceGroup" and (missing := self._missing_group(path)) is not None:
            raise missing
        for parent in _parents(path):
            found = row_at(parent)
            implicit = parent.rsplit("/", 1)[1] == "default" or path.lower()[len(parent) :].startswith("/versions/")
            if found is not None and not implicit and parent.lower() not in self._resources:
                message = (
                    f"Can not perform requested operation on nested resource. Parent resource '{parent}' not found."
                )
                raise ArmError(404, "ParentResourceNotFound", message)

    def _check_references(self, path: str, body: Body) -> None:
        for reference in _references(body):
            match = _ID.fullmatch(reference)
            known = row_at(reference) if match else None
            if match is None or known is None or known[0].type.startswith("authorization:"):
                continue
            same_subscription = (
                match.group(1).lower() == path.split("/")[2].lower() if path.startswith("/subs") else False
            )
            inside = reference.lower().startswith(path.lower())
            if same_subscription and not inside and reference.lower() not in self._resources:
                message = f"Resource {reference} referenced by resource {path} was not found."
                raise ArmError(400, "InvalidResourceReference", message)

    def _check_traffic(self, row: Row, path: str, body: Body) -> None:
        if row.type != "machinelearningservices:OnlineEndpoint":
            return
        for key, most in (("traffic", 100), ("mirrorTraffic", 50)):
            split = body.get("properties", {}).get(key) or {}
            for name in split:
                if f"{path}/deployments/{name}".lower() not in self._resources:
                    message = (
                        f"{key} names deployment '{name}', which does not exist in endpoint {path.rsplit('/', 1)[1]}"
                    )
                    raise ArmError(400, "UserError", message)
            if sum(split.values()) > most:
                raise ArmError(
                    400, "UserError", f"{key} adds up to {sum(split.values())} %, at most {most} % is allowed"
                )

    def _refuse_with_traffic(self, path: str) -> None:
        """An online deployment is deleted by itself only without traffic."""
        endpoint, _, name = path.rpartition("/deployments/")
        properties = self._resources.get(endpoint.lower(), {}).get("properties", {})
        if (properties.get("traffic") or {}).get(name):
            raise ArmError(400, "UserError", f"Can't delete deployment [{name}] with non-zero traffic weight")

    def _forget_traffic(self, path: str) -> None:
        endpoint, _, name = path.rpartition("/deployments/")
        properties = self._resources.get(endpoint.lower(), {}).get("properties", {})
        for key in ("traffic", "mirrorTraffic"):
            properties.get(key, {}).pop(name, None)

    def _uses(self, other: str, key: str) -> bool:
        return any(reference.lower() == key for reference in _references(self._resources[other].get("properties", {})))

    def _deploy(self, path: str, body: Body) -> None:
        """A template deployment: each of the template's resources is put, in the order given."""
        group = path[: path.lower().index("/providers/")]
        template = body["properties"].get("template") or {}
        for entry in template.get("resources", []):
            if any(text.startswith("[") for text in _strings(entry)):
                raise ArmError(400, "InvalidTemplate", "the stand-in does not evaluate template expressions ('[...]')")
            namespace, *types = entry["type"].split("/")
            names = entry["name"].split("/")
            if len(types) != len(names):
                message = f"the name {entry['name']!r} does not have one segment for each of {entry['type']}"
                raise ArmError(400, "InvalidTemplate", message)
            pairs = "/".join(f"{type_}/{name}" for type_, name in zip(types, names, strict=True))
            own = {k: v for k, v in entry.items() if k not in ("type", "apiVersion", "name", "dependsOn", "comments")}
            self.put(f"{group}/providers/{namespace}/{pairs}", entry["apiVersion"], own)

    def _put_children(self, row: Row, path: str, resource: Body) -> None:
        if row.inline is None:
            return
        child_row = BY_TOKEN[f"azure-native:{row.inline.type}"]
        for child in resource["properties"].get(row.inline.property) or []:
            inner = child.get("properties") or {k: v for k, v in child.items() if k not in ("name", "id")}
            child_path = f"{path}/{row.inline.segment}/{child['name']}"
            child["id"] = child_path
            made = self._complete(child_row, child_path, {}, {"properties": copy.deepcopy(inner)}, None)
            self._resources[child_path.lower()] = made

    def _complete(self, row: Row, path: str, parameters: dict[str, str], body: Body, old: Body | None) -> Body:
        name = path.rsplit("/", 1)[1]
        properties = body.setdefault("properties", {})
        values = {
            "name": name,
            "parent": path.split("/")[-3] if path.count("/") > 2 else "",
            "location": _place(body.get("location") or self._group_location(path)),
            "id": path,
            "group": path[: path.lower().find("/providers/")],
            "home": path.rpartition("/providers/")[0],
            "tenant": TENANT_ID,
            "created": (old or {}).get("properties", {}).get("createdOn") or datetime.now(UTC).isoformat(),
            "octet": str(uuid.uuid5(uuid.NAMESPACE_URL, path).int % 254 + 1),
        }
        for key, template in row.computed.items():
            made = _fill(template, {**values, "uuid": str(uuid.uuid5(uuid.NAMESPACE_URL, path + key))})
            properties[key] = _merge(made, properties[key]) if isinstance(properties.get(key), dict) else made
        for key in row.drawn:
            properties[key] = old["properties"][key] if old else str(uuid.uuid4())
        properties["provisioningState"] = "Creating" if old is None else "Updating"
        self._give_identity(body, path)
        arm_type = _type_of(path)
        return {"id": path, "name": name, "type": arm_type, **body}

    def _give_identity(self, body: Body, path: str) -> None:
        identity = body.get("identity")
        if not isinstance(identity, dict):
            return
        if "systemassigned" in str(identity.get("type", "")).lower():
            identity |= {"principalId": str(uuid.uuid5(uuid.NAMESPACE_OID, path)), "tenantId": TENANT_ID}
        assigned = identity.get("userAssignedIdentities")
        for id_, entry in (assigned if isinstance(assigned, dict) else {}).items():
            # The same ids as the identity resource itself shows.
            own = self._resources.get(id_.lower(), {}).get("properties", {})
            entry |= {key: own[key] for key in ("principalId", "clientId") if key in own}

    def _group_location(self, path: str) -> str:
        match = _GROUP.match(path)
        return self._resources.get(match.group(0).lower(), {}).get("location", "") if match else ""


def _place(location: Any) -> str:
    return str(location or "").replace(" ", "").lower()


def _type_of(path: str) -> str:
    if "/providers/" not in path:
        return "Microsoft.Resources/resourceGroups"
    namespace, *rest = path.rsplit("/providers/", 1)[1].split("/")
    return "/".join([namespace, *rest[::2]])


def _parents(path: str) -> list[str]:
    """The resources that a path lies under, without the resource group."""
    head, _, tail = path.rpartition("/providers/")
    parts = tail.split("/")
    own = [f"{head}/providers/{'/'.join(parts[: 1 + 2 * n])}" for n in range(1, (len(parts) - 1) // 2)]
    return ([*_parents(head), head] if "/providers/" in head else []) + own


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from _strings(item)
    elif isinstance(value, list):
        for item in value:
            yield from _strings(item)


def _references(value: Any) -> Iterator[str]:
    """Every resource id in a body, map keys included."""
    if isinstance(value, dict):
        yield from (key for key in value if isinstance(key, str) and key.startswith("/subscriptions/"))
        for item in value.values():
            yield from _references(item)
    elif isinstance(value, list):
        for item in value:
            yield from _references(item)
    elif isinstance(value, str) and value.startswith("/subscriptions/"):
        yield value


def _merge(base: Any, patch: Any) -> Any:
    if not isinstance(base, dict) or not isinstance(patch, dict):
        return copy.deepcopy(patch)
    result = dict(base)
    for key, value in patch.items():
        result[key] = _merge(base.get(key), value)
    return result


def _fill(template: Any, values: dict[str, str]) -> Any:
    if isinstance(template, str):
        return re.sub(r"{(\w+)}", lambda match: values[match.group(1)], template)
    if isinstance(template, dict):
        return {key: _fill(item, values) for key, item in template.items()}
    if isinstance(template, list):
        return [_fill(item, values) for item in template]
    return template
