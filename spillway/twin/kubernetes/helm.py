"""``kubernetes:helm.sh/v3:Release``, only recorded: no chart is rendered, so none of its objects exist.

The record is what Helm itself keeps, a Secret of type ``helm.sh/release.v1``: ``helm list`` would show it.
"""

from __future__ import annotations

import re
from typing import Any, Final

from spillway.contracts.names import LABEL_PREFIX
from spillway.twin.kubernetes.client import KubernetesClient
from spillway.twin.kubernetes.records import RECORD, packed, unpacked
from spillway.twin.kubernetes.schema import Catalogue, Kind
from spillway.twin.kubernetes.values import known, mapping, text
from spillway.twin.provider import UNKNOWN, CheckFailure, Properties, ResourceState, StandInError

RELEASE: Final = "kubernetes:helm.sh/v3:Release"
URN_ANNOTATION: Final = f"{LABEL_PREFIX}urn"

_ARGUMENTS: Final = frozenset(
    [
        "allowNullValues",
        "atomic",
        "chart",
        "cleanupOnFail",
        "compat",
        "createNamespace",
        "dependencyUpdate",
        "description",
        "devel",
        "disableCRDHooks",
        "disableOpenapiValidation",
        "disableWebhooks",
        "forceUpdate",
        "keyring",
        "lint",
        "manifest",
        "maxHistory",
        "name",
        "namespace",
        "postrender",
        "recreatePods",
        "renderSubchartNotes",
        "replace",
        "repositoryOpts",
        "resetValues",
        "resourceNames",
        "reuseValues",
        "skipAwait",
        "skipCrds",
        "takeOwnership",
        "timeout",
        "valueYamlFiles",
        "values",
        "verify",
        "version",
        "waitForJobs",
    ]
)
_PINNED: Final = re.compile(r"v?\d+\.\d+\.\d+(-[0-9A-Za-z.-]+)?(\+[0-9A-Za-z.-]+)?")
_NAME: Final = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")


def failures(inputs: Properties) -> list[CheckFailure]:
    """What Helm, or a careful reviewer, would refuse in a release."""
    found = [CheckFailure(key, "is no argument of a Release") for key in inputs if key not in _ARGUMENTS]
    chart, version, name = inputs.get("chart"), inputs.get("version"), text(inputs.get("name"))
    if not chart:
        found.append(CheckFailure("chart", "required"))
    if version is None:
        found.append(CheckFailure("version", "required: pin the chart's version"))
    elif known(version) and not _PINNED.fullmatch(str(version)):
        found.append(CheckFailure("version", f"{version!r} must be one exact version such as 1.2.3, not a range"))
    repository = inputs.get("repositoryOpts")
    repo = mapping(repository).get("repo")
    if not str(chart).startswith("oci://") and repository is not UNKNOWN and not repo:
        found.append(CheckFailure("repositoryOpts.repo", "required unless the chart is an oci:// address"))
    elif known(repo) and not re.match(r"(https?|oci|file)://", str(repo)):
        found.append(CheckFailure("repositoryOpts.repo", f"{repo!r} must be a URL"))
    if "values" in inputs and known(inputs["values"]) and not isinstance(inputs["values"], dict):
        found.append(CheckFailure("values", "must be a map"))
    if name is not None and (not _NAME.fullmatch(name) or len(name) > 53):
        found.append(CheckFailure("name", f"{name!r} must be a DNS-1123 name of at most 53 characters"))
    return found


class Releases:
    """Helm's release records in a cluster."""

    def __init__(self, client: KubernetesClient, catalogue: Catalogue) -> None:
        self._client = client
        self._secret = _kind(catalogue, "Secret")
        self._namespace = _kind(catalogue, "Namespace")

    def create(self, urn: str, inputs: Properties) -> ResourceState:
        """Raises :class:`StandInError` when another resource holds the name, or the namespace does not exist."""
        name, namespace = inputs["name"], inputs["namespace"]
        newest = self._newest(namespace, name)
        if newest is not None and mapping(newest["metadata"].get("annotations")).get(URN_ANNOTATION) != urn:
            raise StandInError(f"cannot re-use a name that is still in use: release {namespace}/{name}")
        if inputs.get("createNamespace") and self._client.get(self._namespace, "", namespace) is None:
            wanted = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}}
            self._client.apply(self._namespace, wanted)
        return self._write(urn, inputs, _revision(newest) if newest else 1)

    def update(self, urn: str, inputs: Properties) -> ResourceState:
        newest = self._newest(inputs["namespace"], inputs["name"])
        if newest is None:
            raise StandInError(f'release "{inputs["namespace"]}/{inputs["name"]}" not found')
        state = self._write(urn, inputs, _revision(newest) + 1)
        self._client.delete(self._secret, inputs["namespace"], newest["metadata"]["name"])
        return state

    def read(self, id_: str, state: ResourceState | None) -> ResourceState | None:
        namespace, _, name = id_.rpartition("/")
        newest = self._newest(namespace, name)
        if newest is None:
            return None
        release = unpacked(newest)
        live = {"chart": release["chart"]["source"], "version": release["chart"]["metadata"]["version"]}
        inputs = {**(state.inputs if state else {}), **live, "name": name, "namespace": namespace}
        if release["config"] or "values" in inputs:
            inputs["values"] = release["config"]
        return _state(inputs, release["version"])

    def delete(self, id_: str) -> None:
        namespace, _, name = id_.rpartition("/")
        for record in self._records(namespace, name):
            self._client.delete(self._secret, namespace, record["metadata"]["name"])

    def _records(self, namespace: str, name: str) -> list[dict[str, Any]]:
        return self._client.list(self._secret, namespace, f"owner=helm,name={name}")

    def _newest(self, namespace: str, name: str) -> dict[str, Any] | None:
        return max(self._records(namespace, name), key=_revision, default=None)

    def _write(self, urn: str, inputs: Properties, revision: int) -> ResourceState:
        name, namespace = inputs["name"], inputs["namespace"]
        release = {
            "name": name,
            "namespace": namespace,
            "version": revision,
            "info": {"status": "deployed", "description": "recorded by the local twin, not installed"},
            "chart": {
                "source": inputs["chart"],
                "metadata": {
                    "name": inputs["chart"].rsplit("/", 1)[-1],
                    "version": inputs["version"],
                    "apiVersion": "v2",
                },
            },
            "config": inputs.get("values", {}),
        }
        self._client.apply(
            self._secret,
            {
                "apiVersion": "v1",
                "kind": "Secret",
                "type": RECORD,
                "metadata": {
                    "name": f"sh.helm.release.v1.{name}.v{revision}",
                    "namespace": namespace,
                    "labels": {"owner": "helm", "name": name, "status": "deployed", "version": str(revision)},
                    "annotations": {URN_ANNOTATION: urn},
                },
                "data": {"release": packed(release)},
            },
        )
        return _state(inputs, revision)


def _kind(catalogue: Catalogue, name: str) -> Kind:
    kind = catalogue.find("v1", name)
    if kind is None:
        raise LookupError(name)
    return kind


def _revision(record: dict[str, Any]) -> int:
    return int(record["metadata"]["labels"]["version"])


def _state(inputs: Properties, revision: int) -> ResourceState:
    status = {
        "name": inputs["name"],
        "namespace": inputs["namespace"],
        "revision": revision,
        "status": "deployed",
        "chart": inputs["chart"],
        "version": inputs["version"],
    }
    outputs = {**inputs, "status": status, "resourceNames": {}}
    return ResourceState(f"{inputs['namespace']}/{inputs['name']}", inputs, outputs)
