"""EventBridge schedules."""

from __future__ import annotations

from typing import Any

from spillway.twin.aws.row import Part, Row
from spillway.twin.aws.sample import OWNED, Sample
from spillway.twin.aws.service import QueueCall, Service

_ROWS = (
    Row(
        token="aws:scheduler/scheduleGroup:ScheduleGroup",
        service="scheduler",
        create="CreateScheduleGroup",
        id="{name}",
        key={"Name": "{id}"},
        read="GetScheduleGroup",
        delete="DeleteScheduleGroup",
        samples=(Sample("schedules", {"tags": OWNED}),),
    ),
    Row(
        token="aws:scheduler/schedule:Schedule",
        service="scheduler",
        create="CreateSchedule",
        id="{groupName}/{name}",
        defaults={"groupName": "default"},
        fixed={"ClientToken": "{token}"},
        key={"Name": "{name}", "GroupName": "{groupName}"},
        read="GetSchedule",
        delete="DeleteSchedule",
        parts=(Part("UpdateSchedule", update_only=True),),
        drift={"state": "State"},
        note="fired by the twin's function runner",
        samples=(
            Sample(
                "schedule",
                {
                    "scheduleExpression": "rate(1 minutes)",
                    "flexibleTimeWindow": {"mode": "OFF"},
                    "target": {
                        "arn": "$function.arn",
                        "roleArn": "$role.arn",
                        "retryPolicy": {"maximumRetryAttempts": 0},
                    },
                },
                change={"state": "DISABLED"},
            ),
        ),
    ),
)


def _patch(_: QueueCall) -> None:
    """Moto fails on deleting a schedule group that is not there."""
    from moto.scheduler.exceptions import ScheduleGroupNotFound
    from moto.scheduler.models import EventBridgeSchedulerBackend

    delete = EventBridgeSchedulerBackend.delete_schedule_group

    def delete_schedule_group(backend: Any, name: str | None) -> None:
        if (name or "default") not in backend.schedule_groups:
            raise ScheduleGroupNotFound(name or "default")
        delete(backend, name)

    backends: Any = EventBridgeSchedulerBackend
    backends.delete_schedule_group = delete_schedule_group


SERVICE = Service("scheduler", _ROWS, patch=_patch)
