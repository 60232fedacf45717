"""What `make run` is told by variables. All of them are checked before anything starts."""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from processes import Failure

PARTNERS = ("sandbox", "stripe")
# The template takes these only with a partner that moves money, and a laptop has none.
PRODUCTION = ("prod", "production", "live")
TEST_KEY = re.compile(r"[sr]k_test_\w+")
# EasyPost cannot ship without these; the functions read the secret from their environment.
EASYPOST_NEEDS = ("SHIP_FROM", "PARCEL", "CARRIER_SECRET")


@dataclass(frozen=True)
class Settings:
    """The ports, the partner, and the template's parameters by their names."""

    port: int
    aws_port: int
    partner: str
    # Of a Stripe account in test mode. None: Stripe's double, if the partner is Stripe.
    stripe_key: str | None = field(repr=False)
    stripe_webhook_secret: str | None = field(repr=False)
    parameters: Mapping[str, str]

    @classmethod
    def read(cls, template: Mapping[str, Any], given: Mapping[str, str]) -> Settings:
        """Raises `Failure` with the variable whose value does not fit. An empty value counts as absent."""
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
        """The variables that make the functions charge at the account with `stripe_key`."""
        # Webhooks are refused unless `stripe listen` has said what it signs with.
        webhook = self.stripe_webhook_secret or f"whsec_{secrets.token_hex(16)}"
        return {
            "BILLING_PARTNER": "stripe",
            "PARTNER_SECRET": json.dumps({"apiKey": self.stripe_key}),
            "PARTNER_WEBHOOK_SECRET": json.dumps({"webhookSecret": webhook}),
        }


def by_variable(template: Mapping[str, Any]) -> dict[str, str]:
    """The template's parameters by the functions' variables that hold them."""
    functions = [template["Globals"]["Function"]]
    functions += [each["Properties"] for each in template["Resources"].values() if each["Type"] == "AWS::Serverless::Function"]
    return {
        name: value["Ref"]
        for function in functions
        for name, value in function.get("Environment", {}).get("Variables", {}).items()
        if isinstance(value, dict) and value.get("Ref") in template["Parameters"]
    }


def _parameters(template: Mapping[str, Any], given: Mapping[str, str]) -> dict[str, str]:
    """The parameters that `given` sets; who bills is no matter of the local template."""
    chosen = {
        parameter: _fitting(variable, given[variable], template["Parameters"][parameter])
        for variable, parameter in by_variable(template).items()
        if variable in given and variable != "BILLING_PARTNER"
    }
    if chosen.get("Stage") in PRODUCTION:
        raise Failure(f"STAGE={chosen['Stage']} is for deployments that bill; a laptop moves no money. Choose another name.")
    # The API's own: no function knows them.
    if "ALLOWED_ORIGINS" in given:
        origins = template["Parameters"]["AllowedOrigins"]
        chosen["AllowedOrigins"] = _fitting("ALLOWED_ORIGINS", given["ALLOWED_ORIGINS"], origins)
    missing = [name for name in EASYPOST_NEEDS if name not in given]
    if chosen.get("Carrier") == "easypost" and missing:
        raise Failure(f'CARRIER=easypost also needs {", ".join(missing)}. README, "Configuration", says what they hold.')
    return chosen


def _fitting(variable: str, value: str, parameter: Mapping[str, Any]) -> str:
    """The value, if the template takes it."""
    allowed, pattern = parameter.get("AllowedValues"), parameter.get("AllowedPattern")
    if allowed and value not in allowed:
        raise Failure(f"{variable}={value} is not allowed. Choose one of: {', '.join(allowed)}.")
    if pattern and not re.fullmatch(pattern, value):
        raise Failure(f"{variable}={value} is not allowed; it must match {pattern}. {parameter['Description']}")
    return value


def _partner(given: Mapping[str, str]) -> str:
    # The template's own variable is an alias; two different answers are a mistake.
    named = {given[name]: name for name in ("BILLING_PARTNER", "PARTNER") if name in given}
    if len(named) > 1:
        both = " and ".join(f"{name}={value}" for value, name in named.items())
        raise Failure(f"{both} contradict each other. Set PARTNER only.")
    for value, name in named.items():
        if value not in PARTNERS:
            raise Failure(f"{name}={value} does not run on a laptop. Choose {' or '.join(PARTNERS)}.")
        return value
    return "sandbox"


def _stripe_key(given: Mapping[str, str], partner: str) -> str | None:
    key = given.get("STRIPE_KEY")
    if key and partner != "stripe":
        raise Failure("STRIPE_KEY is of use only with PARTNER=stripe. Set both, or neither.")
    if key and not TEST_KEY.fullmatch(key):
        raise Failure("STRIPE_KEY must be a key of Stripe's test mode: sk_test_… or rk_test_… A laptop moves no money.")
    return key


def _port(given: Mapping[str, str], variable: str, default: int) -> int:
    value = given.get(variable, str(default))
    if not (value.isascii() and value.isdigit() and 1024 <= int(value) <= 65535):
        raise Failure(f"{variable}={value} is not a port between 1024 and 65535.")
    return int(value)
