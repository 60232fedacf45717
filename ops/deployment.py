"""Which AWS, and which stack in it."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload
from urllib.parse import urlsplit

import boto3
from botocore.client import BaseClient
from botocore.config import Config
from botocore.exceptions import ClientError

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "local"))

# The path above makes them importable; the other modules here import `Failure` from here.
from localaws import RUNNING, credentials, running
from processes import Failure as Failure
from work import QUEUES

if TYPE_CHECKING:
    from mypy_boto3_cloudformation import CloudFormationClient
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_lambda import LambdaClient
    from mypy_boto3_sqs import SQSClient

ALARM = "AWS::CloudWatch::Alarm"
LOOPBACK = ("127.0.0.1", "localhost", "::1")
# Short timeouts, because a person is waiting.
CONFIG = Config(connect_timeout=5, read_timeout=60, retries={"mode": "standard", "max_attempts": 4})


def choose_aws(on: str | None) -> str:
    """Points this process at `local` (a running `make run`) or at `aws` (the caller's settings); returns a description of it.

    Without a choice: AWS_ENDPOINT_URL, else a running `make run`, else the caller's settings.
    """
    endpoint = os.environ.get("AWS_ENDPOINT_URL")
    if on == "local" or (on is None and not endpoint):
        addresses = running()
        if addresses:
            return point_at(addresses["aws"])
        if RUNNING.exists():
            print("A `make run` of this checkout has started and does not answer. If it still runs, restart it.", file=sys.stderr)
        if on == "local":
            raise Failure("No `make run` is running in this checkout. Start one, or set ON=aws.")
    if endpoint and urlsplit(endpoint).hostname in LOOPBACK:
        return point_at(endpoint)
    return f"at {endpoint}" if endpoint else ""


def require_choice(on: str | None, place: str) -> None:
    """An action changes AWS only if the operator has said so: a local stack may have stopped unnoticed."""
    if on is None and not is_local():
        raise Failure(
            f"This would change the stack {place or 'in your AWS account'}. Set ON=aws to do that, or start `make run`."
        )


def is_local() -> bool:
    """Whether this process's settings lead to this machine."""
    return urlsplit(os.environ.get("AWS_ENDPOINT_URL", "")).hostname in LOOPBACK


def point_at(endpoint: str) -> str:
    """Points this process at a local AWS and removes the caller's own settings, which it must not see. Returns a description."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        del os.environ[name]
    os.environ.update(credentials(urlsplit(endpoint).port or 80))
    return f"at {endpoint}"


def refusal(error: ClientError) -> str:
    """The operator's text about a call that AWS refused."""
    told = error.response["Error"]
    return f"AWS refused {error.operation_name}: {told.get('Message') or told['Code']}"


class Deployment:
    """A deployed stack and its clients, by this process's settings."""

    def __init__(self, stack: str, place: str) -> None:
        self._session = boto3.Session()
        self._stack = stack
        [description] = self.client("cloudformation").describe_stacks(StackName=stack)["Stacks"]
        self.outputs = {output["OutputKey"]: output["OutputValue"] for output in description.get("Outputs", [])}
        # arn:partition:cloudformation:region:account:stack/…
        _, _, _, region, account, *_ = description["StackId"].split(":")
        self.where = f"{stack} {place or f'in {region} of account {account}'}"

    @overload
    def client(self, service: Literal["cloudformation"]) -> CloudFormationClient: ...
    # No tool brings types of this client along.
    @overload
    def client(self, service: Literal["cloudwatch"]) -> Any: ...  # noqa: ANN401
    @overload
    def client(self, service: Literal["dynamodb"]) -> DynamoDBClient: ...
    @overload
    def client(self, service: Literal["lambda"]) -> LambdaClient: ...
    @overload
    def client(self, service: Literal["sqs"]) -> SQSClient: ...
    def client(self, service: Literal["cloudformation", "cloudwatch", "dynamodb", "lambda", "sqs"]) -> BaseClient:
        """A boto3 client."""
        return self._session.client(service, config=CONFIG)

    def output(self, name: str) -> str:
        """An output of the stack; `Failure` if the stack does not have it."""
        try:
            return self.outputs[name]
        except KeyError:
            raise Failure(
                f"The stack {self._stack} has no output {name}. Set STACK to a stack of this template, or update it."
            ) from None

    def physical_id(self, name: str) -> str:
        """The physical ID of a resource."""
        answer = self.client("cloudformation").describe_stack_resource(StackName=self._stack, LogicalResourceId=name)
        return str(answer["StackResourceDetail"]["PhysicalResourceId"])

    def alarm_names(self) -> list[str]:
        """The names of the stack's alarms. Others in the account may begin like them."""
        pages = self.client("cloudformation").get_paginator("list_stack_resources").paginate(StackName=self._stack)
        resources = (resource for page in pages for resource in page["StackResourceSummaries"])
        return [
            each["PhysicalResourceId"] for each in resources if each["ResourceType"] == ALARM and each.get("PhysicalResourceId")
        ]

    def dead_letters(self, queue: str) -> str:
        """The address of a queue's dead-letter queue; `queue` as in `work.QUEUES`."""
        return self.output(f"{QUEUES[queue]}DeadLettersUrl")

    def queue(self, queue: str) -> str:
        """The address of a queue; `queue` as in `work.QUEUES`."""
        return self.output(f"{QUEUES[queue]}QueueUrl")
