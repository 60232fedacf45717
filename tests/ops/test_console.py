"""The console of a deployed stack: it opens an order by its ID, and requests personal data only if it was asked to."""

from __future__ import annotations

import json
import sys
import unittest
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast
from unittest.mock import Mock, patch

import boto3
from botocore.stub import Stubber

from played_dynamodb import Answer, PlayedDynamoDb

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "ops"))

import console  # noqa: E402  (the path above makes it importable)
from console import PROJECTION, SHOWN, Console  # noqa: E402
from deployment import Failure  # noqa: E402
from front import Request, Response  # noqa: E402
from overdue import now  # noqa: E402
from work import Survey  # noqa: E402

if TYPE_CHECKING:
    from deployment import Deployment

ID = "ord_01JDB4XK00EXAMPVE0RDER0001"
ALARMS = [f"orderflow-Alarm{number}-1A2B3C" for number in range(101)]


class PlayedDeployment:
    """A deployment whose clients are real and whose answers are played. Any other call than those that are played fails."""

    def __init__(self, **answers: Answer) -> None:
        self.dynamodb = PlayedDynamoDb(**answers)
        cloudwatch = boto3.client(
            "cloudwatch", region_name="eu-central-1", aws_access_key_id="test", aws_secret_access_key="test"
        )
        self.cloudwatch = Stubber(cloudwatch)
        self.cloudwatch.activate()
        self._clients: dict[str, Any] = {"cloudwatch": cloudwatch, "dynamodb": self.dynamodb.client}

    def client(self, service: str) -> Any:
        return self._clients[service]

    def queue(self, queue: str) -> str:
        return f"https://sqs.eu-central-1.amazonaws.com/123456789012/{queue}"

    def output(self, name: str) -> str:
        return name

    def alarm_names(self) -> list[str]:
        return ALARMS


class TestOrder(unittest.TestCase):
    def asked(self, deployment: PlayedDeployment, path: str, *, personal: bool = False) -> Response | None:
        """The console's answer."""
        served = Console(cast("Deployment", deployment), writes=False, personal=personal)
        return served.answer(Request("GET", path, {"host": "localhost:9100"}, b""), b"")

    def test_an_order_is_read_by_its_key_without_personal_data_unless_that_was_asked_for(self) -> None:
        item = {"orderId": {"S": ID}, "status": {"S": "pending"}, "version": {"N": "1"}}
        key = {"TableName": "OrdersTableName", "Key": {"orderId": {"S": ID}}, "ConsistentRead": True}
        for personal, projection in ((False, PROJECTION), (True, {})):
            deployment = PlayedDeployment(GetItem={"Item": item})
            answer = self.asked(deployment, f"/console/order/{ID}", personal=personal)
            assert answer
            self.assertEqual((answer.status, json.loads(answer.body)["order"]["orderId"]), (200, ID))
            self.assertEqual(deployment.dynamodb.sent("GetItem"), [key | projection])
        self.assertFalse({"contact", "customerId", "lines", "reference", "metadata"} & set(SHOWN.split(", ")))

    def test_an_order_that_does_not_exist_is_not_found(self) -> None:
        answer = self.asked(PlayedDeployment(GetItem={}), f"/console/order/{ID}")
        self.assertEqual(answer and answer.status, 404)

    def test_nothing_is_read_for_what_is_no_whole_order_id(self) -> None:
        for text in (ID[:-1], ID.lower(), "8080", f"{ID}x"):
            self.assertIsNone(self.asked(PlayedDeployment(), f"/console/order/{text}"))

    def test_a_refusal_by_aws_names_the_call(self) -> None:
        deployment = PlayedDeployment(GetItem={"Error": {"Code": "AccessDeniedException", "Message": "not authorized"}})
        answer = self.asked(deployment, f"/console/order/{ID}")
        assert answer
        self.assertEqual(json.loads(answer.body), {"detail": "AWS refused GetItem: not authorized"})


class TestMails(unittest.TestCase):
    def test_the_ledger_is_read_for_the_page_only(self) -> None:
        row = {"emailId": {"S": "request/0af7"}, "state": {"S": "failed"}, "settledAt": {"N": str(now())}}
        deployment = PlayedDeployment(Scan={"Items": [row]})
        served = Console(cast("Deployment", deployment), writes=False, personal=False)
        request = Request("GET", "/console/parked-mails", {"host": "localhost:9100"}, b"")
        refused = served.answer(request, b"")
        answer = served.answer(replace(request, headers=request.headers | {"x-console": "1"}), b"")
        assert refused and answer
        self.assertEqual((refused.status, answer.status), (403, 200))
        shown = json.loads(answer.body)
        [mail] = shown["mails"]
        self.assertFalse(shown["writes"])
        self.assertEqual((mail["emailId"], mail["state"], mail["isOwn"]), ("request/0af7", "failed", False))
        self.assertEqual(len(deployment.dynamodb.sent("Scan")), 1)


class TestAlarms(unittest.TestCase):
    def shown(self, deployment: PlayedDeployment) -> dict[str, Any]:
        return Console(cast("Deployment", deployment), writes=False, personal=False).alarms()

    def test_those_of_the_stack_are_asked_for_by_their_names_and_those_in_alarm_come_first(self) -> None:
        deployment = PlayedDeployment()
        for names, states in ((ALARMS[:100], {ALARMS[0]: "OK", ALARMS[1]: "ALARM"}), (ALARMS[100:], {ALARMS[100]: "ALARM"})):
            alarms = [{"AlarmName": name, "StateValue": state} for name, state in states.items()]
            deployment.cloudwatch.add_response("describe_alarms", {"MetricAlarms": alarms}, {"AlarmNames": names})
        shown = self.shown(deployment)
        self.assertEqual([alarm["name"] for alarm in shown["alarms"]], [ALARMS[1], ALARMS[100], ALARMS[0]])
        self.assertIsNone(shown["alarmsUnknown"])

    def test_without_the_right_to_read_them_they_are_unknown_and_all_else_is_shown(self) -> None:
        deployment = PlayedDeployment()
        deployment.cloudwatch.add_client_error("describe_alarms", "AccessDenied", "not authorized", 403)
        with patch.object(console, "take_survey", return_value=Survey("orderflow", 1)):
            shown = Console(cast("Deployment", deployment), writes=False, personal=False).state()
        self.assertEqual((shown["alarms"], shown["alarmsUnknown"]), (None, "AWS refused DescribeAlarms: not authorized"))
        self.assertFalse(shown["attention"]["needsAttention"])


class TestGrants(unittest.TestCase):
    def test_actions_change_an_account_only_if_it_was_chosen(self) -> None:
        deployed = Mock(return_value=PlayedDeployment())
        with patch.object(console, "choose_aws", return_value=""), patch.object(console, "Deployment", deployed):
            with self.assertRaisesRegex(Failure, "Set ON=aws"):
                console.console_of(console.options(["--write", "yes"]))
            for given, granted in (([], (False, False)), (["--on", "aws", "--write", "yes", "--personal", "yes"], (True, True))):
                served = console.console_of(console.options(given))
                self.assertEqual((served.writes, served.personal), granted)


if __name__ == "__main__":
    unittest.main()
