"""A small client for the stand-in's Resource Manager."""

from __future__ import annotations

import json
import time
from typing import Any, Final
from urllib.parse import quote

from spillway.twin.provider import StandInError

_TIMEOUT_S: Final = 60.0
_POLL_S: Final = 0.02
_UNFINISHED: Final = frozenset({"Creating", "Updating", "Deleting", "Accepted"})


class ArmRefusalError(StandInError):
    """Resource Manager answered with an error. ``status`` is the HTTP status, ``code`` ARM's code."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.status, self.code = status, code


class ArmClient:
    """Safe for threads."""

    def __init__(self, endpoint: str) -> None:
        import urllib3

        self._endpoint = endpoint.rstrip("/")
        self._pool = urllib3.PoolManager(maxsize=16, retries=False, timeout=_TIMEOUT_S)

    def put(self, path: str, version: str, body: dict[str, Any]) -> dict[str, Any]:
        """Create or replace, and wait until it is provisioned."""
        self._call("PUT", path, version, body)
        end = time.monotonic() + _TIMEOUT_S
        while True:
            live = self._call("GET", path, version)
            state = (live.get("properties") or {}).get("provisioningState")
            if state not in _UNFINISHED:
                return live
            if time.monotonic() > end:
                raise StandInError(f"{path} is still {state} after {_TIMEOUT_S:.0f} s")
            time.sleep(_POLL_S)

    def get(self, path: str, version: str) -> dict[str, Any] | None:
        """The live resource, ``None`` when it or what it lies in is gone."""
        try:
            return self._call("GET", path, version)
        except ArmRefusalError as error:
            if error.status == 404:
                return None
            raise

    def post(self, path: str, version: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        return self._call("POST", path, version, body or {})

    def delete(self, path: str, version: str) -> None:
        try:
            self._call("DELETE", path, version)
        except ArmRefusalError as error:
            if error.status != 404:
                raise

    def put_blob(self, account: str, container: str, name: str, content: bytes, content_type: str) -> dict[str, str]:
        headers = {"Content-Type": content_type}
        return json.loads(self._send("PUT", _blob(account, container, name), content, headers))

    def blob(self, account: str, container: str, name: str) -> dict[str, str] | None:
        """A blob's ``contentMd5`` and ``contentType``, ``None`` when it is gone."""
        try:
            return json.loads(self._send("GET", f"{_blob(account, container, name)}?comp=properties", None, {}))
        except ArmRefusalError as error:
            if error.status == 404:
                return None
            raise

    def delete_blob(self, account: str, container: str, name: str) -> None:
        try:
            self._send("DELETE", _blob(account, container, name), None, {})
        except ArmRefusalError as error:
            if error.status != 404:
                raise

    def _call(self, method: str, path: str, version: str, body: Any = None) -> dict[str, Any]:
        data = json.dumps(body).encode() if body is not None else None
        headers = {"Content-Type": "application/json"} if data else {}
        answer = self._send(method, f"{quote(path)}?api-version={version}", data, headers)
        return json.loads(answer) if answer else {}

    def _send(self, method: str, path: str, data: bytes | None, headers: dict[str, str]) -> bytes:
        import urllib3

        try:
            response = self._pool.request(method, self._endpoint + path, body=data, headers=headers)
        except urllib3.exceptions.HTTPError as error:
            told = f"Azure Resource Manager at {self._endpoint} does not answer: {type(error).__name__}"
            raise StandInError(told) from None
        if response.status >= 400:
            try:
                error = response.json()["error"]
            except (ValueError, KeyError):
                error = {"code": f"HTTP{response.status}", "message": "no details"}
            raise ArmRefusalError(response.status, error["code"], error["message"])
        return response.data


def _blob(account: str, container: str, name: str) -> str:
    return f"/_blob/{quote(account)}/{quote(container)}/{quote(name)}"
