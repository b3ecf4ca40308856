"""What Azure's services refuse of a PUT, beside what their models say. Each is told with Azure's code and in its words.

Sources: the conformance rules of the same matters (``spillway/conformance``), and for the words
learn.microsoft.com/azure/machine-learning/how-to-troubleshoot-online-endpoints, aka.ms/wsoftdelete and Key Vault's
ConflictError as users report them; read on 2026-11-30.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

Body = Mapping[str, Any]


class ArmError(Exception):
    """A refusal with ARM's code. ``body()`` is the JSON that ARM answers."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status, self.code, self.message = status, code, message

    def body(self) -> dict[str, Any]:
        return {"error": {"code": self.code, "message": self.message}}


@dataclass(frozen=True)
class Asked:
    """A PUT. ``live``: every resource by its path in lower case; ``old``: what is there; ``deleted``: soft-deleted, by
    type and name; ``in_force``: the moment until which role assignments have been made that are in force."""

    path: str
    body: Body
    old: Body | None
    live: Mapping[str, Body]
    deleted: frozenset[tuple[str, str]]
    in_force: datetime

    @property
    def name(self) -> str:
        return self.path.rpartition("/")[2]

    @property
    def properties(self) -> Body:
        return self.body.get("properties") or {}

    def of(self, id_: Any) -> Body:
        """The properties of another resource, empty where it is not there."""
        found = self.live.get(str(id_).lower()) or {}
        return found.get("properties") or {}


UNFINISHED: Final = ("Creating", "Updating", "Scaling", "Deleting")
SOFT_DELETED: Final = {"keyvault:Vault": "name", "machinelearningservices:Workspace": "path"}
"""Types whose names outlive them → whether a name is taken everywhere, or in its resource group."""


def _vault(asked: Asked) -> None:
    if ("keyvault:Vault", asked.name.lower()) in asked.deleted:
        raise ArmError(
            409,
            "ConflictError",
            "A vault with the same name already exists in deleted state. You need to either recover or purge existing"
            " key vault. Follow this link https://go.microsoft.com/fwlink/?linkid=2149745 for more information.",
        )


def _workspace(asked: Asked) -> None:
    if ("machinelearningservices:Workspace", asked.path.lower()) in asked.deleted:
        raise ArmError(
            400,
            "BadRequest",
            "Soft-deleted workspace exists. Please purge or recover it. https://aka.ms/wsoftdelete",
        )


def _endpoint(asked: Asked) -> None:
    """Its name is a host name of the region."""
    kind = asked.path.split("/")[-2].lower()
    for path, other in asked.live.items():
        same = path.endswith(f"/{kind}/{asked.name.lower()}") and path != asked.path.lower()
        if same and other.get("location") == asked.body.get("location"):
            region = asked.body.get("location")
            message = f"Endpoint with name {asked.name} already exists in region {region}. Please use a different name."
            raise ArmError(409, "Conflict", message)


def _deployment(asked: Asked) -> None:
    workspace = asked.of(asked.path[: asked.path.lower().index("/onlineendpoints/")])
    isolated = (workspace.get("managedNetwork") or {}).get("isolationMode") not in (None, "Disabled")
    if isolated and not workspace.get("provisionNetworkNow"):
        raise ArmError(
            400,
            "WorkspaceManagedNetworkNotReady",
            "The workspace managed network is not ready. Provision the managed network of the workspace before you"
            " create a deployment.",
        )
    if isolated and asked.properties.get("egressPublicNetworkAccess") == "Disabled":
        raise ArmError(
            400,
            "BadRequest",
            "EgressPublicNetworkAccess is no longer supported for a workspace with a managed network.",
        )
    before = ((asked.old or {}).get("properties") or {}).get("instanceType")
    if before and before != asked.properties.get("instanceType"):
        raise ArmError(400, "BadRequest", "The property 'instanceType' of a deployment cannot be changed.")


def _batch(asked: Asked) -> None:
    model = asked.of((asked.properties.get("model") or {}).get("assetId"))
    coded = asked.properties.get("codeConfiguration") and asked.properties.get("environmentId")
    if model and model.get("modelType") != "mlflow_model" and not coded:
        raise ArmError(
            400, "UserError", "CodeConfiguration and environment are required for a model that is not MLflow."
        )


def _cluster(asked: Asked) -> None:
    outbound = (asked.properties.get("networkProfile") or {}).get("outboundType")
    for pool in asked.properties.get("agentPoolProfiles") or ():
        subnet = pool.get("vnetSubnetID")
        if (
            outbound == "userDefinedRouting"
            and not asked.of(subnet).get("routeTable")
            and str(subnet).lower() in asked.live
        ):
            message = f"An existing route table has not been associated with subnet {subnet}."
            raise ArmError(400, "ExistingRouteTableNotAssociatedWithSubnet", message)


def _busy(asked: Asked) -> None:
    state = ((asked.old or {}).get("properties") or {}).get("provisioningState")
    if state in UNFINISHED:
        message = f"The deployment {asked.name} is {str(state).lower()}; another operation is in progress."
        raise ArmError(409, "Conflict", message)


def _rights(asked: Asked) -> None:
    """What is made to act as an identity uses its rights at once."""
    identities = (asked.body.get("identity") or {}).get("userAssignedIdentities") or {}
    principals = {asked.of(id_).get("principalId") for id_ in identities} - {None}
    for path, one in asked.live.items():
        assigned = one.get("properties") or {}
        if "/roleassignments/" not in path or assigned.get("principalId") not in principals:
            continue
        if datetime.fromisoformat(assigned["createdOn"]) > asked.in_force:
            who, where = assigned["principalId"], assigned["scope"]
            message = (
                f"The client '{who}' with object id '{who}' does not have authorization to perform action"
                f" '{where.rpartition('/providers/')[2].partition('/')[0]}/read' over scope '{where}' or the scope is"
                " invalid. If access was recently granted, please refresh your credentials."
            )
            raise ArmError(403, "AuthorizationFailed", message)


def _assignment(asked: Asked) -> None:
    """A role of one's own is known everywhere a while after it was made:
    https://github.com/hashicorp/terraform-provider-azurerm/issues/19916."""
    role = str(asked.properties.get("roleDefinitionId"))
    created = asked.of(role).get("createdOn")
    if created and datetime.fromisoformat(created) > asked.in_force:
        name = role.rpartition("/")[2]
        message = f"The specified role definition with ID '{name}' does not exist."
        raise ArmError(404, "RoleDefinitionDoesNotExist", message)


LOGGED: Final = {
    "microsoft.keyvault/vaults": {"AuditEvent", "AzurePolicyEvaluationDetails"},
    "microsoft.storage/storageaccounts/blobservices": {"StorageRead", "StorageWrite", "StorageDelete"},
    "microsoft.containerregistry/registries": {"ContainerRegistryLoginEvents", "ContainerRegistryRepositoryEvents"},
}
"""Types with few log categories → all of them: learn.microsoft.com/azure/azure-monitor/reference/logs-index."""


def _logged(asked: Asked) -> None:
    resource = asked.path.lower().rpartition("/providers/microsoft.insights/")[0]
    namespace, *rest = resource.rpartition("/providers/")[2].split("/")
    known = LOGGED.get("/".join([namespace, *rest[::2]]))
    for one in asked.properties.get("logs") or ():
        if known is not None and one.get("category") not in known:
            raise ArmError(400, "BadRequest", f"Category '{one.get('category')}' is not supported.")


_CHECKS: Final[dict[str, tuple[Callable[[Asked], None], ...]]] = {
    "authorization:RoleAssignment": (_assignment,),
    "keyvault:Vault": (_vault,),
    "monitor:DiagnosticSetting": (_logged,),
    "machinelearningservices:Workspace": (_workspace, _rights),
    "machinelearningservices:OnlineEndpoint": (_endpoint,),
    "machinelearningservices:BatchEndpoint": (_endpoint,),
    "machinelearningservices:OnlineDeployment": (_busy, _deployment, _rights),
    "machinelearningservices:BatchDeployment": (_batch,),
    "containerservice:ManagedCluster": (_cluster, _rights),
}


def check(type_: str, asked: Asked) -> None:
    """Raises :class:`ArmError` for what the type's service refuses."""
    for one in _CHECKS.get(type_, ()):
        one(asked)
