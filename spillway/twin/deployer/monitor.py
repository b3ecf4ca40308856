"""Pulumi's ``ResourceMonitor`` and ``Engine`` services as plain objects, which the SDK calls in place of gRPC stubs."""

# ruff: noqa: N802 (the methods have the services' names)
from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from google.protobuf import empty_pb2
from pulumi.runtime.proto import engine_pb2, provider_pb2, resource_pb2

from spillway.twin.deployer.api import DeployerError, Event, OnEvent
from spillway.twin.deployer.deployment import Deployment, Registered
from spillway.twin.deployer.goal import Alias, Goal
from spillway.twin.provider import StandInError, UnknownTypeError
from spillway.twin.provider_values import from_signed, from_struct, to_struct

_FEATURES = (
    resource_pb2.RESOURCE_MONITOR_FEATURE_SECRETS,
    resource_pb2.RESOURCE_MONITOR_FEATURE_RESOURCE_REFERENCES,
    resource_pb2.RESOURCE_MONITOR_FEATURE_OUTPUT_VALUES,
    resource_pb2.RESOURCE_MONITOR_FEATURE_ALIAS_SPECS,
    resource_pb2.RESOURCE_MONITOR_FEATURE_DELETED_WITH,
)


class Monitor:
    """Turns the SDK's requests into goals of a deployment."""

    def __init__(self, deployment: Deployment, base: Path) -> None:
        self._deployment = deployment
        self._base = base

    def GetDeploymentInfo(self, request: Any) -> resource_pb2.DeploymentInfo:
        return resource_pb2.DeploymentInfo(supportedFeatures=_FEATURES)

    def RegisterResource(self, request: resource_pb2.RegisterResourceRequest) -> resource_pb2.RegisterResourceResponse:
        self._refuse_unsupported(request)
        dependencies = {key: tuple(listed.urns) for key, listed in request.propertyDependencies.items()}
        registered = self._deployment.register(
            Goal(
                type=request.type,
                name=request.name,
                custom=request.custom,
                inputs=from_struct(request.object, self._base),
                parent=request.parent,
                provider=request.provider,
                version=request.version,
                dependencies=tuple(request.dependencies),
                property_dependencies=dependencies,
                protect=request.protect,
                ignore_changes=tuple(request.ignoreChanges),
                replace_on_changes=tuple(request.replaceOnChanges),
                additional_secret_outputs=tuple(request.additionalSecretOutputs),
                delete_before_replace=request.deleteBeforeReplace if request.deleteBeforeReplaceDefined else None,
                retain_on_delete=request.retainOnDelete,
                deleted_with=request.deletedWith,
                aliases=tuple(_alias(alias) for alias in request.aliases),
            )
        )
        result = resource_pb2.FAIL if registered.failed else resource_pb2.SUCCESS
        return resource_pb2.RegisterResourceResponse(
            urn=registered.urn, id=registered.id, object=_encoded(registered), result=result
        )

    def RegisterResourceOutputs(self, request: resource_pb2.RegisterResourceOutputsRequest) -> empty_pb2.Empty:
        self._deployment.register_outputs(request.urn, from_struct(request.outputs, self._base))
        return empty_pb2.Empty()

    def ReadResource(self, request: resource_pb2.ReadResourceRequest) -> resource_pb2.ReadResourceResponse:
        goal = Goal(
            type=request.type,
            name=request.name,
            custom=True,
            inputs=from_struct(request.properties, self._base),
            parent=request.parent,
            provider=request.provider,
            version=request.version,
            dependencies=tuple(request.dependencies),
            additional_secret_outputs=tuple(request.additionalSecretOutputs),
        )
        registered = self._deployment.read(goal, from_signed(request.id, self._base))
        return resource_pb2.ReadResourceResponse(urn=registered.urn, properties=_encoded(registered))

    def Invoke(self, request: resource_pb2.ResourceInvokeRequest) -> resource_pb2.ResourceInvokeResponse:
        package = request.tok.split(":", 1)[0]
        response = resource_pb2.ResourceInvokeResponse()
        try:
            result = self._deployment.invoke(request.tok, package, from_struct(request.args, self._base))
        except UnknownTypeError:
            raise
        except StandInError as error:
            # A cloud's refusal is the program's to handle.
            response.failures.add(reason=str(error))
            return response
        getattr(response, "return").CopyFrom(to_struct(result))
        return response

    def Call(self, request: resource_pb2.ResourceCallRequest) -> provider_pb2.CallResponse:
        raise DeployerError(f"{request.tok}: methods of resources are not supported by the embedded deployer")

    def RegisterPackage(self, request: resource_pb2.RegisterPackageRequest) -> resource_pb2.RegisterPackageResponse:
        raise DeployerError(f"{request.name}: parameterised packages are not supported by the embedded deployer")

    def SignalAndWaitForShutdown(self, request: empty_pb2.Empty) -> empty_pb2.Empty:
        return empty_pb2.Empty()

    @staticmethod
    def _refuse_unsupported(request: resource_pb2.RegisterResourceRequest) -> None:
        unsupported: dict[str, Callable[[], bool]] = {
            "remote components (they need a plugin)": lambda: request.remote,
            "import": lambda: bool(request.importId),
            "transforms": lambda: bool(request.transforms),
        }
        for what, used in unsupported.items():
            if used():
                raise DeployerError(
                    f"{request.type} {request.name!r} uses {what}: not supported by the embedded deployer, "
                    "only where the Pulumi CLI drives the twin"
                )


class EngineService:
    """Log messages become events."""

    def __init__(self, on_event: OnEvent) -> None:
        self._on_event = on_event
        self._root = ""
        self.errors: list[str] = []

    def Log(self, request: engine_pb2.LogRequest) -> empty_pb2.Empty:
        if request.severity == engine_pb2.ERROR:
            self.errors.append(request.message)
        if request.severity != engine_pb2.DEBUG:
            self._on_event(Event("log", message=request.message, urn=request.urn))
        return empty_pb2.Empty()

    def GetRootResource(self, request: Any) -> engine_pb2.GetRootResourceResponse:
        return engine_pb2.GetRootResourceResponse(urn=self._root)

    def SetRootResource(self, request: engine_pb2.SetRootResourceRequest) -> engine_pb2.SetRootResourceResponse:
        self._root = request.urn
        return engine_pb2.SetRootResourceResponse()

    def RequirePulumiVersion(self, request: Any) -> engine_pb2.RequirePulumiVersionResponse:
        return engine_pb2.RequirePulumiVersionResponse()


def _alias(alias: Any) -> Alias:
    if alias.WhichOneof("alias") == "urn":
        return Alias(urn=alias.urn)
    spec = alias.spec
    parent = "" if spec.noParent else spec.parentUrn or None
    return Alias(name=spec.name, type=spec.type, parent=parent, stack=spec.stack, project=spec.project)


def _encoded(registered: Registered) -> Any:
    return to_struct(registered.outputs or {})
