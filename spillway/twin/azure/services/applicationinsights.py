"""Application Insights."""

from __future__ import annotations

from typing import Final

from spillway.twin.azure.row import LOCATION, in_group
from spillway.twin.azure.sample import LOGS, PLACE, Sample

ROWS: Final = (
    in_group(
        "applicationinsights:Component",
        "Microsoft.Insights/components/{resourceName}",
        "applicationinsights.v2020_02_02.ApplicationInsightsComponent",
        create_only=LOCATION,
        computed={
            "InstrumentationKey": "{uuid}",
            "ConnectionString": "InstrumentationKey={uuid};IngestionEndpoint=https://{location}.in.applicationinsights.azure.com/",
            "AppId": "{uuid}",
            "ApplicationId": "{name}",
        },
        sample=Sample(
            {
                **PLACE,
                "resourceName": "insights",
                "kind": "web",
                "applicationType": "web",
                "workspaceResourceId": LOGS,
                "ingestionMode": "LogAnalytics",
            }
        ),
    ),
)
