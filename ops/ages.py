"""Reads the age of the oldest message in each queue. SQS itself tells only counts; CloudWatch has the ages."""

from __future__ import annotations

import json
import os
import urllib.request
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from deployment import Deployment, is_local

# From local/, which `deployment` made importable.
from localaws import by_queue
from work import QUEUES, Age

# SQS reports one point a minute, and reports it one to two minutes later.
PERIOD = timedelta(minutes=1)
# An older point says nothing about the queue as it is now.
WINDOW = timedelta(minutes=5)

NO_DATA = "CloudWatch has no recent data"


class OldestMessages:
    """The ages in one deployment. CloudWatch charges for each reading, so it is asked at most once per `PERIOD`."""

    def __init__(self, deployment: Deployment) -> None:
        self._names = {queue: deployment.queue(queue).rpartition("/")[2] for queue in QUEUES}
        self._cloudwatch = deployment.client("cloudwatch")
        self._read_at: datetime | None = None
        self._ages: dict[str, Age] = {}

    def ages(self, now: int) -> dict[str, Age]:
        """The age of the oldest message in each queue at `now` (milliseconds). An age that cannot be read is unknown."""
        at = datetime.fromtimestamp(now / 1000, UTC)
        if is_local():
            return ages_in_ministack(os.environ["AWS_ENDPOINT_URL"], self._names, at)
        if self._read_at is None or at - self._read_at >= PERIOD:
            self._ages = ages_in_cloudwatch(self._cloudwatch, self._names, at)
            self._read_at = at
        return self._ages


def ages_in_cloudwatch(cloudwatch: Any, names: Mapping[str, str], at: datetime) -> dict[str, Age]:  # noqa: ANN401
    """The latest point of each queue, by one request for all; `names` are the queues' names in SQS."""
    ages = {queue: Age(None, NO_DATA) for queue in names}
    latest: dict[str, datetime] = {}
    pages = cloudwatch.get_paginator("get_metric_data").paginate(
        MetricDataQueries=[_query(queue, name) for queue, name in names.items()],
        StartTime=at - WINDOW,
        EndTime=at,
        ScanBy="TimestampDescending",
    )
    try:
        for page in pages:
            for result in page["MetricDataResults"]:
                queue = result["Id"]
                for moment, seconds in zip(result["Timestamps"], result["Values"], strict=True):
                    if queue not in latest or moment > latest[queue]:
                        latest[queue], ages[queue] = moment, Age(int(seconds))
                if queue not in latest and result["StatusCode"] in ("Forbidden", "InternalError"):
                    ages[queue] = Age(None, f"CloudWatch answered {result['StatusCode']}")
    except ClientError as error:
        return _unread(ages, f"AWS refused {error.operation_name}: {error.response['Error']['Code']}")
    except BotoCoreError:
        return _unread(ages, "CloudWatch could not be reached")
    return ages


def _query(queue: str, name: str) -> dict[str, object]:
    metric = {
        "Namespace": "AWS/SQS",
        "MetricName": "ApproximateAgeOfOldestMessage",
        "Dimensions": [{"Name": "QueueName", "Value": name}],
    }
    return {"Id": queue, "MetricStat": {"Metric": metric, "Period": int(PERIOD.total_seconds()), "Stat": "Maximum"}}


def ages_in_ministack(endpoint: str, names: Mapping[str, str], at: datetime) -> dict[str, Age]:
    """The ages in the local AWS, whose CloudWatch has no metrics of queues. Nothing is received."""
    unknown = {queue: Age(None, "MiniStack does not list the queue's messages") for queue in names}
    try:
        with urllib.request.urlopen(f"{endpoint}/_ministack/sqs/messages", timeout=10) as answer:
            messages = by_queue(json.load(answer))
    except (OSError, ValueError):
        return unknown
    # In seconds.
    sent = {queue: [int(each["SentTimestamp"]) for each in messages.get(name, [])] for queue, name in names.items()}
    return unknown | {queue: Age(max(0, int(at.timestamp()) - min(times))) for queue, times in sent.items() if times}


def _unread(ages: Mapping[str, Age], why: str) -> dict[str, Age]:
    """The ages, where those that were not read are unknown for this reason."""
    return {queue: age if age.seconds is not None else Age(None, why) for queue, age in ages.items()}
