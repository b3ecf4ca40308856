"""The Azure stand-in's Resource Manager and log-in: ``python -m spillway.twin.azure.server --port N --state-dir D``.

Loopback only. Resources are kept in memory and blobs under the state directory; both are gone after a restart, like
after a reboot. Blobs: ``/_blob/{account}/{container}/{name}``.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import json
import shutil
import uuid
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from aiohttp import web

from spillway.twin.azure.account import TENANT_ID
from spillway.twin.azure.entra import Entra, LoginError
from spillway.twin.azure.manager import ResourceManager, is_long_running, row_at
from spillway.twin.azure.refusals import UNFINISHED, ArmError
from spillway.twin.azure.usages import usages

_MAX_BODY: Final = 4 * 1024**3


class Api:
    def __init__(self, manager: ResourceManager, blobs: Path, aws: str = "") -> None:
        self.manager, self.blobs = manager, blobs
        self.entra = Entra(manager, aws)
        self.boot_id = str(uuid.uuid4())
        self._blob_info: dict[str, dict[str, str]] = {}
        self._operations: dict[str, str] = {}
        shutil.rmtree(blobs, ignore_errors=True)
        blobs.mkdir(parents=True)

    def app(self) -> web.Application:
        app = web.Application(client_max_size=_MAX_BODY, middlewares=[_errors])
        app.router.add_get("/_spillway/health", self.health)
        app.router.add_get("/_spillway/callers/{path:.+}", self.callers)
        app.router.add_get("/_spillway/aks/token", self.cluster_token)
        app.router.add_get("/subscriptions", self.subscriptions)
        app.router.add_post("/{tenant}/oauth2/v2.0/token", self.token)
        app.router.add_get("/subscriptions/{id}/providers/{provider}/locations/{location}/usages", self.usages)
        place = "/subscriptions/{id}/providers/{provider}/locations/{location}"
        app.router.add_get(f"{place}/operationStatuses/{{operation}}", self.operation)
        app.router.add_post(f"{place}/deletedVaults/{{name}}/purge", self.purge_vault)
        app.router.add_get("/_blob/{account}/{container}", self.blob_names)
        app.router.add_route("*", "/_blob/{account}/{container}/{name:.+}", self.blob)
        app.router.add_route("*", "/{path:.+}", self.resource)
        return app

    async def health(self, request: web.Request) -> web.Response:
        return web.json_response({"boot_id": self.boot_id})

    async def callers(self, request: web.Request) -> web.Response:
        """Of the online endpoint at this path: who may call it, and what their tokens are checked with."""
        callers = self.entra.may_score(f"/{request.match_info['path']}")
        return web.json_response({"tenant": TENANT_ID, "keys": self.entra.keys, "callers": callers})

    async def cluster_token(self, request: web.Request) -> web.Response:
        """Of ``?subject=`` for ``?audience=``, as a pod of the cluster finds it in its file."""
        found = self.entra.token_of_cluster(request.query["subject"], request.query["audience"])
        return web.json_response({"token": found})

    async def token(self, request: web.Request) -> web.Response:
        form = await request.post()
        try:
            return web.json_response(await self.entra.log_in(form))
        except LoginError as error:
            return web.json_response(error.body, status=error.status)

    async def subscriptions(self, request: web.Request) -> web.Response:
        found = self.manager.subscriptions()
        return web.json_response({"value": [{"id": f"/subscriptions/{s}", "subscriptionId": s} for s in found]})

    async def usages(self, request: web.Request) -> web.Response:
        """What a location's quotas allow, and what is in use of them."""
        if not request.query.get("api-version"):
            raise ArmError(400, "MissingApiVersionParameter", "The api-version query parameter is required.")
        at = request.match_info
        return web.json_response({"value": usages(self.manager, at["provider"], at["id"], at["location"])})

    async def blob_names(self, request: web.Request) -> web.Response:
        """The names of a container's blobs that begin with ``?prefix=``."""
        at = request.match_info
        folder = f"{at['account']}/{at['container']}/"
        names = [key.removeprefix(folder) for key in sorted(self._blob_info) if key.startswith(folder)]
        return web.json_response({"value": [n for n in names if n.startswith(request.query.get("prefix", ""))]})

    async def resource(self, request: web.Request) -> web.Response:
        path, version = request.path.rstrip("/"), request.query.get("api-version", "")
        self.entra.allow(request.method, path, request.headers.get("Authorization", ""))
        if request.method == "PUT":
            resource, new = self.manager.put(path, version, await _body(request))
            return web.json_response(resource, status=201 if new else 200)
        if request.method == "PATCH":
            patched = self.manager.patch(path, version, await _body(request))
            return self._accepted(path) if is_long_running(path) else web.json_response(patched)
        if request.method == "GET":
            if row_at(path) is None:
                return web.json_response({"value": self.manager.list(path)})
            return web.json_response(self.manager.get(path))
        if request.method == "DELETE":
            gone = self.manager.delete(path)
            if request.query.get("forceToPurge") == "true":
                gone = self.manager.purge("machinelearningservices:Workspace", path) or gone
            return web.Response(status=200 if gone else 204)
        if request.method == "POST":
            target, _, action = path.rpartition("/")
            return web.json_response(self._act(target, action.lower(), await _body(request)))
        raise ArmError(405, "MethodNotAllowed", f"{request.method} is not allowed")

    def _accepted(self, path: str) -> web.Response:
        """202 without a body: how it goes is asked at the operation."""
        parts = path.split("/")
        operation = f"/subscriptions/{parts[2]}/providers/{parts[6]}/locations/any/operationStatuses/{uuid.uuid4()}"
        self._operations[operation] = path
        return web.Response(status=202, headers={"Azure-AsyncOperation": operation, "Location": operation})

    async def operation(self, request: web.Request) -> web.Response:
        """The state of an accepted change, by the resource's own."""
        path = self._operations.get(request.path)
        if path is None:
            raise ArmError(404, "NotFound", f"There is no operation {request.path.rpartition('/')[2]}.")
        state = self.manager.get(path)["properties"].get("provisioningState")
        return web.json_response({"status": "InProgress" if state in UNFINISHED else state})

    async def purge_vault(self, request: web.Request) -> web.Response:
        if not self.manager.purge("keyvault:Vault", request.match_info["name"]):
            raise ArmError(404, "DeletedVaultNotFound", f"There is no deleted vault {request.match_info['name']}.")
        return web.Response(status=202)

    def _act(self, path: str, action: str, body: dict[str, Any]) -> dict[str, Any]:
        found = row_at(path)
        offered = {one.name.lower(): one for one in found[0].actions} if found else {}
        if action in ("regeneratekey", "regeneratekeys"):
            asked = str(body.get("keyType") or body.get("keyName") or "")
            self.manager.regenerate(path, secondary=asked.lower() in ("secondary", "key2"))
            action = "listkeys"
        if action not in offered:
            what = found[0].type if found else path
            raise ArmError(404, "InvalidAction", f"{what} has no action {action!r} in the stand-in")
        live = self.manager.get(path)
        if live.get("properties", {}).get("authMode") == "AADToken":
            # The words are ours.
            raise ArmError(400, "BadRequest", "An endpoint with authMode AADToken has no keys.")
        return offered[action].answer(live, self.manager.keys(path))

    async def blob(self, request: web.Request) -> web.Response:
        at = request.match_info
        account = self.manager.named("azure-native:storage:StorageAccount", at["account"])
        if account is None:
            raise ArmError(404, "ResourceNotFound", f"The storage account '{at['account']}' was not found.")
        self.manager.get(f"{account}/blobServices/default/containers/{at['container']}")
        key = f"{at['account']}/{at['container']}/{at['name']}"
        path = self.blobs / hashlib.sha256(key.encode()).hexdigest()
        if request.method == "PUT":
            return web.json_response(await self._write(request, key, path), status=201)
        if key not in self._blob_info:
            raise ArmError(404, "BlobNotFound", f"The specified blob '{quote(at['name'])}' does not exist.")
        if request.method == "DELETE":
            path.unlink(missing_ok=True)
            del self._blob_info[key]
            return web.Response(status=202)
        if request.query.get("comp") == "properties":
            return web.json_response(self._blob_info[key])
        info = self._blob_info[key]
        headers = {"Content-Type": info["contentType"], "Content-MD5": info["contentMd5"]}
        return web.Response(body=path.read_bytes() if request.method == "GET" else b"", headers=headers)

    async def _write(self, request: web.Request, key: str, path: Path) -> dict[str, str]:
        digest = hashlib.md5(usedforsecurity=False)
        with path.open("wb") as file:
            async for chunk in request.content.iter_chunked(1024 * 1024):
                digest.update(chunk)
                file.write(chunk)
        info = {"contentMd5": base64.b64encode(digest.digest()).decode(), "contentType": request.content_type}
        self._blob_info[key] = info
        return info


async def _body(request: web.Request) -> dict[str, Any]:
    raw = await request.read()
    try:
        body = json.loads(raw) if raw else {}
    except ValueError:
        raise ArmError(400, "InvalidRequestContent", "The request content is not valid JSON.") from None
    if not isinstance(body, dict):
        raise ArmError(400, "InvalidRequestContent", "The request content must be an object.")
    return body


@web.middleware
async def _errors(request: web.Request, handler: Any) -> web.StreamResponse:
    try:
        return await handler(request)
    except ArmError as error:
        return web.json_response(error.body(), status=error.status)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--state-dir", type=Path, required=True, help="blobs go below it")
    parser.add_argument("--rights-after", type=float, default=0.0, help="seconds until role assignments are in force")
    parser.add_argument("--aws", default="", help="base URL of the emulated AWS, whose tokens identities may trust")
    arguments = parser.parse_args()
    api = Api(ResourceManager(arguments.rights_after), arguments.state_dir / "blobs", arguments.aws)
    web.run_app(api.app(), host="127.0.0.1", port=arguments.port, print=None, access_log=None)


if __name__ == "__main__":
    main()
