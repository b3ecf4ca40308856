"""A small client for the Kubernetes API: the stand-in's server, or a real one with a token and a CA."""

from __future__ import annotations

import json
from collections.abc import Iterator
from math import ceil
from typing import Any, Final
from urllib.parse import quote, urlencode

from spillway.twin.kubernetes.schema import Kind
from spillway.twin.provider import StandInError

FIELD_MANAGER: Final = "spillway"
_TIMEOUT_S: Final = 30.0


class ApiRefusalError(StandInError):
    """The API server answered with an error. ``code`` is the HTTP status."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


class KubernetesClient:
    """Get, apply and delete objects. Safe for threads. ``token``: a bearer token; ``ca``: path of the CA's PEM file."""

    def __init__(self, endpoint: str, token: str | None = None, ca: str | None = None) -> None:
        import urllib3

        self._endpoint = endpoint.rstrip("/")
        self._headers = {"Accept": "application/json"} | ({"Authorization": f"Bearer {token}"} if token else {})
        self._pool = urllib3.PoolManager(maxsize=16, ca_certs=ca, retries=False, timeout=_TIMEOUT_S)

    def get(self, kind: Kind, namespace: str, name: str) -> dict[str, Any] | None:
        """The live object, or ``None``."""
        try:
            return self._call("GET", self._path(kind, namespace, name))
        except ApiRefusalError as error:
            if error.code == 404:
                return None
            raise

    def apply(self, kind: Kind, manifest: dict[str, Any], *, dry_run: bool = False) -> dict[str, Any]:
        """Server-side apply, as Pulumi's provider does it."""
        metadata = manifest["metadata"]
        query = {"fieldManager": FIELD_MANAGER, "force": "true", "fieldValidation": "Strict"}
        if dry_run:
            query["dryRun"] = "All"
        path = self._path(kind, metadata.get("namespace", ""), metadata["name"])
        return self._call("PATCH", f"{path}?{urlencode(query)}", manifest, "application/apply-patch+yaml")

    def delete(self, kind: Kind, namespace: str, name: str) -> None:
        """Delete; nothing happens when it is gone already."""
        body = {"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": "Background"}
        try:
            self._call("DELETE", self._path(kind, namespace, name), body)
        except ApiRefusalError as error:
            if error.code != 404:
                raise

    def list(self, kind: Kind, namespace: str = "", labels: str = "") -> list[dict[str, Any]]:
        query = f"?{urlencode({'labelSelector': labels})}" if labels else ""
        return self._call("GET", self._path(kind, namespace) + query)["items"]

    def watch(self, kind: Kind, namespace: str, name: str, seconds: float) -> Iterator[dict[str, Any]]:
        """The object as it is, then as it becomes, for so long."""
        query = {"watch": "true", "fieldSelector": f"metadata.name={name}", "timeoutSeconds": str(ceil(seconds))}
        url = f"{self._endpoint}{self._path(kind, namespace)}?{urlencode(query)}"
        response = self._pool.request(
            "GET", url, headers=self._headers, preload_content=False, timeout=seconds + _TIMEOUT_S
        )
        try:
            for line in response:
                yield json.loads(line)["object"]
        finally:
            response.close()

    def _path(self, kind: Kind, namespace: str, name: str | None = None) -> str:
        root = f"/apis/{kind.group}/{kind.version}" if kind.group else f"/api/{kind.version}"
        home = f"/namespaces/{quote(namespace)}" if kind.namespaced and namespace else ""
        return f"{root}{home}/{kind.plural}" + (f"/{quote(name)}" if name else "")

    def _call(self, method: str, path: str, body: Any = None, content_type: str = "application/json") -> dict[str, Any]:
        import urllib3

        # JSON is YAML, so it is the body of an apply patch too.
        data = json.dumps(body).encode() if body is not None else None
        headers = self._headers | ({"Content-Type": content_type} if data else {})
        try:
            response = self._pool.request(method, self._endpoint + path, body=data, headers=headers)
        except urllib3.exceptions.HTTPError as error:
            raise StandInError(
                f"the Kubernetes API at {self._endpoint} does not answer: {type(error).__name__}"
            ) from None
        if response.status >= 400:
            try:
                message = response.json()["message"]
            except (ValueError, KeyError):
                message = f"HTTP {response.status}"
            raise ApiRefusalError(response.status, f"{message} ({response.status})")
        return response.json()
