"""Alarms, and what follows them: topics, functions, health checks."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest
from botocore.exceptions import ClientError

from spillway.twin.aws.alarm_rules import RuleError, parse_rule
from spillway.twin.aws.alarms import judge
from spillway.twin.aws.metric_math import MathError, evaluate
from tests.support.waiting import eventually
from tests.twin.aws.support import Server


def state(server: Server, name: str) -> str:
    answer = server.client("cloudwatch").describe_alarms(
        AlarmNames=[name], AlarmTypes=["MetricAlarm", "CompositeAlarm"]
    )
    return (answer["MetricAlarms"] + answer["CompositeAlarms"])[0]["StateValue"]


def put(server: Server, metric: str, value: float, namespace: str = "Test") -> None:
    server.client("cloudwatch").put_metric_data(
        Namespace=namespace,
        MetricData=[{"MetricName": metric, "Value": value, "Dimensions": [{"Name": "A", "Value": "b"}]}],
    )


def put_alarm(server: Server, name: str, metric: str, **changes: Any) -> None:
    server.client("cloudwatch").put_metric_alarm(
        **{
            "AlarmName": name,
            "Namespace": "Test",
            "MetricName": metric,
            "Dimensions": [{"Name": "A", "Value": "b"}],
            "Statistic": "Maximum",
            "Period": 60,
            "EvaluationPeriods": 1,
            "Threshold": 10,
            "ComparisonOperator": "GreaterThanThreshold",
            **changes,
        }
    )


def test_alarm_follows_its_metric_and_tells_a_queue(server: Server) -> None:
    sns, sqs = server.client("sns"), server.client("sqs")
    topic = sns.create_topic(Name="told")["TopicArn"]
    queue = sqs.create_queue(QueueName="told")["QueueUrl"]
    sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint="arn:aws:sqs:eu-west-1:123456789012:told")
    put_alarm(server, "one", "one", Period=1, AlarmActions=[topic], OKActions=[topic])
    assert state(server, "one") == "INSUFFICIENT_DATA"

    def follows(value: float, wanted: str) -> bool:
        put(server, "one", value)
        return state(server, "one") == wanted

    eventually(lambda: follows(20, "ALARM"))
    eventually(lambda: state(server, "one") == "INSUFFICIENT_DATA")
    eventually(lambda: follows(1, "OK"))
    bodies = []
    eventually(
        lambda: (
            bool(bodies.extend(sqs.receive_message(QueueUrl=queue, MaxNumberOfMessages=10).get("Messages", [])))
            or len(bodies) >= 2
        )
    )
    told = [json.loads(json.loads(message["Body"])["Message"]) for message in bodies]
    # A second without data, on a busy machine, ends a state; it is told again when it comes back.
    assert list(dict.fromkeys(message["NewStateValue"] for message in told)) == ["ALARM", "OK"]
    history = server.client("cloudwatch").describe_alarm_history(AlarmName="one")["AlarmHistoryItems"]
    assert len(history) >= 3


def test_missing_data_breaches_when_told_to(server: Server) -> None:
    put_alarm(
        server, "silent", "never", TreatMissingData="breaching", ComparisonOperator="LessThanThreshold", Threshold=1
    )
    eventually(lambda: state(server, "silent") == "ALARM")
    put(server, "never", 1)
    eventually(lambda: state(server, "silent") == "OK")


def test_composite_follows_its_children(server: Server) -> None:
    put_alarm(server, "left", "left", TreatMissingData="notBreaching")
    put_alarm(server, "right", "right", TreatMissingData="notBreaching")
    cloudwatch = server.client("cloudwatch")
    cloudwatch.put_composite_alarm(AlarmName="and", AlarmRule='ALARM(left) AND ALARM("right")')
    cloudwatch.put_composite_alarm(AlarmName="or", AlarmRule="ALARM(left) OR NOT OK(right)")
    put(server, "left", 99)
    eventually(lambda: state(server, "or") == "ALARM")
    assert state(server, "and") == "OK"
    put(server, "right", 99)
    eventually(lambda: state(server, "and") == "ALARM")
    with pytest.raises(ClientError, match="do not exist"):
        cloudwatch.put_composite_alarm(AlarmName="bad", AlarmRule="ALARM(nobody)")


def test_metric_math_alarm(server: Server) -> None:
    def stat(id_: str, metric: str) -> dict[str, Any]:
        dimensions = [{"Name": "A", "Value": "b"}]
        about = {"Namespace": "Test", "MetricName": metric, "Dimensions": dimensions}
        return {"Id": id_, "MetricStat": {"Metric": about, "Period": 60, "Stat": "Sum"}, "ReturnData": False}

    server.client("cloudwatch").put_metric_alarm(
        AlarmName="ratio",
        EvaluationPeriods=1,
        Threshold=1.2,
        ComparisonOperator="GreaterThanThreshold",
        Metrics=[
            {"Id": "e1", "Expression": "IF(m2 > 0, m1 / m2, 0)", "ReturnData": True},
            stat("m1", "dollars"),
            stat("m2", "gpus"),
        ],
    )
    put(server, "gpus", 4)
    put(server, "dollars", 4)
    eventually(lambda: state(server, "ratio") == "OK")
    put(server, "dollars", 4)
    eventually(lambda: state(server, "ratio") == "ALARM")


def test_function_calls_are_queued(server: Server) -> None:
    before = len(server.get("/_spillway/invocations")["invocations"])
    role = server.client("iam").create_role(RoleName="fn", AssumeRolePolicyDocument="{}")["Role"]["Arn"]
    function = server.client("lambda").create_function(
        FunctionName="runner",
        Runtime="python3.12",
        Role=role,
        Handler="a.b",
        Code={"ZipFile": b"PK\x05\x06" + b"\0" * 18},
    )["FunctionArn"]
    topic = server.client("sns").create_topic(Name="to-function")["TopicArn"]
    server.client("sns").subscribe(TopicArn=topic, Protocol="lambda", Endpoint=function)
    server.client("sns").publish(TopicArn=topic, Message="hello")
    put_alarm(server, "calls", "calls", AlarmActions=[function])
    put(server, "calls", 11)
    eventually(lambda: len(server.get(f"/_spillway/invocations?after={before}")["invocations"]) == 2)
    by_topic, by_alarm = server.get(f"/_spillway/invocations?after={before}")["invocations"]
    assert (by_topic["number"], by_topic["function"], by_topic["source"]) == (before + 1, "runner", "sns")
    assert by_topic["payload"]["Records"][0]["Sns"]["Message"] == "hello"
    assert (by_alarm["function"], by_alarm["source"]) == ("runner", "alarm")
    assert by_alarm["payload"]["alarmData"]["state"]["value"] == "ALARM"


def test_health_check_follows_its_alarm(server: Server) -> None:
    route53 = server.client("route53")
    put_alarm(server, "beat", "beat", Threshold=1, ComparisonOperator="LessThanThreshold", TreatMissingData="missing")

    def check(name: str, **more: Any) -> str:
        config = {
            "Type": "CLOUDWATCH_METRIC",
            "AlarmIdentifier": {"Region": "eu-west-1", "Name": "beat"},
            "InsufficientDataHealthStatus": "Unhealthy",
            **more,
        }
        return route53.create_health_check(CallerReference=name, HealthCheckConfig=config)["HealthCheck"]["Id"]

    strict, lenient = check("strict"), check("lenient", InsufficientDataHealthStatus="Healthy")
    upside_down = check("inverted", Inverted=True)
    health = server.get("/_spillway/route53/health")
    assert [health[id_]["healthy"] for id_ in (strict, lenient, upside_down)] == [False, True, True]
    put(server, "beat", 1)
    eventually(lambda: server.get("/_spillway/route53/health")[strict]["healthy"])
    server.client("cloudwatch").set_alarm_state(AlarmName="beat", StateValue="ALARM", StateReason="by hand")
    assert not server.get("/_spillway/route53/health")[lenient]["healthy"]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"Period": 10}, "high resolution"),
        ({"EvaluationPeriods": 3, "DatapointsToAlarm": 2}, "M out of N"),
        ({"Statistic": None, "ExtendedStatistic": "p99"}, "extended statistic"),
    ],
)
def test_route53_refuses_alarms_it_cannot_follow(server: Server, changes: dict[str, Any], says: str) -> None:
    wanted: dict[str, Any] = {"Statistic": "Maximum", **changes}
    statistic = wanted.pop("Statistic")
    cloudwatch = server.client("cloudwatch")
    cloudwatch.put_metric_alarm(
        AlarmName="unfit",
        Namespace="Test",
        MetricName="x",
        ComparisonOperator="GreaterThanThreshold",
        Threshold=1,
        **{"Period": 60, "EvaluationPeriods": 1, **wanted, **({"Statistic": statistic} if statistic else {})},
    )
    config = {"Type": "CLOUDWATCH_METRIC", "AlarmIdentifier": {"Region": "eu-west-1", "Name": "unfit"}}
    with pytest.raises(ClientError, match=says):
        server.client("route53").create_health_check(CallerReference=says, HealthCheckConfig=config)


def alarm(**changes: Any) -> Any:
    values: dict[str, Any] = {
        "comparison_operator": "GreaterThanThreshold",
        "evaluation_periods": 3,
        "datapoints_to_alarm": 2,
        "threshold": 10.0,
        "treat_missing_data": "missing",
    }
    return SimpleNamespace(**{**values, **changes})


@pytest.mark.parametrize(
    ("values", "missing", "expected"),
    [
        ([11, 11, 1], "missing", "ALARM"),
        ([11, 1, 1], "missing", "OK"),
        ([None, None, None], "missing", "INSUFFICIENT_DATA"),
        ([None, None, None], "ignore", None),
        ([None, None, None], "notBreaching", "OK"),
        ([11, None, None], "breaching", "ALARM"),
        ([1, 1, None], "breaching", "OK"),
        ([11, 11, None], "missing", "ALARM"),
    ],
)
def test_missing_data_and_m_of_n(values: list[float | None], missing: str, expected: str | None) -> None:
    assert judge(alarm(treat_missing_data=missing), values)[0] == expected


def test_rules() -> None:
    rule = parse_rule('(ALARM(a) OR ALARM("b c")) AND NOT OK(d)')
    assert rule.alarms == {"a", "b c", "d"}
    assert rule.holds({"b c": "ALARM", "d": "ALARM"})
    assert not rule.holds({"a": "ALARM", "d": "OK"})
    assert parse_rule("FALSE AND FALSE OR TRUE").holds({})
    for bad in ("ALARM(a", "ALARM(a) XOR ALARM(b)", "", "ALARM(a) ALARM(b)"):
        with pytest.raises(RuleError):
            parse_rule(bad)


def test_metric_math() -> None:
    series = {"m1": [4.0, None, 2.0], "m2": [2.0, 1.0, 0.0]}
    assert evaluate("m1 / m2", series, 3) == [2.0, None, None]
    assert evaluate("FILL(m1, 0) + m2 * 2", series, 3) == [8.0, 2.0, 2.0]
    assert evaluate("FILL(m1, REPEAT)", series, 3) == [4.0, 2.0, 2.0]
    assert evaluate("SUM(METRICS())", series, 3) == [6.0, 1.0, 2.0]
    assert evaluate("IF(m2 >= 1 AND m2 < 2, 1, 0)", series, 3) == [0.0, 1.0, 0.0]
    assert evaluate("MAX([m1, m2])", series, 3) == [4.0, 1.0, 2.0]
    with pytest.raises(MathError):
        evaluate("ANOMALY_DETECTION_BAND(m1)", series, 3)
    with pytest.raises(MathError):
        evaluate("__import__('os')", series, 3)
