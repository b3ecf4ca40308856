"""A client of the real API server: applies as Pulumi's provider does, collects warnings, and waits by events."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterable
from typing import Any, Final
from urllib.parse import urlencode

import urllib3

from tests.support.waiting import eventually

Object = dict[str, Any]
FIELD_MANAGER: Final = "pulumi-kubernetes"
_WARNING: Final = re.compile(r'299 - "((?:[^"\\]|\\.)*)"')


class RefusedError(Exception):
    """The API server said no. ``status``: its ``Status`` object."""

    def __init__(self, status: Object) -> None:
        super().__init__(status.get("message", json.dumps(status)))
        self.status = status
        self.code: int = status.get("code", 0)


class Api:
    """Safe for threads. ``warnings``: what the server warned of since they were last taken."""

    def __init__(self, url: str, token: str, authority: str) -> None:
        self.url = url
        self.warnings: list[str] = []
        self._headers = {"Authorization": f"Bearer {token}", "Accept": "application/json"}
        self._authority = authority
        self._pool = urllib3.PoolManager(maxsize=8, ca_certs=authority, retries=False, timeout=30.0)
        self._plurals: dict[tuple[str, str], tuple[str, bool]] = {}

    def until_served(self, version: str, kind: str, within_s: float = 30.0) -> None:
        """Until the server knows a kind that was just installed: its discovery has no events."""
        eventually(lambda: self._serves(version, kind), within_s, f"{version} {kind} is served")

    def _serves(self, version: str, kind: str) -> bool:
        try:
            return any(one["kind"] == kind for one in self.call("GET", f"/apis/{version}")["resources"])
        except RefusedError:
            return False

    def is_ready(self) -> bool:
        try:
            return self._pool.request("GET", f"{self.url}/readyz", headers=self._headers).status == 200
        except (urllib3.exceptions.HTTPError, FileNotFoundError):
            return False

    def apply(self, thing: Object, *, dry_run: bool = False) -> Object:
        """Server-side apply, forced and strict. Raises :class:`RefusedError`."""
        query = {"fieldManager": FIELD_MANAGER, "force": "true", "fieldValidation": "Strict"}
        if dry_run:
            query["dryRun"] = "All"
        path = f"{self.path(thing)}?{urlencode(query)}"
        return self.call("PATCH", path, thing, "application/apply-patch+yaml")

    def create(self, thing: Object) -> Object:
        path = self.path(thing).rpartition("/")[0]
        return self.call("POST", path, thing)

    def patch(self, path: str, change: Object) -> Object:
        return self.call("PATCH", path, change, "application/merge-patch+json")

    def get(self, path: str) -> Object | None:
        try:
            return self.call("GET", path)
        except RefusedError as error:
            if error.code == 404:
                return None
            raise

    def list(self, path: str, labels: str = "") -> list[Object]:
        return self.call("GET", f"{path}?{urlencode({'labelSelector': labels})}" if labels else path)["items"]

    def delete(self, path: str, grace_s: int | None = None) -> None:
        body = {"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": "Background"}
        if grace_s is not None:
            body["gracePeriodSeconds"] = grace_s  # type: ignore[assignment]
        try:
            self.call("DELETE", path, body)
        except RefusedError as error:
            if error.code != 404:
                raise

    def until(
        self,
        path: str,
        holds: Callable[[list[Object]], object],
        within_s: float = 60.0,
        what: str = "",
        labels: str = "",
    ) -> float:
        """Seconds until ``holds(objects)``, asked again whenever one of them changes. Fails after ``within_s``."""
        started = time.monotonic()
        selector = {"labelSelector": labels} if labels else {}
        answer = self.call("GET", f"{path}?{urlencode(selector)}" if selector else path)
        found = {_key(item): item for item in answer["items"]}
        version = answer["metadata"]["resourceVersion"]
        while not holds(list(found.values())):
            left = within_s - (time.monotonic() - started)
            assert left > 0, f"{what or path}: not within {within_s} s; {_told(found.values())}"
            query = {**selector, "watch": "true", "resourceVersion": version, "timeoutSeconds": str(max(1, int(left)))}
            for event in self._events(f"{path}?{urlencode(query)}", left):
                item = event["object"]
                if event["type"] == "ERROR":
                    return self.until(path, holds, left, what, labels) + time.monotonic() - started
                version = item["metadata"]["resourceVersion"]
                if event["type"] == "DELETED":
                    found.pop(_key(item), None)
                else:
                    found[_key(item)] = item
                if holds(list(found.values())):
                    break
        return time.monotonic() - started

    def _events(self, path: str, within_s: float) -> Iterable[Object]:
        timeout = urllib3.Timeout(connect=5.0, read=within_s + 2)
        response = self._pool.request(
            "GET", self.url + path, headers=self._headers, preload_content=False, timeout=timeout
        )
        rest = b""
        try:
            for chunk in response.stream(decode_content=True):
                rest += chunk
                *lines, rest = rest.split(b"\n")
                yield from (json.loads(line) for line in lines if line)
        except urllib3.exceptions.ReadTimeoutError:
            return
        finally:
            response.close()

    def path(self, thing: Object) -> str:
        """Where an object is, from its kind and name."""
        version, metadata = thing["apiVersion"], thing["metadata"]
        plural, namespaced = self._kind(version, thing["kind"])
        root = f"/apis/{version}" if "/" in version else f"/api/{version}"
        home = f"/namespaces/{metadata['namespace']}" if namespaced else ""
        return f"{root}{home}/{plural}/{metadata['name']}"

    def _kind(self, version: str, kind: str) -> tuple[str, bool]:
        if (version, kind) not in self._plurals:
            root = f"/apis/{version}" if "/" in version else f"/api/{version}"
            for found in self.call("GET", root)["resources"]:
                if "/" not in found["name"]:
                    self._plurals[version, found["kind"]] = found["name"], found["namespaced"]
        return self._plurals[version, kind]

    def call(self, method: str, path: str, body: Any = None, content_type: str = "application/json") -> Object:
        headers = {**self._headers, **({"Content-Type": content_type} if body is not None else {})}
        data = json.dumps(body).encode() if body is not None else None
        response = self._pool.request(method, self.url + path, body=data, headers=headers)
        self.warnings += _WARNING.findall(response.headers.get("Warning", ""))
        if response.status >= 400:
            raise RefusedError(_status(response))
        return response.json()

    def taken_warnings(self) -> list[str]:
        """What the server warned of, once."""
        taken, self.warnings = self.warnings, []
        return taken


def _key(item: Object) -> tuple[str, str]:
    return item["metadata"].get("namespace", ""), item["metadata"]["name"]


def _told(found: Iterable[Object]) -> str:
    return ", ".join(f"{item['metadata']['name']}: {json.dumps(item.get('status', {}))[:300]}" for item in found)[:3000]


def _status(response: urllib3.BaseHTTPResponse) -> Object:
    """What a refusal says; a path that is not served is refused in plain words (``404 page not found``)."""
    try:
        return response.json()
    except ValueError:
        return {"code": response.status, "reason": "", "message": response.data.decode(errors="replace").strip()}
