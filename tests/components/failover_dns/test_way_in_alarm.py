"""The alarm on the check from outside: where its metric is, with a topic that it may call."""

from __future__ import annotations

import json

from components.failover_dns.way_in_alarm import WayInAlarm, WayInAlarmArgs
from tests.support.recording import Recorded, context, of_type, record

ALARM, TOPIC = "aws:cloudwatch/metricAlarm:MetricAlarm", "aws:sns/topic:Topic"


def build(region: str) -> list[Recorded]:
    args = WayInAlarmArgs(
        region=region,
        account_id="123456789012",
        check_id="c-1",
        topic_arn="arn:topic",
        notify_emails=("a@example.com", "b@example.com"),
    )
    return record(lambda: WayInAlarm(context(), args))


def test_it_follows_the_check_in_the_region_of_its_metric() -> None:
    """https://docs.aws.amazon.com/Route53/latest/DeveloperGuide/monitoring-health-checks.html: us-east-1 alone."""
    (alarm,) = of_type(build("us-east-1"), ALARM)
    told = {key: alarm.inputs[key] for key in ("namespace", "metricName", "dimensions", "region")}
    assert told == {
        "namespace": "AWS/Route53",
        "metricName": "HealthCheckStatus",
        "dimensions": {"HealthCheckId": "c-1"},
        "region": "us-east-1",
    }
    assert (alarm.inputs["comparisonOperator"], alarm.inputs["threshold"]) == ("LessThanThreshold", 1)
    assert alarm.inputs["alarmActions"] == alarm.inputs["okActions"] == ["arn:topic"]
    assert not of_type(build("us-east-1"), TOPIC)


def test_elsewhere_the_same_people_are_told_by_a_topic_in_that_region() -> None:
    """An alarm calls a topic of its own region, and an encrypted one only with a key that lets it."""
    found = build("eu-west-1")
    (topic,) = of_type(found, TOPIC)
    (key,) = of_type(found, "aws:kms/key:Key")
    mails = of_type(found, "aws:sns/topicSubscription:TopicSubscription")
    assert {one.inputs["region"] for one in (topic, key, *mails)} == {"us-east-1"}
    assert {one.inputs["endpoint"] for one in mails} == {"a@example.com", "b@example.com"}
    uses = {one["Sid"]: one for one in json.loads(key.inputs["policy"])["Statement"]}
    assert uses["AlarmsToEncryptedTopics"]["Principal"] == {"Service": "cloudwatch.amazonaws.com"}
    (alarm,) = of_type(found, ALARM)
    assert alarm.inputs["alarmActions"] != ["arn:topic"]
