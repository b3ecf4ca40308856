"""The Kubernetes stand-in's API server: ``python -m spillway.twin.kubernetes.server --port N --state-dir D``.

Loopback only. Its memory is lost when it stops, like a reboot; the stand-in then finds its resources gone.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import uuid
from pathlib import Path
from typing import Any, Final

import jsonpatch
import yaml
from aiohttp import web

from spillway.twin.kubernetes import merge
from spillway.twin.kubernetes.cluster import ApiError, Cluster
from spillway.twin.kubernetes.schema import KUBERNETES_VERSION, Kind
from spillway.twin.kubernetes.selectors import matches
from spillway.twin.kubernetes.values import mapping

_VERBS: Final = ["create", "delete", "get", "list", "patch", "update", "watch"]
_SCALABLE: Final = frozenset({"Deployment", "StatefulSet", "ReplicaSet", "LeaderWorkerSet"})
_MAX_BODY: Final = 8 * 1024 * 1024


class Api:
    """The routes over one cluster."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.boot_id = str(uuid.uuid4())

    def app(self) -> web.Application:
        app = web.Application(client_max_size=_MAX_BODY, middlewares=[_errors])
        get = app.router.add_get
        get("/_spillway/health", self.health)
        get("/version", self.api_version)
        get("/api", self.core_versions)
        get("/apis", self.groups)
        get("/api/{version}", self.resources)
        get("/apis/{group}", self.group)
        get("/apis/{group}/{version}", self.resources)
        for health in ("/healthz", "/livez", "/readyz"):
            get(health, self.ok)
        app.router.add_post("/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", self.reviewed)
        for root in ("/api/{version}", "/apis/{group}/{version}"):
            for prefix in (f"{root}/namespaces/{{namespace}}", root):
                route = app.router.add_route
                route("*", f"{prefix}/{{plural}}", self.collection)
                route("*", f"{prefix}/{{plural}}/{{name}}", self.one)
                route("*", f"{prefix}/{{plural}}/{{name}}/{{sub:status|scale}}", self.subresource)
        return app

    async def health(self, request: web.Request) -> web.Response:
        return web.json_response({"boot_id": self.boot_id})

    async def ok(self, request: web.Request) -> web.Response:
        return web.Response(text="ok")

    async def api_version(self, request: web.Request) -> web.Response:
        major, minor, _ = KUBERNETES_VERSION.split(".")
        told = {
            "major": major,
            "minor": minor,
            "gitVersion": f"v{KUBERNETES_VERSION}+spillway",
            "platform": "linux/amd64",
        }
        return web.json_response(told)

    async def reviewed(self, request: web.Request) -> web.Response:
        """Whoever asks here may do everything."""
        return web.json_response({**await _body(request), "status": {"allowed": True}}, status=201)

    async def core_versions(self, request: web.Request) -> web.Response:
        return web.json_response({"kind": "APIVersions", "versions": ["v1"]})

    async def groups(self, request: web.Request) -> web.Response:
        names = sorted({kind.group for kind in self.cluster.catalogue.kinds() if kind.group})
        found = [self._group(name) for name in names]
        return web.json_response({"kind": "APIGroupList", "apiVersion": "v1", "groups": found})

    async def group(self, request: web.Request) -> web.Response:
        return web.json_response({"kind": "APIGroup", "apiVersion": "v1", **self._group(request.match_info["group"])})

    def _group(self, name: str) -> dict[str, Any]:
        versions = {kind.version for kind in self.cluster.catalogue.kinds() if kind.group == name}
        if not versions:
            raise ApiError(404, "NotFound", "the server could not find the requested resource")
        # Stable before beta before alpha, newest first within each.
        order = sorted(versions, key=lambda v: ("alpha" not in v, "beta" not in v, v), reverse=True)
        told = [{"groupVersion": f"{name}/{version}", "version": version} for version in order]
        return {"name": name, "versions": told, "preferredVersion": told[0]}

    async def resources(self, request: web.Request) -> web.Response:
        group, version = request.match_info.get("group", ""), request.match_info["version"]
        kinds = [k for k in self.cluster.catalogue.kinds() if (k.group, k.version) == (group, version)]
        if not kinds:
            raise ApiError(404, "NotFound", "the server could not find the requested resource")
        told = []
        for kind in kinds:
            entry = {
                "name": kind.plural,
                "singularName": kind.kind.lower(),
                "namespaced": kind.namespaced,
                "kind": kind.kind,
                "verbs": _VERBS,
            }
            told.append(entry | ({"shortNames": list(kind.short_names)} if kind.short_names else {}))
            told.append({**entry, "name": f"{kind.plural}/status", "verbs": ["get", "patch", "update"]})
        list_ = {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": kinds[0].api_version, "resources": told}
        return web.json_response(list_)

    def _kind(self, request: web.Request) -> tuple[Kind, str]:
        at = request.match_info
        kind = self.cluster.catalogue.by_plural(at.get("group", ""), at["version"], at["plural"])
        if kind is None:
            raise ApiError(404, "NotFound", "the server could not find the requested resource")
        return kind, at.get("namespace", "")

    async def collection(self, request: web.Request) -> web.StreamResponse:
        kind, namespace = self._kind(request)
        if request.method == "GET":
            if request.query.get("watch") in ("1", "true"):
                return await self.watch(request, kind, namespace)
            return self.listing(request, kind, namespace)
        if request.method == "POST":
            if kind.namespaced and not namespace:
                raise ApiError(405, "MethodNotAllowed", "a namespaced object is created under its namespace")
            made = self.cluster.create(kind, namespace, await _body(request), _dry_run(request))
            return web.json_response(made, status=201)
        if request.method == "DELETE":
            gone = self._selected(request, kind, namespace)
            for thing in gone:
                self.cluster.delete(kind, thing["metadata"].get("namespace", ""), thing["metadata"]["name"])
            return web.json_response({"kind": "Status", "apiVersion": "v1", "status": "Success"})
        raise ApiError(405, "MethodNotAllowed", f"{request.method} is not allowed here")

    def _selected(self, request: web.Request, kind: Kind, namespace: str) -> list[dict[str, Any]]:
        labels, fields = request.query.get("labelSelector", ""), request.query.get("fieldSelector", "")
        return [thing for thing in self.cluster.list(kind, namespace) if matches(thing, labels, fields)]

    def listing(self, request: web.Request, kind: Kind, namespace: str) -> web.Response:
        return web.json_response(
            {
                "kind": f"{kind.kind}List",
                "apiVersion": kind.api_version,
                "metadata": {"resourceVersion": str(self.cluster.version)},
                "items": self._selected(request, kind, namespace),
            }
        )

    async def watch(self, request: web.Request, kind: Kind, namespace: str) -> web.StreamResponse:
        labels, fields = request.query.get("labelSelector", ""), request.query.get("fieldSelector", "")
        queue: asyncio.Queue[Any] = asyncio.Queue()
        since = int(request.query.get("resourceVersion") or 0)
        if since:
            for entry in self.cluster.events:
                if entry[0] > since:
                    queue.put_nowait(entry)
        else:
            for thing in self.cluster.list(kind, namespace):
                queue.put_nowait((self.cluster.version, "ADDED", kind, thing))
        self.cluster.watchers.add(queue)
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)
        end = asyncio.get_running_loop().time() + float(request.query.get("timeoutSeconds") or 3600)
        try:
            while (left := end - asyncio.get_running_loop().time()) > 0:
                try:
                    _, event, what, thing = await asyncio.wait_for(queue.get(), left)
                except TimeoutError:
                    break
                inside = not namespace or thing["metadata"].get("namespace") == namespace
                if (what.group, what.kind) == (kind.group, kind.kind) and inside and matches(thing, labels, fields):
                    await response.write(json.dumps({"type": event, "object": thing}).encode() + b"\n")
        finally:
            self.cluster.watchers.discard(queue)
        return response

    async def one(self, request: web.Request) -> web.Response:
        kind, namespace = self._kind(request)
        name, dry_run = request.match_info["name"], _dry_run(request)
        if request.method == "GET":
            return web.json_response(self.cluster.get(kind, namespace, name))
        if request.method == "PUT":
            return web.json_response(self.cluster.replace(kind, namespace, name, await _body(request), dry_run))
        if request.method == "PATCH":
            return web.json_response(await self._patch(request, kind, namespace, name))
        if request.method == "DELETE":
            if dry_run:
                return web.json_response(self.cluster.get(kind, namespace, name))
            return web.json_response(self.cluster.delete(kind, namespace, name))
        raise ApiError(405, "MethodNotAllowed", f"{request.method} is not allowed here")

    async def _patch(self, request: web.Request, kind: Kind, namespace: str, name: str) -> dict[str, Any]:
        patch, dry_run = await _body(request), _dry_run(request)
        if "apply-patch" in request.content_type:
            manager = request.query.get("fieldManager")
            if not manager:
                raise ApiError(400, "BadRequest", "fieldManager is required for apply patch")
            return self.cluster.apply(kind, namespace, name, patch, manager, dry_run)
        live = self.cluster.get(kind, namespace, name)
        return self.cluster.replace(kind, namespace, name, _patched(request.content_type, live, patch), dry_run)

    async def subresource(self, request: web.Request) -> web.Response:
        kind, namespace = self._kind(request)
        name = request.match_info["name"]
        live = self.cluster.get(kind, namespace, name)
        if request.match_info["sub"] == "scale":
            return await self._scale(request, kind, live)
        if request.method == "GET":
            return web.json_response(live)
        body = await _body(request)
        new = body if request.method == "PUT" else _patched(request.content_type, live, body)
        return web.json_response(self.cluster.set_status(kind, namespace, name, mapping(new).get("status", {})))

    async def _scale(self, request: web.Request, kind: Kind, live: dict[str, Any]) -> web.Response:
        if kind.kind not in _SCALABLE:
            raise ApiError(404, "NotFound", "the server could not find the requested resource")
        metadata = live["metadata"]
        if request.method != "GET":
            body = await _body(request)
            scale = body if request.method == "PUT" else _patched(request.content_type, _scale_of(live), body)
            wanted = {**live, "spec": {**live["spec"], "replicas": scale["spec"]["replicas"]}}
            live = self.cluster.replace(kind, metadata["namespace"], metadata["name"], wanted, _dry_run(request))
        return web.json_response(_scale_of(live))


def _scale_of(live: dict[str, Any]) -> dict[str, Any]:
    count = live["spec"].get("replicas", 1)
    metadata = {
        k: live["metadata"][k] for k in ("name", "namespace", "uid", "resourceVersion") if k in live["metadata"]
    }
    status = {"replicas": mapping(live.get("status")).get("replicas", count)}
    return {
        "kind": "Scale",
        "apiVersion": "autoscaling/v1",
        "metadata": metadata,
        "spec": {"replicas": count},
        "status": status,
    }


def _patched(content_type: str, live: dict[str, Any], patch: Any) -> dict[str, Any]:
    if content_type == "application/json-patch+json" or isinstance(patch, list):
        try:
            return jsonpatch.apply_patch(live, patch)
        except jsonpatch.JsonPatchException as error:
            raise ApiError(422, "Invalid", f"the patch does not fit: {error}") from None
    if content_type == "application/strategic-merge-patch+json":
        return merge.strategic_merge(live, patch)
    if content_type in ("application/merge-patch+json", "application/json"):
        return merge.json_merge(live, patch)
    raise ApiError(415, "UnsupportedMediaType", f"the patch type {content_type} is not supported")


async def _body(request: web.Request) -> Any:
    try:
        body = yaml.safe_load(await request.read()) if "yaml" in request.content_type else await request.json()
    except (ValueError, yaml.YAMLError):
        raise ApiError(400, "BadRequest", "the body is not valid JSON or YAML") from None
    if not isinstance(body, dict | list):
        raise ApiError(400, "BadRequest", "the body must be an object")
    return body


def _dry_run(request: web.Request) -> bool:
    return request.query.get("dryRun") == "All"


@web.middleware
async def _errors(request: web.Request, handler: Any) -> web.StreamResponse:
    try:
        return await handler(request)
    except ApiError as error:
        return web.json_response(error.body(), status=error.code)
    except web.HTTPNotFound:
        error = ApiError(404, "NotFound", "the server could not find the requested resource")
        return web.json_response(error.body(), status=404)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--state-dir", type=Path, required=True, help="not used: the objects are kept in memory")
    arguments = parser.parse_args()
    web.run_app(Api(Cluster()).app(), host="127.0.0.1", port=arguments.port, print=None, access_log=None)


if __name__ == "__main__":
    main()
