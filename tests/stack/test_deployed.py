"""The pipeline as in the cloud: `sam build` and `sam deploy` of template.yaml onto MiniStack, called through API Gateway.

MiniStack checks every call against the role of the function that makes it (AUTH=true), so a right that the template
forgot fails here.
"""

from __future__ import annotations

import base64
import json
import platform
import subprocess
import unittest
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import ClassVar

from alike import AlikeTests
from pipeline import Pipeline, PipelineTests, physical_id

# From local/, which pipeline made importable.
from localaws import REGION, MiniStack, environment
from processes import free_port
from stack import NAME, ROOT, source_template

ARCHITECTURE = "arm64" if platform.machine() in ("arm64", "aarch64") else "x86_64"
# The release profile without its optimizations: the same code in a quarter of the time, and speed is not what is tested here.
QUICK_BUILD = {
    "CARGO_PROFILE_RELEASE_OPT_LEVEL": "0",
    "CARGO_PROFILE_RELEASE_LTO": "off",
    "CARGO_PROFILE_RELEASE_CODEGEN_UNITS": "16",
}


def sam(port: int, *arguments: str) -> None:
    """Runs SAM against the MiniStack on that port; its output is shown only if it fails."""
    done = subprocess.run(
        ["sam", *arguments],
        cwd=ROOT,
        env=environment(port) | QUICK_BUILD,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode:
        raise AssertionError(f"sam {arguments[0]} failed:\n{done.stdout}")


def deploy(aws: MiniStack, directory: Path) -> None:
    """What README says for the cloud, with this machine's architecture."""
    build = directory / "build"
    print("sam build and sam deploy; the first time takes minutes …", flush=True)
    sam(aws.port, "build", "--build-dir", str(build), "--parameter-overrides", f"Architecture={ARCHITECTURE}")
    sam(
        aws.port,
        "deploy",
        "--template-file",
        str(build / "template.yaml"),
        # SAM looks for it beside the template.
        "--config-file",
        str(ROOT / "samconfig.toml"),
        "--no-confirm-changeset",
        "--no-progressbar",
        "--parameter-overrides",
        f"Architecture={ARCHITECTURE}",
        "Stage=test",
        "SenderEmail=orders@example.com",
        "CreateSenderIdentity=yes",
        "MailsPerSecond=200",
    )
    aws.mend_mappings()


def widen_roles(aws: MiniStack) -> None:
    """Adds the two rights that MiniStack asks for and AWS does not.

    In AWS, sqs:SendMessage is the right to SendMessageBatch too and no action of that name exists; and ses:SendEmail is
    checked against identities and by the sender's address, where MiniStack checks it against no resource and knows no
    ses:FromAddress.
    """
    iam = aws.client("iam")
    for role in iam.list_roles()["Roles"]:
        for name in iam.list_role_policies(RoleName=role["RoleName"])["PolicyNames"]:
            document = iam.get_role_policy(RoleName=role["RoleName"], PolicyName=name)["PolicyDocument"]
            for statement in document["Statement"]:
                if statement["Action"] == ["sqs:SendMessage"]:
                    statement["Action"].append("sqs:SendMessageBatch")
                if statement["Action"] == ["ses:SendEmail"]:
                    statement["Resource"] = "*"
                    del statement["Condition"]
            iam.put_role_policy(RoleName=role["RoleName"], PolicyName=name, PolicyDocument=json.dumps(document))


def add_routes(aws: MiniStack, outputs: dict[str, str]) -> None:
    """Gives the API the routes of template.yaml: MiniStack makes none from the OpenAPI body in which SAM puts them."""
    gateway = aws.client("apigatewayv2")
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
        # The sandbox sends no webhooks, so that the open route and its function are not there.
        if "Condition" in resource:
            continue
        for event in resource.get("Properties", {}).get("Events", {}).values():
            if event["Type"] != "HttpApi":
                continue
            arn = aws.client("lambda").get_function_configuration(FunctionName=physical_id(aws, name))["FunctionArn"]
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


class TestDeployed(PipelineTests, AlikeTests):
    # MiniStack refuses preflights itself.
    gateway: ClassVar = {"OPTIONS": "403"}

    @classmethod
    def setUpClass(cls) -> None:
        directory = ROOT / ".local" / "test-deployed"
        aws = MiniStack(free_port(), directory, AUTH="true")
        cls.addClassCleanup(aws.stop)
        aws.start()
        deploy(aws, directory)
        widen_roles(aws)
        outputs = aws.outputs(NAME)
        add_routes(aws, outputs)
        cls.pipeline = Pipeline(
            aws.endpoint,
            aws,
            outputs,
            # MiniStack tells its APIs apart by host name.
            {"Host": f"{outputs['ApiId']}.execute-api.localhost:{aws.port}", "Authorization": f"Bearer {token(aws, outputs)}"},
        )

    def test_nobody_gets_in_without_a_token(self) -> None:
        for authorization in ("", "Bearer nonsense"):
            status, _ = self.pipeline.call("cart.json", {}, Authorization=authorization)
            self.assertEqual(status, 401)

    def test_the_sweep_may_do_what_it_does(self) -> None:
        self.assertEqual(self.pipeline.sweep()["failed"], 0)

    def tearDown(self) -> None:
        """A right that is missing may hide behind a retry; the logs have it."""
        logs = self.pipeline.aws.client("logs")
        for group in logs.describe_log_groups()["logGroups"]:
            events = logs.filter_log_events(logGroupName=group["logGroupName"], filterPattern="AccessDenied")["events"]
            self.assertEqual([event["message"] for event in events[:3]], [], group["logGroupName"])


# Only the subclass is to be run.
del AlikeTests, PipelineTests

if __name__ == "__main__":
    unittest.main()
