"""What prometheus-adapter serves: the custom and the external metrics APIs, answered with numbers of the test.

The adapter's module is in no registry. The names and the selectors are those of its rules, which another test holds
against the autoscaler's.
"""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

from spillway.twin.certificates import ensure_certificate
from tests.kubernetes.api import Api

NAMESPACE: Final = "default"
GROUPS: Final = {"custom.metrics.k8s.io": "v1beta2", "external.metrics.k8s.io": "v1beta1"}

OfPod = Callable[[str, str], float]
"""Metric's and pod's name -> value."""


class Metrics:
    """``external``: value by name; ``of_pod``: of a metric of a pod. ``asked``: label selectors of external ones."""

    def __init__(self, api: Api, folder: Path) -> None:
        self.external: dict[str, float] = {}
        self.of_pod: OfPod = lambda metric, pod: 0.0
        self.asked: set[str] = set()
        self._api = api
        pair = ensure_certificate(folder, "localhost")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pair.certificate, pair.key)
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    def start(self) -> None:
        """Until the API server hands its questions on."""
        self._thread.start()
        for thing in self._objects():
            self._api.apply(thing)
        for group, version in GROUPS.items():
            path = "/apis/apiregistration.k8s.io/v1/apiservices"
            name = f"{version}.{group}"
            self._api.until(path, lambda found, name=name: _is_available(found, name), 30, f"{name} is available")

    def stop(self) -> None:
        for thing in self._objects():
            self._api.delete(self._api.path(thing))
        self._server.shutdown()
        self._server.server_close()

    def _objects(self) -> list[dict[str, Any]]:
        port = self._server.server_address[1]
        service = {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "metrics", "namespace": NAMESPACE},
            "spec": {"type": "ExternalName", "externalName": "localhost", "ports": [{"port": port}]},
        }
        return [service, *(_api_service(group, version, port) for group, version in GROUPS.items())]

    def _answer(self, url: str) -> dict[str, Any]:
        parts = urlsplit(url)
        *_, group, version = parts.path.split("/")[:4]
        rest = parts.path.split("/")[4:]
        if not rest:
            return {
                "kind": "APIResourceList",
                "apiVersion": "v1",
                "groupVersion": f"{group}/{version}",
                "resources": [],
            }
        selector = parse_qs(parts.query).get("labelSelector", [""])[0]
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        if group.startswith("external"):
            self.asked.add(selector)
            value = {"metricName": rest[-1], "metricLabels": {}, "timestamp": now}
            items = [{**value, "value": _quantity(self.external[rest[-1]])}] if rest[-1] in self.external else []
            return {
                "kind": "ExternalMetricValueList",
                "apiVersion": f"{group}/{version}",
                "metadata": {},
                "items": items,
            }
        namespace, metric = rest[1], rest[-1]
        pods = self._api.list(f"/api/v1/namespaces/{namespace}/pods", selector)
        items = [self._of_pod(pod["metadata"]["name"], namespace, metric, now) for pod in pods]
        return _list("MetricValueList", group, items)

    def _of_pod(self, pod: str, namespace: str, metric: str, now: str) -> dict[str, Any]:
        described = {"kind": "Pod", "apiVersion": "v1", "name": pod, "namespace": namespace}
        value = _quantity(self.of_pod(metric, pod))
        return {"describedObject": described, "metric": {"name": metric}, "timestamp": now, "value": value}

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        answer = self._answer

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                body = json.dumps(answer(self.path)).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: Any) -> None:
                """Nobody reads it."""

        return Handler


def _list(kind: str, group: str, items: list[dict[str, Any]]) -> dict[str, Any]:
    return {"kind": kind, "apiVersion": f"{group}/{GROUPS[group]}", "metadata": {}, "items": items}


def _api_service(group: str, version: str, port: int) -> dict[str, Any]:
    return {
        "apiVersion": "apiregistration.k8s.io/v1",
        "kind": "APIService",
        "metadata": {"name": f"{version}.{group}"},
        "spec": {
            "group": group,
            "version": version,
            "groupPriorityMinimum": 100,
            "versionPriority": 100,
            "insecureSkipTLSVerify": True,
            "service": {"name": "metrics", "namespace": NAMESPACE, "port": port},
        },
    }


def _is_available(services: list[dict[str, Any]], name: str) -> bool:
    return any(
        (one["type"], one["status"]) == ("Available", "True")
        for service in services
        if service["metadata"]["name"] == name
        for one in service.get("status", {}).get("conditions", ())
    )


def _quantity(value: float) -> str:
    return f"{round(value * 1000)}m"
