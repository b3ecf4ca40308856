"""SageMaker: a bad version is taken back by itself, and containers reach nothing but what they need."""

from __future__ import annotations

from collections.abc import Iterator

from policies.policy import Finding, Policy, PolicySettings
from policies.resources import Stack, entries, is_missing, is_not_true, refers
from policies.rules.capacity import SAGEMAKER_CONFIGURATION, SAGEMAKER_ENDPOINT


def _rollback(stack: Stack, settings: PolicySettings) -> Iterator[Finding]:
    alarms = {alarm.get("name") for alarm in stack.of("aws:cloudwatch/metricAlarm:MetricAlarm")}
    for endpoint in stack.of(SAGEMAKER_ENDPOINT):
        configurations = stack.of(SAGEMAKER_CONFIGURATION)
        used = next((c for c in configurations if refers(endpoint, "endpointConfigName", c, "name")), None)
        if used is not None and not is_missing(used.get("asyncInferenceConfig")):
            continue
        path = "deploymentConfig.autoRollbackConfiguration.alarms"
        named = endpoint.get(path)
        if is_missing(named):
            yield Finding(endpoint, f"{path} is empty: a bad version stays")
        elif any(isinstance(a.get("alarmName"), str) and a["alarmName"] not in alarms for a in entries(named)):
            yield Finding(endpoint, f"{path} names an alarm that the stack does not have")


def _isolation(stack: Stack, settings: PolicySettings) -> Iterator[Finding]:
    for model in stack.of("aws:sagemaker/model:Model"):
        if is_not_true(model.get("enableNetworkIsolation")):
            yield Finding(model, "enableNetworkIsolation has to be true: a model has no reason to call anybody")
        if is_missing(model.get("vpcConfig")):
            yield Finding(model, "vpcConfig is missing: its traffic leaves the stack's network")


POLICIES = (
    Policy(
        "sagemaker-rollback",
        "A real-time SageMaker endpoint names alarms of the stack that roll a bad version back.",
        "Keep `burst.sagemaker.rollout`. Asynchronous endpoints hold a queue and are left out.",
        _rollback,
        severity="high",
        whole_stack=True,
    ),
    Policy(
        "sagemaker-isolation",
        "A SageMaker model runs in the stack's network, isolated.",
        "Set `enableNetworkIsolation` and `vpcConfig` on the model.",
        _isolation,
        severity="high",
    ),
)
