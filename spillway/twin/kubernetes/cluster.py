"""The emulated cluster: its objects, and what an API server does to each one that comes in."""

from __future__ import annotations

import asyncio
import copy
import uuid
from collections import deque
from datetime import UTC, datetime
from typing import Any, Final

from spillway.twin.kubernetes import cert_manager, merge, podsecurity, quota, rules, status, waiting
from spillway.twin.kubernetes.records import charts_of
from spillway.twin.kubernetes.schema import Catalogue, Kind
from spillway.twin.kubernetes.values import mapping, without_none

Object = dict[str, Any]
Key = tuple[str, str]
"""(namespace, name); the namespace is empty for cluster-scoped kinds."""

_FIRST_NAMESPACES: Final = ("default", "kube-node-lease", "kube-public", "kube-system")
_SERVER_FIELDS: Final = ("uid", "resourceVersion", "generation", "creationTimestamp", "managedFields", "selfLink")
_WITHOUT_GENERATION: Final = frozenset({"metadata", "status"})
_AWAITED: Final = frozenset({"Secret", "ConfigMap", "ServiceAccount"})


class ApiError(Exception):
    """A refusal, as the API server's ``Status`` object says it."""

    def __init__(self, code: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.code, self.reason, self.message = code, reason, message

    def body(self) -> Object:
        return {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": self.message,
            "reason": self.reason,
            "code": self.code,
        }


class Cluster:
    """Objects in memory. Used from one thread only."""

    def __init__(self) -> None:
        self.catalogue = Catalogue()
        self.events: deque[tuple[int, str, Kind, Object]] = deque(maxlen=5000)
        self.watchers: set[asyncio.Queue[tuple[int, str, Kind, Object]]] = set()
        self._objects: dict[tuple[str, str], dict[Key, Object]] = {}
        self._applied: dict[tuple[str, str, Key, str], Object] = {}
        self.version = 0
        namespace = self.catalogue.find("v1", "Namespace")
        assert namespace is not None
        for name in _FIRST_NAMESPACES:
            self.create(namespace, "", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})

    def _table(self, kind: Kind) -> dict[Key, Object]:
        # One table for all versions of a kind: they are views of the same objects.
        return self._objects.setdefault((kind.group, kind.kind), {})

    def get(self, kind: Kind, namespace: str, name: str) -> Object:
        found = self._table(kind).get((namespace, name))
        if found is None:
            raise ApiError(404, "NotFound", f'{_resource(kind)} "{name}" not found')
        return found

    def list(self, kind: Kind, namespace: str | None) -> list[Object]:
        table = self._table(kind)
        return [table[key] for key in sorted(table) if namespace in (None, "", key[0])]

    def create(self, kind: Kind, namespace: str, body: Object, dry_run: bool = False) -> Object:
        thing = self._incoming(kind, namespace, body)
        metadata = thing["metadata"]
        if "name" not in metadata and metadata.get("generateName"):
            metadata["name"] = f"{metadata['generateName']}{uuid.uuid4().hex[:5]}"
        key = (metadata.get("namespace", ""), metadata.get("name", ""))
        if key in self._table(kind):
            raise ApiError(409, "AlreadyExists", f'{_resource(kind)} "{key[1]}" already exists')
        self._admit(kind, thing, None)
        metadata |= {"uid": str(uuid.uuid4()), "creationTimestamp": _now(), "generation": 1}
        self._defaults(thing)
        return self._store(kind, key, thing, "ADDED", dry_run)

    def replace(self, kind: Kind, namespace: str, name: str, body: Object, dry_run: bool = False) -> Object:
        old = self.get(kind, namespace, name)
        thing = self._incoming(kind, namespace, body)
        asked = thing["metadata"].pop("resourceVersion", None)
        if asked and asked != old["metadata"]["resourceVersion"]:
            message = f'Operation cannot be fulfilled on {_resource(kind)} "{name}": the object has been modified; '
            raise ApiError(409, "Conflict", message + "please apply your changes to the latest version and try again")
        if thing["metadata"].get("name") != name:
            raise ApiError(400, "BadRequest", "the name of the object does not match the name on the URL")
        if "status" in old:
            thing["status"] = old["status"]
        self._keep_server_set(old, thing)
        self._admit(kind, thing, old)
        for field in _SERVER_FIELDS:
            if field in old["metadata"]:
                thing["metadata"][field] = old["metadata"][field]
        self._defaults(thing)
        if _spec(thing) == _spec(old) and thing["metadata"] == old["metadata"]:
            return old
        if _spec(thing) != _spec(old):
            thing["metadata"]["generation"] = old["metadata"].get("generation", 1) + 1
        return self._store(kind, (namespace, name), thing, "MODIFIED", dry_run)

    def apply(self, kind: Kind, namespace: str, name: str, body: Object, manager: str, dry_run: bool = False) -> Object:
        """Server-side apply: create, or merge what this manager wants into the live object."""
        key = (namespace, name)
        wanted = copy.deepcopy(body)
        metadata = wanted.setdefault("metadata", {})
        metadata.setdefault("name", name)
        for field in _SERVER_FIELDS:
            metadata.pop(field, None)
        wanted.pop("status", None)
        mark = (kind.group, kind.kind, key, manager)
        live = self._table(kind).get(key)
        if live is None:
            result = self.create(kind, namespace, wanted, dry_run)
        else:
            merged = merge.apply(live, self._applied.get(mark, {}), wanted)
            merged["metadata"] = {k: v for k, v in merged["metadata"].items() if k != "resourceVersion"}
            result = self.replace(kind, namespace, name, merged, dry_run)
        if not dry_run:
            self._applied[mark] = wanted
        return result

    def set_status(self, kind: Kind, namespace: str, name: str, new: Any) -> Object:
        thing = copy.deepcopy(self.get(kind, namespace, name))
        thing["status"] = new
        return self._store(kind, (namespace, name), thing, "MODIFIED", dry_run=False, status_too=False)

    def delete(self, kind: Kind, namespace: str, name: str) -> Object:
        """Delete at once, finalizers or not. A namespace takes its objects along, an owner its dependents."""
        gone = self.get(kind, namespace, name)
        if kind.kind == "Namespace" and not kind.group:
            if name in _FIRST_NAMESPACES:
                raise ApiError(403, "Forbidden", f'namespaces "{name}" is forbidden: this namespace may not be deleted')
            self._delete_where(lambda thing: thing["metadata"].get("namespace") == name)
        del self._table(kind)[namespace, name]
        self._applied = {k: v for k, v in self._applied.items() if k[:3] != (kind.group, kind.kind, (namespace, name))}
        uid = gone["metadata"]["uid"]
        self._emit("DELETED", kind, gone)
        self._delete_where(lambda thing: any(o.get("uid") == uid for o in thing["metadata"].get("ownerReferences", [])))
        self._refresh_quotas(namespace)
        return gone

    def _delete_where(self, chosen: Any) -> None:
        doomed = [thing for table in self._objects.values() for thing in table.values() if chosen(thing)]
        for thing in doomed:
            kind = self.catalogue.find(thing["apiVersion"], thing["kind"])
            metadata = thing["metadata"]
            if kind and (metadata.get("namespace", ""), metadata["name"]) in self._table(kind):
                self.delete(kind, metadata.get("namespace", ""), metadata["name"])

    def _incoming(self, kind: Kind, namespace: str, body: Object) -> Object:
        """A copy of a request's body, as it would be stored."""
        thing = without_none(copy.deepcopy(body))
        thing.setdefault("apiVersion", kind.api_version)
        thing.setdefault("kind", kind.kind)
        if (thing["apiVersion"], thing["kind"]) != (kind.api_version, kind.kind):
            message = (
                f"the object is a {thing['apiVersion']} {thing['kind']}, the URL is for {kind.api_version} {kind.kind}"
            )
            raise ApiError(400, "BadRequest", message)
        metadata = thing.setdefault("metadata", {})
        if kind.namespaced:
            if metadata.setdefault("namespace", namespace) != namespace:
                message = "the namespace of the provided object does not match the namespace sent on the request"
                raise ApiError(400, "BadRequest", message)
        else:
            metadata.pop("namespace", None)
        return thing

    def _keep_server_set(self, old: Object, new: Object) -> None:
        if new["kind"] == "Service":
            for name in ("clusterIP", "clusterIPs"):
                if name in mapping(old.get("spec")):
                    new["spec"].setdefault(name, old["spec"][name])

    def _admit(self, kind: Kind, thing: Object, old: Object | None) -> None:
        name, namespace = thing["metadata"].get("name", ""), thing["metadata"].get("namespace", "")
        checked = {k: v for k, v in thing.items() if k != "status"}
        found = [(e.path, e.reason) for e in self.catalogue.errors(kind, checked)]
        if not found:
            found = [(e.path, e.reason) for e in rules.errors(checked)]
        if old is not None and not found:
            found = [(path, "field is immutable") for path in rules.changed_immutable(old, thing)]
        if found:
            told = "; ".join(f"{path}: {reason}" for path, reason in found)
            raise ApiError(422, "Invalid", f'{kind.kind} "{name}" is invalid: {told}')
        if kind.namespaced:
            home = self._objects.get(("", "Namespace"), {}).get(("", namespace))
            if home is None:
                raise ApiError(404, "NotFound", f'namespaces "{namespace}" not found')
            self._admit_pods(kind, thing, home)
            self._admit_quota(kind, thing)

    def _admit_pods(self, kind: Kind, thing: Object, home: Object) -> None:
        level = mapping(home["metadata"].get("labels")).get("pod-security.kubernetes.io/enforce", "privileged")
        pods = [mapping(template.get("spec")) for template in rules.pod_templates(thing).values()]
        broken = [one for pod in pods for one in podsecurity.violations(pod, level)]
        if broken:
            what = f'{_resource(kind)} "{thing["metadata"]["name"]}" is forbidden: '
            raise ApiError(403, "Forbidden", f'{what}violates PodSecurity "{level}:latest": {", ".join(broken)}')

    def _admit_quota(self, kind: Kind, thing: Object) -> None:
        namespace, name = thing["metadata"]["namespace"], thing["metadata"]["name"]
        quotas = [o for o in self._in_namespace(namespace) if o["kind"] == "ResourceQuota"]
        if not quotas:
            return
        others = [
            o for o in self._in_namespace(namespace) if (o["kind"], o["metadata"]["name"]) != (thing["kind"], name)
        ]
        broken = quota.violations(quotas, others, [*others, thing], thing)
        if broken:
            raise ApiError(403, "Forbidden", f'{_resource(kind)} "{name}" is forbidden: {"; ".join(broken)}')

    def _in_namespace(self, namespace: str) -> list[Object]:
        return [o for table in self._objects.values() for key, o in table.items() if key[0] == namespace]

    def _refresh_quotas(self, namespace: str) -> None:
        table = self._objects.get(("", "ResourceQuota"), {})
        for (home, _), thing in table.items():
            if home == namespace:
                used = quota.usage(thing, self._in_namespace(namespace))
                told = {key: quota.format_quantity(value) for key, value in used.items()}
                thing["status"] = {"hard": dict(thing["spec"].get("hard", {})), "used": told}

    def _defaults(self, thing: Object) -> None:
        if thing["kind"] == "Namespace" and thing["apiVersion"] == "v1":
            labels = thing["metadata"].setdefault("labels", {})
            labels["kubernetes.io/metadata.name"] = thing["metadata"]["name"]
        if thing["kind"] == "Secret" and thing["apiVersion"] == "v1":
            status.merge_string_data(thing)
        if thing["kind"] == "Service" and thing["apiVersion"] == "v1":
            status.give_address(thing, self.version)

    def _store(
        self, kind: Kind, key: Key, thing: Object, event: str, dry_run: bool, *, status_too: bool = True
    ) -> Object:
        if status_too and not kind.custom:
            status.settle(thing, _now(), self._waits_for(thing))
        if dry_run:
            return thing
        if kind.kind == "CustomResourceDefinition":
            self.catalogue.add_crd(thing)
        self.version += 1
        thing["metadata"]["resourceVersion"] = str(self.version)
        self._table(kind)[key] = thing
        self._refresh_quotas(key[0])
        self._emit(event, kind, thing)
        if kind.kind in _AWAITED:
            self._settle_those_that_wait()
        if cert_manager.concerns(kind.group, kind.kind):
            self._issue()
        return thing

    def _issue(self) -> None:
        """What cert-manager does about each Certificate that has no Secret yet, once it is installed."""
        if cert_manager.CHART not in self._charts():
            return
        tables = {kind: self._objects.get((cert_manager.GROUP, kind), {}) for kind in cert_manager.KINDS}
        for certificate in cert_manager.waiting(tables, self._is_there):
            namespace = certificate["metadata"]["namespace"]
            secret, kind = self.catalogue.find("v1", "Secret"), self.catalogue.find(cert_manager.API, "Certificate")
            assert secret is not None
            assert kind is not None
            self.create(secret, namespace, cert_manager.secret(certificate))
            self.set_status(kind, namespace, certificate["metadata"]["name"], cert_manager.ready(_now()))

    def _waits_for(self, thing: Object) -> str:
        return waiting.reason(thing, self._is_there, self._charts)

    def _is_there(self, kind: str, namespace: str, name: str) -> bool:
        return (namespace, name) in self._objects.get(("", kind), {})

    def _charts(self) -> frozenset[str]:
        return charts_of(self._objects.get(("", "Secret"), {}).values())

    def _settle_those_that_wait(self) -> None:
        """What controllers do when the thing has come for which an object waits."""
        objects = [thing for table in self._objects.values() for thing in table.values()]
        for thing in objects:
            if waiting.told(thing) and not self._waits_for(thing):
                kind = self.catalogue.find(thing["apiVersion"], thing["kind"])
                assert kind is not None
                key = (thing["metadata"].get("namespace", ""), thing["metadata"]["name"])
                self._store(kind, key, copy.deepcopy(thing), "MODIFIED", dry_run=False)

    def _emit(self, event: str, kind: Kind, thing: Object) -> None:
        if event == "DELETED":
            self.version += 1
        entry = (self.version, event, kind, copy.deepcopy(thing))
        self.events.append(entry)
        for watcher in self.watchers:
            watcher.put_nowait(entry)


def _resource(kind: Kind) -> str:
    return f"{kind.plural}.{kind.group}" if kind.group else kind.plural


def _spec(thing: Object) -> Object:
    return {k: v for k, v in thing.items() if k not in _WITHOUT_GENERATION}


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
