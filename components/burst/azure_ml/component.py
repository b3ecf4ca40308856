"""The burst site on Azure Machine Learning: a workspace without public access, and an endpoint with its deployments."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import pulumi
from pulumi_azure_native import machinelearningservices as ml
from pulumi_azure_native import resources

from components.azure_logs import ML_ENDPOINT, send_logs
from components.base import Component, StackContext, unique_name
from components.burst.azure_ml.deployments import ServingPlace, autoscale, environment, online_deployment
from components.burst.azure_ml.settings import PlannedDeployment
from components.burst.azure_ml.workspace import AzureMlArgs, AzureMlWorkspace, user_assigned
from components.model_store.content import package_prefix
from spillway.contracts.azure_calls import API_VERSIONS

MODEL_TYPES: Final = {"triton": "triton_model", "vllm": "custom_model"}
"""As Azure ML calls what a package of a kind holds."""
ENDPOINT_NAME_LENGTH: Final = 32
"""https://learn.microsoft.com/azure/machine-learning/how-to-manage-quotas, read on 2026-11-30."""


@dataclass(frozen=True)
class OnlineDeployment:
    """A deployment that was made. ``id`` and ``autoscale_id``: of Resource Manager."""

    planned: PlannedDeployment
    id: pulumi.Output[str]
    autoscale_id: pulumi.Output[str]


class AzureMlBurst(Component):
    """Outputs: ``endpoint_name``, ``endpoint_id``, ``host``, ``online`` (deployments as planned, with the addresses of
    each)."""

    def __init__(self, context: StackContext, args: AzureMlArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("burst-azure-ml", context, opts)
        self.args = args
        self._endpoint_access = "Enabled" if args.public_endpoint else "Disabled"
        room = AzureMlWorkspace(context, args, pulumi.ResourceOptions(parent=self))
        self.serving_identity, self.logs, self.workspace = room.serving_identity, room.logs, room.workspace
        self._ready = room.ready
        self.workspace_name = self.workspace.name
        self.workspace_id = self.workspace.id
        models = self._models()
        endpoint = self._endpoint()
        self.endpoint_name = endpoint.name
        self.endpoint_id = endpoint.id
        self.host = endpoint.name.apply(lambda name: f"{name}.{args.location}.inference.ml.azure.com")
        own_image = environment(self, args, self.workspace)
        place = ServingPlace(self.workspace, endpoint, self.serving_identity, self._ready, own_image)
        made = {
            planned: online_deployment(self, args, place, planned, models[self._serves(planned)].id)
            for planned in args.settings.planned
        }
        self.traffic = self._traffic(endpoint, made)
        self.online = tuple(
            OnlineDeployment(planned, deployment.id, autoscale(self, args, planned, deployment).id)
            for planned, deployment in made.items()
        )
        send_logs(self, "azureml-diagnostics", endpoint.id, self.logs.id, ML_ENDPOINT)
        self.register_outputs({"endpoint_name": self.endpoint_name, "host": self.host})

    def _datastore(self) -> ml.Datastore:
        args = self.args
        return ml.Datastore(
            f"{self.context.prefix}-azureml-datastore",
            resource_group_name=args.resource_group_name,
            workspace_name=self.workspace.name,
            name="spillway_models",
            properties=ml.AzureBlobDatastoreArgs(
                datastore_type="AzureBlob",
                account_name=args.store_account_name,
                container_name=args.store_container_name,
                credentials=ml.NoneDatastoreCredentialsArgs(credentials_type="None"),
                service_data_access_auth_identity="WorkspaceUserAssignedIdentity",
            ),
            opts=self.child(),
        )

    def _models(self) -> dict[str, ml.ModelVersion]:
        """The versions that some deployment serves, in place in the model store: Azure ML copies nothing."""
        args = self.args
        datastore = self._datastore()
        container = ml.ModelContainer(
            f"{self.context.prefix}-azureml-model",
            resource_group_name=args.resource_group_name,
            workspace_name=self.workspace.name,
            name=args.manifest.name,
            properties=ml.ModelContainerPropertiesArgs(description=f"{args.manifest.source.name} by Spillway"),
            opts=self.child(),
        )
        versions = dict.fromkeys(self._serves(planned) for planned in args.settings.planned)
        return {version: self._model(version, datastore, container) for version in versions}

    def _serves(self, planned: PlannedDeployment) -> str:
        return planned.package_version or self.args.manifest.version

    def _model(self, version: str, datastore: ml.Datastore, container: ml.ModelContainer) -> ml.ModelVersion:
        """Its logical name holds the version: while a deployment serves an earlier one, that one stays."""
        args = self.args
        own = version == args.manifest.version
        earlier = f"{package_prefix(args.manifest.name, version)}{args.model_key}".rstrip("/")
        folder = args.package_folder if own else earlier
        uri = pulumi.Output.concat("azureml:/", self.workspace.id, "/datastores/", datastore.name, "/paths/", folder)
        return ml.ModelVersion(
            f"{self.context.prefix}-azureml-model-{version}",
            resource_group_name=args.resource_group_name,
            workspace_name=self.workspace.name,
            name=container.name,
            version=version,
            properties=ml.ModelVersionPropertiesArgs(
                model_type=MODEL_TYPES[args.manifest.kind], model_uri=uri.apply(_datastore_uri)
            ),
            opts=self.child(),
        )

    def _endpoint(self) -> ml.OnlineEndpoint:
        args = self.args
        return ml.OnlineEndpoint(
            f"{self.context.prefix}-azureml-endpoint",
            resource_group_name=args.resource_group_name,
            location=args.location,
            workspace_name=self.workspace.name,
            endpoint_name=unique_name(
                self.context.prefix, "burst", f"{self.context.prefix}/{args.subscription_id}", ENDPOINT_NAME_LENGTH
            ),
            kind="Managed",
            identity=user_assigned(self.serving_identity),
            properties=ml.OnlineEndpointPropertiesArgs(
                auth_mode=ml.EndpointAuthMode.AAD_TOKEN,
                description=self._endpoint_description,
                public_network_access=self._endpoint_access,
            ),
            tags=self.context.tags,
            # Made here and changed by the traffic step alone: a PUT without the split would leave it without any.
            opts=self.child(ignore_changes=["identity", "properties", "tags"], depends_on=self._ready),
        )

    @property
    def _endpoint_description(self) -> str:
        return f"Overflow of {self.context.prefix}"

    def _traffic(
        self, endpoint: ml.OnlineEndpoint, deployments: Mapping[PlannedDeployment, ml.OnlineDeployment]
    ) -> resources.Deployment:
        """Split and mirror, once the deployments exist. The provider has no resource for it, so ARM deploys it."""
        args = self.args
        traffic = {planned.full_name: planned.traffic for planned in deployments if planned.traffic}
        mirror = {planned.full_name: planned.mirror for planned in deployments if planned.mirror}

        def template(values: dict[str, Any]) -> dict[str, Any]:
            return {
                "$schema": "https://schema.management.azure.com/schemas/2019-04-01/deploymentTemplate.json#",
                "contentVersion": "1.0.0.0",
                "resources": [
                    {
                        "type": "Microsoft.MachineLearningServices/workspaces/onlineEndpoints",
                        "apiVersion": API_VERSIONS["deployments"],
                        "name": f"{values['workspace']}/{values['endpoint']}",
                        "location": args.location,
                        "kind": "Managed",
                        "tags": self.context.tags,
                        "identity": {"type": "UserAssigned", "userAssignedIdentities": {values["identity"]: {}}},
                        "properties": {
                            "authMode": ml.EndpointAuthMode.AAD_TOKEN.value,
                            "description": self._endpoint_description,
                            "publicNetworkAccess": self._endpoint_access,
                            "traffic": traffic,
                            "mirrorTraffic": mirror,
                        },
                    }
                ],
            }

        names = pulumi.Output.all(
            workspace=self.workspace.name, endpoint=endpoint.name, identity=self.serving_identity.id
        )
        return resources.Deployment(
            f"{self.context.prefix}-azureml-traffic",
            resource_group_name=args.resource_group_name,
            deployment_name=f"{self.context.prefix}-traffic",
            properties=resources.DeploymentPropertiesArgs(
                mode=resources.DeploymentMode.INCREMENTAL, template=names.apply(template)
            ),
            tags=self.context.tags,
            opts=self.child(depends_on=list(deployments.values())),
        )


def _datastore_uri(workspace_path: str) -> str:
    """``azureml://subscriptions/…/datastores/…`` from the workspace's ARM id, whose provider part it leaves out."""
    return workspace_path.replace("/resourceGroups/", "/resourcegroups/").replace(
        "/providers/Microsoft.MachineLearningServices/", "/"
    )
