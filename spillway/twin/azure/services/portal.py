"""Dashboards."""

from __future__ import annotations

from typing import Final

from spillway.twin.azure.row import LOCATION, in_group
from spillway.twin.azure.sample import PLACE, Sample

ROWS: Final = (
    in_group(
        "portal:Dashboard",
        "Microsoft.Portal/dashboards/{dashboardName}",
        "portal.Dashboard",
        create_only=LOCATION,
        sample=Sample(
            {
                **PLACE,
                "dashboardName": "spill",
                "properties": {
                    "lenses": [
                        {
                            "order": 0,
                            "parts": [
                                {
                                    "position": {"x": 0, "y": 0, "colSpan": 6, "rowSpan": 4},
                                    "metadata": {"type": "Extension/HubsExtension/PartType/MonitorChartPart"},
                                }
                            ],
                        }
                    ],
                    "metadata": {},
                },
            }
        ),
    ),
)
