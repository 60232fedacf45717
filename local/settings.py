"""The settings of `make run`, from variables. All are checked before anything starts."""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from processes import Failure

PARTNERS = ("sandbox", "stripe")
# The template refuses these without a partner that moves money, which no local run has.
PRODUCTION = ("prod", "production", "live")
TEST_KEY = re.compile(r"[sr]k_test_\w+")
# EasyPost requires these; the functions read the secret from their environment.
EASYPOST_NEEDS = ("SHIP_FROM", "PARCEL", "CARRIER_SECRET")
# What `make run` takes beside the template's parameters: its own variables, make's, and those that the functions read.
OWN = ("PORT", "AWS_PORT", "PARTNER", "STRIPE_KEY", "STRIPE_WEBHOOK_SECRET", "ALLOWED_ORIGINS", "PYTHON")
INHERITED = ("BILLING_PARTNER", "LOG_LEVEL", "STRIPE_URL", "PAYPAL_URL", "EASYPOST_URL")
SECRETS = ("PARTNER_SECRET", "PARTNER_WEBHOOK_SECRET", "CARRIER_SECRET", "CARRIER_WEBHOOK_SECRET")


@dataclass(frozen=True)
class Settings:
    """The ports, the partner, and the template's parameters by their names."""

    port: int
    aws_port: int
    partner: str
    # The key of a Stripe account in test mode. None selects Stripe's double if the partner is Stripe.
    stripe_key: str | None = field(repr=False)
    stripe_webhook_secret: str | None = field(repr=False)
    parameters: Mapping[str, str]

    @classmethod
    def read(cls, template: Mapping[str, Any], given: Mapping[str, str]) -> Settings:
        """Raises `Failure` naming an invalid variable. An empty value counts as absent."""
        _refuse_unknown(template, given.get("MAKEFLAGS", ""))
        given = {name: value for name, value in given.items() if value}
        partner = _partner(given)
        return cls(
            port=_port(given, "PORT", 9000),
            aws_port=_port(given, "AWS_PORT", 4566),
            partner=partner,
            stripe_key=_stripe_key(given, partner),
            stripe_webhook_secret=given.get("STRIPE_WEBHOOK_SECRET"),
            parameters=_parameters(template, given),
        )

    def stripe_variables(self) -> dict[str, str]:
        """The variables that make the functions charge through the account of `stripe_key`."""
        # Webhooks are refused until `stripe listen` has supplied its signing secret.
        webhook = self.stripe_webhook_secret or f"whsec_{secrets.token_hex(16)}"
        return {
            "BILLING_PARTNER": "stripe",
            "PARTNER_SECRET": json.dumps({"apiKey": self.stripe_key}),
            "PARTNER_WEBHOOK_SECRET": json.dumps({"webhookSecret": webhook}),
        }


def by_variable(template: Mapping[str, Any]) -> dict[str, str]:
    """The template's parameters, by the function variables that they set."""
    functions = [template["Globals"]["Function"]]
    functions += [each["Properties"] for each in template["Resources"].values() if each["Type"] == "AWS::Serverless::Function"]
    return {
        name: value["Ref"]
        for function in functions
        for name, value in function.get("Environment", {}).get("Variables", {}).items()
        if isinstance(value, dict) and value.get("Ref") in template["Parameters"]
    }


def _refuse_unknown(template: Mapping[str, Any], flags: str) -> None:
    """Refuses a variable of make's command line that nothing reads. `flags` is MAKEFLAGS: options, `--`, variables."""
    _, _, variables = f" {flags}".partition(" -- ")
    known = {*OWN, *INHERITED, *SECRETS, *by_variable(template)}
    for name in re.findall(r"(?:^|(?<!\\) )(\w+)[:+?]?=", variables):
        if name not in known:
            raise Failure(f"make run knows no {name}. It takes {', '.join(sorted(known))}.")


def _parameters(template: Mapping[str, Any], given: Mapping[str, str]) -> dict[str, str]:
    """The parameters that `given` sets, except the billing partner, which the local template does not take."""
    chosen = {
        parameter: _fitting(variable, given[variable], template["Parameters"][parameter])
        for variable, parameter in by_variable(template).items()
        if variable in given and variable != "BILLING_PARTNER"
    }
    if chosen.get("Stage") in PRODUCTION:
        raise Failure(f"STAGE={chosen['Stage']} is reserved for deployments that move money. Choose another name.")
    # Parameters of the API alone; no function has them.
    if "ALLOWED_ORIGINS" in given:
        origins = template["Parameters"]["AllowedOrigins"]
        chosen["AllowedOrigins"] = _fitting("ALLOWED_ORIGINS", given["ALLOWED_ORIGINS"], origins)
    missing = [name for name in EASYPOST_NEEDS if name not in given]
    if chosen.get("Carrier") == "easypost" and missing:
        raise Failure(f"CARRIER=easypost also needs {', '.join(missing)}. docs/configuration.md describes them.")
    return chosen


def _fitting(variable: str, value: str, parameter: Mapping[str, Any]) -> str:
    """The value, if the template allows it."""
    allowed, pattern = parameter.get("AllowedValues"), parameter.get("AllowedPattern")
    if allowed and value not in allowed:
        raise Failure(f"{variable}={value} is not allowed. Choose one of: {', '.join(allowed)}.")
    if pattern and not re.fullmatch(pattern, value):
        raise Failure(f"{variable}={value} is not allowed; it must match {pattern}. {parameter['Description']}")
    return value


def _partner(given: Mapping[str, str]) -> str:
    # The template's own variable is an alias; conflicting values are an error.
    named = {given[name]: name for name in ("BILLING_PARTNER", "PARTNER") if name in given}
    if len(named) > 1:
        both = " and ".join(f"{name}={value}" for value, name in named.items())
        raise Failure(f"{both} contradict each other. Set PARTNER only.")
    for value, name in named.items():
        if value not in PARTNERS:
            raise Failure(f"{name}={value} is not available locally. Choose {' or '.join(PARTNERS)}.")
        return value
    return "sandbox"


def _stripe_key(given: Mapping[str, str], partner: str) -> str | None:
    key = given.get("STRIPE_KEY")
    if key and partner != "stripe":
        raise Failure("STRIPE_KEY requires PARTNER=stripe. Set both, or neither.")
    if key and not TEST_KEY.fullmatch(key):
        raise Failure("STRIPE_KEY must be a test-mode key: sk_test_… or rk_test_…")
    return key


def _port(given: Mapping[str, str], variable: str, default: int) -> int:
    value = given.get(variable, str(default))
    if not (value.isascii() and value.isdigit() and 1024 <= int(value) <= 65535):
        raise Failure(f"{variable}={value} is not a port. Set it to a number from 1024 to 65535.")
    return int(value)
