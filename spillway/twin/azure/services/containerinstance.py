"""Container groups: a package courier's copy is carried out (``spillway.twin.azure.courier``)."""

from __future__ import annotations

from typing import Final

from spillway.twin.azure.row import LOCATION, in_group
from spillway.twin.azure.sample import PLACE, Sample

ROWS: Final = (
    in_group(
        "containerinstance:ContainerGroup",
        "Microsoft.ContainerInstance/containerGroups/{containerGroupName}",
        create_only=LOCATION | {"containers", "identity", "osType", "restartPolicy", "subnetIds"},
        identity=True,
        note="a copy from S3 to a container is made, with the rights of its identity; nothing else runs",
        sample=Sample(
            {
                **PLACE,
                "containerGroupName": "courier",
                "osType": "Linux",
                "restartPolicy": "Never",
                "containers": [
                    {
                        "name": "rclone",
                        "image": "docker.io/rclone/rclone:1.71.2",
                        "resources": {"requests": {"cpu": 1.0, "memoryInGB": 2.0}},
                    }
                ],
            }
        ),
    ),
)
