"""The table: one row per resource type of pulumi-aws, grouped by concern."""

from __future__ import annotations

from spillway.twin.aws.row import Row
from spillway.twin.aws.rows import alarms, compute, costs, identity, network, serving, storage, traffic

ROWS: dict[str, Row] = {
    row.token: row
    for module in (alarms, compute, costs, identity, network, serving, storage, traffic)
    for row in module.ROWS
}
