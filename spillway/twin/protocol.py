"""Serves stand-ins over Pulumi's provider protocol, for a Pulumi CLI that attaches by ``PULUMI_DEBUG_PROVIDERS``."""

# ruff: noqa: N802 (the methods have the service's names)
from __future__ import annotations

import copy
import json
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final, NoReturn

import grpc
from google.protobuf import empty_pb2, struct_pb2
from pulumi.runtime.proto import plugin_pb2, provider_pb2, provider_pb2_grpc

from spillway.twin.provider import Properties, ResourceState, StandIn, StandInError
from spillway.twin.provider_values import from_struct, has_unknown, to_struct, unwrap

_MESSAGE_BYTES: Final = 400 * 1024 * 1024
_WORKERS: Final = 32
GRPC_OPTIONS: Final = [
    ("grpc.max_receive_message_length", _MESSAGE_BYTES),
    ("grpc.max_send_message_length", _MESSAGE_BYTES),
]


def _sdk_version(package: str) -> str:
    """The version of the SDK that the program uses: the CLI warns about a provider of another one."""
    try:
        return version(f"pulumi-{package}")
    except PackageNotFoundError:
        return "0.0.0"


class ProviderServer(provider_pb2_grpc.ResourceProviderServicer):
    """One stand-in as a resource provider. Each further provider of the package, which the CLI reaches by a connection
    of its own, gets a copy with its own settings.

    It accepts no secrets, so the CLI unwraps them and marks the outputs of the same name, as the embedded deployer
    does.
    """

    def __init__(self, stand_in: StandIn, base: Path) -> None:
        self._stand_in = stand_in
        self._by_peer: dict[str, StandIn] = {}
        self._lock = threading.Lock()
        self._base = base

    def Handshake(self, request: Any, context: Any) -> provider_pb2.ProviderHandshakeResponse:
        return provider_pb2.ProviderHandshakeResponse()

    def Attach(self, request: Any, context: Any) -> empty_pb2.Empty:
        return empty_pb2.Empty()

    def Cancel(self, request: Any, context: Any) -> empty_pb2.Empty:
        return empty_pb2.Empty()

    def GetPluginInfo(self, request: Any, context: Any) -> plugin_pb2.PluginInfo:
        return plugin_pb2.PluginInfo(version=_sdk_version(self._stand_in.package))

    def GetSchema(self, request: Any, context: Any) -> provider_pb2.GetSchemaResponse:
        package = self._stand_in.package
        schema = {"name": package, "version": _sdk_version(package)}
        return provider_pb2.GetSchemaResponse(schema=json.dumps(schema))

    def CheckConfig(self, request: provider_pb2.CheckRequest, context: Any) -> provider_pb2.CheckResponse:
        return provider_pb2.CheckResponse(inputs=request.news)

    def DiffConfig(self, request: provider_pb2.DiffRequest, context: Any) -> provider_pb2.DiffResponse:
        old, new = self._values(request.old_inputs or request.olds), self._values(request.news)
        changed = [key for key in dict.fromkeys([*old, *new]) if old.get(key) != new.get(key)]
        return _diff_response(changed, [], False)

    def Configure(self, request: provider_pb2.ConfigureRequest, context: Any) -> provider_pb2.ConfigureResponse:
        config = self._values(request.args)
        known = {k: v for k, v in config.items() if k not in ("version", "__internal") and not has_unknown(v)}
        with _said(context):
            self._configured(context.peer()).configure(known)
        return provider_pb2.ConfigureResponse(supportsPreview=True)

    def Check(self, request: provider_pb2.CheckRequest, context: Any) -> provider_pb2.CheckResponse:
        olds = self._values(request.olds) if request.olds.fields else None
        type_ = request.type or _type_of(request.urn)
        with _said(context):
            checked = self._of(context).check(request.urn, type_, olds, self._values(request.news), request.randomSeed)
        failures = [provider_pb2.CheckFailure(property=f.path, reason=f.reason) for f in checked.failures]
        return provider_pb2.CheckResponse(inputs=to_struct(checked.inputs), failures=failures)

    def Diff(self, request: provider_pb2.DiffRequest, context: Any) -> provider_pb2.DiffResponse:
        old = ResourceState(request.id, self._values(request.old_inputs), self._values(request.olds))
        type_ = request.type or _type_of(request.urn)
        with _said(context):
            diff = self._of(context).diff(type_, old, self._values(request.news), tuple(request.ignoreChanges))
        return _diff_response(diff.changed, diff.replaces, diff.delete_before_replace)

    def Create(self, request: provider_pb2.CreateRequest, context: Any) -> provider_pb2.CreateResponse:
        type_ = request.type or _type_of(request.urn)
        inputs = self._values(request.properties)
        with _said(context):
            if request.preview:
                return provider_pb2.CreateResponse(properties=to_struct(self._of(context).preview(type_, None, inputs)))
            made = self._of(context).create(request.urn, type_, inputs)
        return provider_pb2.CreateResponse(id=made.id, properties=to_struct(made.outputs))

    def Read(self, request: provider_pb2.ReadRequest, context: Any) -> provider_pb2.ReadResponse:
        type_ = request.type or _type_of(request.urn)
        known: ResourceState | None = None
        if request.properties.fields or request.inputs.fields:
            known = ResourceState(request.id, self._values(request.inputs), self._values(request.properties))
        with _said(context):
            live = self._of(context).read(type_, request.id, known)
        if live is None:
            return provider_pb2.ReadResponse()
        inputs = live.inputs or (known.inputs if known else {})
        return provider_pb2.ReadResponse(id=live.id, properties=to_struct(live.outputs), inputs=to_struct(inputs))

    def Update(self, request: provider_pb2.UpdateRequest, context: Any) -> provider_pb2.UpdateResponse:
        type_ = request.type or _type_of(request.urn)
        old = ResourceState(request.id, self._values(request.old_inputs), self._values(request.olds))
        inputs = self._values(request.news)
        with _said(context):
            if request.preview:
                return provider_pb2.UpdateResponse(properties=to_struct(self._of(context).preview(type_, old, inputs)))
            made = self._of(context).update(request.urn, type_, old, inputs)
        return provider_pb2.UpdateResponse(properties=to_struct(made.outputs))

    def Delete(self, request: provider_pb2.DeleteRequest, context: Any) -> empty_pb2.Empty:
        old = ResourceState(request.id, self._values(request.old_inputs), self._values(request.properties))
        with _said(context):
            self._of(context).delete(request.urn, request.type or _type_of(request.urn), old)
        return empty_pb2.Empty()

    def Invoke(self, request: provider_pb2.InvokeRequest, context: Any) -> provider_pb2.InvokeResponse:
        with _said(context):
            result = self._of(context).invoke(request.tok, self._values(request.args))
        response = provider_pb2.InvokeResponse()
        getattr(response, "return").CopyFrom(to_struct(result))
        return response

    def _configured(self, peer: str) -> StandIn:
        with self._lock:
            taken = any(one is self._stand_in and other != peer for other, one in self._by_peer.items())
            return self._by_peer.setdefault(peer, copy.copy(self._stand_in) if taken else self._stand_in)

    def _of(self, context: Any) -> StandIn:
        return self._by_peer.get(context.peer(), self._stand_in)

    def _values(self, struct: struct_pb2.Struct) -> Properties:
        return unwrap(from_struct(struct, self._base))


@contextmanager
def serve(stand_ins: Iterable[StandIn], base: Path) -> Iterator[dict[str, int]]:
    """Serve each stand-in on a free loopback port; yields package -> port. ``base``: where relative assets are."""
    servers: list[grpc.Server] = []
    ports: dict[str, int] = {}
    try:
        for stand_in in stand_ins:
            server = grpc.server(ThreadPoolExecutor(max_workers=_WORKERS), options=GRPC_OPTIONS)
            provider_pb2_grpc.add_ResourceProviderServicer_to_server(ProviderServer(stand_in, base), server)
            ports[stand_in.package] = server.add_insecure_port("127.0.0.1:0")
            server.start()
            servers.append(server)
        yield ports
    finally:
        for server in servers:
            server.stop(grace=1)


def debug_providers(ports: dict[str, int]) -> str:
    """The value of ``PULUMI_DEBUG_PROVIDERS``."""
    return ",".join(f"{package}:{port}" for package, port in ports.items())


@contextmanager
def _said(context: Any) -> Iterator[None]:
    """Say a stand-in's refusal as the protocol does."""
    abort: Callable[[Any, str], NoReturn] = context.abort
    try:
        yield
    except StandInError as error:
        abort(grpc.StatusCode.UNKNOWN, str(error))


def _diff_response(
    changed: Iterable[str], replaces: Iterable[str], delete_before_replace: bool
) -> provider_pb2.DiffResponse:
    listed = list(changed)
    response = provider_pb2.DiffResponse
    return response(
        diffs=listed,
        replaces=list(replaces),
        deleteBeforeReplace=delete_before_replace,
        changes=response.DIFF_SOME if listed else response.DIFF_NONE,
    )


def _type_of(urn: str) -> str:
    return urn.split("::")[2].rsplit("$", 1)[-1]
