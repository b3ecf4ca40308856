"""Events of a storage account."""

from __future__ import annotations

from typing import Final

from spillway.twin.azure.row import LOCATION, in_group
from spillway.twin.azure.sample import ACCOUNT, PLACE, Sample

ROWS: Final = (
    in_group(
        "eventgrid:SystemTopic",
        "Microsoft.EventGrid/systemTopics/{systemTopicName}",
        "eventgrid.SystemTopic",
        create_only=LOCATION,
        identity=True,
        sample=Sample(
            {
                **PLACE,
                "systemTopicName": "events",
                "source": ACCOUNT,
                "topicType": "Microsoft.Storage.StorageAccounts",
            }
        ),
    ),
)
