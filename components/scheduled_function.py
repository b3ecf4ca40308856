"""A small Lambda function of Spillway's runtime: called each minute and by alarms, with retries and dead letters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import pulumi
import pulumi_aws as aws

from components.aws_documents import Statement, allow, assumed_by, partition, policy
from components.base import Component, StackContext
from components.function_code import function_code

RUNTIME: Final = "python3.13"
KEPT_S: Final = 14 * 24 * 3600
"""How long a dead letter is kept; the longest that SQS offers."""


@dataclass(frozen=True)
class ScheduledFunctionArgs:
    """``name``: of the function; ``module``: dotted, with ``handler`` in it; ``loads``: those that it imports by name
    at run time. ``environment``: as its configuration writes it. ``rights``: IAM statements besides logs, traces and
    dead letters.

    ``topic_arn``: who is told of dead letters, and, with ``alarms``, whose notices of these alarms call the function.
    ``kms_key_arn``: for its environment and logs; AWS's own keys without one.
    """

    name: str
    module: str
    description: str
    environment: pulumi.Input[Mapping[str, str]]
    rights: pulumi.Input[Sequence[Statement]]
    region: str
    account_id: str
    log_retention_days: int
    topic_arn: pulumi.Input[str]
    loads: tuple[str, ...] = ()
    alarms: tuple[pulumi.Input[str], ...] = ()
    kms_key_arn: pulumi.Input[str] | None = None


class ScheduledFunction(Component):
    """Outputs: ``name``, ``arn``, ``role_arn``, ``dead_letters_alarm_name``."""

    def __init__(
        self, context: StackContext, args: ScheduledFunctionArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__(f"function-{args.name.removeprefix(context.prefix + '-')}", context, opts)
        self.args = args
        self.dead_letters = aws.sqs.Queue(
            f"{args.name}-dead-letters",
            name=f"{args.name}-dead-letters",
            message_retention_seconds=KEPT_S,
            sqs_managed_sse_enabled=True,
            tags=context.tags,
            opts=self.child(),
        )
        self.dead_letters_alarm_name = self._watch_dead_letters().name
        function = self._function()
        self.name, self.arn = function.name, function.arn
        self._each_minute()
        if args.alarms:
            self._on_alarms()
        self.register_outputs({"name": self.name, "arn": self.arn})

    def _function(self) -> aws.lambda_.Function:
        args = self.args
        logs = aws.cloudwatch.LogGroup(
            f"{args.name}-logs",
            name=f"/aws/lambda/{args.name}",
            retention_in_days=args.log_retention_days,
            kms_key_id=args.kms_key_arn,
            tags=self.context.tags,
            opts=self.child(),
        )
        role, rights = self._role()
        self.role_arn = role.arn
        function = aws.lambda_.Function(
            f"{args.name}-function",
            name=args.name,
            description=args.description,
            runtime=RUNTIME,
            architectures=["arm64"],
            handler=f"{args.module}.handler",
            code=function_code([args.module, *args.loads]),
            role=role.arn,
            timeout=50,
            memory_size=256,
            kms_key_arn=args.kms_key_arn,
            environment=aws.lambda_.FunctionEnvironmentArgs(variables=args.environment),
            dead_letter_config=aws.lambda_.FunctionDeadLetterConfigArgs(target_arn=self.dead_letters.arn),
            tracing_config=aws.lambda_.FunctionTracingConfigArgs(mode="Active"),
            logging_config=aws.lambda_.FunctionLoggingConfigArgs(log_format="JSON", log_group=logs.name),
            tags=self.context.tags,
            opts=self.child(depends_on=[rights]),
        )
        aws.lambda_.FunctionEventInvokeConfig(
            f"{args.name}-retries",
            function_name=function.name,
            maximum_retry_attempts=1,
            maximum_event_age_in_seconds=60,
            opts=self.child(),
        )
        return function

    def _role(self) -> tuple[aws.iam.Role, aws.iam.RolePolicy]:
        args = self.args
        role = aws.iam.Role(
            f"{args.name}-role",
            assume_role_policy=assumed_by("lambda.amazonaws.com"),
            tags=self.context.tags,
            opts=self.child(),
        )
        group = f"arn:{partition(args.region)}:logs:{args.region}:{args.account_id}:log-group:/aws/lambda/{args.name}:*"

        def document(values: list[Any]) -> str:
            own, dead_letters, key = values
            environment = [allow("Environment", ["kms:Decrypt"], key)] if key else []
            return policy(
                *own,
                allow("Logs", ["logs:CreateLogStream", "logs:PutLogEvents"], group),
                *environment,
                allow("DeadLetters", ["sqs:SendMessage"], dead_letters),
                allow("Traces", ["xray:PutTraceSegments", "xray:PutTelemetryRecords"], "*"),
            )

        rights = aws.iam.RolePolicy(
            f"{args.name}-rights",
            name="rights",
            role=role.id,
            policy=pulumi.Output.all(args.rights, self.dead_letters.arn, args.kms_key_arn).apply(document),
            opts=self.child(),
        )
        return role, rights

    def _each_minute(self) -> None:
        args = self.args
        role = aws.iam.Role(
            f"{args.name}-schedule-role",
            assume_role_policy=assumed_by("scheduler.amazonaws.com", args.account_id),
            tags=self.context.tags,
            opts=self.child(),
        )
        aws.iam.RolePolicy(
            f"{args.name}-schedule-rights",
            name="rights",
            role=role.id,
            policy=pulumi.Output.all(self.arn, self.dead_letters.arn).apply(
                lambda arns: policy(
                    allow("Call", ["lambda:InvokeFunction"], arns[0]),
                    allow("DeadLetters", ["sqs:SendMessage"], arns[1]),
                )
            ),
            opts=self.child(),
        )
        aws.scheduler.Schedule(
            f"{args.name}-schedule",
            name=args.name,
            schedule_expression="rate(1 minute)",
            flexible_time_window=aws.scheduler.ScheduleFlexibleTimeWindowArgs(mode="OFF"),
            target=aws.scheduler.ScheduleTargetArgs(
                arn=self.arn,
                role_arn=role.arn,
                # The next minute is at hand: an old call is worth nothing.
                retry_policy=aws.scheduler.ScheduleTargetRetryPolicyArgs(
                    maximum_retry_attempts=2, maximum_event_age_in_seconds=60
                ),
                dead_letter_config=aws.scheduler.ScheduleTargetDeadLetterConfigArgs(arn=self.dead_letters.arn),
            ),
            opts=self.child(),
        )

    def _on_alarms(self) -> None:
        """An alarm calls the function at once, not at the next minute."""
        args = self.args
        allowed = aws.lambda_.Permission(
            f"{args.name}-permission",
            action="lambda:InvokeFunction",
            function=self.name,
            principal="sns.amazonaws.com",
            source_arn=args.topic_arn,
            opts=self.child(),
        )
        aws.sns.TopicSubscription(
            f"{args.name}-subscription",
            topic=args.topic_arn,
            protocol="lambda",
            endpoint=self.arn,
            filter_policy_scope="MessageBody",
            filter_policy=pulumi.Output.json_dumps({"AlarmName": list(args.alarms)}),
            opts=self.child(depends_on=[allowed]),
        )

    def _watch_dead_letters(self) -> aws.cloudwatch.MetricAlarm:
        return aws.cloudwatch.MetricAlarm(
            f"{self.args.name}-dead-letters-alarm",
            name=f"{self.args.name}-dead-letters",
            alarm_description=f"Calls of {self.args.name} failed for good; see its queue and its log",
            namespace="AWS/SQS",
            metric_name="ApproximateNumberOfMessagesVisible",
            dimensions={"QueueName": self.dead_letters.name},
            statistic="Maximum",
            period=300,
            evaluation_periods=1,
            comparison_operator="GreaterThanThreshold",
            threshold=0,
            treat_missing_data="notBreaching",
            alarm_actions=[self.args.topic_arn],
            tags=self.context.tags,
            opts=self.child(),
        )
