"""The ``kubernetes`` provider's stand-in: Pulumi's Kubernetes resources over the Kubernetes API."""

from __future__ import annotations

import base64
import copy
import hashlib
import time
from collections.abc import Mapping
from typing import Any, Final

from spillway.twin.kubernetes import helm, merge, rules, waiting
from spillway.twin.kubernetes.client import ApiRefusalError, KubernetesClient
from spillway.twin.kubernetes.helm import RELEASE, URN_ANNOTATION, Releases
from spillway.twin.kubernetes.schema import Catalogue, Kind
from spillway.twin.kubernetes.values import dig, known, mapping, without_none
from spillway.twin.provider import (
    UNKNOWN,
    Checked,
    CheckFailure,
    Diff,
    Properties,
    ResourceState,
    Secret,
    StandInError,
    UnknownTypeError,
)

_AUTONAMED: Final = "pulumi.com/autonamed"
_SKIP_AWAIT: Final = "pulumi.com/skipAwait"
_SECRET_PARTS: Final = ("data", "stringData")
PATIENCE_S: Final = 20.0
AT_WORK_S: Final = 180.0
"""The same, where a real control plane starts pods, makes load balancers and ends namespaces."""
_LOOK_AGAIN_S: Final = 0.2
_SERVER_METADATA: Final = ("uid", "resourceVersion", "generation", "creationTimestamp", "managedFields", "selfLink")


class KubernetesStandIn:
    """One API server: the twin's, or a real one when ``token`` and ``ca`` (a PEM file's path) are given.

    ``patience_s``: how long it waits for what an object says it waits for, ``None`` for not at all; Pulumi's provider
    waits ten minutes.
    """

    package = "kubernetes"
    environment: Mapping[str, str] = {}

    def __init__(
        self, endpoint: str, token: str | None = None, ca: str | None = None, patience_s: float | None = PATIENCE_S
    ) -> None:
        self._client = KubernetesClient(endpoint, token, ca)
        self._patience_s = patience_s
        self._catalogue = Catalogue()
        self._releases = Releases(self._client, self._catalogue)
        self._namespace = "default"

    def types(self) -> frozenset[str]:
        return frozenset(kind.token for kind in self._catalogue.kinds()) | {RELEASE}

    def configure(self, config: Properties) -> None:
        """``namespace`` is the default one; ``kubeconfig`` and ``context`` are not used: the endpoint decides."""
        self._namespace = config.get("namespace") or "default"

    def check(
        self, urn: str, type_: str, old_inputs: Properties | None, new_inputs: Properties, seed: bytes
    ) -> Checked:
        inputs = without_none(new_inputs)
        automatic = f"{urn.rsplit('::', 1)[-1]}-{hashlib.sha256(urn.encode() + seed).hexdigest()[:8]}"
        if type_ == RELEASE:
            inputs.pop("compat", None)
            inputs.setdefault("namespace", self._namespace)
            inputs.setdefault("name", (old_inputs or {}).get("name", automatic))
            return Checked(inputs, tuple(helm.failures(inputs)))
        kind = self._kind(type_)
        inputs |= {"apiVersion": kind.api_version, "kind": kind.kind}
        if inputs.get("metadata") is not UNKNOWN:
            inputs["metadata"] = self._metadata(kind, mapping(inputs.get("metadata")), old_inputs, automatic)
        found = self._catalogue.errors(kind, inputs) or rules.errors(inputs)
        if kind.kind == "CustomResourceDefinition" and not found and not _holds_unknown_names(inputs):
            self._catalogue.add_crd(inputs)
        return Checked(inputs, tuple(CheckFailure(error.path, error.reason) for error in found))

    def _metadata(self, kind: Kind, given: Properties, old: Properties | None, automatic: str) -> Properties:
        metadata = dict(given)
        if kind.namespaced:
            metadata.setdefault("namespace", self._namespace)
        if "name" in metadata or "generateName" in metadata:
            return metadata
        before = mapping(dig(old or {}, "metadata"))
        was_automatic = mapping(before.get("annotations")).get(_AUTONAMED) == "true"
        metadata["name"] = before["name"] if was_automatic else automatic
        metadata["annotations"] = {**mapping(metadata.get("annotations")), _AUTONAMED: "true"}
        return metadata

    def _kind(self, type_: str) -> Kind:
        kind = self._catalogue.by_token(type_)
        if kind is None:
            self._learn_crds()
            kind = self._catalogue.by_token(type_)
        if kind is None:
            raise UnknownTypeError(
                f"{type_}: neither a published nor a known custom kind; apply its CustomResourceDefinition first"
            )
        return kind

    def _learn_crds(self) -> None:
        definitions = self._catalogue.find("apiextensions.k8s.io/v1", "CustomResourceDefinition")
        if definitions is None:
            return
        try:
            for crd in self._client.list(definitions):
                self._catalogue.add_crd(crd)
        except StandInError:
            return  # A preview may run while no server is up: then only what the program brings is known.

    def diff(self, type_: str, old: ResourceState, new_inputs: Properties, ignore_changes: tuple[str, ...]) -> Diff:
        new = _ignoring(old.inputs, new_inputs, ignore_changes)
        changed = tuple(sorted(k for k in {*old.inputs, *new} if old.inputs.get(k) != new.get(k)))
        if not changed:
            return Diff()
        if type_ == RELEASE:
            replaces = tuple(k for k in changed if k in ("name", "namespace"))
            return Diff(changed, replaces)
        immutable = {path.split(".")[0] for path in rules.changed_immutable(old.inputs, new)}
        moved = any(dig(old.inputs, "metadata", k) != dig(new, "metadata", k) for k in ("name", "namespace"))
        replaces = tuple(k for k in changed if k in immutable or (k == "metadata" and moved))
        return Diff(changed, replaces, delete_before_replace=bool(replaces) and not moved)

    def preview(self, type_: str, old: ResourceState | None, inputs: Properties) -> Properties:
        if type_ == RELEASE:
            status = {"name": inputs["name"], "namespace": inputs["namespace"], "status": "deployed"}
            return {**inputs, "resourceNames": UNKNOWN, "status": {**status, "version": inputs.get("version")}}
        kind = self._kind(type_)
        if old is not None:
            return _seal(kind, merge.apply(old.outputs, old.inputs, inputs))
        outputs = copy.deepcopy(inputs)
        if "status" in self._catalogue.definition(kind).get("properties", {}):
            outputs["status"] = UNKNOWN
        if isinstance(outputs.get("metadata"), dict):
            outputs["metadata"] |= dict.fromkeys(("uid", "resourceVersion", "generation", "creationTimestamp"), UNKNOWN)
        if kind.kind == "Service" and isinstance(outputs.get("spec"), dict):
            outputs["spec"].setdefault("clusterIP", UNKNOWN)
        return _seal(kind, outputs)

    def create(self, urn: str, type_: str, inputs: Properties) -> ResourceState:
        if type_ == RELEASE:
            return self._releases.create(urn, inputs)
        kind = self._kind(type_)
        metadata = inputs["metadata"]
        live = self._client.get(kind, metadata.get("namespace", ""), metadata["name"])
        if live is not None and mapping(live["metadata"].get("annotations")).get(URN_ANNOTATION) != urn:
            raise ApiRefusalError(
                409, f'{kind.plural} "{metadata["name"]}" already exists, and this resource did not make it (409)'
            )
        return self._apply(urn, kind, inputs)

    def read(self, type_: str, id_: str, state: ResourceState | None) -> ResourceState | None:
        if type_ == RELEASE:
            return self._releases.read(id_, state)
        kind = self._kind(type_)
        namespace, _, name = id_.rpartition("/")
        live = self._client.get(kind, namespace, name)
        if live is None:
            return None
        shown = _without_own_annotation(live)
        inputs = _project(state.inputs, shown) if state is not None else _importable(shown)
        return _state(kind, inputs, shown)

    def update(self, urn: str, type_: str, old: ResourceState, inputs: Properties) -> ResourceState:
        if type_ == RELEASE:
            return self._releases.update(urn, inputs)
        kind = self._kind(type_)
        return self._apply(urn, kind, self._left_to_others(kind, old.inputs, inputs))

    def _left_to_others(self, kind: Kind, before: Properties, inputs: Properties) -> Properties:
        """With the live number of pods, where the wanted one is as before and an autoscaler has moved it since.
        Pulumi's provider leaves a field that is ignored and another manager's (pulumi-kubernetes, await.go)."""
        spec = inputs.get("spec")
        if not isinstance(spec, dict) or "replicas" not in spec or dig(before, "spec", "replicas") != spec["replicas"]:
            return inputs
        metadata = inputs["metadata"]
        live = self._client.get(kind, metadata.get("namespace", ""), metadata["name"])
        moved = dig(live or {}, "spec", "replicas")
        return inputs if moved is None else {**inputs, "spec": {**spec, "replicas": moved}}

    def delete(self, urn: str, type_: str, old: ResourceState) -> None:
        if type_ == RELEASE:
            self._releases.delete(old.id)
            return
        kind, (namespace, _, name) = self._kind(type_), old.id.rpartition("/")
        self._client.delete(kind, namespace, name)
        if kind.kind == "Namespace" and not kind.group:
            self._await_end(kind, name)

    def _await_end(self, kind: Kind, name: str) -> None:
        """A namespace goes when everything in it has gone; another of its name can be made then."""
        end = time.monotonic() + AT_WORK_S
        while self._client.get(kind, "", name) is not None:
            if time.monotonic() > end:
                raise StandInError(f"namespace {name} was not gone after {AT_WORK_S:.0f} s: see its status")
            time.sleep(_LOOK_AGAIN_S)

    def invoke(self, token: str, args: Properties) -> Properties:
        raise UnknownTypeError(f"{token}: the Kubernetes stand-in has no functions")

    def _apply(self, urn: str, kind: Kind, inputs: Properties) -> ResourceState:
        manifest = copy.deepcopy(inputs)
        manifest["metadata"].setdefault("annotations", {})[URN_ANNOTATION] = urn
        live = self._settled(kind, self._client.apply(kind, manifest))
        return _state(kind, inputs, _without_own_annotation(live))

    def _settled(self, kind: Kind, live: Properties) -> Properties:
        """The object once it has what it waits for; what it waits for may be made by the same deployment.

        In Pulumi's words (https://github.com/pulumi/pulumi-kubernetes/issues/1512).
        """
        told, metadata = waiting.told(live), live["metadata"]
        reason = told or waiting.unfinished(live)
        skipped = mapping(metadata.get("annotations")).get(_SKIP_AWAIT) == "true"
        if not reason or skipped or self._patience_s is None:
            return live
        namespace, name = metadata.get("namespace", ""), metadata["name"]
        # A real control plane is at work on it; what the twin's own says it waits for, somebody has to make.
        for now in self._client.watch(kind, namespace, name, self._patience_s if told else AT_WORK_S):
            reason = waiting.told(now) or waiting.unfinished(now)
            if not reason:
                return now
        raise StandInError(
            f'the Kubernetes API server reported that "{namespace}/{name}" failed to fully initialize or become live: '
            f"'{name}' timed out waiting to be Ready: {reason}"
        )


def _state(kind: Kind, inputs: Properties, live: Properties) -> ResourceState:
    metadata = live["metadata"]
    id_ = f"{metadata['namespace']}/{metadata['name']}" if metadata.get("namespace") else metadata["name"]
    outputs = dict(live)
    if kind.kind == "Secret" and "stringData" in inputs:
        outputs["stringData"] = inputs["stringData"]
    return ResourceState(id_, inputs, _seal(kind, outputs))


def _seal(kind: Kind, outputs: Properties) -> Properties:
    """A Secret's data is secret, whether or not the program said so."""
    if kind.kind != "Secret" or kind.group:
        return outputs
    sealed = {
        k: Secret(outputs[k]) for k in _SECRET_PARTS if known(outputs.get(k)) and not isinstance(outputs[k], Secret)
    }
    return {**outputs, **sealed}


def _without_own_annotation(live: Properties) -> Properties:
    metadata = dict(live["metadata"])
    metadata.pop("managedFields", None)
    annotations = {k: v for k, v in mapping(metadata.pop("annotations", None)).items() if k != URN_ANNOTATION}
    if annotations:
        metadata["annotations"] = annotations
    return {**live, "metadata": metadata}


def _importable(live: Properties) -> Properties:
    metadata = {k: v for k, v in live["metadata"].items() if k not in _SERVER_METADATA}
    return {**{k: v for k, v in live.items() if k != "status"}, "metadata": metadata}


def _project(inputs: Any, live: Any) -> Any:
    """The live values of what the inputs set: drift shows, what the server added does not."""
    if isinstance(inputs, dict) and isinstance(live, dict):
        result = {key: _project(value, live[key]) for key, value in inputs.items() if key in live}
        plain = inputs.get("stringData")
        if live.get("kind") == "Secret" and isinstance(plain, dict):
            same = all(mapping(live.get("data")).get(k) == _encoded(v) for k, v in plain.items())
            return result | ({"stringData": plain} if same else {})
        return result
    if isinstance(inputs, list) and isinstance(live, list) and len(inputs) == len(live):
        return [_project(a, b) for a, b in zip(inputs, live, strict=True)]
    return live


def _encoded(value: str) -> str:
    return base64.b64encode(value.encode()).decode()


def _holds_unknown_names(crd: Properties) -> bool:
    spec = mapping(crd.get("spec"))
    return not all(
        isinstance(value, str) for value in (spec.get("group"), spec.get("scope"), dig(spec, "names", "kind"))
    )


def _ignoring(old: Properties, new: Properties, paths: tuple[str, ...]) -> Properties:
    """``new`` with the old values at the ignored paths (``spec.replicas``)."""
    result = copy.deepcopy(new)
    for path in paths:
        parts = path.split(".")
        parent_old, parent_new = dig(old, *parts[:-1]), dig(result, *parts[:-1])
        if not isinstance(parent_new, dict):
            continue
        if isinstance(parent_old, dict) and parts[-1] in parent_old:
            parent_new[parts[-1]] = copy.deepcopy(parent_old[parts[-1]])
        else:
            parent_new.pop(parts[-1], None)
    return result
