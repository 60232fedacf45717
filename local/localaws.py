"""MiniStack, the local AWS, as a child process on loopback."""

from __future__ import annotations

import json
import os
import sys
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import boto3

from processes import Child, answers, wait_until

REGION = "us-east-1"
SENDER = "orders@example.com"
# The addresses of the running pipeline.
RUNNING = Path(__file__).resolve().parent.parent / ".local" / "running.json"


def credentials(port: int) -> dict[str, str]:
    """The variables that point a program at the MiniStack on `port` only."""
    return {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "AWS_REGION": REGION,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
    }


def environment(port: int) -> dict[str, str]:
    """This process's environment with MiniStack as AWS. Omits the caller's AWS settings, so that nothing reaches an account."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    tools = f"{Path(sys.executable).parent}{os.pathsep}{own.get('PATH', '')}"
    return own | {"PATH": tools, "SAM_CLI_TELEMETRY": "0"} | credentials(port)


class MiniStack:
    """A MiniStack on `port`. Its state is in memory."""

    def __init__(self, port: int, directory: Path, **settings: str) -> None:
        self.port = port
        self.endpoint = f"http://127.0.0.1:{port}"
        self.process: Child | None = None
        self._directory = directory
        self._settings = settings

    def start(self) -> None:
        """Starts it and returns once it accepts calls."""
        scratch = self._directory / "tmp"
        scratch.mkdir(parents=True, exist_ok=True)
        restricted = {
            "GATEWAY_PORT": str(self.port),
            # By default it listens on all interfaces and opens an MQTT port.
            "BIND_HOST": "127.0.0.1",
            "IOT_MTLS_ENABLED": "0",
            "SFTP_ENABLED": "0",
            "TMPDIR": str(scratch),
        }
        self.process = Child(
            "MiniStack",
            [sys.executable, "-m", "ministack"],
            environment(self.port) | restricted | self._settings,
            self._directory / "ministack.log",
        )
        wait_until("Starting MiniStack", lambda: answers(f"{self.endpoint}/health"), 60, [self.process])

    def client(self, service: str) -> Any:  # noqa: ANN401  (not every service has types here)
        """A boto3 client of this MiniStack."""
        client: Callable[..., Any] = boto3.client
        return client(
            service,
            endpoint_url=self.endpoint,
            region_name=REGION,
            aws_access_key_id="test",
            aws_secret_access_key="test",  # noqa: S106  (MiniStack takes any)
        )

    def mend_mappings(self) -> None:
        """Converts each mapping's concurrency to a number. Call it after each deployment.

        CloudFormation converts a Number parameter; MiniStack 1.5 keeps the text, cannot compare it, and then
        polls no queue at all.
        """
        client = self.client("lambda")
        for mapping in client.list_event_source_mappings()["EventSourceMappings"]:
            widest = mapping.get("ScalingConfig", {}).get("MaximumConcurrency")
            if widest is not None:
                client.update_event_source_mapping(UUID=mapping["UUID"], ScalingConfig={"MaximumConcurrency": int(widest)})

    def outputs(self, stack: str) -> dict[str, str]:
        """The outputs of a stack deployed to it."""
        [description] = self.client("cloudformation").describe_stacks(StackName=stack)["Stacks"]
        return {output["OutputKey"]: output["OutputValue"] for output in description["Outputs"]}

    def stop(self) -> None:
        """Stops it, if it is running."""
        if self.process:
            self.process.stop()


def running() -> dict[str, str] | None:
    """`url` (of the API), `aws`, and `currency` of a running `make run`; None without one."""
    try:
        addresses = json.loads(RUNNING.read_text())
    except FileNotFoundError:
        return None
    # A killed process leaves its file behind.
    return addresses if answers(addresses["url"]) and answers(f"{addresses['aws']}/health") else None


def sent_mails(endpoint: str) -> list[dict[str, Any]]:
    """The mails sent to SES, oldest first: `MessageId`, `To`, `Subject`, `BodyText`, `BodyHtml`, and more."""
    with urllib.request.urlopen(f"{endpoint}/_ministack/ses/messages", timeout=10) as answer:
        accounts = json.load(answer)["messages"]
    return sorted((mail for mails in accounts.values() for mail in mails), key=lambda mail: mail["Timestamp"])


def by_queue(answer: object) -> dict[str, list[dict[str, Any]]]:
    """The messages in MiniStack's answer by the name of their queue, however deep the answer nests them."""
    found: dict[str, list[dict[str, Any]]] = {}
    if isinstance(answer, dict):
        for key, value in answer.items():
            if isinstance(value, list) and "/" in key:
                found.setdefault(key.rpartition("/")[2], []).extend(value)
            else:
                for name, messages in by_queue(value).items():
                    found.setdefault(name, []).extend(messages)
    return found
