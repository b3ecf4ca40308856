"""Azure ML: workspaces, endpoints, deployments, models and what they need."""

from __future__ import annotations

from typing import Final

from spillway.twin.azure.row import LOCATION, Action, in_group
from spillway.twin.azure.sample import ACCOUNT, IDENTITY, IN_WORKSPACE, PLACE, Sample, at

_ML: Final = "Microsoft.MachineLearningServices/workspaces/{workspaceName}"
_HOST: Final = "{name}.{location}"
_ENDPOINT_NAME: Final = (r"[a-zA-Z][a-zA-Z0-9-]{1,30}[a-zA-Z0-9]", "3 to 32 letters, digits and '-', a letter first")

ROWS: Final = (
    in_group(
        "machinelearningservices:Workspace",
        _ML,
        "machinelearningservices.Workspace",
        create_only=LOCATION | {"storageAccount", "keyVault", "applicationInsights", "hbiWorkspace"},
        computed={
            "workspaceId": "{uuid}",
            "mlFlowTrackingUri": "azureml://{location}.api.azureml.ms/mlflow/v1.0{id}",
            "discoveryUrl": "https://{location}.api.azureml.ms/discovery",
        },
        identity=True,
        name_rule=(r"[a-zA-Z0-9][\w-]{2,32}", "3 to 33 letters, digits, '-' and '_'"),
        sample=Sample(
            {
                **IN_WORKSPACE,
                "location": "westeurope",
                "identity": {"type": "SystemAssigned"},
                "sku": {"name": "Basic", "tier": "Basic"},
                "storageAccount": ACCOUNT,
                "keyVault": at("Microsoft.KeyVault/vaults/spill-vault"),
                "applicationInsights": at("Microsoft.Insights/components/insights"),
                "publicNetworkAccess": "Disabled",
                "managedNetwork": {"isolationMode": "AllowOnlyApprovedOutbound"},
                "provisionNetworkNow": True,
            }
        ),
    ),
    in_group(
        "machinelearningservices:OnlineEndpoint",
        f"{_ML}/onlineEndpoints/{{endpointName}}",
        "machinelearningservices.OnlineEndpoint",
        create_only=LOCATION,
        computed={
            "scoringUri": f"https://{_HOST}.inference.ml.azure.com/score",
            "swaggerUri": f"https://{_HOST}.inference.ml.azure.com/swagger.json",
        },
        identity=True,
        note="scoring runs in the twin's own model server",
        name_rule=_ENDPOINT_NAME,
        actions=(Action("listKeys", "machinelearningservices:listOnlineEndpointKeys"),),
        sample=Sample(
            {
                **IN_WORKSPACE,
                "endpointName": "spill",
                "location": "westeurope",
                "kind": "Managed",
                "identity": {"type": "UserAssigned", "userAssignedIdentities": [IDENTITY]},
                "properties": {"authMode": "Key", "publicNetworkAccess": "Disabled"},
            }
        ),
    ),
    in_group(
        "machinelearningservices:OnlineDeployment",
        f"{_ML}/onlineEndpoints/{{endpointName}}/deployments/{{deploymentName}}",
        "machinelearningservices.OnlineDeployment",
        create_only=LOCATION | {"properties.instanceType"},
        identity=True,
        long_running=True,
        name_rule=_ENDPOINT_NAME,
        sample=Sample(
            {
                **IN_WORKSPACE,
                "endpointName": "spill",
                "deploymentName": "blue",
                "location": "westeurope",
                "kind": "Managed",
                "sku": {"name": "Default", "capacity": 1},
                "properties": {
                    "endpointComputeType": "Managed",
                    "instanceType": "Standard_NC4as_T4_v3",
                    "requestSettings": {"maxConcurrentRequestsPerInstance": 8, "requestTimeout": "PT5S"},
                    "scaleSettings": {"scaleType": "Default"},
                },
            }
        ),
    ),
    in_group(
        "machinelearningservices:BatchEndpoint",
        f"{_ML}/batchEndpoints/{{endpointName}}",
        "machinelearningservices.BatchEndpoint",
        create_only=LOCATION,
        computed={"scoringUri": f"https://{_HOST}.inference.ml.azure.com/jobs"},
        identity=True,
        name_rule=_ENDPOINT_NAME,
        actions=(Action("listKeys", "machinelearningservices:listBatchEndpointKeys"),),
        sample=Sample(
            {
                **IN_WORKSPACE,
                "endpointName": "spill-batch",
                "location": "westeurope",
                "identity": {"type": "SystemAssigned"},
                "properties": {"authMode": "AADToken"},
            }
        ),
    ),
    in_group(
        "machinelearningservices:BatchDeployment",
        f"{_ML}/batchEndpoints/{{endpointName}}/deployments/{{deploymentName}}",
        "machinelearningservices.BatchDeployment",
        create_only=LOCATION,
        identity=True,
        sample=Sample(
            {
                **IN_WORKSPACE,
                "endpointName": "spill-batch",
                "deploymentName": "blue",
                "location": "westeurope",
                "properties": {"compute": at("Microsoft.MachineLearningServices/workspaces/ml-ws/computes/batch")},
            }
        ),
    ),
    in_group(
        "machinelearningservices:ModelContainer",
        f"{_ML}/models/{{name}}",
        "machinelearningservices.ModelContainer",
        sample=Sample({**IN_WORKSPACE, "name": "minilm", "properties": {"description": "MiniLM"}}),
    ),
    in_group(
        "machinelearningservices:ModelVersion",
        f"{_ML}/models/{{name}}/versions/{{version}}",
        "machinelearningservices.ModelVersion",
        sample=Sample(
            {
                **IN_WORKSPACE,
                "name": "minilm",
                "version": "1",
                "properties": {"modelUri": "azureml://x", "modelType": "triton_model"},
            }
        ),
    ),
    in_group(
        "machinelearningservices:EnvironmentContainer",
        f"{_ML}/environments/{{name}}",
        "machinelearningservices.EnvironmentContainer",
        sample=Sample({**IN_WORKSPACE, "name": "triton", "properties": {"description": "MiniLM"}}),
    ),
    in_group(
        "machinelearningservices:EnvironmentVersion",
        f"{_ML}/environments/{{name}}/versions/{{version}}",
        "machinelearningservices.EnvironmentVersion",
        sample=Sample(
            {
                **IN_WORKSPACE,
                "name": "triton",
                "version": "1",
                "properties": {"image": "nvcr.io/nvidia/tritonserver:24.10-py3"},
            }
        ),
    ),
    in_group(
        "machinelearningservices:Compute",
        f"{_ML}/computes/{{computeName}}",
        "machinelearningservices.ComputeResource",
        create_only=LOCATION,
        identity=True,
        sample=Sample(
            {
                **IN_WORKSPACE,
                "computeName": "batch",
                "location": "westeurope",
                "properties": {
                    "computeType": "AmlCompute",
                    "properties": {
                        "vmSize": "Standard_NC4as_T4_v3",
                        "scaleSettings": {"minNodeCount": 0, "maxNodeCount": 2},
                    },
                },
            }
        ),
    ),
    in_group(
        "machinelearningservices:Datastore",
        f"{_ML}/datastores/{{name}}",
        "machinelearningservices.Datastore",
        sample=Sample(
            {
                **IN_WORKSPACE,
                "name": "packages",
                "properties": {
                    "datastoreType": "AzureBlob",
                    "accountName": "spillstore",
                    "containerName": "packages",
                    "credentials": {"credentialsType": "None"},
                },
            }
        ),
    ),
    in_group(
        "machinelearningservices:WorkspaceConnection",
        f"{_ML}/connections/{{connectionName}}",
        None,
        sample=Sample(
            {
                **IN_WORKSPACE,
                "connectionName": "registry",
                "properties": {
                    "authType": "ManagedIdentity",
                    "category": "ContainerRegistry",
                    "target": "spillregistry.azurecr.io",
                },
            }
        ),
    ),
    in_group(
        "machinelearningservices:ManagedNetworkSettingsRule",
        f"{_ML}/outboundRules/{{ruleName}}",
        None,
        sample=Sample(
            {
                **IN_WORKSPACE,
                "ruleName": "registry",
                "properties": {"type": "FQDN", "destination": "nvcr.io", "category": "UserDefined"},
            }
        ),
    ),
    in_group(
        "machinelearningservices:Registry",
        "Microsoft.MachineLearningServices/registries/{registryName}",
        "machinelearningservices.Registry",
        create_only=LOCATION,
        identity=True,
        sample=Sample(
            {
                **PLACE,
                "registryName": "models",
                "publicNetworkAccess": "Disabled",
                "identity": {"type": "SystemAssigned"},
            }
        ),
    ),
)
