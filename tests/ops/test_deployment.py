"""Which AWS is asked: never an account when a local stack was meant, and never by an account's keys a local one."""

from __future__ import annotations

import io
import os
import sys
import unittest
from contextlib import redirect_stderr
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import patch

import boto3
from botocore.stub import Stubber

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "ops"))

# The path above makes them importable.
import console
import deployment
import overdue

LOCAL = "http://127.0.0.1:4566"
ACCOUNT = {"AWS_PROFILE": "shop", "AWS_REGION": "eu-central-1", "AWS_SESSION_TOKEN": "secret"}


def chosen(on: str | None, *, runs: bool, **settings: str) -> tuple[str, dict[str, str]]:
    """What is chosen, and the AWS settings that the clients then see."""
    others = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    addresses = {"url": "http://127.0.0.1:9000", "aws": LOCAL} if runs else None
    with patch.dict(os.environ, others | ACCOUNT | settings, clear=True), patch.object(deployment, "running", lambda: addresses):
        place = deployment.choose_aws(on)
        return place, {name: value for name, value in os.environ.items() if name.startswith("AWS_")}


class TestChoice(unittest.TestCase):
    def test_a_local_stack_sees_none_of_the_callers_settings(self) -> None:
        local = chosen("local", runs=True)
        self.assertEqual(local[0], f"at {LOCAL}")
        self.assertEqual((local[1]["AWS_ENDPOINT_URL"], local[1]["AWS_ACCESS_KEY_ID"]), (LOCAL, "test"))
        for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN"):
            self.assertNotIn(name, local[1])
        self.assertEqual(chosen(None, runs=True), local)
        self.assertEqual(chosen(None, runs=False, AWS_ENDPOINT_URL=LOCAL), local)

    def test_without_a_local_stack_the_callers_settings_hold(self) -> None:
        self.assertEqual(chosen(None, runs=False), ("", ACCOUNT))

    def test_a_choice_holds_whatever_runs(self) -> None:
        self.assertEqual(chosen("aws", runs=True), ("", ACCOUNT))
        with self.assertRaises(deployment.Failure):
            chosen("local", runs=False)

    def test_an_endpoint_elsewhere_gets_the_callers_settings(self) -> None:
        place, settings = chosen(None, runs=True, AWS_ENDPOINT_URL="https://aws.example.com")
        self.assertEqual((place, settings["AWS_PROFILE"]), ("at https://aws.example.com", "shop"))

    def test_an_action_changes_an_account_only_if_it_was_chosen(self) -> None:
        for on, endpoint, is_refused in (
            (None, "", True),
            (None, "https://aws.example.com", True),
            (None, LOCAL, False),
            ("aws", "", False),
            ("local", LOCAL, False),
        ):
            with self.subTest(on=on, endpoint=endpoint), patch.dict(os.environ, {"AWS_ENDPOINT_URL": endpoint}):
                try:
                    deployment.require_choice(on, "")
                except deployment.Failure as failure:
                    self.assertIn("Set ON=aws", str(failure))
                    self.assertTrue(is_refused)
                else:
                    self.assertFalse(is_refused)


class TestStack(unittest.TestCase):
    def setUp(self) -> None:
        client = boto3.client(
            "cloudformation", region_name="eu-central-1", aws_access_key_id="test", aws_secret_access_key="test"
        )
        self.cloudformation = Stubber(client)
        self.cloudformation.activate()
        session = patch("boto3.Session", return_value=SimpleNamespace(client=lambda *_, **__: client))
        session.start()
        self.addCleanup(session.stop)

    def describe(self) -> None:
        stack = {
            "StackName": "orderflow",
            "StackId": "arn:aws:cloudformation:eu-central-1:123456789012:stack/orderflow/1",
            "CreationTime": datetime(2026, 1, 1, tzinfo=UTC),
            "StackStatus": "CREATE_COMPLETE",
        }
        self.cloudformation.add_response("describe_stacks", {"Stacks": [stack]}, {"StackName": "orderflow"})

    def list(self, *resources: tuple[str, str], token: str | None = None) -> None:
        summaries = [
            {
                "LogicalResourceId": name.split("-")[1],
                "PhysicalResourceId": name,
                "ResourceType": kind,
                "LastUpdatedTimestamp": datetime(2026, 1, 1, tzinfo=UTC),
                "ResourceStatus": "CREATE_COMPLETE",
            }
            for kind, name in resources
        ]
        page: dict[str, object] = {"StackResourceSummaries": summaries} | ({"NextToken": token} if token else {})
        self.cloudformation.add_response("list_stack_resources", page)

    def test_its_alarms_are_those_of_its_resources(self) -> None:
        self.describe()
        alarm = "AWS::CloudWatch::Alarm"
        self.list((alarm, "orderflow-ApiFailing-1A2B"), ("AWS::SQS::Queue", "orderflow-EmailQueue-3C4D"), token="more")
        self.list((alarm, "orderflow-RelayBehind-5E6F"))
        found = deployment.Deployment("orderflow", "").alarm_names()
        self.assertEqual(found, ["orderflow-ApiFailing-1A2B", "orderflow-RelayBehind-5E6F"])

    def test_both_tools_say_in_the_words_of_aws_that_there_is_no_such_stack(self) -> None:
        for module in (console, overdue):
            message = "Stack with id ordreflow does not exist"
            self.cloudformation.add_client_error("describe_stacks", "ValidationError", message)
            said = io.StringIO()
            with (
                patch.object(sys, "argv", ["x", "--stack", "ordreflow"]),
                patch.object(module, "choose_aws", return_value=""),
                redirect_stderr(said),
            ):
                self.assertEqual(module.main(), 1)
            self.assertEqual(said.getvalue(), f"AWS refused DescribeStacks: {message}\n")


if __name__ == "__main__":
    unittest.main()
