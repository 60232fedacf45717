"""The pipeline as in the cloud: `sam build` and `sam deploy` of template.yaml onto MiniStack, called through API Gateway.

MiniStack checks every call against the role of the function that makes it (AUTH=true), so a right that the template
forgot fails here.
"""

from __future__ import annotations

import base64
import json
import platform
import re
import subprocess
import unittest
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

from pipeline import Pipeline, PipelineTests

# From local/, which pipeline made importable.
from localaws import MiniStack, REGION, environment
from processes import free_port
from stack import NAME, ROOT, source_template

ARCHITECTURE = "arm64" if platform.machine() in ("arm64", "aarch64") else "x86_64"


def sam(port: int, *arguments: str) -> None:
    """Runs SAM against the MiniStack on that port; its output is shown only if it fails."""
    done = subprocess.run(["sam", *arguments], cwd=ROOT, env=environment(port), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        raise AssertionError(f"sam {arguments[0]} failed:\n{done.stdout}")


def deploy(aws: MiniStack, directory: Path) -> None:
    """What README says for the cloud, with this machine's architecture."""
    build = directory / "build"
    sam(aws.port, "build", "--build-dir", str(build), "--parameter-overrides", f"Architecture={ARCHITECTURE}")
    sam(
        aws.port,
        "deploy",
        "--template-file",
        str(build / "template.yaml"),
        "--no-confirm-changeset",
        "--no-progressbar",
        "--parameter-overrides",
        f"Architecture={ARCHITECTURE}",
        "Stage=test",
    )


def add_routes(aws: MiniStack, outputs: dict[str, str]) -> None:
    """Gives the API the routes of template.yaml: MiniStack makes none from the OpenAPI body in which SAM puts them."""
    gateway = aws.client("apigatewayv2")
    stack = aws.client("cloudformation")
    api = outputs["ApiId"]
    authorizer = gateway.create_authorizer(
        ApiId=api,
        Name="Tokens",
        AuthorizerType="JWT",
        IdentitySource=["$request.header.Authorization"],
        JwtConfiguration={
            "Issuer": f"https://cognito-idp.{REGION}.amazonaws.com/{outputs['UserPoolId']}",
            "Audience": [outputs["MachineClientId"]],
        },
    )["AuthorizerId"]
    for name, resource in source_template()["Resources"].items():
        for event in resource.get("Properties", {}).get("Events", {}).values():
            if event["Type"] != "HttpApi":
                continue
            function = stack.describe_stack_resource(StackName=NAME, LogicalResourceId=name)["StackResourceDetail"]
            arn = aws.client("lambda").get_function_configuration(FunctionName=function["PhysicalResourceId"])["FunctionArn"]
            integration = gateway.create_integration(
                ApiId=api, IntegrationType="AWS_PROXY", IntegrationUri=arn, PayloadFormatVersion="2.0"
            )["IntegrationId"]
            route = event["Properties"]
            gateway.create_route(
                ApiId=api,
                RouteKey=f"{route['Method'].upper()} {route['Path']}",
                Target=f"integrations/{integration}",
                AuthorizationType="JWT",
                AuthorizerId=authorizer,
            )


def token(aws: MiniStack, outputs: dict[str, str]) -> str:
    """An access token of the machine client, as a backend gets it."""
    client = aws.client("cognito-idp").describe_user_pool_client(
        UserPoolId=outputs["UserPoolId"], ClientId=outputs["MachineClientId"]
    )["UserPoolClient"]
    basic = base64.b64encode(f"{client['ClientId']}:{client['ClientSecret']}".encode()).decode()
    request = urllib.request.Request(
        f"{aws.endpoint}/oauth2/token",
        urllib.parse.urlencode({"grant_type": "client_credentials", "scope": "orderflow/backend"}).encode(),
        {"Authorization": f"Basic {basic}", "Content-Type": "application/x-www-form-urlencoded"},
    )
    with urllib.request.urlopen(request, timeout=10) as answer:
        return str(json.load(answer)["access_token"])


class TestDeployed(PipelineTests):
    @classmethod
    def setUpClass(cls) -> None:
        directory = ROOT / ".local" / "test-deployed"
        aws = MiniStack(free_port(), directory, AUTH="true")
        cls.addClassCleanup(aws.stop)
        aws.start()
        deploy(aws, directory)
        outputs = aws.outputs(NAME)
        add_routes(aws, outputs)
        cls.pipeline = Pipeline(
            aws.endpoint,
            aws,
            outputs,
            # MiniStack tells its APIs apart by host name.
            {"Host": f"{outputs['ApiId']}.execute-api.127.0.0.1:{aws.port}", "Authorization": f"Bearer {token(aws, outputs)}"},
        )

    def test_nobody_gets_in_without_a_token(self) -> None:
        for authorization in ("", "Bearer nonsense"):
            status, _ = self.pipeline.call("cart.json", {}, Authorization=authorization)
            self.assertEqual(status, 401)

    def test_nothing_was_denied_to_a_function(self) -> None:
        """Over all that the other tests did; named to run after most of them, and true at any time."""
        logs = self.pipeline.aws.client("logs")
        for group in logs.describe_log_groups()["logGroups"]:
            events = logs.filter_log_events(logGroupName=group["logGroupName"])["events"]
            denied = [event["message"] for event in events if re.search("AccessDenied|not authorized", event["message"])]
            self.assertEqual(denied, [], group["logGroupName"])


# Only the subclass is to be run.
del PipelineTests

if __name__ == "__main__":
    unittest.main()
