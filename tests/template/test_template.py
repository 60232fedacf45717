"""Rules of template.yaml that no linter knows, checked on what SAM makes of it: that is what CloudFormation gets.

Each rule yields what violates it. BREACHES breaks every rule once on purpose: a rule that cannot fail says nothing.
"""

from __future__ import annotations

import copy
import json
import logging
import os
import re
import sys
import tomllib
import unittest
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from samcli.yamlhelper import yaml_parse
from samtranslator.translator.transform import transform

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "template.yaml"
sys.path.insert(0, str(ROOT / "local"))

from loops import unrolled  # noqa: E402  (the path above makes it importable)

# The lease on a payment, in seconds (functions/payment): whoever holds it must be dead before another takes it over.
PAYMENT_LEASE = 90
# API Gateway gives up on an integration after 30 s.
API_TIMEOUT = 30
# The routes without a token: the partners', and the one that says nothing but that the API answers.
OPEN_ROUTE = ("post", "/api/partner/{partner}/webhook")
HEALTH_ROUTE = ("get", "/api/health")
# What it exists under: a partner or a carrier that sends webhooks.
OPEN_CONDITION = "TakesWebhooks"
# The translator puts parameters in where it resolves them: here it resolves this one.
ORIGINS = "https://shop.example,http://localhost:3000"
RETENTION_14_DAYS = 14 * 24 * 3600
# "Lambda quotas": a new account may have as few as 10 concurrent executions.
YOUNG_ACCOUNT = 10
# Stages whose customers believe that they pay.
PRODUCTION = ("prod", "production", "live")
# "Amazon Cognito in AWS GovCloud (US)": user pool domains end in auth-fips.<region>.amazoncognito.com there.
TOKEN_HOSTS = {"aws": "auth", "aws-us-gov": "auth-fips"}
# "Regions" of the Amazon Web Services in China documentation; SES is in none of them.
CHINA = ("cn-north-1", "cn-northwest-1")
# Service principals, which have one name in every partition.
ONE_IN_ALL_PARTITIONS = {f"{service}.amazonaws.com" for service in ("apigateway", "events", "lambda", "ses", "sns")}

Template = dict[str, Any]
Rule = Callable[[Template], Iterator[str]]
RULES: dict[str, Rule] = {}


def rule(check: Rule) -> Rule:
    """Makes a generator of violations one of the rules."""
    RULES[check.__name__] = check
    return check


# ---------------------------------------------------------------- reading the expanded template


def expand() -> Template:
    """template.yaml after its transforms, offline. Conditions and intrinsic functions stay as they are."""
    # The translator only wants to know a region's partition; no call is made, and its usage metrics go nowhere.
    os.environ.setdefault("AWS_DEFAULT_REGION", "us-east-1")
    logging.getLogger("samtranslator.metrics").setLevel(logging.ERROR)
    source = unrolled(yaml_parse(SOURCE.read_text()))
    source["Globals"]["Function"]["CodeUri"] = "s3://bucket/code.zip"
    expanded: Template = json.loads(json.dumps(transform(source, {"AllowedOrigins": ORIGINS}, managed_policy_loader=None)))
    return expanded


def routes() -> set[str]:
    """The one list of routes, as API Gateway names them."""
    [source] = ROOT.glob("shared/**/route.rs")
    return set(re.findall(r'Self::\w+ => "([A-Z]+ /\S+)"', source.read_text()))


def of_type(template: Template, kind: str) -> dict[str, dict[str, Any]]:
    """The resources of that type, by logical id."""
    return {name: resource for name, resource in template["Resources"].items() if resource["Type"] == kind}


def target(value: Any) -> str:
    """The logical id that a Ref or GetAtt points to; the text itself where it is no reference."""
    match value:
        case {"Ref": str(name)}:
            return name
        case {"Fn::GetAtt": [str(name), *_]}:
            return name
        case _:
            return json.dumps(value)


def chosen(value: Any) -> Any:
    """What is there if its condition holds."""
    match value:
        case {"Fn::If": [_, there, _]}:
            return chosen(there)
        case _:
            return value


def condition(value: Any) -> str | None:
    """The condition without which it is not there; None where it always is."""
    match value:
        case {"Fn::If": [str(name), _, {"Ref": "AWS::NoValue"}]}:
            return name
        case _:
            return None


def operations(template: Template) -> Iterator[tuple[str, str, str, Any]]:
    """Each operation of each API, by the API's logical id, its path and its method."""
    for name, api in of_type(template, "AWS::ApiGatewayV2::Api").items():
        for path, methods in api["Properties"]["Body"]["paths"].items():
            for method, operation in chosen(methods).items():
                yield name, path, method, chosen(operation)


def statements(template: Template) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each statement of each policy, with the logical id of its resource."""
    for name, resource in template["Resources"].items():
        properties = resource.get("Properties", {})
        documents = [chosen(policy)["PolicyDocument"] for policy in properties.get("Policies", [])]
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


def alarms_on(template: Template, namespace: str, metric: str) -> Iterator[tuple[dict[str, Any], dict[str, str]]]:
    """The properties of each alarm on that metric, with what its dimensions point to."""
    for alarm in of_type(template, "AWS::CloudWatch::Alarm").values():
        properties = alarm["Properties"]
        if (properties.get("Namespace"), properties.get("MetricName")) == (namespace, metric):
            dimensions = properties.get("Dimensions", [])
            yield properties, {dimension["Name"]: target(dimension["Value"]) for dimension in dimensions}


def refusals(template: Template, region: str = "eu-west-1", **given: str) -> list[str]:
    """What CloudFormation says to these parameters before it touches a resource ("Rule functions")."""
    defaults = {name: str(parameter.get("Default", "")) for name, parameter in template["Parameters"].items()}
    values = defaults | given | {"AWS::Region": region}

    def holds(expression: Any) -> Any:
        match expression:
            case {"Ref": name}:
                return values[name]
            case {"Fn::Equals": [left, right]}:
                return holds(left) == holds(right)
            case {"Fn::Contains": [members, value]}:
                return holds(value) in members
            case {"Fn::Not": [inner]}:
                return not holds(inner)
            case {"Fn::And": several}:
                return all(holds(each) for each in several)
            case {"Fn::Or": several}:
                return any(holds(each) for each in several)
            case str():
                return expression
        raise AssertionError(f"no rule function: {expression}")

    return [
        assertion["AssertDescription"]
        for each in template["Rules"].values()
        if "RuleCondition" not in each or holds(each["RuleCondition"])
        for assertion in each["Assertions"]
        if not holds(assertion["Assert"])
    ]


def default(template: Template, value: Any) -> Any:
    """The value, or the default of the parameter that it refers to."""
    return template["Parameters"][value["Ref"]]["Default"] if isinstance(value, dict) and "Ref" in value else value


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
        if alarm["Properties"]["MetricName"] == "ApproximateNumberOfMessagesVisible"
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
        alarm["MetricName"] == "SweepFailed"
        and alarm.get("Statistic") == "SampleCount"
        and alarm["TreatMissingData"] == "breaching"
        for alarm in alarms
    ):
        yield "no alarm on a sweep that does not run"


@rule
def a_queue_that_is_not_worked_off_raises_an_alarm(template: Template) -> Iterator[str]:
    ends = dead_letter_queues(template)
    watched = {
        dimensions.get("QueueName")
        for alarm, dimensions in alarms_on(template, "AWS/SQS", "ApproximateAgeOfOldestMessage")
        if alarm["Statistic"] == "Maximum" and alarm["Threshold"] <= 3600
    }
    for name in of_type(template, "AWS::SQS::Queue").keys() - ends - watched:
        yield f"{name} grows old unseen"


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


@rule
def what_holds_data_outlives_its_stack_but_not_a_first_deployment_that_fails(template: Template) -> Iterator[str]:
    """`Retain` keeps what a failed first deployment has made ("DeletionPolicy attribute"), and what is protected cannot
    be rolled back: its name, or the account's limit, is then in the way of the next attempt."""
    protected = {
        "AWS::DynamoDB::Table": ("DeletionProtectionEnabled", True, False),
        "AWS::Cognito::UserPool": ("DeletionProtection", "ACTIVE", "INACTIVE"),
    }
    if template["Conditions"].get("IsProtected") != {"Fn::Equals": [{"Ref": "DeletionProtection"}, "yes"]}:
        yield "no parameter protects"
    if template["Parameters"]["DeletionProtection"]["Default"] != "no":
        yield "a first deployment that fails cannot be rolled back"
    for kind, (switch, on, off) in protected.items():
        for name, resource in of_type(template, kind).items():
            if resource["Properties"].get(switch) != {"Fn::If": ["IsProtected", on, off]}:
                yield f"{name} is not protected by the parameter"
            if resource.get("DeletionPolicy") != "RetainExceptOnCreate":
                yield f"{name} goes with its stack, or stays after a failure"
            if resource.get("UpdateReplacePolicy") != "Retain":
                yield f"{name} goes when it is replaced"


@rule
def a_table_or_index_that_is_throttled_raises_an_alarm(template: Template) -> Iterator[str]:
    """What an index refuses is not counted at its table ("DynamoDB Metrics and dimensions": `WriteThrottleEvents`)."""
    for metric in ("ReadThrottleEvents", "WriteThrottleEvents"):
        watched = [dimensions for _, dimensions in alarms_on(template, "AWS/DynamoDB", metric)]
        for name, table in of_type(template, "AWS::DynamoDB::Table").items():
            indexes = [index["IndexName"] for index in table["Properties"].get("GlobalSecondaryIndexes", [])]
            wanted = [{"TableName": name}]
            wanted += [{"TableName": name, "GlobalSecondaryIndexName": json.dumps(index)} for index in indexes]
            for dimensions in wanted:
                if dimensions not in watched:
                    yield f"{metric} of {dimensions}"


# ---------------------------------------------------------------- API


@rule
def every_route_but_the_partners_and_the_health_asks_for_a_token(template: Template) -> Iterator[str]:
    """Partners cannot have our tokens; their one route is the webhook's, which checks signatures."""
    for name, path, method, operation in operations(template):
        schemes = template["Resources"][name]["Properties"]["Body"].get("components", {}).get("securitySchemes", {})
        jwt = {
            scheme
            for scheme, definition in schemes.items()
            if definition.get("x-amazon-apigateway-authorizer", {}).get("type") == "jwt"
        }
        used = {scheme for requirement in operation.get("security", []) for scheme in requirement}
        # Not even a scheme NONE, which no document defines: its import may fail.
        is_right = not used if (method, path) in (OPEN_ROUTE, HEALTH_ROUTE) else used and used <= jwt
        if not is_right:
            yield f"{name}: {method} {path}"
    for name, api in of_type(template, "AWS::ApiGatewayV2::Api").items():
        # An authorizer by default would be SAM's to except a route from.
        if "security" in api["Properties"]["Body"]:
            yield f"{name} has an authorizer by default"


@rule
def the_open_route_is_there_only_for_partners_that_call_it(template: Template) -> Iterator[str]:
    """And so is all that belongs to it. A condition of its own would leave one of them behind."""
    method, path = OPEN_ROUTE
    for name, api in of_type(template, "AWS::ApiGatewayV2::Api").items():
        if condition(api["Properties"]["Body"]["paths"].get(path)) != OPEN_CONDITION:
            yield f"{name}: {method} {path}"
    for name, resource in template["Resources"].items():
        if name.startswith("WebhookFunction") and resource.get("Condition") != OPEN_CONDITION:
            yield name


@rule
def each_open_route_has_a_throttle_of_its_own(template: Template) -> Iterator[str]:
    for name, stage in of_type(template, "AWS::ApiGatewayV2::Stage").items():
        others = stage["Properties"].get("DefaultRouteSettings", {})
        settings = stage["Properties"].get("RouteSettings", {})
        for (method, path), wanted in ((OPEN_ROUTE, OPEN_CONDITION), (HEALTH_ROUTE, None)):
            own = settings.get(f"{method.upper()} {path}", {})
            # A stage with settings of a route that does not exist cannot be made.
            if condition(own) != wanted:
                yield f"{name}: {path} without its condition"
            for limit in ("ThrottlingRateLimit", "ThrottlingBurstLimit"):
                if not 0 < chosen(own).get(limit, 0) < default(template, others.get(limit, 0)):
                    yield f"{name}: {path}: {limit}"


@rule
def browsers_are_served_only_where_origins_are_given(template: Template) -> Iterator[str]:
    """Then a page may send what the API reads, and reads what it answers with; the origins are the parameter's."""
    for name, api in of_type(template, "AWS::ApiGatewayV2::Api").items():
        methods = {method.upper() for api_name, _, method, _ in operations(template) if api_name == name}
        match api["Properties"]["Body"].get("x-amazon-apigateway-cors"):
            case {"Fn::If": ["ServesBrowsers", dict(cors), {"Ref": "AWS::NoValue"}]}:
                pass
            case other:
                yield f"{name}: {json.dumps(other)}"
                continue
        if cors.get("allowOrigins") != {"Fn::Split": [",", ORIGINS]}:
            yield f"{name} is open to {json.dumps(cors.get('allowOrigins'))}"
        if set(cors.get("allowMethods", [])) != methods:
            yield f"{name} lets pages call {cors.get('allowMethods')}"
        if set(cors.get("allowHeaders", [])) != {"authorization", "content-type", "idempotency-key", "traceparent"}:
            yield f"{name} lets pages send {cors.get('allowHeaders')}"
        if set(cors.get("exposeHeaders", [])) != {"location", "retry-after", "idempotent-replayed", "x-request-id"}:
            yield f"{name} lets pages read {cors.get('exposeHeaders')}"
        if cors.get("allowCredentials"):
            yield f"{name} takes cookies"
        if not 0 < cors.get("maxAge", 0) <= 86400:
            yield f"{name} has every call preceded by another one"


# What a variable of an access log may be, as API Gateway writes it: "-" where there is nothing, and error.messageString
# with quotation marks of its own ("Customize HTTP API access logs"). AWS does not say that it escapes anything, so no
# variable may be one that a caller writes: a query, a header, a body, a path.
SAMPLES = {
    "$context.error.messageString": ("-", '"Unauthorized"'),
    "$context.error.message": ("-", "Unauthorized"),
    "$context.authorizer.error": ("-", "The token has expired"),
    "$context.authorizer.claims.client_id": ("-", "7f3k2example"),
    "$context.authorizer.claims.sub": ("-", "auth0|123456", "7f3k2example"),
    "$context.integrationErrorMessage": ("-", "The Lambda function returned an error."),
    "$context.requestTime": ("23/Nov/2026:10:12:05 +0000",),
    "$context.requestId": ("JKJaXmPLvHcESHA=",),
    "$context.awsEndpointRequestId": ("-", "6bc4f3d0-5a1e-4a55-9c3e-0f7a2b1c8d9e"),
    "$context.routeKey": ("-", "GET /api/order/{orderId}", "$default"),
    "$context.status": ("200", "401"),
    "$context.responseLatency": ("-", "12"),
    "$context.responseLength": ("-", "0", "1024"),
}
VARIABLE = re.compile(r"\$context(?:\.\w+)+")


@rule
def the_access_log_is_json_whatever_it_tells_and_says_who_called(template: Template) -> Iterator[str]:
    for name, stage in of_type(template, "AWS::ApiGatewayV2::Stage").items():
        form = stage["Properties"].get("AccessLogSettings", {}).get("Format", "")
        used = set(VARIABLE.findall(form))
        for variable in used - SAMPLES.keys():
            yield f"{name}: {variable} has no samples"
        for variable in {"$context.authorizer.claims.client_id", "$context.authorizer.claims.sub"} - used:
            yield f"{name} does not have {variable}"
        for number in range(3):

            def written(variable: re.Match[str], number: int = number) -> str:
                samples = SAMPLES.get(variable[0], ("-",))
                return samples[min(number, len(samples) - 1)]

            line = VARIABLE.sub(written, form)
            try:
                is_object = isinstance(json.loads(line), dict)
            except ValueError:
                is_object = False
            if not is_object or "\n" in line:
                yield f"{name} writes {line}"


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
def the_api_fits_a_young_account_and_can_be_opened(template: Template) -> Iterator[str]:
    for name, stage in of_type(template, "AWS::ApiGatewayV2::Stage").items():
        settings = stage["Properties"].get("DefaultRouteSettings", {})
        for setting, parameter in (("ThrottlingRateLimit", "ApiRate"), ("ThrottlingBurstLimit", "ApiBurst")):
            if settings.get(setting) != {"Ref": parameter}:
                yield f"{name}: {setting} is no parameter"
            elif not 0 < template["Parameters"][parameter]["Default"] <= 5 * YOUNG_ACCOUNT:
                yield f"{parameter} is more than a young account can take"


@rule
def answered_failures_raise_an_alarm(template: Template) -> Iterator[str]:
    """A 500 or 503 that a function answers is no error of Lambda's. `5xx` is what HTTP APIs call the metric."""
    for api in of_type(template, "AWS::ApiGatewayV2::Api"):
        alarms = [alarm for alarm, dimensions in alarms_on(template, "AWS/ApiGateway", "5xx") if dimensions == {"ApiId": api}]
        if not any(alarm["Statistic"] == "Sum" and alarm["Threshold"] == 0 for alarm in alarms):
            yield f"{api} fails unseen"


@rule
def what_is_throttled_raises_an_alarm(template: Template) -> Iterator[str]:
    """Functions share the account's concurrency. HTTP APIs have no metric for their own limit, so the access log is counted."""
    if not any(not dimensions for _, dimensions in alarms_on(template, "AWS/Lambda", "Throttles")):
        yield "no alarm on Lambda's throttles"
    for name, stage in of_type(template, "AWS::ApiGatewayV2::Stage").items():
        log = stage["Properties"].get("AccessLogSettings", {})
        group = target(log.get("DestinationArn"))
        counted = [
            counter["MetricTransformations"][0]
            for counter in (each["Properties"] for each in of_type(template, "AWS::Logs::MetricFilter").values())
            if target(counter["LogGroupName"]) == group and counter["FilterPattern"] == '{ $.status = "429" }'
        ]
        if '"status":"$context.status"' not in log.get("Format", "") or not counted:
            yield f"{name} throttles uncounted"
        for metric in counted:
            namespace = metric["MetricNamespace"]
            if not any(
                (alarm["Namespace"], alarm["MetricName"]) == (namespace, metric["MetricName"])
                for alarm in (each["Properties"] for each in of_type(template, "AWS::CloudWatch::Alarm").values())
            ):
                yield f"{name} throttles unseen"


@rule
def an_endpoint_that_is_slow_for_what_it_waits_for_raises_an_alarm(template: Template) -> Iterator[str]:
    """Whoever waits for a partner, a carrier or SES is slow in normal work. Metrics per route would cost more than alarms."""
    for api in of_type(template, "AWS::ApiGatewayV2::Api").values():
        text = json.dumps(api["Properties"]["Body"])
        for name, function in of_type(template, "AWS::Lambda::Function").items():
            if f"${{{name}.Arn}}" not in text:
                continue
            partners = {"PARTNER_SECRET_ARN", "PARTNER_WEBHOOK_SECRET_ARN", "CARRIER_SECRET_ARN"}
            waits = (partners | {"MAILS_PER_SECOND"}) & variables(function).keys()
            least, most = (5000, function["Properties"]["Timeout"] * 1000 - 1) if waits else (1000, 2000)
            alarms = [
                alarm
                for alarm, dimensions in alarms_on(template, "AWS/Lambda", "Duration")
                if dimensions == {"FunctionName": name} and alarm.get("ExtendedStatistic") == "p99"
            ]
            if not any(least <= alarm["Threshold"] <= most for alarm in alarms):
                yield f"{name} is slow unseen, or alarms in normal work"


@rule
def who_promises_a_parcel_knows_whom_its_carrier_delivers_to(template: Template) -> Iterator[str]:
    """Cart and invoice refuse an address that the carrier cannot use; without CARRIER they would take any."""
    functions = of_type(template, "AWS::Lambda::Function")
    for name in ("CartFunction", "BillingFunction", "BillingWorker"):
        if variables(functions[name]).get("CARRIER") != {"Ref": "Carrier"}:
            yield f"{name} takes any address"


@rule
def endpoints_answer_before_api_gateway_gives_up(template: Template) -> Iterator[str]:
    for api in of_type(template, "AWS::ApiGatewayV2::Api").values():
        text = json.dumps(api["Properties"]["Body"])
        for name, function in of_type(template, "AWS::Lambda::Function").items():
            timeout = function["Properties"]["Timeout"]
            if f"${{{name}.Arn}}" in text and timeout >= API_TIMEOUT:
                yield f"{name} may take {timeout} s"


# ---------------------------------------------------------------- parameters


@rule
def goods_ship_unpaid_only_where_that_was_asked_for(template: Template) -> Iterator[str]:
    if default(template, {"Ref": "Stage"}) in PRODUCTION:
        yield "the default stage is production"
    if refusals(template):
        yield f"the defaults are refused: {refusals(template)}"
    for stage in PRODUCTION:
        if not any("sandbox" in text and "BillingPartner" in text for text in refusals(template, Stage=stage)):
            yield f"{stage} bills nobody"
        for given in ({"BillingPartner": "stripe"}, {"SandboxInProd": "yes"}):
            if refusals(template, Stage=stage, **given):
                yield f"{stage} is refused with {given}"


@rule
def a_partner_that_does_not_charge_in_the_currency_is_refused(template: Template) -> Iterator[str]:
    """The functions would not start. A test in Rust compares the lists with the partners' tables."""
    for partner, charged, refused in (("stripe", "KWD", "IQD"), ("paypal", "HUF", "KWD"), ("sandbox", "IQD", None)):
        if refusals(template, BillingPartner=partner, Currency=charged):
            yield f"{partner} is refused with {charged}"
        if refused and not any("Currency" in text for text in refusals(template, BillingPartner=partner, Currency=refused)):
            yield f"{partner} is not refused with {refused}"


@rule
def the_open_route_reads_no_api_keys_whatever_secrets_are_given(template: Template) -> Iterator[str]:
    keys = ("PartnerSecretArn", "FormerPartnerSecretArn", "CarrierSecretArn")
    for webhook in ("PartnerWebhookSecretArn", "FormerPartnerWebhookSecretArn", "CarrierWebhookSecretArn"):
        if refusals(template, **{webhook: "arn:own"} | dict.fromkeys(keys, "arn:keys")):
            yield f"a {webhook} of its own is refused"
        for key in keys:
            if not any(webhook in text for text in refusals(template, **{webhook: "arn:keys", key: "arn:keys"})):
                yield f"{webhook} may be {key}"


@rule
def values_that_fail_only_later_are_refused_at_once(template: Template) -> Iterator[str]:
    """Cognito: "Domain cannot contain reserved word". SAM CLI cuts `ShipFrom={"a":"b"}` down to `{`."""
    for parameter, taken, refused in (
        ("Stage", ("dev", "prod-2"), ("aws-test", "draws", "amazon", "my-cognito", "-a", "1", "a" * 21)),
        ("ShipFrom", ("", '{"company":"Shop"}', '{\n"a":1}'), ("{", "{}", "Shop", '"{}"')),
        ("Parcel", ("", '{"length":10}'), ("{", "10")),
    ):
        pattern = template["Parameters"][parameter].get("AllowedPattern", ".*")
        yield from (f"{parameter} is not {value!r}" for value in taken if not re.fullmatch(pattern, value))
        yield from (f"{parameter} is {value!r}" for value in refused if re.fullmatch(pattern, value))


@rule
def what_a_schedule_calls_does_not_pile_up(template: Template) -> Iterator[str]:
    """Lambda keeps a throttled call for up to six hours ("Asynchronous invocation")."""
    limits = {
        target(each["Properties"]["FunctionName"]): each["Properties"]
        for each in of_type(template, "AWS::Lambda::EventInvokeConfig").values()
    }
    for schedule in of_type(template, "AWS::Events::Rule").values():
        for called in schedule["Properties"]["Targets"]:
            limit = limits.get(target(called["Arn"]), {})
            if limit.get("MaximumEventAgeInSeconds", 21600) > 60 or limit.get("MaximumRetryAttempts", 2) > 0:
                yield target(called["Arn"])


@rule
def whoever_prices_or_charges_knows_the_billing_partner(template: Template) -> Iterator[str]:
    for name, function in of_type(template, "AWS::Lambda::Function").items():
        own = variables(function)
        if "CURRENCY" in own and own.get("BILLING_PARTNER") != {"Ref": "BillingPartner"}:
            yield name


@rule
def partitions_without_its_services_are_refused_and_govcloud_has_its_own_hosts(template: Template) -> Iterator[str]:
    for region in CHINA:
        if not any("China" in text for text in refusals(template, region=region)):
            yield f"{region} is not refused"
    if refusals(template, region="us-gov-west-1"):
        yield "GovCloud is refused"
    hosts = {partition: hosts.get("Tokens") for partition, hosts in template["Mappings"].get("Hosts", {}).items()}
    if hosts != TOKEN_HOSTS:
        yield f"hosts of tokens: {hosts}"
    if template["Outputs"]["TokenEndpoint"]["Value"] != {
        "Fn::Sub": [
            "https://${UserPoolDomain}.${Host}.${AWS::Region}.amazoncognito.com/oauth2/token",
            {"Host": {"Fn::FindInMap": ["Hosts", {"Ref": "AWS::Partition"}, "Tokens"]}},
        ]
    }:
        yield "the token endpoint is another host"
    for text in re.findall(r'"arn:[^"]*|[\w.-]+\.amazonaws\.com(?![\w.])', json.dumps(template["Resources"])):
        if not text.startswith('"arn:${AWS::Partition}:') and text not in ONE_IN_ALL_PARTITIONS:
            yield f"{text} is of one partition"


@rule
def workers_fit_a_young_account_and_can_be_widened(template: Template) -> Iterator[str]:
    """Two each are the least that a mapping takes ("ScalingConfig"); half is for the API, the mails, the relay and the sweep.

    How many write mails follows from what SES takes in a second.
    """
    at_once = 0
    for name, properties, function, _ in mappings(template):
        if "StartingPosition" in properties:
            if properties.get("ParallelizationFactor") != {"Ref": "RelayParallelism"}:
                yield f"{name} has no parameter"
            continue
        if "MAILS_PER_SECOND" in variables(template["Resources"][function]):
            continue
        widest = properties.get("ScalingConfig", {}).get("MaximumConcurrency")
        if not isinstance(widest, dict):
            yield f"{name} has no parameter"
            continue
        at_once += default(template, widest)
    if at_once > YOUNG_ACCOUNT - 4:
        yield f"{at_once} workers at once leave too little for the rest"


# ---------------------------------------------------------------- alarms


@rule
def an_alarm_says_what_to_run_and_what_to_read(template: Template) -> Iterator[str]:
    """Its mail is all that somebody has at night."""
    groups = {group["Properties"]["LogGroupName"]["Fn::Sub"] for group in of_type(template, "AWS::Logs::LogGroup").values()}
    for name, alarm in of_type(template, "AWS::CloudWatch::Alarm").items():
        text = json.dumps(alarm["Properties"].get("AlarmDescription", ""))
        if not re.search(r"Run: (make ops-overdue |aws logs tail /aws/|aws service-quotas )", text):
            yield f"{name} names no command"
        if "docs/operating.md, When an alarm goes off" not in text:
            yield f"{name} names no page"
        if ("make ops-overdue" in text or "/aws/" in text) and "${AWS::StackName}" not in text:
            yield f"{name} does not say where"
        for group in re.findall(r"logs tail (\S+)", text):
            if group not in groups:
                yield f"{name} shows {group}, which nothing writes"


@rule
def an_alarm_exists_where_what_it_watches_does(template: Template) -> Iterator[str]:
    for name, alarm in of_type(template, "AWS::CloudWatch::Alarm").items():
        for dimension in alarm["Properties"].get("Dimensions", []):
            watched = template["Resources"].get(target(dimension["Value"]), {})
            if watched.get("Condition") != alarm.get("Condition"):
                yield f"{name} without {target(dimension['Value'])}"


@rule
def an_alarm_on_a_metric_of_ours_is_this_stages(template: Template) -> Iterator[str]:
    for name, alarm in of_type(template, "AWS::CloudWatch::Alarm").items():
        properties = alarm["Properties"]
        stage = [{"Name": "Stage", "Value": {"Ref": "Stage"}}]
        if properties["Namespace"] == "OrderFlow" and properties.get("Dimensions") != stage:
            yield f"{name} looks at {properties.get('Dimensions')}"
        if properties.get("AlarmActions") != {"Fn::If": ["MailsAlarms", [{"Ref": "AlarmTopic"}], {"Ref": "AWS::NoValue"}]}:
            yield f"{name} tells nobody"


# ---------------------------------------------------------------- functions


@rule
def a_payment_ends_well_before_its_lease(template: Template) -> Iterator[str]:
    for name, function in of_type(template, "AWS::Lambda::Function").items():
        timeout = function["Properties"]["Timeout"]
        if "PARTNER_SECRET_ARN" in variables(function) and timeout * 2 > PAYMENT_LEASE:
            yield f"{name} may take {timeout} s"


@rule
def whoever_ends_the_waiting_of_unpaid_orders_is_told_its_days(template: Template) -> Iterator[str]:
    for name, function in of_type(template, "AWS::Lambda::Function").items():
        own = variables(function)
        charges = {"BILLING_PARTNER", "CUSTOMERS_TABLE"} <= own.keys()
        sweeps = {"ORDERS_TABLE", "EMAILS_TABLE", "PAYMENT_QUEUE_URL"} <= own.keys()
        if (charges or sweeps) and own.get("UNPAID_ORDER_DAYS") != {"Ref": "UnpaidOrderDays"}:
            yield name


@rule
def whoever_records_where_a_parcel_is_is_told_whether_to_mail_it(template: Template) -> Iterator[str]:
    for _, _, name, source in mappings(template):
        function = of_type(template, "AWS::Lambda::Function")[name]
        if source == "ShipmentQueue" and variables(function).get("TRACKING_MAILS") != {"Ref": "TrackingMails"}:
            yield name


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
    for name, kept in of_type(template, "AWS::Logs::LogGroup").items():
        if "RetentionInDays" not in kept["Properties"]:
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
        known = {target(value) for variable, value in variables(function).items() if variable.endswith(("_TABLE", "_QUEUE_URL"))}
        may = rights.get(function_role(function), set())
        own = {source for consumer, source in consumed if consumer == name}
        for resource in known ^ (may - own):
            yield f"{name} and {resource}"


def address(secret: str) -> dict[str, Any]:
    """The ARN of a secret: of the stack's own, or the parameter's where one is given."""
    return {"Fn::If": [f"Makes{secret}", {"Ref": secret}, {"Ref": f"{secret}Arn"}]}


def resource(secret: str) -> dict[str, Any]:
    """The same in a policy, written so that cfn-lint's objection to an empty ARN can be silenced where it is."""
    return {"Fn::If": [f"Makes{secret}", {"Ref": secret}, {"Fn::Sub": f"${{{secret}Arn}}"}]}


# Secrets that only a parameter gives: a former partner has keys of its own, or shares its successor's secret.
GIVEN = {"FormerPartnerSecret": "PartnerSecret", "FormerPartnerWebhookSecret": "PartnerWebhookSecret"}


def given_address(secret: str) -> dict[str, Any]:
    return {"Fn::If": [f"Has{secret}", {"Ref": f"{secret}Arn"}, {"Ref": "AWS::NoValue"}]}


def given_resource(secret: str) -> dict[str, Any]:
    return {"Fn::Sub": f"${{{secret}Arn}}"}


def knowers(template: Template, secret: str) -> Iterator[tuple[str, str | None]]:
    """The roles of the functions that have its ARN in a variable, and under which condition."""
    for function in of_type(template, "AWS::Lambda::Function").values():
        for value in variables(function).values():
            if chosen_address(value) == address(secret):
                yield function_role(function), condition(value)


def readers(template: Template, secret: str) -> Iterator[tuple[str, str | None]]:
    """The roles whose own policies let them read it and do nothing else to it, and under which condition."""
    for name, role in of_type(template, "AWS::IAM::Role").items():
        for policy in role["Properties"].get("Policies", []):
            for statement in chosen(policy)["PolicyDocument"]["Statement"]:
                if statement["Resource"] == resource(secret) and statement["Action"] == ["secretsmanager:GetSecretValue"]:
                    yield name, condition(policy)


def chosen_address(value: Any) -> Any:
    """A variable's value if its condition holds; an address is itself a choice."""
    return value["Fn::If"][1] if condition(value) else value


@rule
def a_secret_is_read_by_the_functions_that_know_it_and_nobody_else(template: Template) -> Iterator[str]:
    """A function knows a secret by its ARN in a variable; both are there only where its partner was chosen."""
    secrets = of_type(template, "AWS::SecretsManager::Secret")
    for secret, made in secrets.items():
        if made.get("Condition") != f"Makes{secret}":
            yield f"{secret} is made under {made.get('Condition')}"
        known, read = sorted(knowers(template, secret)), sorted(readers(template, secret))
        if known != read or not known or any(under is None for _, under in known):
            yield f"{secret} is known to {known}, read by {read}"
    allowed, rights = [address(secret) for secret in secrets], [resource(secret) for secret in secrets]
    for secret, shared in GIVEN.items():
        allowed.append(chosen_address(given_address(secret)))
        rights.append(given_resource(secret))
        knowing = [
            function_role(function)
            for function in of_type(template, "AWS::Lambda::Function").values()
            if given_address(secret) in variables(function).values()
        ]
        reading = [
            name
            for name, role in of_type(template, "AWS::IAM::Role").items()
            for policy in role["Properties"].get("Policies", [])
            for statement in chosen(policy)["PolicyDocument"]["Statement"]
            if statement["Resource"] == given_resource(secret) and condition(policy) == f"Has{secret}"
        ]
        if not sorted(knowing) == sorted(reading) == sorted(role for role, _ in knowers(template, shared)):
            yield f"{secret} is known to {knowing}, read by {reading}"
    for name, statement in statements(template):
        reads = any("secretsmanager" in action for action in listed(statement["Action"]))
        if reads and not (statement["Action"] == ["secretsmanager:GetSecretValue"] and statement["Resource"] in rights):
            yield f"{name}: {json.dumps(statement)}"
    for name, function in of_type(template, "AWS::Lambda::Function").items():
        texts = {variable for variable in variables(function) if variable.endswith("_SECRET")}
        yield from (f"{name} shows {variable}" for variable in texts)
        for variable, value in variables(function).items():
            if "Secret" in json.dumps(value) and chosen_address(value) not in allowed:
                yield f"{name}: {variable}"


@rule
def the_open_function_reads_what_webhooks_are_verified_by_and_no_api_key(template: Template) -> Iterator[str]:
    for secret in of_type(template, "AWS::SecretsManager::Secret"):
        is_of_webhooks = secret.endswith("WebhookSecret")
        for role, _ in readers(template, secret):
            if (role == "WebhookFunctionRole") != is_of_webhooks:
                yield f"{role} reads {secret}"


@rule
def a_right_is_there_before_the_function_that_starts_with_it(template: Template) -> Iterator[str]:
    """A policy in its role is: the function refers to the role. One that is attached may come later."""
    yield from of_type(template, "AWS::IAM::Policy")


@rule
def what_was_put_into_a_secret_by_hand_stays(template: Template) -> Iterator[str]:
    for name, secret in of_type(template, "AWS::SecretsManager::Secret").items():
        if secret.get("DeletionPolicy") != "RetainExceptOnCreate" or secret.get("UpdateReplacePolicy") != "Retain":
            yield name


def variables(function: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = function["Properties"].get("Environment", {}).get("Variables", {})
    return found


# ---------------------------------------------------------------- the tests

CORS = "Api.Properties.Body.x-amazon-apigateway-cors.Fn::If.1"
SWEEP_CALLS = "SweepEventInvokeConfig.Properties"
ACCESS_LOG = "ApiApiGatewayDefaultStage.Properties.AccessLogSettings.Format"
MAIL_STATEMENT = "Properties.Policies.0.PolicyDocument.Statement.1"
ROLE = "Properties.Policies.0.PolicyDocument.Statement.0"
# Of a role whose first policy is about a secret.
SECRET = "Properties.Policies.0.Fn::If.1.PolicyDocument.Statement.0"
WEBHOOK_ROUTE = "POST /api/partner/{partner}/webhook"
THROTTLE = f"{WEBHOOK_ROUTE}.Fn::If.1"
WEBHOOK = "Api.Properties.Body.paths./api/partner/{partner}/webhook.Fn::If.1"
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
    "a_queue_that_is_not_worked_off_raises_an_alarm": [
        ("PaymentQueueOld", None),
        ("EmailQueueOld.Properties.Threshold", 86400),
        ("BillingQueueOld.Properties.Dimensions.0.Value", {"Fn::GetAtt": ["BillingDeadLetters", "QueueName"]}),
    ],
    "every_queue_is_encrypted": [("PaymentQueue.Properties.SqsManagedSseEnabled", False)],
    "a_message_stays_hidden_for_six_timeouts": [
        ("PaymentQueue.Properties.VisibilityTimeout", None),
        ("EmailWorker.Properties.Timeout", 61),
    ],
    "every_mapping_reports_partial_failures": [
        ("ShipmentWorkerQueue.Properties.FunctionResponseTypes", None),
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
    ],
    "what_holds_data_outlives_its_stack_but_not_a_first_deployment_that_fails": [
        ("EmailsTable.Properties.DeletionProtectionEnabled", None),
        ("EmailsTable.Properties.DeletionProtectionEnabled", True),
        ("IdempotencyTable.DeletionPolicy", None),
        ("IdempotencyTable.DeletionPolicy", "Retain"),
        ("OrdersTable.UpdateReplacePolicy", "Delete"),
        ("UserPool.DeletionPolicy", "Retain"),
        ("UserPool.Properties.DeletionProtection", "ACTIVE"),
        ("UserPool.UpdateReplacePolicy", None),
        ("/Parameters.DeletionProtection.Default", "yes"),
        ("/Conditions.IsProtected", None),
    ],
    "a_table_or_index_that_is_throttled_raises_an_alarm": [
        ("OrdersDueWritesThrottled", None),
        ("OrdersDueWritesThrottled.Properties.Dimensions.1", None),
        ("InvoicesReadsThrottled", None),
        ("EmailsWritesThrottled.Properties.MetricName", "ThrottledRequests"),
    ],
    "every_route_but_the_partners_and_the_health_asks_for_a_token": [
        ("Api.Properties.Body.paths./api/health.get.security", [{"Tokens": []}]),
        ("Api.Properties.Body.paths./api/health.post", {}),
        (f"{WEBHOOK}.get", {"security": [{"NONE": []}]}),
        (f"{WEBHOOK}.x-amazon-apigateway-any-method", {}),
        ("Api.Properties.Body.paths./api/partner/{partner}/other", {"post": {"security": [{"NONE": []}]}}),
        (f"{WEBHOOK}.post.Fn::If.1.security", [{"Tokens": []}]),
        (f"{WEBHOOK}.post.Fn::If.1.security", [{"NONE": []}]),
        ("Api.Properties.Body.security", [{"Tokens": []}]),
        ("Api.Properties.Body.paths./api/order/cart~json.post.security", None),
        ("Api.Properties.Body.paths./api/order/cart~json.post.security", [{"NONE": []}]),
    ],
    "browsers_are_served_only_where_origins_are_given": [
        ("Api.Properties.Body.x-amazon-apigateway-cors", None),
        ("Api.Properties.Body.x-amazon-apigateway-cors", {"allowOrigins": ["*"]}),
        (f"{CORS}.allowOrigins", ["*"]),
        (f"{CORS}.allowMethods", ["GET"]),
        (f"{CORS}.allowMethods", ["*"]),
        (f"{CORS}.allowHeaders", ["*"]),
        (f"{CORS}.exposeHeaders", None),
        (f"{CORS}.allowCredentials", True),
        (f"{CORS}.maxAge", None),
    ],
    "the_access_log_is_json_whatever_it_tells_and_says_who_called": [
        (
            ACCESS_LOG,
            '{"client":"$context.authorizer.claims.client_id","sub":"$context.authorizer.claims.sub","e":"$context.error.messageString"}',
        ),
        (
            ACCESS_LOG,
            '{"client":"$context.authorizer.claims.client_id","sub":"$context.authorizer.claims.sub","e":$context.error.messageString}',
        ),
        (
            ACCESS_LOG,
            '{"client":"$context.authorizer.claims.client_id","sub":"$context.authorizer.claims.sub","ms":$context.responseLatency}',
        ),
        (
            ACCESS_LOG,
            '{"client":"$context.authorizer.claims.client_id","sub":"$context.authorizer.claims.sub","path":"$context.path"}',
        ),
        (ACCESS_LOG, '{"client":"$context.authorizer.claims.client_id"}'),
        (ACCESS_LOG, "$context.authorizer.claims.client_id $context.authorizer.claims.sub"),
    ],
    "the_api_has_no_other_door": [("Door", {"Type": "AWS::Lambda::Url", "Properties": {}})],
    "the_api_is_throttled_and_logged": [
        ("ApiApiGatewayDefaultStage.Properties.DefaultRouteSettings", None),
        ("ApiApiGatewayDefaultStage.Properties.AccessLogSettings", None),
    ],
    "the_api_fits_a_young_account_and_can_be_opened": [
        ("ApiApiGatewayDefaultStage.Properties.DefaultRouteSettings.ThrottlingRateLimit", 100),
        ("/Parameters.ApiBurst.Default", 200),
    ],
    "answered_failures_raise_an_alarm": [
        ("ApiFailing", None),
        ("ApiFailing.Properties.MetricName", "5XXError"),
        ("ApiFailing.Properties.Threshold", 10),
    ],
    "what_is_throttled_raises_an_alarm": [
        ("LambdaThrottled", None),
        ("LambdaThrottled.Properties.Dimensions", [{"Name": "FunctionName", "Value": {"Ref": "CartFunction"}}]),
        ("ApiThrottled", None),
        ("ApiRefusals", None),
        ("ApiRefusals.Properties.FilterPattern", '{ $.code = "429" }'),
        ("ApiApiGatewayDefaultStage.Properties.AccessLogSettings.Format", '{"code":"$context.status"}'),
    ],
    "an_endpoint_that_is_slow_for_what_it_waits_for_raises_an_alarm": [
        ("CartFunctionSlow", None),
        ("CartFunctionSlow.Properties.Threshold", 5000),
        ("PaymentFunctionSlow.Properties.Threshold", 2000),
        ("PaymentFunctionSlow.Properties.Threshold", 29000),
    ],
    "endpoints_answer_before_api_gateway_gives_up": [("EmailFunction.Properties.Timeout", 30)],
    "goods_ship_unpaid_only_where_that_was_asked_for": [
        ("/Parameters.Stage.Default", "prod"),
        ("/Rules.ProductionIsPaid", None),
        ("/Rules.ProductionIsPaid.RuleCondition", {"Fn::Equals": [{"Ref": "Stage"}, "prod"]}),
        ("/Rules.ProductionIsPaid.RuleCondition", None),
        ("/Rules.ProductionIsPaid.Assertions.0.Assert", {"Fn::Equals": [{"Ref": "Currency"}, "USD"]}),
        ("/Rules.ProductionIsPaid.Assertions.0.Assert", {"Fn::Equals": [{"Ref": "Currency"}, "EUR"]}),
    ],
    "a_partner_that_does_not_charge_in_the_currency_is_refused": [
        ("/Rules.StripeChargesInTheCurrency", None),
        ("/Rules.PayPalChargesInTheCurrency", None),
        ("/Rules.StripeChargesInTheCurrency.RuleCondition", None),
        ("/Rules.PayPalChargesInTheCurrency.Assertions.0.Assert", {"Fn::Equals": [{"Ref": "Currency"}, "USD"]}),
        ("/Rules.PayPalChargesInTheCurrency.Assertions.0.AssertDescription", "No."),
    ],
    "the_open_route_reads_no_api_keys_whatever_secrets_are_given": [
        ("/Rules.WebhooksHaveSecretsOfTheirOwn", None),
        ("/Rules.WebhooksHaveSecretsOfTheirOwn.Assertions.1", None),
        ("/Rules.WebhooksHaveSecretsOfTheirOwn.Assertions.2.AssertDescription", "No."),
    ],
    "values_that_fail_only_later_are_refused_at_once": [
        ("/Parameters.Stage.AllowedPattern", "[a-z][a-z0-9-]{0,19}"),
        ("/Parameters.ShipFrom.AllowedPattern", None),
        ("/Parameters.Parcel.AllowedPattern", r"(\{.*)?"),
    ],
    "what_a_schedule_calls_does_not_pile_up": [
        (f"{SWEEP_CALLS}.MaximumEventAgeInSeconds", None),
        (f"{SWEEP_CALLS}.MaximumRetryAttempts", None),
    ],
    "whoever_prices_or_charges_knows_the_billing_partner": [
        ("CartFunction.Properties.Environment.Variables.BILLING_PARTNER", None),
        ("BillingWorker.Properties.Environment.Variables.BILLING_PARTNER", "sandbox"),
    ],
    "partitions_without_its_services_are_refused_and_govcloud_has_its_own_hosts": [
        ("/Rules.NotInChina", None),
        ("/Rules.NotInChina.Assertions.0.AssertDescription", "No."),
        ("/Rules.NotInChina.Assertions.0.Assert", {"Fn::Equals": [{"Ref": "AWS::Region"}, "us-east-1"]}),
        ("/Mappings.Hosts.aws-us-gov.Tokens", "auth"),
        (
            "/Outputs.TokenEndpoint.Value",
            {"Fn::Sub": "https://${UserPoolDomain}.auth.${AWS::Region}.amazoncognito.com/oauth2/token"},
        ),
        ("EmailFunctionRole.Properties.ManagedPolicyArns.0", "arn:aws:iam::1:policy/p"),
    ],
    "workers_fit_a_young_account_and_can_be_widened": [
        ("/Parameters.PaymentConcurrency.Default", 10),
        ("BillingWorkerQueue.Properties.ScalingConfig.MaximumConcurrency", 10),
        ("BillingWorkerQueue.Properties.ScalingConfig", None),
        ("RelayOrders.Properties.ParallelizationFactor", 4),
    ],
    "an_alarm_says_what_to_run_and_what_to_read": [
        ("ApiFailing.Properties.AlarmDescription", None),
        (
            "RelayBehind.Properties.AlarmDescription",
            "Run: make ops-overdue STACK=s. Read: docs/operating.md, When an alarm goes off.",
        ),
        (
            "SweepErrors.Properties.AlarmDescription",
            {"Fn::Sub": "Read: docs/operating.md, When an alarm goes off. ${AWS::StackName}"},
        ),
        ("SweepErrors.Properties.AlarmDescription", {"Fn::Sub": "Run: make ops-overdue STACK=${AWS::StackName}."}),
        ("CartFunctionLogs.Properties.LogGroupName", {"Fn::Sub": "/aws/lambda/${AWS::StackName}/Cart"}),
    ],
    "an_alarm_exists_where_what_it_watches_does": [
        ("CartFunction.Condition", "HasPartner"),
        ("OrdersReadsThrottled.Condition", "HasPartner"),
    ],
    "an_alarm_on_a_metric_of_ours_is_this_stages": [
        ("EmailFailedAlarm.Properties.Dimensions", None),
        ("EmailFailedAlarm.Properties.Dimensions.0.Value", "prod"),
        ("CartFunctionErrors.Properties.AlarmActions", None),
    ],
    "a_payment_ends_well_before_its_lease": [("PaymentWorker.Properties.Timeout", 60)],
    "whoever_ends_the_waiting_of_unpaid_orders_is_told_its_days": [
        ("PaymentWorker.Properties.Environment.Variables.UNPAID_ORDER_DAYS", None),
        ("Sweep.Properties.Environment.Variables.UNPAID_ORDER_DAYS", "0"),
    ],
    "whoever_records_where_a_parcel_is_is_told_whether_to_mail_it": [
        ("ShipmentWorker.Properties.Environment.Variables.TRACKING_MAILS", None),
        ("ShipmentWorker.Properties.Environment.Variables.TRACKING_MAILS", "on"),
    ],
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
        ("ShipmentFunction.Properties.Environment.Variables.EMAILS_TABLE", None),
    ],
    "who_promises_a_parcel_knows_whom_its_carrier_delivers_to": [
        ("CartFunction.Properties.Environment.Variables.CARRIER", None),
        ("BillingFunction.Properties.Environment.Variables.CARRIER", "own"),
    ],
    "a_secret_is_read_by_the_functions_that_know_it_and_nobody_else": [
        ("ShipmentWorker.Properties.Environment.Variables.CARRIER_SECRET_ARN", None),
        ("EmailWorker.Properties.Environment.Variables.KEY", {"Ref": "CarrierSecret"}),
        ("EmailWorker.Properties.Environment.Variables.KEY", {"Ref": "CarrierSecretArn"}),
        (f"ShipmentWorkerRole.{SECRET}.Resource", "*"),
        (f"ShipmentWorkerRole.{SECRET}.Resource", {"Ref": "CarrierSecretArn"}),
        (f"ShipmentWorkerRole.{SECRET}.Action", ["secretsmanager:PutSecretValue"]),
        (f"PaymentWorkerRole.{SECRET}.Action.0", "secretsmanager:PutSecretValue"),
        ("PaymentFunctionRole.Properties.Policies.0", None),
        ("PaymentFunctionRole.Properties.Policies.0.Fn::If.0", "ShipsWithEasyPost"),
        ("PaymentFunction.Properties.Environment.Variables.PARTNER_SECRET_ARN.Fn::If.0", "ShipsWithEasyPost"),
        ("WebhookFunction.Properties.Environment.Variables.PARTNER_WEBHOOK_SECRET_ARN", None),
        ("PaymentWorker.Properties.Environment.Variables.FORMER_PARTNER_SECRET_ARN", None),
        ("WebhookFunction.Properties.Environment.Variables.FORMER_PARTNER_WEBHOOK_SECRET_ARN.Fn::If.0", "HasPartner"),
        ("PaymentFunctionRole.Properties.Policies.2", None),
        ("WebhookFunctionRole.Properties.Policies.3.Fn::If.0", "HasPartner"),
        ("CarrierSecret.Condition", None),
        ("CarrierSecret.Condition", "ShipsWithEasyPost"),
        ("CartFunction.Properties.Environment.Variables.PARTNER_SECRET_ARN", {"Ref": "PartnerSecret"}),
        ("PaymentFunction.Properties.Environment.Variables.PARTNER_SECRET", "sk_test_1"),
        ("WebhookFunction.Properties.Environment.Variables.CARRIER_WEBHOOK_SECRET", "{}"),
    ],
    "the_open_function_reads_what_webhooks_are_verified_by_and_no_api_key": [
        (
            f"WebhookFunctionRole.{SECRET}.Resource",
            resource("PartnerSecret"),
        ),
        (
            f"PaymentWorkerRole.{SECRET}.Resource",
            resource("PartnerWebhookSecret"),
        ),
    ],
    "a_right_is_there_before_the_function_that_starts_with_it": [
        ("Late", {"Type": "AWS::IAM::Policy", "Properties": {"Roles": [{"Ref": "CartFunctionRole"}]}}),
    ],
    "what_was_put_into_a_secret_by_hand_stays": [
        ("PartnerSecret.DeletionPolicy", None),
        ("CarrierWebhookSecret.UpdateReplacePolicy", "Delete"),
    ],
    "the_open_route_is_there_only_for_partners_that_call_it": [
        ("Api.Properties.Body.paths./api/partner/{partner}/webhook", None),
        ("Api.Properties.Body.paths./api/partner/{partner}/webhook.Fn::If.0", "HasPartner"),
        ("WebhookFunction.Condition", None),
        ("WebhookFunctionRole.Condition", "HasPartner"),
        ("WebhookFunctionErrors.Condition", None),
    ],
    "each_open_route_has_a_throttle_of_its_own": [
        ("ApiApiGatewayDefaultStage.Properties.RouteSettings", None),
        ("ApiApiGatewayDefaultStage.Properties.RouteSettings.GET /api/health", None),
        ("ApiApiGatewayDefaultStage.Properties.RouteSettings.GET /api/health.ThrottlingRateLimit", 100),
        (f"ApiApiGatewayDefaultStage.Properties.RouteSettings.{WEBHOOK_ROUTE}.Fn::If.0", "HasPartner"),
        (f"ApiApiGatewayDefaultStage.Properties.RouteSettings.{THROTTLE}.ThrottlingRateLimit", 100),
        (f"ApiApiGatewayDefaultStage.Properties.RouteSettings.{THROTTLE}.ThrottlingBurstLimit", None),
    ],
}


def broken(template: Template, path: str, value: Any) -> Template:
    """A copy with that value at that path below Resources (~ stands for a dot), or without it where the value is None.

    A path that begins with a slash begins at the template itself.
    """
    mutant = copy.deepcopy(template)
    *way, last = [int(step) if step.isdigit() else step.replace("~", ".") for step in path.removeprefix("/").split(".")]
    place: Any = mutant if path.startswith("/") else mutant["Resources"]
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

    def test_the_book_explains_every_parameter_and_every_alarm(self) -> None:
        template = expand()
        configuration, operating = ((ROOT / "docs" / page).read_text() for page in ("configuration.md", "operating.md"))
        shown = dict(re.findall(r"(?m)^\| `(\w+)` \| (`[^`]*`|empty) \|", configuration))
        for names, default in re.findall(r"(?m)^\| (`\w+`(?:, `\w+`)+) \| (`[^`]*`|empty) \|", configuration):
            shown |= dict.fromkeys(re.findall(r"\w+", names), default)
        for name, parameter in template["Parameters"].items():
            value = str(parameter["Default"])
            with self.subTest(name):
                self.assertEqual(shown.get(name), f"`{value}`" if value else "empty")
        section = operating.split("## When an alarm goes off")[1].split("\n## ")[0]
        said = [named.replace("…", r"\w+") for named in re.findall(r"`([…\w]+)`", section)]
        for name in of_type(template, "AWS::CloudWatch::Alarm"):
            with self.subTest(name):
                self.assertTrue(any(re.fullmatch(pattern, name) for pattern in said))

    def test_has_a_function_for_each_endpoint_and_each_queue(self) -> None:
        template = expand()
        self.assertEqual(len(of_type(template, "AWS::ApiGatewayV2::Api")), 1)
        self.assertEqual({f"{method.upper()} {path}" for _, path, method, _ in operations(template)}, routes())
        self.assertEqual(
            {(function, source) for _, _, function, source in mappings(template)},
            {
                ("BillingWorker", "BillingQueue"),
                ("PaymentWorker", "PaymentQueue"),
                ("ShipmentWorker", "ShipmentQueue"),
                ("EmailWorker", "EmailQueue"),
                ("EmailWorker", "EmailFeedbackQueue"),
                ("Relay", "OrdersTable"),
            },
        )

    def test_leads_each_route_to_the_same_function_as_the_local_router(self) -> None:
        watch = tomllib.loads((ROOT / "Cargo.toml").read_text())["workspace"]["metadata"]["lambda"]["watch"]
        local = {f"{leads['method']} {path}": leads["function"] for path, each in watch["router"].items() for leads in each}
        functions = yaml_parse(SOURCE.read_text())["Resources"].values()
        deployed = {
            f"{event['Properties']['Method'].upper()} {event['Properties']['Path']}": function["Metadata"]["BuildProperties"][
                "Binary"
            ]
            for function in functions
            if isinstance(function, dict) and function["Type"] == "AWS::Serverless::Function"
            for event in function["Properties"]["Events"].values()
            if event["Type"] == "HttpApi"
        }
        self.assertEqual(local, deployed)
        self.assertEqual(local.keys(), routes())


if __name__ == "__main__":
    unittest.main()
