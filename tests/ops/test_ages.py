"""The ages of the oldest messages: what CloudWatch or the local AWS has, and unknown wherever neither says anything."""

from __future__ import annotations

import io
import json
import sys
import unittest
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast
from unittest.mock import Mock, patch

import boto3
from botocore.exceptions import EndpointConnectionError
from botocore.stub import Stubber

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "ops"))

import ages  # noqa: E402  (the path above makes it importable)
from ages import NO_DATA, OldestMessages, ages_in_cloudwatch, ages_in_ministack  # noqa: E402
from survey import waiting_messages  # noqa: E402
from work import QUEUES, Age, Queue  # noqa: E402

if TYPE_CHECKING:
    from deployment import Deployment

NOW = 1_795_428_725_000
AT = datetime.fromtimestamp(NOW / 1000, UTC)
NAMES = {queue: f"orderflow-{queue.capitalize()}Queue-1A2B" for queue in QUEUES}
UNREAD = dict.fromkeys(QUEUES, Age(None, NO_DATA))
ENDPOINT = "http://127.0.0.1:4566"


def minutes_ago(minutes: int) -> datetime:
    return AT - timedelta(minutes=minutes)


def a_page(*results: Mapping[str, object], token: str | None = None) -> dict[str, object]:
    """A page as CloudWatch sends it."""
    return {"MetricDataResults": list(results), "Messages": []} | ({"NextToken": token} if token else {})


def points(queue: str, ages: Mapping[int, float], status: str = "Complete") -> dict[str, object]:
    """A result: ages by how many minutes ago they were measured."""
    times = [minutes_ago(minutes) for minutes in ages]
    return {"Id": queue, "Label": "x", "Timestamps": times, "Values": list(ages.values()), "StatusCode": status}


class PlayedCloudWatch:
    """A real client whose answers are played. botocore checks requests and answers by AWS's own description."""

    def __init__(self) -> None:
        self.client: Any = boto3.client(
            "cloudwatch", region_name="eu-central-1", aws_access_key_id="test", aws_secret_access_key="test"
        )
        self.stubber = Stubber(self.client)
        self.stubber.activate()

    def answers(self, *pages: dict[str, object]) -> PlayedCloudWatch:
        for page in pages:
            self.stubber.add_response("get_metric_data", page)
        return self

    def refuses(self, code: str) -> PlayedCloudWatch:
        self.stubber.add_client_error("get_metric_data", code, "not authorized", 403)
        return self

    def ages(self) -> dict[str, Age]:
        """The ages that are read; all played answers must be used up."""
        found = ages_in_cloudwatch(self.client, NAMES, AT)
        self.stubber.assert_no_pending_responses()
        return found


class TestCloudWatch(unittest.TestCase):
    def test_one_request_asks_for_all_queues(self) -> None:
        played = PlayedCloudWatch()
        queries = [
            {
                "Id": queue,
                "MetricStat": {
                    "Metric": {
                        "Namespace": "AWS/SQS",
                        "MetricName": "ApproximateAgeOfOldestMessage",
                        "Dimensions": [{"Name": "QueueName", "Value": name}],
                    },
                    "Period": 60,
                    "Stat": "Maximum",
                },
            }
            for queue, name in NAMES.items()
        ]
        wanted = {"MetricDataQueries": queries, "StartTime": minutes_ago(5), "EndTime": AT, "ScanBy": "TimestampDescending"}
        played.stubber.add_response("get_metric_data", a_page(points("billing", {1: 90.0})), wanted)
        self.assertEqual(played.ages()["billing"], Age(90))

    def test_the_latest_point_counts_in_whatever_order_and_on_whatever_page(self) -> None:
        first = a_page(points("payment", {3: 60.0, 2: 120.0}, "PartialData"), points("email", {2: 7.0}), token="more")
        second = a_page(points("payment", {1: 180.0}), points("email", {3: 900.0}), points("billing", {4: 1.0}))
        found = PlayedCloudWatch().answers(first, second).ages()
        self.assertEqual(found, UNREAD | {"payment": Age(180), "email": Age(7), "billing": Age(1)})

    def test_no_point_is_unknown_and_a_point_of_nought_is_not(self) -> None:
        found = PlayedCloudWatch().answers(a_page(points("billing", {}), points("email", {1: 0.0}))).ages()
        self.assertEqual(found, UNREAD | {"email": Age(0)})
        self.assertEqual(PlayedCloudWatch().answers(a_page()).ages(), UNREAD)

    def test_a_refusal_makes_unknown_what_was_not_read_before(self) -> None:
        why = "AWS refused GetMetricData: AccessDenied"
        refused = dict.fromkeys(QUEUES, Age(None, why))
        self.assertEqual(PlayedCloudWatch().refuses("AccessDenied").ages(), refused)
        begun = PlayedCloudWatch().answers(a_page(points("email", {1: 5.0}), token="more")).refuses("AccessDenied")
        self.assertEqual(begun.ages(), refused | {"email": Age(5)})

    def test_a_queue_that_cloudwatch_does_not_show_is_unknown(self) -> None:
        for status in ("Forbidden", "InternalError"):
            found = PlayedCloudWatch().answers(a_page(points("billing", {}, status), points("email", {1: 5.0}))).ages()
            self.assertEqual(found, UNREAD | {"billing": Age(None, f"CloudWatch answered {status}"), "email": Age(5)})
        again = PlayedCloudWatch().answers(
            a_page(points("billing", {}, "InternalError"), token="again"), a_page(points("billing", {1: 5.0}))
        )
        self.assertEqual(again.ages()["billing"], Age(5))

    def test_cloudwatch_that_cannot_be_reached_makes_all_unknown(self) -> None:
        def fails() -> Any:
            raise EndpointConnectionError(endpoint_url="https://monitoring.example")
            yield

        client = Mock()
        client.get_paginator.return_value.paginate.return_value = fails()
        unreached = dict.fromkeys(QUEUES, Age(None, "CloudWatch could not be reached"))
        self.assertEqual(ages_in_cloudwatch(client, NAMES, AT), unreached)


class PlayedDeployment:
    """As much of a deployment as is asked for."""

    def __init__(self, cloudwatch: Any = None, **depths: int) -> None:
        self._cloudwatch = cloudwatch
        self._depths = depths

    @property
    def itself(self) -> Deployment:
        return cast("Deployment", self)

    def queue(self, queue: str) -> str:
        return f"https://sqs.eu-central-1.amazonaws.com/123456789012/{NAMES[queue]}"

    def client(self, service: str) -> Any:
        return self._cloudwatch if service == "cloudwatch" else self

    def get_queue_attributes(self, QueueUrl: str, AttributeNames: list[str]) -> dict[str, Any]:
        [depth] = [self._depths.get(queue, 0) for queue, name in NAMES.items() if QueueUrl.endswith(name)]
        return {"Attributes": dict.fromkeys(AttributeNames, "0") | {"ApproximateNumberOfMessagesNotVisible": str(depth)}}


class TestOldestMessages(unittest.TestCase):
    @patch.dict("os.environ", {"AWS_ENDPOINT_URL": ""})
    def test_cloudwatch_is_asked_once_a_minute(self) -> None:
        played = PlayedCloudWatch().answers(a_page(points("email", {1: 5.0})))
        oldest = OldestMessages(PlayedDeployment(played.client).itself)
        for later in (0, 1000, 59_000):
            self.assertEqual(oldest.ages(NOW + later)["email"], Age(5))
        played.refuses("AccessDenied")
        self.assertIsNone(oldest.ages(NOW + 60_000)["email"].seconds)

    @patch.dict("os.environ", {"AWS_ENDPOINT_URL": ""})
    def test_an_empty_queue_has_no_age_whatever_the_metric_still_says(self) -> None:
        played = PlayedCloudWatch().answers(a_page(points("billing", {2: 300.0}), points("payment", {2: 300.0})))
        deployment = PlayedDeployment(played.client, payment=3, email=1)
        found = waiting_messages(deployment.itself, cast("Any", deployment), OldestMessages(deployment.itself), NOW)
        expected = [
            Queue("billing", 0),
            Queue("payment", 3, Age(300)),
            Queue("shipment", 0),
            Queue("email", 1, Age(None, NO_DATA)),
            Queue("feedback", 0),
        ]
        self.assertEqual(list(found), expected)

    @patch.dict("os.environ", {"AWS_ENDPOINT_URL": ENDPOINT})
    def test_a_local_aws_is_asked_itself(self) -> None:
        with patch.object(ages, "ages_in_ministack", return_value=UNREAD) as asked:
            self.assertEqual(OldestMessages(PlayedDeployment().itself).ages(NOW), UNREAD)
        asked.assert_called_once_with(ENDPOINT, NAMES, AT)


class TestMiniStack(unittest.TestCase):
    def test_the_oldest_message_counts(self) -> None:
        second = NOW // 1000
        url = f"{ENDPOINT}/000000000000/"
        listed = {
            f"{url}{NAMES['payment']}": [{"SentTimestamp": second - 40}, {"SentTimestamp": second - 90}],
            f"{url}{NAMES['email']}": [{"SentTimestamp": second + 1}],
            f"{url}{NAMES['billing']}": [],
            f"{url}another": [{"SentTimestamp": second - 999}],
        }
        answer = io.BytesIO(json.dumps({"messages": {"000000000000": {"us-east-1": listed}}}).encode())
        with patch("urllib.request.urlopen", return_value=answer):
            found = ages_in_ministack(ENDPOINT, NAMES, AT)
        self.assertEqual([found[queue].seconds for queue in QUEUES], [None, 90, None, 0, None])

    def test_without_an_answer_all_are_unknown(self) -> None:
        for answer in (OSError("refused"), ValueError("no JSON")):
            with patch("urllib.request.urlopen", side_effect=answer):
                self.assertEqual({age.seconds for age in ages_in_ministack(ENDPOINT, NAMES, AT).values()}, {None})


if __name__ == "__main__":
    unittest.main()
