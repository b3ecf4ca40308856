"""Alarm evaluation over the metrics that moto holds: states with reasons, history, actions.

Windows end now, instead of at a full period, so that the twin sees an alarm within a second of its cause. Periods are
the twin's own (``spillway.twin.clock``).
"""

from __future__ import annotations

import json
import logging
import math
import threading
from collections import defaultdict
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from spillway.twin.aws.alarm_rules import RuleError, parse_rule
from spillway.twin.aws.metric_math import MathError, Series, evaluate
from spillway.twin.aws.service import ACCOUNT, QueueCall
from spillway.twin.clock import real_seconds

_LOG = logging.getLogger(__name__)
_KEEP = timedelta(hours=3)
_COMPARE: dict[str, tuple[str, Callable[[float, float], bool]]] = {
    "GreaterThanThreshold": ("greater than", lambda v, t: v > t),
    "GreaterThanOrEqualToThreshold": ("greater than or equal to", lambda v, t: v >= t),
    "LessThanThreshold": ("less than", lambda v, t: v < t),
    "LessThanOrEqualToThreshold": ("less than or equal to", lambda v, t: v <= t),
}
Key = tuple[str, str, tuple[tuple[str, str], ...]]


def _aware(moment: Any) -> datetime:
    if isinstance(moment, str):
        moment = datetime.fromisoformat(moment.replace("Z", "+00:00"))
    if isinstance(moment, int | float):
        return datetime.fromtimestamp(moment, UTC)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def statistic(name: str, data: list[Any]) -> float | None:
    """``Average``, ``Sum``, ``Minimum``, ``Maximum``, ``SampleCount`` or a percentile (``p99``) of data points."""
    if not data:
        return None
    counts = [getattr(d, "sample_count", 1) for d in data]
    sums = [d.sum if hasattr(d, "sum") else d.value for d in data]
    if name == "SampleCount":
        return float(sum(counts))
    if name == "Sum":
        return float(sum(sums))
    if name == "Average":
        return float(sum(sums)) / sum(counts) if sum(counts) else None
    if name == "Minimum":
        return float(min(d.min if hasattr(d, "min") else d.value for d in data))
    if name == "Maximum":
        return float(max(d.max if hasattr(d, "max") else d.value for d in data))
    if name[:1] == "p":
        values = sorted(float(d.max if hasattr(d, "max") else d.value) for d in data)
        return values[max(0, math.ceil(float(name[1:]) / 100 * len(values)) - 1)]
    raise MathError(f"does not know the statistic {name}")


class Evaluator:
    """Evaluates every alarm of every region once a second, until stopped."""

    def __init__(self) -> None:
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="alarm-evaluation", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(timeout=5)

    def _run(self) -> None:
        while not self._stop.wait(1.0):
            try:
                self.tick(datetime.now(UTC))
            except Exception:
                _LOG.exception("alarm evaluation failed")

    def tick(self, now: datetime) -> None:
        """One evaluation of everything."""
        from moto.cloudwatch.models import cloudwatch_backends

        for region, backend in list(cloudwatch_backends[ACCOUNT].items()):
            self._prune(backend, now)
            if backend.alarms:
                self._region(region, backend, now)

    @staticmethod
    def _prune(backend: Any, now: datetime) -> None:
        if len(backend.metric_data) > 20000:
            backend.metric_data = [d for d in list(backend.metric_data) if _aware(d.timestamp) > now - _KEEP]

    def _region(self, region: str, backend: Any, now: datetime) -> None:
        data: dict[Key, list[tuple[float, Any]]] = defaultdict(list)
        for datum in list(backend.metric_data):
            age = (now - _aware(datum.timestamp)).total_seconds()
            dimensions = tuple(sorted((d.name, d.value) for d in datum.dimensions))
            data[datum.namespace, datum.name, dimensions].append((age, datum))
        alarms = list(backend.alarms.values())
        for alarm in alarms:
            if alarm.rule is None:
                self._metric_alarm(region, alarm, data)
        for alarm in alarms:
            if alarm.rule is not None:
                self._composite_alarm(region, alarm, backend)

    def _metric_alarm(self, region: str, alarm: Any, data: dict[Key, list[tuple[float, Any]]]) -> None:
        count = int(alarm.evaluation_periods or 1)
        try:
            values = self._values(alarm, data, count)
        except MathError as error:
            self._set(region, alarm, "INSUFFICIENT_DATA", f"Unable to evaluate: {error}", {})
            return
        state, reason = judge(alarm, values)
        if state is not None:
            details = {"recentDatapoints": [v for v in values if v is not None], "threshold": alarm.threshold}
            self._set(region, alarm, state, reason, details)

    def _values(self, alarm: Any, data: dict[Key, list[tuple[float, Any]]], count: int) -> Series:
        if not alarm.metric_data_queries:
            dimensions = tuple(sorted((d.name, d.value) for d in alarm.dimensions))
            points = data.get((alarm.namespace, alarm.metric_name, dimensions), [])
            return series(points, alarm.statistic or alarm.extended_statistic, real_seconds(float(alarm.period)), count)
        found: dict[str, Series] = {}
        wanted = None
        for query in sorted(alarm.metric_data_queries, key=lambda q: q.expression is not None):
            if query.metric_stat is not None:
                metric, stat = query.metric_stat.metric, query.metric_stat
                dimensions = tuple(sorted((d.name, d.value) for d in metric.dimensions))
                points = data.get((metric.namespace, metric.metric_name, dimensions), [])
                found[query.id] = series(points, stat.stat, real_seconds(float(stat.period)), count)
            else:
                found[query.id] = evaluate(query.expression, found, count)
            if query.return_data in (True, "true", "True", None):
                wanted = query.id
        if wanted is None:
            raise MathError("no query returns data")
        return found[wanted]

    def _composite_alarm(self, region: str, alarm: Any, backend: Any) -> None:
        try:
            rule = parse_rule(alarm.rule)
        except RuleError as error:
            self._set(region, alarm, "INSUFFICIENT_DATA", str(error), {})
            return
        states = {name: other.state_value for name, other in backend.alarms.items()}
        state = "ALARM" if rule.holds(states) else "OK"
        named = ", ".join(f"{name} is {states.get(name, 'missing')}" for name in sorted(rule.alarms))
        self._set(region, alarm, state, f"The rule {alarm.rule} is {state == 'ALARM'}: {named}", {})

    def _set(self, region: str, alarm: Any, state: str, reason: str, details: dict[str, Any]) -> None:
        if alarm.state_value == state:
            return
        alarm.update_state(reason, json.dumps(details), state)


def series(points: list[tuple[float, Any]], stat: str, period: float, count: int) -> Series:
    """One value per period, newest first."""
    buckets: list[list[Any]] = [[] for _ in range(count)]
    for age, datum in points:
        index = int(max(age, 0.0) // period)
        if index < count and age > -period:
            buckets[index].append(datum)
    return [statistic(stat, bucket) for bucket in buckets]


def judge(alarm: Any, values: Series) -> tuple[str | None, str]:
    """The state that these values mean, ``None`` for the present one, and why."""
    says, breaks = _COMPARE.get(alarm.comparison_operator, ("", lambda v, t: False))
    needed = int(alarm.datapoints_to_alarm or alarm.evaluation_periods or 1)
    threshold = float(alarm.threshold or 0)
    missing = alarm.treat_missing_data or "missing"
    present = [value for value in values if value is not None]
    breaching = sum(1 for value in present if breaks(value, threshold))
    absent = len(values) - len(present)
    if missing == "breaching":
        breaching += absent
    shown = ", ".join(f"{value:g}" for value in present) or "none"
    against = f"were {says} the threshold ({threshold:g})"
    if breaching >= needed:
        extra = f" ({absent} missing, treated as breaching)" if absent and missing == "breaching" else ""
        return "ALARM", f"Threshold Crossed: {breaching} of {len(values)} datapoints [{shown}] {against}{extra}"
    if not present and missing == "missing":
        return "INSUFFICIENT_DATA", "Insufficient Data: no datapoint was received"
    if not present and missing == "ignore":
        return None, ""
    return "OK", f"Threshold Crossed: fewer than {needed} datapoints [{shown}] {against}"


def patch_alarms(queue_call: QueueCall) -> None:
    """Teach moto's alarms what CloudWatch does: start without data, keep state over an update, act on a change."""
    from moto.cloudwatch.models import Alarm, CloudWatchBackend

    put, update = CloudWatchBackend.put_metric_alarm, Alarm.update_state

    def put_metric_alarm(backend: Any, *args: Any, **kwargs: Any) -> Any:
        old = backend.alarms.get(kwargs["name"])
        put(backend, *args, **kwargs)
        alarm = backend.alarms[kwargs["name"]]
        if old is None:
            alarm.state_value = "INSUFFICIENT_DATA"
        else:
            for name in ("state_value", "state_reason", "state_reason_data", "state_updated_timestamp", "history"):
                setattr(alarm, name, getattr(old, name))
            alarm.transitions = getattr(old, "transitions", [])
        return alarm

    def update_state(alarm: Any, reason: str, reason_data: str, state_value: str) -> None:
        old = alarm.state_value
        update(alarm, reason, reason_data, state_value)
        alarm.transitions = [*getattr(alarm, "transitions", []), (datetime.now(UTC), old, state_value, reason)]
        if old != state_value and alarm.actions_enabled:
            act(alarm, old, queue_call)

    backends: Any = CloudWatchBackend
    alarms: Any = Alarm
    backends.put_metric_alarm = put_metric_alarm
    alarms.update_state = update_state


def act(alarm: Any, old: str, queue_call: QueueCall) -> None:
    """Run the actions of the state that an alarm has come to."""
    actions = {
        "ALARM": alarm.alarm_actions,
        "OK": alarm.ok_actions,
        "INSUFFICIENT_DATA": alarm.insufficient_data_actions,
    }[alarm.state_value]
    for action in actions or []:
        try:
            _run_action(alarm, old, action, queue_call)
        except Exception:
            _LOG.exception("action %s of alarm %s failed", action, alarm.name)


def _run_action(alarm: Any, old: str, action: str, queue_call: QueueCall) -> None:
    if ":sns:" in action:
        from moto.sns.models import sns_backends

        subject = f'{alarm.state_value}: "{alarm.name}" in {alarm.region_name}'
        sns_backends[ACCOUNT][action.split(":")[3]].publish(
            message=json.dumps(_message(alarm, old)), arn=action, subject=subject[:100]
        )
    elif ":lambda:" in action:
        queue_call(action, _lambda_event(alarm, old), "alarm")


def _message(alarm: Any, old: str) -> dict[str, Any]:
    """The text that CloudWatch sends to a topic."""
    trigger = {
        "MetricName": alarm.metric_name,
        "Namespace": alarm.namespace,
        "Statistic": (alarm.statistic or "").upper(),
        "Dimensions": [{"name": d.name, "value": d.value} for d in alarm.dimensions],
        "Period": alarm.period,
        "EvaluationPeriods": alarm.evaluation_periods,
        "ComparisonOperator": alarm.comparison_operator,
        "Threshold": alarm.threshold,
        "TreatMissingData": alarm.treat_missing_data,
    }
    return {
        "AlarmName": alarm.name,
        "AlarmDescription": alarm.description,
        "AWSAccountId": ACCOUNT,
        "NewStateValue": alarm.state_value,
        "NewStateReason": alarm.state_reason,
        "StateChangeTime": datetime.now(UTC).isoformat(),
        "Region": alarm.region_name,
        "AlarmArn": alarm.alarm_arn,
        "OldStateValue": old,
        **({"AlarmRule": alarm.rule} if alarm.rule is not None else {"Trigger": trigger}),
    }


def _lambda_event(alarm: Any, old: str) -> dict[str, Any]:
    now = datetime.now(UTC).isoformat()
    return {
        "source": "aws.cloudwatch",
        "alarmArn": alarm.alarm_arn,
        "accountId": ACCOUNT,
        "time": now,
        "region": alarm.region_name,
        "alarmData": {
            "alarmName": alarm.name,
            "state": {"value": alarm.state_value, "reason": alarm.state_reason, "timestamp": now},
            "previousState": {"value": old},
            "configuration": {"description": alarm.description},
        },
    }
