"""Runs the pipeline on this machine: MiniStack with template.yaml deployed, and the functions in `cargo lambda watch`."""

from __future__ import annotations

import json
import shutil
import urllib.error
import urllib.request
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from samcli.yamlhelper import yaml_parse

from localaws import SENDER, MiniStack, environment
from loops import unrolled
from processes import Child, Failure, answers, wait_until

ROOT = Path(__file__).resolve().parent.parent
NAME = "orderflow"
PROXY = "MINISTACK_LAMBDA_PROXY_URL"


class Stack:
    """A running pipeline; `with` stops it. It has its own ports and logs, so several can run concurrently."""

    def __init__(
        self,
        port: int,
        aws_port: int,
        directory: Path,
        *,
        reload: bool,
        variables: dict[str, str] | None = None,
        parameters: Mapping[str, str] | None = None,
        front: int | None = None,
    ) -> None:
        """`parameters` are template.yaml's; `variables` override the functions' variables of template.yaml.

        With `front`, callers and MiniStack reach the functions through that port of this machine instead of `port`.
        """
        self.url = f"http://127.0.0.1:{front or port}"
        self._watch = f"http://127.0.0.1:{port}"
        self.directory = directory
        # The sandbox's ledger, one file per charge. Removed together with the orders, and not shared with another
        # stack.
        self.ledger = directory / f"charges-{front or port}"
        self._port = port
        self._reload = reload
        self._over = variables or {}
        # Local mails need not wait for a new SES account's rate.
        mails = {"SenderEmail": SENDER, "CreateSenderIdentity": "yes", "MailsPerSecond": "200"}
        self._parameters = {"Stage": "local"} | mails | dict(parameters or {})
        self._variables: dict[str, str] = {}
        # `cargo lambda watch` and the functions that it runs.
        self.functions: Child | None = None
        self.aws = MiniStack(aws_port, directory)

    def __enter__(self) -> Stack:
        try:
            self.aws.start()
            self._deploy()
            self._serve()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def currency(self) -> str:
        """The shop's currency, once the stack is running."""
        return self._variables["CURRENCY"]

    def stop(self) -> None:
        """Stops every process. The functions stop first, so that none calls a stopped AWS."""
        if self.functions:
            self.functions.stop()
        self.aws.stop()
        shutil.rmtree(self.ledger, ignore_errors=True)

    def check(self) -> None:
        """Raises `Failure` if a part of it stopped."""
        for child in self._children():
            child.check()

    def _children(self) -> list[Child]:
        return [child for child in (self.aws.process, self.functions) if child]

    def _deploy(self) -> None:
        """Deploys with CloudFormation instead of `sam deploy`: two seconds instead of ten, and nothing to package."""
        cloudformation = self.aws.client("cloudformation")
        # Through a bucket, as `sam deploy` does: CloudFormation limits an inline template to 51 200 bytes.
        bucket = self.aws.client("s3")
        bucket.create_bucket(Bucket=NAME)
        bucket.put_object(Bucket=NAME, Key="template.json", Body=json.dumps(forwarding_template(self.url)))
        cloudformation.create_stack(
            StackName=NAME,
            TemplateURL=f"{self.aws.endpoint}/{NAME}/template.json",
            Parameters=[{"ParameterKey": name, "ParameterValue": value} for name, value in self._parameters.items()],
            Capabilities=["CAPABILITY_IAM", "CAPABILITY_AUTO_EXPAND"],
        )

        def status() -> str:
            return str(cloudformation.describe_stacks(StackName=NAME)["Stacks"][0]["StackStatus"])

        wait_until("Deploying template.yaml", lambda: not status().endswith("_IN_PROGRESS"), 60, self._children())
        if status() != "CREATE_COMPLETE":
            events = cloudformation.describe_stack_events(StackName=NAME)["StackEvents"]
            reasons = [
                f"  {event['LogicalResourceId']}: {event.get('ResourceStatusReason', '')}"
                for event in events
                if event["ResourceStatus"].endswith("_FAILED")
            ]
            raise Failure("MiniStack could not deploy template.yaml:\n" + "\n".join(reasons))
        self.aws.mend_mappings()

    def _serve(self) -> None:
        shutil.rmtree(self.ledger, ignore_errors=True)
        self.ledger.mkdir(parents=True)
        # One process sends all mails.
        local = {"AUTHENTICATION": "none", "SANDBOX_LEDGER": str(self.ledger), "MAIL_WORKERS": "1"}
        self._variables = environment(self.aws.port) | function_variables(self.aws) | local | self._over
        self._start_watch()
        with ThreadPoolExecutor() as pool:
            list(pool.map(self._warm, sorted(set(binaries(source_template()).values()))))

    def _start_watch(self, *, append: bool = False) -> None:
        command = watch_command(self._port, reload=self._reload, browsers="AllowedOrigins" in self._parameters)
        log = self.directory / "functions.log"
        self.functions = Child("cargo lambda watch", command, self._variables, log, append=append)
        wait_until("Starting cargo lambda watch", lambda: answers(self._watch), 30, self._children())

    def restart_functions(self) -> None:
        """Restarts the functions after `functions.kill()`. Each starts with its first call."""
        self._start_watch(append=True)

    def _warm(self, binary: str) -> None:
        """Calls a function once with no work: watch starts it on its first call, which would delay a user's request."""
        match binary:
            case "cart":
                request = urllib.request.Request(
                    f"{self._watch}/api/order/cart.json", b"{}", {"Content-Type": "application/json"}
                )
            case "order":
                request = urllib.request.Request(f"{self._watch}/api/order/none")
            case "customer":
                request = urllib.request.Request(f"{self._watch}/api/customer/none/billing")
            case _:
                request = urllib.request.Request(invocations(self._watch, binary), b'{"Records":[]}')
        try:
            urllib.request.urlopen(request, timeout=60).close()
        except urllib.error.HTTPError as error:
            # Cart and order refuse this event; only an error of the function itself is a failure.
            if error.code < 500:
                return
            raise Failure(f"The function {binary} failed to start:\n{self._log()}") from None
        except OSError as error:
            self.check()
            raise Failure(f"The function {binary} does not answer ({error}):\n{self._log()}") from None

    def _log(self) -> str:
        return self.functions.tail(25) if self.functions else ""


def watch_command(port: int, *, reload: bool, browsers: bool) -> list[str]:
    """The command for `cargo lambda watch` on `port`. Allows every browser origin, or none without `browsers`."""
    command = ["cargo", "lambda", "watch", "--invoke-address", "127.0.0.1", "--invoke-port", str(port)]
    if not reload:
        command.append("--ignore-changes")
    if not browsers:
        command.append("--disable-cors")
    return command


def source_template() -> dict[str, Any]:
    """template.yaml, parsed, with its loops unrolled."""
    template: dict[str, Any] = yaml_parse((ROOT / "template.yaml").read_text())
    return unrolled(template)


def binaries(template: dict[str, Any]) -> dict[str, str]:
    """The binary of each function, by logical ID."""
    return {
        name: resource["Metadata"]["BuildProperties"]["Binary"]
        for name, resource in template["Resources"].items()
        if resource["Type"] == "AWS::Serverless::Function"
    }


def invocations(watch: str, binary: str) -> str:
    """The URL at which `cargo lambda watch` accepts a binary's events, like Lambda's Invoke."""
    return f"{watch}/2015-03-31/functions/{binary}/invocations"


def forwarding_template(watch: str) -> dict[str, Any]:
    """template.yaml with functions without code: MiniStack forwards their invocations to `cargo lambda watch`."""
    template = source_template()
    del template["Globals"]["Function"]["CodeUri"]
    for name, binary in binaries(template).items():
        properties = template["Resources"][name]["Properties"]
        properties["InlineCode"] = "-"
        properties["Environment"]["Variables"][PROXY] = invocations(watch, binary)
    return template


def function_variables(aws: MiniStack) -> dict[str, str]:
    """The variables of all deployed functions: watch gives every binary the same environment."""
    variables: dict[str, str] = {}
    for function in aws.client("lambda").list_functions()["Functions"]:
        for name, value in function["Environment"]["Variables"].items():
            if name != PROXY and variables.setdefault(name, value) != value:
                raise Failure(
                    f"template.yaml sets {name} to different values. Use one value: local functions share one environment."
                )
    return variables
