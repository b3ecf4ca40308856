"""Parameters."""

from __future__ import annotations

from spillway.twin.aws.row import Part, Row, Tags
from spillway.twin.aws.sample import OWNED, Sample
from spillway.twin.aws.service import Service

_ROWS = (
    Row(
        token="aws:ssm/parameter:Parameter",
        service="ssm",
        create="PutParameter",
        id="{name}",
        rename={"insecureValue": "Value", "valueWo": "Value", "valueWoVersion": "", "arn": ""},
        key={"Name": "{id}"},
        read="GetParameter",
        read_key={"Name": "{id}", "WithDecryption": True},
        live="Parameter",
        delete="DeleteParameter",
        parts=(
            Part(
                "PutParameter",
                ("value", "insecureValue", "description", "allowedPattern", "tier", "dataType"),
                build=lambda scope: [
                    {
                        "Name": scope["id"],
                        "Type": scope["type"],
                        "Value": scope.get("value") or scope.get("insecureValue"),
                        "Overwrite": True,
                    }
                    | {
                        member: scope[name]
                        for name, member in (
                            ("description", "Description"),
                            ("allowedPattern", "AllowedPattern"),
                            ("tier", "Tier"),
                            ("dataType", "DataType"),
                            ("keyId", "KeyId"),
                        )
                        if scope.get(name)
                    }
                ],
                update_only=True,
            ),
        ),
        local=("overwrite", "valueWo", "valueWoVersion", "arn"),
        outputs={"arn": "@ARN", "value": "@Value", "version": "@Version"},
        secret_outputs=("value",),
        drift={"value": "Value"},
        tags=Tags(
            "AddTagsToResource",
            "RemoveTagsFromResource",
            {"ResourceType": "Parameter", "ResourceId": "{id}"},
        ),
        samples=(
            Sample(
                "parameter",
                {"name": "/spillway/cut-off", "type": "String", "value": '{"closed": []}', "tags": OWNED},
                change={"value": '{"closed": ["P2"]}'},
            ),
            Sample("secure-parameter", {"name": "/spillway/key", "type": "SecureString", "value": "s3cret"}),
        ),
    ),
)

SERVICE = Service("ssm", _ROWS)
