"""Image registries."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from spillway.twin.azure.row import LOCATION, Action, Keys, in_group
from spillway.twin.azure.sample import PLACE, Sample


def _credentials(registry: Mapping[str, Any], keys: Keys) -> dict[str, Any]:
    passwords = [{"name": name, "value": key} for name, key in zip(("password", "password2"), keys, strict=True)]
    return {"username": registry["name"], "passwords": passwords}


ROWS: Final = (
    in_group(
        "containerregistry:Registry",
        "Microsoft.ContainerRegistry/registries/{registryName}",
        "containerregistry.Registry",
        create_only=LOCATION,
        computed={"loginServer": "{name}.azurecr.io"},
        identity=True,
        name_rule=(r"[a-zA-Z0-9]{5,50}", "5 to 50 letters and digits"),
        actions=(Action("listCredentials", "containerregistry:listRegistryCredentials", _credentials, "passwords"),),
        sample=Sample(
            {
                **PLACE,
                "registryName": "spillregistry",
                "sku": {"name": "Premium"},
                "adminUserEnabled": False,
                "publicNetworkAccess": "Disabled",
            }
        ),
    ),
)
