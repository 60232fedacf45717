"""Rules of template.yaml that no linter knows, checked on what SAM makes of it: that is what CloudFormation gets.

Each rule yields what violates it. BREACHES breaks every rule once on purpose: a rule that cannot fail says nothing.
"""

from __future__ import annotations

import copy
import json
import logging
import os
import re
import unittest
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from samcli.yamlhelper import yaml_parse
from samtranslator.translator.transform import transform

SOURCE = Path(__file__).resolve().parents[2] / "template.yaml"

# The lease on a payment, in seconds (functions/payment): whoever holds it must be dead before another takes it over.
PAYMENT_LEASE = 90
# API Gateway gives up on an integration after 30 s.
API_TIMEOUT = 30
# The one route without a token.
OPEN_ROUTE = ("post", "/api/partner/{partner}/webhook")
RETENTION_14_DAYS = 14 * 24 * 3600

Template = dict[str, Any]
Rule = Callable[[Template], Iterator[str]]
RULES: dict[str, Rule] = {}


def rule(check: Rule) -> Rule:
    """Makes a generator of violations one of the rules."""
    RULES[check.__name__] = check
    return check


# ---------------------------------------------------------------- reading the expanded template


def expand() -> Template:
    """template.yaml after the SAM transform, offline. Conditions and intrinsic functions stay as they are."""
    # The translator only wants to know a region's partition; no call is made, and its usage metrics go nowhere.
    os.environ.setdefault("AWS_DEFAULT_REGION", "us-east-1")
    logging.getLogger("samtranslator.metrics").setLevel(logging.ERROR)
    source = yaml_parse(SOURCE.read_text())
    source["Globals"]["Function"]["CodeUri"] = "s3://bucket/code.zip"
    return json.loads(json.dumps(transform(source, {}, managed_policy_loader=None)))


def of_type(template: Template, kind: str) -> dict[str, dict[str, Any]]:
    """The resources of that type, by logical id."""
    return {name: resource for name, resource in template["Resources"].items() if resource["Type"] == kind}


def target(value: Any) -> str:
    """The logical id that a Ref or GetAtt points to; the text itself where it is no reference."""
    match value:
        case {"Ref": name}:
            return name
        case {"Fn::GetAtt": [name, *_]}:
            return name
        case _:
            return json.dumps(value)


def statements(template: Template) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each statement of each policy, with the logical id of its resource."""
    for name, resource in template["Resources"].items():
        properties = resource.get("Properties", {})
        documents = [policy["PolicyDocument"] for policy in properties.get("Policies", [])]
        documents += [properties["PolicyDocument"]] if "PolicyDocument" in properties else []
        for document in documents:
            for statement in document["Statement"]:
                yield name, statement


def listed(value: Any) -> list[Any]:
    """IAM takes one or many."""
    return value if isinstance(value, list) else [value]


def function_role(function: dict[str, Any]) -> str:
    return target(function["Properties"]["Role"])


def dead_letter_queues(template: Template) -> set[str]:
    """Where messages end that nobody could handle: of queues and of the relay's stream."""
    queues = {
        target(queue["Properties"]["RedrivePolicy"]["deadLetterTargetArn"])
        for queue in of_type(template, "AWS::SQS::Queue").values()
        if "RedrivePolicy" in queue["Properties"]
    }
    failures = {
        target(mapping["Properties"]["DestinationConfig"]["OnFailure"]["Destination"])
        for mapping in of_type(template, "AWS::Lambda::EventSourceMapping").values()
        if "DestinationConfig" in mapping["Properties"]
    }
    return queues | failures


def mappings(template: Template) -> Iterator[tuple[str, dict[str, Any], str, str]]:
    """Each event source mapping with the logical ids of its function and its source."""
    for name, mapping in of_type(template, "AWS::Lambda::EventSourceMapping").items():
        properties = mapping["Properties"]
        yield name, properties, target(properties["FunctionName"]), target(properties["EventSourceArn"])


# ---------------------------------------------------------------- queues


@rule
def every_queue_has_a_dead_letter_queue_after_five_receives_and_the_mails_after_ten(template: Template) -> Iterator[str]:
    """A mail that SES has no time for uses a receive up, though nothing is wrong with it."""
    ends = dead_letter_queues(template)
    for name, queue in of_type(template, "AWS::SQS::Queue").items():
        if name in ends:
            continue
        policy = queue["Properties"].get("RedrivePolicy")
        if not policy:
            yield f"{name} has none"
        elif policy["maxReceiveCount"] != (10 if name == "EmailQueue" else 5):
            yield f"{name} gives up after {policy['maxReceiveCount']}"


@rule
def no_two_queues_share_a_dead_letter_queue(template: Template) -> Iterator[str]:
    seen: set[str] = set()
    for name, queue in of_type(template, "AWS::SQS::Queue").items():
        end = target(queue["Properties"].get("RedrivePolicy", {}).get("deadLetterTargetArn", name))
        if end in seen:
            yield f"{name} shares {end}"
        seen.add(end)


@rule
def dead_letters_are_kept_for_14_days(template: Template) -> Iterator[str]:
    for name in dead_letter_queues(template):
        kept = template["Resources"][name]["Properties"].get("MessageRetentionPeriod")
        if kept != RETENTION_14_DAYS:
            yield f"{name} keeps them {kept} s"


@rule
def every_dead_letter_queue_raises_an_alarm(template: Template) -> Iterator[str]:
    watched = {
        target(dimension["Value"])
        for alarm in of_type(template, "AWS::CloudWatch::Alarm").values()
        for dimension in alarm["Properties"]["Dimensions"]
        if dimension["Name"] == "QueueName"
    }
    for name in dead_letter_queues(template) - watched:
        yield f"{name} fills unseen"


@rule
def what_is_overdue_or_fails_raises_an_alarm_however_rarely_it_is_looked_at(template: Template) -> Iterator[str]:
    """The sweep looks at one order or mail up to an hour apart, and counts it only then."""
    for metric in ("OrdersOverdue", "MailsOverdue", "SweepFailed"):
        alarms = [alarm["Properties"] for alarm in of_type(template, "AWS::CloudWatch::Alarm").values()]
        if not any(
            alarm["MetricName"] == metric
            and alarm.get("Statistic") == "Maximum"
            and alarm["Period"] >= 3600
            and alarm.get("DatapointsToAlarm", alarm["EvaluationPeriods"]) == 1
            for alarm in alarms
        ):
            yield f"no alarm on {metric}"


@rule
def a_sweep_that_does_not_run_raises_an_alarm(template: Template) -> Iterator[str]:
    """What is not there writes no metric, so that missing data is what has to raise the alarm."""
    alarms = [alarm["Properties"] for alarm in of_type(template, "AWS::CloudWatch::Alarm").values()]
    if not any(
        alarm["MetricName"] == "SweepFailed" and alarm.get("Statistic") == "SampleCount" and alarm["TreatMissingData"] == "breaching"
        for alarm in alarms
    ):
        yield "no alarm on a sweep that does not run"


@rule
def every_queue_is_encrypted(template: Template) -> Iterator[str]:
    for name, queue in of_type(template, "AWS::SQS::Queue").items():
        if queue["Properties"].get("SqsManagedSseEnabled") is not True:
            yield name


@rule
def a_message_stays_hidden_for_six_timeouts(template: Template) -> Iterator[str]:
    for name, _, function, source in mappings(template):
        queue = template["Resources"].get(source, {})
        if queue.get("Type") != "AWS::SQS::Queue":
            continue
        hidden = queue["Properties"].get("VisibilityTimeout", 30)
        timeout = template["Resources"][function]["Properties"]["Timeout"]
        if hidden < 6 * timeout:
            yield f"{name}: {source} hides for {hidden} s, {function} may take {timeout} s"


@rule
def every_mapping_reports_partial_failures(template: Template) -> Iterator[str]:
    for name, properties, *_ in mappings(template):
        if properties.get("FunctionResponseTypes") != ["ReportBatchItemFailures"]:
            yield name


@rule
def the_stream_is_retried_within_bounds(template: Template) -> Iterator[str]:
    for name, properties, *_ in mappings(template):
        if "StartingPosition" not in properties:
            continue
        if properties["StartingPosition"] != "TRIM_HORIZON":
            yield f"{name} skips what was there before it"
        if not 0 < properties.get("MaximumRetryAttempts", -1) <= 100:
            yield f"{name} retries without end"
        if not properties.get("BisectBatchOnFunctionError"):
            yield f"{name} lets one record hold up its batch"
        if "DestinationConfig" not in properties:
            yield f"{name} drops what it gave up on"
        if "FilterCriteria" not in properties:
            yield f"{name} is called for writes without an event"


# ---------------------------------------------------------------- tables


@rule
def tables_survive_mistakes(template: Template) -> Iterator[str]:
    for name, table in of_type(template, "AWS::DynamoDB::Table").items():
        properties = table["Properties"]
        if properties.get("BillingMode") != "PAY_PER_REQUEST":
            yield f"{name} is not on demand"
        if not properties.get("PointInTimeRecoverySpecification", {}).get("PointInTimeRecoveryEnabled"):
            yield f"{name} cannot be recovered"
        if not properties.get("SSESpecification", {}).get("SSEEnabled"):
            yield f"{name} is not encrypted with a key of the account"
        if properties.get("DeletionProtectionEnabled") is not True:
            yield f"{name} can be deleted"
        for policy in ("DeletionPolicy", "UpdateReplacePolicy"):
            if table.get(policy) != "Retain":
                yield f"{name} has no {policy} Retain"


# ---------------------------------------------------------------- API


@rule
def every_route_but_the_partners_asks_for_a_token(template: Template) -> Iterator[str]:
    """Partners cannot have our tokens; their one route is the webhook's, which checks signatures."""
    for name, api in of_type(template, "AWS::ApiGatewayV2::Api").items():
        body = api["Properties"]["Body"]
        schemes = body.get("components", {}).get("securitySchemes", {})
        jwt = {
            scheme
            for scheme, definition in schemes.items()
            if definition.get("x-amazon-apigateway-authorizer", {}).get("type") == "jwt"
        }
        for path, methods in body["paths"].items():
            for method, operation in methods.items():
                used = {scheme for requirement in operation.get("security", []) for scheme in requirement}
                is_open = not used or not used <= jwt
                if is_open != ((method, path) == OPEN_ROUTE):
                    yield f"{name}: {method} {path}"


@rule
def the_api_has_no_other_door(template: Template) -> Iterator[str]:
    for kind in ("AWS::Lambda::Url", "AWS::ApiGatewayV2::Route", "AWS::ApiGateway::RestApi"):
        yield from of_type(template, kind)


@rule
def the_api_is_throttled_and_logged(template: Template) -> Iterator[str]:
    for name, stage in of_type(template, "AWS::ApiGatewayV2::Stage").items():
        settings = stage["Properties"].get("DefaultRouteSettings", {})
        if not settings.get("ThrottlingRateLimit") or not settings.get("ThrottlingBurstLimit"):
            yield f"{name} is not throttled"
        if "AccessLogSettings" not in stage["Properties"]:
            yield f"{name} is not logged"


@rule
def endpoints_answer_before_api_gateway_gives_up(template: Template) -> Iterator[str]:
    for api in of_type(template, "AWS::ApiGatewayV2::Api").values():
        text = json.dumps(api["Properties"]["Body"])
        for name, function in of_type(template, "AWS::Lambda::Function").items():
            timeout = function["Properties"]["Timeout"]
            if f"${{{name}.Arn}}" in text and timeout >= API_TIMEOUT:
                yield f"{name} may take {timeout} s"


# ---------------------------------------------------------------- functions


@rule
def a_payment_ends_well_before_its_lease(template: Template) -> Iterator[str]:
    for name, function in of_type(template, "AWS::Lambda::Function").items():
        timeout = function["Properties"]["Timeout"]
        if "BILLING_PARTNER" in variables(function) and timeout * 2 > PAYMENT_LEASE:
            yield f"{name} may take {timeout} s"


@rule
def nothing_turns_authentication_off(template: Template) -> Iterator[str]:
    for name, function in of_type(template, "AWS::Lambda::Function").items():
        if "AUTHENTICATION" in variables(function):
            yield name


@rule
def no_charge_is_written_to_a_disk(template: Template) -> Iterator[str]:
    for name, function in of_type(template, "AWS::Lambda::Function").items():
        if "SANDBOX_LEDGER" in variables(function):
            yield name


@rule
def nothing_points_at_a_local_aws(template: Template) -> Iterator[str]:
    for name, function in of_type(template, "AWS::Lambda::Function").items():
        if any(variable.startswith(("AWS_", "MINISTACK_")) for variable in variables(function)):
            yield name


@rule
def every_function_has_a_role_of_its_own(template: Template) -> Iterator[str]:
    functions = of_type(template, "AWS::Lambda::Function")
    roles = [function_role(function) for function in functions.values()]
    for name, function in functions.items():
        if roles.count(function_role(function)) > 1:
            yield f"{name} shares {function_role(function)}"


@rule
def every_function_logs_json_into_a_group_of_its_own_that_ends(template: Template) -> Iterator[str]:
    functions = of_type(template, "AWS::Lambda::Function")
    groups = [target(function["Properties"].get("LoggingConfig", {}).get("LogGroup")) for function in functions.values()]
    for (name, function), group in zip(functions.items(), groups, strict=True):
        if groups.count(group) > 1 or group not in of_type(template, "AWS::Logs::LogGroup"):
            yield f"{name} writes into {group}"
        if function["Properties"].get("LoggingConfig", {}).get("LogFormat") != "JSON":
            yield f"{name} does not log JSON"
    for name, group in of_type(template, "AWS::Logs::LogGroup").items():
        if "RetentionInDays" not in group["Properties"]:
            yield f"{name} is kept for ever"


@rule
def every_function_raises_an_alarm_when_it_fails(template: Template) -> Iterator[str]:
    watched = {
        target(dimension["Value"])
        for alarm in of_type(template, "AWS::CloudWatch::Alarm").values()
        if alarm["Properties"]["MetricName"] == "Errors"
        for dimension in alarm["Properties"]["Dimensions"]
    }
    yield from of_type(template, "AWS::Lambda::Function").keys() - watched


# ---------------------------------------------------------------- rights


@rule
def no_action_has_a_wildcard(template: Template) -> Iterator[str]:
    for name, statement in statements(template):
        for action in listed(statement.get("Action", "*")):
            if "*" in action:
                yield f"{name}: {action}"


def only_the_sender_sends(statement: dict[str, Any]) -> bool:
    """In the sandbox SES asks for a right on the recipient's identity too, which may be any."""
    return (
        statement.get("Effect") == "Allow"
        and statement.get("Action") == ["ses:SendEmail"]
        and statement.get("Condition") == {"StringEquals": {"ses:FromAddress": {"Ref": "SenderEmail"}}}
    )


IDENTITIES = {"Fn::Sub": "arn:${AWS::Partition}:ses:${AWS::Region}:${AWS::AccountId}:identity/*"}


@rule
def a_mail_is_sent_by_the_sender_alone(template: Template) -> Iterator[str]:
    for name, statement in statements(template):
        if any(action.startswith("ses:") for action in listed(statement.get("Action"))) and not only_the_sender_sends(statement):
            yield f"{name}: {json.dumps(statement)}"


@rule
def the_workers_share_the_rate_of_mails_and_end_a_batch_in_time(template: Template) -> Iterator[str]:
    """A batch's last mail begins when the others have had their turns, and 18 s are kept for it (functions/email/src/pace.rs)."""
    rates = template["Mappings"]["MailRates"]
    if rates.keys() != set(template["Parameters"]["MailsPerSecond"]["AllowedValues"]):
        yield "a rate without workers, or workers without a rate"
    for _, mapping, function, source in mappings(template):
        if source != "EmailQueue":
            continue
        worker = template["Resources"][function]["Properties"]
        shared = mapping["ScalingConfig"]["MaximumConcurrency"]
        known = variables(template["Resources"][function]).get("MAIL_WORKERS")
        if known != {"Fn::Sub": ["${Workers}", {"Workers": shared}]} or "Fn::FindInMap" not in json.dumps(shared):
            yield "as many workers as share the rate"
        for rate, found in rates.items():
            workers = int(found["Workers"])
            if workers < 2:
                yield f"{rate}: AWS takes at least two"
            if (mapping["BatchSize"] - 1) * workers / int(rate) > worker["Timeout"] - 18:
                yield f"{rate}: a batch does not end in time"


@rule
def the_senders_identity_is_made_only_if_asked_for_and_stays(template: Template) -> Iterator[str]:
    for name, identity in of_type(template, "AWS::SES::EmailIdentity").items():
        if identity.get("Condition") != "CreatesSenderIdentity":
            yield f"{name} is always made"
        if identity.get("DeletionPolicy") != "RetainExceptOnCreate" or identity.get("UpdateReplacePolicy") != "Retain":
            yield f"{name} goes with the stack"


@rule
def bounces_and_complaints_arrive(template: Template) -> Iterator[str]:
    destinations = [each["Properties"] for each in of_type(template, "AWS::SES::ConfigurationSetEventDestination").values()]
    subscriptions = [each["Properties"] for each in of_type(template, "AWS::SNS::Subscription").values()]
    read = {source for _, _, function, source in mappings(template) if function == "EmailWorker"}
    arrives = any(
        {"bounce", "complaint"} <= set(destination["EventDestination"]["MatchingEventTypes"])
        and destination["EventDestination"]["Enabled"]
        and target(destination["EventDestination"]["SnsDestination"]["TopicARN"]) == target(subscription["TopicArn"])
        and subscription.get("RawMessageDelivery") is True
        and target(subscription["Endpoint"]) in read
        for destination in destinations
        for subscription in subscriptions
    )
    if not arrives:
        yield "SES tells nobody"
    sets = {target(destination["ConfigurationSetName"]) for destination in destinations}
    for name, function in of_type(template, "AWS::Lambda::Function").items():
        if "MAILS_PER_SECOND" in variables(function) and target(variables(function).get("MAIL_CONFIGURATION")) not in sets:
            yield f"{name} sends without it"


@rule
def no_resource_has_a_wildcard_but_tracing(template: Template) -> Iterator[str]:
    tracing = ["xray:PutTelemetryRecords", "xray:PutTraceSegments"]
    for name, statement in statements(template):
        if sorted(listed(statement.get("Action"))) == tracing and statement["Resource"] == "*":
            continue
        for resource in listed(statement.get("Resource", "*")):
            if resource == IDENTITIES and only_the_sender_sends(statement):
                continue
            if "*" in json.dumps(resource):
                yield f"{name}: {json.dumps(resource)}"


@rule
def nothing_may_delete_or_scan(template: Template) -> Iterator[str]:
    for name, statement in statements(template):
        for action in listed(statement.get("Action", "*")):
            if re.match(r"dynamodb:(.*Delete|BatchWrite|Scan|PartiQL)", action):
                yield f"{name}: {action}"


@rule
def roles_are_written_out(template: Template) -> Iterator[str]:
    own = of_type(template, "AWS::IAM::ManagedPolicy")
    for name, role in of_type(template, "AWS::IAM::Role").items():
        for policy in role["Properties"].get("ManagedPolicyArns", []):
            if target(policy) not in own:
                yield f"{name}: {json.dumps(policy)}"


@rule
def a_table_or_queue_that_a_function_knows_is_one_that_it_may_use(template: Template) -> Iterator[str]:
    """And the other way round: an unused right or an unusable variable is a mistake in one of the two."""
    rights: dict[str, set[str]] = {}
    for role, statement in statements(template):
        for resource in listed(statement.get("Resource")):
            rights.setdefault(role, set()).update(re.findall(r"\b\w+(?:Table|Queue)\b", json.dumps(resource)))
    consumed = {(function, source) for _, _, function, source in mappings(template)}
    for name, function in of_type(template, "AWS::Lambda::Function").items():
        known = {
            target(value)
            for variable, value in variables(function).items()
            if variable.endswith(("_TABLE", "_QUEUE_URL"))
        }
        may = rights.get(function_role(function), set())
        own = {source for consumer, source in consumed if consumer == name}
        for resource in known ^ (may - own):
            yield f"{name} and {resource}"


@rule
def a_secret_is_read_by_the_functions_that_know_it_and_nobody_else(template: Template) -> Iterator[str]:
    """A function knows a secret by its address in a variable; it exists only where its partner was chosen."""
    secrets = of_type(template, "AWS::SecretsManager::Secret")
    readers: dict[str, set[str]] = {secret: set() for secret in secrets}
    for name, statement in statements(template):
        if not any("secretsmanager" in action for action in listed(statement["Action"])):
            continue
        secret = target(statement["Resource"])
        if statement["Action"] != ["secretsmanager:GetSecretValue"] or secret not in secrets:
            yield f"{name}: {json.dumps(statement)}"
            continue
        policy = template["Resources"][name]
        if policy.get("Condition") != secrets[secret].get("Condition"):
            yield f"{name} and {secret} have different conditions"
        roles = policy["Properties"].get("Roles")
        readers[secret].update(target(role) for role in roles) if roles else readers[secret].add(name)
    for secret, resource in secrets.items():
        if "Condition" not in resource:
            yield f"{secret} always exists"
        knows = {
            function_role(function)
            for function in of_type(template, "AWS::Lambda::Function").values()
            if any(f'"Ref": "{secret}"' in json.dumps(value) for value in variables(function).values())
        }
        for role in knows ^ readers[secret]:
            yield f"{role} and {secret}"
    for name, function in of_type(template, "AWS::Lambda::Function").items():
        if {"PARTNER_SECRET", "CARRIER_SECRET"} & variables(function).keys():
            yield f"{name} shows its secret"


def variables(function: dict[str, Any]) -> dict[str, Any]:
    return function["Properties"].get("Environment", {}).get("Variables", {})


# ---------------------------------------------------------------- the tests

MAIL_STATEMENT = "Properties.Policies.0.PolicyDocument.Statement.1"
ROLE = "Properties.Policies.0.PolicyDocument.Statement.0"
BREACHES: dict[str, list[tuple[str, Any]]] = {
    "every_queue_has_a_dead_letter_queue_after_five_receives_and_the_mails_after_ten": [
        ("EmailQueue.Properties.RedrivePolicy.maxReceiveCount", 5),
        ("BillingQueue.Properties.RedrivePolicy", None),
        ("BillingQueue.Properties.RedrivePolicy.maxReceiveCount", 3),
    ],
    "no_two_queues_share_a_dead_letter_queue": [
        ("BillingQueue.Properties.RedrivePolicy.deadLetterTargetArn", {"Fn::GetAtt": ["EmailDeadLetters", "Arn"]}),
    ],
    "dead_letters_are_kept_for_14_days": [
        ("EmailDeadLetters.Properties.MessageRetentionPeriod", None),
        ("RelayFailures.Properties.MessageRetentionPeriod", 345600),
    ],
    "every_dead_letter_queue_raises_an_alarm": [("PaymentDeadLettersAlarm", None), ("RelayFailuresAlarm", None)],
    "what_is_overdue_or_fails_raises_an_alarm_however_rarely_it_is_looked_at": [
        ("OrdersOverdueAlarm", None),
        ("MailsOverdueAlarm", None),
        ("MailsOverdueAlarm.Properties.Period", 60),
        ("OrdersOverdueAlarm.Properties.Period", 60),
        ("OrdersOverdueAlarm.Properties.EvaluationPeriods", 5),
        ("SweepFailedAlarm", None),
        ("SweepFailedAlarm.Properties.Period", 60),
    ],
    "a_sweep_that_does_not_run_raises_an_alarm": [
        ("SweepStoppedAlarm", None),
        ("SweepStoppedAlarm.Properties.TreatMissingData", "notBreaching"),
    ],
    "every_queue_is_encrypted": [("PaymentQueue.Properties.SqsManagedSseEnabled", False)],
    "a_message_stays_hidden_for_six_timeouts": [
        ("PaymentQueue.Properties.VisibilityTimeout", None),
        ("EmailWorker.Properties.Timeout", 61),
    ],
    "every_mapping_reports_partial_failures": [
        ("ShippingWorkerQueue.Properties.FunctionResponseTypes", None),
        ("RelayOrders.Properties.FunctionResponseTypes", None),
    ],
    "the_stream_is_retried_within_bounds": [
        ("RelayOrders.Properties.StartingPosition", "LATEST"),
        ("RelayOrders.Properties.MaximumRetryAttempts", None),
        ("RelayOrders.Properties.BisectBatchOnFunctionError", False),
        ("RelayOrders.Properties.DestinationConfig", None),
        ("RelayOrders.Properties.FilterCriteria", None),
    ],
    "tables_survive_mistakes": [
        ("OrdersTable.Properties.BillingMode", "PROVISIONED"),
        ("OrdersTable.Properties.PointInTimeRecoverySpecification", None),
        ("InvoicesTable.Properties.SSESpecification.SSEEnabled", False),
        ("EmailsTable.Properties.DeletionProtectionEnabled", None),
        ("IdempotencyTable.DeletionPolicy", None),
        ("OrdersTable.UpdateReplacePolicy", "Delete"),
    ],
    "every_route_but_the_partners_asks_for_a_token": [
        ("Api.Properties.Body.paths./api/partner/{partner}/webhook.get", {"security": [{"NONE": []}]}),
        ("Api.Properties.Body.paths./api/partner/{partner}/webhook.x-amazon-apigateway-any-method", {}),
        ("Api.Properties.Body.paths./api/partner/{partner}/other", {"post": {"security": [{"NONE": []}]}}),
        ("Api.Properties.Body.paths./api/partner/{partner}/webhook.post.security", [{"Tokens": []}]),
        ("Api.Properties.Body.paths./api/order/cart~json.post.security", None),
        ("Api.Properties.Body.paths./api/order/cart~json.post.security", [{"NONE": []}]),
    ],
    "the_api_has_no_other_door": [("Door", {"Type": "AWS::Lambda::Url", "Properties": {}})],
    "the_api_is_throttled_and_logged": [
        ("ApiApiGatewayDefaultStage.Properties.DefaultRouteSettings", None),
        ("ApiApiGatewayDefaultStage.Properties.AccessLogSettings", None),
    ],
    "endpoints_answer_before_api_gateway_gives_up": [("EmailFunction.Properties.Timeout", 30)],
    "a_payment_ends_well_before_its_lease": [("PaymentWorker.Properties.Timeout", 60)],
    "nothing_turns_authentication_off": [("CartFunction.Properties.Environment.Variables.AUTHENTICATION", "none")],
    "no_charge_is_written_to_a_disk": [("PaymentWorker.Properties.Environment.Variables.SANDBOX_LEDGER", "/tmp")],
    "nothing_points_at_a_local_aws": [
        ("CartFunction.Properties.Environment.Variables.AWS_ENDPOINT_URL", "http://127.0.0.1:4566"),
    ],
    "every_function_has_a_role_of_its_own": [
        ("OrderFunction.Properties.Role", {"Fn::GetAtt": ["CartFunctionRole", "Arn"]}),
    ],
    "every_function_logs_json_into_a_group_of_its_own_that_ends": [
        ("Relay.Properties.LoggingConfig.LogGroup", {"Ref": "SweepLogs"}),
        ("Relay.Properties.LoggingConfig.LogFormat", "Text"),
        ("Relay.Properties.LoggingConfig", None),
        ("ApiLogs.Properties.RetentionInDays", None),
    ],
    "every_function_raises_an_alarm_when_it_fails": [("SweepErrors", None)],
    "no_action_has_a_wildcard": [
        (f"CartFunctionRole.{ROLE}.Action", "dynamodb:*"),
        (f"CartFunctionRole.{ROLE}.Action.0", "dynamodb:Put*"),
        (f"CartFunctionRole.{ROLE}.Action", None),
    ],
    "a_mail_is_sent_by_the_sender_alone": [
        (f"EmailWorkerRole.{MAIL_STATEMENT}.Condition", None),
        (f"EmailWorkerRole.{MAIL_STATEMENT}.Condition.StringEquals", {"ses:FromAddress": "*"}),
        ("EmailFunctionRole.Properties.Policies.0.PolicyDocument.Statement.3.Action", ["ses:SendEmail", "ses:SendBulkEmail"]),
    ],
    "the_workers_share_the_rate_of_mails_and_end_a_batch_in_time": [
        ("EmailWorkerQueue.Properties.ScalingConfig.MaximumConcurrency", 5),
        ("EmailWorkerQueue.Properties.BatchSize", 100),
        ("EmailWorker.Properties.Timeout", 20),
        ("EmailWorker.Properties.Environment.Variables.MAIL_WORKERS", None),
    ],
    "the_senders_identity_is_made_only_if_asked_for_and_stays": [
        ("SenderIdentity.Condition", None),
        ("SenderIdentity.DeletionPolicy", None),
        ("SenderIdentity.UpdateReplacePolicy", "Delete"),
    ],
    "bounces_and_complaints_arrive": [
        ("MailFeedback.Properties.EventDestination.MatchingEventTypes", ["bounce"]),
        ("EmailFeedbackSubscription.Properties.RawMessageDelivery", None),
        ("EmailWorkerFeedback", None),
        ("EmailFunction.Properties.Environment.Variables.MAIL_CONFIGURATION", None),
    ],
    "no_resource_has_a_wildcard_but_tracing": [
        (f"EmailWorkerRole.{MAIL_STATEMENT}.Condition", None),
        (f"CartFunctionRole.{ROLE}.Resource", "*"),
        (f"CartFunctionRole.{ROLE}.Resource", {"Fn::Sub": "${OrdersTable.Arn}/*"}),
        ("TracingPolicy.Properties.PolicyDocument.Statement.0.Action", ["ses:SendEmail"]),
    ],
    "nothing_may_delete_or_scan": [
        (f"CartFunctionRole.{ROLE}.Action.0", "dynamodb:DeleteItem"),
        (f"CartFunctionRole.{ROLE}.Action.0", "dynamodb:Scan"),
        (f"CartFunctionRole.{ROLE}.Action.0", "dynamodb:BatchWriteItem"),
    ],
    "roles_are_written_out": [
        ("SweepRole.Properties.ManagedPolicyArns.0", "arn:aws:iam::aws:policy/AmazonDynamoDBFullAccess"),
    ],
    "a_table_or_queue_that_a_function_knows_is_one_that_it_may_use": [
        (f"OrderFunctionRole.{ROLE}.Resource", {"Fn::GetAtt": ["InvoicesTable", "Arn"]}),
        ("Sweep.Properties.Environment.Variables.EMAIL_QUEUE_URL", None),
        ("ShippingFunction.Properties.Environment.Variables.EMAILS_TABLE", None),
    ],
    "a_secret_is_read_by_the_functions_that_know_it_and_nobody_else": [
        ("ShippingWorker.Properties.Environment.Variables.CARRIER_SECRET_ARN", None),
        ("EmailWorker.Properties.Environment.Variables.KEY", {"Ref": "CarrierSecret"}),
        ("CarrierSecretPolicy.Properties.Roles.0", {"Ref": "CartFunctionRole"}),
        ("CarrierSecretPolicy.Properties.PolicyDocument.Statement.0.Resource", "*"),
        ("CarrierSecretPolicy.Properties.PolicyDocument.Statement.0.Action", ["secretsmanager:PutSecretValue"]),
        ("CarrierSecretPolicy.Properties.Roles", [{"Ref": "ShippingFunctionRole"}, {"Ref": "ShippingWorkerRole"}]),
        ("WebhookFunction.Properties.Environment.Variables.PARTNER_SECRET_ARN", None),
        ("CarrierSecretPolicy.Condition", None),
        ("CarrierSecret.Condition", None),
        ("PartnerSecretPolicy.Properties.PolicyDocument.Statement.0.Action", ["secretsmanager:PutSecretValue"]),
        ("PartnerSecretPolicy.Properties.PolicyDocument.Statement.0.Resource", {"Ref": "OtherSecret"}),
        ("PartnerSecretPolicy.Properties.Roles", [{"Ref": "PaymentFunctionRole"}]),
        ("PartnerSecretPolicy.Properties.Roles.0", {"Ref": "CartFunctionRole"}),
        ("CartFunction.Properties.Environment.Variables.PARTNER_SECRET_ARN", {"Ref": "PartnerSecret"}),
        ("PaymentFunction.Properties.Environment.Variables.PARTNER_SECRET", "sk_test_1"),
    ],
}


def broken(template: Template, path: str, value: Any) -> Template:
    """A copy with that value at that path below Resources (~ stands for a dot), or without it where the value is None."""
    mutant = copy.deepcopy(template)
    *way, last = [int(step) if step.isdigit() else step.replace("~", ".") for step in path.split(".")]
    place: Any = mutant["Resources"]
    for step in way:
        place = place[step]
    if value is None:
        del place[last]
    else:
        place[last] = value
    return mutant


class TheTemplate(unittest.TestCase):
    def test_keeps_every_rule(self) -> None:
        template = expand()
        for name, check in RULES.items():
            with self.subTest(name):
                self.assertEqual(list(check(template)), [])

    def test_every_rule_can_fail(self) -> None:
        template = expand()
        self.assertEqual(BREACHES.keys(), RULES.keys())
        for name, breaches in BREACHES.items():
            for path, value in breaches:
                with self.subTest(name, path=path, value=value):
                    self.assertNotEqual(list(RULES[name](broken(template, path, value))), [])

    def test_has_a_function_for_each_endpoint_and_each_queue(self) -> None:
        template = expand()
        [api] = of_type(template, "AWS::ApiGatewayV2::Api").values()
        routes = {f"{method.upper()} {path}" for path, methods in api["Properties"]["Body"]["paths"].items() for method in methods}
        self.assertEqual(
            routes,
            {
                "POST /api/order/cart.json",
                "POST /api/order/invoice.json",
                "POST /api/order/cancel.json",
                "POST /api/order/payment.json",
                "POST /api/order/shipping.json",
                "POST /api/order/email.json",
                "GET /api/order/{orderId}",
                "POST /api/customer/billing.json",
                "GET /api/customer/{customerId}/billing",
                "DELETE /api/customer/{customerId}/billing",
                "POST /api/partner/{partner}/webhook",
            },
        )
        self.assertEqual(
            {(function, source) for _, _, function, source in mappings(template)},
            {
                ("BillingWorker", "BillingQueue"),
                ("PaymentWorker", "PaymentQueue"),
                ("ShippingWorker", "ShippingQueue"),
                ("EmailWorker", "EmailQueue"),
                ("EmailWorker", "EmailFeedbackQueue"),
                ("Relay", "OrdersTable"),
            },
        )


if __name__ == "__main__":
    unittest.main()
